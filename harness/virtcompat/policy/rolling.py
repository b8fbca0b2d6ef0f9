"""Plans found the way an operator would: empty a few hosts onto the others, upgrade them, go on; with some trying back.

Fast and not complete: what is not found here may exist. A guest that cannot go to the target in one move goes by a *ferry*,
a host that stops at a release between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice

from virtcompat.policy.cluster import COLD, Board, Move, Sort, Step, Upgrade

#: How many wave attempts each way of trying gets, beside some for every host.
TRIES = 40
#: Of more guests or hosts than these the first plan that is found is taken, else the best of all ways of trying.
LARGE = 400
#: How many hosts are looked at when room is made on one of them.
ROOM_MADE = 30
FERRIES = 64


@dataclass(frozen=True, slots=True)
class Style:
    """One way of trying. stops: releases at which a ferry is left. tight: fill one host before the next."""

    stops: tuple[int, ...]
    tight: bool
    backwards: bool


@dataclass(slots=True)
class Floor:
    """Where everything is now. free: room that is left on each host. log: moves as (guest, source, destination)."""

    board: Board
    release: list[int]
    place: list[int]
    free: list[list[int]]
    on: list[list[int]]
    log: list[tuple[int, int, int]]

    @classmethod
    def first(cls, board: Board) -> Floor:
        floor = cls(board, list(board.start), list(board.place), [list(r) for r in board.rooms], [], [])
        floor.on = [list(guests) for guests in board.residents]
        for guest, host in enumerate(board.place):
            floor.free[host] = [f - s for f, s in zip(floor.free[host], floor.sort(guest).size, strict=True)]
        return floor

    def copy(self) -> Floor:
        free, on = [list(f) for f in self.free], [list(g) for g in self.on]
        return Floor(self.board, list(self.release), list(self.place), free, on, [])

    def sort(self, guest: int) -> Sort:
        return self.board.sorts[self.board.sort[guest]]

    def fits(self, guest: int, host: int, without: int = -1) -> bool:
        """Whether a guest fits on a host, after another one has left it."""
        given = self.sort(without).size if without >= 0 else (0,) * len(self.free[host])
        return all(f + g >= s for f, g, s in zip(self.free[host], given, self.sort(guest).size, strict=True))

    def move(self, guest: int, host: int) -> None:
        source = self.place[guest]
        for at, size in enumerate(self.sort(guest).size):
            self.free[source][at] += size
            self.free[host][at] -= size
        self.on[source].remove(guest)
        self.on[host].append(guest)
        self.place[guest] = host
        self.log.append((guest, source, host))

    def kept(self) -> bool:
        """Rule 3 for every guest."""
        present = set(self.release)
        places = {(self.board.sort[guest], self.release[host]) for guest, host in enumerate(self.place)}
        return all(self.board.way_back(self.board.sorts[sort], release, present) for sort, release in places)


def rolling(board: Board) -> list[Step] | None:
    """A plan with few moves, or None where no way of trying leads to one."""
    best: list[Step] | None = None
    best_stops = 0
    small = len(board.place) + len(board.rooms) <= LARGE
    for style in _styles(board):
        if best is not None and len(style.stops) > best_stops:
            break
        found = _attempt(board, style)
        if found is not None and (best is None or cost(found) < cost(best)):
            best, best_stops = found, len(style.stops)
        if best is not None and not small:
            break
    return best


def cost(steps: list[Step]) -> tuple[int, int, int]:
    """What makes a plan worse than another: guests shut down, moves, steps."""
    moves = [move for step in steps for move in step.moves]
    return sum(move.cold for move in moves), len(moves), len(steps)


def _styles(board: Board) -> Iterator[Style]:
    """Without a stop first, then with more of them."""
    between = sorted({r for start in board.start for r in board.through(start, board.top)} - {board.top})
    between = [r for r in between if r > min(board.start)]
    chosen = (stops for n in range(len(between) + 1) for stops in combinations(between, n))
    for stops in islice(chosen, FERRIES):
        allowed = {*board.start, *stops, board.top}
        if not all(board.linked(sort, allowed) for sort in board.sorts):
            continue
        for backwards in (False, True):
            for tight in (False, True):
                yield Style(stops, tight, backwards)


def _attempt(board: Board, style: Style) -> list[Step] | None:
    """Wave after wave, back to the last choice where no wave is left; None when the tries are used up."""
    tries = iter(range(TRIES + 4 * len(board.rooms)))
    floor = Floor.first(board)
    if all(r == board.top for r in floor.release):
        return []
    stack = [_waves(floor, style, 0, tries)]
    steps: list[Step] = []
    while stack:
        found = next(stack[-1], None)
        if found is None:
            stack.pop()
            if steps:
                steps.pop()
            continue
        floor, step = found
        steps.append(step)
        if all(r == board.top for r in floor.release):
            return steps
        stack.append(_waves(floor, style, len(steps), tries))
    return None


def _waves(floor: Floor, style: Style, done: int, tries: Iterator[int]) -> Iterator[tuple[Floor, Step]]:
    """Every next state: some hosts emptied and upgraded, as many at once as may be down, at last each one alone."""
    board = floor.board
    ferry = done < len(style.stops)
    goal = style.stops[done] if ferry else board.top
    hosts = [h for h, r in enumerate(floor.release) if r < goal and board.through(r, goal)]
    hosts.sort(key=lambda h: _effort(floor, h, style))
    many = 1 if ferry else min(board.problem.down, len(hosts))
    while many > 1:
        yield from _wave(floor, tuple(hosts[:many]), goal, style, tries)
        many = (many + 1) // 2 if many > 2 else 1
    for host in hosts:
        yield from _wave(floor, (host,), goal, style, tries)


def _effort(floor: Floor, host: int, style: Style) -> tuple[int, int, int, int]:
    """Hosts that are behind first, then those whose guests have nowhere to go yet last, then those with few guests."""
    release = floor.release[host]
    stuck = sum(1 for g in floor.on[host] if not floor.sort(g).way[release][release])
    return release, bool(stuck), len(floor.on[host]), -host if style.backwards else host


def _wave(
    floor: Floor, hosts: tuple[int, ...], goal: int, style: Style, tries: Iterator[int]
) -> Iterator[tuple[Floor, Step]]:
    if next(tries, None) is None:
        return
    after = floor.copy()
    if not _emptied(after, hosts, style):
        return
    moves = tuple(_said(floor, after))
    for host in hosts:
        after.release[host] = goal
    if after.kept():
        names = after.board.problem.releases
        upgrades = tuple(
            Upgrade(after.board.problem.hosts[h].name, tuple(names[r] for r in after.board.through(floor.release[h], goal)))
            for h in hosts
        )  # fmt: skip
        yield after, Step(moves, upgrades)


def _said(before: Floor, after: Floor) -> Iterator[Move]:
    problem = before.board.problem
    for guest, source, destination in after.log:
        old, new = before.release[source], before.release[destination]
        cold = after.sort(guest).way[old][new] == COLD
        here, there = problem.hosts[source].name, problem.hosts[destination].name
        yield Move(problem.guests[guest].name, here, there, problem.releases[old], problem.releases[new], cold)


def _emptied(floor: Floor, hosts: tuple[int, ...], style: Style) -> bool:
    """Move every guest off these hosts, those with few choices and the largest first."""
    classes = _classes(floor, hosts)

    def choices(guest: int) -> tuple[int, list[int]]:
        way = floor.sort(guest).way[floor.release[floor.place[guest]]]
        return sum(len(members) for r, members in classes.items() if way[r]), [-s for s in floor.sort(guest).size]

    for guest in sorted((g for h in hosts for g in floor.on[h]), key=choices):
        route = _route(floor, guest, classes, style) or _with_room_made(floor, guest, classes, style)
        if not route:
            return False
        for mover, host in route:
            floor.move(mover, host)
    return True


def _classes(floor: Floor, without: tuple[int, ...]) -> dict[int, list[int]]:
    """release -> hosts of it, without some."""
    found: dict[int, list[int]] = {}
    for host, release in enumerate(floor.release):
        if host not in without:
            found.setdefault(release, []).append(host)
    return found


def _route(floor: Floor, guest: int, classes: dict[int, list[int]], style: Style) -> list[tuple[int, int]]:
    """(guest, host) move by move to where it is best off: as few times shut down and as new a release as can be."""
    sort, start, here = floor.sort(guest), floor.release[floor.place[guest]], floor.place[guest]
    present = set(floor.release)
    paths: dict[int, tuple[int, ...]] = {}
    ends: list[tuple[int, int, int, tuple[int, ...]]] = []
    waiting: list[tuple[int, ...]] = [()]
    while waiting:
        path = waiting.pop(0)
        last = path[-1] if path else start
        for release in sorted(classes, reverse=True):
            kept = sort.way[last][release] and floor.board.way_back(sort, release, present)
            if release in paths or not kept or not any(h != here and floor.fits(guest, h) for h in classes[release]):
                continue
            paths[release] = longer = (*path, release)
            waiting.append(longer)
            colds = sum(sort.way[a][b] == COLD for a, b in zip((start, *longer), longer, strict=False))
            ends.append((colds, -release, len(longer), longer))
    if not ends:
        return []
    found = []
    *ferries, end = min(ends)[-1]
    for release in ferries:
        host = _best([h for h in classes[release] if h != here and floor.fits(guest, h)], floor, tight=False)
        found.append((guest, host))
    last_host = _best([h for h in classes[end] if h != here and floor.fits(guest, h)], floor, tight=style.tight)
    return [*found, (guest, last_host)]


def _best(hosts: list[int], floor: Floor, *, tight: bool) -> int:
    """The host with the least room left, or the most; of equals the first."""

    def left(host: int) -> float:
        shares = [f / r for f, r in zip(floor.free[host], floor.board.rooms[host], strict=True) if r]
        return min(shares, default=0.0)

    return min(hosts, key=lambda host: (left(host) if tight else -left(host), host))


def _with_room_made(floor: Floor, guest: int, classes: dict[int, list[int]], style: Style) -> list[tuple[int, int]]:
    """The same where nothing has room, after another guest has left a host for a third one."""
    sort, here = floor.sort(guest), floor.place[guest]
    way, present = sort.way[floor.release[here]], set(floor.release)
    for release in sorted(classes, reverse=True):
        if not way[release] or not floor.board.way_back(sort, release, present):
            continue
        for host in [h for h in classes[release] if h != here][:ROOM_MADE]:
            others = {r: [h for h in members if h != host] for r, members in classes.items()}
            for other in floor.on[host]:
                if floor.fits(guest, host, without=other):
                    leaving = _route(floor, other, {r: m for r, m in others.items() if m}, style)
                    if leaving:
                        return [*leaving, (guest, host)]
    return []
