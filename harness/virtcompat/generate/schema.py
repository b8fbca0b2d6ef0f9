"""A grammar prepared for generating: what each pattern costs at least, what may stand first in it, which branches it has."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from virtcompat.errors import BadData
from virtcompat.generate import values
from virtcompat.relaxng import (
    START,
    Attribute,
    Choice,
    Data,
    Element,
    Empty,
    Grammar,
    Group,
    Interleave,
    Items,
    Name,
    NameClass,
    NotAllowed,
    OneOrMore,
    Pattern,
    Ref,
    Text,
    Value,
    children,
    load,
)
from virtcompat.relaxng.tree import REMEDY

#: One way to go on in a grammar: part ``index`` of a pattern (of a choice the alternative taken, of anything else what is
#: always there). Of a ``OneOrMore`` index 0 is the first round and ``AGAIN`` a second one.
Branch = tuple[Pattern, int]
AGAIN = 1
#: What a start tag and an attribute add to a document's cost.
ELEMENT, ATTRIBUTE = 2.0, 1.0


@dataclass(frozen=True, slots=True)
class Firsts:
    """What may stand directly in a pattern's place: names of attributes and elements, classes of names, text."""

    attributes: frozenset[Name] = frozenset()
    elements: frozenset[Name] = frozenset()
    any_attribute: tuple[NameClass, ...] = ()
    any_element: tuple[NameClass, ...] = ()
    text: bool = False


NOTHING = Firsts()


@dataclass(slots=True)
class Schema:
    """A grammar and what follows from it.

    weights: pattern -> cost of its cheapest document part, infinite where nothing can match. parts: pattern -> what it is made
    of, references resolved. defines: pattern -> name of the definition that it is written in.
    """

    grammar: Grammar
    weights: dict[Pattern, float] = field(default_factory=dict)
    parts: dict[Pattern, tuple[Pattern, ...]] = field(default_factory=dict)
    defines: dict[Pattern, str] = field(default_factory=dict)
    _firsts: dict[Pattern, Firsts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Weigh every pattern: a fixed point, because elements may hold themselves."""
        resolve = self.grammar.resolve
        every = list(self.grammar.every())
        for pattern in every:
            inner = () if isinstance(pattern, Data | Items) else children(pattern)
            self.parts[pattern] = tuple(resolve(part) for part in inner)
        self.weights = dict.fromkeys(every, math.inf)
        changed = True
        while changed:
            changed = False
            for pattern in reversed(every):
                weight = self._weight(pattern)
                changed |= weight < self.weights[pattern]
                self.weights[pattern] = weight
        if math.isinf(self.weights[self.start]):
            raise BadData("(grammar)", "no document matches it", REMEDY)
        self._name_defines()

    @property
    def start(self) -> Pattern:
        return self.grammar.resolve(self.grammar.start)

    def possible(self, pattern: Pattern) -> bool:
        return self.weights[pattern] < math.inf

    def _weight(self, pattern: Pattern) -> float:
        inner = [self.weights[part] for part in self.parts[pattern]]
        match pattern:
            case Choice():
                return min(inner, default=math.inf)
            case Group() | Interleave() | OneOrMore():
                return sum(inner)
            case Element():
                return inner[0] + ELEMENT
            case Attribute():
                return inner[0] + ATTRIBUTE
            case NotAllowed():
                return math.inf
            case Value() | Data() | Items() if not values.possible(pattern):
                return math.inf
        return 0.0

    def _name_defines(self) -> None:
        for ref, body in self.grammar.defines.items():
            waiting: list[Pattern] = [body]
            while waiting:
                pattern = waiting.pop()
                if not isinstance(pattern, Ref) and pattern not in self.defines:
                    self.defines[pattern] = ref.name if ref.name != START else "start"
                    waiting += children(pattern)

    def branches(self) -> Iterator[Branch]:
        """Every branch that some document takes, in the order of the grammar; what can stand nowhere is left out."""
        seen: set[Pattern] = set()
        waiting = [self.start]
        while waiting:
            pattern = waiting.pop()
            if pattern in seen:
                continue
            seen.add(pattern)
            yield from ((pattern, index) for index in self.ways(pattern))
            if isinstance(pattern, OneOrMore):
                yield pattern, AGAIN
            waiting += [self.parts[pattern][index] for index in reversed(self.ways(pattern))]

    def ways(self, pattern: Pattern) -> list[int]:
        """The parts of a pattern that can be gone to."""
        return [index for index, part in enumerate(self.parts[pattern]) if self.possible(part)]

    def firsts(self, pattern: Pattern) -> Firsts:
        if pattern not in self._firsts:
            self._firsts[pattern] = self._find_firsts(pattern)
        return self._firsts[pattern]

    def _find_firsts(self, pattern: Pattern) -> Firsts:
        match pattern:
            case Attribute(names):
                known = frozenset(name for name in names if isinstance(name, Name))
                return Firsts(attributes=known, any_attribute=tuple(n for n in names if not isinstance(n, Name)))
            case Element(names):
                known = frozenset(name for name in names if isinstance(name, Name))
                return Firsts(elements=known, any_element=tuple(n for n in names if not isinstance(n, Name)))
            case Text() | Value() | Data() | Items():
                return Firsts(text=True)
        inner = [self.firsts(part) for part in self.parts[pattern]]
        return Firsts(
            frozenset().union(*(f.attributes for f in inner)),
            frozenset().union(*(f.elements for f in inner)),
            tuple(n for f in inner for n in f.any_attribute),
            tuple(n for f in inner for n in f.any_element),
            any(f.text for f in inner),
        )

    def nullable(self, pattern: Pattern) -> int | None:
        """The alternative of a choice that is nothing at all, where it has one."""
        for index, part in enumerate(self.parts[pattern]) if isinstance(pattern, Choice) else ():
            if isinstance(part, Empty):
                return index
        return None


def read(files: Mapping[str, bytes] | Path, kind: str) -> Schema:
    """The schema of a kind of document, ``<kind>.rng`` among files {name: content} or in a folder. Raises BadData."""
    if isinstance(files, Path):
        files = {file.name: file.read_bytes() for file in sorted(files.glob("*.rng"))}
    return Schema(load(files, f"{kind}.rng"))
