"""What the planner is held against, written without it: a simulator that refuses what strands a guest, and brute force."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from hypothesis import strategies as st
from virtcompat.policy.cluster import Guest, Host, May, Move, No, Pair, Problem, Say, Step, Unknown, Upgrade, Yes


class Stranded(AssertionError):
    """A rule was broken."""


def matrix(table: Mapping[Pair, Say]) -> May:
    return lambda kind, old, new: table.get((kind, old, new), Yes())


@dataclass
class Simulator:
    """A cluster on which steps are executed one action at a time, forwards and back."""

    problem: Problem
    may: May
    release: dict[str, str] = field(default_factory=dict)
    place: dict[str, str] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.release = {host.name: host.release for host in self.problem.hosts}
        self.place = {guest.name: guest.host for guest in self.problem.guests}
        self.origin = {name: self.release[host] for name, host in self.place.items()}
        self.guests = {guest.name: guest for guest in self.problem.guests}

    def works(self, kind: str, old: str, new: str) -> bool:
        return all(isinstance(self.may(kind, *way), Yes) for way in ((old, new), (new, old)))

    def move(self, guest: str, source: str, end: str) -> None:
        if self.place[guest] != source or source == end or end not in self.release:
            raise Stranded(f"{guest} is not on {source}, or {end} is no other host")
        if not self.works(self.guests[guest].kind, self.release[source], self.release[end]):
            raise Stranded(f"{guest} does not go {self.release[source]} -> {self.release[end]} and back")
        self.place[guest] = end

    def upgrade(self, hosts: Mapping[str, str], down: int) -> None:
        """Take these hosts down together and bring each up with a release, newer or older."""
        if not 0 < len(hosts) <= down:
            raise Stranded(f"{len(hosts)} hosts down")
        if set(hosts) & set(self.place.values()):
            raise Stranded("a host is upgraded under its guests")
        self.release |= hosts

    def check(self) -> None:
        """Every guest runs on one host that is up, there is room, and a way back."""
        taken = {host.name: [0] * len(host.room) for host in self.problem.hosts}
        for name, where in self.place.items():
            for at, size in enumerate(self.guests[name].size):
                taken[where][at] += size
        for host in self.problem.hosts:
            if any(used > room for used, room in zip(taken[host.name], host.room, strict=True)):
                raise Stranded(f"{host.name} is too full")
        order = self.problem.releases.index
        present = set(self.release.values())
        for name, where in self.place.items():
            here = self.release[where]
            older = {r for r in present if order(r) < order(here)}
            back = any(self.works(self.guests[name].kind, here, r) for r in older)
            if order(here) > order(self.origin[name]) and older and not back:
                raise Stranded(f"{name} cannot go back from {here}")

    @property
    def done(self) -> bool:
        return all(release == self.problem.target for release in self.release.values())


#: A move, or the hosts that are upgraded together.
Action = Move | tuple[Upgrade, ...]


def actions(steps: Sequence[Step]) -> Iterator[Action]:
    for step in steps:
        yield from step.moves
        yield step.upgrades


def advance(simulator: Simulator, action: Action) -> None:
    if isinstance(action, Move):
        if (simulator.release[action.source], simulator.release[action.destination]) != (action.old, action.new):
            raise Stranded("the plan says other releases")
        simulator.move(action.guest, action.source, action.destination)
    else:
        for upgrade in action:
            if simulator.release[upgrade.host] != upgrade.releases[0]:
                raise Stranded(f"{upgrade.host} is not on {upgrade.releases[0]}")
            for old, new in zip(upgrade.releases, upgrade.releases[1:], strict=False):
                if simulator.problem.after[old] != new:
                    raise Stranded(f"no host goes {old} -> {new}")
        simulator.upgrade({upgrade.host: upgrade.releases[-1] for upgrade in action}, simulator.problem.down)
    simulator.check()


def retreat(simulator: Simulator, action: Action) -> None:
    """Undo one action."""
    if isinstance(action, Move):
        simulator.move(action.guest, action.destination, action.source)
    else:
        simulator.upgrade({upgrade.host: upgrade.releases[0] for upgrade in action}, simulator.problem.down)
    simulator.check()


def executed(problem: Problem, may: May, steps: Sequence[Step]) -> Simulator:
    """The cluster after a plan; Stranded where it breaks a rule or leaves a host behind."""
    simulator = Simulator(problem, may)
    simulator.check()
    for action in actions(steps):
        advance(simulator, action)
    if not simulator.done:
        raise Stranded("a host is left behind")
    return simulator


def exists(problem: Problem, may: May) -> bool:
    """Whether any order of moves and upgrades leads to the end, by trying them all."""
    hosts, guests = [h.name for h in problem.hosts], [g.name for g in problem.guests]
    simulator = Simulator(problem, may)
    first = tuple(h.release for h in problem.hosts), tuple(g.host for g in problem.guests)
    seen, waiting = {first}, [first]
    while waiting:
        releases, places = waiting.pop()
        if all(release == problem.target for release in releases):
            return True
        for following in (*_upgraded(problem, hosts, releases, places), *_moved(simulator, hosts, releases, places)):
            if following in seen:
                continue
            simulator.release = dict(zip(hosts, following[0], strict=True))
            simulator.place = dict(zip(guests, following[1], strict=True))
            try:
                simulator.check()
            except Stranded:
                continue
            seen.add(following)
            waiting.append(following)
    return False


Names = tuple[str, ...]


def _upgraded(problem: Problem, hosts: list[str], releases: Names, places: Names) -> Iterator[tuple[Names, Names]]:
    choices = []
    for host, release in zip(hosts, releases, strict=True):
        chain = [release]
        while host not in places and chain[-1] != problem.target:
            chain.append(problem.after[chain[-1]])
        choices.append(chain)
    for chosen in product(*choices):
        if 0 < sum(a != b for a, b in zip(chosen, releases, strict=True)) <= problem.down:
            yield chosen, places


def _moved(simulator: Simulator, hosts: list[str], releases: Names, places: Names) -> Iterator[tuple[Names, Names]]:
    at = dict(zip(hosts, releases, strict=True))
    for number, guest in enumerate(simulator.problem.guests):
        for host in hosts:
            here = places[number]
            if host != here and simulator.works(guest.kind, at[here], at[host]):
                yield releases, (*places[:number], host, *places[number + 1 :])


@st.composite
def problems(draw: st.DrawFn, hosts: int = 3, guests: int = 4, unknown: bool = True) -> tuple[Problem, dict[Pair, Say]]:
    """A tiny cluster, some of it perhaps upgraded already, and a matrix with some holes."""
    releases = tuple("abcd"[: draw(st.integers(2, 4))])
    direct = draw(st.booleans())
    after = {r: releases[-1] if direct else releases[at + 1] for at, r in enumerate(releases[:-1])}
    mostly = st.one_of(st.just(releases[0]), st.just(releases[0]), st.sampled_from(releases))
    machines = [Host(f"h{n}", draw(mostly), (draw(st.integers(1, 4)),)) for n in range(draw(st.integers(1, hosts)))]
    left = {host.name: host.room[0] for host in machines}
    members = []
    for n in range(draw(st.integers(1, guests))):
        host, size = draw(st.sampled_from(machines)).name, draw(st.integers(0, 2))
        if left[host] >= size:
            left[host] -= size
            members.append(Guest(f"g{n}", host, draw(st.sampled_from("xyz")), (size,)))
    problem = Problem(tuple(machines), tuple(members), releases, after, draw(st.integers(1, 2)))
    table: dict[Pair, Say] = {}
    if problem.pairs:
        for pair in draw(st.lists(st.sampled_from(problem.pairs), max_size=12)):
            table[pair] = draw(st.sampled_from((No(), No(), Unknown() if unknown else No(), Yes(cold=True))))
    return problem, table
