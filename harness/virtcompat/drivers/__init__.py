"""libvirt drivers as data: where they are opened, which kinds of document they take, what they write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from virtcompat import registry
from virtcompat.model import Setup


class Driver(Protocol):
    """A driver: nothing but data. ``kinds`` maps a document kind to the set-up that serves it."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def kinds(self) -> Mapping[str, Setup]: ...


@dataclass(frozen=True, slots=True)
class LibvirtDriver:
    """A driver as a record of its data."""

    name: str
    summary: str
    kinds: Mapping[str, Setup]


def every() -> dict[str, Driver]:
    return registry.members(__name__, "DRIVER")


def choose(names: tuple[str, ...]) -> dict[str, Driver]:
    return registry.choose(__name__, "DRIVER", names, "driver")
