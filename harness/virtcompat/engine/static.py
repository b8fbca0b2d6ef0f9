"""Recorded surfaces: a release's record (golden, else read off its lab and kept) and the cells of two records."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache

from virtcompat import surfaces
from virtcompat.engine.columns import Columns
from virtcompat.errors import Absent, NotAsked, VirtCompatError
from virtcompat.labs import Lab
from virtcompat.labs.visit import visiting
from virtcompat.model import NO_DRIVER, STATIC, CellKey, NotHere, Outcome, Verdict, unasked
from virtcompat.policy import records as policy
from virtcompat.store import golden, paths
from virtcompat.store import records as store
from virtcompat.surfaces import Part, Record, RecordedSurface

#: The flavour of a release's lab that has headers, tools and modules beside the binaries.
FLAVOUR = "abi"


def read(lab: Lab, surface: RecordedSurface) -> dict[str, Part]:
    """Read every part of a surface off a lab. What the lab lacks is said; damaged files are errors."""
    found: dict[str, Part] = {}
    with visiting(lab) as visit:
        for part, reader in surface.parts.items():
            try:
                found[part] = reader(visit) or NotHere(f"{lab.release}: {part} shows nothing", "virt-compat doctor")
            except Absent as absent:
                found[part] = NotHere(absent.message, absent.remedy)
    return found


@cache
def reader_digest() -> str:
    """Digest of the tool and of its stand-ins: another one may read another record off the same lab."""
    body = hashlib.sha256()
    stood = [f for f in (paths.PACKAGE / "data" / "standins").rglob("*") if f.is_file() and f.suffix != ".pyc"]
    for file in sorted({*paths.PACKAGE.rglob("*.py"), *stood}):
        body.update(f"{file.relative_to(paths.PACKAGE)}\n".encode() + file.read_bytes())
    return body.hexdigest()


def lab_of(found: Columns, release: str, flavour: str = FLAVOUR) -> Lab | NotHere:
    """The lab that a release's surfaces are read from: this flavour, its only lab where it has no flavours."""
    lab = found.labs.get((release, flavour))
    return lab if lab is not None else found.lab(release, "")


@dataclass(slots=True)
class Records:
    """The records of one run, each found once."""

    found: Columns
    held: dict[tuple[str, str], Record | NotHere] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def of(self, release: str, surface: RecordedSurface) -> Record | NotHere:
        """A release's record of a surface: golden, else of its lab, else why there is none."""
        key = release, surface.name
        with self.lock:
            if key not in self.held:
                self.held[key] = self._of(release, surface)
            return self.held[key]

    def facts(self, release: str, surface: str) -> Mapping[str, str]:
        """Every fact of a whole record; NotAsked where any part is missing: half a record is taken for none."""
        record = self.of(release, surfaces.every_recorded()[surface])
        for part in [record] if isinstance(record, NotHere) else record.values():
            if isinstance(part, NotHere):
                raise NotAsked(f"{release}: {part.reason}", part.remedy)
        assert not isinstance(record, NotHere)
        return policy.merged(record)

    def _of(self, release: str, surface: RecordedSurface) -> Record | NotHere:
        parts = tuple(surface.parts)
        if golden.provenance(release) is not None:
            record = store.recorded(release, surface.name, parts)
            if record is not None:
                return record
        lab = lab_of(self.found, release, surface.flavour)
        if isinstance(lab, NotHere):
            return lab
        if surface.passing and not lab.sandboxed:
            return read(lab, surface)
        digest = hashlib.sha256(f"{lab.fingerprint()} {reader_digest()}".encode()).hexdigest()
        kept = store.cached(digest, surface.name, parts)
        if kept is None:
            kept = read(lab, surface)
            store.keep(digest, surface.name, kept)
        return kept


def judge(key: CellKey, records: Records) -> Iterator[Verdict]:
    """The verdicts of one cell: one an interface, one a part that is not known."""
    surface = surfaces.every_recorded()[key.kind]
    sides: list[Record] = []
    for release in (key.old, key.new):
        try:
            record = records.of(release, surface)
        except VirtCompatError as error:
            yield _broken(release, f"{error.message}; {error.remedy}")
            return
        except Exception as error:  # noqa: BLE001 - a reader's bug, or a lab that lies, is this cell's outcome
            yield _broken(release, f"{type(error).__name__}: {error}")
            return
        if isinstance(record, NotHere):
            yield unasked("(record)", record)
            return
        sides.append(record)
    names = records.found.names
    back = names.index(key.old) > names.index(key.new)
    yield from policy.compare(surface, sides[0], sides[1], back=back)


def chosen(verdicts: Sequence[Verdict], cases: tuple[str, ...]) -> Iterator[Verdict]:
    """The verdicts of these interfaces (all where none is named), and every one that could not be given."""
    for verdict in verdicts:
        unknown = verdict.outcome in (Outcome.NOT_HERE, Outcome.BROKEN)
        if unknown or not cases or any(fnmatchcase(verdict.case, pattern) for pattern in cases):
            yield verdict


def _broken(release: str, words: str) -> Verdict:
    return Verdict("(record)", Outcome.BROKEN, reason=f"{release}: {words}")


def keys(found: Columns, kinds: tuple[str, ...]) -> Iterator[CellKey]:
    """The cells of these surfaces (all where none is named): every pair forward, backward where that says something."""
    for name, surface in surfaces.every_recorded().items():
        if kinds and name not in kinds:
            continue
        for i, old in enumerate(found.names):
            for j, new in enumerate(found.names):
                if i < j or (i > j and surface.backward):
                    yield CellKey(STATIC, name, NO_DRIVER, old, new)
