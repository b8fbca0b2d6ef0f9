"""Derivation trees: a document together with which pattern of the grammar produced each piece of it.

A tree is what is generated, matched, edited, shrunk and counted; the text is written off it. A node holds the pattern that
stands in its place, so that any other tree of the same pattern may stand there and the document stays one of the grammar.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain

from virtcompat.generate.schema import AGAIN, Branch
from virtcompat.relaxng import Attribute, Choice, Element, Name, OneOrMore, Pattern

#: From the root down: which part at each node.
Path = tuple[int, ...]
NO_NAME = Name("")


@dataclass(frozen=True, slots=True)
class Node:
    """A pattern and what stands in its place.

    parts: the rounds of a OneOrMore, the one alternative of a Choice, else one node for each part of the pattern. taken: which
    alternative. name: of an element or attribute. text: of a leaf. order: of an Interleave, the part that gives the next
    element, the last time all that it has left; empty for one part after the other, which parts not named in it do.
    """

    pattern: Pattern
    parts: tuple[Node, ...] = ()
    taken: int = 0
    name: Name = NO_NAME
    text: str = ""
    order: tuple[int, ...] = ()


def walk(node: Node, path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Every node with its path, a node before its parts."""
    yield path, node
    for index, part in enumerate(node.parts):
        yield from walk(part, (*path, index))


def at(root: Node, path: Path) -> Node:
    for index in path:
        root = root.parts[index]
    return root


def put(root: Node, path: Path, new: Node) -> Node:
    """The tree with another one in the place of a node."""
    if not path:
        return new
    parts = list(root.parts)
    parts[path[0]] = put(parts[path[0]], path[1:], new)
    return replace(root, parts=tuple(parts))


def taken(root: Node) -> set[Branch]:
    """The branches that a document takes."""
    found: set[Branch] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        match node.pattern:
            case Choice():
                found.add((node.pattern, node.taken))
            case OneOrMore():
                found.add((node.pattern, 0))
                if len(node.parts) > 1:
                    found.add((node.pattern, AGAIN))
            case _:
                found.update((node.pattern, index) for index in range(len(node.parts)))
        waiting += node.parts
    return found


def size(root: Node) -> int:
    """Elements, attributes and texts."""
    own = isinstance(root.pattern, Element | Attribute) or bool(root.text)
    return own + sum(size(part) for part in root.parts)


def string(node: Node) -> str:
    """The text of an attribute's content."""
    return "".join(piece.text for _, piece in walk(node))


# -- writing -----------------------------------------------------------------------------------------------------------

#: An element, or text.
Piece = Node | str
XML = "http://www.w3.org/XML/1998/namespace"


def render(root: Node) -> str:
    """The document, indented where that changes nothing."""
    return Writer().document(root)


def content(node: Node) -> tuple[list[Node], list[Piece]]:
    """(attributes, elements and texts) that stand directly in a node's place."""
    attributes: list[Node] = []
    pieces: list[Piece] = []
    _collect(node, attributes, pieces)
    return attributes, pieces


def _collect(node: Node, attributes: list[Node], pieces: list[Piece]) -> None:
    if isinstance(node.pattern, Attribute):
        attributes.append(node)
    elif isinstance(node.pattern, Element):
        pieces.append(node)
    elif node.order:
        several: list[list[Piece]] = [[] for _ in node.parts]
        for part, own in zip(node.parts, several, strict=True):
            _collect(part, attributes, own)
        last = {number: slot for slot, number in enumerate(node.order)}
        for slot, number in enumerate(node.order):
            own = several[number]
            end = len(own) if last[number] == slot else 1
            pieces.extend(own[:end])
            del own[:end]
        pieces.extend(chain(*several))
    elif node.parts:
        for part in node.parts:
            _collect(part, attributes, pieces)
    elif node.text:
        pieces.append(node.text)


@dataclass(slots=True)
class Writer:
    """Writes many trees that share pieces: each piece once. prefixes: of the namespaces met so far."""

    prefixes: dict[str, str] = field(default_factory=lambda: {"": "", XML: "xml"})
    _written: dict[tuple[int, int], tuple[Node, str, frozenset[str]]] = field(default_factory=dict)

    def document(self, root: Node) -> str:
        (element,) = (piece for piece in content(root)[1] if isinstance(piece, Node))
        text, namespaces = self._element(element, 0)
        spaces = "".join(f' xmlns:{self.prefixes[ns]}="{_quoted(ns)}"' for ns in sorted(namespaces - {"", XML}))
        name = self._name(element.name)
        return f"<{name}{spaces}{text[len(name) + 1 :]}\n"

    def _element(self, element: Node, depth: int) -> tuple[str, frozenset[str]]:
        """(text, the namespaces used in it) of an element so deep."""
        key = (id(element), depth)
        if key not in self._written or self._written[key][0] is not element:
            self._written[key] = element, *self._write(element, depth)
        return self._written[key][1:]

    def _write(self, element: Node, depth: int) -> tuple[str, frozenset[str]]:
        attributes, pieces = content(element.parts[0])
        name, indent = self._name(element.name), "\n" + "  " * depth
        namespaces = {element.name.ns, *(each.name.ns for each in attributes)}
        words = [f' {self._name(each.name)}="{_quoted(string(each.parts[0]))}"' for each in attributes]
        start = f"<{name}{''.join(words)}"
        if not pieces:
            return start + "/>", frozenset(namespaces)
        plain = all(isinstance(piece, Node) for piece in pieces)
        found = [start, ">"]
        for piece in pieces:
            if isinstance(piece, str):
                found.append(_escaped(piece))
            else:
                text, inside = self._element(piece, depth + 1)
                namespaces |= inside
                found += [indent + "  ", text] if plain else [text]
        return f"{''.join(found)}{indent if plain else ''}</{name}>", frozenset(namespaces)

    def _name(self, name: Name) -> str:
        if name.ns not in self.prefixes:
            # The last word of the namespace that is no version.
            word = next((w for w in reversed(name.ns.split("/")) if w.isalpha()), "ns")
            self.prefixes[name.ns] = word if word not in self.prefixes.values() else f"{word}{len(self.prefixes)}"
        return f"{self.prefixes[name.ns]}:{name.local}" if name.ns else name.local


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', "&quot;").replace("\t", "&#9;").replace("\n", "&#10;")
