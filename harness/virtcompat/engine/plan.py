"""A cluster's upgrade planned over the measured matrix: its cells asked, the planner run, the level that each step leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from virtcompat.engine import columns, guests
from virtcompat.engine.guests import KIND, LIVE, WORKERS, Moves
from virtcompat.engine.run import crossed, explained
from virtcompat.errors import NotAsked, VirtCompatError
from virtcompat.model import NO_DRIVER, CellKey, Outcome, Verdict
from virtcompat.policy import cluster as policy
from virtcompat.policy.changes import Crossed
from virtcompat.policy.cluster import UNLIMITED, Evidence, No, Problem, Say, Step, Unknown, Yes
from virtcompat.policy.moved import verdict as verdict_of
from virtcompat.policy.planner import Answer, Impossible, Plan, Unproven, solve
from virtcompat.renderers import sentence
from virtcompat.store import clusters, releases, tables
from virtcompat.store import guests as sets
from virtcompat.store.clusters import Cluster, Mistake

Progress = Callable[[int, int], None]
WIDTH = 110
MEASURED = "measured under TCG, of guests started on the release that they leave; not of one that has moved before"
#: (from release, to release, machine type, device set)
Question = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Level:
    """What every release of the moment understands. machines: the newest common machine type of each family that is used.

    spice: the newest compat version that all accept, or why it is not known.
    """

    releases: tuple[str, ...]
    machines: tuple[str, ...]
    spice: str


@dataclass(frozen=True, slots=True)
class Kind:
    """Guests that move alike."""

    machine: str
    devices: tuple[str, ...]
    restart: bool

    @property
    def name(self) -> str:
        return f"{self.machine}/{'+'.join(self.devices)}" + (" (may restart)" if self.restart else "")


@dataclass(frozen=True, slots=True)
class Planned:
    """The planner's answer and what belongs to it.

    levels: before the first step and after each. hints: what would make a plan possible, tried. asked, known: moves
    measured now and before. notes: what else there is to know.
    """

    cluster: Cluster
    problem: Problem
    answer: Answer
    levels: tuple[Level, ...] = ()
    hints: tuple[str, ...] = ()
    asked: int = 0
    known: int = 0
    notes: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        match self.answer:
            case Plan():
                return "plan"
            case Impossible():
                return "impossible"
            case Unproven():
                return "unproven"

    @property
    def exit_code(self) -> int:
        return {"plan": 0, "impossible": 1}.get(self.word, 3)


def plan(file: Path, progress: Progress = lambda done, of: None) -> Planned:
    """The plan of a cluster file. BadData where the file is wrong; what could not be asked makes it unproven."""
    cluster = clusters.read(file)
    order = _order(cluster)
    found = columns.find(order)
    with Moves(found) as moves:
        asking = Asking(cluster, moves)
        clusters.refuse(file, list(asking.mistakes()))
        problem = asking.problem(order)
        if any(host.release != cluster.target for host in cluster.hosts):
            asking.ask(order, progress)
        answer = solve(problem, asking.may)
        steps = answer.steps if isinstance(answer, Plan) else ()
        levels = tuple(asking.level(present) for present in _present(problem, steps))
        hints = tuple(_hints(asking, problem, answer)) if isinstance(answer, Impossible) else ()
        notes = (*found.notes, *asking.deprecated(), MEASURED)
        return Planned(cluster, problem, answer, levels, hints, moves.asked, moves.known, notes)


def _order(cluster: Cluster) -> tuple[str, ...]:
    """Every release that a host has or goes through, oldest first, the target last."""
    every = {
        r
        for release in {host.release for host in cluster.hosts}
        for r in clusters.chain(release, cluster.target, cluster.path)
    }
    older = sorted(every - {cluster.target}, key=lambda name: (releases.find(name).order, name))
    return (*older, cluster.target)


def _present(problem: Problem, steps: Sequence[Step]) -> Iterator[tuple[str, ...]]:
    """The releases in the cluster, before the first step and after each."""
    now = {host.name: host.release for host in problem.hosts}
    yield tuple(r for r in problem.releases if r in now.values())
    for step in steps:
        now |= {upgrade.host: upgrade.releases[-1] for upgrade in step.upgrades}
        yield tuple(r for r in problem.releases if r in now.values())


@dataclass(slots=True)
class Asking:
    """The matrix as far as a cluster needs it."""

    cluster: Cluster
    moves: Moves
    verdicts: dict[Question, Verdict] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)
    shut_down: frozenset[str] = frozenset()  # kinds that are tried as if they might be shut down
    types: dict[str, frozenset[str]] = field(default_factory=dict)
    entries: dict[CellKey, Crossed] = field(default_factory=dict)

    def machines(self, release: str) -> frozenset[str]:
        """The machine types of a release; NotAsked where they are not known."""
        if release not in self.types:
            self.types[release] = self.moves.machines(release)
        return self.types[release]

    def mistakes(self) -> Iterator[Mistake]:
        """Guests whose machine type their host's release does not have."""
        at = {host.name: host.release for host in self.cluster.hosts}
        for guest in self.cluster.guests:
            release = at[guest.host]
            try:
                there = self.machines(release)
            except NotAsked:
                continue  # what is not recorded cannot be refuted; its moves are not known either
            if guest.machine not in there:
                words = f"guest '{guest.name}': {release} has no machine type '{guest.machine}'"
                family = guest.machine.rpartition("-")[0]
                alike = sorted((m for m in there if family and m.startswith(f"{family}-")), key=_version)[-4:]
                yield guest.line, words, f"it has {', '.join(alike or sorted(guests.ALIASES))} and others"

    def problem(self, order: tuple[str, ...]) -> Problem:
        """The planner's problem; guests by their kind."""
        at = {host.name: host.release for host in self.cluster.hosts}
        members = []
        for guest in self.cluster.guests:
            try:
                machine = self.moves.meaning(at[guest.host], guest.machine)
            except NotAsked:
                machine = guest.machine
            kind = Kind(machine, tuple(sorted(set(guest.devices))), guest.restart)
            self.kinds[kind.name] = kind
            members.append(policy.Guest(guest.name, guest.host, kind.name, guest.size))
        hosts = tuple(
            policy.Host(h.name, h.release, tuple(UNLIMITED if r is None else r for r in h.room))
            for h in self.cluster.hosts
        )
        path = self.cluster.path
        after = {name: clusters.chain(name, order[-1], path)[1] for name in order[:-1]}
        units = tuple(f"MiB of {key}" if unit == "MiB" else unit for key, unit in clusters.ROOM.items())
        return Problem(hosts, tuple(members), order, after, self.cluster.down, units)

    def ask(self, order: tuple[str, ...], progress: Progress) -> None:
        """Every move that a plan may need, from the cells that are known, else of the labs."""
        wanted = list(dict.fromkeys(self._wanted(order)))
        with ThreadPoolExecutor(WORKERS) as pool:
            tasks = [pool.submit(self._asked, question) for question in wanted]
            try:
                for at, (question, task) in enumerate(zip(wanted, tasks, strict=True), 1):
                    self.verdicts[question] = task.result()
                    progress(at, len(wanted))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _wanted(self, order: tuple[str, ...]) -> Iterator[Question]:
        for kind in self.kinds.values():
            for old in order:
                for new in order:
                    if self._lacking(kind.machine, old, new) is None:
                        yield from ((old, new, kind.machine, name) for name in kind.devices)

    def _asked(self, question: Question) -> Verdict:
        old, new, machine, devices = question
        case, argv = f"{machine}/{devices}", sets.every()[devices].command(machine)
        if argv is None:
            return Verdict(case, Outcome.NOT_APPLICABLE, reason=f"no device set is for a {machine}")
        try:
            verdict = verdict_of(case, self.moves.moved(old, new, argv))
        except VirtCompatError as error:
            return Verdict(case, Outcome.BROKEN, reason=f"{error.message}; {error.remedy}")
        key = CellKey(LIVE, KIND, NO_DRIVER, old, new)
        if key not in self.entries:
            self.entries[key] = crossed(key, self.moves.found)
        return explained(verdict, self.entries[key])

    def _lacking(self, machine: str, old: str, new: str) -> Say | None:
        """Why a machine type forbids a move whatever the devices; None where it does not."""
        for release, other in ((new, old), (old, new)):
            try:
                there = self.machines(release)
            except NotAsked as error:
                return Unknown(
                    (Evidence(f"{release}: its machine types are not known: {error.message}", error.remedy),)
                )
            if machine not in there:
                command = f"virt-compat can-migrate --from {other} --to {release} --machine {machine}"
                return No((Evidence(f"{release} has no machine type {machine}", command),))
        return None

    def may(self, name: str, old: str, new: str) -> Say:
        """The planner's matrix: live where that was measured to work; shut down where the machine type is there."""
        kind = self.kinds[name]
        lacking = self._lacking(kind.machine, old, new)
        if lacking is not None:
            return lacking
        found = [(question, self.verdicts[question]) for d in kind.devices if (question := (old, new, kind.machine, d))]
        bad = [pair for pair in found if pair[1].outcome is Outcome.INCOMPATIBLE]
        open_ = [pair for pair in found if pair[1].outcome not in (Outcome.COMPATIBLE, Outcome.INCOMPATIBLE)]
        if not bad and not open_:
            return Yes()
        if kind.restart or name in self.shut_down:
            return Yes(cold=True)
        return No(tuple(map(_forbids, bad))) if bad else Unknown(tuple(map(_opens, open_)))

    def level(self, present: tuple[str, ...]) -> Level:
        """What all of these releases understand."""
        try:
            common = frozenset.intersection(*(self.machines(release) for release in present))
        except NotAsked:
            common = frozenset()
        newest = []
        for family in sorted({kind.machine.rpartition("-")[0] for kind in self.kinds.values()} - {""}):
            versioned = [m for m in common if m.rpartition("-")[0] == family and _version(m)]
            newest += [max(versioned, key=_version)] if versioned else [f"{family}: not known"]
        return Level(present, tuple(newest), self._spice(present))

    def _spice(self, present: tuple[str, ...]) -> str:
        """The newest SPICE compat version that all accept: ``1 (0.6)``."""
        accepted: list[set[str]] = []
        current = set()
        names: dict[str, str] = {}
        for release in present:
            try:
                facts = self.moves.records.facts(release, "spice")
            except NotAsked as error:
                return f"not known ({error.message})"
            above = "compat/version/"
            accepted.append(
                {p.removeprefix(above) for p, v in facts.items() if p.startswith(above) and v == "accepted"}
            )
            current.add(facts.get("compat/current", ""))
            word = "/SPICE_COMPAT_VERSION_"
            names |= {
                v: p.partition(word)[2].replace("_", ".") for p, v in facts.items() if word in p and "/enum/" in p
            }
        common = sorted(set.intersection(*accepted), key=tables.version)
        if not common:
            return "none in common"
        told = "" if current <= {common[-1], ""} else ", which newer servers must be told to keep to"
        return f"{common[-1]} ({names.get(common[-1], 'without a name')}){told}"

    def deprecated(self) -> Iterator[str]:
        """Machine types that the target still has and will not have for long."""
        target = self.cluster.target
        try:
            facts = self.moves.records.facts(target, "machine-types")
        except NotAsked:
            return
        for machine in dict.fromkeys(kind.machine for kind in self.kinds.values()):
            if facts.get(f"x86_64/machine/{machine}/deprecated") == "yes":
                yield f"{machine} is deprecated in {target}: its guests need a newer machine type before a later upgrade"


def _version(machine: str) -> tuple[int, ...]:
    return tables.version(machine.rpartition("-")[2])


def _command(question: Question) -> str:
    old, new, machine, devices = question
    return f"virt-compat can-migrate --from {old} --to {new} --machine {machine} --device-set {devices}"


def _forbids(found: tuple[Question, Verdict]) -> Evidence:
    question, verdict = found
    worst = max(verdict.findings, key=lambda f: f.tier)
    place = worst.path.removeprefix(f"{verdict.case}/")
    words = sentence(replace(worst, path=place), WIDTH)
    if place.startswith("("):
        words = " ".join(worst.new.split())[:WIDTH]
    return Evidence(f"{verdict.case}: {words}{f' <{worst.entry}>' if worst.entry else ''}", _command(question))


def _opens(found: tuple[Question, Verdict]) -> Evidence:
    question, verdict = found
    return Evidence(f"{verdict.outcome}: {verdict.reason}", _command(question))


def _hints(asking: Asking, problem: Problem, impossible: Impossible) -> Iterator[str]:
    """What would make a plan possible: guests shut down, one more host. Each was tried."""
    kinds = {forbidden.pair[0] for proof in impossible.proofs for forbidden in proof.forbidden}
    if kinds:
        trial = replace(asking, shut_down=frozenset(kinds))
        if isinstance(solve(problem, trial.may), Plan):
            names = [guest.name for guest in problem.guests if guest.kind in kinds]
            yield f"there is a plan if these may be shut down (restart = true): {_few(names)}"
    more = problem.down + 1
    if more < len(problem.hosts) and isinstance(solve(replace(problem, down=more), asking.may), Plan):
        yield f"there is a plan if {more} hosts may be down at once (down = {more})"
    largest = max(problem.hosts, key=lambda host: host.room)
    spare = policy.Host("(spare)", problem.target, largest.room)
    if isinstance(solve(replace(problem, hosts=(*problem.hosts, spare)), asking.may), Plan):
        yield f"there is a plan with one more host, empty, as large as {largest.name}, on {problem.target} from the start"


def _few(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
