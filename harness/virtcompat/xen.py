"""Xen's public headers as facts: operations, constants, structures, in words that mere re-spelling does not change.

A header is an interface group (``domctl``, ``event-channel``, ``io-blkif``). Read as a 64-bit x86 toolstack sees them:
the headers of other architectures, the 32-bit ones and their copies for foreign builds say the same things again.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping

from virtcompat.elf import Library

ROOT = "usr/include/xen/"
#: Headers that are no part of this view; the last four are Linux's, from another package.
OUT = re.compile(r"foreign/|arch-(?!x86)|.*x86_32|dom0_ops|xencomm|tmem|(?:evtchn|gntalloc|gntdev|privcmd)\.h")
FLAGS = ("-D__XEN_TOOLS__",)
START = "".join(f"#include <{name}.h>\n" for name in ("stdint", "stddef", "string", "sys/types"))
NATIVE = "#ifndef __x86_64__\n#error recorded for x86-64, by a compiler for x86-64\n#endif\n"
GROUPS = {
    "arch-x86_64": "arch-x86", "arch-x86/xen": "arch-x86", "arch-x86/xen-x86_64": "arch-x86",
    "arch-x86/guest-acpi": "arch-x86", "arch-x86/hvm/save": "hvm-save", "arch-x86/hvm/start_info": "start-info",
    "hvm/dm_op": "dm-op", "xsm/flask_op": "flask",
}  # fmt: skip
VERSION = re.compile(r"[A-Z]\w*_INTERFACE_VERSION|HVM_FILE_VERSION")
OPERATION = re.compile(
    r"XEN_(?:DOMCTL|SYSCTL|DMOP|MC)_[a-z]|XEN(?:PF|PMU)_[a-z]|XENMEM_(?!resource_)[a-z]|XEN_(?:ARGO|HYPFS)_OP_"
    r"|(?:EVTCHN|PHYSDEV|HVM|SCHED|VCPU|CALLBACK|GNTTAB)OP_|XENVER_|XENNMI_|KEXEC_CMD_|MMUEXT_|FLASK_|XENOPROF_"
    r"|VMASST_CMD_|CONSOLEIO_"
)
#: Means of the C language; what they do to the ABI shows in the structures.
LANGUAGE = re.compile(
    r"PRI[a-z]*_|XEN(?:PV)?_FLEX_ARRAY_DIM|__XEN_INTERFACE_VERSION__|XEN_HAVE_|XEN_(?:CPUID|EMULATE_PREFIX)$"
)
#: An expression that the compiler makes an integer of: sizes of types, characters, numbers and operators.
COMPUTED = re.compile(
    r"(?:sizeof\s*\(\s*(?:struct )?\w+\s*\)|'.'|\b0[xX][0-9a-fA-F]+[uUlL]*|\b\d+[uUlL]*|[\s()+*/%<>|&~-])+"
)
#: Structures that only serve one side's own code.
PRIVATE = re.compile(r"/struct/(?:__guest_handle_\w+|\w+_(?:front|back)_ring)(?:/|$)")
HANDLE = re.compile(r"struct __guest_handle_(?:64_)?(?:const_)?(\w+?)(?:_t)?$")
SAVED = re.compile(r"/struct/__HVM_SAVE_TYPE_(\w+)(?:/(\w+))?$")
#: What a program may use of a library that exports its own insides too.
PUBLIC = {"libxenlight": r"libxl_(?!_)", "libxlutil": r"xlu_(?!_)", "libxenctrl": r"xc_", "libxenguest": r"xc_"}
SIZED = re.compile(r"offset (\d+), (\d+) bytes, (.*)")
FLEXIBLE = re.compile(r"array of [01] (.*)")


def headers(files: Iterable[str]) -> list[str]:
    """The headers of this view, relative to the root, in an order in which they can be included."""
    names = sorted(f.partition(ROOT)[2] for f in files if f.endswith(".h") and ROOT in f)
    return sorted((n for n in names if not OUT.match(n)), key=lambda n: (n != "xen.h", n.startswith("arch-"), n))


def source(names: Iterable[str], more: str = "") -> str:
    """A C source that includes these headers."""
    return NATIVE + START + "".join(f"#include <xen/{name}>\n" for name in names) + more


def group(file: str, name: str = "") -> str:
    """The interface group of a header by the path that a compiler gives it; empty for any other file."""
    header = posixpath.normpath(file).partition(ROOT)[2].removesuffix(".h")
    if not header or not file.endswith(".h"):
        return ""
    if header == "hvm/hvm_op" and "altp2m" in name.lower():
        return "hvm-altp2m"  # has an interface version of its own
    short = re.sub(r"^(?:arch-x86/|hvm/(?=hvm_))", "", header)
    return GROUPS.get(header) or re.sub(r"[/_]", "-", short)


def computed(macros: Mapping[str, tuple[str, str]]) -> list[str]:
    """The macros whose value only the compiler can work out."""
    return [name for name, (_, text) in macros.items() if not integral(text) and COMPUTED.fullmatch(text)]


def integral(text: str) -> bool:
    return re.fullmatch(r"-?\d+", text) is not None


def constants(macros: Mapping[str, tuple[str, str]], known: Mapping[str, str]) -> dict[str, str]:
    """Facts of the macros that are integers or strings; ``known``: values that the compiler worked out.

    ``domctl/interface-version = 0x17``, ``domctl/operation/XEN_DOMCTL_createdomain = 1``, ``xen/hypercall/…``,
    ``grant-table/constant/GNTST_eagain = -12``.
    """
    found = {}
    for name, (file, text) in macros.items():
        above, value = group(file, name), known.get(name, text)
        if not above or LANGUAGE.match(name) or not (integral(value) or value.startswith('"')):
            continue
        if VERSION.fullmatch(name):
            found[f"{above}/interface-version"] = hex(int(value))
        elif name == "__XEN_LATEST_INTERFACE_VERSION__":
            found[f"{above}/latest"] = f"{int(value):#010x}"
        else:
            kind = (
                "hypercall"
                if name.startswith("__HYPERVISOR_")
                else "operation"
                if OPERATION.match(name)
                else "constant"
            )
            found[f"{above}/{kind}/{name}"] = hex(int(value)) if integral(value) and int(value) > 0xFFF else value
    return found


def structures(facts: Mapping[str, str]) -> dict[str, str]:
    """DWARF facts of structures and unions in normal form.

    Handles are named by what they point to (``handle of uint8``). The last field of a structure that is an array of
    none or one is a flexible array, however it is written; sizes are those without it. A record of a saved guest is
    ``hvm-save/record/CPU = code 2, struct hvm_hw_cpu``.
    """
    found: dict[str, str] = {}
    for path, value in facts.items():
        if "/enum/" in path or "/constant/" in path or PRIVATE.search(path):
            continue
        if saved := SAVED.search(path):
            if not saved[2]:
                found[path[: saved.start()] + f"/record/{saved[1]}"] = _record(facts, path)
            continue
        if "/struct/" in path and "altp2m" in path:
            path = path.replace("hvm-op/", "hvm-altp2m/", 1)
        found[path] = HANDLE.sub(r"handle of \1", value)
    _flexible(found)
    return found


def _record(facts: Mapping[str, str], path: str) -> str:
    code, what = (SIZED.fullmatch(facts[f"{path}/{field}"]) for field in ("c", "t"))
    assert code is not None
    assert what is not None
    return f"code {code[2]}, {what[3]}"


def _flexible(found: dict[str, str]) -> None:
    """Write what ends with an array of unsaid length, in itself or in a part of it, as of no fixed size."""
    fields: dict[str, list[str]] = {}
    for path in found:
        if path.count("/") > 2:
            fields.setdefault("/".join(path.split("/")[:3]), []).append(path)
    ends: set[str] = set()  # "struct NAME"
    for path, own in fields.items():
        last = max(own, key=lambda f: (_start(found[f]), "." not in f))
        sized = SIZED.fullmatch(found[last])
        if "/struct/" in path and sized and (array := FLEXIBLE.fullmatch(sized[3])) and "." not in last:
            found[last] = f"offset {sized[1]}, flexible array of {array[1]}"
            ends.add(_type(path))
    grown = True
    while grown:
        grown = False
        for path, own in fields.items():
            inside = [f for f in own if (sized := SIZED.fullmatch(found[f])) and sized[3] in ends]
            for field in [f for f in own if f in inside or any(i.startswith(f + ".") for i in inside)]:
                found[field] = SIZED.sub(r"offset \1, no fixed size, \3", found[field])
                ends.add(_type(path))
                grown = True
    for path in fields:
        if _type(path) in ends:
            found[path] = "no fixed size"


def _type(path: str) -> str:
    return " ".join(path.split("/")[1:3])


def _start(value: str) -> int:
    number = re.search(r"\d+", value)
    return int(number[0]) if number else -1


def library(name: str, found: Library) -> Iterator[tuple[str, str]]:
    """Facts of a library's soname and public symbols: ``libxencall/symbol/xencall_open = VERS_1.0``."""
    yield f"{name}/soname", found.soname
    release = re.search(r"\.so\.(\d+\.\d+)$", found.soname)
    # Where the soname is the release, the node says it again: each symbol would be another one in each release.
    again = re.compile(rf"\w+_{re.escape(release[1])}(?:\.0)?$") if release else None
    for symbol in found.exports:
        if re.match(PUBLIC.get(name, ""), symbol.name):
            node = "" if again and again.match(symbol.node) else symbol.node
            words = [node, f"object of {symbol.size} bytes" if symbol.kind == "object" else ""]
            yield f"{name}/symbol/{symbol.name}", ", ".join(w for w in words if w) or "function"


def libxl(label: str, macros: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Facts of libxl's macros: what it says that it has, and its constants."""
    found = {}
    for name, (_, value) in macros.items():
        if name.startswith("LIBXL_HAVE_"):
            found[f"{label}/have/{name}"] = "yes"
        elif name.startswith("LIBXL_") and integral(value):
            found[f"{label}/constant/{name}"] = value
    return found
