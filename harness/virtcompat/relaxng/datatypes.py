"""Data types of W3C XML Schema as RELAX NG uses them: which texts one has, and whether one has all that another has.

Regular expressions are read into a small algebra and matched by derivatives (Brzozowski 1964), which also decides
inclusion: walk both side by side until one text is in the first and not in the second, or nothing new turns up.

https://www.w3.org/TR/xmlschema-2/
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

#: Ranges of code points, ascending and apart.
Ranges = tuple[tuple[int, int], ...]
LAST = 0x10FFFF
#: Give up beyond so many states: a pattern may be as hostile as it likes.
LIMIT = 20_000


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of these ranges; with no range, nothing at all."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Row:
    """One after the other; an empty row is the empty text."""

    parts: tuple[Regex, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """One of them."""

    parts: frozenset[Regex]


@dataclass(frozen=True, slots=True)
class All:
    """What all of them have."""

    parts: frozenset[Regex]


@dataclass(frozen=True, slots=True)
class Times:
    """So many of them; ``most`` None is without end."""

    part: Regex
    least: int
    most: int | None


Regex = Chars | Row | Any | All | Times
NOTHING, NIL = Chars(()), Row(())
ANY_CHAR = Chars(((0, LAST),))
ANYTHING = Times(ANY_CHAR, 0, None)


class Unknown(ValueError):
    """A type, facet or expression that is not known here, or an inclusion too large to decide."""


def row(*parts: Regex) -> Regex:
    flat = [p for part in parts for p in (part.parts if isinstance(part, Row) else (part,))]
    if NOTHING in flat:
        return NOTHING
    return flat[0] if len(flat) == 1 else Row(tuple(flat))


def any_of(parts: Iterable[Regex]) -> Regex:
    flat = {p for part in parts for p in (part.parts if isinstance(part, Any) else (part,))} - {NOTHING}
    if ANYTHING in flat:
        return ANYTHING
    return next(iter(flat), NOTHING) if len(flat) < 2 else Any(frozenset(flat))


def all_of(parts: Iterable[Regex]) -> Regex:
    flat = {p for part in parts for p in (part.parts if isinstance(part, All) else (part,))} - {ANYTHING}
    if NOTHING in flat:
        return NOTHING
    return next(iter(flat), ANYTHING) if len(flat) < 2 else All(frozenset(flat))


def times(part: Regex, least: int, most: int | None) -> Regex:
    if most == 0:
        return NIL
    return part if (least, most) == (1, 1) else Times(part, least, most)


@lru_cache(maxsize=1 << 14)
def empty(regex: Regex) -> bool:
    """Whether the empty text is in it."""
    match regex:
        case Chars():
            return False
        case Row(parts) | All(parts):
            return all(map(empty, parts))
        case Any(parts):
            return any(map(empty, parts))
        case Times(part, least):
            return least == 0 or empty(part)


@lru_cache(maxsize=1 << 16)
def after(regex: Regex, char: int) -> Regex:
    """What may follow once this character has been read."""
    match regex:
        case Chars(ranges):
            return NIL if any(low <= char <= high for low, high in ranges) else NOTHING
        case Any(parts):
            return any_of(after(p, char) for p in parts)
        case All(parts):
            return all_of(after(p, char) for p in parts)
        case Times(part, least, most):
            return row(after(part, char), times(part, max(least - 1, 0), None if most is None else most - 1))
        case Row(parts):
            if not parts:
                return NOTHING
            first, rest = parts[0], row(*parts[1:])
            read = row(after(first, char), rest)
            return any_of((read, after(rest, char))) if empty(first) else read


def matches(regex: Regex, text: str) -> bool:
    for char in text:
        regex = after(regex, ord(char))
    return empty(regex)


def missing(narrow: Regex, wide: Regex) -> str | None:
    """A shortest text that ``narrow`` has and ``wide`` has not; None where there is none."""
    letters = sorted({min(low, LAST) for r in (narrow, wide) for low in _borders(r)} | {0}, key=_plain)
    waiting = deque([(narrow, wide, "")])
    seen = {(narrow, wide)}
    while waiting:
        inner, outer, text = waiting.popleft()
        if empty(inner) and not empty(outer):
            return text
        for letter in letters:
            pair = (after(inner, letter), after(outer, letter))
            if pair[0] != NOTHING and pair[1] != ANYTHING and pair not in seen:
                if len(seen) >= LIMIT:
                    raise Unknown(f"no answer within {LIMIT} states")
                seen.add(pair)
                waiting.append((*pair, text + chr(letter)))
    return None


def _plain(char: int) -> tuple[bool, int]:
    """Letters and digits first: the text that is found is for people."""
    return not chr(char).isalnum(), char


def _borders(regex: Regex) -> Iterator[int]:
    """The first code point of every range and of every gap: one representative of each class of characters."""
    match regex:
        case Chars(ranges):
            for low, high in ranges:
                yield from (low, high + 1)
        case Row(parts) | Any(parts) | All(parts):
            for part in parts:
                yield from _borders(part)
        case Times(part):
            yield from _borders(part)


def others(ranges: Ranges) -> Ranges:
    """The characters outside these ranges."""
    gaps, start = [], 0
    for low, high in sorted(ranges):
        if low > start:
            gaps.append((start, low - 1))
        start = max(start, high + 1)
    return (*gaps, (start, LAST)) if start <= LAST else tuple(gaps)


SPACE: Ranges = ((9, 10), (13, 13), (32, 32))
DIGIT: Ranges = ((48, 57),)
#: Escapes that stand for several characters. Digits are ASCII's: no schema of ours means any other.
CLASSES = {"s": SPACE, "S": others(SPACE), "d": DIGIT, "D": others(DIGIT)}
CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}
NOT_LINE_END = others(((10, 10), (13, 13)))


@lru_cache(maxsize=1024)
def regex(pattern: str) -> Regex:
    """An XML Schema regular expression: anchored at both ends, ``^`` and ``$`` are characters. Raises Unknown."""
    reader = _Pattern(pattern)
    found = reader.choice()
    if reader.at < len(pattern):
        raise Unknown(f"{pattern}: not understood from character {reader.at + 1} on")
    return found


@dataclass(slots=True)
class _Pattern:
    text: str
    at: int = 0

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self) -> str:
        if self.at >= len(self.text):
            raise Unknown(f"{self.text}: ends too early")
        self.at += 1
        return self.text[self.at - 1]

    def choice(self) -> Regex:
        branches = [self.branch()]
        while self.peek() == "|":
            self.take()
            branches.append(self.branch())
        return any_of(branches)

    def branch(self) -> Regex:
        parts = []
        while self.peek() not in ("", "|", ")"):
            parts.append(self.quantified(self.atom()))
        return row(*parts)

    def quantified(self, atom: Regex) -> Regex:
        simple = {"?": (0, 1), "*": (0, None), "+": (1, None)}
        if self.peek() in simple and self.peek():
            return times(atom, *simple[self.take()])
        if self.peek() != "{":
            return atom
        end = self.text.find("}", self.at)
        least, comma, most = self.text[self.at + 1 : end].partition(",")
        if end < 0 or not least.isdigit() or not (most == "" or most.isdigit()):
            raise Unknown(f"{self.text}: a quantity is wrong")
        self.at = end + 1
        return times(atom, int(least), int(most) if most else None if comma else int(least))

    def atom(self) -> Regex:
        char = self.take()
        if char == "(":
            inner = self.choice()
            if self.peek() != ")":
                raise Unknown(f"{self.text}: a parenthesis is left open")
            self.take()
            return inner
        if char == "[":
            return Chars(self.group())
        if char in "*+?{}":
            raise Unknown(f"{self.text}: '{char}' quantifies nothing")
        return Chars(NOT_LINE_END if char == "." else self.escaped() if char == "\\" else ((ord(char), ord(char)),))

    def escaped(self) -> Ranges:
        char = self.take()
        if char in CLASSES:
            return CLASSES[char]
        if char.isalnum() and char not in CONTROLS:
            raise Unknown(f"{self.text}: \\{char} is not known here")
        code = ord(CONTROLS.get(char, char))
        return ((code, code),)

    def group(self) -> Ranges:
        """The characters of a bracket expression, whose opening bracket is read."""
        negative = self.peek() == "^"
        self.at += negative
        ranges: list[tuple[int, int]] = []
        while (char := self.take()) != "]":
            found = self.escaped() if char == "\\" else ((ord(char), ord(char)),)
            if "[" in (char, self.peek()):
                raise Unknown(f"{self.text}: subtraction of characters is not known here")
            if self.peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                self.take()
                if (last := self.take()) == "[":
                    raise Unknown(f"{self.text}: subtraction of characters is not known here")
                high = self.escaped() if last == "\\" else ((ord(last), ord(last)),)
                found = ((found[0][0], high[-1][1]),)
            ranges += found
        return others(others(tuple(sorted(ranges)))) if not negative else others(tuple(ranges))


NUMBER = r"[+\-]?[0-9]+"
REAL = r"[+\-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)"
#: Type -> its texts, its bounds where it is a number.
TYPES: dict[str, tuple[str, float, float]] = {
    "string": (r"(.|\s)*", 0, 0), "normalizedString": (r"(.|\s)*", 0, 0), "token": (r"(.|\s)*", 0, 0),
    "anyURI": (r"(.|\s)*", 0, 0), "NCName": (r"[^\s!-,/:-@\[-\^`\{-~0-9.\-][^\s!-,/:-@\[-\^`\{-~]*", 0, 0),
    "boolean": ("true|false|0|1", 0, 0),
    "dateTime": (r"-?[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+\-][0-9]{2}:[0-9]{2})?", 0, 0),
    "double": (rf"{REAL}([eE]{NUMBER})?|-?INF|NaN", -math.inf, math.inf),
    "float": (rf"{REAL}([eE]{NUMBER})?|-?INF|NaN", -math.inf, math.inf),
    "decimal": (REAL, -math.inf, math.inf), "integer": (NUMBER, -math.inf, math.inf),
    "nonNegativeInteger": (NUMBER, 0, math.inf), "positiveInteger": (NUMBER, 1, math.inf),
    "nonPositiveInteger": (NUMBER, -math.inf, 0), "negativeInteger": (NUMBER, -math.inf, -1),
    "long": (NUMBER, -(2**63), 2**63 - 1), "int": (NUMBER, -(2**31), 2**31 - 1),
    "short": (NUMBER, -(2**15), 2**15 - 1), "byte": (NUMBER, -128, 127),
    "unsignedLong": (NUMBER, 0, 2**64 - 1), "unsignedInt": (NUMBER, 0, 2**32 - 1),
    "unsignedShort": (NUMBER, 0, 2**16 - 1), "unsignedByte": (NUMBER, 0, 255),
}  # fmt: skip
LENGTHS = {"length": (1, 1), "minLength": (1, 0), "maxLength": (0, 1)}


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of a data type within its facets: those of the expression, as numbers within the bounds, but ``without``."""

    regex: Regex
    least: float | int = -math.inf
    most: float | int = math.inf
    number: bool = False
    exact: bool = True  # white space counts
    without: frozenset[str] = frozenset()

    def __contains__(self, text: str) -> bool:
        text = text if self.exact else " ".join(text.split())
        if text in self.without or not matches(self.regex, text):
            return False
        return not self.number or not (_number(text) < self.least or _number(text) > self.most)  # NaN is a number


def _number(text: str) -> float | int:
    return int(text) if text.lstrip("+-").isdigit() else float(text)


@lru_cache(maxsize=1024)
def texts(name: str, facets: tuple[tuple[str, str], ...] = (), without: frozenset[str] = frozenset()) -> Texts:
    """The texts of a type of this name within (facet, value) pairs. Raises Unknown."""
    if name not in TYPES:
        raise Unknown(f"the data type {name} is not known here")
    pattern, least, most = TYPES[name]
    number = (least, most) != (0, 0)
    parts = [ANYTHING if pattern == TYPES["string"][0] else regex(pattern)]
    for facet, value in facets:
        if facet == "pattern":
            parts.append(regex(value))
        elif facet in LENGTHS:
            low, high = LENGTHS[facet]
            parts.append(Times(ANY_CHAR, int(value) * low, int(value) * high if high else None))
        elif number and facet in ("minInclusive", "maxInclusive"):
            least = max(least, _number(value)) if facet == "minInclusive" else least
            most = min(most, _number(value)) if facet == "maxInclusive" else most
        else:
            raise Unknown(f"the facet {facet} of {name} is not known here")
    return Texts(all_of(parts), least, most, number, name == "string", without)


EVERY_TEXT = texts("string")


def exactly(text: str) -> Texts:
    """A single text."""
    return Texts(row(*(Chars(((ord(c), ord(c)),)) for c in text)), exact=False)


def uncovered(narrow: Texts, wide: Iterable[Texts]) -> str | None:
    """A text that ``narrow`` has and none of ``wide``; None where there is none. Raises Unknown where that cannot be told."""
    wide = list(wide)
    roomy = [w for w in wide if not w.number or (narrow.number and w.least <= narrow.least and narrow.most <= w.most)]
    found = missing(narrow.regex, any_of(w.regex for w in roomy))
    excepted = {text for w in roomy for text in w.without}
    bounds = {narrow.least, narrow.most} | {edge for w in wide if w.number for edge in (w.least - 1, w.most + 1)}
    edges = {str(edge) for edge in bounds if narrow.number and not math.isinf(edge)}
    for text in [*([found] if found is not None else []), *sorted(edges | excepted)]:
        if text in narrow and not any(text in w for w in wide):
            return text
    if found is not None:
        raise Unknown("neither inclusion nor an example against it was found")
    return None
