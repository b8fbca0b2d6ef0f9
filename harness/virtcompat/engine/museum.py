"""The museum: each piece's fault applied to a candidate, and what the gate, which knows of no museum, says of it.

The candidate is made of the same packages as the release that it is judged against, so that whatever is found is the
fault's doing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from virtcompat import surfaces
from virtcompat.checks.reproduce import CHECK as REPRODUCE
from virtcompat.engine import columns as columns_module
from virtcompat.engine import gate, guests, remote, run
from virtcompat.engine.columns import Columns
from virtcompat.engine.gate import Request, Stage
from virtcompat.engine.memory import Memory
from virtcompat.engine.run import Selection
from virtcompat.errors import BadData, LabError, NotAsked, UsageError
from virtcompat.judgement import Item, Judgement, Standing
from virtcompat.labs import faults
from virtcompat.labs.faults import FaultedLab
from virtcompat.model import NO_DRIVER, STATIC, CellKey, NotHere, Tier
from virtcompat.store import files, paths, tables
from virtcompat.store.regressions import FILES, Expected, Piece

CANDIDATE = "candidate"
#: A piece's name -> what is told of its stages.
Stages = Callable[[str], Stage]
SHOWN = 3
LONG = 400
#: The share of the regressions that must be seen.
ENOUGH = 0.95


@dataclass(frozen=True, slots=True)
class Seen:
    """One finding of the gate. by: the check, or the recorded surface; where and between which values; cases: how many."""

    by: str
    cell: str
    tier: str
    path: str
    change: str
    old: str
    new: str
    cases: int
    case: str


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one piece.

    word: ``detected``, ``missed``, ``silent`` (a control without a finding, a harmless change without an alarm),
    ``alarm`` or ``unasked``. by: check or surface -> items at the piece's tier. asked: the checks and surfaces that were
    asked at all. why: where it is unasked, or what could not be asked besides. seconds: what it took.
    """

    piece: str
    word: str
    by: dict[str, int]
    asked: tuple[str, ...]
    first: tuple[Seen, ...]
    why: str
    verdicts: int
    seconds: float

    @property
    def right(self) -> bool:
        return self.word in ("detected", "silent")


def check(pieces: Sequence[Piece]) -> None:
    """BadData, with file and line, where a piece names a surface, driver, check or case that does not exist."""
    for piece in pieces:
        for key, narrowed in (
            ("surfaces", Selection(kinds=piece.surfaces)),
            ("drivers", Selection(drivers=piece.drivers)),
            ("checks", Selection(checks=piece.checks)),
        ):
            try:
                run.validated(narrowed)
            except UsageError as error:
                raise _bad(piece, key, error.message, error.remedy) from error
        lost = [s for s in piece.surfaces if s in surfaces.every_recorded()] + [c for c in piece.checks if c == STATIC]
        if lost and piece.drivers and NO_DRIVER not in piece.drivers:
            raise _bad(piece, "drivers", f"'{lost[0]}' has no driver, and 'drivers' leaves it out", "leave one out")
        cases = _cases(piece) if piece.cases else set()
        for pattern in piece.cases:
            if not any(fnmatchcase(case, pattern) for case in cases):
                raise _bad(
                    piece, "cases", f"'{pattern}' matches no case of what is asked", "correct it, or leave it out"
                )


def _bad(piece: Piece, key: str, message: str, remedy: str) -> BadData:
    return BadData(piece.file, message, remedy, tables.line_of(Path(piece.file), key))


def _cases(piece: Piece) -> set[str]:
    """The names of everything that a piece asks about and that has a name: documents, guests, a client's calls."""
    asked = {*piece.surfaces, *piece.drivers, *piece.checks}
    found = {f.case for f in run.own_documents(Selection(kinds=piece.surfaces, drivers=piece.drivers))}
    if asked & {guests.KIND, *guests.CHECKS}:
        found |= {f"{machine}/{devices}" for machine, devices, *_ in guests.configurations(guests.VERSIONED)}
    if asked & {remote.KIND, remote.DRIVER, *remote.CHECKS}:
        found |= {f"{transport}/{call}" for call, transports in remote.calls().items() for transport in transports}
    return found


def with_faults(piece: Piece) -> Columns:
    """The release and a candidate of the same packages with the piece's faults, as the gate takes its columns.

    BadData where a fault has nothing to change in any lab that is here, LabError where no lab is.
    """
    found = columns_module.find((piece.release,))
    sound = found.columns[0]
    if sound.name != piece.release or not sound.live:
        raise LabError(f"no lab {piece.release} as it is recorded", f"virt-compat lab create {piece.release}")
    found.columns.append(replace(sound, name=CANDIDATE, golden=False, note=""))
    every: list[FaultedLab] = []
    for (release, flavour), lab in list(found.labs.items()):
        if release == piece.release and not isinstance(lab, NotHere):
            name = f"{CANDIDATE}-{flavour}".rstrip("-")
            every.append(faults.faulted(lab, name, piece.faults, flavour))
            found.labs[CANDIDATE, flavour] = faults.beside(lab, every[-1])
        elif release == piece.release:
            found.labs[CANDIDATE, flavour] = lab
    for fault in piece.faults:
        if fault.kind in FILES and not any(fault.digest() in made.applied for made in every):
            remedy = "correct its path, or create the labs that have it"
            words = f"a {fault.kind} fault finds nothing in any lab of {piece.release}"
            raise BadData(piece.file, words, remedy, fault.line)
    return found


def exhibit(piece: Piece, stage: Stage = lambda title: lambda done, of: None, *, again: bool = False) -> Result:
    """Judge one piece, or find what came of it before under the same tool, labs and records."""
    kept = _kept(piece)
    if kept.exists() and not again:
        return _read(kept)
    found = with_faults(piece)
    made = [lab for each in found.labs.values() if (lab := faults.core(each)) is not None]
    try:
        result = _exhibited(piece, found, made, stage)
    finally:
        for lab in made:
            faults.tidy(lab)
    if result.word != "unasked":
        _write(kept, result)
    return result


def _exhibited(piece: Piece, found: Columns, made: Sequence[FaultedLab], stage: Stage) -> Result:
    tier = {Expected.HARMLESS: Tier.RISK, Expected.SILENT: Tier.ADDITION}.get(piece.expected, piece.tier)
    request = Request(
        (piece.release,), CANDIDATE, piece.drivers, piece.surfaces, piece.checks, piece.cases, tier, minimise=False
    )
    with faults.busy(piece.faults):
        judgement = gate.judge(request, stage, found)
    return _result(piece, found, judgement, _idle(piece, made))


def _idle(piece: Piece, made: Sequence[FaultedLab]) -> bool:
    """Whether the piece is about what probes say, and no line was ever changed: the fault was not there at all."""
    return any(f.kind in faults.TALK for f in piece.faults) and not any(lab.mark.exists() for lab in made)


def _result(piece: Piece, found: Columns, judgement: Judgement, idle: bool) -> Result:
    items = judgement.of(Standing.REGRESSION)
    missing = [f"{u.key}: {u.why}" for u in (*judgement.broken, *judgement.unreached)]
    nothing = not judgement.compatible + judgement.incompatible
    if idle or nothing:
        word = "unasked"
        missing = ["the fault changed no line of any probe's talk" if idle else "nothing was asked", *missing]
    elif piece.expected is Expected.DETECTED:
        word = "detected" if items else "unasked" if missing else "missed"
    else:
        word = "alarm" if items else "unasked" if missing else "silent"
    by: dict[str, int] = {}
    for item in items:
        by[_by(item.key)] = by.get(_by(item.key), 0) + len(item.cases)
    more = f" (and {len(missing) - SHOWN} more)" if len(missing) > SHOWN else ""
    return Result(
        piece.name, word, by, asked(piece, found), tuple(map(_seen, items[:SHOWN])),
        "; ".join(missing[:SHOWN]) + more, judgement.compatible + judgement.incompatible, judgement.seconds,
    )  # fmt: skip


def asked(piece: Piece, found: Columns) -> tuple[str, ...]:
    """The checks and surfaces that a candidate of this piece is asked; it has no records that it could reproduce."""
    keys = run.keys(found, Selection(piece.checks, piece.surfaces, piece.drivers))
    mine = {_by(key) for key in keys if CANDIDATE in (key.old, key.new)}
    return tuple(sorted(mine - {REPRODUCE.name}))


def _by(key: CellKey) -> str:
    """What saw it: the check; of records, which are all compared in one way, the surface."""
    return key.kind if key.check == STATIC else key.check


def _seen(item: Item) -> Seen:
    f = item.finding
    values = [value if len(value) <= LONG else f"{value[: LONG - 1]}…" for value in (f.old, f.new)]
    was, now = values
    cell = str(item.key)
    return Seen(_by(item.key), cell, f.tier.label, f.path, f.change.value, was, now, len(item.cases), item.cases[0])


def _kept(piece: Piece) -> Path:
    """Where the result is kept: under what it follows from (the piece, the tool, the release's labs and records).

    The candidate's labs follow from these.
    """
    memory = Memory(columns_module.find((piece.release,)))
    memory.kept.close()
    body = [piece.digest(), memory.kept.tool, memory.side(piece.release)]
    digest = hashlib.sha256(json.dumps(body).encode()).hexdigest()
    return paths.cache_dir() / "museum" / f"{piece.name}-{digest[:20]}.json"


def _write(file: Path, result: Result) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    files.put(file, json.dumps(asdict(result), indent=1) + "\n")


def _read(file: Path) -> Result:
    table = json.loads(file.read_text(encoding="utf-8"))
    first = tuple(Seen(**seen) for seen in table["first"])
    return Result(**{**table, "first": first, "asked": tuple(table["asked"])})


@dataclass(frozen=True, slots=True)
class Tour:
    """Every piece that was asked for, with what came of it."""

    pieces: tuple[Piece, ...]
    results: Mapping[str, Result]

    def of(self, *words: str, control: bool | None = None) -> list[Piece]:
        """The pieces with one of these words, the controls alone or without them where that is said."""
        chosen = [p for p in self.pieces if control is None or p.control is control]
        return [p for p in chosen if self.results[p.name].word in words]

    @property
    def regressions(self) -> list[Piece]:
        """The regressions that the gate was asked about."""
        return self.of("detected", "missed", control=False)

    @property
    def rate(self) -> float | None:
        """The share of the regressions that was seen, of those that were asked; None where none was."""
        every = self.regressions
        return len(self.of("detected")) / len(every) if every else None

    def by_check(self) -> dict[str, tuple[int, int]]:
        """Check or surface -> (regressions that it saw, that it was asked about), those that saw most first."""
        counts: dict[str, tuple[int, int]] = {}
        for piece in self.regressions:
            result = self.results[piece.name]
            for name in result.asked:
                saw, of = counts.get(name, (0, 0))
                counts[name] = saw + (name in result.by), of + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1][0], item[0])))

    @property
    def exit_code(self) -> int:
        """1 where too few were seen or something sound raised an alarm, 3 where something could not be asked."""
        if self.of("alarm"):
            return 1
        if self.of("unasked"):
            return 3
        return 0 if self.rate is None or self.rate >= ENOUGH else 1


def tour(
    pieces: Sequence[Piece],
    told: Callable[[Piece, Result], None] = lambda piece, result: None,
    stage: Stages = lambda name: lambda title: lambda done, of: None,
    *,
    again: bool = False,
) -> Tour:
    """Judge these pieces one after the other; each is told as it is done.

    NotAsked where there is none, BadData where one names what does not exist, before anything is asked.
    """
    if not pieces:
        raise NotAsked("the museum has no such piece", "see 'virt-compat museum --list'")
    check(pieces)
    results = {}
    for piece in pieces:
        results[piece.name] = exhibit(piece, stage(piece.name), again=again)
        told(piece, results[piece.name])
    return Tour(tuple(pieces), results)
