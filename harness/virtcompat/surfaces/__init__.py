"""Surfaces: one kind of interface each, here the document kinds. A module is a member; the folder is the list."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from virtcompat import registry
from virtcompat.facts import Facts, Normalise, facts
from virtcompat.model import Change, Tier

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
        return _tier(self.rules, path, change)


@lru_cache(maxsize=1 << 15)
def _tier(rules: tuple[Rule, ...], path: str, change: Change) -> Tier:
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
    return registry.members(__name__, "SURFACE")
