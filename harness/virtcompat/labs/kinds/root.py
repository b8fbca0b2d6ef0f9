"""A lab in any root directory that exists: a chroot, an unpacked image, another system's mounted disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from virtcompat.labs import SCHEMAS, Lab, LabKind, bwrap, identify
from virtcompat.model import NotHere
from virtcompat.store.releases import Release


@dataclass(frozen=True, slots=True)
class RootLab:
    release: str
    root: Path
    workdir: str = bwrap.WORKDIR
    sandboxed: bool = True
    schemas: str = SCHEMAS
    versions: dict[str, str] = field(default_factory=dict)

    def fingerprint(self) -> str:
        return identify.fingerprint(self)

    def command(self, daemon: bool) -> list[str]:
        return bwrap.python(bwrap.command(self.root, daemon, None))


@dataclass(frozen=True, slots=True)
class RootLabKind:
    name: str = "root"
    summary: str = "an existing root directory, entered read-only with bubblewrap"

    def open(self, release: Release) -> Lab | NotHere:
        root = Path(release.lab.get("path", ""))
        if not bwrap.available():
            return NotHere("bubblewrap is not installed", "apt-get install bubblewrap")
        if not (root / "usr").is_dir():
            return NotHere(f"{root}: no root file system there", f"virt-compat lab remove {release.name}")
        return RootLab(release.name, root)


LAB_KIND: LabKind = RootLabKind()
