"""Files with a fault: which ones of a root a pattern means, and what becomes of their bytes."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from virtcompat import elf
from virtcompat.errors import BadData
from virtcompat.labs import faults_qemu
from virtcompat.store.regressions import Fault

REMEDY = "correct the piece's fault"


def matching(root: Path, pattern: str) -> list[str]:
    """Paths inside a root that a pattern means, symbolic links followed; each file once."""
    found = {_followed(root, path) for path in root.glob(pattern.lstrip("/"))}
    return sorted(f"/{path.relative_to(root)}" for path in found if path.is_file() and path.is_relative_to(root))


def _followed(root: Path, path: Path) -> Path:
    """The file behind symbolic links, which count from the root inside."""
    folder = root
    for step in path.relative_to(root).parts:
        folder = folder / step
        for _ in range(8):
            if not folder.is_symlink():
                break
            target = folder.readlink()
            folder = root / str(target).lstrip("/") if target.is_absolute() else folder.parent / target
    return Path(str(root) + "/" + _plain(folder.relative_to(root).parts))


def _plain(parts: tuple[str, ...]) -> str:
    kept: list[str] = []
    for part in parts:
        if part == "..":
            kept = kept[:-1]
        else:
            kept.append(part)
    return "/".join(kept)


def altered(fault: Fault, name: str, data: bytes) -> bytes:
    """A file's bytes with the fault; BadData where that changes nothing."""
    if fault.kind == "vmstate":
        changed = faults_qemu.edited(data, name, fault.what)
    else:
        changed = _library(fault, name, data) if fault.kind == "symbol" else _edited(fault, data)
    if changed == data:
        raise BadData(name, f"the {fault.kind} fault changes nothing in it", REMEDY)
    return changed


def _edited(fault: Fault, data: bytes) -> bytes:
    if "content" in fault.what:
        return str(fault.what["content"]).encode()
    # Latin-1 takes every byte for a character and gives it back as it was.
    text = data.decode("latin-1")
    for find, replacement in fault.what.get("edits", ()):
        find, replacement = (word.encode().decode("latin-1") for word in (find, replacement))
        text = re.sub(find, replacement, text, flags=re.DOTALL | re.MULTILINE)
    return text.encode("latin-1")


def _library(fault: Fault, name: str, data: bytes) -> bytes:
    """A 64-bit library with other dynamic symbols; the bytes stay where they are."""
    file: Any = elf.opened(data, name)
    order = "<" if file.little_endian else ">"
    changed = bytearray(data)
    symbols, versions = (file.get_section_by_name(s) for s in (".dynsym", ".gnu.version"))
    rows = {s.name: at for at, s in enumerate(symbols.iter_symbols())}
    for symbol in fault.what.get("hide", ()):
        at = _row(rows, symbol, name)
        start = symbols["sh_offset"] + at * symbols["sh_entsize"]
        struct.pack_into(f"{order}HQ", changed, start + 6, elf.UNDEFINED, 0)  # section index, value
    for symbol in fault.what.get("add", ()):
        start = versions["sh_offset"] + 2 * _row(rows, symbol, name)
        struct.pack_into(f"{order}H", changed, start, _newest(file, name))
    if "soname" in fault.what:
        own = elf.library(data, name).soname.encode()
        other = str(fault.what["soname"]).encode()
        strings = file.get_section_by_name(".dynstr")
        start = strings["sh_offset"] + strings.data().index(b"\0" + own + b"\0") + 1
        changed[start : start + len(own) + 1] = other.ljust(len(own) + 1, b"\0")[: len(own) + 1]
    return bytes(changed)


def _row(rows: dict[str, int], symbol: str, name: str) -> int:
    if symbol not in rows:
        raise BadData(name, f"has no dynamic symbol {symbol}", REMEDY)
    return rows[symbol]


def _newest(file: Any, name: str) -> int:
    """The number of the last version node that programs may use."""
    nodes = list(_public(file))
    if not nodes:
        raise BadData(name, "has no version nodes", REMEDY)
    return nodes[-1]


def _public(file: Any) -> Iterator[int]:
    for definition, auxiliaries in file.get_section_by_name(".gnu.version_d").iter_versions():
        node = next(auxiliaries).name
        if "PRIVATE" not in node and definition["vd_ndx"] > 1:
            yield definition["vd_ndx"]
