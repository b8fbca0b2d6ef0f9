"""libvirt's C API: what a program that was compiled and linked against one release finds in another.

Three parts, no fact in two of them: what the shared libraries export (``symbols``), what libvirt's own description
says of functions, callbacks, types and values (``api``), and what a compiler makes of the public headers
(``layouts``). Where the headers give a value of an enumeration that the description does not, ``layouts`` has it
as ``…/compiled``: programs get that one, language bindings the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from virtcompat import capi, dwarf, elf
from virtcompat.errors import Absent, BadData
from virtcompat.labs.compiler import layouts_of, macros_of
from virtcompat.labs.visit import Visit, one
from virtcompat.model import Change, Finding, Tier
from virtcompat.surfaces import RecordedSurface

LIBRARIES = ("libvirt", "libvirt-qemu", "libvirt-lxc", "libvirt-admin")
DESCRIPTIONS = "/usr/share/libvirt/api/"
HEADERS = "/usr/include/libvirt/"
UNITS = ("libvirt", "virterror", "libvirt-qemu", "libvirt-lxc", "libvirt-admin")
SOURCE = "".join(f"#include <libvirt/{unit}.h>\n" for unit in UNITS)
FLAGS = ("-DVIR_ENUM_SENTINELS",)
#: Nodes of what libvirt's own daemons and drivers share; programs are not given it, and the version is in the name.
PRIVATE = "_PRIVATE_"


def symbols(visit: Visit) -> dict[str, str]:
    """What each library exports to programs: ``libvirt/symbol/virConnectOpen/LIBVIRT_0.0.3 = function``.

    A symbol under two nodes has two facts: an old node may stay for old programs when a new one comes.
    """
    found: dict[str, str] = {}
    for name in LIBRARIES:
        found |= exported(name, *visit.library(f"{name}.so.0"))
    return found


def exported(name: str, file: str, data: bytes) -> dict[str, str]:
    """What one library exports to programs, private nodes left out."""
    library = elf.library(data, file)
    public = [symbol for symbol in library.exports if PRIVATE not in symbol.node]
    if not public:
        raise BadData(file, "exports no public symbol", elf.REMEDY)
    found = {f"{name}/soname": library.soname}
    for symbol in public:
        value = symbol.kind if symbol.kind == "function" else f"object of {symbol.size} bytes"
        found[f"{name}/symbol/{symbol.name}/{symbol.node or '(no node)'}"] = value
    return found


def api(visit: Visit) -> dict[str, str]:
    """What the installed descriptions say; without the values of plain macros, which ``layouts`` has."""
    wanted = {name: f"{DESCRIPTIONS}{name}-api.xml" for name in LIBRARIES}
    files = {name: one(visit, "API description", "libvirt-dev", path)[path] for name, path in wanted.items()}
    return dict(_described(tuple(files.items())))


@lru_cache(maxsize=1)
def _described(files: tuple[tuple[str, bytes], ...]) -> Mapping[str, str]:
    """Two parts want the same descriptions one after the other."""
    return capi.described(dict(files))


def layouts(visit: Visit) -> dict[str, str]:
    """Structures, macros and whatever values differ from the description, as compiled from the public headers."""
    files = one(visit, "public headers", "libvirt-dev", f"{HEADERS}*.h")
    missing = [unit for unit in UNITS if f"{HEADERS}{unit}.h" not in files]
    if missing:
        raise Absent(f"{visit.release}: no header {', '.join(missing)}", "install libvirt-dev in the lab")
    compiled = dwarf.layouts(layouts_of(files, SOURCE, FLAGS), "libvirt's headers", _library)
    found = {path: value for path, value in compiled.items() if "/struct/" in path or "/union/" in path}
    if not found:
        raise BadData(HEADERS, "declare no structure", "reinstall libvirt-dev in the lab")
    for name, (file, value) in macros_of(files, SOURCE, FLAGS).items():
        if value and not name.startswith("__") and (library := _library(file)):  # include guards have none
            constant = value.lstrip("-").isdigit() or value.startswith('"')
            found[f"{library}/macro/{name}{'' if constant else '/text'}"] = value
    return found | dict(_misdescribed(compiled, api(visit)))


def _library(file: str) -> str:
    """The library whose header a file is, empty where it is none of libvirt's."""
    if HEADERS.lstrip("/") not in file:
        return ""
    stem = file.rpartition("/")[2].removesuffix(".h")
    return stem if stem in LIBRARIES else "libvirt"


def _misdescribed(compiled: Mapping[str, str], said: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    def values(facts: Mapping[str, str]) -> dict[str, str]:
        chosen = {p: v for p, v in facts.items() if "/enum/" in p or "/constant/" in p}
        return {p: v for p, v in chosen.items() if not p.endswith("/since")}

    ours, theirs = values(compiled), values(said)
    for path in ours.keys() | theirs.keys():
        if ours.get(path) != theirs.get(path):
            yield f"{path}/compiled", ours.get(path, "(not in the headers)")


TYPED = ("/function/", "/callback/", "/typedef/", "/variable/")


def retyped(old: Mapping[str, str], new: Mapping[str, str], back: bool) -> Iterator[Finding]:
    """Changed signatures and types: const alone changes no machine code, but may stop a program from compiling."""
    del back
    for path, was in old.items():
        now = new.get(path, was)
        if was != now and any(kind in path for kind in TYPED):
            tier = Tier.RISK if capi.plain(was) == capi.plain(now) else Tier.BREAK
            yield Finding(path, Change.CHANGED, tier, was, now, "libvirt")


SURFACE = RecordedSurface(
    name="c-api",
    summary="C API: exported symbols, signatures, values and layouts that compiled programs rely on",
    product="libvirt",
    parts={"symbols": symbols, "api": api, "layouts": layouts},
    rules=(
        # Sentinels move with every new value; upstream hides them unless asked for, so nobody may rely on them.
        # VIR_NETWORK_UPDATE_COMMAND_ADD_LAST is none: it adds at the end of a list.
        (r"/enum/[^/]+/\w+(?<!_ADD)_(?:LAST|NR)(?:/|$)", Tier.IDENTICAL, Tier.IDENTICAL, Tier.IDENTICAL),
        # Values are judged by ``retyped``.
        (r"/(?:function|callback|typedef|variable)/[^/]+$", Tier.IDENTICAL, Tier.ADDITION, Tier.BREAK),
        # From here on programs and the description part ways, or no longer do: one of them sees another value.
        (r"/compiled$", Tier.BREAK, Tier.BREAK, Tier.BREAK),
        # In a structure that keeps its size: a program that was compiled before leaves it unset.
        (r"/(?:struct|union)/[^/]+/[^/]+$", Tier.BREAK, Tier.RISK, Tier.BREAK),
        # What a macro expands to is compiled in: a limit may be raised, another text may mean the same.
        (r"/macro/(?:\w+/text|\w*_MAX(?:_\w+)?)$", Tier.RISK, Tier.ADDITION, Tier.BREAK),
    ),
    ignored=(r"/since$", r"^libvirt/macro/LIBVIR_VERSION_NUMBER$"),
    special=retyped,
)
