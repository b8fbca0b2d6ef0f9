"""Labs: where a release's real binaries run. A lab only knows how to start a probe; only this package starts processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from virtcompat import registry
from virtcompat.errors import UsageError
from virtcompat.model import NotHere
from virtcompat.store.releases import Release

#: What a lab's Python runs. It first starts itself anew without address-space randomization (ADDR_NO_RANDOMIZE), so that
#: what depends on addresses does the same each time; then it reads the probe's length and source and becomes it.
BOOTSTRAP = """import sys
if len(sys.argv) == 1:
    import ctypes, os
    ctypes.CDLL(None).personality(0x0040000)
    os.execv(sys.executable, open("/proc/self/cmdline").read().split(chr(0))[:-1] + ["again"])
n = int(sys.stdin.readline())
exec(compile(sys.stdin.read(n), "virt-compat-probe", "exec"))"""

SCHEMAS = "/usr/share/libvirt/schemas/*.rng"


def within(command: Sequence[str], *arguments: str) -> list[str] | None:
    """A lab's command with further arguments for its sandbox; None where bubblewrap does not enter it."""
    if command[0] != "bwrap" or "--chdir" not in command:
        return None
    at = list(command).index("--chdir")
    return [*command[:at], *arguments, *command[at:]]


class Lab(Protocol):
    """Binaries of one release, ready to start a probe in.

    workdir: a directory inside that the probe may write to and that is gone with it.
    fingerprint: digests everything in the lab that can change an answer.
    versions: package -> version, empty where the lab has no packages.
    sandboxed: whether a system daemon may be started in it without touching the machine's own.
    schemas: pattern of its RELAX NG files.
    """

    @property
    def release(self) -> str: ...
    @property
    def workdir(self) -> str: ...
    @property
    def versions(self) -> dict[str, str]: ...
    @property
    def sandboxed(self) -> bool: ...
    @property
    def schemas(self) -> str: ...
    def fingerprint(self) -> str: ...
    def command(self, daemon: bool) -> list[str]: ...


class LabKind(Protocol):
    """One way of having a lab. ``open`` never builds and never raises for what is missing: it says so."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    def open(self, release: Release) -> Lab | NotHere: ...


def lab_kinds() -> dict[str, LabKind]:
    return registry.members("virtcompat.labs.kinds", "LAB_KIND")


def open_lab(release: Release) -> Lab | NotHere:
    """The lab of a release, if this machine has it."""
    kind = release.lab.get("kind", "built")
    if kind not in lab_kinds():
        remedy = f"use one of: {', '.join(lab_kinds())}; or 'virt-compat lab remove {release.name}'"
        raise UsageError(f"release {release.name}: no lab kind '{kind}'", remedy)
    return lab_kinds()[kind].open(release)
