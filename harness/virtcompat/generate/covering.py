"""Covering corpora: few documents that together take every branch of a grammar, found by shortest paths.

From the start of the grammar, or from any node of documents that are known to be accepted, Dijkstra's algorithm finds the
cheapest way to every pattern; the cost of a way is what has to be written beside it. Each document is one such way to a branch that
none before it took, with the cheapest expansion everywhere else: the farthest branches first, which take others on the way.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from virtcompat.generate.derivation import Node, Path, at, put, size, taken, walk
from virtcompat.generate.growing import Grower, Nursery, other
from virtcompat.generate.schema import AGAIN, ATTRIBUTE, ELEMENT, Branch, Schema
from virtcompat.generate.values import Pick
from virtcompat.relaxng import Attribute, Choice, Element, Empty, OneOrMore, Pattern


@dataclass(frozen=True, slots=True)
class Covering:
    """A document that takes a branch which no document before it took.

    piece: what was put into a base document, else all of it. base: which of the base documents.
    """

    tree: Node
    branch: Branch
    piece: Node
    base: int | None = None


@dataclass(frozen=True, slots=True)
class _Source:
    """A node of a base document and the part of its pattern by which something may be put there."""

    base: int
    path: Path
    index: int


#: How a pattern is come to: from a part of another one, or from a place in a base document.
_Step = Branch | _Source


@dataclass(slots=True)
class Ways:
    """The cheapest way to every pattern: from the start, or from the nodes of base documents where there are any."""

    nursery: Nursery
    bases: Sequence[Node] = ()
    cost: dict[Pattern, float] = field(default_factory=dict)
    step: dict[Pattern, _Step] = field(default_factory=dict)
    places: dict[Pattern, tuple[float, _Source]] = field(default_factory=dict)  # where least is lost

    _pushed: int = 0
    _heap: list[tuple[float, int, Pattern, _Step | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.bases:
            self._push(0.0, self.schema.start, None)
        for number, base in enumerate(self.bases):
            for path, node in walk(base):
                if isinstance(node.pattern, Choice | OneOrMore):
                    self._sources(number, path, node)
        self._run()

    @property
    def schema(self) -> Schema:
        return self.nursery.schema

    def _push(self, cost: float, pattern: Pattern, step: _Step | None) -> None:
        # The number keeps the order the same in every run: patterns have none.
        self._pushed += 1
        heapq.heappush(self._heap, (cost, self._pushed, pattern, step))

    def _sources(self, number: int, path: Path, node: Node) -> None:
        """A further round of what may come several times costs nothing, another alternative what it takes away."""
        lost = 0.0 if isinstance(node.pattern, OneOrMore) else float(size(node))
        if node.pattern not in self.places or lost < self.places[node.pattern][0]:
            self.places[node.pattern] = lost, _Source(number, path, 0)
        for index in self.schema.ways(node.pattern):
            self._push(lost, self.schema.parts[node.pattern][index], _Source(number, path, index))

    def _run(self) -> None:
        weights, parts = self.schema.weights, self.schema.parts
        while self._heap:
            cost, _, pattern, step = heapq.heappop(self._heap)
            if pattern in self.cost:
                continue
            self.cost[pattern] = cost
            if step is not None:
                self.step[pattern] = step
            own = ELEMENT if isinstance(pattern, Element) else ATTRIBUTE if isinstance(pattern, Attribute) else 0.0
            every = 0.0 if isinstance(pattern, Choice) else sum(weights[part] for part in parts[pattern])
            for index in self.schema.ways(pattern):
                part = parts[pattern][index]
                beside = every - weights[part] if every else 0.0
                self._push(cost + own + beside, part, (pattern, index))

    def document(self, branch: Branch) -> Covering:
        """The cheapest document that takes a branch."""
        pattern, index = branch
        lost, source = self.places.get(pattern, (math.inf, _Source(0, (), 0)))
        if lost <= self.cost.get(pattern, math.inf) and (isinstance(pattern, Choice) or index == AGAIN):
            part = self.nursery.cheapest(self.schema.parts[pattern][index if isinstance(pattern, Choice) else 0])
            return self._put(replace(source, index=index), part, branch)
        above, source_of = self.above(pattern)
        node = self.nursery.taking(branch, above)
        return self._put(source_of, node, branch) if source_of else Covering(node, branch, node)

    def above(self, pattern: Pattern) -> tuple[list[Branch], _Source | None]:
        """The branches that lead to a pattern, from the top or from a place in a base document."""
        found: list[Branch] = []
        step = self.step.get(pattern)
        while isinstance(step, tuple):
            found.append(step)
            step = self.step.get(step[0])
        return found[::-1], step

    def targets(self) -> list[Branch]:
        """Every branch that a way leads to, the nearest first."""
        return sorted((b for b in self.schema.branches() if b[0] in self.cost), key=lambda b: self.cost[b[0]])

    def _put(self, source: _Source, part: Node, branch: Branch) -> Covering:
        """A base document with something put into it: another alternative, or a further round."""
        base = self.bases[source.base]
        there = at(base, source.path)
        if isinstance(there.pattern, OneOrMore):
            new = replace(there, parts=(*there.parts, other(part, len(there.parts))))
        else:
            new = Node(there.pattern, (part,), source.index)
        return Covering(put(base, source.path, new), branch, part, source.base)


@dataclass(slots=True)
class Aimed:
    """Grows trees towards any branch, so that what lies deep in a grammar comes as often as what does not."""

    nursery: Nursery
    ways: Ways = field(init=False)
    targets: list[Branch] = field(init=False)

    def __post_init__(self) -> None:
        self.ways = Ways(self.nursery)
        self.targets = self.ways.targets()

    def tree(self, pick: Pick) -> Node:
        """A tree as it is picked; the first pick is of a branch, 0 is none in particular."""
        number = pick(len(self.targets) + 1)
        grower = Grower(self.nursery, pick)
        if not number:
            return grower.tree(self.nursery.schema.start)
        branch = self.targets[number - 1]
        return grower.around(branch, self.ways.above(branch[0])[0])


def corpus(nursery: Nursery, bases: Sequence[Node] = ()) -> Iterator[Covering]:
    """The documents that together take every branch; with bases each is one of those with one piece put in."""
    ways = Ways(nursery, bases)
    branches = [b for b in nursery.schema.branches() if not _nothing(nursery.schema, b)]
    everything = list(nursery.schema.branches())
    missing = set(everything) - {branch for base in bases for branch in taken(base)}
    far = sorted(branches, key=lambda b: -ways.cost.get(b[0], 0.0))
    for branch in [*far, *everything]:
        if branch in missing:
            found = ways.document(branch)
            missing -= {branch, *taken(found.piece)}
            yield found


def _nothing(schema: Schema, branch: Branch) -> bool:
    """Whether the branch leaves something out, which the others mostly do on their way."""
    pattern, index = branch
    return isinstance(pattern, Choice) and isinstance(schema.parts[pattern][index], Empty)


def uncovered(schema: Schema, trees: Iterable[Node]) -> list[Branch]:
    """The branches of a schema that no document takes."""
    seen: set[Branch] = set()
    for tree in trees:
        seen |= taken(tree)
    return [branch for branch in schema.branches() if branch not in seen]
