"""Another host over ssh as a lab: its libvirt, its binding, a directory of ours below its /tmp."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass, field

from virtcompat.labs import BOOTSTRAP, SCHEMAS, Lab, LabKind, identify
from virtcompat.model import NotHere
from virtcompat.store.releases import Release


@dataclass(frozen=True, slots=True)
class SshLab:
    release: str
    host: str
    workdir: str = "/tmp/virt-compat-{pid}"  # noqa: S108 - on the other host, made and removed by the probe
    sandboxed: bool = False
    schemas: str = SCHEMAS
    versions: dict[str, str] = field(default_factory=dict)

    def fingerprint(self) -> str:
        return identify.fingerprint(self)

    def command(self, daemon: bool) -> list[str]:
        remote = shlex.join(["python3", "-u", "-c", BOOTSTRAP])
        return ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", self.host, remote]


@dataclass(frozen=True, slots=True)
class SshLabKind:
    name: str = "ssh"
    summary: str = "another host's libvirt over ssh, without anything installed there by us"

    def open(self, release: Release) -> Lab | NotHere:
        if not shutil.which("ssh"):
            return NotHere("ssh is not installed", "apt-get install openssh-client")
        return SshLab(release.name, release.lab.get("host", ""))


LAB_KIND: LabKind = SshLabKind()
