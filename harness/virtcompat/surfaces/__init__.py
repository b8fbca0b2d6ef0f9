"""Surfaces: one kind of interface each. A module is a member; its folder is the list.

A **document kind** (``kinds/``) is asked: documents go in, what comes out is compared. A **recorded surface**
(``recorded/``) is read off a lab as text, one fact a line, and two records are compared. Both say how bad which
difference is; neither starts anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from virtcompat import registry
from virtcompat.facts import Facts, Normalise, facts
from virtcompat.labs.visit import Visit
from virtcompat.model import Change, Finding, NotHere, Tier

#: A rule: pattern of paths, then the tier of a value changed, of something added and of something removed there.
Rule = tuple[str, Tier, Tier, Tier]


class Surface(Protocol):
    """How one kind of document is compared, and how bad which difference is. Pure."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def schema(self) -> str: ...
    def facts(self, text: str) -> Facts: ...
    def tier(self, path: str, change: Change) -> Tier: ...


@dataclass(frozen=True, slots=True)
class DocumentSurface:
    """A document kind given as data.

    keys: element -> candidates for its identity among its siblings; ignored: patterns of paths that are
    neither right nor wrong (the object's own run-time state); rules: first match gives the tier; ordered:
    elements whose order among their likes has meaning though they have an identity.
    """

    name: str
    summary: str
    schema: str
    keys: Mapping[str, tuple[str, ...]]
    rules: tuple[Rule, ...]
    ignored: tuple[str, ...] = ()
    normalise: Normalise | None = None
    ordered: tuple[str, ...] = ()

    def facts(self, text: str) -> Facts:
        return _facts(self.name, text)

    def read(self, text: str) -> Facts:
        """The facts of a text, not remembered."""
        found = facts(text, self.keys, self.normalise, self.ordered)
        if not self.ignored:
            return found
        pattern = re.compile("|".join(self.ignored))
        for path in [path for path in found if pattern.search(path)]:
            del found[path]
        return found

    def tier(self, path: str, change: Change) -> Tier:
        return tier_of(self.rules, path, change)


@lru_cache(maxsize=1 << 15)
def tier_of(rules: tuple[Rule, ...], path: str, change: Change) -> Tier:
    """The tier of a difference by the first rule that matches; unruled: an addition adds, anything else breaks."""
    for pattern, changed, added, removed in rules:
        if re.search(pattern, path):
            return {Change.ADDED: added, Change.REMOVED: removed}.get(change, changed)
    return {Change.ADDED: Tier.ADDITION}.get(change, Tier.BREAK)


@lru_cache(maxsize=1024)
def _facts(surface: str, text: str) -> Facts:
    """A text takes part in many cells: its facts are taken once. Nobody changes the map."""
    member = every()[surface]
    assert isinstance(member, DocumentSurface)
    return member.read(text)


def every() -> dict[str, Surface]:
    """The document kinds."""
    return registry.members("virtcompat.surfaces.kinds", "SURFACE")


#: One part of a recorded surface: {path of the fact: value}, or why this lab does not show it.
Part = Mapping[str, str] | NotHere
#: A release's record of one surface, by part.
Record = Mapping[str, Part]
#: Reads one part off a lab. Raises Absent where the lab lacks what it is read from.
Reader = Callable[[Visit], Mapping[str, str]]
#: Findings that rules over single facts cannot give: called with all facts of the old and of the new record, and
#: whether the way goes back to an older release.
Special = Callable[[Mapping[str, str], Mapping[str, str], bool], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class RecordedSurface:
    """An interface that is read off a release's binaries and compared record with record.

    product: whose interface it is (the change ledger's word). parts: name of the golden file -> its reader.
    A fact's path has steps parted by ``/`` (a step with a slash in it stands in brackets), is unique within
    the surface, and its first steps are the interface: what a person would name, counts as one case and
    has one verdict. interface: regular expression matching that much of a path. rules: first match gives
    the tier. ignored: paths that are recorded for people and never compared. backward: the rules
    for going back to the older release; empty where that says nothing (what a release adds, an older one lacks).
    special: findings across facts. expand: from what is written down to all facts, where a record leaves out repetition.
    flavour: the lab that it is read from; of a release without flavours its only one. passing: a live host may answer
    otherwise tomorrow, with the same binaries: what it answers is not kept.
    """

    name: str
    summary: str
    product: str
    parts: Mapping[str, Reader]
    rules: tuple[Rule, ...] = ()
    interface: str = r"[^/\[]+(?:/(?:\[[^\]]*\]|[^/\[])+){0,2}"
    ignored: tuple[str, ...] = ()
    backward: tuple[Rule, ...] = ()
    special: Special | None = None
    expand: Callable[[Mapping[str, str]], Mapping[str, str]] | None = None
    flavour: str = "abi"
    passing: bool = False

    def tier(self, path: str, change: Change, *, back: bool = False) -> Tier:
        return tier_of(self.backward if back else self.rules, path, change)


def every_recorded() -> dict[str, RecordedSurface]:
    """The recorded surfaces."""
    return registry.members("virtcompat.surfaces.recorded", "SURFACE")
