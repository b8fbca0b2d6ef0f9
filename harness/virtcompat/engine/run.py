"""One run: cells planned, judged case by case, collected into a matrix."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from virtcompat import checks, drivers, surfaces
from virtcompat.checks import Check
from virtcompat.engine import columns as columns_module
from virtcompat.engine import guests, remote, static
from virtcompat.engine.answers import Answers
from virtcompat.engine.columns import Columns
from virtcompat.engine.fold import summed
from virtcompat.engine.judging import Waiting, judge
from virtcompat.engine.memory import Memory, document
from virtcompat.engine.schemas import Schemas
from virtcompat.engine.tally import MANY, Tally, shortened
from virtcompat.errors import UsageError
from virtcompat.labs.prober import Prober
from virtcompat.model import (
    NO_DRIVER,
    STATIC,
    CellKey,
    Direction,
    Fixture,
    Matrix,
    NotHere,
    Outcome,
    Tier,
    Verdict,
    unasked,
)
from virtcompat.policy import changes
from virtcompat.store import fixtures, ledger, paths, releases
from virtcompat.store.cache import Cache

CHUNK = 300
#: Why something was not asked that could have been.
LATE = NotHere("the time budget ended first", "give it more")
HURRIED = 40  # with a time budget: small enough to stop in time
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
    checks.choose(tuple(c for c in selection.checks if c not in (STATIC, *guests.CHECKS, *remote.CHECKS)))
    drivers.choose(tuple(d for d in selection.drivers if d != NO_DRIVER))
    for name in (*selection.releases, *selection.old, *selection.new):
        releases.find(name.partition("@")[0])
    known = {**surfaces.every(), **surfaces.every_recorded()}
    for kind in selection.kinds:
        if kind not in known and kind != remote.KIND:
            raise UsageError(f"no kind or surface '{kind}'", f"use one of: {', '.join(known)}")
    return selection


def own_documents(selection: Selection) -> list[Fixture]:
    """The project's fixtures that a selection is about."""
    kinds = tuple(k for k in surfaces.every() if not selection.kinds or k in selection.kinds)
    chosen = tuple(drivers.asked(selection.drivers))
    return fixtures.load(kinds, chosen, selection.cases) if kinds and chosen else []


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
        for driver in drivers.asked(selection.drivers).values()
        for kind in driver.kinds
        if not selection.kinds or kind in selection.kinds
        for old, new in pairs(found, check, selection)
    ] + record_keys(found, selection)


def record_keys(found: Columns, selection: Selection) -> list[CellKey]:
    """The cells of recorded surfaces in a selection, and of moving guests and of clients where they are asked by name."""
    talking = {remote.DRIVER, remote.CHECK, remote.KIND} & {*selection.drivers, *selection.checks, *selection.kinds}
    clients = remote.keys(found, selection.old, selection.new) if talking else []
    if selection.drivers and NO_DRIVER not in selection.drivers:
        return clients
    every = [] if selection.checks and STATIC not in selection.checks else list(static.keys(found, selection.kinds))
    moving = guests.KIND in selection.kinds or bool(selection.checks and not selection.kinds)
    if moving:
        chosen = [c for c in guests.CHECKS if not selection.checks or c in selection.checks]
        every += [CellKey(c, guests.KIND, NO_DRIVER, a, b) for c in chosen for a in found.names for b in found.names]
    return clients + [
        key
        for key in every
        if (not selection.old or key.old in selection.old) and (not selection.new or key.new in selection.new)
    ]


@dataclass(slots=True)
class Runner:
    """Everything a run holds open.

    wanted: which of the selection's cells. deadline: of :func:`time.monotonic`; what is not reached by then is
    not here. ranks: (kind, driver, case) -> what is judged first where there is a deadline, lowest first. whole: keep
    every finding with its values entire, where they are told apart one by one.
    """

    selection: Selection
    found: Columns
    answers: Answers
    memory: Memory
    progress: Progress = lambda done, of: None
    wanted: Callable[[CellKey], bool] = lambda key: True
    deadline: float | None = None
    ranks: Callable[[Fixture, str], int] = lambda fixture, driver: 0
    whole: bool = False
    tallies: dict[CellKey, Tally] = field(default_factory=dict)
    crossed: dict[CellKey, changes.Crossed] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    done: int = 0
    seen: set[tuple[str, str]] = field(default_factory=set)
    foreign: set[tuple[str, str]] = field(default_factory=set)
    moved: tuple[int, int] = (0, 0)  # guests moved now, and known from earlier runs
    judged: int = 0
    remembered: int = 0

    def run(self, documents: Sequence[Fixture]) -> None:
        planned: dict[tuple[str, str], list[CellKey]] = {}
        recorded = []
        for key in keys(self.found, self.selection):
            if not self.wanted(key):
                continue
            if key.driver == NO_DRIVER or key.check == remote.CHECK:
                recorded.append(key)
            else:
                planned.setdefault((key.kind, key.driver), []).append(key)
            self.tallies[key] = Tally()
            self.crossed[key] = crossed(key, self.found)
        digests = {id(d): document(d) for d in documents}
        work = {
            (kind, driver): [d for d in documents if d.kind == kind and driver in d.drivers] for kind, driver in planned
        }
        total = sum(len(chosen) * len(planned[group]) for group, chosen in work.items())
        waiting = [
            w for group, chosen in work.items() for w in self._recalled(chosen, group[1], planned[group], digests)
        ]
        self.progress(self.done, total)
        for chunk in self._chunks(waiting):
            if self._late():
                self._give_up(chunk)
            else:
                self._chunk(chunk)
                self.memory.kept.see(digests[id(fixture)] for fixture, *_ in chunk)
                self.memory.flush()
            self.done += sum(len(cells) for *_, cells in chunk)
            self.progress(self.done, total)
        self._static(recorded)

    def _recalled(
        self, chosen: Sequence[Fixture], driver: str, cells: Sequence[CellKey], digests: dict[int, bytes]
    ) -> Iterator[Waiting]:
        """Collect the verdicts that are known; the documents that wait for others."""
        asked = [
            (fixture, [(cell, self.memory.key(cell, digests[id(fixture)])) for cell in cells]) for fixture in chosen
        ]
        known = self.memory.kept.get_many(key for _, pairs in asked for _, key in pairs)
        for fixture, pairs in asked:
            if fixture.foreign:
                self.foreign.add((driver, fixture.case))
            for cell, key in pairs:
                if key in known:
                    self._collect(cell, known[key][0])
                    self.remembered += 1
                    self.done += 1
            left = [(cell, key) for cell, key in pairs if key not in known]
            if left:
                yield fixture, driver, left

    def _chunks(self, waiting: Sequence[Waiting]) -> list[list[Waiting]]:
        """Documents of one kind and driver together; in a hurry those that are likely to break first."""
        groups: dict[tuple[str, str, int], list[Waiting]] = {}
        for one in waiting:
            fixture, driver, _ = one
            rank = self.ranks(fixture, driver) if self.deadline is not None else 0
            groups.setdefault((fixture.kind, driver, rank), []).append(one)
        size = CHUNK if self.deadline is None else HURRIED
        in_order = sorted(groups.items(), key=lambda item: item[0][2])
        return [group[at : at + size] for _, group in in_order for at in range(0, len(group), size)]

    def _late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def _give_up(self, chunk: Sequence[Waiting]) -> None:
        for fixture, _, cells in chunk:
            for key, _ in cells:
                self._collect(key, _belated(fixture.case))

    def _static(self, recorded: Sequence[CellKey]) -> None:
        """Compare the records of each cell of a recorded surface."""
        records = static.Records(self.found)
        moving = [key for key in recorded if key.check in guests.CHECKS]
        self._talk([key for key in recorded if key.check == remote.CHECK])
        still = {self.memory.key(key): key for key in recorded if key.check == STATIC}
        known = self.memory.kept.get_many(still)
        for at, (kept, key) in enumerate(still.items(), 1):
            if kept in known:
                self.remembered += len(known[kept])
            elif self._late():
                known[kept] = [_belated("(record)")]
            else:
                known[kept] = list(static.judge(key, records))
                self.judged += len(known[kept])
                self.memory.remember(kept, known[kept])
                self.memory.flush()
            for verdict in static.chosen(known.pop(kept), self.selection.cases):
                self._collect(key, verdict)
            self.progress(at, len(still))
        if moving:
            with guests.Moves(self.found, self.progress) as moves:
                for part in [moving] if self.deadline is None else [[key] for key in moving]:
                    if self._late():
                        self._collect(part[0], _belated("(guests)"))
                        continue
                    for key, verdicts in guests.cells(moves, part, self.selection.cases).items():
                        for verdict in verdicts:
                            self._collect(key, verdict)
            self.moved = moves.asked, moves.known

    def _talk(self, clients: Sequence[CellKey]) -> None:
        """Ask each pair of a client and a daemon; a deadline is looked at before, not between."""
        if clients and self._late():
            for key in clients:
                self._collect(key, _belated("(connection)"))
        elif clients:
            with remote.Talks(self.found, self.progress) as talks:
                for key, verdicts in remote.cells(talks, clients, self.selection.cases).items():
                    for verdict in verdicts:
                        self._collect(key, verdict)
            self.moved = talks.asked, talks.known

    def _chunk(self, chunk: Sequence[Waiting]) -> None:
        for key, kept, verdict in judge(chunk, self.found.products, self.answers):
            self.judged += 1
            self.memory.remember(kept, [verdict])
            self._collect(key, verdict)

    def _collect(self, key: CellKey, verdict: Verdict) -> None:
        verdict = explained(verdict, self.crossed[key])
        if verdict.outcome is not Outcome.NOT_APPLICABLE and key.driver != NO_DRIVER:
            self.seen.add((key.driver, verdict.case))
        self.used |= {f.entry for f in verdict.findings if f.entry}
        if verdict.findings and not self.whole:
            verdict = replace(verdict, findings=tuple(shortened(f) for f in verdict.findings))
        if key.driver == NO_DRIVER:
            # What a release adds to its interfaces, and what is worth a look, is thousands of names: 'diff' lists them.
            self.tallies[key].add(
                verdict, self.selection.gate, min(Tier.BREAK, self.selection.gate), None if self.whole else MANY
            )
        else:
            self.tallies[key].add(verdict, self.selection.gate)

    def matrix(self) -> Matrix:
        return summed(self).matrix(self.found, self.selection.gate, complete=self.selection.complete)


def _belated(case: str) -> Verdict:
    return unasked(case, LATE)


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
        runner = Runner(selection, found, answers, Memory(found), progress)
        try:
            runner.run(documents)
        finally:
            runner.memory.kept.close()
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
