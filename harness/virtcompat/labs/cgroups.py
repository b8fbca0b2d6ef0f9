"""Control groups of version 1 for a sandbox: its own group in every hierarchy, gone when the sandbox is.

A module, and a program that is run by its path (standard library only): ``cgroups.py COMMAND...`` makes the groups, moves
itself into them and becomes COMMAND, a bubblewrap: ``{memory}`` in it stands for the group's directory in the hierarchy
called so, ``{sync}`` for a file for its ``--sync-fd``. A group is made in the one that this process is in, whose limits hold
for it too. A second process outside the groups, in a session of its own, waits until nobody holds that
file any more, which is when the sandbox has ended however that came about, and removes the groups with all that was made in
them. A group is called after the process that holds it; those whose process is gone, because even the second one was
killed, are removed by the next start.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

BASE = Path("/sys/fs/cgroup")
PREFIX = "virt-compat-"
#: What libvirt's containers cannot be started without, or cannot be told apart by.
NEEDED = ("cpu", "cpuacct", "cpuset", "devices", "freezer", "memory")
#: How long a group may take to become empty, in s: the kernel lets go of processes after they have ended.
PATIENCE = 20.0


def hierarchies() -> dict[str, tuple[str, ...]]:
    """Name of the mount point -> controllers, of every hierarchy of version 1 on this machine."""
    return {name: controllers for name, (controllers, _) in _mounted().items()}


def _mounted() -> dict[str, tuple[tuple[str, ...], str]]:
    """Name of the mount point -> (controllers, the group that is mounted there)."""
    known = {word for line in _own() for word in line[0]}
    found = {}
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        left, _, right = line.partition(" - ")
        (root, place), (kind, _, options) = left.split()[3:5], right.split()[:3]
        if kind == "cgroup" and Path(place).parent == BASE:
            controllers = tuple(word for word in options.split(",") if word in known)
            found[Path(place).name] = controllers, root
    return found


def _own() -> list[tuple[tuple[str, ...], str]]:
    """(controllers, group) of this process in every hierarchy."""
    lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    return [(tuple(words.split(",")), group) for _, words, group in (line.split(":", 2) for line in lines)]


def links() -> dict[str, str]:
    """name -> target of the links beside them: cpu -> cpu,cpuacct where several controllers share a hierarchy."""
    entries = sorted(BASE.iterdir()) if BASE.is_dir() else []
    return {entry.name: str(entry.readlink()) for entry in entries if entry.is_symlink()}


def groups(name: str) -> dict[str, Path]:
    """Hierarchy -> the directory of a group of this name within the one that this process is in."""
    own = dict(_own())
    found = {}
    for hierarchy, (controllers, root) in _mounted().items():
        here = os.path.relpath(own.get(controllers, root), root)
        # A process outside what is mounted makes its groups at the top of that.
        found[hierarchy] = BASE / hierarchy / ("" if here.startswith("..") else here) / name
    return found


def make(folders: Sequence[Path]) -> None:
    """Make a group in every hierarchy. One of cpuset takes processes only when it has processors and memory."""
    for folder in folders:
        folder.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (folder / file).exists():
                (folder / file).write_text((folder.parent / file).read_text(encoding="ascii"), encoding="ascii")


def enter(folders: Sequence[Path]) -> None:
    """Move this process into a group."""
    for folder in folders:
        (folder / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")


def remove(folders: Sequence[Path], patience: float = PATIENCE) -> bool:
    """Remove a group with all groups in it; False where there are still processes in it in the end."""
    deadline = time.monotonic() + patience
    while True:
        for top in folders:
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
        if not any(top.is_dir() for top in folders):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def standing() -> dict[str, list[Path]]:
    """name -> directories of the groups of sandboxes that there are."""
    found: dict[str, list[Path]] = {}
    for hierarchy in hierarchies():
        for folder, below, _ in os.walk(BASE / hierarchy):
            for name in [name for name in below if name.startswith(PREFIX)]:
                found.setdefault(name, []).append(Path(folder, name))
                below.remove(name)
    return found


def sweep() -> None:
    """Remove what a killed start has left: groups without processes whose own process is gone."""
    for name, folders in standing().items():
        alive = Path("/proc", name.removeprefix(PREFIX)).exists()
        if not alive and not any(_populated(top) for top in folders):
            remove(folders, 0)


def _populated(top: Path) -> bool:
    with contextlib.suppress(OSError):
        return bool((top / "cgroup.procs").read_text(encoding="ascii"))
    return False


def guard(folders: Sequence[Path], held: int) -> None:
    """Wait until the sandbox is gone, then remove its group. Lives in a session of its own."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.read(held, 1)
    remove(folders)
    os._exit(0)


def main() -> None:
    """Make the groups, leave a guard behind and become the command."""
    sweep()
    places = groups(f"{PREFIX}{os.getpid()}")
    folders = list(places.values())
    held, holding = os.pipe()
    if os.fork() == 0:
        os.close(holding)
        guard(folders, held)
    os.close(held)
    os.set_inheritable(holding, True)  # noqa: FBT003 - that is how it is called
    make(folders)
    enter(folders)
    standing_for = {"{sync}": str(holding), **{f"{{{name}}}": str(folder) for name, folder in places.items()}}
    words = [standing_for.get(word, word) for word in sys.argv[1:]]
    os.execvp(words[0], words)  # noqa: S606 - bubblewrap, as labs start it


if __name__ == "__main__":
    main()
