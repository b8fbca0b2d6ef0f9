"""Texts of a leaf of a grammar: the plainest, those at the edge of what is allowed, wild ones, and any other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from virtcompat.relaxng import Choice, Data, Items, Pattern, Text, Value
from virtcompat.relaxng.datatypes import (
    EVERY_TEXT,
    LAST,
    NOTHING,
    All,
    Any,
    Chars,
    Regex,
    Row,
    Texts,
    Times,
    Unknown,
    exactly,
    missing,
    texts,
)

#: Gives a number from 0 to below its argument; 0 is the simplest.
Pick = Callable[[int], int]
#: Tried in this order for the plainest text: what people write first, and what more than one data type has.
PLAIN = (
    "1", "a", "/a", "yes", "0x1", "0x01", "52:54:00:00:00:01", "192.0.2.1", "2001:db8::1", "vda", "1.0", "01", "KiB", "0",
    "5f1c0de0-0001-4000-8000-00000000000f", "2001-01-01T00:00:00Z", "00.0", "0000000000000001", "nvme0n1", "1.1",
)  # fmt: skip
#: Where numbers and texts go wrong: sizes of integers, nothing at all, markup, white space, what is no letter of the BMP.
NUMBERS = tuple(
    str(n) for edge in (2**7, 2**8, 2**15, 2**16, 2**31, 2**32, 2**53, 2**63, 2**64) for n in (edge - 1, edge, -edge)
)
DATES = (
    "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2000-02-29T00:00:00+14:00", "2038-01-19T03:14:08Z",
    "2106-02-07T06:28:16.5Z", "9999-12-31T23:59:59-14:00", "2001-01-01T00:00:00",
)  # fmt: skip
EDGES = ("", "0", "1", "-1", "00", "+1", "0x0", "0xffffffff", *NUMBERS, *DATES)
WILD = (
    "\t", "\n", "a\tb", "a\nb", "a\rb", " a", "a ", "&", "<", ">", "'", '"', "a&b<c>d'e\"f", "]]>", "&amp;", "\U0001f600",
    "\U00010348b", "é", "a,b", "a=b", "a;b", "%s%n", "$(a)", "../a", "a" * 300, "-a", "{}", "\\", "\u202e", "\ufeffa",
)  # fmt: skip
#: Longest repetition of a part of a regular expression in a drawn text beyond what it must have.
MOST = 8
TRIES = 8


@cache
def texts_of(leaf: Pattern) -> Texts:
    """The texts of a leaf. Raises Unknown where that cannot be told."""
    match leaf:
        case Value(text):
            return exactly(text)
        case Data(name, params, without):
            return texts(name, params, frozenset(_excepted(without) if without else ()))
        case Items():
            raise Unknown("a list of values is not understood here")
    return EVERY_TEXT


def _excepted(pattern: Pattern) -> Iterator[str]:
    match pattern:
        case Value(text):
            yield text
        case Choice(parts):
            for part in parts:
                yield from _excepted(part)
        case _:
            raise Unknown("data without what is no value is not understood here")


def has(leaf: Pattern, text: str) -> bool:
    """Whether a leaf has a text; of a value every other white space counts as the same."""
    if isinstance(leaf, Value):
        return text == leaf.text if leaf.type == "string" else text.split() == leaf.text.split()
    if isinstance(leaf, Data) and leaf.type == "NCName" and not text.isascii():
        # Letters of the BMP alone: of names the data types know what is ASCII.
        return all(c.isascii() or (c <= "\uffff" and c.isalpha()) for c in text) and text in texts_of(leaf)
    return isinstance(leaf, Text) or text in texts_of(leaf)


def possible(leaf: Pattern) -> bool:
    """Whether a leaf has a text at all."""
    return _plain(leaf) is not None


def plain(leaf: Pattern) -> str:
    """The plainest text of a leaf that has one."""
    found = _plain(leaf)
    assert found is not None
    return found


@cache
def _plain(leaf: Pattern) -> str | None:
    if isinstance(leaf, Value):
        return leaf.text
    every = texts_of(leaf)
    edges = [] if math.isinf(every.least) else [str(every.least)]
    for text in (*PLAIN, *edges):
        if text in every:
            return text
    if text := sampled(every, lambda limit: 0):
        return text
    found = missing(every.regex, NOTHING)
    return found if found is not None and found in every and writable(found) else None


@cache
def edges(leaf: Pattern) -> tuple[str, ...]:
    """The texts of a leaf at the edge of its type or of an integer, then the wild ones."""
    if isinstance(leaf, Value):
        return ()
    every = texts_of(leaf)
    own = (
        [str(n + d) for n in (every.least, every.most) if not math.isinf(n) for d in (-1, 0, 1)] if every.number else []
    )
    return tuple(text for text in dict.fromkeys((*EDGES, *own, *WILD)) if has(leaf, text))


def drawn(leaf: Pattern, pick: Pick) -> str:
    """Some text of a leaf: the plainest, one at an edge or a wild one, or any."""
    way = pick(4)
    if isinstance(leaf, Value) or way == 0:
        return plain(leaf)
    # Of dates the data types know the form, not which month has how many days.
    if (way < 3 or (isinstance(leaf, Data) and leaf.type == "dateTime")) and edges(leaf):
        return edges(leaf)[pick(len(edges(leaf)))]
    every = texts_of(leaf)
    if every.number and not math.isinf(every.least) and not math.isinf(every.most):
        text = str(int(every.least) + pick(min(int(every.most) - int(every.least) + 1, 1 << 16)))
        return text if text in every else plain(leaf)
    return sampled(every, pick) or plain(leaf)


def sampled(every: Texts, pick: Pick) -> str:
    """A text by the regular expression; empty where a few tries found none that is within all facets."""
    for _ in range(TRIES):
        text = _sample(every.regex, pick)
        if text in every and writable(text):
            return text
    return ""


def _sample(regex: Regex, pick: Pick) -> str:
    match regex:
        case Chars(ranges):
            letters = ordinary(ranges)
            return letters[pick(len(letters))] if letters else chr(ranges[pick(len(ranges))][0]) if ranges else ""
        case Row(parts):
            return "".join(_sample(part, pick) for part in parts)
        case Times(part, least, most):
            room = MOST if most is None else min(most - least, MOST)
            return "".join(_sample(part, pick) for _ in range(least + pick(room + 1)))
        case All(parts):
            return _sample(min(parts, key=_spelled), pick)
        case Any(parts):
            several = sorted(parts, key=_spelled)
            return _sample(several[pick(len(several))], pick)


@cache
def ordinary(ranges: tuple[tuple[int, int], ...]) -> str:
    """The characters of ranges that stand on a keyboard, letters and digits first; else their first ones."""
    found = [chr(c) for low, high in ranges for c in range(low, min(high, 0x7E) + 1) if c >= 0x20]
    return "".join(sorted(found, key=lambda c: (not c.isalnum(), c)))


@cache
def _spelled(regex: Regex) -> str:
    """A word that orders regular expressions the same in every run; sets do not."""
    match regex:
        case Chars(ranges):
            return f"1{ranges}"
        case Row(parts):
            return "2" + ",".join(map(_spelled, parts))
        case Times(part, least, most):
            return f"3{least},{most},{_spelled(part)}"
        case All(parts):
            return "4" + ",".join(sorted(map(_spelled, parts)))
        case Any(parts):
            return "5" + ",".join(sorted(map(_spelled, parts)))


def writable(text: Iterable[str]) -> bool:
    """Whether XML has all these characters."""
    return all(_writable(ord(char)) for char in text)


def _writable(char: int) -> bool:
    return char in (9, 10, 13) or 0x20 <= char <= 0xD7FF or 0xE000 <= char <= 0xFFFD or 0x10000 <= char <= LAST
