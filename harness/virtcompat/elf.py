"""ELF files: what a shared library exports under which version node, what it needs. Truncated files are bad data."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from virtcompat.errors import BadData

UNDEFINED, ABSOLUTE = 0, 0xFFF1  # SHN_UNDEF, SHN_ABS
BINDINGS = (1, 2)  # STB_GLOBAL, STB_WEAK
OBJECTS = (1, 6)  # STT_OBJECT, STT_TLS
REMEDY = "the file is damaged or cut off: reinstall its package, or build the lab anew"


@dataclass(frozen=True, slots=True)
class Symbol:
    """An exported dynamic symbol. node: its version node, empty where the library has none.

    kind: ``function`` or ``object``; size: bytes of an object (what a program with a copy of it depends on).
    """

    name: str
    node: str
    kind: str
    size: int


@dataclass(frozen=True, slots=True)
class Library:
    """What the dynamic linker sees. imports: name -> version node wanted, for every undefined symbol."""

    soname: str
    needed: tuple[str, ...]
    exports: tuple[Symbol, ...]
    imports: dict[str, str]


def opened(data: bytes, name: str) -> ELFFile:
    """The ELF file; BadData where it is none, or is cut off before its section headers."""
    try:
        elf = ELFFile(io.BytesIO(data))
        end = elf.header.e_shoff + elf.header.e_shnum * elf.header.e_shentsize
        if not elf.header.e_shnum or end > len(data):
            raise BadData(name, f"not a whole ELF file: {len(data)} of {end} bytes", REMEDY)
    except (ELFError, ConstructError) as error:
        raise BadData(name, f"not an ELF file: {error or 'wrong magic'}", REMEDY) from error
    return elf


def library(data: bytes, name: str) -> Library:
    """What a shared library offers and needs; BadData for a file that is not one, or not a whole one."""
    elf = opened(data, name)
    try:
        dynamic = elf.get_section_by_name(".dynamic")
        symbols = elf.get_section_by_name(".dynsym")
        if not isinstance(dynamic, DynamicSection) or symbols is None:
            raise BadData(name, "not a shared library: no dynamic section", REMEDY)
        tags: list[Any] = list(dynamic.iter_tags())
        soname = next((t.soname for t in tags if t.entry.d_tag == "DT_SONAME"), "")
        needed = tuple(t.needed for t in tags if t.entry.d_tag == "DT_NEEDED")
        exports, imports = [], {}
        for symbol, place in _symbols(elf, symbols):
            if place == UNDEFINED:
                imports[symbol.name] = symbol.node
            elif place != ABSOLUTE:  # a version node's own name
                exports.append(symbol)
    except (ELFError, ConstructError, UnicodeDecodeError, ValueError, struct.error) as error:
        raise BadData(name, f"not a whole ELF file: {error}", REMEDY) from error
    return Library(soname, needed, tuple(sorted(exports, key=lambda s: (s.name, s.node))), imports)


def _symbols(elf: ELFFile, section: Any) -> Iterator[tuple[Symbol, int]]:
    """Global and weak dynamic symbols with their section index; unpacked in bulk: there are thousands of them."""
    order, wide = "<" if elf.little_endian else ">", elf.elfclass == 64
    names = section.stringtable.data()
    rows = list(struct.iter_unpack(order + ("IBBHQQ" if wide else "IIIBBH"), section.data()))
    for row, node in zip(rows, _nodes(elf, order, len(rows)), strict=True):
        at, info, place, size = (row[0], row[1], row[3], row[5]) if wide else (row[0], row[3], row[5], row[2])
        if at and info >> 4 in BINDINGS:
            kind = "object" if info & 15 in OBJECTS else "function"
            found = names[at : names.index(b"\0", at)].decode()
            yield Symbol(found, node, kind, size if kind == "object" else 0), place


def _nodes(elf: Any, order: str, count: int) -> list[str]:
    """The version node of each dynamic symbol, in their order."""
    versions = elf.get_section_by_name(".gnu.version")
    if versions is None:
        return [""] * count
    names: dict[int, str] = {}
    definitions = elf.get_section_by_name(".gnu.version_d")
    if definitions is not None:
        for definition, auxiliaries in definitions.iter_versions():
            names[definition["vd_ndx"]] = next(auxiliaries).name
    wanted = elf.get_section_by_name(".gnu.version_r")
    if wanted is not None:
        for _, auxiliaries in wanted.iter_versions():
            names |= {a["vna_other"] & 0x7FFF: a.name for a in auxiliaries}
    names |= {0: "", 1: ""}  # local; global without a node of its own
    return [names.get(index & 0x7FFF, "") for (index,) in struct.iter_unpack(f"{order}H", versions.data())]
