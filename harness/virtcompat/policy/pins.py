"""Compat hints: from two records of hardware, the properties that make the newer QEMU's machine the older one's.

The fourth remedy of 2009: what the old machine is made of is dumped, and the new QEMU is told to build it so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Worked out by QEMU itself, by the firmware or by where a device is plugged: not to be set from outside.
DERIVED = re.compile(
    r"/(features|addr|below-4g-mem-size|above-4g-mem-size|hpet-intcap|rombar|romsize|acpi-index|apic-id)$"
)
#: Every processor model is of this type.
CPU, FEATURES = "x86_64-cpu.", "property/cpu/features"
DEVICE = re.compile(r"property/([^/#]+)(?:#\d+)?/([^/]+)$")


def pins(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """``TYPE.property -> value``: what must be set on the new machine for its devices to be as the old one's.

    old, new: the facts of one machine and device set (paths from ``property/`` on). A property that the newer QEMU
    does not have cannot be pinned and needs no pin; one that differs between two devices of a type is left alone;
    a switch that only the newer has stands for something new, and is switched off.
    """
    wanted: dict[str, set[str]] = {}
    changed: set[str] = set()
    for path, value in old.items():
        found = DEVICE.match(path)
        if found and path in new and not DERIVED.search(path):
            name = f"{found[1]}.{found[2]}"
            wanted.setdefault(name, set()).add(value)
            if new[path] != value:
                changed.add(name)
    plain = {name: _plain(next(iter(wanted[name]))) for name in sorted(changed) if len(wanted[name]) == 1}
    plain |= _fresh(old, new)
    return {name.replace("cpu.", CPU, 1) if name.startswith("cpu.") else name: v for name, v in plain.items()} | {
        f"{CPU}{name}": state for name, state in _features(old.get(FEATURES, ""), new.get(FEATURES, ""))
    }


def _fresh(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """Switches of devices on both sides that the older QEMU did not have and that are on in the newer: to be off.

    Only those that stand for compatibility (``x-…``) or for a feature of a virtio device: another may be how the
    machine has always been, put into words later.
    """
    there = {found[1] for path in old if (found := DEVICE.match(path))}
    return {
        f"{found[1]}.{found[2]}": "off"
        for path, value in new.items()
        if value == "true"
        and path not in old
        and (found := DEVICE.match(path))
        and found[1] in there
        and (found[2].startswith("x-") or found[1].startswith("virtio-"))
    }


def _features(old: str, new: str) -> list[tuple[str, str]]:
    """Processor features to switch on, and off, so that those that were on are."""
    was, now = set(old.split()), set(new.split())
    return sorted([(name, "on") for name in was - now] + [(name, "off") for name in now - was])


def _plain(value: str) -> str:
    """A value as ``-global`` takes it: ``"off"`` -> ``off``, ``true`` -> ``on``."""
    bare = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    return {"true": "on", "false": "off"}.get(bare, bare)


def arguments(found: Mapping[str, str]) -> tuple[str, ...]:
    """The pins as QEMU's arguments."""
    return tuple(word for name, value in found.items() for word in ("-global", f"{name}={value}"))
