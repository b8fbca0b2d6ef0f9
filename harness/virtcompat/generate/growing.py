"""Trees grown from a pattern: the cheapest, the one that takes a wanted branch, or any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from virtcompat.generate import values
from virtcompat.generate.derivation import NO_NAME, Node, size, walk
from virtcompat.generate.schema import AGAIN, Branch, Schema
from virtcompat.generate.values import Pick
from virtcompat.relaxng import (
    AnyName,
    Attribute,
    Choice,
    Data,
    Element,
    Name,
    NameClass,
    OneOrMore,
    Pattern,
    Text,
    Value,
    named,
)

#: Where any name is allowed. Elements are put in a namespace of their own, as libvirt asks of what is not its own.
NAMES = ("any", "other", "third", "fourth", "fifth", "x1", "x2", "x3", "x4", "x5")
NAMESPACE = "http://example.org/any"
Donors = dict[Pattern, Node]


@dataclass(slots=True)
class Nursery:
    """Grows the cheapest trees of a schema.

    donors: pattern -> what stands in its place where nothing particular is wanted there: a piece of a document that is known
    to be accepted makes a better device than the fewest characters that the grammar allows.
    """

    schema: Schema
    donors: Donors = field(default_factory=dict)
    _grown: Donors = field(default_factory=dict)

    def cheapest(self, pattern: Pattern) -> Node:
        """What takes least; remembered, trees are never changed."""
        if pattern in self.donors:
            return self.donors[pattern]
        if pattern not in self._grown:
            self._grown[pattern] = self._cheapest(pattern)
        return self._grown[pattern]

    def _cheapest(self, pattern: Pattern) -> Node:
        if isinstance(pattern, Choice):
            return self.alternative(pattern, self.ranked(pattern)[0])
        return self.wrapped(pattern, {})

    def ranked(self, pattern: Choice) -> list[int]:
        """The alternatives of a choice that can be taken, the cheapest first."""
        parts = self.schema.parts[pattern]
        return sorted(self.schema.ways(pattern), key=lambda index: self.schema.weights[parts[index]])

    def alternative(self, pattern: Choice, index: int) -> Node:
        return Node(pattern, (self.cheapest(self.schema.parts[pattern][index]),), index)

    def wrapped(self, pattern: Pattern, given: dict[int, Node]) -> Node:
        """A node whose given parts are these and whose others are the cheapest; of a choice one is given."""
        if isinstance(pattern, Choice):
            ((index, node),) = given.items()
            return Node(pattern, (node,), index)
        if isinstance(pattern, Text | Value | Data):
            # Text may be anything: nothing is not the plainest, a name that is empty is none.
            return Node(pattern, text=values.plain(pattern))
        parts = tuple(
            given[index] if index in given else self.cheapest(part)
            for index, part in enumerate(self.schema.parts[pattern])
        )
        name = (
            a_name(pattern.names, 0, element=isinstance(pattern, Element))
            if isinstance(pattern, Element | Attribute)
            else NO_NAME
        )
        return Node(pattern, parts, name=name)

    def taking(self, branch: Branch, above: Sequence[Branch] = ()) -> Node:
        """A tree that takes a branch, which the branches above lead to from the top."""
        pattern, index = branch
        if isinstance(pattern, OneOrMore):
            node = self.cheapest(pattern)
            if index == AGAIN:
                node = replace(node, parts=(node.parts[0], other(node.parts[0], 1)))
        else:
            node = self.wrapped(pattern, {index: self.cheapest(self.schema.parts[pattern][index])})
        for parent, at in reversed(above):
            node = self.wrapped(parent, {at: node})
        return node


def a_name(names: Iterable[NameClass], number: int, *, element: bool) -> Name:
    """A name of these classes; numbers that differ give names that differ where there are several."""
    several = list(names)
    own = [name for name in several if isinstance(name, Name)]
    if own:
        return own[number % len(own)]
    spaces = [name.ns for name in several if isinstance(name, AnyName) and name.ns is not None]
    for ns in (*spaces, NAMESPACE if element else "", ""):
        for at in range(len(NAMES)):
            local = NAMES[(number + at) % len(NAMES)]
            if named(several, local, ns):
                return Name(local, ns)
    raise AssertionError("a class of names without any name")


def other(node: Node, number: int) -> Node:
    """A tree that may stand beside one that is equal to it: with another name, where it may have any."""
    if isinstance(node.pattern, Attribute | Element):
        return replace(node, name=a_name(node.pattern.names, number, element=isinstance(node.pattern, Element)))
    return replace(node, parts=tuple(other(part, number) for part in node.parts))


def donors(schema: Schema, trees: Sequence[Node]) -> Donors:
    """For each pattern the smallest tree that stands in its place somewhere.

    What may be left out is left out, but for what the first tree has: what it takes to be accepted at all. A text counts with
    its attribute or element only: a data type is shared by places that mean different things.
    """
    found: Donors = {}
    sizes: dict[Pattern, int] = {}
    for number, tree in enumerate(trees):
        for _, node in walk(tree):
            optional = schema.nullable(node.pattern) is not None
            if _structural(schema, node.pattern) and not (optional and number):
                much = size(node)
                if much and much < sizes.get(node.pattern, 1 << 30):
                    found[node.pattern], sizes[node.pattern] = node, much
    return found


def _structural(schema: Schema, pattern: Pattern) -> bool:
    firsts = schema.firsts(pattern)
    return isinstance(pattern, Choice | Element | Attribute) and bool(firsts.attributes or firsts.elements)


#: Lengths of runs of optional pieces that are left out before the next one comes, the longest first: what is drawn smaller is a
#: smaller document. The first ends them all.
RUNS = (1 << 30, 48, 32, 24, 16, 12, 10, 8, 7, 6, 5, 5, 4, 4, 3, 3, 3, 2, 2, 2, 2, *(1,) * 11)
BUDGET = 1200


@dataclass(slots=True)
class Grower:
    """Grows any tree of a schema, as an even hand or Hypothesis picks.

    The optional pieces are not decided one by one: a length is picked for each run of pieces that are left out, which takes
    a fraction of the decisions, and 0 leaves out all that follow, which is what a shrinker looks for. What has
    grown over its budget (in nodes) is ended the cheapest way. sparse: picks of a length are out of the first so many.
    """

    nursery: Nursery
    pick: Pick
    budget: int = BUDGET
    sparse: int = len(RUNS)
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = self._length() - 1

    def _length(self) -> int:
        return RUNS[self.pick(self.sparse)]

    def event(self) -> bool:
        """Whether the next thing that may happen does."""
        if self.left > 0:
            self.left -= 1
            return False
        self.left = self._length()
        return True

    def tree(self, pattern: Pattern) -> Node:
        self.budget -= 1
        if self.budget < 0:
            return self.nursery.cheapest(pattern)
        match pattern:
            case Choice():
                return self._choice(pattern)
            case OneOrMore():
                parts = [self.tree(self.nursery.schema.parts[pattern][0])]
                while self.budget > 0 and len(parts) < 4 and self.event():
                    parts.append(other(self.tree(self.nursery.schema.parts[pattern][0]), len(parts)))
                return Node(pattern, tuple(parts))
            case Text() | Data():
                if not self.event():
                    return self.nursery.cheapest(pattern)
                return Node(pattern, text=values.drawn(pattern, self.pick))
        given = {index: self.tree(part) for index, part in enumerate(self.nursery.schema.parts[pattern])}
        return self.nursery.wrapped(pattern, given)

    def around(self, branch: Branch, above: Sequence[Branch]) -> Node:
        """A tree that takes a branch, which the branches above lead to from the top; what is beside the way grows."""
        pattern, index = branch
        node = self._given(pattern, index)
        if isinstance(pattern, OneOrMore) and index == AGAIN:
            node = replace(node, parts=(*node.parts, other(self.tree(self.nursery.schema.parts[pattern][0]), 1)))
        for parent, at in reversed(above):
            node = self._given(parent, at, node)
        return node

    def _given(self, pattern: Pattern, index: int, part: Node | None = None) -> Node:
        """A node with a given part, or one that grows, among others that grow."""
        parts = self.nursery.schema.parts[pattern]
        if isinstance(pattern, OneOrMore):
            return Node(pattern, (part or self.tree(parts[0]),))
        if not parts:
            return self.tree(pattern)
        wanted = [index] if isinstance(pattern, Choice) else range(len(parts))
        return self.nursery.wrapped(pattern, {i: part if part and i == index else self.tree(parts[i]) for i in wanted})

    def _choice(self, pattern: Choice) -> Node:
        ranked = self.nursery.ranked(pattern)
        absent = self.nursery.schema.nullable(pattern)
        if absent is not None:
            if not self.event():
                given = self.nursery.donors.get(pattern)
                return given or self.nursery.alternative(pattern, absent)
            ranked = [index for index in ranked if index != absent] or ranked
        index = ranked[self.pick(len(ranked))] if len(ranked) > 1 else ranked[0]
        return Node(pattern, (self.tree(self.nursery.schema.parts[pattern][index]),), index)
