"""A cluster as the planner sees it: hosts, guests, what the matrix says of each move, and the rules that every state keeps.

The rules:

1. A guest moves from one host that is up to another, with room, where the matrix says that it may.
2. Between two releases it moves only if it may move in both directions: every step can be undone, the whole plan read backwards.
3. As long as a host is older than the one that a moved guest is on, the guest may go from there to such a host directly.
4. A host is upgraded while it is empty, at most so many at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

#: (kind of guest, from release, to release)
Pair = tuple[str, str, str]
#: What a guest takes, or a host has, of each thing that is counted.
Size = tuple[int, ...]
UNLIMITED = 1 << 62


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a move may not be used: in words, and the command that shows it or asks it."""

    words: str
    command: str


@dataclass(frozen=True, slots=True)
class Yes:
    """The move works. cold: only for a guest that is shut down meanwhile."""

    cold: bool = False


@dataclass(frozen=True, slots=True)
class No:
    """The move was measured and does not work."""

    cells: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody has measured the move. what: why not, and how to ask."""

    what: tuple[Evidence, ...] = ()


Say = Yes | No | Unknown
#: The matrix: whether a kind of guest may move from a host of one release to another one of the same or another release.
May = Callable[[str, str, str], Say]


@dataclass(frozen=True, slots=True)
class Host:
    """A host, its release, and the room that it has when it is empty."""

    name: str
    release: str
    room: Size


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest, the host that it starts on, its kind (guests of one kind move alike) and what it takes."""

    name: str
    host: str
    kind: str
    size: Size


@dataclass(frozen=True)
class Problem:
    """What is to be planned.

    releases: oldest first, the target last. after: release -> the one that a host is upgraded to next. down: how many
    hosts may be upgraded at once. units: names of what sizes count.
    """

    hosts: tuple[Host, ...]
    guests: tuple[Guest, ...]
    releases: tuple[str, ...]
    after: Mapping[str, str]
    down: int = 1
    units: tuple[str, ...] = ("guests",)

    @property
    def target(self) -> str:
        return self.releases[-1]

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(guest.kind for guest in self.guests))

    @property
    def pairs(self) -> list[Pair]:
        """Every question that a plan may depend on."""
        return [(kind, old, new) for kind in self.kinds for old in self.releases for new in self.releases]


@dataclass(frozen=True, slots=True)
class Move:
    """A guest goes from one host to another. cold: it is shut down, started there again."""

    guest: str
    source: str
    destination: str
    old: str
    new: str
    cold: bool = False


@dataclass(frozen=True, slots=True)
class Upgrade:
    """An empty host goes through these releases, the first is the one that it had."""

    host: str
    releases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """The moves, one after the other, that empty some hosts, and the upgrades of these hosts, at the same time."""

    moves: tuple[Move, ...]
    upgrades: tuple[Upgrade, ...]


#: way[a][b]: whether a guest may be moved from release a to b and back: not, live, or only shut down.
NOT, LIVE, COLD = 0, 1, 2
Way = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Sort:
    """Guests that nothing tells apart: of one size, that started on one release (a number) and may move alike."""

    origin: int
    size: Size
    way: Way


@dataclass(frozen=True)
class Board:
    """A problem in numbers: hosts, guests, releases and sorts of guests by their index.

    after: the next release of each. rooms: of each host. start: each host's release. place: each guest's host.
    sort: each guest's sort.
    """

    problem: Problem
    sorts: tuple[Sort, ...]
    after: tuple[int, ...]
    rooms: tuple[Size, ...]
    start: tuple[int, ...]
    place: tuple[int, ...]
    sort: tuple[int, ...]
    residents: tuple[tuple[int, ...], ...] = field(default=())

    @property
    def top(self) -> int:
        return len(self.after) - 1

    def way_back(self, sort: Sort, release: int, present: Collection[int]) -> bool:
        """Rule 3 for one guest: it has not moved up, or no older host is left, or one of these takes it."""
        if release <= sort.origin:
            return True
        older = [r for r in present if r < release]
        return not older or any(sort.way[release][r] for r in older)

    def linked(self, sort: Sort, allowed: Collection[int]) -> bool:
        """Whether a sort of guest gets to the target by way of these releases, if only there is always a host."""
        reached, waiting = {sort.origin}, [sort.origin]
        while waiting:
            here = waiting.pop()
            more = {r for r in allowed if sort.way[here][r]} - reached
            reached |= more
            waiting += more
        return self.top in reached

    def through(self, release: int, goal: int) -> tuple[int, ...]:
        """The releases from one to another that a host goes through, both included; empty where it does not get there."""
        found = [release]
        while found[-1] < goal:
            found.append(self.after[found[-1]])
        return tuple(found) if found[-1] == goal else ()


def board(problem: Problem, closed: Collection[Pair], cold: Collection[Pair] = (), *, roomy: bool = False) -> Board:
    """The board on which these pairs are not to be used, in either direction. roomy: no host is limited."""
    number = {name: at for at, name in enumerate(problem.releases)}
    at_host = {host.name: at for at, host in enumerate(problem.hosts)}
    ways = {kind: _way(problem.releases, kind, closed, cold) for kind in problem.kinds}
    start = tuple(number[host.release] for host in problem.hosts)
    place = tuple(at_host[guest.host] for guest in problem.guests)
    sorts: dict[Sort, int] = {}
    own = []
    for guest, host in zip(problem.guests, place, strict=True):
        each = Sort(start[host], guest.size, ways[guest.kind])
        own.append(sorts.setdefault(each, len(sorts)))
    after = tuple(number[problem.after.get(name, problem.target)] for name in problem.releases)
    limitless = (UNLIMITED,) * len(problem.units)
    rooms = tuple(limitless if roomy else host.room for host in problem.hosts)
    residents: list[list[int]] = [[] for _ in problem.hosts]
    for guest_at, host in enumerate(place):
        residents[host].append(guest_at)
    return Board(problem, tuple(sorts), after, rooms, start, place, tuple(own), tuple(map(tuple, residents)))


def _way(releases: tuple[str, ...], kind: str, closed: Collection[Pair], cold: Collection[Pair]) -> Way:
    def one(old: str, new: str) -> int:
        if (kind, old, new) in closed or (kind, new, old) in closed:
            return NOT
        return COLD if (kind, old, new) in cold else LIVE

    return tuple(tuple(one(old, new) for new in releases) for old in releases)
