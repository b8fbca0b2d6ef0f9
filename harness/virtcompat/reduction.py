"""A document made smaller for as long as something stays true of it: delta debugging over the XML tree.

Hierarchical delta debugging (Misherghi and Su, ICSE 2006): elements level by level from the outermost inwards, then every
single step that is left (an element, an attribute, a value), over and over until none can be taken. Many documents are
tried in one go, for whoever answers many as fast as one. Pure: what is tried is the caller's business.

The reducers on PyPI start a program for every document (picire; picireny with ANTLR and Java on top, both unmaintained
since 2021) or take bytes out of files (shrinkray): none knows XML and none asks for several answers at once.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

from lxml import etree

from virtcompat.documents import parse

#: Whether each of these documents still has what the search is about.
Interesting = Callable[[Sequence[str]], Sequence[bool]]
#: Whether an element (with ``""``) or an attribute of it must stay as it is for as long as its parent is there.
Fixed = Callable[[etree._Element, str], bool]
BATCH = 64


@dataclass(frozen=True, slots=True)
class Reduction:
    """The smallest document so far. tried: how many were. minimal: no single step can be taken any more."""

    text: str
    tried: int
    minimal: bool


@dataclass(frozen=True, slots=True)
class Edit:
    """One step towards a smaller document.

    at: the element's number in the order of the document. attribute: of it; empty for the element. value: what is
    written in place of the text or the attribute; None takes it (or the element with all below it) away.
    """

    at: int
    attribute: str = ""
    value: str | None = None

    @property
    def place(self) -> tuple[int, str]:
        """What it changes: of two steps at one place only one can be taken."""
        return self.at, self.attribute


#: Steps that are taken at once.
Group = Sequence[Edit]
#: Takes away the namespaces that nothing is in.
NAMESPACES = Edit(-1)


class _Ended(Exception):
    """The time or the number of tries is used up."""


def reduce(
    text: str,
    interesting: Interesting,
    *,
    fixed: Fixed = lambda element, attribute: False,
    most: int = 400,
    deadline: float | None = None,
) -> Iterator[Reduction]:
    """The document, then every smaller one that is found; the last is the result. Nothing where it is not interesting.

    Whoever stops listening keeps the best so far. most: how many documents are tried. deadline: of
    :func:`time.monotonic`, looked at between batches of 64. Raises NotWellFormed.
    """
    search = _Search(parse(text), interesting, fixed, most, deadline)
    try:
        if not search.ask([written(search.root)])[0]:
            return
        yield search.result(minimal=False)
        for _ in search.run():
            yield search.result(minimal=False)
    except _Ended:
        if search.smallest:
            yield Reduction(search.smallest, search.tried, minimal=False)
        return
    yield search.result(minimal=True)


def written(root: etree._Element) -> str:
    return etree.tostring(root, encoding="unicode", pretty_print=True)


def edited(root: etree._Element, edits: Iterable[Edit]) -> str:
    """The document after some steps, all numbered as in this tree."""
    copy = deepcopy(root)
    elements = list(copy.iter("*"))
    gone = []
    for edit in edits:
        if edit is NAMESPACES:
            etree.cleanup_namespaces(copy)
        elif edit.value is None and not edit.attribute:
            gone.append(elements[edit.at])
        elif edit.value is None:
            del elements[edit.at].attrib[edit.attribute]
        elif edit.attribute:
            elements[edit.at].set(edit.attribute, edit.value)
        else:
            elements[edit.at].text = edit.value or None
    for element in gone:
        parent = element.getparent()
        assert parent is not None
        parent.remove(element)
    return written(copy)


def steps(root: etree._Element, fixed: Fixed) -> list[Edit]:
    """Every single step from here, the largest first: elements, attributes, values."""
    elements = list(enumerate(root.iter("*")))
    free = [(at, e) for at, e in elements if at and not fixed(e, "")]
    removals = [Edit(at) for at, e in sorted(free, key=lambda pair: -sum(1 for _ in pair[1].iter()))]
    attributes = [(at, e, str(n)) for at, e in elements for n in e.attrib if not fixed(e, str(n))]
    texts = [Edit(at, "", v) for at, e in elements if not fixed(e, "") for v in simpler(e.text or "", empty=True)]
    values = [Edit(at, n, v) for at, e, n in attributes for v in simpler(e.get(n, ""))]
    return removals + [Edit(at, n) for at, _, n in attributes] + texts + values + _namespaces(root)


def _namespaces(root: etree._Element) -> list[Edit]:
    return [NAMESPACES] if edited(root, [NAMESPACES]) != written(root) else []


def simpler(value: str, *, empty: bool = False) -> list[str]:
    """What a value is tried as, the simplest first; each is shorter, or as long and smaller, so that this ends."""
    if not value.strip():
        return []
    found = [""] if empty else []
    if value.isascii() and value.isdigit():
        return found + ["1"] * (int(value) > 1)
    if value.startswith("0x"):
        return found + ["0x0"] * (len(value) > 3 or value > "0x0")
    plain = "/a" if value.startswith("/") else "a"
    return found + [plain] * (len(value) > len(plain))


@dataclass(slots=True)
class _Search:
    """Where a search stands. known: digest of every document that was tried -> what came of it."""

    root: etree._Element
    interesting: Interesting
    fixed: Fixed
    most: int
    deadline: float | None
    known: dict[bytes, bool] = field(default_factory=dict)
    smallest: str = ""  # the shortest document that is known to be interesting
    tried: int = 0

    def result(self, *, minimal: bool) -> Reduction:
        return Reduction(written(self.root), self.tried, minimal)

    def ask(self, texts: Sequence[str]) -> list[bool]:
        """Whether each is interesting; none is tried twice."""
        keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self.known}
        part = list(new.items())[: self.most - self.tried]
        if part and not self._late():
            self.tried += len(part)
            answers = self.interesting([text for _, text in part])
            for (key, text), good in zip(part, answers, strict=True):
                self.known[key] = good
                if good and (not self.smallest or len(text) < len(self.smallest)):
                    self.smallest = text
        if any(key not in self.known for key in keys):
            raise _Ended
        return [self.known[key] for key in keys]

    def _late(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def run(self) -> Iterator[None]:
        """Step by step to a document from which no single step can be taken."""
        depth = 1
        while level := self._level(depth):
            if self._take([[edit] for edit in level]):
                yield
            # What only goes together, as two elements that name each other do.
            size = len(level := self._level(depth))
            while size > 1:
                if self._take([level[at : at + size] for at in range(0, len(level), size)]):
                    yield
                    level = self._level(depth)
                size //= 2
            depth += 1
        while self._take([[edit] for edit in steps(self.root, self.fixed)]):
            yield

    def _level(self, depth: int) -> list[Edit]:
        """The elements so far below the root that may go."""
        found = enumerate(self.root.iter("*"))
        return [Edit(at) for at, e in found if sum(1 for _ in e.iterancestors()) == depth and not self.fixed(e, "")]

    def _take(self, groups: Sequence[Group]) -> bool:
        """Take as many of these groups of steps as go together; whether there was one."""
        good: list[Group] = []
        for at in range(0, len(groups), BATCH):
            part = groups[at : at + BATCH]
            answers = self.ask([edited(self.root, group) for group in part])
            good += [group for group, answer in zip(part, answers, strict=True) if answer]
        if good:
            self.root = parse(edited(self.root, self._together(good)))
        return bool(good)

    def _together(self, groups: Sequence[Group]) -> Group:
        """Of groups that can each be taken alone those that can be taken at once: all, else half of them and so on."""
        taken: set[tuple[int, str]] = set()
        first: list[Group] = []
        for group in groups:
            if taken.isdisjoint(edit.place for edit in group):
                first.append(group)
                taken |= {edit.place for edit in group}
        chosen: list[Edit] = []
        waiting = [first]
        while waiting:
            part = waiting.pop(0)
            more = [edit for group in part for edit in group]
            if self.ask([edited(self.root, chosen + more)])[0]:
                chosen += more
            elif len(part) > 1:
                middle = len(part) // 2
                waiting[:0] = [part[:middle], part[middle:]]
        return chosen
