"""What a RELAX NG grammar permits, as facts by element path: the same for two grammars that only spell it differently.

    domain/devices/disk = any number                   once, optional, one or more, any number: within its parent
    domain/devices/disk/@device = optional
    domain/devices/disk/@device/cdrom = value          a value; one that could be taken for something else in brackets
    domain/devices/disk/@sgio/(data) = string pattern "…"       what is open: types with their facets, joined by ``or``
    domain/vcpu/(text) = once                          an element's own text, its values below
    domain/os/loader/(after) = type                    these, where there are any, stand before it
    domain/devices/disk/source/@dev/(never with) = @file        of two that exclude each other the first is told
    domain/devices/disk/@type/vhostuser/(only with) = @model    what is always there with it but not always there

Where several declarations of a name can stand in one place (``<source>`` of a file and of a network disk) the facts are
those of all of them together: what one of them permits is permitted. An element within itself is not told again,
``…/backingStore = optional; as 1 up``, nor what the grammar of another root tells: ``… = optional; as domain/devices``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import quote, unquote

from virtcompat.relaxng.datatypes import EVERY_TEXT, Texts, texts
from virtcompat.relaxng.shapes import (
    TEXT_LABEL,
    Reading,
    Shape,
    State,
    either,
    is_element,
    is_value,
    of_attribute,
)
from virtcompat.relaxng.tree import Data, Empty, Grammar, Pattern, Value

#: (always there, more than one possible) -> the word for it.
TIMES = {(True, False): "once", (False, False): "optional", (True, True): "one or more", (False, True): "any number"}
DATA, VALUE, ANY_TEXT = "(data)", "value", "text"
AFTER, NEVER, ONLY = "(after)", "(never with)", "(only with)"
Facts = dict[str, str]


def facts(grammar: Grammar) -> Facts:
    """What a grammar permits, {path: value}. Raises Unknown where it uses what is not understood here."""
    reading = Reading(grammar)
    content = cache(lambda state: _content(reading, [element.content for element in state]))
    found: Facts = {}

    def tell(path: str, state: State, times: str, above: tuple[State, ...]) -> None:
        if state in above:
            found[path] = f"{times}; as {len(above) - above.index(state)} up"
            return
        own, inner = content(state)
        found[path] = times
        found.update((f"{path}/{at}", value) for at, value in own.items())
        for name, (child, often) in inner.items():
            tell(f"{path}/{name}", child, often, (*above, state))

    for name, (state, times) in _content(reading, [grammar.start])[1].items():
        tell(name, state, times, ())
    return found


def _content(reading: Reading, patterns: list[Pattern]) -> tuple[Facts, dict[str, tuple[State, str]]]:
    """What several declarations of one element together permit in it: facts by path, then the elements by step."""
    shape = either(s for p in patterns if (s := reading.shape(p)))
    found: Facts = {}
    for name, attributes in reading.attributes(patterns).items():
        at = step(name)
        found |= {at: TIMES[shape.times[name][0], False], **_texts(reading, at, [a.content for a in attributes])}
    if TEXT_LABEL in shape.times:
        at = TEXT_LABEL
        found |= {at: TIMES[shape.times[at][0], False], **_texts(reading, at, patterns, empty=False)}
    found |= dict(_relations(shape))
    states = reading.states(patterns)
    return found, {step(name): (state, TIMES[shape.times[name]]) for name, state in states.items()}


def _texts(reading: Reading, path: str, patterns: Iterable[Pattern], *, empty: bool = True) -> Facts:
    """Each value for itself, what is open in one fact. empty: no text is a value (of an attribute)."""
    found: Facts = {}
    opened = set()
    for leaf in reading.leaves(patterns):
        if isinstance(leaf, Value) or (empty and isinstance(leaf, Empty)):
            found[f"{path}/{step(leaf.text if isinstance(leaf, Value) else '')}"] = VALUE
        elif not isinstance(leaf, Empty):
            opened.add(_spelled(reading, leaf))
    if opened:
        found[f"{path}/{DATA}"] = " or ".join(sorted(opened))
    return found


def _spelled(reading: Reading, leaf: Pattern) -> str:
    """Open text in words, the same for the same: ``string pattern "…"``, a quote in it doubled."""
    meant = reading.texts(leaf)
    if meant == EVERY_TEXT or not isinstance(leaf, Data):
        return ANY_TEXT
    facets = sorted({*leaf.params, *(("except", text) for text in meant.without)})
    written = ((name, value.replace("\n", r"\n").replace("\t", r"\t").replace('"', '""')) for name, value in facets)
    return " ".join([leaf.type, *(f'{name} "{value}"' for name, value in written)])


FACET = r'[A-Za-z]+ "(?:[^"]|"")*"'


def open_texts(value: str) -> dict[str, Texts]:
    """Spelling -> texts of all that a ``(data)`` fact names. Raises Unknown."""
    found = {}
    for written in re.findall(rf"(?:^| or )([A-Za-z]+(?: {FACET})*)", value):
        name, _, rest = written.partition(" ")
        facets = [each.split(" ", 1) for each in re.findall(FACET, rest)]
        pairs = [(facet, text[1:-1].replace('""', '"')) for facet, text in facets]
        without = frozenset(text for facet, text in pairs if facet == "except")
        params = tuple(pair for pair in pairs if pair[0] != "except")
        found[written] = EVERY_TEXT if written == ANY_TEXT else texts(name, params, without)
    return found


def _relations(shape: Shape) -> Iterator[tuple[str, str]]:
    """How what stands in one element depends on each other, as far as two labels at a time can say."""
    names = sorted(each for each in shape.times if not is_value(each))
    for one in sorted(shape.times):
        whole = of_attribute(one)
        at = one if one == TEXT_LABEL else step(whole)
        at = at if whole == one else f"{at}/{step(one[len(whole) + 1 :])}"
        if is_element(one):
            first = (b for b in names if is_element(b) and (b, one) in shape.pairs and (one, b) not in shape.pairs)
            yield from _said(f"{at}/{AFTER}", first)
        apart = (b for b in names if b != whole and not _together(shape, one, b))
        if whole == one:
            yield from _said(f"{at}/{NEVER}", (b for b in apart if b > one))
        else:
            yield from _said(f"{at}/{NEVER}", (b for b in apart if _together(shape, whole, b)))
        yield from _said(f"{at}/{ONLY}", sorted(_needs(shape, one, whole)))


def _together(shape: Shape, one: str, other: str) -> bool:
    return (one, other) in shape.pairs or (other, one) in shape.pairs


def _needs(shape: Shape, one: str, whole: str) -> Iterator[str]:
    """What a label needs, each said once: not what is always there, nor what its attribute needs whatever the value."""
    needs = shape.needs[one] - shape.must - (shape.needs[whole] if whole != one else frozenset())
    implied = {of_attribute(each) for each in needs if is_value(each)}
    return (each for each in needs - implied if of_attribute(each) != whole)


def _said(path: str, labels: Iterable[str]) -> Iterator[tuple[str, str]]:
    if words := " ".join(quote(each, safe="@(){}:/*=.-_+,") for each in labels):
        yield path, words


def said(value: str) -> list[str]:
    """The labels of a relation."""
    return [unquote(each) for each in value.split()]


def step(text: str) -> str:
    """A name or value as a step of a path; in brackets where it could be taken for something else."""
    if re.fullmatch(r"@?[\w.*+,:;?!\-]([^/\[\]%\x00-\x1f\x7f=]*[^/\[\]%\x00-\x1f\x7f=\s])?", text):
        return text
    return "[" + re.sub(r"[\[\]%=\x00-\x1f\x7f]", lambda found: quote(found[0], safe=""), text) + "]"


def plain(text: str) -> str:
    """What a step of a path stands for."""
    return unquote(text[1:-1]) if text.startswith("[") else text


@dataclass(slots=True)
class Node:
    """Facts as a tree: the value of a path and what lies below it."""

    value: str = ""
    below: dict[str, Node] = field(default_factory=dict)


def tree(found: Mapping[str, str]) -> Node:
    """Facts as a tree, in which what is like elsewhere shares with it what is below."""
    root = Node()
    for path, value in found.items():
        node = root
        for each in _steps(path):
            node = node.below.setdefault(each, Node())
        node.value = value
    for path, value in found.items():
        if (like := re.search(r"; as (?!\d+ up$)(.*)$", value)) and (home := _at(root, like[1])):
            node = _at(root, path) or Node()
            node.value, node.below = value[: like.start()], home.below
    return root


def _steps(path: str) -> list[str]:
    return re.findall(r"\[[^\]]*\]|[^/]+", path)


def _at(node: Node | None, path: str) -> Node | None:
    for each in _steps(path):
        node = node.below.get(each) if node else None
    return node


def flat(node: Node, path: str = "") -> Facts:
    """The facts of a tree."""
    found = {path: node.value} if path else {}
    for each, inner in node.below.items():
        found |= flat(inner, f"{path}/{each}" if path else each)
    return found


def folded(found: Mapping[str, str], home: Mapping[str, str], like: Mapping[str, str]) -> Facts:
    """Facts in which what the grammar ``home`` tells is not told again. like: element here -> root there that it is like."""
    root, there = tree(found), tree(home)

    def fold(node: Node, name: str, twin: Node | None, path: str) -> Node:
        if name in like:
            twin, path = there.below.get(like[name]), like[name]
        if twin and node.below and node.below == twin.below:
            return Node(f"{node.value}; as {path}")
        below = {
            each: fold(inner, each, twin.below.get(each) if twin else None, f"{path}/{each}")
            for each, inner in node.below.items()
        }
        return Node(node.value, below)

    return flat(fold(root, "", None, ""))
