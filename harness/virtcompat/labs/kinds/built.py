"""A lab built from a distribution's packages into the user's cache directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from virtcompat.labs import SCHEMAS, Lab, LabKind, build, bwrap, xen
from virtcompat.model import NotHere
from virtcompat.store import paths
from virtcompat.store.releases import Release


@dataclass(frozen=True, slots=True)
class BuiltLab:
    """A finished root with the list of the package versions in it."""

    release: str
    folder: Path
    versions: dict[str, str]
    digest: str
    workdir: str = bwrap.WORKDIR
    sandboxed: bool = True
    schemas: str = SCHEMAS

    def fingerprint(self) -> str:
        return self.digest

    def command(self, daemon: bool) -> list[str]:
        cache = paths.cache_dir() / "qemu-capabilities" / f"{self.digest[:16]}-{'system' if daemon else 'user'}"
        return bwrap.python(bwrap.command(self.folder / "root", daemon, cache))


def plain(release: Release, made: build.Made) -> BuiltLab:
    """The lab as its root alone, without what a flavour runs beside it."""
    return BuiltLab(release.name, made.folder, made.versions, made.digest)


@dataclass(frozen=True, slots=True)
class BuiltLabKind:
    name: str = "built"
    summary: str = "a root made of the release's packages by mmdebstrap, entered with bubblewrap"

    def open(self, release: Release) -> Lab | NotHere:
        if not bwrap.available():
            return NotHere("bubblewrap is not installed", "apt-get install bubblewrap")
        made = build.find(release)
        if made is None:
            return NotHere(f"the lab of {release.name} is not built", f"virt-compat lab create {release.name}")
        lab = plain(release, made)
        return xen.lab(lab, made) if release.flavour == xen.FLAVOUR else lab


LAB_KIND: LabKind = BuiltLabKind()
