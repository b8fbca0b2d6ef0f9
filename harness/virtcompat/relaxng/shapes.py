"""The shape of a RELAX NG pattern: what may stand in an element, how often, in which order and together with what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

from virtcompat.relaxng.datatypes import EVERY_TEXT, Texts, Unknown, exactly, texts
from virtcompat.relaxng.tree import (
    Attribute,
    Choice,
    Data,
    Element,
    Grammar,
    Group,
    Interleave,
    Items,
    Name,
    NameClass,
    NotAllowed,
    OneOrMore,
    Pattern,
    Text,
    Value,
)

#: The label of text; names have their own, ``@name`` is an attribute, ``@name=value`` an attribute of this value.
TEXT_LABEL = "(text)"
State = frozenset[Element]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a pattern may produce, by label: ``source``, ``@file``, ``@type=file`` (beside ``@type``), ``(text)``.

    times: (always there, more than one possible). pairs: (a, b) where b may come after a; attributes and text come in any
    order. needs: what is always there with a label.
    """

    times: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    pairs: frozenset[tuple[str, str]] = frozenset()
    needs: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def must(self) -> frozenset[str]:
        return frozenset(label for label, (always, _) in self.times.items() if always)


NIL = Shape()


def label_of(names: NameClass) -> str:
    """How a name is written in facts: ``{namespace}name``, ``*`` for any."""
    if isinstance(names, Name):
        return f"{{{names.ns}}}{names.local}" if names.ns else names.local
    return "*" if names.ns is None else f"{{{names.ns}}}*"


def is_element(label: str) -> bool:
    return label[0] not in "@("


def is_value(label: str) -> bool:
    return label[0] == "@" and "=" in label


def of_attribute(label: str) -> str:
    """The attribute that a label of a value belongs to; any other label itself."""
    return label.split("=", 1)[0] if is_value(label) else label


def leaf(*labels: str, always: bool = True) -> Shape:
    """All of these labels."""
    return Shape(dict.fromkeys(labels, (always, False)), frozenset(), dict.fromkeys(labels, frozenset(labels)))


def beside(one: Shape, other: Shape, *, ordered: bool) -> Shape:
    """Both, one after the other or mingled."""
    times = dict(one.times)
    for label, (always, many) in other.times.items():
        times[label] = (always or times[label][0], True) if label in times else (always, many)
    pairs = set(one.pairs | other.pairs)
    for a, b in product(one.times, other.times):
        pairs.add((a, b))
        if not ordered or not (is_element(a) and is_element(b)):
            pairs.add((b, a))
    needs: dict[str, frozenset[str]] = {}
    for shape, rest in ((one, other), (other, one)):
        must = rest.must
        for label in shape.times:
            here = shape.needs[label] | must
            needs[label] = needs[label] & here if label in needs else here
    return Shape(times, frozenset(pairs), needs)


def either(shapes: Iterable[Shape]) -> Shape:
    """One of them."""
    several = list(shapes)
    if len(several) == 1:
        return several[0]
    times: dict[str, tuple[bool, bool]] = {}
    needs: dict[str, frozenset[str]] = {}
    must = frozenset.intersection(*(s.must for s in several))
    for shape in several:
        for label, (_, many) in shape.times.items():
            times[label] = (label in must, many or (label in times and times[label][1]))
            needs[label] = needs[label] & shape.needs[label] if label in needs else shape.needs[label]
    return Shape(times, frozenset().union(*(s.pairs for s in several)), needs)


def repeated(shape: Shape) -> Shape:
    """One or more of it: what excludes each other in one round may come in two."""
    times = {label: (always, many or is_element(label)) for label, (always, many) in shape.times.items()}
    return Shape(times, shape.pairs | frozenset(product(shape.times, shape.times)), shape.needs)


@dataclass(slots=True)
class Reading:
    """A grammar and the shapes of its patterns; None is the shape of what nothing can match."""

    grammar: Grammar
    known: dict[Pattern, Shape | None] = field(default_factory=dict)
    possible: set[Pattern] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Find the elements that can exist: those whose content can, which asks the same of the elements in it."""
        waiting = {p for p in self.grammar.every() if isinstance(p, Element)}
        while found := {e for e in waiting if isinstance(e, Element) and self.shape(e.content) is not None}:
            self.possible |= found
            waiting -= found
            self.known.clear()

    def shape(self, pattern: Pattern) -> Shape | None:
        pattern = self.grammar.resolve(pattern)
        if pattern not in self.known:
            self.known[pattern] = self._shape(pattern)
        return self.known[pattern]

    def _shape(self, pattern: Pattern) -> Shape | None:
        match pattern:
            case NotAllowed():
                return None
            case Text() | Value() | Data() | Items():
                return leaf(TEXT_LABEL, always="" not in self.texts(pattern))
            case Attribute(names, content):
                found = self.shape(content)
                return either(self._attribute(content, f"@{label_of(n)}") for n in names) if found else None
            case Element(names):
                return either(leaf(label_of(n)) for n in names) if pattern in self.possible else None
            case OneOrMore(inner):
                found = self.shape(inner)
                return repeated(found) if found else None
            case Choice(parts):
                several = [s for p in parts if (s := self.shape(p)) is not None]
                return either(several) if several else None
            case Group(parts) | Interleave(parts):
                return self._all(parts, ordered=isinstance(pattern, Group))
        return NIL

    def _all(self, parts: tuple[Pattern, ...], *, ordered: bool) -> Shape | None:
        found = NIL
        for part in parts:
            if (shape := self.shape(part)) is None:
                return None
            found = beside(found, shape, ordered=ordered)
        return found

    def _attribute(self, content: Pattern, name: str) -> Shape:
        """An attribute, by its values where it has any."""
        values = (p.text if isinstance(p, Value) else None for p in self.leaves([content]))
        return either(leaf(name) if value is None else leaf(name, f"{name}={value}") for value in values)

    def inside(self, patterns: Iterable[Pattern]) -> Iterator[Pattern]:
        """The attributes, elements and leaves that patterns consist of, without the impossible."""
        for each in patterns:
            pattern = self.grammar.resolve(each)
            if self.shape(pattern) is None:
                continue
            match pattern:
                case Group(parts) | Interleave(parts) | Choice(parts):
                    yield from self.inside(parts)
                case OneOrMore(inner):
                    yield from self.inside([inner])
                case _:
                    yield pattern

    def leaves(self, patterns: Iterable[Pattern]) -> list[Pattern]:
        """What the text of patterns may be: Text, Value, Data, Items and Empty, each place once."""
        found = (p for p in self.inside(patterns) if not isinstance(p, Attribute | Element))
        return list(dict.fromkeys(found))

    def texts(self, pattern: Pattern) -> Texts:
        """The texts of a leaf. Raises Unknown where that cannot be told."""
        match pattern:
            case Value(text):
                return exactly(text)
            case Data(name, params, without):
                excepted = self.leaves([without]) if without else []
                if not all(isinstance(p, Value) for p in excepted):
                    raise Unknown("data without what is no value is not understood here")
                return texts(name, params, frozenset(p.text for p in excepted if isinstance(p, Value)))
            case Items():
                raise Unknown("a list of values is not understood here")
        return EVERY_TEXT

    def attributes(self, patterns: Iterable[Pattern]) -> dict[str, list[Attribute]]:
        """The attributes of patterns by label."""
        found: dict[str, list[Attribute]] = {}
        for pattern in self.inside(patterns):
            if isinstance(pattern, Attribute):
                for names in pattern.names:
                    found.setdefault(f"@{label_of(names)}", []).append(pattern)
        return found

    def states(self, patterns: Iterable[Pattern]) -> dict[str, State]:
        """The elements of patterns by label: all declarations that an element of this name may follow."""
        found: dict[str, set[Element]] = {}
        for pattern in self.inside(patterns):
            if isinstance(pattern, Element):
                for names in pattern.names:
                    found.setdefault(label_of(names), set()).add(pattern)
        return {label: frozenset(elements) for label, elements in found.items()}
