"""Device sets: the guests whose hardware is recorded and that are migrated, as data in ``fixtures/guest-abi/``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from virtcompat.errors import BadData
from virtcompat.store import paths, tables

#: Family of machine types -> what their names start with. A device set has a command line for each family it is for.
FAMILIES = {"pc": ("pc-i440fx-", "pc"), "q35": ("pc-q35-", "q35"), "microvm": ("microvm",)}
KEYS = {"summary": str, "covers": list, "argv": dict}


@dataclass(frozen=True, slots=True)
class DeviceSet:
    """Devices beside what a machine type brings. covers: the device types that it stands for; argv: by family."""

    name: str
    summary: str
    covers: tuple[str, ...]
    argv: Mapping[str, tuple[str, ...]]

    def command(self, machine: str) -> tuple[str, ...] | None:
        """QEMU's arguments for a machine type with these devices; None where the set is not for its family."""
        devices = self.argv.get(family(machine))
        return None if devices is None else ("-machine", machine, *devices)


def family(machine: str) -> str:
    """``pc``, ``q35`` or ``microvm``; empty for a machine type of another family."""
    for name, starts in FAMILIES.items():
        if machine in starts or any(s.endswith("-") and machine.startswith(s) for s in starts):
            return name
    return ""


def folder() -> Path:
    return paths.data_root() / "fixtures" / "guest-abi"


@cache
def every() -> dict[str, DeviceSet]:
    """name -> device set; BadData names the file that is wrong."""
    found = {}
    for file in sorted(folder().glob("*.toml")):
        table = tables.read(file)
        tables.check_keys(file, table, KEYS, tuple(KEYS))
        for name in table["argv"]:
            if name not in FAMILIES:
                remedy = f"use one of: {', '.join(FAMILIES)}"
                raise BadData(file, f"no family '{name}'", remedy, tables.line_of(file, name))
        argv = {name: tuple(words) for name, words in table["argv"].items()}
        found[file.stem] = DeviceSet(file.stem, table["summary"], tuple(table["covers"]), argv)
    return found
