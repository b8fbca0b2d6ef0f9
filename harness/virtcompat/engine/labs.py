"""What can be done with labs: create, add, list, remove."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from virtcompat.engine import xenlab
from virtcompat.engine.columns import own_versions
from virtcompat.errors import Absent, UsageError
from virtcompat.labs import archive, build, open_lab
from virtcompat.model import NotHere
from virtcompat.store import golden, paths, releases

#: What a release of the user's own may be called: it names a file, and stands in a cell.
NAME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
#: What to do where a lab that is being added cannot be entered, by its kind.
REMEDIES = {"root": "name a directory that holds a root file system", "command": "name a command that is here"}


def shipped() -> list[str]:
    return [r.name for r in releases.shipped()]


def taken() -> set[str]:
    """Names that are somebody's: of shipped releases and their flavours, and the gate's own."""
    return {releases.CANDIDATE} | {
        n for r in releases.shipped() for n in (r.name, *(f"{r.name}-{f}" for f in r.flavours))
    }


def create(name: str, mirror: str, *, refresh: bool, progress: Callable[[str], None] = lambda words: None) -> str:
    """Build one lab; returns a line that says what stands now. progress is told each stage of a long one."""
    release = releases.find(name)
    if not release.suite:
        raise UsageError(f"{name} is not built from packages", "its lab is entered as it was added")
    standing = build.find(release)
    made = build.create(release, mirror, refresh=refresh)
    libvirt = made.versions.get("libvirt0", "?")
    word = "stands already" if standing and not refresh else "built"
    more = f"; {xenlab.create(release, made, progress, refresh=refresh)}" if xenlab.is_host(release) else ""
    packages = f"{len(made.versions)} packages, libvirt {libvirt}, QEMU {made.versions['qemu-system-x86']}"
    return f"{name}: {word}; {packages}{more}"


def sources(name: str, mirror: str = "") -> Path:
    """The source tarball of a release's libvirt, fetched once. Absent where it cannot be had."""
    release = releases.find(name)
    lab = open_lab(release)
    recorded = golden.provenance(name)
    packages = recorded.packages.get("", {}) if recorded else {} if isinstance(lab, NotHere) else lab.versions
    if "libvirt0" not in packages:
        raise Absent(f"{name}: its libvirt package is not known", "name the path of its source tree instead")
    return archive.sources(release, packages["libvirt0"], mirror)


def add(name: str, kind: str, how: Mapping[str, str]) -> str:
    """Write a release of the user's own and try it; nothing is kept where it does not start."""
    if not NAME.fullmatch(name) or name in taken():
        remedy = (
            "use at most 64 lower-case letters, digits, '.', '+' and '-', and the name of no shipped release or lab"
        )
        raise UsageError(f"'{name}' cannot be a release's name", remedy)
    return _keep(name, kind, how)


def adopt(kind: str, how: Mapping[str, str]) -> str:
    """Keep a lab as the release ``candidate``, in place of the last one; its name."""
    _keep(releases.CANDIDATE, kind, how)
    return releases.CANDIDATE


def _keep(name: str, kind: str, how: Mapping[str, str]) -> str:
    kind, how = _over_ssh(how) if kind == "command" else (kind, how)
    try:
        shlex.split(how.get("host", ""))
    except ValueError as error:
        raise UsageError(f"{name}: {how['host']!r} is no command line: {error}", "close its quotes") from error
    release = releases.Release(name, lab={"kind": kind, **how})
    lab = open_lab(release)
    if isinstance(lab, NotHere):
        raise UsageError(f"{name}: {lab.reason}", REMEDIES.get(kind, lab.remedy))
    libvirt, qemu = own_versions(lab)
    releases.keep(replace(release, products={"libvirt": libvirt, "qemu": qemu}))
    return f"{name}: libvirt {libvirt}, QEMU {qemu or 'none'}; now a column of every matrix"


def _over_ssh(how: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    """A command that is ssh is another host: the sandbox that a command runs in has no network."""
    try:
        words = shlex.split(how.get("prefix", ""))
    except ValueError as error:
        raise UsageError(f"{how['prefix']!r} is no command line: {error}", "close its quotes") from error
    if not words or Path(words[0]).name != "ssh":
        return "command", how
    return "ssh", {**{k: v for k, v in how.items() if k != "prefix"}, "host": shlex.join(words[1:])}


def listing() -> Iterator[str]:
    """One line a release and flavour: what is here, or what to do."""
    for release in releases.every():
        for name in (release.name, *(f"{release.name}-{f}" for f in release.flavours)):
            lab = open_lab(releases.find(name))
            if isinstance(lab, NotHere):
                yield f"{name}: {lab.reason}; {lab.remedy}"
            else:
                libvirt, qemu = own_versions(lab)
                yield f"{name}: libvirt {libvirt}, QEMU {qemu or 'none'}"


def remove(name: str) -> list[str]:
    """Remove a lab's files, or a user's release; UsageError where there is neither."""
    file = paths.config_dir() / "releases" / f"{name}.toml"
    # A name with a directory in it is no release's: its file would be somebody else's.
    if NAME.fullmatch(name) and file.exists():
        file.unlink()
        return [f"{name}: no longer a release"]
    gone = build.remove(releases.find(name))
    if not gone:
        raise UsageError(f"{name} has no lab here", "see 'virt-compat lab list'")
    return [f"removed {folder}" for folder in gone]
