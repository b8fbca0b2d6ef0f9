"""One run: cells planned, judged case by case, collected into a matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice

from virtcompat import checks, drivers, surfaces
from virtcompat.checks import Case, Check, Steps
from virtcompat.engine import columns as columns_module
from virtcompat.engine import guests, static
from virtcompat.engine.answers import Answers
from virtcompat.engine.columns import Columns
from virtcompat.engine.schemas import Schemas
from virtcompat.errors import UsageError
from virtcompat.labs.prober import Prober
from virtcompat.model import (
    NO_DRIVER,
    STATIC,
    Answer,
    Cell,
    CellKey,
    Direction,
    Finding,
    Fixture,
    Matrix,
    NotHere,
    Outcome,
    Question,
    Tier,
    Verdict,
)
from virtcompat.policy import changes
from virtcompat.policy.agreement import agreement
from virtcompat.store import fixtures, ledger, paths, releases
from virtcompat.store.cache import Cache

CHUNK = 300
LONG = 2000
MANY = 30
#: Called with (case cells judged, of how many).
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Selection:
    """What of everything is asked; an empty tuple means all."""

    checks: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    old: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    gate: Tier = Tier.BREAK

    @property
    def complete(self) -> bool:
        return not any((self.checks, self.kinds, self.drivers, self.releases, self.old, self.new, self.cases))


def validated(selection: Selection) -> Selection:
    """The selection, once every name in it is known to exist."""
    checks.choose(tuple(c for c in selection.checks if c not in (STATIC, *guests.CHECKS)))
    drivers.choose(tuple(d for d in selection.drivers if d != NO_DRIVER))
    for name in (*selection.releases, *selection.old, *selection.new):
        releases.find(name.partition("@")[0])
    known = {**surfaces.every(), **surfaces.every_recorded()}
    for kind in selection.kinds:
        if kind not in known:
            raise UsageError(f"no kind or surface '{kind}'", f"use one of: {', '.join(known)}")
    return selection


def own_documents(selection: Selection) -> list[Fixture]:
    """The project's fixtures that a selection is about."""
    kinds = tuple(k for k in surfaces.every() if not selection.kinds or k in selection.kinds)
    chosen = tuple(d for d in drivers.every() if not selection.drivers or d in selection.drivers)
    return fixtures.load(kinds, chosen, selection.cases) if kinds and chosen else []


@dataclass(slots=True)
class Tally:
    """What becomes a :class:`Cell`."""

    counts: Counter[Outcome] = field(default_factory=Counter)
    worst: Tier = Tier.IDENTICAL
    unexplained: int = 0
    kept: list[Verdict] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)  # the cases that were asked

    def add(self, verdict: Verdict, gate: Tier, least: Tier = Tier.ADDITION, most: int | None = None) -> None:
        """Count a verdict; it is kept where it could not be asked or has a finding of at least this tier.

        most: of more findings than these the worst are kept. All of them count.
        """
        self.counts[verdict.outcome] += 1
        self.worst = max(self.worst, verdict.worst)
        if verdict.outcome in (Outcome.COMPATIBLE, Outcome.INCOMPATIBLE):
            self.seen.add(verdict.case)
        self.unexplained += any(f.tier >= gate and not f.explained for f in verdict.findings)
        if verdict.worst >= least or verdict.outcome in (Outcome.NOT_HERE, Outcome.BROKEN):
            self.kept.append(verdict if most is None or len(verdict.findings) <= most else _cut(verdict, most))

    @property
    def bad(self) -> set[str]:
        """The cases that are incompatible."""
        return {v.case for v in self.kept if v.outcome is Outcome.INCOMPATIBLE}

    def cell(self, key: CellKey) -> Cell:
        return Cell(key, dict(self.counts), self.worst, self.unexplained, tuple(self.kept))


def pairs(found: Columns, check: Check, selection: Selection) -> Iterator[tuple[str, str]]:
    """The (old, new) pairs of a check, in the order of the columns."""
    names = found.names
    for i, first in enumerate(names):
        for j, second in enumerate(names):
            way = Direction.SELF if i == j else Direction.FORWARD if i < j else Direction.BACKWARD
            if (
                way in check.directions
                and (not selection.old or first in selection.old)
                and (not selection.new or second in selection.new)
            ):
                yield first, second


def keys(found: Columns, selection: Selection) -> list[CellKey]:
    """Every cell of a selection, whether or not there is a case for it."""
    return [
        CellKey(name, kind, driver.name, old, new)
        for name, check in checks.every().items()
        if not selection.checks or name in selection.checks
        for driver in drivers.every().values()
        if not selection.drivers or driver.name in selection.drivers
        for kind in driver.kinds
        if not selection.kinds or kind in selection.kinds
        for old, new in pairs(found, check, selection)
    ] + record_keys(found, selection)


def record_keys(found: Columns, selection: Selection) -> list[CellKey]:
    """The cells of recorded surfaces in a selection, and of moving guests where those are asked for by name."""
    if selection.drivers and NO_DRIVER not in selection.drivers:
        return []
    every = [] if selection.checks and STATIC not in selection.checks else list(static.keys(found, selection.kinds))
    moving = guests.KIND in selection.kinds or bool(selection.checks and not selection.kinds)
    if moving:
        chosen = [c for c in guests.CHECKS if not selection.checks or c in selection.checks]
        every += [CellKey(c, guests.KIND, NO_DRIVER, a, b) for c in chosen for a in found.names for b in found.names]
    return [
        key
        for key in every
        if (not selection.old or key.old in selection.old) and (not selection.new or key.new in selection.new)
    ]


@dataclass(slots=True)
class Runner:
    """Everything a run holds open. ``fixtures`` defaults to the project's own."""

    selection: Selection
    found: Columns
    answers: Answers
    progress: Progress = lambda done, of: None
    tallies: dict[CellKey, Tally] = field(default_factory=dict)
    crossed: dict[CellKey, changes.Crossed] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    done: int = 0
    judged: set[tuple[str, str]] = field(default_factory=set)
    foreign: set[tuple[str, str]] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    moved: tuple[int, int] = (0, 0)  # guests moved now, and known from earlier runs

    def run(self, documents: Sequence[Fixture]) -> None:
        planned: dict[tuple[str, str], list[CellKey]] = {}
        recorded = []
        for key in keys(self.found, self.selection):
            if key.driver == NO_DRIVER:
                recorded.append(key)
            else:
                planned.setdefault((key.kind, key.driver), []).append(key)
            self.tallies[key] = Tally()
            self.crossed[key] = crossed(key, self.found)
        work = [
            (kind, driver, [d for d in documents if d.kind == kind and driver in d.drivers]) for kind, driver in planned
        ]
        total = sum(len(chosen) * len(planned[kind, driver]) for kind, driver, chosen in work)
        for kind, driver, chosen in work:
            waiting = iter(chosen)
            while chunk := list(islice(waiting, CHUNK)):
                self._chunk(chunk, driver, planned[kind, driver])
                self.done += len(chunk) * len(planned[kind, driver])
                self.progress(self.done, total)
        self._static(recorded)

    def _static(self, recorded: Sequence[CellKey]) -> None:
        """Compare the records of each cell of a recorded surface."""
        records = static.Records(self.found)
        moving = [key for key in recorded if key.check != STATIC]
        still = [key for key in recorded if key.check == STATIC]
        for at, key in enumerate(still, 1):
            for verdict in static.judge(key, records, self.selection.cases):
                self._collect(key, verdict)
            self.progress(at, len(still))
        if moving:
            with guests.Moves(self.found, self.progress) as moves:
                for key, verdicts in guests.cells(moves, moving, self.selection.cases).items():
                    for verdict in verdicts:
                        self._collect(key, verdict)
            self.moved = moves.asked, moves.known
            self.notes += agreement(self.tallies, guests.LIVE, guests.KIND)

    def _chunk(self, chunk: Sequence[Fixture], driver: str, cells: Sequence[CellKey]) -> None:
        """Advance all judges of a chunk together, so that each round is one batch of questions."""
        every_check, surface_of = checks.every(), surfaces.every()
        setups = self.answers.drivers[driver].kinds
        judges: list[tuple[CellKey, Case, Steps]] = []
        for fixture in chunk:
            surface = surface_of[fixture.kind]
            case = Case(fixture, driver, surface, setups[fixture.kind], self.found.products)
            if fixture.foreign:
                self.foreign.add((driver, fixture.case))
            judges += [(k, case, every_check[k.check].judge(case, k.old, k.new)) for k in cells]
        waiting: list[tuple[CellKey, Case, Steps, Question | None]] = [(*judge, None) for judge in judges]
        answered: dict[Question, Answer | NotHere] = {}
        while waiting:
            following: list[tuple[CellKey, Case, Steps, Question | None]] = []
            for key, case, steps, question in waiting:
                asks = self._advance(key, case, steps, answered[question] if question else None)
                if asks is not None:
                    following.append((key, case, steps, asks))
            waiting = following
            answered |= self.answers.resolve(q for *_, q in waiting if q is not None and q not in answered)

    def _advance(self, key: CellKey, case: Case, steps: Steps, answer: Answer | NotHere | None) -> Question | None:
        """Send a judge its answer: its next question, or None when it has given its verdict."""
        try:
            return steps.send(answer)  # type: ignore[arg-type]  # None starts a generator
        except StopIteration as stop:
            self._collect(key, stop.value)
        except Exception as error:  # noqa: BLE001 - the one place where a bug of ours becomes an outcome
            reason = f"{type(error).__name__}: {error}"
            self._collect(key, Verdict(case.fixture.case, Outcome.BROKEN, reason=reason))
        return None

    def _collect(self, key: CellKey, verdict: Verdict) -> None:
        verdict = explained(verdict, self.crossed[key])
        if verdict.outcome is not Outcome.NOT_APPLICABLE and key.driver != NO_DRIVER:
            self.judged.add((key.driver, verdict.case))
        self.used |= {f.entry for f in verdict.findings if f.entry}
        if verdict.findings:
            verdict = replace(verdict, findings=tuple(_shortened(f) for f in verdict.findings))
        if key.driver == NO_DRIVER:
            # What a release adds to its interfaces, and what is worth a look, is thousands of names: 'diff' lists them.
            self.tallies[key].add(verdict, self.selection.gate, min(Tier.BREAK, self.selection.gate), MANY)
        else:
            self.tallies[key].add(verdict, self.selection.gate)

    def matrix(self) -> Matrix:
        cells = [tally.cell(key) for key, tally in self.tallies.items()]
        stale = sorted(self._askable() - self.used) if self._everything_asked() else []
        return Matrix(
            columns=self.found.columns,
            cells=cells,
            gate=self.selection.gate,
            asked=self.answers.asked + self.moved[0],
            cached=self.answers.cached + self.moved[1],
            replayed=self.answers.replayed,
            stale=tuple(stale),
            notes=(*self.found.notes, *self._set_aside(), *self.notes),
        )

    def _set_aside(self) -> list[str]:
        """How many of somebody else's documents no release accepts, by driver."""
        aside = Counter(driver for driver, _ in self.foreign - self.judged)
        every = Counter(driver for driver, _ in self.foreign)
        return [
            f"{driver}: {n} of {every[driver]} documents set aside, no release accepts them"
            for driver, n in sorted(aside.items())
        ]

    def _askable(self) -> set[str]:
        """The ledger entries that a check of this run could have used."""
        asked = {key.check for key in self.tallies}
        return {e.id for e in ledger.entries() if not e.checks or e.checks & asked}

    def _everything_asked(self) -> bool:
        """Only a run in which nothing was missing can call a ledger entry stale."""
        missing = any(t.counts.get(Outcome.NOT_HERE) or t.counts.get(Outcome.BROKEN) for t in self.tallies.values())
        return self.selection.complete and not self.foreign and not missing


def crossed(key: CellKey, found: Columns) -> changes.Crossed:
    """The ledger entries that may explain a finding of this cell."""
    return changes.crossed(key, found.products, ledger.entries())


def explained(verdict: Verdict, entries: changes.Crossed) -> Verdict:
    """A verdict with the change ledger applied; an entry's tier decides, so the outcome is taken anew."""
    if not verdict.findings or verdict.outcome not in (Outcome.COMPATIBLE, Outcome.INCOMPATIBLE):
        return verdict
    verdict = changes.explain(verdict, entries)
    bad = verdict.worst >= Tier.BREAK
    return replace(verdict, outcome=Outcome.INCOMPATIBLE if bad else Outcome.COMPATIBLE)


def _cut(verdict: Verdict, most: int) -> Verdict:
    """A verdict with its worst findings, and how many more there are."""
    worst = sorted(verdict.findings, key=lambda f: (-f.tier, f.path, f.change))[:most]
    rest = len(verdict.findings) - most
    return replace(verdict, findings=tuple(worst), reason=f"{rest} more findings: virt-compat explain")


def _shortened(finding: Finding) -> Finding:
    if len(finding.old) <= LONG and len(finding.new) <= LONG:
        return finding
    return replace(finding, old=finding.old[:LONG], new=finding.new[:LONG])


def run(
    selection: Selection,
    documents: Iterable[Fixture] | None = None,
    progress: Progress = lambda done, of: None,
    found: Columns | None = None,
) -> Matrix:
    """Ask, judge, collect. The project's fixtures unless other documents are given."""
    found = found or columns_module.find(selection.releases)
    if documents is not None and not selection.checks:
        # Somebody's documents are asked of the checks that are about documents.
        selection = replace(selection, checks=tuple(checks.every()))
    documents = own_documents(selection) if documents is None else list(documents)
    with opened(found) as answers:
        runner = Runner(selection, found, answers, progress)
        runner.run(documents)
        return runner.matrix()


@contextmanager
def opened(found: Columns) -> Iterator[Answers]:
    """Answers over the user's cache, with the probes ended at the end whatever happens."""
    cache = Cache(paths.cache_dir() / "answers.sqlite")
    try:
        with Prober() as prober:
            yield Answers(found, drivers.every(), cache, prober, Schemas(found))
    finally:
        cache.close()
