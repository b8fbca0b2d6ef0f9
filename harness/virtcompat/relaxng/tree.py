"""The pattern tree of a RELAX NG grammar. Patterns are compared by identity: two places that read the same are two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

REMEDY = "install the package with the schemas again"


@dataclass(frozen=True, slots=True)
class Name:
    """One name; ``ns`` is empty for a name in no namespace."""

    local: str
    ns: str = ""


@dataclass(frozen=True, slots=True)
class AnyName:
    """Every name (of the namespace ``ns``, or of all where that is None) that ``without`` does not have."""

    ns: str | None = None
    without: tuple[NameClass, ...] = ()


NameClass = Name | AnyName


def named(names: Iterable[NameClass], local: str, ns: str = "") -> bool:
    """Whether a name belongs to one of these classes."""
    return any(_named(each, local, ns) for each in names)


def _named(names: NameClass, local: str, ns: str) -> bool:
    if isinstance(names, Name):
        return (names.local, names.ns) == (local, ns)
    return names.ns in (None, ns) and not named(names.without, local, ns)


@dataclass(frozen=True, slots=True, eq=False)
class Empty:
    """No text and no element."""


@dataclass(frozen=True, slots=True, eq=False)
class NotAllowed:
    """Nothing at all matches this."""


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """Any text, the empty one as well."""


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """This text, as the data type compares it: ``string`` exactly, any other without insignificant white space."""

    text: str
    type: str = "token"


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """Text of a data type of W3C XML Schema, within its parameters and none of ``without``."""

    type: str
    params: tuple[tuple[str, str], ...] = ()
    without: Pattern | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """Text whose words match the pattern (``list``)."""

    pattern: Pattern


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    names: tuple[NameClass, ...]
    content: Pattern


@dataclass(frozen=True, slots=True, eq=False)
class Element:
    names: tuple[NameClass, ...]
    content: Pattern


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """One after the other; attributes have no order."""

    parts: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Interleave:
    """All of them, their elements in any order between each other."""

    parts: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """One of them."""

    parts: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True, eq=False)
class OneOrMore:
    pattern: Pattern


@dataclass(frozen=True, slots=True)
class Ref:
    """What ``name`` is defined as in a scope; the name ``START`` is the start of a grammar within the grammar."""

    scope: int
    name: str


Leaf = Empty | NotAllowed | Text | Value | Data | Items
Pattern = Leaf | Attribute | Element | Group | Interleave | Choice | OneOrMore | Ref
START = ""
EMPTY, NOT_ALLOWED, TEXT = Empty(), NotAllowed(), Text()


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar that was read whole: every reference resolves, and recurs in an element at the soonest."""

    start: Pattern
    defines: Mapping[Ref, Pattern]

    def resolve(self, pattern: Pattern) -> Pattern:
        """The pattern that a reference stands for in the end; any other pattern is itself."""
        while isinstance(pattern, Ref):
            pattern = self.defines[pattern]
        return pattern

    def every(self) -> Iterator[Pattern]:
        """Every pattern that the start leads to, each once, references aside."""
        seen: set[Pattern] = set()
        waiting = [self.start]
        while waiting:
            pattern = self.resolve(waiting.pop())
            if pattern not in seen:
                seen.add(pattern)
                yield pattern
                waiting += children(pattern)


def children(pattern: Pattern) -> tuple[Pattern, ...]:
    """What a pattern is made of, not what a reference stands for."""
    match pattern:
        case Group(parts) | Interleave(parts) | Choice(parts):
            return parts
        case Attribute(content=inner) | Element(content=inner) | OneOrMore(inner) | Items(inner):
            return (inner,)
        case Data(without=Empty() | Value() | Data() | Choice() as inner):
            return (inner,)
    return ()
