"""Every state that a small cluster can get into: a plan with few moves where there is one, and certainty where there is none.

A state is the release of each host and how many guests of each sort are on it; states that differ only by the names of equal
hosts are one. A* search: what is still to be done is at least one move for each guest on a host that is not done.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from virtcompat.policy.cluster import COLD, Board, Move, Step, Upgrade

#: A shut-down counts as so many moves.
SHUT_DOWN = 3
#: (release of each host, the sorts of the guests on each host in order)
State = tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]
#: One (sort, source, destination) of a move, or some (UP, host, release) of hosts that are upgraded at once.
Action = tuple[tuple[int, int, int], ...]
UP = -1


class GaveUp(Exception):
    """More states than were to be looked at."""


@dataclass(slots=True)
class Allowance:
    """How much may still be looked at, in all searches that share it: work is states times hosts. states: how many were."""

    work: int
    states: int = 0

    def take(self, hosts: int) -> None:
        self.work -= hosts
        self.states += 1
        if self.work < 0:
            raise GaveUp


@dataclass(slots=True)
class Search:
    """One search. parents: canonical state -> (the state it was reached from, how, how dear)."""

    board: Board
    allowance: Allowance
    classes: tuple[int, ...] = ()
    parents: dict[object, tuple[State | None, Action | None, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rooms = sorted(set(self.board.rooms))
        self.classes = tuple(rooms.index(room) for room in self.board.rooms)

    def key(self, state: State) -> object:
        return tuple(sorted(zip(self.classes, *state, strict=True)))

    def left(self, state: State) -> int:
        """How many moves there are at least: each guest leaves each host that is not done."""
        return sum(len(on) for release, on in zip(*state, strict=True) if release != self.board.top)

    def run(self) -> list[Action] | None:
        """The actions of a plan; None where every state was looked at and none is the end. GaveUp beyond the allowance."""
        board, count = self.board, itertools.count()
        first: State = board.start, tuple(tuple(sorted(board.sort[g] for g in on)) for on in board.residents)
        self.parents[self.key(first)] = None, None, 0
        heap = [(self.left(first), self.left(first), next(count), 0, first)]
        done: set[object] = set()
        while heap:
            _, _, _, spent, state = heapq.heappop(heap)
            key = self.key(state)
            if key in done:
                continue
            done.add(key)
            if all(release == board.top for release in state[0]):
                return self.way_to(state)
            for action, price, following in self.successors(state):
                self.allowance.take(len(state[0]))
                name, total = self.key(following), spent + price
                if name not in self.parents or (name not in done and total < self.parents[name][2]):
                    self.parents[name] = state, action, total
                    left = self.left(following)
                    heapq.heappush(heap, (total + left, left, next(count), total, following))
        return None

    def way_to(self, end: State) -> list[Action]:
        actions: list[Action] = []
        state: State | None = end
        while state is not None:
            state, action, _ = self.parents[self.key(state)]
            if action is not None:
                actions.append(action)
        return actions[::-1]

    def successors(self, state: State) -> Iterator[tuple[Action, int, State]]:
        releases, contents = state
        for hosts in self.upgradable(state):
            # In one go or with a stop: a host that is down between two releases is not there to go back to.
            for goals in itertools.product(*(self.board.through(releases[h], self.board.top)[1:] for h in hosts)):
                after = list(releases)
                for host, goal in zip(hosts, goals, strict=True):
                    after[host] = goal
                if self.kept(tuple(after), contents):
                    yield tuple((UP, h, g) for h, g in zip(hosts, goals, strict=True)), 0, (tuple(after), contents)
        free = [self.free(host, on) for host, on in enumerate(contents)]
        present = set(releases)
        for source, on in enumerate(contents):
            for sort in dict.fromkeys(on):
                seen = set()
                for host, release in enumerate(releases):
                    alike = self.classes[host], release, contents[host]
                    if host == source or alike in seen:
                        continue
                    seen.add(alike)
                    if self.may(sort, releases[source], release, free[host], present):
                        yield self.moved(state, sort, source, host)

    def upgradable(self, state: State) -> Iterator[tuple[int, ...]]:
        """Empty hosts that are not done, alone and as many together as may be down; of equal ones the first."""
        releases, contents = state
        empty = [h for h, r in enumerate(releases) if r != self.board.top and not contents[h]]
        for many in range(1, min(self.board.problem.down, len(empty)) + 1):
            seen = set()
            for hosts in itertools.combinations(empty, many):
                alike = tuple((self.classes[h], releases[h]) for h in hosts)
                if alike not in seen:
                    seen.add(alike)
                    yield hosts

    def may(self, sort: int, old: int, new: int, free: list[int], present: set[int]) -> bool:
        each = self.board.sorts[sort]
        room = all(f >= s for f, s in zip(free, each.size, strict=True))
        return bool(room and each.way[old][new] and self.board.way_back(each, new, present))

    def moved(self, state: State, sort: int, source: int, host: int) -> tuple[Action, int, State]:
        releases, contents = state
        left = list(contents[source])
        left.remove(sort)
        after = list(contents)
        after[source], after[host] = tuple(left), tuple(sorted((*contents[host], sort)))
        cold = self.board.sorts[sort].way[releases[source]][releases[host]] == COLD
        return ((sort, source, host),), SHUT_DOWN if cold else 1, (releases, tuple(after))

    def free(self, host: int, on: tuple[int, ...]) -> list[int]:
        left = list(self.board.rooms[host])
        for sort in on:
            left = [room - taken for room, taken in zip(left, self.board.sorts[sort].size, strict=True)]
        return left

    def kept(self, releases: tuple[int, ...], contents: tuple[tuple[int, ...], ...]) -> bool:
        """Rule 3 for every guest."""
        present = set(releases)
        places = {(sort, release) for release, on in zip(releases, contents, strict=True) for sort in on}
        return all(self.board.way_back(self.board.sorts[sort], release, present) for sort, release in places)


def exhaustive(board: Board, allowance: Allowance) -> list[Step] | None:
    """A plan, or None where there is none. GaveUp where there are more states than the allowance."""
    actions = Search(board, allowance).run()
    return None if actions is None else _steps(board, actions)


def _steps(board: Board, actions: list[Action]) -> list[Step]:
    """Named guests for sorts of them; upgrades that follow each other are one step as far as so many may be down."""
    problem, releases = board.problem, list(board.start)
    on = [list(guests) for guests in board.residents]
    steps: list[Step] = []
    moves: list[Move] = []
    raised: dict[int, list[int]] = {}

    def close() -> None:
        if raised:
            names = problem.releases
            ups = [Upgrade(problem.hosts[h].name, tuple(names[r] for r in path)) for h, path in raised.items()]
            steps.append(Step(tuple(moves), tuple(ups)))
            moves.clear()
            raised.clear()

    for action in actions:
        if action[0][0] != UP or len(raised.keys() | {host for _, host, _ in action}) > problem.down:
            close()
        for sort, source, end in action:
            if sort == UP:
                raised.setdefault(source, [releases[source]]).extend(board.through(releases[source], end)[1:])
                releases[source] = end
            else:
                moves.append(_named(board, releases, on, sort, source, end))
    close()
    return steps


def _named(board: Board, releases: list[int], on: list[list[int]], sort: int, source: int, end: int) -> Move:
    """Move the first guest of a sort from one host to another."""
    problem = board.problem
    guest = next(g for g in on[source] if board.sort[g] == sort)
    on[source].remove(guest)
    on[end].append(guest)
    old, new = releases[source], releases[end]
    cold = board.sorts[sort].way[old][new] == COLD
    here, there = problem.hosts[source].name, problem.hosts[end].name
    return Move(problem.guests[guest].name, here, there, problem.releases[old], problem.releases[new], cold)
