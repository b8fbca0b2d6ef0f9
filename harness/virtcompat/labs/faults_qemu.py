"""QEMU's device state, edited in a copy of its binary: a field more or less, a section under another name.

What a migration carries is written down in QEMU as data: a ``VMStateDescription`` a section, with a table of
``VMStateField``. Its structures are found by the relocations that point to the section's name; the offsets below are those
of QEMU 8.0 and newer (include/migration/vmstate.h). Only numbers and relocations of these tables are changed; no code is.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from elftools.elf.elffile import ELFFile

from virtcompat.errors import BadData
from virtcompat.store.regressions import CHANGES

#: Of a VMStateDescription: its two versions, the table of fields.
VERSION, MINIMUM, FIELDS = 12, 16, 72
#: Of a VMStateField: how long it is, and within it: offset and size in the device, version, the test whether it is sent.
LENGTH, OFFSET, SIZE, SINCE, TEST = 104, 16, 24, 88, 96
MOST = 200  # no section has more fields, nor a higher version
RELATIVE = 8  # R_X86_64_RELATIVE: what stands at a place is the base address and the addend
ENTRY = struct.Struct("<QQq")
NEVER = 1 << 20  # a version that no section has: fields since then are not sent
REMEDY = "correct the piece's fault"


@dataclass(slots=True)
class Binary:
    """A QEMU whose tables are changed. relative: address -> (what it points to, where its relocation stands in the file)."""

    name: str
    data: bytearray
    segments: list[tuple[int, int, int]] = field(default_factory=list)
    relative: dict[int, tuple[int, int]] = field(default_factory=dict)
    pointers: dict[int, list[int]] = field(default_factory=dict)

    def at(self, address: int) -> int:
        """Where an address is in the file; -1 where it is not."""
        return next((address - a + o for a, o, n in self.segments if a <= address < a + n), -1)

    def number(self, address: int, form: str = "i") -> int:
        return int(struct.unpack_from(f"<{form}", self.data, self.at(address))[0])

    def put(self, address: int, value: int, form: str = "i") -> None:
        struct.pack_into(f"<{form}", self.data, self.at(address), value)

    def points(self, address: int) -> int:
        """What the pointer at an address points to; 0 for a null pointer."""
        return self.relative.get(address, (0, 0))[0]

    def text(self, address: int) -> str:
        start = self.at(address)
        return self.data[start : self.data.index(0, start)].decode("latin-1") if start >= 0 else ""

    def strings(self, text: str) -> Iterator[int]:
        """Addresses of a string, which may be the end of another one."""
        for found in re.finditer(re.escape(text.encode() + b"\0"), self.data):
            for address, start, length in self.segments:
                if start <= found.start() < start + length:
                    yield found.start() - start + address

    def point(self, address: int, target: int) -> None:
        """Let a pointer point elsewhere."""
        ENTRY.pack_into(self.data, self.relative[address][1], address, RELATIVE, target)

    def clear(self, address: int) -> None:
        """Make a null pointer of one; its relocation does another one's work again, as the linker has counted them."""
        entry = self.relative[address][1]
        other = next(at for _, at in self.relative.values() if at != entry)
        self.data[entry : entry + ENTRY.size] = self.data[other : other + ENTRY.size]
        self.put(address, 0, "Q")


def edited(data: bytes, name: str, what: Mapping[str, Any]) -> bytes:
    """A QEMU's bytes with one section changed; BadData where it has no such section or field.

    what: ``section`` and ``change``, and what that needs. ``lost``: ``field`` is neither sent nor expected. ``unasked``:
    it always is, whatever its test says. ``longer``: it is ``number`` bytes longer (of a field without meaning: one more of
    these). ``moved``: it is taken from ``number`` bytes further on in the device. ``raised``: the section's version is
    ``number`` higher, and it takes no older one. ``renamed``: the section is called ``to``.
    """
    binary = _opened(data, name)
    section, change = str(what["section"]), str(what["change"])
    if change not in CHANGES:
        raise BadData(name, f"no change '{change}' of a section", f"use one of: {', '.join(CHANGES)}")
    descriptions = list(_descriptions(binary, section))
    if change in ("raised", "renamed"):
        if len(descriptions) != 1:
            raise BadData(name, f"{len(descriptions)} sections called {section}", REMEDY)
        _describe(binary, descriptions[0], change, what)
    else:
        _change(binary, _field(binary, descriptions, section, str(what.get("field", ""))), change, what)
    return bytes(binary.data)


def _describe(binary: Binary, at: int, change: str, what: Mapping[str, Any]) -> None:
    """Change a section as a whole."""
    if change == "raised":
        raised = binary.number(at + VERSION) + int(what.get("number", 1))
        binary.put(at + VERSION, raised)
        binary.put(at + MINIMUM, raised)
        return
    target = next(binary.strings(str(what["to"])), 0)
    if not target:
        raise BadData(binary.name, f"has no string '{what['to']}' to call it by", REMEDY)
    binary.point(at, target)


def _change(binary: Binary, at: int, change: str, what: Mapping[str, Any]) -> None:
    """Change one field of a section."""
    number = int(what.get("number", 4))
    if change == "longer":
        binary.put(at + SIZE, binary.number(at + SIZE, "Q") + number, "Q")
    elif change == "moved":
        binary.put(at + OFFSET, binary.number(at + OFFSET, "Q") + number, "Q")
    else:
        if binary.points(at + TEST):
            binary.clear(at + TEST)
        binary.put(at + SINCE, NEVER if change == "lost" else 0)


def sections(data: bytes, name: str, section: str) -> list[list[str]]:
    """The fields of every section of this name, in the order in which they are sent."""
    binary = _opened(data, name)
    return [[binary.text(binary.points(f)) for f in _fields(binary, d)] for d in _descriptions(binary, section)]


def _descriptions(binary: Binary, section: str) -> Iterator[int]:
    """Addresses of the descriptions of this name: a pointer to it, plausible versions, a table with named fields."""
    for text in binary.strings(section):
        for at in binary.pointers.get(text, ()):
            table = binary.points(at + FIELDS)
            if binary.at(table) < 0 or binary.at(at + MINIMUM) < 0 or not _named(binary, table):
                continue
            if 0 <= binary.number(at + MINIMUM) <= binary.number(at + VERSION) < MOST:
                yield at


def _named(binary: Binary, at: int) -> bool:
    """Whether a field is here: it has a name, and its test, if any, is code."""
    name = binary.text(binary.points(at)) if binary.points(at) else ""
    return bool(re.fullmatch(r"[\w\[\].>()*& -]+", name)) and 0 <= binary.number(at + SINCE) < MOST


def _fields(binary: Binary, description: int) -> Iterator[int]:
    at = binary.points(description + FIELDS)
    for _ in range(MOST):
        if not binary.points(at):  # the last one has no name
            return
        yield at
        at += LENGTH


def _field(binary: Binary, descriptions: Sequence[int], section: str, wanted: str) -> int:
    """The address of a field; of several of the name the last one, which is the newest."""
    every = [at for description in descriptions for at in _fields(binary, description)]
    found = [at for at in every if binary.text(binary.points(at)) == wanted]
    if not found:
        raise BadData(binary.name, f"the section {section} has no field '{wanted}'", REMEDY)
    return found[-1]


@lru_cache(maxsize=1)
def _tables(
    data: bytes, name: str
) -> tuple[list[tuple[int, int, int]], dict[int, tuple[int, int]], dict[int, list[int]]]:
    file = ELFFile(io.BytesIO(data))
    table = file.get_section_by_name(".rela.dyn")
    if file["e_machine"] != "EM_X86_64" or table is None:
        raise BadData(name, "no x86-64 binary with relocations", REMEDY)
    segments = [(s["p_vaddr"], s["p_offset"], s["p_filesz"]) for s in file.iter_segments() if s["p_type"] == "PT_LOAD"]
    start, end = table["sh_offset"], table["sh_offset"] + table["sh_size"]
    relative: dict[int, tuple[int, int]] = {}
    pointers: dict[int, list[int]] = {}
    for entry in range(start, end, ENTRY.size):
        place, kind, target = ENTRY.unpack_from(data, entry)
        if kind == RELATIVE:
            relative[place] = target, entry
            pointers.setdefault(target, []).append(place)
    return segments, relative, pointers


def _opened(data: bytes, name: str) -> Binary:
    segments, relative, pointers = _tables(data, name)
    return Binary(name, bytearray(data), segments, relative, pointers)
