"""A document matched back to its grammar: which pattern produced each element, attribute and text.

Attributes, child elements and texts of an element are dealt out to the parts of its pattern by their names; only where a name may
belong to several parts are the divisions tried one after the other. Every (pattern, pieces) is matched once, which keeps
the search short where choices start alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from lxml import etree

from virtcompat.documents import parse
from virtcompat.generate import values
from virtcompat.generate.derivation import Node
from virtcompat.generate.schema import Schema
from virtcompat.relaxng import (
    Attribute,
    Choice,
    Data,
    Element,
    Empty,
    Group,
    Interleave,
    Name,
    OneOrMore,
    Pattern,
    Text,
    Value,
    named,
)

#: All ways to divide pieces that belong to either of two parts are tried up to so many pieces; beyond, runs from the first on.
FEW = 6


@dataclass(frozen=True, slots=True, eq=False)
class Attr:
    """An attribute of the document."""

    name: Name
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Elem:
    """An element of the document, with what stands directly in it."""

    name: Name
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Chars:
    """A text of the document, or the value of an attribute."""

    text: str


Piece = Attr | Elem | Chars
Pieces = tuple[Piece, ...]


def matched(schema: Schema, text: str) -> Node | None:
    """The derivation of a document, None where it is not valid. Raises NotWellFormed."""
    return Matcher(schema).content(schema.start, (elements(text),))


def elements(text: str) -> Elem:
    """A document as pieces. Raises NotWellFormed."""
    return _elem(parse(text))


def _elem(element: etree._Element) -> Elem:
    attributes = [Attr(_name(str(key)), str(value)) for key, value in element.attrib.items()]
    inside: list[Piece] = [Chars(element.text)] if element.text else []
    for child in element:
        inside.append(_elem(child))
        inside += [Chars(child.tail)] if child.tail else []
    if len(element):
        inside = [piece for piece in inside if not (isinstance(piece, Chars) and not piece.text.strip())]
    return Elem(_name(str(element.tag)), (*attributes, *inside))


def _name(tag: str) -> Name:
    qualified = etree.QName(tag)
    return Name(qualified.localname, qualified.namespace or "")


@dataclass(slots=True)
class Matcher:
    """Matches pieces against patterns of one schema; remembers every answer."""

    schema: Schema
    known: dict[tuple[Pattern, Pieces], Node | None] = field(default_factory=dict)

    def content(self, pattern: Pattern, pieces: Pieces) -> Node | None:
        """The tree of a pattern that has exactly these pieces."""
        if any(not self.takes(pattern, piece) for piece in pieces):
            return None
        key = (pattern, pieces)
        if key not in self.known:
            self.known[key] = self._content(pattern, pieces)
        return self.known[key]

    def takes(self, pattern: Pattern, piece: Piece) -> bool:
        """Whether a piece may be directly in a pattern, going by its name."""
        firsts = self.schema.firsts(pattern)
        match piece:
            case Attr(name):
                return name in firsts.attributes or named(firsts.any_attribute, name.local, name.ns)
            case Elem(name):
                return name in firsts.elements or named(firsts.any_element, name.local, name.ns)
            case Chars(text):
                return firsts.text or not text.strip()

    def _content(self, pattern: Pattern, pieces: Pieces) -> Node | None:
        match pattern:
            case Empty():
                return Node(pattern)
            case Text() | Value() | Data():
                text = "".join(piece.text for piece in pieces if isinstance(piece, Chars))
                return Node(pattern, text=text) if values.has(pattern, text) else None
            case Attribute() | Element():
                return self._holder(pattern, pieces)
            case Choice():
                for index, part in enumerate(self.schema.parts[pattern]):
                    if found := self.content(part, pieces):
                        return Node(pattern, (found,), index)
                return None
            case OneOrMore():
                rounds = self._rounds(self.schema.parts[pattern][0], pieces)
                return Node(pattern, tuple(rounds)) if rounds else None
            case Group() | Interleave():
                return self._several(pattern, pieces)
        return None

    def _holder(self, pattern: Attribute | Element, pieces: Pieces) -> Node | None:
        held = [piece for piece in pieces if not isinstance(piece, Chars)]
        if len(held) != 1 or isinstance(held[0], Attr) != isinstance(pattern, Attribute):
            return None
        (holder,) = held
        part = self.schema.parts[pattern][0]
        inner: Pieces = (Chars(holder.text),) if isinstance(holder, Attr) else holder.pieces
        found = self.content(part, inner)
        if found is None and any(isinstance(piece, Chars) for piece in inner):
            # White space alone is nothing, where it is not a text.
            found = self.content(part, tuple(p for p in inner if not (isinstance(p, Chars) and not p.text.strip())))
        return Node(pattern, (found,), name=holder.name) if found else None

    def _several(self, pattern: Group | Interleave, pieces: Pieces) -> Node | None:
        parts = self.schema.parts[pattern]
        ordered = isinstance(pattern, Group)
        for dealt in self._dealt(parts, 0, pieces, ordered):
            found: list[Node] = []
            for part, own in zip(parts, dealt, strict=True):
                node = self.content(part, own)
                if node is None:
                    break
                found.append(node)
            else:
                return Node(pattern, tuple(found), order=() if ordered else _order(dealt, pieces))
        return None

    def _dealt(self, parts: Sequence[Pattern], at: int, pieces: Pieces, ordered: bool) -> Iterator[list[Pieces]]:
        """Every way to deal pieces out to parts that their names allow, in the order of the document."""
        if at == len(parts):
            if not pieces:
                yield []
            return
        mine = [piece for piece in pieces if self.takes(parts[at], piece)]
        later = {p for p in mine if any(self.takes(part, p) for part in parts[at + 1 :])}
        for given in _subsets([p for p in mine if p in later]):
            own = tuple(p for p in mine if p not in later or p in given)
            rest = tuple(p for p in pieces if p not in own)
            if (ordered and not _precedes(own, pieces)) or (own and self.content(parts[at], own) is None):
                continue
            for dealt in self._dealt(parts, at + 1, rest, ordered):
                yield [own, *dealt]

    def _rounds(self, part: Pattern, pieces: Pieces) -> list[Node] | None:
        """Pieces in rounds of a part, the shortest first."""
        if not pieces or self._single(part):
            several = [self.content(part, (piece,)) for piece in pieces] or [self.content(part, ())]
            return [node for node in several if node] if all(several) else None
        for end in range(1, len(pieces) + 1):
            first = self.content(part, pieces[:end])
            if first is not None:
                rest = self._rounds(part, pieces[end:]) if pieces[end:] else []
                if rest is not None:
                    return [first, *rest]
        return None

    def _single(self, part: Pattern) -> bool:
        """Whether a part is one element or attribute."""
        if isinstance(part, Choice):
            return all(self._single(each) for each in self.schema.parts[part])
        return isinstance(part, Element | Attribute)


def _subsets(pieces: Sequence[Piece]) -> Iterator[frozenset[Piece]]:
    """Sets of pieces, the largest first."""
    if len(pieces) <= FEW:
        for number in range(len(pieces), -1, -1):
            yield from (frozenset(some) for some in combinations(pieces, number))
    else:
        yield from (frozenset(pieces[:number]) for number in range(len(pieces), -1, -1))


def _precedes(own: Pieces, pieces: Pieces) -> bool:
    """Whether the elements of a part stand before all others that are left."""
    elements = [piece for piece in pieces if isinstance(piece, Elem)]
    mine = [piece for piece in elements if piece in own]
    return elements[: len(mine)] == mine


def _order(dealt: Sequence[Pieces], pieces: Pieces) -> tuple[int, ...]:
    """Which part gives the next element; empty where that is one part after the other."""
    owner = {piece: number for number, own in enumerate(dealt) for piece in own}
    found = tuple(owner[piece] for piece in pieces if not isinstance(piece, Attr))
    return () if found == tuple(sorted(found)) else found
