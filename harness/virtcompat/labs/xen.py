"""Xen hosts: a release's hypervisor, kernel and libvirtd (dom0), booted once and started from there.

A machine that emulates everything takes minutes to boot a Xen host, and seconds to go on from where one was stopped.
So a lab of the flavour ``xen`` has beside its root a directory ``dom0-<digest>``: the disk image, kernel and
hypervisor, and the host's state when its libvirtd had come up (``probes/xen_build.py`` makes them inside the lab). A
probe's sandbox starts QEMU from there before the probe (``probes/xen_host.py``), in its own network: the probe opens
``xen+tcp://127.0.0.1/system`` with the release's own client, and the host ends with the sandbox. Nothing of it needs
root or KVM.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from virtcompat.errors import LabError
from virtcompat.labs import BOOTSTRAP, SCHEMAS, Lab, within
from virtcompat.labs.build import Made, labs_dir
from virtcompat.labs.session import Session, Start
from virtcompat.model import NotHere
from virtcompat.store import paths

#: The flavour of a release's lab that is a Xen host.
FLAVOUR = "xen"
#: What opens the host from inside its sandbox.
URI = "xen+tcp://127.0.0.1/system"
BUILDER = paths.PACKAGE / "probes" / "xen_build.py"
STARTER = paths.PACKAGE / "probes" / "xen_host.py"
#: Where a sandbox sees the checkpoint, the program that starts it, and, while it is built, the root once more.
DOM0, PROGRAM, IMAGE = "/run/dom0", "/run/xen_host.py", "/run/image"
#: What of the lab's root the image needs not: most of its size.
LEFT_OUT = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/virt-compat",
    "lib/modules",
    "usr/lib/modules",
    "usr/share/qemu",
    "usr/share/ovmf",
    "usr/share/OVMF",
)
#: The stages of a build in order, and what each does in words.
STAGES = {
    "image": "making the disk image",
    "kernel": "making the initial file system",
    "boot": "booting the host under TCG",
    "checkpoint": "writing the checkpoint",
}
BUILD_LIMIT = 1000.0
MANIFEST = "dom0.json"
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class XenLab:
    """A lab whose probes have a running Xen host of its release beside them."""

    inner: Lab
    dom0: Path
    sandboxed: bool = False  # nothing is started in it by the probe: the host's daemon runs already
    schemas: str = SCHEMAS

    @property
    def release(self) -> str:
        return self.inner.release

    @property
    def workdir(self) -> str:
        return self.inner.workdir

    @property
    def versions(self) -> dict[str, str]:
        return self.inner.versions

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.inner.fingerprint()} {recipe()}".encode()).hexdigest()

    def command(self, daemon: bool) -> list[str]:
        """The command of a probe behind a host of its own; ``daemon`` asks for no other sandbox."""
        shown = ("--ro-bind", str(self.dom0), DOM0, "--ro-bind", str(STARTER), PROGRAM)
        argv = within(self.inner.command(daemon=False), *shown)
        assert argv is not None, "a built lab is entered with bubblewrap"
        # [interpreter, "-u", "-c", BOOTSTRAP] ends every lab's command.
        at = argv.index(BOOTSTRAP) - 3
        argv[at:at] = [argv[at], "-I", PROGRAM, DOM0]
        return argv


def recipe() -> str:
    """Digest of what makes and starts a host: another one may answer otherwise."""
    return hashlib.sha256(BUILDER.read_bytes() + STARTER.read_bytes()).hexdigest()


def folder_of(made: Made) -> Path:
    return made.folder / f"dom0-{hashlib.sha256(BUILDER.read_bytes()).hexdigest()[:12]}"


def seconds(made: Made) -> Mapping[str, float] | None:
    """How long each stage of the host's build took; None where the host is not built."""
    try:
        return {str(k): float(v) for k, v in json.loads((folder_of(made) / MANIFEST).read_text())["seconds"].items()}
    except (OSError, ValueError):
        return None


def lab(inner: Lab, made: Made) -> Lab | NotHere:
    """The lab with its host; NotHere where that has not been booted."""
    if seconds(made) is None:
        return NotHere(f"the Xen host of {inner.release} is not built", f"virt-compat lab create {inner.release}")
    return XenLab(inner, folder_of(made))


def create(
    inner: Lab, made: Made, progress: Progress = lambda words: None, *, refresh: bool = False
) -> Mapping[str, float]:
    """Build and boot a lab's host, 2 to 4 minutes, or find that it stands; the seconds of each stage.

    ``inner`` is the lab without a host. One host is booted at a time. LabError says which stage failed with its words.
    """
    standing = seconds(made)
    if standing is not None and not refresh:
        return standing
    with _alone(), _aside(made.folder) as aside:
        for forgotten in set(made.folder.glob(".dom0-*")) - {aside}:
            shutil.rmtree(forgotten)  # of a machine that lost its power
        _build(inner, made.folder / "root", aside, progress)
        target = folder_of(made)
        for older in made.folder.glob("dom0-*"):
            shutil.rmtree(older)
        aside.rename(target)
    standing = seconds(made)
    assert standing is not None
    return standing


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until nobody else boots a host: two at once are slower than one after the other."""
    with (labs_dir() / ".dom0.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A directory to build in, which a process of its own removes when this one is done with it, or is killed."""
    aside = Path(tempfile.mkdtemp(prefix=".dom0-", dir=folder))
    aside.chmod(0o755)
    waits = ["sh", "-c", 'trap "" INT TERM HUP; cat >/dev/null; sleep "$2"; rm -rf "$1"', "sh", str(aside)]
    # A killed build's QEMU may write for a moment more.
    janitor = subprocess.Popen([*waits, "0.5"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield aside
    finally:
        assert janitor.stdin is not None
        janitor.stdin.close()
        janitor.wait()


def _build(inner: Lab, root: Path, aside: Path, progress: Progress) -> None:
    hidden = [
        word
        for name in LEFT_OUT
        if (root / name).is_dir() and not _linked(root, name)
        for word in ("--tmpfs", f"{IMAGE}/{name}")
    ]
    shown = ("--bind", str(aside), DOM0, "--ro-bind", str(root), IMAGE, *hidden)
    argv = within(inner.command(daemon=True), *shown)
    if argv is None:
        raise LabError(f"{inner.release} is entered without bubblewrap", f"virt-compat lab create {inner.release}")
    session = Session(Start(argv, {"out": DOM0, "image": IMAGE}, BUILD_LIMIT, source=BUILDER))
    try:
        for stage, words in STAGES.items():
            progress(f"{inner.release}: {words}")
            reply = next(reply for _, reply in session.ask([{"op": stage}]))
            if reply["status"] != "accepted":
                remedy = "nothing half-made was left behind; try again, or see the host's last words above"
                raise LabError(f"{inner.release}: {words}: {reply.get('message', reply['status'])}", remedy)
    finally:
        session.close()


def _linked(root: Path, name: str) -> bool:
    """Whether a path goes through a symbolic link (/lib -> usr/lib)."""
    return os.path.realpath(root / name) != str(root.resolve() / name)
