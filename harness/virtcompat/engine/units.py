"""A run in units: planned the same everywhere, so that any of them may be judged anywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import metadata

from virtcompat import checks
from virtcompat.engine import guests, static
from virtcompat.engine import run as engine
from virtcompat.engine.answers import probe_digest
from virtcompat.engine.columns import Columns
from virtcompat.engine.memory import document
from virtcompat.engine.run import Selection
from virtcompat.model import NO_DRIVER, CellKey, Fixture, NotHere
from virtcompat.store import golden, paths

#: Seconds to judge a case in a cell when every answer is known, and how long a unit takes then (benchmarks/fleet.py).
JUDGE, SECONDS = 0.0002, 1.0
#: Where nothing is known, starting the drivers on a unit's files takes as long as asking this many documents.
LEAST = 64


@dataclass(frozen=True, slots=True)
class Unit:
    """What is judged at one place at one time: documents of one kind as one driver is asked them, in these cells.

    A unit without documents is one cell of a recorded surface, or of guests that move.
    """

    number: int
    kind: str
    driver: str
    documents: tuple[Fixture, ...]
    cells: tuple[CellKey, ...]

    @property
    def cases(self) -> int:
        """How many verdicts it comes to; a cell of a recorded surface is taken for one."""
        return max(1, len(self.documents)) * len(self.cells)


def plan(
    found: Columns,
    selection: Selection,
    documents: Sequence[Fixture],
    apart: Sequence[frozenset[str]] = (),
    size: int = 0,
) -> Iterator[Unit]:
    """Every unit of a run, numbered from 0, always the same for the same input.

    apart: sets of releases that can be asked in one place, where no place can ask all; each cell goes to the first set
    that has both its releases. size: documents a unit, where that is not reckoned.
    """
    groups: dict[tuple[str, str, int], list[CellKey]] = {}
    recorded = []
    for key in engine.keys(found, selection):
        if key.driver == NO_DRIVER:
            recorded.append(key)
        else:
            at = next((n for n, names in enumerate(apart) if {key.old, key.new} <= names), 0)
            groups.setdefault((key.kind, key.driver, at), []).append(key)
    number = 0
    for (kind, driver, _), cells in groups.items():
        chosen = [d for d in documents if d.kind == kind and driver in d.drivers]
        step = size or max(LEAST, round(SECONDS / (JUDGE * len(cells))))
        for start in range(0, len(chosen), step):
            yield Unit(number, kind, driver, tuple(chosen[start : start + step]), tuple(cells))
            number += 1
    for key in recorded:
        yield Unit(number, key.kind, NO_DRIVER, (), (key,))
        number += 1


def inputs(found: Columns, selection: Selection, documents: Sequence[Fixture]) -> dict[str, str]:
    """Digests of everything that a run's result follows from, by name: parts of one run have the same."""
    labs = {"/".join(at): "" if isinstance(lab, NotHere) else lab.fingerprint() for at, lab in found.labs.items()}
    return {
        "tool": tool(),
        "documents": _digest([[document(d).hex(), d.drivers] for d in documents]),
        "golden records": _digest([provenance(name) for name in found.names]),
        "change ledger": ledger(),
        "selection": _digest(asdict(selection)),
        "releases": _digest([[asdict(c) for c in found.columns], sorted(labs.items()), found.notes]),
    }


@cache
def tool() -> str:
    """Digest of what judges: this package, its data and the library that says what is wrong with a document."""
    data = sorted(f for f in (paths.PACKAGE / "data").rglob("*") if f.is_file())
    files = [[str(f.relative_to(paths.PACKAGE)), hashlib.sha256(f.read_bytes()).hexdigest()] for f in data]
    return _digest([static.reader_digest(), probe_digest(), guests.tool(), files, metadata.version("lxml")])


def ledger() -> str:
    """Digest of the change ledger."""
    files = sorted((paths.data_root() / "golden" / "changes").glob("*.toml"))
    return _digest([[f.name, hashlib.sha256(f.read_bytes()).hexdigest()] for f in files])


def provenance(release: str) -> str:
    """Digest of a release's provenance, which has the digest of each of its golden records."""
    file = golden.folder() / release / "PROVENANCE.toml"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def _digest(body: object) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def taken(selection: Selection, documents: Iterable[Fixture] | None) -> tuple[Selection, list[Fixture]]:
    """What is judged: the project's fixtures, or somebody's documents in the checks that are about documents."""
    if documents is None:
        return selection, engine.own_documents(selection)
    return selection if selection.checks else replace(selection, checks=tuple(checks.every())), list(documents)
