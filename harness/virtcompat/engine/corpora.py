"""Somebody else's documents as fixtures: a directory of a user's own guests, or thousands of test documents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lxml import etree

from virtcompat import drivers
from virtcompat.documents import KIND_OF_ROOT
from virtcompat.drivers import Role
from virtcompat.errors import UsageError
from virtcompat.model import Fixture
from virtcompat.store import fixtures, golden, releases, tables


def load(folder: Path) -> tuple[list[Fixture], list[str]]:
    """Every distinct document below a directory, and why others were left out. UsageError where there is none."""
    skipped: list[str] = []
    found = [
        replace(document, drivers=takers(document.kind))
        for document in fixtures.corpus(folder, KIND_OF_ROOT, machines(), skipped)
    ]
    if not found:
        why = f" ({skipped[0]})" if skipped else ""
        raise UsageError(
            f"{folder}: no document of a known kind below it{why}", "name a directory of libvirt XML files"
        )
    return found, skipped


def takers(kind: str) -> tuple[str, ...]:
    """The drivers that somebody's document is given to: QEMU's and the test driver, else the secondary driver of its kind."""
    asked = [d for d in drivers.every().values() if d.name in ("qemu", "test") or d.role is Role.SECONDARY]
    return tuple(d.name for d in asked if kind in d.kinds)


def machines() -> dict[str, str]:
    """x86 machine alias -> the newest versioned type of its family that every recorded release has."""
    listed = [_machines(r.name) for r in releases.shipped() if golden.provenance(r.name)]
    if not listed:
        return {}
    common = set.intersection(*(names for names, _ in listed))
    pinned = {}
    for alias, canonical in listed[-1][1].items():
        family = canonical.rpartition("-")[0] + "-"
        versions = [m for m in common if m.startswith(family) and m[len(family) :].replace(".", "").isdigit()]
        if versions:
            pinned[alias] = max(versions, key=lambda m: tables.version(m[len(family) :]))
    # libvirt's choice for a guest that names no machine.
    return {**pinned, "": pinned["pc"]} if "pc" in pinned else pinned


def _machines(release: str) -> tuple[set[str], dict[str, str]]:
    """(machine types, alias -> type) of a release's x86_64 QEMU, from its golden capabilities."""
    file = golden.folder() / release / "capabilities" / "qemu" / "capabilities.xml"
    if not file.exists():
        return set(), {}
    found = etree.parse(file).findall("guest/arch[@name='x86_64']/machine")
    aliases = {m.text or "": m.get("canonical", "") for m in found if m.get("canonical")}
    return {m.text or "" for m in found} | set(aliases.values()), aliases
