"""The machine itself as a lab: its own libvirt, entered read-only like any other root."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from virtcompat.labs import SCHEMAS, Lab, LabKind, bwrap, identify
from virtcompat.model import NotHere
from virtcompat.store.releases import Release


@dataclass(frozen=True, slots=True)
class HostLab:
    release: str
    workdir: str = bwrap.WORKDIR
    sandboxed: bool = True
    schemas: str = SCHEMAS
    versions: dict[str, str] = field(default_factory=dict)

    def fingerprint(self) -> str:
        return identify.fingerprint(self)

    def command(self, daemon: bool) -> list[str]:
        # The system's own interpreter: libvirt's binding is packaged for that one.
        return bwrap.python(bwrap.command(Path("/"), daemon, None), "/usr/bin/python3")


@dataclass(frozen=True, slots=True)
class HostLabKind:
    name: str = "host"
    summary: str = "this machine's own libvirt, entered read-only with bubblewrap"

    def open(self, release: Release) -> Lab | NotHere:
        if not bwrap.available():
            return NotHere("bubblewrap is not installed", "apt-get install bubblewrap")
        if not list(Path("/usr/lib/python3/dist-packages").glob("libvirtmod*.so")):
            return NotHere("this machine has no libvirt binding for Python", "apt-get install python3-libvirt")
        return HostLab(release.name)


LAB_KIND: LabKind = HostLabKind()
