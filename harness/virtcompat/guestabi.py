"""The facts of one guest's hardware: what the guest sees, what its devices are set to, what its migration carries.

cpuid/…, memory/…, pci/…, virtio/…, acpi/… and so on    as virtcompat.guestdump has it
property/virtio-net-device/rx_queue_size = 256          effective, from ``info qtree``; the second of a type is TYPE#2
vmstate/0000:00:02.0_virtio-net/version = 1             from the description at the end of a stream
vmstate/…/fields = config_size:4 …                      name:bytes in the order of the stream, counts of arrays left out
vmstate/…/subsection/NAME = version 1 fields …
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

DEVICE = re.compile(r"( *)dev: ([^,]+), id ")
PROPERTY = re.compile(r"( +)([A-Za-z0-9_.-]+) = (.*)")
HEX = re.compile(r" \((?:0x[0-9a-f]+|[\d.]+ \w+)\)$")
#: Set by who starts QEMU, or where something lies on this host: no part of the machine.
OWN = frozenset(("drive", "chardev", "netdev", "mac", "romfile", "serial", "rng", "id", "failover_pair_id", "backend"))

#: Where a processor sits, and what only this run has.
PLACED = frozenset(("apic-id", "unparent_request", "memory", "hotplugged", "realized", "x-force-features", "type"))


def properties(qtree: str) -> dict[str, str]:
    """``property/TYPE/NAME = value`` of every device in ``info qtree``."""
    found: dict[str, str] = {}
    seen: dict[str, int] = {}
    stack: list[tuple[int, str]] = []
    for line in qtree.splitlines():
        if device := DEVICE.match(line):
            depth, kind = len(device[1]), device[2]
            seen[kind] = seen.get(kind, 0) + 1
            stack = [s for s in stack if s[0] < depth]
            stack.append((depth, kind if seen[kind] == 1 else f"{kind}#{seen[kind]}"))
        elif (said := PROPERTY.match(line)) and stack:
            owner = next((name for depth, name in reversed(stack) if depth < len(said[1])), "")
            if owner and said[2] not in OWN:
                value = HEX.sub("", said[3]).strip()
                found[f"property/{_step(owner)}/{_step(said[2])}"] = value
    return found


def processor(cpu: Mapping[str, Any]) -> dict[str, str]:
    """``property/cpu/…`` of the first processor: the features that are on as one list, what else is set one by one."""
    numbers = {n: v for n, v in cpu.items() if not isinstance(v, (bool, dict, list)) and v not in ("", None)}
    found = {f"property/cpu/{_step(n)}": str(v) for n, v in numbers.items() if n not in OWN and n not in PLACED}
    return {**found, "property/cpu/features": " ".join(sorted(n for n, v in cpu.items() if v is True))}


def vmstate(description: Mapping[str, Any], *, fields: bool = True) -> dict[str, str]:
    """The sections of a migration stream, with their layout unless ``fields`` is off."""
    found: dict[str, str] = {}
    for device in description.get("devices", ()):
        number = f"#{device['instance_id']}" if device.get("instance_id") else ""
        above = f"vmstate/{_step(device['name'].replace('/', '_') + number)}"
        found[f"{above}/version"] = str(device.get("version", 0))
        if fields and "fields" in device:
            found[f"{above}/fields"] = " ".join(_fields(device["fields"]))
        found |= dict(_subsections(device, above))
    return found


def _subsections(device: Mapping[str, Any], above: str) -> Iterator[tuple[str, str]]:
    for sub in device.get("subsections", ()):
        # A subsection is called by its owner's name and its own: virtio/64bit_features.
        name = str(sub["vmsd_name"]).rpartition("/")[2] or str(sub["vmsd_name"])
        laid = " ".join(_fields(sub.get("fields", ())))
        yield f"{above}/subsection/{_step(name)}", f"version {sub.get('version', 0)} {laid}".strip()
        yield from _subsections(sub, f"{above}/subsection/{_step(name)}")
    for field in device.get("fields", ()):
        if "struct" in field:
            yield from _subsections(field["struct"], above)


def _fields(fields: Any) -> Iterator[str]:
    """``name:bytes`` in order; a structure's fields one by one. The same field many times over (an array) is said once."""
    last = ""
    for field in fields:
        inner = field.get("struct")
        for word in _fields(inner["fields"]) if inner and "fields" in inner else (f"{field['name']}:{field['size']}",):
            plain = re.sub(r"\[\d+\]", "[]", word.replace(" ", "_"))
            if plain != last:
                yield plain
            last = plain


def _step(name: str) -> str:
    """A step of a path: what holds a slash stands in brackets, what could be read as the end of a path does not stay."""
    plain = name.replace("=", "_").replace(" ", "_").replace("[", "(").replace("]", ")")
    return f"[{plain}]" if "/" in plain else plain
