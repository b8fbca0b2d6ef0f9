"""A container image as a lab, run by podman or docker, whichever is installed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field

from virtcompat.labs import SCHEMAS, Lab, LabKind, bwrap, identify
from virtcompat.model import NotHere
from virtcompat.store.releases import Release


@dataclass(frozen=True, slots=True)
class ContainerLab:
    release: str
    engine: str
    image: str
    workdir: str = bwrap.WORKDIR
    sandboxed: bool = False
    schemas: str = SCHEMAS
    versions: dict[str, str] = field(default_factory=dict)

    def fingerprint(self) -> str:
        return identify.fingerprint(self)

    def command(self, daemon: bool) -> list[str]:
        run = [self.engine, "run", "--rm", "--interactive", "--network=none", "--read-only"]
        run += ["--tmpfs", "/run", "--tmpfs", "/tmp", "--tmpfs", "/var/lib/libvirt"]  # noqa: S108 - in the container
        return bwrap.python([*run, self.image])


@dataclass(frozen=True, slots=True)
class ContainerLabKind:
    name: str = "container"
    summary: str = "a container image with libvirt and its Python binding, run by podman or docker"

    def open(self, release: Release) -> Lab | NotHere:
        engine = next((e for e in ("podman", "docker") if shutil.which(e)), "")
        if not engine:
            return NotHere("neither podman nor docker is installed", "apt-get install podman")
        return ContainerLab(release.name, engine, release.lab.get("image", ""))


LAB_KIND: LabKind = ContainerLabKind()
