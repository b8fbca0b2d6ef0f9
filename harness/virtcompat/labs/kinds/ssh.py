"""Another host over ssh as a lab: its libvirt, its binding, a directory of ours below its /tmp that is gone with the probe."""

from __future__ import annotations

import hashlib
import shlex
import shutil
from dataclasses import dataclass, field
from functools import cache

from virtcompat.labs import SCHEMAS, Lab, LabKind, identify
from virtcompat.model import NotHere
from virtcompat.store import paths
from virtcompat.store.releases import Release

PROGRAM = paths.PACKAGE / "probes" / "far_start.py"
#: No questions that nobody answers, nothing of the user's own settings that opens ports; a link that is dead is noticed.
OPTIONS = {
    "BatchMode": "yes", "ConnectTimeout": "10", "ServerAliveInterval": "15", "ServerAliveCountMax": "4",
    "RequestTTY": "no", "ForwardAgent": "no", "ForwardX11": "no", "ClearAllForwardings": "yes", "LogLevel": "ERROR",
}  # fmt: skip
#: As in a sandbox: what is said in a language, in an encoding, or out of memory that was freed.
ENVIRONMENT = {
    "LC_ALL": "C.UTF-8", "LANGUAGE": "C", "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1",
    "MALLOC_PERTURB_": "165", "GLIBC_TUNABLES": "glibc.malloc.perturb=165",
}  # fmt: skip


@cache
def _program() -> str:
    """The keeper's program on one line, without what any shell takes for its own within single quotes."""
    text = PROGRAM.read_text(encoding="utf-8")
    return f'exec("{"".join(_harmless(character) for character in text)}")'


def _harmless(character: str) -> str:
    # csh looks for ! and ends at a newline even within quotes, fish takes a backslash before them for an escape.
    if character == "\n":
        return r"\n"
    return character if character.isascii() and character not in "\"'\\!" else f"\\u{ord(character):04x}"


@dataclass(frozen=True, slots=True)
class SshLab:
    """target: ssh's own words: options, the host, then what stands before a command there (``sudo``, ``chroot DIR``)."""

    release: str
    target: tuple[str, ...]
    interpreter: str = "python3"
    workdir: str = "/tmp/virt-compat-{pid}"  # noqa: S108 - on the other host, made and removed by the program
    sandboxed: bool = False
    schemas: str = SCHEMAS
    versions: dict[str, str] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """The binaries that answer, and where: beside the same binaries another host has other hypervisors."""
        body = "\0".join((identify.fingerprint(self), *self.target))
        return hashlib.sha256(body.encode()).hexdigest()

    def command(self, daemon: bool) -> list[str]:
        settings = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        remote = shlex.join(["env", *settings, self.interpreter, "-u", "-c", _program()])
        options = [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", *options, *self.target, remote]


@dataclass(frozen=True, slots=True)
class SshLabKind:
    name: str = "ssh"
    summary: str = "another host's libvirt over ssh, without anything installed there by us"

    def open(self, release: Release) -> Lab | NotHere:
        if not shutil.which("ssh"):
            return NotHere("ssh is not installed", "apt-get install openssh-client")
        target = tuple(shlex.split(release.lab.get("host", "")))
        if not target:
            return NotHere(f"{release.name} names no host", f"virt-compat lab remove {release.name}")
        return SshLab(release.name, target, release.lab.get("python", "python3"))


LAB_KIND: LabKind = SshLabKind()
