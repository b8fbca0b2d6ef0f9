"""Mutations of a document at one grammatical piece: what comes of it is still a document of the grammar.

An accepted document with one piece changed gets past the parsers far more often than one made from nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from virtcompat.generate import values
from virtcompat.generate.derivation import Node, Path, put, size
from virtcompat.generate.growing import Grower, Nursery, a_name, other
from virtcompat.generate.values import Pick
from virtcompat.relaxng import (
    AnyName,
    Attribute,
    Choice,
    Data,
    Element,
    Interleave,
    OneOrMore,
    Pattern,
    Text,
)

#: How much may grow in one piece, in nodes.
BUDGET = 40
#: Of the lengths of runs that are left out where a piece grows, the longest so many: little comes that need not.
SPARSE = 8
#: Attributes and elements that a host or a hypervisor allocates by: larger numbers hang or eat gigabytes, which is known.
COUNTS = frozenset(
    "vcpu vcpus iothreads sockets dies clusters cores threads queues queue_size slots heads ports vectors maxEventChannels "
    "maxGrantFrames vram ram vgamem vram64 interrupts id size memory currentMemory maxMemory node block requested "
    "locations max memaccess".split()
)
#: The greatest number that is written for one of them.
MOST_COUNT = 64
#: What is written in place of a greater one that must stay a number.
BOUNDED = ("1", "2", "4", "64")

#: The ways to change a tree.
KINDS = ("add", "value", "replace", "remove", "reorder", "name")
#: How many places there are for each of them.
Tally = tuple[int, ...]
REMEMBERED = 1 << 17


@dataclass(frozen=True, slots=True)
class Mutation:
    """A changed document. kind: what was done; path: where in the tree; what: the element or attribute around it."""

    tree: Node
    kind: str
    path: Path
    what: str


@dataclass(slots=True)
class Mutator:
    """Changes one piece of a tree at a time, as :class:`Pick` says.

    bounded: counts that are known to be allocated by stay small.
    """

    nursery: Nursery
    pick: Pick
    bounded: bool = True
    _tallies: dict[int, tuple[Node, Tally]] = field(default_factory=dict)

    def mutate(self, root: Node) -> Mutation:
        """The tree with one piece changed."""
        tally = self._tally(root)
        numbers = [number for number, count in enumerate(tally) if count]
        number = numbers[self.pick(len(numbers))]
        kind = KINDS[number]
        path, node, what = self._site(root, number, self.pick(tally[number]))
        return Mutation(put(root, path, CHANGES[kind](self, node, what)), kind, path, what)

    def _tally(self, node: Node) -> Tally:
        """How many places there are for each kind of change; pieces that trees share are counted once."""
        known = self._tallies.get(id(node))
        if known is None or known[0] is not node:
            if len(self._tallies) > REMEMBERED:
                self._tallies.clear()
            own = set(self._kinds(node))
            several = [tuple(int(kind in own) for kind in KINDS), *(self._tally(part) for part in node.parts)]
            known = self._tallies[id(node)] = node, tuple(map(sum, zip(*several, strict=True)))
        return known[1]

    def _site(self, node: Node, number: int, count: int) -> tuple[Path, Node, str]:
        """The place of a kind of change after so many others: path, node, name of the element or attribute around it."""
        path: list[int] = []
        what = node.name.local
        while True:
            if KINDS[number] in self._kinds(node):
                if not count:
                    return tuple(path), node, what
                count -= 1
            for index, part in enumerate(node.parts):
                if count < (inside := self._tally(part)[number]):
                    path.append(index)
                    node, what = part, part.name.local or what
                    break
                count -= inside

    def _kinds(self, node: Node) -> Iterator[str]:
        match node.pattern:
            case Choice():
                absent = self.nursery.schema.nullable(node.pattern)
                if absent not in (node.taken, None):
                    yield "remove"
                if self._others(node):
                    yield "add" if absent == node.taken else "replace"
            case OneOrMore():
                yield "add"
                if len(node.parts) > 1:
                    yield from ("remove", "reorder")
            case Interleave() if sum(size(part) > 0 for part in node.parts) > 1:
                yield "reorder"
            case Text() | Data():
                yield "value"
            case Attribute(names) | Element(names) if any(isinstance(name, AnyName) for name in names):
                yield "name"

    def _others(self, node: Node) -> list[int]:
        """The alternatives of a choice besides the one taken and besides nothing."""
        assert isinstance(node.pattern, Choice)
        absent = self.nursery.schema.nullable(node.pattern)
        return [index for index in self.nursery.ranked(node.pattern) if index not in (node.taken, absent)]

    def grown(self, pattern: Pattern) -> Node:
        """Something small in the place of a pattern."""
        return Grower(self.nursery, self.pick, BUDGET, SPARSE).tree(pattern)

    def add(self, node: Node, what: str) -> Node:
        pattern = node.pattern
        if isinstance(pattern, OneOrMore):
            part = other(self.grown(self.nursery.schema.parts[pattern][0]), len(node.parts))
            at = self.pick(len(node.parts) + 1)
            return replace(node, parts=(*node.parts[: len(node.parts) - at], part, *node.parts[len(node.parts) - at :]))
        return self.replaced(node, what)

    def replaced(self, node: Node, what: str) -> Node:
        index = (others := self._others(node))[self.pick(len(others))]
        return Node(node.pattern, (self.grown(self.nursery.schema.parts[node.pattern][index]),), index)

    def remove(self, node: Node, what: str) -> Node:
        if isinstance(node.pattern, OneOrMore):
            at = self.pick(len(node.parts))
            return replace(node, parts=(*node.parts[:at], *node.parts[at + 1 :]))
        assert isinstance(node.pattern, Choice)
        index = self.nursery.schema.nullable(node.pattern)
        assert index is not None
        return self.nursery.alternative(node.pattern, index)

    def reorder(self, node: Node, what: str) -> Node:
        if isinstance(node.pattern, OneOrMore):
            at = self.pick(len(node.parts) - 1)
            parts = list(node.parts)
            parts[at], parts[at + 1] = parts[at + 1], parts[at]
            return replace(node, parts=tuple(parts))
        full = [index for index, part in enumerate(node.parts) if size(part)]
        first = full[1 + self.pick(len(full) - 1)]
        return replace(node, order=(first, *(index for index in full if index != first)))

    def value(self, node: Node, what: str) -> Node:
        text = values.drawn(node.pattern, self.pick)
        if text == node.text and values.edges(node.pattern):
            text = values.edges(node.pattern)[self.pick(len(values.edges(node.pattern)))]
        return replace(node, text=self.held(node.pattern, text, what))

    def held(self, pattern: Pattern, text: str, what: str) -> str:
        """A text, but for a count a small one."""
        if not self.bounded or what not in COUNTS or not text.lstrip("+").isdigit() or int(text) <= MOST_COUNT:
            return text
        return next((small for small in BOUNDED if values.has(pattern, small)), text)

    def name(self, node: Node, what: str) -> Node:
        assert isinstance(node.pattern, Attribute | Element)
        element = isinstance(node.pattern, Element)
        return replace(node, name=a_name(node.pattern.names, 1 + self.pick(5), element=element))


#: How each kind of change is made.
CHANGES: dict[str, Callable[[Mutator, Node, str], Node]] = {
    "add": Mutator.add, "value": Mutator.value, "replace": Mutator.replaced, "remove": Mutator.remove,
    "reorder": Mutator.reorder, "name": Mutator.name,
}  # fmt: skip
