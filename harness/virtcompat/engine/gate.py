"""The gate: a candidate against the releases that it must be compatible with, judged item by item."""

from __future__ import annotations

import datetime
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from virtcompat import checks, outputs, surfaces
from virtcompat.engine import columns as columns_module
from virtcompat.engine import run as engine
from virtcompat.engine import witness
from virtcompat.engine.answers import Answers
from virtcompat.engine.columns import Columns
from virtcompat.engine.memory import Memory, document
from virtcompat.engine.run import Progress, Runner, Selection
from virtcompat.engine.tally import Tally
from virtcompat.errors import LabError, UsageError
from virtcompat.facts import masked
from virtcompat.judgement import Item, Judgement, Standing, Unreached, Waiver, Witness, fingerprint
from virtcompat.model import NO_DRIVER, STATIC, CellKey, Column, Finding, Fixture, Outcome, Tier
from virtcompat.policy import waivers as policy
from virtcompat.store import releases, waivers

#: The check that tells, of a release by itself, whether it passes a fixture.
ALONE = "round-trip"
#: Called with what is done now and a progress of it.
Stage = Callable[[str], Progress]


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be judged. budget: seconds for everything; minimise: whether breaks are reduced to witnesses."""

    baselines: tuple[str, ...]
    candidate: str
    drivers: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    gate: Tier = Tier.BREAK
    waivers: Path | None = None
    budget: float | None = None
    minimise: bool = True
    forgive: bool = False  # what this machine cannot ask does not make the judgement inconclusive


@dataclass(slots=True)
class Gate:
    """One judgement in the making."""

    request: Request
    found: Columns
    waived: list[Waiver]
    started: float = field(default_factory=time.monotonic)
    used: set[int] = field(default_factory=set)
    passed: set[tuple[str, str, str]] = field(default_factory=set)
    tried: set[tuple[str, str, str]] = field(default_factory=set)
    before: dict[tuple[str, str], CellKey] = field(default_factory=dict)

    @property
    def deadline(self) -> float | None:
        return None if self.request.budget is None else self.started + self.request.budget

    @property
    def checks(self) -> tuple[str, ...]:
        """The checks that are asked: where they are about documents, also whether the baselines pass these by themselves."""
        own = self.request.checks
        return (*own, ALONE) if set(own) & set(checks.every()) - {ALONE} and ALONE not in own else own

    def wanted(self, key: CellKey) -> bool:
        return not self.request.checks or key.check in self.request.checks or not self.mine(key)

    def mine(self, key: CellKey) -> bool:
        """Whether a cell is about the candidate; the others say what was so before it."""
        return self.request.candidate in (key.old, key.new)

    def ranks(self, memory: Memory) -> Callable[[Fixture, str], int]:
        """What is likely to break comes first: what broke before, then what no gate has judged as it is now."""
        failed = memory.kept.failed()
        digests: dict[int, bool] = {}

        def rank(fixture: Fixture, driver: str) -> int:
            if (fixture.kind, driver, fixture.case) in failed:
                return 0
            if id(fixture) not in digests:
                digests[id(fixture)] = bool(memory.kept.seen([document(fixture)]))
            return 2 if digests[id(fixture)] else 1

        return rank

    def know(self, runner: Runner) -> None:
        """Learn from the releases' own cells what they have already, and what has ever passed."""
        self.passed |= runner.memory.kept.passed()
        for key, tally in runner.tallies.items():
            if not self.mine(key):
                self.learn(key, tally)

    def learn(self, key: CellKey, tally: Tally) -> None:
        """Take in one cell that is not the candidate's."""
        if key.driver != NO_DRIVER:
            self.passed |= {(key.kind, key.driver, case) for case in tally.seen - tally.bad}
            tried = tally.seen | tally.moot if key.check == ALONE else tally.seen
            self.tried |= {(key.kind, key.driver, case) for case in tried}
        for verdict in tally.kept:
            for finding in verdict.findings:
                self.before.setdefault((fingerprint(key, finding), verdict.case), key)

    def new(self, key: CellKey, case: str) -> bool:
        """Whether a baseline was asked this fixture, and none has passed it: of what was not asked nothing is known."""
        place = key.kind, key.driver, case
        return place in self.tried and place not in self.passed

    def items(self, runner: Runner) -> list[Item]:
        """The candidate's findings at the gate's tier, one item a cell, fingerprint and standing."""
        groups: dict[tuple[CellKey, str, Standing], Item] = {}
        for key, tally in runner.tallies.items():
            if not self.mine(key):
                continue
            for verdict in tally.kept:
                for finding in verdict.findings:
                    if finding.tier >= self.request.gate:
                        item = self.item(key, finding, verdict.case)
                        place = key, item.fingerprint, item.standing
                        same = groups.setdefault(place, item)
                        if verdict.case not in same.cases:
                            groups[place] = replace(same, cases=(*same.cases, verdict.case))
        order = list(Standing)
        return sorted(
            groups.values(),
            key=lambda i: (order.index(i.standing), -i.finding.tier, -len(i.cases), i.finding.path, str(i.key)),
        )

    def item(self, key: CellKey, finding: Finding, case: str) -> Item:
        """One finding of one case, with what it means for the gate."""
        print_ = fingerprint(key, finding)
        item = Item(print_, Standing.REGRESSION, key, finding, (case,), f"virt-compat explain {key}/{case}")
        if finding.explained:
            return replace(item, standing=Standing.KNOWN, why=finding.entry)
        for at, waiver in enumerate(self.waived):
            if policy.accepts(waiver, item, self.found.products):
                self.used.add(at)
                if not policy.ended(waiver, datetime.date.today(), self.found.products[self.request.candidate]):
                    return replace(item, standing=Standing.WAIVED, why=waiver.reason, waiver=waiver)
        if self.new(key, case):
            return replace(item, standing=Standing.PENDING, why="no release has passed this fixture yet")
        if (print_, case) in self.before:
            return replace(item, standing=Standing.BEFORE, why=f"as in {self.before[print_, case]}")
        return item

    def missing(self, runner: Runner, outcome: Outcome) -> list[Unreached]:
        """What of the candidate's cells could not be asked (or broke), by cell and reason."""
        counts: Counter[tuple[CellKey, str]] = Counter()
        for key, tally in runner.tallies.items():
            if self.mine(key):
                counts.update((key, v.reason) for v in tally.kept if v.outcome is outcome)
        late = engine.LATE.reason
        return [Unreached(key, n, why, why.startswith(late)) for (key, why), n in counts.items()]

    def problems(self, runner: Runner) -> list[str]:
        """What is wrong with the waivers; one that was not reached is not said to match nothing."""
        unknown = (Outcome.NOT_HERE, Outcome.BROKEN)
        whole = [
            key
            for key, tally in runner.tallies.items()
            if self.mine(key) and not any(tally.counts.get(o) for o in unknown) and not self.request.cases
        ]
        ends = (datetime.date.today(), self.found.products[self.request.candidate])
        return policy.problems(self.waived, self.used, whole, self.found.products, ends)

    def minimised(self, items: list[Item], answers: Answers, progress: Progress) -> Iterator[Item]:
        """The items, each regression with its witness; those of one cause share the first one's."""
        heads: dict[tuple[str, ...], str] = {}
        todo = [i for i in items if i.standing is Standing.REGRESSION]
        for item in items:
            if item.standing is not Standing.REGRESSION or item.key.driver == NO_DRIVER:
                yield item
                continue
            place, change = masked(item.finding.path), item.finding.change.value
            cause = (item.key.kind, item.key.driver, place, change, outputs.words(item.finding))
            if cause in heads:
                yield replace(item, why=f"like {heads[cause]}, whose witness shows it")
                continue
            heads[cause] = item.fingerprint
            made = self._witness(item, answers)
            progress(todo.index(item) + 1, len(todo))
            yield replace(item, witness=made, command=made.command if made else item.command)

    def _witness(self, item: Item, answers: Answers) -> Witness | None:
        """The item's witness; a check of the candidate by itself is held against the newest baseline."""
        alone = item.key.old == item.key.new
        control = next((n for n in reversed(self.found.names) if n in self.request.baselines), "") if alone else ""
        try:
            return witness.witness(item.key, item.cases[0], item.finding, answers, self.deadline, baseline=control)
        except LabError:
            return None  # a lab that dies of a smaller document takes the witness with it, not the judgement


def judge(
    request: Request, stage: Stage = lambda title: lambda done, of: None, found: Columns | None = None
) -> Judgement:
    """Ask what is not known, judge it against the baselines. UsageError where a name does not exist.

    found: the columns with their labs, where they are not those of releases by name: nothing of such a candidate is
    remembered for later gates.
    """
    if request.candidate in request.baselines:
        raise UsageError(f"{request.candidate} is baseline and candidate", "name another candidate")
    names, lasting = (*request.baselines, request.candidate), found is None
    narrowed = Selection(request.checks, request.kinds, request.drivers, (), cases=request.cases, gate=request.gate)
    for name in names if lasting else ():
        releases.find(name)
    selection = engine.validated(narrowed)
    _without_driver(request)
    found = columns_module.find(names) if found is None else found
    found.columns = in_order(found.columns, request.candidate)
    gate = Gate(request, found, waivers.read(request.waivers) if request.waivers else [])
    selection = replace(selection, checks=gate.checks)
    documents = engine.own_documents(selection)
    with engine.opened(found) as answers:
        memory = Memory(found)
        try:
            runner = Runner(selection, found, answers, memory, stage("asking"), gate.wanted, gate.deadline, whole=True)
            runner.ranks = gate.ranks(memory) if gate.deadline is not None else runner.ranks
            runner.run(documents)
            gate.know(runner)
            items = gate.items(runner)
            if lasting:
                memory.kept.fail(_cases(items))
                memory.kept.succeed(gate.passed | _passed(runner))
            if request.minimise:
                items = list(gate.minimised(items, answers, stage("minimising")))
        finally:
            memory.kept.close()
        return _judgement(gate, runner, items)


def in_order(columns: Iterable[Column], candidate: str) -> list[Column]:
    """Columns by version; of one libvirt the candidate is the newer, whatever QEMU stands beside it."""
    return sorted(columns, key=lambda c: (c.order[0], c.name == candidate, c.order[1:]))


def _without_driver(request: Request) -> None:
    """UsageError where a surface is named that a driver named too leaves out: it would be passed over in silence."""
    lost = [k for k in request.kinds if k in surfaces.every_recorded()] + [c for c in request.checks if c == STATIC]
    if lost and request.drivers and NO_DRIVER not in request.drivers:
        raise UsageError(f"'{lost[0]}' has no driver, and --driver leaves it out", "leave one out, or use two gates")


def _cases(items: list[Item]) -> Iterator[tuple[str, str, str]]:
    for item in items:
        if item.standing is Standing.REGRESSION and item.key.driver != NO_DRIVER:
            yield from ((item.key.kind, item.key.driver, case) for case in item.cases)


def _passed(runner: Runner) -> set[tuple[str, str, str]]:
    """What some release passed in a check of itself."""
    return {
        (key.kind, key.driver, case)
        for key, tally in runner.tallies.items()
        if key.driver != NO_DRIVER and key.old == key.new
        for case in tally.seen - tally.bad
    }


def _judgement(gate: Gate, runner: Runner, items: list[Item]) -> Judgement:
    mine = [tally for key, tally in runner.tallies.items() if gate.mine(key)]
    by_name = {c.name: c for c in gate.found.columns}
    return Judgement(
        candidate=by_name[gate.request.candidate],
        baselines=tuple(by_name[name] for name in gate.found.names if name in gate.request.baselines),
        gate=gate.request.gate,
        items=tuple(items),
        unreached=tuple(gate.missing(runner, Outcome.NOT_HERE)),
        broken=tuple(gate.missing(runner, Outcome.BROKEN)),
        problems=tuple(gate.problems(runner)),
        compatible=sum(t.counts[Outcome.COMPATIBLE] for t in mine),
        incompatible=sum(t.counts[Outcome.INCOMPATIBLE] for t in mine),
        asked=runner.answers.asked + runner.moved[0],
        known=runner.answers.cached + runner.answers.replayed + runner.moved[1],
        judged=runner.judged,
        remembered=runner.remembered,
        seconds=time.monotonic() - gate.started,
        notes=tuple(gate.found.notes),
        forgiven=gate.request.forgive,
        waivers=tuple(gate.waived),
    )
