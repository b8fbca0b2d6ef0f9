"""One PCI function as facts: its header, the sizes of its BARs, what its capabilities say."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping

Found = Iterator[tuple[str, str]]
#: The bytes of a capability and the facts that they come to.
Contents = tuple[int, list[tuple[str, str]]]

CAPABILITIES = {
    0x01: "pm", 0x02: "agp", 0x03: "vpd", 0x04: "slot", 0x05: "msi", 0x08: "ht", 0x09: "vendor", 0x0A: "debug",
    0x0C: "shpc", 0x0D: "subsystem", 0x10: "express", 0x11: "msi-x", 0x12: "sata", 0x13: "af", 0x14: "ea",
}  # fmt: skip
EXTENDED = {
    0x01: "aer", 0x02: "vc", 0x03: "serial", 0x0B: "vendor", 0x0D: "acs", 0x0E: "ari", 0x0F: "ats", 0x10: "sriov",
    0x13: "pri", 0x15: "rebar", 0x18: "ltr", 0x1B: "pasid", 0x1D: "dpc", 0x23: "dvsec", 0x2E: "doe",
}  # fmt: skip
STRUCTURES = {1: "common", 2: "notify", 3: "isr", 4: "device", 5: "pci", 8: "shared"}
PORT_TYPES = {0: "endpoint", 1: "legacy endpoint", 4: "root port", 5: "upstream port", 6: "downstream port",
              7: "bridge to pci", 8: "bridge from pci", 9: "integrated endpoint"}  # fmt: skip
COMMAND = {0: "io", 1: "memory", 2: "master", 8: "serr", 10: "intx-off"}


def function(own: Mapping[str, str]) -> Found:
    """Facts of one function. own: the lines of the dump below its name: config/0x00, bar0, rom, extended/0x100."""
    space = bytearray(256)
    for path, value in own.items():
        if path.startswith("config/"):
            offset = int(path[7:], 16)
            space[offset : offset + 16] = bytes.fromhex(value)
    kind = space[0x0E] & 0x7F
    yield "id", "{:04x}:{:04x}".format(*struct.unpack_from("<HH", space))
    yield "class", f"{space[0x0B]:02x}{space[0x0A]:02x}{space[0x09]:02x}"
    yield "revision", f"{space[0x08]:02x}"
    yield "header", {0: "device", 1: "bridge", 2: "cardbus"}.get(kind, f"type {kind}")
    if space[0x0E] & 0x80:
        yield "multifunction", "yes"
    if kind == 0:
        yield "subsystem", "{:04x}:{:04x}".format(*struct.unpack_from("<HH", space, 0x2C))
    if space[0x3D]:
        yield "pin", "-ABCD"[space[0x3D]] if space[0x3D] < 5 else str(space[0x3D])
    yield from _bars(own)
    yield from _assigned(space, kind)
    yield from _capabilities(space)
    listed = [(int(path[9:], 16), value.split()) for path, value in own.items() if path.startswith("extended/")]
    if listed:
        yield "extended", " ".join(f"{EXTENDED.get(int(i, 16), '0x' + i)}@{at:#x}" for at, (i, _) in listed)


def _bars(own: Mapping[str, str]) -> Found:
    kinds = {"io": "io", "mem32": "memory", "mem64": "memory 64-bit", "mem20": "memory below 1M"}
    for path, value in own.items():
        if path.startswith("bar"):
            kind, size, address = value.split()
            prefetchable = " prefetchable" if kind.endswith("p") else ""
            yield path, f"{kinds[kind.rstrip('p')]}{prefetchable} {int(size, 16)} bytes"
            yield f"assigned/{path}", f"{int(address, 16):#x}"
        elif path == "rom":
            size, address = value.split()
            yield path, f"{int(size, 16)} bytes"
            yield f"assigned/{path}", f"{int(address, 16):#x}"


def _assigned(space: bytearray, kind: int) -> Found:
    """What the firmware wrote into the header."""
    (command,) = struct.unpack_from("<H", space, 4)
    yield "assigned/command", " ".join(n for bit, n in COMMAND.items() if command >> bit & 1) or "none"
    if space[0x3D]:
        yield "assigned/line", str(space[0x3C])
    if kind == 1:
        yield "assigned/buses", f"{space[0x18]:02x} {space[0x19]:02x} {space[0x1A]:02x}"
        yield "assigned/windows", f"{space[0x1C:0x1E].hex()} {space[0x20:0x24].hex()} {space[0x24:0x34].hex()}"
        yield "assigned/control", space[0x3E:0x40].hex()


def _capabilities(space: bytearray) -> Found:
    """The list, what the known ones contain, and every other dword above the header that is not zero."""
    rest, listed = bytearray(space), []
    details: list[tuple[str, str]] = []
    rest[:0x40] = bytes(0x40)
    at, left = space[0x34] & 0xFC if space[6] & 0x10 else 0, 48
    while at >= 0x40 and left:
        identity = space[at]
        name = CAPABILITIES.get(identity, f"{identity:#04x}")
        listed.append(f"{name}@{at:#x}")
        size = 2
        if name in CONTENTS:
            size, contents = CONTENTS[name](space, at)
            details += contents
        rest[at : at + size] = bytes(size)
        at, left = space[at + 1] & 0xFC, left - 1
    if listed:
        yield "capabilities", " ".join(listed)
    for number, (path, value) in enumerate(details):
        ordinal = 1 + sum(path == other for other, _ in details[:number])
        yield path if ordinal == 1 else f"{path}#{ordinal}", value
    for offset in range(0x40, 0x100, 4):
        (dword,) = struct.unpack_from("<I", rest, offset)
        if dword:
            yield f"config/{offset:#x}", f"{dword:#010x}"


def _power(space: bytearray, at: int) -> Contents:
    abilities, control = struct.unpack_from("<HH", space, at + 2)
    return 8, [("pm", f"abilities {abilities:#06x}, control {control:#06x}")]


def _msi(space: bytearray, at: int) -> Contents:
    """How many vectors and which kind of addresses; the address itself is the guest's."""
    (control,) = struct.unpack_from("<H", space, at + 2)
    kinds = (" 64-bit" if control & 0x80 else "") + (" maskable" if control & 0x100 else "")
    size = (14 if control & 0x80 else 10) + (10 if control & 0x100 else 0)
    return size, [("msi", f"{1 << (control >> 1 & 7)} vectors{kinds}")]


def _msix(space: bytearray, at: int) -> Contents:
    control, table, pending = struct.unpack_from("<HII", space, at + 2)
    where = f"table bar{table & 7}+{table & ~7:#x}, pending bar{pending & 7}+{pending & ~7:#x}"
    return 12, [("msi-x", f"{(control & 0x7FF) + 1} vectors, {where}")]


def _express(space: bytearray, at: int) -> Contents:
    """Kind of port and version; the registers follow by their offset, as far as this version has them."""
    (flags,) = struct.unpack_from("<H", space, at + 2)
    kind = PORT_TYPES.get(flags >> 4 & 15, f"type {flags >> 4 & 15}")
    slot = ", slot" if flags & 0x100 else ""
    size = min(0x3C if flags & 15 >= 2 else 0x14, 0x100 - at)
    registers = [(offset, struct.unpack_from("<I", space, at + offset)[0]) for offset in range(4, size - 3, 4)]
    head = [("express", f"version {flags & 15}, {kind}{slot}, message {flags >> 9 & 31}")]
    return size, head + [(f"express/{offset:#04x}", f"{value:#010x}") for offset, value in registers if value]


def _vendor(space: bytearray, at: int) -> Contents:
    """Where virtio's structures lie; another vendor's capability as it is."""
    size, (vendor,) = space[at + 2], struct.unpack_from("<H", space)
    if vendor != 0x1AF4 or size < 16:
        return max(size, 3), [("vendor", space[at + 2 : at + max(size, 3)].hex())]
    name = STRUCTURES.get(space[at + 3], f"type {space[at + 3]}")
    offset, length = struct.unpack_from("<II", space, at + 8)
    more = f", multiplier {struct.unpack_from('<I', space, at + 16)[0]}" if name == "notify" else ""
    window = f"bar{space[at + 4]}+{offset:#x} {length} bytes" if name != "pci" else "by configuration space"
    return size, [(f"virtio/{name}", window + more)]


def _subsystem(space: bytearray, at: int) -> Contents:
    return 8, [("subsystem", "{:04x}:{:04x}".format(*struct.unpack_from("<HH", space, at + 4)))]


CONTENTS: dict[str, Callable[[bytearray, int], Contents]] = {
    "pm": _power, "msi": _msi, "msi-x": _msix, "express": _express, "vendor": _vendor, "subsystem": _subsystem,
}  # fmt: skip
