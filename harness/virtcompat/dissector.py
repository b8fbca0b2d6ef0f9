"""libvirt's Wireshark plugin, read as a statement of the remote protocol. Pure: bytes in, tables and facts out.

The plugin is generated from the protocol definitions of its release: it knows every program, procedure, structure,
field, type and limit of them. ``plugin`` reads its tables out of the ELF file. How a structure's bytes follow each
other is in its code alone: the program ``probes/dissector_probe.py`` runs that code in the lab over a message that is
made up on the way, and ``wire`` makes facts of what it asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from virtcompat import elf
from virtcompat.errors import BadData

#: Offsets in a row of Wireshark's hf_register_info: after the variable's address its description, from the name on.
INFO, ABBREV, STRINGS = 8, 16, 32
PREFIX, ANCHOR = "libvirt.", "proto_reg_handoff_libvirt"
KINDS = ("args", "ret", "msg")
#: Calls of the plugin that the probe answers itself; everything else it imports stays what it is.
OURS = ("xdr", "proto_", "tvb_", "wmem_", "col_", "tcp_", "val_to_str", "create_dissector", "dissector_add")


@dataclass(frozen=True, slots=True)
class Plugin:
    """The tables. Addresses count from where the file is loaded.

    programs: name -> number; procedures: program -> {name: number}; fields: (name with dots, address of its variable,
    address of its description) in the order of registration; members: structure or union -> its fields in order;
    header: field of a message's header -> names of its values; slots: import -> where its address is kept; anchor: a
    function and its address.
    """

    name: str
    programs: dict[str, int]
    procedures: dict[str, dict[str, int]]
    fields: tuple[tuple[str, int, int], ...]
    members: dict[str, list[str]]
    header: dict[str, dict[str, int]]
    slots: dict[str, list[int]]
    anchor: tuple[str, int]

    def message(self, program: str, procedure: str, kind: str) -> str:
        """The structure a procedure sends, by the rule of naming that the generator itself goes by; empty if none."""
        name = f"{program}_{procedure}_{kind}".lower()
        return name if name in self.members else ""


def _members(names: Iterable[str]) -> dict[str, list[str]]:
    """The fields of every structure; the elements of an array are registered one step deeper, and left out."""
    found: dict[str, list[str]] = {}
    for name in names:
        own, _, member = name.partition(".")
        members = found.setdefault(own, [])
        if member and "." not in member:
            members.append(member)
    return found


@dataclass(slots=True)
class _Image:
    """A loaded file: bytes by address, and the pointers that the linker puts in."""

    file: str
    segments: list[tuple[int, bytes]]
    pointers: dict[int, int]

    def word(self, address: int) -> int:
        for start, data in self.segments:
            if start <= address <= start + len(data) - 4:
                return int.from_bytes(data[address - start : address - start + 4], "little")
        raise BadData(self.file, f"points to 0x{address:x}, where nothing is", elf.REMEDY)

    def text(self, address: int) -> str:
        for start, data in self.segments:
            if start <= address < start + len(data):
                end = data.find(b"\0", address - start)
                return data[address - start : max(end, 0)].decode("utf-8", "replace")
        return ""

    def strings(self, address: int) -> Iterator[tuple[int, str]]:
        """The rows of a value_string table: number and name."""
        while (name := self.pointers.get(address + 8)) is not None:
            yield self.word(address), self.text(name)
            address += 16


def plugin(data: bytes, name: str) -> Plugin:
    """The tables of a plugin; BadData where the file is not one, or not a whole one."""
    file = elf.opened(data, name)
    if file.elfclass != 64 or not file.little_endian:
        raise BadData(name, "not a 64-bit little-endian plugin", "use a release for x86_64 or aarch64")
    try:
        segments = [(s["p_vaddr"], s.data()) for s in file.iter_segments("PT_LOAD")]
        if any(len(s.data()) < s["p_filesz"] for s in file.iter_segments("PT_LOAD")):
            raise BadData(name, "cut off", elf.REMEDY)
        pointers, slots = _relocations(file)
        anchor = _symbols(file).get_symbol_by_name(ANCHOR)
    except (ELFError, ConstructError, struct.error) as error:
        raise BadData(name, f"not a whole ELF file: {error}", elf.REMEDY) from error
    if not anchor:
        raise BadData(name, "not libvirt's Wireshark plugin", "reinstall libvirt-wireshark in the lab")
    image = _Image(name, segments, pointers)
    entries = list(_entries(image))
    programs = [row for own, _, _, at in entries if own == "program" for row in image.strings(at)]
    tables = [dict(_swapped(image.strings(at))) for own, _, _, at in entries if own == "procedure" and at]
    if not programs or len(programs) != len(tables) or not all(tables):
        raise BadData(name, f"{len(programs)} programs, {len(tables)} lists of procedures", elf.REMEDY)
    return Plugin(
        name,
        {said.lower(): number for number, said in programs},
        {said.lower(): table for (_, said), table in zip(programs, tables, strict=True)},
        tuple((own, variable, info) for own, variable, info, _ in entries),
        _members(own for own, *_ in entries),
        {own: dict(_swapped(image.strings(at))) for own, _, _, at in entries if own in ("type", "status")},
        slots,
        (ANCHOR, anchor[0]["st_value"]),
    )


def _symbols(file: ELFFile) -> SymbolTableSection:
    found = file.get_section_by_name(".dynsym")
    if not isinstance(found, SymbolTableSection):
        raise ELFError("no dynamic symbols")
    return found


def _swapped(rows: Iterator[tuple[int, str]]) -> Iterator[tuple[str, int]]:
    return ((name, number) for number, name in rows)


def _relocations(file: ELFFile) -> tuple[dict[int, int], dict[str, list[int]]]:
    """Pointers into the file itself, and the slots of what it imports."""
    pointers: dict[int, int] = {}
    slots: dict[str, list[int]] = {}
    symbols = _symbols(file)
    for section in file.iter_sections():
        if not isinstance(section, RelocationSection):
            continue
        for at, info, addend in struct.iter_unpack("<QQq", section.data()):
            symbol = symbols.get_symbol(info >> 32) if info >> 32 else None
            if symbol is None or symbol["st_value"]:
                pointers[at] = addend + (symbol["st_value"] if symbol else 0)
            elif symbol.name.startswith(OURS):
                slots.setdefault(symbol.name, []).append(at)
    return pointers, slots


def _entries(image: _Image) -> Iterator[tuple[str, int, int, int]]:
    """The table of fields: name, variable, description, table of strings. It has no gaps; their distance tells its size."""
    at = sorted(
        address
        for address in image.pointers
        if address + INFO in image.pointers and image.text(image.pointers.get(address + ABBREV, -1)).startswith(PREFIX)
    )
    apart = {after - before for before, after in pairwise(at)}
    if len(apart) != 1:
        raise BadData(image.file, f"not one table of fields: {len(at)} rows, {sorted(apart)} bytes apart", elf.REMEDY)
    for address in at:
        name = image.text(image.pointers[address + ABBREV]).removeprefix(PREFIX)
        yield name, image.pointers[address], address + INFO, image.pointers.get(address + STRINGS, 0)


def procedures(plugin: Plugin) -> dict[str, str]:
    """Facts of every program: its number, its procedures with their numbers and the structures that they send."""
    facts = {f"{program}/program": hex(number) for program, number in plugin.programs.items()}
    for program, table in plugin.procedures.items():
        for name, number in table.items():
            facts[f"{program}/procedure/{name}/number"] = str(number)
            for kind in KINDS:
                if sent := plugin.message(program, name, kind):
                    facts[f"{program}/procedure/{name}/{kind}"] = sent
    for own, table in plugin.header.items():
        facts |= {f"header/{own}/{name}": str(number) for name, number in table.items()}
    return facts
