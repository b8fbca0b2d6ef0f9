"""What a verdict follows from, digested: the document, both releases as they are here, the tool."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from virtcompat.engine.answers import probe_digest
from virtcompat.engine.columns import Columns
from virtcompat.labs import stages
from virtcompat.model import CellKey, Fixture, NotHere, Outcome, Verdict
from virtcompat.store import golden, paths
from virtcompat.store.verdicts import Verdicts

#: What prints and what decides what is asked: no verdict depends on it.
OUTSIDE = ("cli", "renderers", "outputs", "data")
LASTING = (Outcome.COMPATIBLE, Outcome.INCOMPATIBLE, Outcome.NOT_APPLICABLE)


@dataclass(slots=True)
class Memory:
    """Verdicts that need no judging. What could not be asked, or broke, is never remembered."""

    found: Columns
    kept: Verdicts = field(init=False)
    sides: dict[str, str] = field(default_factory=dict)
    prefixes: dict[CellKey, bytes] = field(default_factory=dict)
    fresh: dict[bytes, list[Verdict]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        standins = [stages.digest(name) for name in stages.every()]
        tool = hashlib.sha256(f"{tool_digest()} {probe_digest()} {standins}".encode()).hexdigest()
        self.kept = Verdicts(paths.cache_dir() / "verdicts.sqlite", tool)

    def key(self, cell: CellKey, document: bytes = b"") -> bytes:
        """The key of one document (its digest) in one cell; without a document of the whole cell."""
        if cell not in self.prefixes:
            names, products = self.found.names, self.found.products
            order = names.index(cell.old) - names.index(cell.new)
            own = [dict(sorted(products[r].items())) for r in (cell.old, cell.new)]
            body = [str(cell), (order > 0) - (order < 0), own, self.side(cell.old), self.side(cell.new), self.kept.tool]
            self.prefixes[cell] = json.dumps(body).encode()
        return hashlib.sha256(self.prefixes[cell] + document).digest()[:20]

    def side(self, release: str) -> str:
        """Digest of a release as it is here: its labs, and its golden records."""
        if release not in self.sides:
            labs = {
                flavour: "" if isinstance(lab, NotHere) else lab.fingerprint()
                for (column, flavour), lab in self.found.labs.items()
                if column == release
            }
            files = list(_state(str(golden.folder() / release))) if golden.provenance(release) is not None else []
            self.sides[release] = hashlib.sha256(json.dumps([labs, files]).encode()).hexdigest()
        return self.sides[release]

    def remember(self, key: bytes, verdicts: list[Verdict]) -> None:
        """Keep verdicts, unless one of them is none."""
        if all(v.outcome in LASTING for v in verdicts):
            self.fresh[key] = verdicts

    def flush(self) -> None:
        self.kept.put_many(self.fresh)
        self.fresh.clear()


@cache
def tool_digest() -> str:
    """Digest of everything that judges: another one may judge otherwise."""
    body = hashlib.sha256()
    for file in sorted(paths.PACKAGE.rglob("*.py")):
        if file.relative_to(paths.PACKAGE).parts[0] not in OUTSIDE:
            body.update(file.read_bytes())
    return body.hexdigest()


def document(fixture: Fixture) -> bytes:
    """Digest of a fixture: its text and all of its metadata that a check can see."""
    body = [fixture.kind, fixture.case, fixture.text, *(sorted(m.items()) for m in (
        fixture.since, fixture.until, fixture.refused, fixture.drops
    )), fixture.context, fixture.flavour, fixture.foreign]  # fmt: skip
    return hashlib.sha256(json.dumps(body).encode("utf-8", "surrogatepass")).digest()


def _state(folder: str) -> Iterator[tuple[str, int, int]]:
    """(path, size, time of change) of every file below a folder: what changes when a file does, without reading it."""
    with os.scandir(Path(folder)) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.is_dir(follow_symlinks=False):
                yield from _state(entry.path)
            else:
                stat = entry.stat()
                yield entry.name, stat.st_size, stat.st_mtime_ns
