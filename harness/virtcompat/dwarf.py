"""DWARF: layouts of structures and values of enumerations, as a compiler laid them out, in spelling-free words.

A type is named by what it is to a caller (``unsigned``, ``signed``, ``pointer``, ``struct virFoo``), with typedefs
resolved: ``unsigned int`` against ``uint32_t`` or a struct against its typedef is no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from virtcompat import elf
from virtcompat.errors import BadData

#: Called with a declaration's file name as the compiler was given it: a label for it, or "" to leave it out.
Within = Callable[[str], str]
ENCODINGS = {2: "bool", 4: "float", 5: "signed", 6: "char", 7: "unsigned", 8: "char"}
NAMED = {"DW_TAG_structure_type": "struct", "DW_TAG_union_type": "union", "DW_TAG_enumeration_type": "enum"}
THROUGH = ("DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_restrict_type")


def layouts(data: bytes, name: str, within: Within) -> dict[str, str]:
    """Facts of every structure, union and enumeration that is declared in a file ``within`` has a label for.

        LABEL/struct/NAME = 40 bytes                          (union alike)
        LABEL/struct/NAME/FIELD = offset 8, 4 bytes, unsigned
        LABEL/struct/NAME/FIELD.INNER = …                     (of a structure or union without a name of its own)
        LABEL/struct/NAME/FIELD.(each).INNER = …              (of an array of such, the first of them)
        LABEL/enum/NAME/VALUE = 3

    A type without a tag goes by its typedef's name. Offsets count from the start of the outermost structure.
    """
    found: dict[str, str] = {}
    info = elf.opened(data, name)
    if not info.has_dwarf_info():
        raise BadData(name, "no debugging information", "compile with -g")
    debug = info.get_dwarf_info()
    for unit in debug.iter_CUs():
        files = _files(debug, unit)
        named: dict[int, tuple[str, str]] = {}
        for die in unit.iter_DIEs():
            if die.tag == "DW_TAG_typedef" and "DW_AT_type" in die.attributes:
                target = die.get_DIE_from_attribute("DW_AT_type")
                if target.tag in NAMED and "DW_AT_name" not in target.attributes:
                    named.setdefault(target.offset, (_name(die), files.get(_number(die, "DW_AT_decl_file"), "")))
        for die in unit.get_top_DIE().iter_children():
            if die.tag not in NAMED or "DW_AT_declaration" in die.attributes:
                continue
            own = _name(die)
            file = files.get(_number(die, "DW_AT_decl_file"), "")
            if not own and die.offset in named:
                own, file = named[die.offset]
            label = within(file)
            if label:
                found |= dict(_type(die, label, own))
    return found


def _files(debug: Any, unit: Any) -> dict[int, str]:
    program = debug.line_program_for_CU(unit)
    if program is None:
        return {}
    first = 0 if program.header.version >= 5 else 1
    directories = [d.decode() if isinstance(d, bytes) else str(d) for d in program.header.include_directory]
    names = {}
    for at, entry in enumerate(program.header.file_entry, first):
        folder = entry.dir_index if first == 0 else entry.dir_index - 1
        above = directories[folder] if 0 <= folder < len(directories) else ""
        names[at] = f"{above}/{entry.name.decode()}".lstrip("/") if above else entry.name.decode()
        names[at] = names[at] if names[at].startswith("/") or not above.startswith("/") else "/" + names[at]
    return names


def _name(die: Any) -> str:
    attribute = die.attributes.get("DW_AT_name")
    return attribute.value.decode() if attribute else ""


def _number(die: Any, attribute: str, default: int = 0) -> int:
    found = die.attributes.get(attribute)
    return int(found.value) if found else default


def _type(die: Any, label: str, own: str) -> Iterator[tuple[str, str]]:
    kind = NAMED[die.tag]
    if kind == "enum":
        # Values of an enumeration without any name are constants: each stands for itself.
        above = f"{label}/enum/{own}" if own else f"{label}/constant"
        for child in die.iter_children():
            if child.tag == "DW_TAG_enumerator":
                yield f"{above}/{_name(child)}", str(_number(child, "DW_AT_const_value"))
    elif own:
        yield f"{label}/{kind}/{own}", f"{_number(die, 'DW_AT_byte_size')} bytes"
        for field, value in _fields(die, "", 0):
            yield f"{label}/{kind}/{own}/{field}", value


def _fields(die: Any, above: str, base: int) -> Iterator[tuple[str, str]]:
    nameless = 0
    for child in die.iter_children():
        if child.tag != "DW_TAG_member":
            continue
        own = _name(child)
        if not own:
            nameless += 1
            own = f"({nameless})"
        offset = base + _number(child, "DW_AT_data_member_location")
        words, size, inner = _described(child)
        if "DW_AT_data_bit_offset" in child.attributes:
            bits = _number(child, "DW_AT_data_bit_offset")
            yield above + own, f"bit {8 * base + bits}, {_number(child, 'DW_AT_bit_size')} bits, {words}"
            continue
        yield above + own, f"offset {offset}, {size} bytes, {words}"
        if inner is not None:
            each = ".(each)" if words.startswith("array") else ""
            yield from _fields(inner, f"{above}{own}{each}.", offset)


def _described(die: Any) -> tuple[str, int, Any]:
    """(words, bytes, the structure inside where it has no name of its own) of the type a member or type refers to.

    Of an array of such structures it is the first.
    """
    if "DW_AT_type" not in die.attributes:
        return "void", 0, None
    target = die.get_DIE_from_attribute("DW_AT_type")
    alias = ""
    while target.tag in THROUGH:
        alias = alias or (_name(target) if target.tag == "DW_TAG_typedef" else "")
        if "DW_AT_type" not in target.attributes:
            return "void", 0, None
        target = target.get_DIE_from_attribute("DW_AT_type")
    size = _number(target, "DW_AT_byte_size")
    if target.tag == "DW_TAG_base_type":
        return ENCODINGS.get(_number(target, "DW_AT_encoding"), "unsigned"), size, None
    if target.tag in ("DW_TAG_pointer_type", "DW_TAG_subroutine_type"):
        return "pointer", size or 8, None
    if target.tag == "DW_TAG_array_type":
        words, each, inside = _described(target)
        count = 1
        for child in target.iter_children():
            if child.tag == "DW_TAG_subrange_type":
                upper = _number(child, "DW_AT_upper_bound", -1) + 1
                count *= _number(child, "DW_AT_count", upper)
        return f"array of {count} {words}", count * each, inside
    kind = NAMED.get(target.tag, "unknown")
    own = _name(target)
    inner = None if own or alias or kind == "enum" else target
    return (f"{kind} {own or alias}".strip() if kind != "enum" else "enum"), size, inner
