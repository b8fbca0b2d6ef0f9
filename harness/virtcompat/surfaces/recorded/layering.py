"""Layering of libvirt's installed modules: which driver's module needs which other, by its symbols or its linking.

libvirt's own rule (``src/README``) is that no driver depends on another, since each can be absent. A symbol is looked
for in libvirt's libraries first; what only another module defines is a need of that module. What other libraries a
module needs is recorded for people and not compared. The same rule in a source tree: ``virtcompat.layers``.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping

from virtcompat import elf
from virtcompat.elf import Library
from virtcompat.labs.visit import Visit, one
from virtcompat.model import Tier
from virtcompat.surfaces import RecordedSurface

FOLDERS = ("connection-driver", "storage-backend", "storage-file", "lock-driver")
LIBDIRS = ("/usr/lib/*", "/usr/lib64", "/usr/lib")
STEM = re.compile(r"^libvirt_(?:driver|storage_backend|storage_file)_")


def modules(visit: Visit) -> dict[str, str]:
    """Every installed module and what it needs of libvirt.

    ``storage-backend/zfs = libvirt_storage_backend_zfs.so``, ``…/needs/[connection-driver/storage] = symbols: …`` (or
    ``linked``), ``…/library/libvirt.so.0 = needed``, ``…/unresolved = …`` (libvirt's names that nobody here defines),
    ``…/(others) = …``.
    """
    files = one(visit, "driver modules", "libvirt-daemon and the libvirt-daemon-driver-… packages", *_patterns())
    path, data = visit.library("libvirt.so.0")
    others = visit.read(*(f"{libdir}/libvirt-*.so.0" for libdir in LIBDIRS))
    core = [elf.library(data, path), *(elf.library(d, p) for p, d in sorted(others.items()))]
    found = {_name(p): (posixpath.basename(p), elf.library(d, p)) for p, d in files.items()}
    facts: dict[str, str] = {}
    for name, (file, module) in found.items():
        rest = {other: library for other, (_, library) in found.items() if other != name}
        facts[name] = file
        facts |= {f"{name}/{below}": value for below, value in _needs(module, core, rest).items()}
    return facts


def _patterns() -> Iterable[str]:
    return (f"{libdir}/libvirt/{folder}/*.so" for libdir in LIBDIRS for folder in FOLDERS)


def _name(path: str) -> str:
    folder, file = path.split("/")[-2:]
    return f"{folder}/{STEM.sub('', file).removesuffix('.so')}"


def _needs(module: Library, core: Iterable[Library], rest: Mapping[str, Library]) -> dict[str, str]:
    """What one module needs: of the other modules, of libvirt's libraries, of anybody else."""
    resolved = {symbol.name for library in core for symbol in library.exports}
    wanted = {name: node for name, node in module.imports.items() if name not in resolved}
    facts = {f"library/{soname}": "needed" for soname in module.needed if re.match(r"libvirt(-\w+)?\.so", soname)}
    everywhere: set[str] = set()
    for other, library in rest.items():
        defined = {symbol.name for symbol in library.exports}
        symbols = sorted(name for name, node in wanted.items() if name in defined and not node)
        linked = library.soname in module.needed if library.soname else False
        everywhere |= set(symbols)
        if symbols or linked:
            said = ("linked" if linked else "", f"symbols: {' '.join(symbols)}" if symbols else "")
            facts[f"needs/[{other}]"] = "; ".join(word for word in said if word)
    lost = sorted(n for n, node in wanted.items() if re.match(r"_?vir[A-Z]|xdr_vir", n) and n not in everywhere)
    if lost:
        facts["unresolved"] = " ".join(lost)
    foreign = sorted(soname for soname in module.needed if not soname.startswith("libvirt"))
    return facts | ({"(others)": " ".join(foreign)} if foreign else {})


SURFACE = RecordedSurface(
    name="layering",
    summary="Which of libvirt's driver modules needs which other",
    product="libvirt",
    parts={"modules": modules},
    interface=r"[^/]+/[^/]+",
    rules=(
        # The rule that no driver needs another is for those who install a part of them: more needed, more can be missing.
        (r"/needs/", Tier.ADDITION, Tier.RISK, Tier.ADDITION),
        (r"/unresolved$", Tier.RISK, Tier.RISK, Tier.ADDITION),
        (r"/library/", Tier.ADDITION, Tier.ADDITION, Tier.ADDITION),
        # A module that is gone may have become part of the library, or of another package that the lab does not have:
        # what the driver did is asked elsewhere, here it is only a question to put.
        (r"^[^/]+(/[^/]+)?$", Tier.ADDITION, Tier.ADDITION, Tier.RISK),
    ),
    ignored=(r"/\(others\)$",),
)
