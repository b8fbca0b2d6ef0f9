"""Two runs compared: what B has that A had not, what it lost, and whether it is worse. Files in, no questions asked.

A finding is recognised by its fingerprint, whatever releases it is between. B is worse where it has a finding of the tier
``break`` or above that A has not (or not there, not as bad, or explained by the ledger), where a cell of A is gone, or could
not be asked in full any more. What A did not ask makes nothing worse by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from virtcompat.engine import published
from virtcompat.engine.published import Run, Sighting
from virtcompat.errors import NotAsked, UsageError
from virtcompat.judgement import Standing
from virtcompat.model import Cell, CellKey, Finding, Outcome, Tier, Verdict
from virtcompat.renderers import Cause, causes

Place = tuple[CellKey, str]
UNASKED = (Outcome.NOT_HERE, Outcome.BROKEN)


class Fate(StrEnum):
    """What became of a finding, or of a cell, from A to B."""

    NEW = "new"
    RAISED = "of a higher tier"
    UNEXPLAINED = "no longer explained"
    REGRESSION = "now a regression"
    SPREAD = "in further cases"
    LOST = "lost"  # the cell is not in B
    UNASKED = "asked less"  # part of the cell, or all of it, could not be asked or broke
    WORSE = "worse"
    UNSURE = "perhaps new"  # A's file holds only the worst findings of that case, and B has no more of them
    UNKNOWN = "perhaps gone"  # B did not ask where A had it, or its file holds only the worst findings there
    CHANGED = "changed"
    APPEARED = "appeared"
    LOWERED = "of a lower tier"
    EXPLAINED = "explained now"
    RECEDED = "in fewer cases"
    BETTER = "better"
    GONE = "gone"


GOOD = (Fate.LOWERED, Fate.EXPLAINED, Fate.RECEDED, Fate.BETTER, Fate.GONE)
#: Bad whatever the tier of the finding.
ALWAYS = (Fate.REGRESSION, Fate.LOST, Fate.UNASKED, Fate.WORSE)
FROM_BREAK_ON = (Fate.NEW, Fate.RAISED, Fate.UNEXPLAINED, Fate.SPREAD)


@dataclass(frozen=True, slots=True)
class Found:
    """A finding that is not what it was. places: those that are new (or gone), of B (or A)."""

    fate: Fate
    sighting: Sighting
    before: Sighting | None
    places: tuple[Place, ...]

    @property
    def tier(self) -> Tier:
        return self.sighting.finding.tier

    @property
    def command(self) -> str:
        """What shows it in the first of these places."""
        key, case = self.places[0]
        return f"virt-compat explain {key}/{case}"

    @property
    def worse(self) -> bool:
        loud = self.tier >= Tier.BREAK or self.sighting.standing is Standing.REGRESSION
        return self.fate in ALWAYS or (self.fate in FROM_BREAK_ON and loud)


@dataclass(frozen=True, slots=True)
class Changed:
    """A cell that is not what it was; None where a run has it not. A gate's cell that was not asked has neither."""

    fate: Fate
    key: CellKey
    before: Cell | None = None
    after: Cell | None = None

    @property
    def worse(self) -> bool:
        return self.fate in ALWAYS


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that differs from run A to run B, the worst first."""

    a: Run
    b: Run
    findings: tuple[Found, ...]
    cells: tuple[Changed, ...]
    notes: tuple[str, ...]

    @property
    def every(self) -> tuple[Found | Changed, ...]:
        return (*self.findings, *self.cells)

    @property
    def exit_code(self) -> int:
        """1 where anything is worse, or B's gate ended as A's did not: 2, 3 or 4 say that it could not tell."""
        ended = set(self.b.codes) - set(self.a.codes) - {0}
        return int(bool(ended) or any(one.worse for one in self.every))

    @property
    def word(self) -> str:
        """``worse``, ``better``, ``changed`` (neither) or ``the same``."""
        if self.exit_code:
            return "worse"
        better = any(one.fate in GOOD for one in self.every)
        return "better" if better else "changed" if self.every else "the same"

    @property
    def counts(self) -> list[str]:
        """``3 findings new``, ``1 cell lost``: how many of what, in the order of :class:`Fate`."""
        every = [("finding", one.fate) for one in self.findings] + [("cell", one.fate) for one in self.cells]
        counts = Counter(every)
        order = sorted(counts, key=lambda each: (list(Fate).index(each[1]), each[0] != "finding"))
        return [f"{counts[w, fate]} {w}{'s' if counts[w, fate] > 1 else ''} {fate}" for w, fate in order]


def grouped(findings: Iterable[Found]) -> list[Cause]:
    """Findings by cause, as everywhere: the worst and most frequent first."""
    cells: dict[CellKey, dict[str, list[Finding]]] = {}
    for one in findings:
        for key, case in one.places:
            cells.setdefault(key, {}).setdefault(case, []).append(one.sighting.finding)
    made = [
        Cell(key, {}, Tier.IDENTICAL, 0, tuple(Verdict(c, Outcome.INCOMPATIBLE, tuple(of)) for c, of in cases.items()))
        for key, cases in cells.items()
    ]
    return causes(made, Tier.IDENTICAL)


def compare(first: Path, second: Path) -> Comparison:
    """Compare two runs. UsageError where they are not of one kind; NotAsked where A asked nothing."""
    a, b = published.read(first), published.read(second)
    if a.kinds != b.kinds:
        words = " and ".join(f"{run.source} holds {', '.join(sorted(run.kinds))}" for run in (a, b))
        raise UsageError(
            f"these runs are of two kinds: {words}", "compare a matrix with a matrix, a verdict with a verdict"
        )
    if not a.asked:
        raise NotAsked(f"{a.source}: nothing was asked in this run", "there is nothing to compare with: run it again")
    _align(a, b)
    findings = sorted(
        _findings(a, b),
        key=lambda f: (not f.worse, list(Fate).index(f.fate), -f.tier, str(f.sighting.key), f.sighting.finding.path),
    )
    cells = sorted(_cells(a, b), key=lambda c: (not c.worse, list(Fate).index(c.fate), str(c.key)))
    return Comparison(a, b, tuple(findings), tuple(cells), tuple(_notes(a, b)))


def _align(a: Run, b: Run) -> None:
    """Call A's candidate as B calls its own: two gates are about the same place, whatever the build is called."""
    if not a.candidate or a.candidate == b.candidate:
        return

    def renamed(key: CellKey) -> CellKey:
        names = {a.candidate: b.candidate}
        return replace(key, old=names.get(key.old, key.old), new=names.get(key.new, key.new))

    for sighting in a.sightings.values():
        sighting.key = renamed(sighting.key)
        sighting.places = {(renamed(key), case) for key, case in sighting.places}
    a.unasked = {(renamed(key), case) for key, case in a.unasked}


def _notes(a: Run, b: Run) -> Iterator[str]:
    if a.gates != b.gates:
        yield f"the gates differ: {', '.join(sorted(a.gates))} and {', '.join(sorted(b.gates))}"
    if a.codes != b.codes:
        ended = (", ".join(str(code) for code in run.codes) for run in (a, b))
        yield f"the gate's exit codes: {' -> '.join(ended)}"
    for name in dict.fromkeys((*a.columns, *b.columns)):
        old, new = a.columns.get(name), b.columns.get(name)
        if old is None or new is None:
            yield f"{name}: only in {'B' if old is None else 'A'}"
            continue
        was, now = ({**c.others, "libvirt": c.libvirt, "qemu": c.qemu} for c in (old, new))
        for product in sorted(was.keys() | now.keys()):
            if was.get(product) != now.get(product):
                yield f"{name}: {product} {was.get(product, 'none')} -> {now.get(product, 'none')}"


def _cells(a: Run, b: Run) -> Iterator[Changed]:
    for key in dict.fromkeys((*a.cells, *b.cells)):
        before, after = a.cells.get(key), b.cells.get(key)
        fate = _fate(before, after)
        if fate:
            yield Changed(fate, key, before, after)
    if published.MATRIX not in b.kinds:
        # A gate's judgement has no cells: it names those that it did not ask.
        for key, _ in sorted(b.unasked - a.unasked, key=str):
            yield Changed(Fate.UNASKED, key)


def _fate(before: Cell | None, after: Cell | None) -> Fate | None:
    if before is None or after is None:
        return Fate.APPEARED if before is None else Fate.LOST
    was, now = (_summary(cell) for cell in (before, after))
    if was == now:
        return None
    if any(after.counts.get(o, 0) > before.counts.get(o, 0) for o in UNASKED):
        return Fate.UNASKED
    bad, unexplained = (_bad(after) - _bad(before), after.unexplained - before.unexplained)
    higher = after.worst > before.worst and after.worst >= Tier.BREAK
    if bad > 0 or unexplained > 0 or higher:
        return Fate.WORSE
    fewer = any(after.counts.get(o, 0) < before.counts.get(o, 0) for o in UNASKED)
    better = bad < 0 or unexplained < 0 or after.worst < before.worst or fewer
    return Fate.BETTER if better and after.worst <= before.worst else Fate.CHANGED


def _bad(cell: Cell) -> int:
    return cell.counts.get(Outcome.INCOMPATIBLE, 0)


def _summary(cell: Cell) -> tuple[object, ...]:
    return {o: n for o, n in cell.counts.items() if n}, cell.worst, cell.unexplained


def _findings(a: Run, b: Run) -> Iterator[Found]:
    # Of these cases A's file holds only the worst findings, and B has no more of them: what is new may have been there.
    unsure = a.hidden.keys() - _grown(a, b)
    both = a.cells.keys() & b.cells.keys() if published.MATRIX in a.kinds else None
    for name in dict.fromkeys((*a.sightings, *b.sightings)):
        before, after = a.sightings.get(name), b.sightings.get(name)
        if after is None:
            assert before is not None
            yield _vanished(before, b)
        elif before is None:
            hidden = after.places <= unsure
            yield Found(Fate.UNSURE if hidden else Fate.NEW, after, None, tuple(_sorted(after.places)))
        else:
            yield from _moved(before, after, b, both, unsure)


def _vanished(before: Sighting, b: Run) -> Found:
    """A finding that B has not: gone where B asked and holds all that it found, else nobody knows."""
    places = {place for place in before.places if _asked(b, place) and place not in b.hidden}
    return Found(Fate.GONE if places == before.places else Fate.UNKNOWN, before, before, tuple(_sorted(before.places)))


def _moved(before: Sighting, after: Sighting, b: Run, both: Set[CellKey] | None, unsure: Set[Place]) -> Iterator[Found]:
    """A finding of both runs. both: the cells that both have; None where runs do not say which they asked."""
    further = {p for p in after.places - before.places if both is None or p[0] in both} - unsure
    fewer = {p for p in before.places - after.places if both is None or p[0] in both}
    fewer = {p for p in fewer if _asked(b, p) and p not in b.hidden}
    was, now = before.finding.tier, after.finding.tier
    if now != was:
        yield Found(Fate.RAISED if now > was else Fate.LOWERED, after, before, tuple(_sorted(after.places)))
    if after.standing is not before.standing and after.standing is Standing.REGRESSION:
        yield Found(Fate.REGRESSION, after, before, tuple(_sorted(after.places)))
    elif after.unexplained != before.unexplained:
        fate = Fate.UNEXPLAINED if after.unexplained else Fate.EXPLAINED
        yield Found(fate, after, before, tuple(_sorted(after.places)))
    if further:
        yield Found(Fate.SPREAD, after, before, tuple(_sorted(further)))
    if fewer:
        yield Found(Fate.RECEDED, after, before, tuple(_sorted(fewer)))


def _sorted(places: set[Place]) -> list[Place]:
    return sorted(places, key=lambda place: (str(place[0]), place[1]))


def _asked(run: Run, place: Place) -> bool:
    """Whether a run asked this case of this cell (of a gate's judgement: did not say that it did not)."""
    known = place[0] in run.cells or published.MATRIX not in run.kinds
    return run.asked > 0 and known and place not in run.unasked and (place[0], "") not in run.unasked


def _grown(a: Run, b: Run) -> set[Place]:
    """The cases of which a file does not hold all findings, and of which B has more than A."""
    was, now = _totals(a), _totals(b)
    return {place for place in a.hidden.keys() | b.hidden.keys() if now[place] > was[place]}


def _totals(run: Run) -> Counter[Place]:
    found: Counter[Place] = Counter(run.hidden)
    for sighting in run.sightings.values():
        found.update(sighting.places)
    return found
