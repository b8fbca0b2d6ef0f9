"""The way from one release to another in green hops; where there is none, the cut and the fewest repairs.

A hop is a pair of releases in the direction of the way, with all its cells. Releases are tens, hops some hundreds: what is
asked of the graph here (shortest ways, a minimum cut) takes milliseconds in a few lines, which the tests hold against
trying everything.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations, pairwise

from virtcompat.engine import columns as columns_module
from virtcompat.engine import run
from virtcompat.engine.columns import Columns
from virtcompat.engine.run import Progress, Selection
from virtcompat.errors import NotAsked, UsageError
from virtcompat.model import Cell, Column, Matrix, Outcome, Tier, Verdict
from virtcompat.renderers import Cause, causes

#: Ways that are told; there can be very many.
WAYS = 10
Edge = tuple[str, str]


class Colour(StrEnum):
    """Whether a hop may be taken."""

    GREEN = "green"
    RED = "red"
    UNKNOWN = "unknown"  # something of it could not be asked, or broke, or nothing was asked


@dataclass(frozen=True, slots=True)
class Hop:
    """One pair of releases. cause: the worst that stands against it. command: shows it. missing: why it is unknown."""

    old: str
    new: str
    colour: Colour
    asked: int
    incompatible: int
    standing: int  # cases that stand against it
    cause: Cause | None = None
    command: str = ""
    missing: str = ""
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Paths:
    """The answer. ways: all green, the shortest first. cut: where there is none, hops of which every way takes one, none
    of them green, as few as there can be. repair: the way with the fewest cases against it. deciding: where hops that
    are not red would make a way, those of them that are unknown.
    """

    start: str
    end: str
    gate: Tier
    strict: bool
    columns: tuple[Column, ...]
    hops: Mapping[Edge, Hop]
    ways: tuple[tuple[str, ...], ...]
    cut: tuple[Hop, ...] = ()
    repair: tuple[str, ...] = ()
    deciding: tuple[Hop, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 there is a green way; 1 there is none whatever the unknown hops are; 4, 3 one of these decides."""
        if self.ways:
            return 0
        if any(hop.broken for hop in self.deciding):
            return 4
        return 3 if self.deciding else 1


def find(
    start: str,
    end: str,
    selection: Selection,
    *,
    via: Sequence[str] = (),
    strict: bool = False,
    partly: bool = False,
    back: bool = False,
    progress: Progress = lambda done, of: None,
) -> Paths:
    """Ask every hop between two releases and find the way.

    via: only these releases may be stepped on. strict: a break that the ledger explains stands against a hop, too.
    partly: single cases that could not be asked are forgiven. back: each hop must be green the other way as well.
    """
    found = _between(start, end, via)
    names = found.names if found.names[0] == start else found.names[::-1]
    cells: list[Cell] = []
    pairs = list(combinations(names, 2))
    for at, name in enumerate(names):
        for old, new in ((name, names[at + 1 :]), (name, names[:at])) if back else ((name, names[at + 1 :]),):
            if new:
                matrix = run.run(replace(selection, old=(old,), new=tuple(new)), None, found=found)
                cells += [cell for cell in matrix.cells if cell.key.old != cell.key.new]
        progress(at + 1, len(names))
    return judged(cells, names, pairs, selection.gate, tuple(found.columns), strict=strict, partly=partly, back=back)


def of_matrix(
    matrix: Matrix,
    start: str,
    end: str,
    selection: Selection,
    *,
    strict: bool = False,
    partly: bool = False,
    back: bool,
) -> Paths:
    """The same over the cells of a matrix that was written down; nothing is asked."""
    if matrix.gate is not selection.gate:
        raise UsageError(f"this matrix was judged at '{matrix.gate.label}'", f"ask with --fail-on {matrix.gate.label}")
    names = [column.name for column in matrix.columns]
    for name in (start, end):
        if name not in names:
            raise UsageError(f"the matrix has no release '{name}'", f"use one of: {', '.join(names)}")
    first, last = names.index(start), names.index(end)
    between = names[first : last + 1] if first < last else names[last : first + 1][::-1]
    _two(start, end)
    chosen = [cell for cell in matrix.cells if _selected(cell, selection)]
    shown = tuple(column for column in matrix.columns if column.name in between)
    pairs = list(combinations(between, 2))
    return judged(chosen, between, pairs, selection.gate, shown, strict=strict, partly=partly, back=back)


def _selected(cell: Cell, selection: Selection) -> bool:
    key = cell.key
    wanted = ((selection.checks, key.check), (selection.kinds, key.kind), (selection.drivers, key.driver))
    return key.old != key.new and all(not names or name in names for names, name in wanted)


def _two(start: str, end: str) -> None:
    if start == end:
        raise UsageError(f"{start} to {end} is no way", "name two releases")


def _between(start: str, end: str, via: Sequence[str]) -> Columns:
    """The columns from one release to the other, in their order."""
    _two(start, end)
    found = columns_module.find((start, end, *via) if via else ())
    for name in (start, end):
        if name not in found.names:
            raise UsageError(f"no release '{name}'", f"use one of: {', '.join(found.names)}")
    first, last = sorted((found.names.index(start), found.names.index(end)))
    return replace(found, columns=found.columns[first : last + 1])


def judged(
    cells: Iterable[Cell],
    names: Sequence[str],
    pairs: Sequence[Edge],
    gate: Tier,
    columns: tuple[Column, ...],
    *,
    strict: bool,
    partly: bool,
    back: bool,
) -> Paths:
    """The hops of these cells, and the way over them. NotAsked where no hop was asked at all."""
    by_pair: dict[Edge, list[Cell]] = {pair: [] for pair in pairs}
    for cell in cells:
        pair = cell.key.old, cell.key.new
        pair = pair[::-1] if back and pair not in by_pair else pair
        if pair in by_pair:
            by_pair[pair].append(cell)
    hops = {pair: _hop(pair, of, gate, strict=strict, partly=partly) for pair, of in by_pair.items()}
    if not any(hop.asked for hop in hops.values()):
        remedy = (
            "a check or surface may say nothing of this direction ('virt-compat list checks'); else virt-compat doctor"
        )
        raise NotAsked(f"no hop from {names[0]} to {names[-1]} was asked: {next(iter(hops.values())).missing}", remedy)
    start, end = names[0], names[-1]
    green = [pair for pair, hop in hops.items() if hop.colour is Colour.GREEN]
    ways = tuple(_ways(names, green, WAYS))
    found = Paths(start, end, gate, strict, columns, hops, ways)
    if ways:
        return found
    maybe = [pair for pair, hop in hops.items() if hop.colour is not Colour.RED]
    repair = cheapest(names, {pair: hop.standing or int(pair not in green) for pair, hop in hops.items()})
    # Where unknown hops could make a way it is those that decide: the way that needs the fewest of them.
    hopeful = cheapest(names, {pair: int(pair not in green) for pair in maybe})
    unknown = [hops[p] for p in pairwise(hopeful) if hops[p].colour is Colour.UNKNOWN]
    cut = [hops[pair] for pair in cut_of(names, {pair: pair in green for pair in hops})]
    return replace(found, cut=tuple(cut), repair=repair, deciding=tuple(unknown))


def _hop(pair: Edge, cells: Sequence[Cell], gate: Tier, *, strict: bool, partly: bool) -> Hop:
    asked = sum(cell.asked for cell in cells)
    bad = sum(cell.counts.get(Outcome.INCOMPATIBLE, 0) for cell in cells)
    against = [cell for cell in cells if (cell.worst >= gate if strict else cell.unexplained)]
    standing = sum(_standing(cell, gate) if strict else cell.unexplained for cell in against)
    broken = [cell for cell in cells if cell.counts.get(Outcome.BROKEN)]
    missing = [c for c in cells if c.counts.get(Outcome.NOT_HERE) and not (partly and c.asked)]
    if against:
        found = [c for c in causes(against, gate) if strict or not c.finding.explained]
        command = found[0].command if found else f"virt-compat explain {against[0].key}"
        return Hop(*pair, Colour.RED, asked, bad, standing, found[0] if found else None, command)
    if broken or missing or not asked:
        cell = next(iter(broken + missing), None)
        why = _why(cell) if cell else "nothing was asked"
        command = f"virt-compat explain {cell.key}" if cell else ""
        return Hop(*pair, Colour.UNKNOWN, asked, bad, 0, None, command, why, bool(broken))
    return Hop(*pair, Colour.GREEN, asked, bad, 0)


def _standing(cell: Cell, gate: Tier) -> int:
    return sum(verdict.worst >= gate for verdict in cell.verdicts)


def _why(cell: Cell) -> str:
    unknown = (Outcome.BROKEN, Outcome.NOT_HERE)
    verdicts: list[Verdict] = sorted((v for v in cell.verdicts if v.outcome in unknown), key=lambda v: v.outcome)
    return f"{cell.key}: {verdicts[0].outcome}: {verdicts[0].reason}" if verdicts else f"{cell.key}: {cell.outcome}"


def _ways(names: Sequence[str], edges: Iterable[Edge], most: int) -> Iterator[tuple[str, ...]]:
    """At most so many ways from the first name to the last, the shortest first, then in the order of the names."""
    after = {name: [new for old, new in edges if old == name] for name in names}
    left = {names[-1]: 0}  # hops from here to the end
    for name in reversed(names[:-1]):
        reached = [left[new] + 1 for new in after[name] if new in left]
        if reached:
            left[name] = min(reached)
    order = {name: at for at, name in enumerate(names)}
    # By the whole length that a beginning can come to: no beginning is looked at that a told way does not need.
    heap: list[tuple[int, tuple[int, ...], tuple[str, ...]]]
    heap = [(left[names[0]], (0,), (names[0],))] if names[0] in left else []
    while heap and most:
        _, at, way = heapq.heappop(heap)
        if way[-1] == names[-1]:
            yield way
            most -= 1
            continue
        for new in after[way[-1]]:
            if new in left:
                heapq.heappush(heap, (len(way) + left[new], (*at, order[new]), (*way, new)))


def cheapest(names: Sequence[str], cost: Mapping[Edge, int]) -> tuple[str, ...]:
    """The way from the first name to the last that costs least, of those the shortest; empty where there is none."""
    best: dict[str, tuple[int, int, tuple[str, ...]]] = {names[0]: (0, 0, (names[0],))}
    for old in names:  # every edge leads to a later name
        for new in names:
            if old in best and (old, new) in cost:
                paid, hops, way = best[old]
                offer = (paid + cost[old, new], hops + 1, (*way, new))
                best[new] = min(best.get(new, offer), offer)
    return best[names[-1]][2] if names[-1] in best else ()


def cut_of(names: Sequence[str], green: Mapping[Edge, bool]) -> list[Edge]:
    """The fewest edges, none green, of which every way from the first name to the last takes one.

    Empty where a green way exists. A minimum cut by greatest flow (Edmonds and Karp), a green edge never being worth
    cutting; of several cuts the one nearest to the first name.
    """
    room = {edge: len(green) + 1 if fine else 1 for edge, fine in green.items()}
    flow = dict.fromkeys(room, 0) | {(new, old): 0 for old, new in room}
    room |= {(new, old): 0 for old, new in room}
    while True:
        before = _reached(names, room, flow)
        if names[-1] not in before:
            return [(a, b) for a, b in green if a in before and b not in before]
        way, at = [], names[-1]
        while at != names[0]:
            way.append((before[at], at))
            at = before[at]
        free = min(room[edge] - flow[edge] for edge in way)
        if free > len(green):
            return []  # a way of green edges alone
        for a, b in way:
            flow[a, b] += free
            flow[b, a] -= free


def _reached(names: Sequence[str], room: Mapping[Edge, int], flow: Mapping[Edge, int]) -> dict[str, str]:
    """Everything that more flow can reach from the first name: name -> the one before it."""
    before, waiting = {names[0]: ""}, deque(names[:1])
    while waiting:
        at = waiting.popleft()
        for name in names:
            if name not in before and room.get((at, name), 0) > flow.get((at, name), 0):
                before[name] = at
                waiting.append(name)
    return before
