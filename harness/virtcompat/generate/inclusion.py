"""Why a document of one grammar is none of another: the innermost element that the other does not take, and the piece of it.

That a document is refused is for lxml to say; here it is found which declaration it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from virtcompat.generate.derivation import Node, content, string, walk
from virtcompat.generate.matching import Attr, Chars, Elem, Matcher, Piece, Pieces, elements
from virtcompat.generate.schema import Schema
from virtcompat.relaxng import Attribute, Data, Element, Pattern, Text, Value, named


@dataclass(frozen=True, slots=True)
class Rejection:
    """A piece of a document that another grammar does not take.

    where: path of the element; piece: ``@device=lun``, the name of a child element, ``(text) …``, two of them, or empty where
    something is missing or no two are to blame. definition: the one of the document's own grammar that allows the first.
    """

    where: str
    piece: str
    definition: str

    def __str__(self) -> str:
        at = f"{self.where}/{self.piece}" if self.piece else f"{self.where} as a whole"
        return f"{at} (allowed by '{self.definition}')" if self.definition else at


def rejection(own: Schema, tree: Node, other: Matcher, text: str) -> Rejection | None:
    """What of a document another grammar rejects; None where it takes it all."""
    root = elements(text)
    if other.content(other.schema.start, (root,)) is not None:
        return None
    trail, pieces = _innermost(other, root, [other.schema.start])
    return Rejection("/".join(trail), " with ".join(map(_spelled, pieces)), _definition(own, tree, trail, pieces))


def _innermost(matcher: Matcher, element: Elem, places: list[Pattern]) -> tuple[list[str], Pieces]:
    """The names down to the element to blame, and the pieces in it."""
    name = element.name.local
    candidates = [e for place in places for e in _within(matcher.schema, place, element)]
    if not candidates:
        return [name], ()
    inner = [matcher.schema.parts[candidate][0] for candidate in candidates]
    for piece in element.pieces:
        if isinstance(piece, Elem):
            there = [e for place in inner for e in _within(matcher.schema, place, piece)]
            if there and all(matcher.content(e, (piece,)) is None for e in there):
                trail, found = _innermost(matcher, piece, inner)
                return [name, *trail], found
    return [name], _culprits(matcher, element, inner)


def _culprits(matcher: Matcher, element: Elem, inner: list[Pattern]) -> Pieces:
    """What has to go for the element to be taken: a piece, a value that stands nowhere, else two pieces."""
    single: list[Pieces] = [(piece,) for piece in element.pieces]
    for pieces in (*single, *combinations(element.pieces, 2)):
        rest = tuple(piece for piece in element.pieces if piece not in pieces)
        if any(matcher.content(place, rest) is not None for place in inner):
            return pieces
        if pieces == single[-1] and (strange := _strange(matcher, element, inner)):
            return (strange,)
    return ()


def _strange(matcher: Matcher, element: Elem, inner: list[Pattern]) -> Piece | None:
    """A piece whose name or value has no place in any of several patterns."""
    for piece in element.pieces:
        if not any(matcher.takes(place, piece) for place in inner):
            return piece
        there = [p for place in inner for p in _within(matcher.schema, place, piece)]
        if not isinstance(piece, Elem) and all(matcher.content(p, (piece,)) is None for p in there):
            return piece
    return None


def _within(schema: Schema, pattern: Pattern, piece: Piece) -> Iterator[Pattern]:
    """The declarations of an attribute's or element's name, or of text, directly in a pattern."""
    kind = Element if isinstance(piece, Elem) else Attribute
    seen: set[Pattern] = set()
    waiting = [pattern]
    while waiting:
        each = waiting.pop()
        if each in seen or not schema.possible(each):
            continue
        seen.add(each)
        if isinstance(each, Element | Attribute):
            if isinstance(piece, Chars) or not isinstance(each, kind):
                continue
            if named(each.names, piece.name.local, piece.name.ns):
                yield each
        elif isinstance(each, Text | Value | Data) and isinstance(piece, Chars):
            yield each
        else:
            waiting += schema.parts[each]


def _spelled(piece: Piece) -> str:
    match piece:
        case Attr(name, text):
            return f"@{name.local}={text}"
        case Elem(name):
            return name.local
        case Chars(text):
            return f"(text) {text.strip()}"


def _definition(own: Schema, tree: Node, trail: list[str], pieces: Pieces) -> str:
    """The definition in the document's own grammar that produced the piece, else the element it is in."""
    nodes = [node for node in content(tree)[1] if isinstance(node, Node)]
    for name in trail[1:]:
        inside = (p for node in nodes for p in content(node.parts[0])[1])
        nodes = [p for p in inside if isinstance(p, Node) and p.name.local == name]
    piece = pieces[0] if pieces else None
    for node in nodes:
        for _, found in walk(node):
            same = isinstance(piece, Attr | Elem) and found.name == piece.name and found is not node
            if same and (not isinstance(piece, Attr) or string(found.parts[0]) == piece.text):
                return own.defines.get(found.pattern, "")
    return own.defines.get(nodes[0].pattern, "") if nodes else ""
