"""ELF files: what a shared library exports under which version node, what it needs. Truncated files are bad data."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from virtcompat.errors import BadData

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
        dynamic: Any = elf.get_section_by_name(".dynamic")
        symbols: Any = elf.get_section_by_name(".dynsym")
        if not isinstance(dynamic, DynamicSection) or symbols is None:
            raise BadData(name, "not a shared library: no dynamic section", REMEDY)
        tags: list[Any] = list(dynamic.iter_tags())
        soname = next((t.soname for t in tags if t.entry.d_tag == "DT_SONAME"), "")
        needed = tuple(t.needed for t in tags if t.entry.d_tag == "DT_NEEDED")
        nodes = list(_nodes(elf, symbols.num_symbols()))
        exports, imports = [], {}
        for symbol, node in zip(symbols.iter_symbols(), nodes, strict=True):
            if not symbol.name or symbol.entry.st_info.bind not in ("STB_GLOBAL", "STB_WEAK"):
                continue
            if symbol.entry.st_shndx == "SHN_UNDEF":
                imports[symbol.name] = node
            elif symbol.entry.st_shndx != "SHN_ABS":  # a version node's own name
                exports.append(_symbol(symbol, node))
    except (ELFError, ConstructError, UnicodeDecodeError) as error:
        raise BadData(name, f"not a whole ELF file: {error}", REMEDY) from error
    return Library(soname, needed, tuple(sorted(exports, key=lambda s: (s.name, s.node))), imports)


def _symbol(symbol: Any, node: str) -> Symbol:
    kind = "object" if symbol.entry.st_info.type in ("STT_OBJECT", "STT_TLS") else "function"
    return Symbol(symbol.name, node, kind, symbol.entry.st_size if kind == "object" else 0)


def _nodes(elf: ELFFile, count: int) -> Iterator[str]:
    """The version node of each dynamic symbol, in their order."""
    versions: Any = elf.get_section_by_name(".gnu.version")
    if versions is None:
        yield from [""] * count
        return
    names: dict[int, str] = {}
    definitions: Any = elf.get_section_by_name(".gnu.version_d")
    if definitions is not None:
        for definition, auxiliaries in definitions.iter_versions():
            names[definition["vd_ndx"]] = next(auxiliaries).name
    wanted: Any = elf.get_section_by_name(".gnu.version_r")
    if wanted is not None:
        for _, auxiliaries in wanted.iter_versions():
            names |= {a["vna_other"] & 0x7FFF: a.name for a in auxiliaries}
    for at in range(count):
        index = versions.get_symbol(at)["ndx"]
        yield names.get(index & 0x7FFF, "") if isinstance(index, int) else ""
