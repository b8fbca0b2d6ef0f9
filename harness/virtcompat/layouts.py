"""Two layouts of one structure compared by bytes: would a reader of the one misread what a writer of the other wrote?

Written against the facts of ``virtcompat.dwarf``. Names matter little and places all: a field that got another name,
or that now lies in a union, at its old place is read as before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

PADDING = re.compile(r"_*(?:pad|padding|reserved|rsvd|unused|align)[\d_]*$")
BYTES = re.compile(r"offset (\d+), (\d+) bytes, (.*)")
BITS = re.compile(r"bit (\d+), (\d+) bits, (.*)")
OPEN = re.compile(r"offset (\d+), (?:no fixed size, )?(.*)")
NAMED = re.compile(r"(?:struct|union) \w+$")
USED = re.compile(r"(array of )?\S*\s?(?:struct|union) (\w+)$|handle of (\w+)$")
#: name of a structure -> (path of one that uses it, how: ``within``, ``array`` or ``handle``).
Uses = Mapping[str, set[tuple[str, str]]]


class Depth(IntEnum):
    """What a difference does to a reader."""

    FEWER = 1  # an alternative of a union is gone
    SOFT = 2  # what was padding got a meaning, or lost it; a name changed
    TAIL = 3  # the structure is longer or shorter, what both have is where it was
    MOVED = 4  # bytes mean something else


@dataclass(frozen=True, slots=True)
class Step:
    """One difference; old and new are the field as it was and is, in words."""

    depth: Depth
    name: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Field:
    """A field that is no container of others. Places in bits; size 0 where it is open-ended."""

    path: str
    start: int
    size: int
    words: str
    text: str

    @property
    def place(self) -> tuple[int, int]:
        return self.start, self.size

    @property
    def name(self) -> str:
        return self.path.rsplit(".", 1)[-1]

    @property
    def padding(self) -> bool:
        return PADDING.match(self.name) is not None

    @property
    def mask(self) -> int:
        return ((1 << self.size) - 1) << self.start

    @property
    def said(self) -> str:
        return f"{self.path}: {self.text}"


@dataclass(frozen=True)
class Layout:
    """A structure or union. size in bits, 0 where it has no fixed one; fields: path within it -> its fact."""

    path: str
    size: int
    fields: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def leaves(self) -> dict[str, Field]:
        """The fields that are no mere containers of others; an array of structures is one, and so are its parts."""
        above = {path[:at] for path in self.fields for at, letter in enumerate(path) if letter == "."}
        return {p: _field(p, text) for p, text in self.fields.items() if p not in above or ", array" in text}

    @cached_property
    def used(self) -> int:
        """The bits that mean something."""
        mask = 0
        for leaf in self.leaves.values():
            mask |= 0 if leaf.padding else leaf.mask
        return mask

    def in_union(self, path: str) -> bool:
        above = path.rpartition(".")[0]
        if not above:
            return "/union/" in self.path
        return self.fields.get(above, "").endswith("union") or self.in_union(above)


def _field(path: str, text: str) -> Field:
    if found := BITS.fullmatch(text):
        return Field(path, int(found[1]), int(found[2]), found[3], text)
    if found := BYTES.fullmatch(text):
        return Field(path, 8 * int(found[1]), 8 * int(found[2]), found[3], text)
    found = OPEN.fullmatch(text)
    return Field(path, 8 * int(found[1]), 0, found[2], text) if found else Field(path, 0, 0, text, text)


def layouts(facts: Mapping[str, str]) -> dict[str, Layout]:
    """name -> layout of every structure and union in ``GROUP/struct/NAME[/FIELD]`` facts."""
    fields: dict[str, dict[str, str]] = {}
    for path, value in facts.items():
        steps = path.split("/", 3)
        if len(steps) == 4 and steps[1] in ("struct", "union"):
            fields.setdefault("/".join(steps[:3]), {})[steps[3]] = value
    found = {}
    for path, own in fields.items():
        number = re.match(r"(\d+) bytes", facts.get(path, ""))
        found[path.rpartition("/")[2]] = Layout(path, 8 * int(number[1]) if number else 0, own)
    return found


def uses(every: Iterable[Layout]) -> Uses:
    """Which structures lie in which others, or are pointed to by a field ``handle of NAME``."""
    found: dict[str, set[tuple[str, str]]] = {}
    for layout in every:
        for text in layout.fields.values():
            if used := USED.search(text):
                how = "handle" if used[3] else "array" if used[1] else "within"
                found.setdefault(used[2] or used[3], set()).add((layout.path, how))
    return found


def differences(old: Layout, new: Layout) -> list[Step]:
    """What is not where it was, worst first. Structures within are their own matter, but for where they lie."""
    steps = [step for f in old.leaves.values() if (step := _lost(f, old, new))]
    steps += [step for f in new.leaves.values() if (step := _gained(f, old, new))]
    if old.size != new.size and old.size and new.size and not any(s.depth is Depth.TAIL for s in steps):
        steps.append(Step(Depth.TAIL, "size", f"{old.size // 8} bytes", f"{new.size // 8} bytes"))
    return sorted(steps, key=lambda s: -s.depth)


def _lost(was: Field, old: Layout, new: Layout) -> Step | None:
    """The difference that an old field meets with, if any."""
    now = new.leaves.get(was.path)
    if was.padding or (now and now.place == was.place):
        return None
    if now:
        depth = _resized(was, now, old, new)
        return Step(depth, was.name, was.said, now.said) if depth else None
    there = [f for f in new.leaves.values() if f.place == was.place and f.path not in old.leaves]
    if twin := next((f for f in there if f.name == was.name), there[0] if there else None):
        return Step(Depth.SOFT, was.name, was.said, twin.said)
    if new.size and was.start >= new.size:
        return Step(Depth.TAIL, was.name, was.said, "")
    if old.in_union(was.path) or not was.mask & new.used:
        return Step(Depth.FEWER if old.in_union(was.path) else Depth.SOFT, was.name, was.said, "")
    over = next(f for f in new.leaves.values() if f.mask & was.mask and not f.padding)
    return Step(Depth.MOVED, was.name, was.said, over.said)


def _resized(was: Field, now: Field, old: Layout, new: Layout) -> Depth | None:
    """How bad it is that a field of this name has another place or size."""
    if was.start != now.start:
        return Depth.MOVED
    if NAMED.match(was.words) and NAMED.match(now.words):
        return None  # a structure of its own: it says itself what became of it
    if not (was.size and now.size) or "struct" in was.words or "union" in was.words:
        return Depth.MOVED  # elements of another size, or no longer an array of any length
    more = was.mask ^ now.mask
    free = not more & (old.used if now.size > was.size else new.used)
    return Depth.SOFT if free or was.words.startswith("array") else Depth.MOVED


def _gained(now: Field, old: Layout, new: Layout) -> Step | None:
    """The difference that a new field makes, if any: what it displaces says so itself."""
    there = next((f for f in old.leaves.values() if f.place == now.place), None)
    if now.padding or now.path in old.leaves or (there and not there.padding):
        return None
    was = there.said if there else ""
    if old.size and now.start >= old.size:
        return Step(Depth.TAIL, now.name, was, now.said)
    if new.in_union(now.path):
        above = now.path.rpartition(".")[0]
        if not above or above in old.fields:
            return None  # one more alternative
        return Step(Depth.SOFT, now.name, was, now.said)
    return None if now.mask & old.used else Step(Depth.SOFT, now.name, was, now.said)
