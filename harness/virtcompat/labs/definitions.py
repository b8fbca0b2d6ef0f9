"""What a host keeps: its libvirt's own definitions, read through virsh over a read-only connection; nothing is changed there."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from virtcompat.errors import LabError

#: kind -> (how virsh lists it, how it writes one).
COMMANDS = {
    "domain": ("list", "dumpxml"),
    "network": ("net-list", "net-dumpxml"),
    "storagepool": ("pool-list", "pool-dumpxml"),
}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Objects asked for in one start of virsh.
BATCH = 50
DAEMONS = ("virtqemud", "libvirtd")
EMULATORS = ("qemu-system-x86_64", "qemu-kvm", "kvm")


@dataclass(frozen=True, slots=True)
class Failed:
    """virsh's words where it did not answer."""

    words: str


@dataclass(frozen=True, slots=True)
class Virsh:
    """One libvirt behind a URI. prefix: the command that is virsh; limit: seconds for one start of it."""

    uri: str
    prefix: tuple[str, ...] = ("virsh",)
    limit: float = 120.0

    def versions(self) -> tuple[str, str]:
        """(libvirt, QEMU) that run behind the URI; QEMU is empty where another hypervisor does. LabError: no connection."""
        said = self._said("version --daemon")
        if isinstance(said, Failed):
            raise LabError(f"{self.uri}: {said.words}", "try it by hand: virsh -r -c URI list --all")
        daemon = re.search(r"daemon: (\S+)", said) or re.search(r"Using library: libvirt (\S+)", said)
        qemu = re.search(r"hypervisor: QEMU (\S+)", said)
        return daemon[1] if daemon else "", qemu[1] if qemu else ""

    def uuids(self, kind: str) -> list[str] | Failed:
        """The objects of a kind, running or not."""
        said = self._said(f"{COMMANDS[kind][0]} --all --uuid")
        return said if isinstance(said, Failed) else [u for u in said.split() if UUID.fullmatch(u)]

    def texts(self, kind: str, uuids: Sequence[str], read: Callable[[int, int], None]) -> list[str | Failed]:
        """The definition of each object as it is when that does not run. read: told how many of how many are read."""
        found: list[str | Failed] = []
        for start in range(0, len(uuids), BATCH):
            found += self._batch(kind, uuids[start : start + BATCH])
            read(len(found), len(uuids))
        return found

    def _batch(self, kind: str, uuids: Sequence[str]) -> list[str | Failed]:
        # A word that no definition can hold parts the answers; virsh goes on where one of them fails.
        mark = secrets.token_hex(16)
        write = COMMANDS[kind][1]
        said = self._said("; ".join(f"{write} --inactive {u}; echo {mark}" for u in uuids))
        if isinstance(said, Failed):
            return [said] * len(uuids)
        texts = [part.strip() for part in said.split(mark)][: len(uuids)]
        texts += [""] * (len(uuids) - len(texts))
        # The test driver knows no inactive form of a network or pool, and an object may be gone by now.
        return [t or self._said(f"{write} {u}") or Failed("gone") for t, u in zip(texts, uuids, strict=True)]

    def _said(self, command: str) -> str | Failed:
        argv = [*self.prefix, "--readonly", "--quiet", f"--connect={self.uri}", command]
        try:
            done = subprocess.run(
                argv, capture_output=True, check=False, timeout=self.limit, stdin=subprocess.DEVNULL,
                env={**os.environ, "LC_ALL": "C"},
            )  # fmt: skip
        except OSError as error:
            raise LabError(
                f"cannot run {self.prefix[0]}: {error.strerror}", "apt-get install libvirt-clients"
            ) from error
        except subprocess.TimeoutExpired:
            return Failed(f"virsh gave no answer within {self.limit:g} s")
        out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        if done.returncode and not out.strip():
            lines = err.strip().splitlines()
            errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
            return Failed("; ".join(errors or lines) or f"virsh ended with {done.returncode}")
        return out


def host() -> tuple[str, str] | None:
    """(libvirt, QEMU) of this machine as its daemon and its emulator say; None where it runs no libvirt daemon."""
    libvirt = next(filter(None, map(_version, DAEMONS)), "")
    return (libvirt, next(filter(None, map(_version, EMULATORS)), "")) if libvirt else None


def _version(program: str) -> str:
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/sbin"])
    path = shutil.which(program, path=places)
    if path is None:
        return ""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\d+\.\d+(?:\.\d+)*", done.stdout)
    return found[0] if found else ""
