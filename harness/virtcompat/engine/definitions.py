"""A user's own definitions: files and directories opened for reading, or what a running libvirt keeps; and what was left out."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from virtcompat.documents import KIND_OF_ROOT, NotWellFormed, parse, read_text
from virtcompat.errors import BadData
from virtcompat.labs.definitions import COMMANDS, Failed, Virsh

SUFFIX = ".xml"
#: Roots of what libvirt writes beside definitions, and what to give in its place.
STATE = {
    "domstatus": "the state of a running guest, not its definition: give 'virsh dumpxml --inactive'",
    "networkstatus": "the state of a running network, not its definition: give 'virsh net-dumpxml --inactive'",
    "poolstate": "the state of a running pool, not its definition: give 'virsh pool-dumpxml --inactive'",
    "capabilities": "what a host offers, no definition",
    "domainCapabilities": "what a host offers, no definition",
    "device": "a device of this host, no definition",
}
#: Kinds that belong to another object, which a file of their own does not hold.
ORPHANS = {"storagevol": "a pool", "networkport": "a network", "nwfilterbinding": "a running guest"}


@dataclass(frozen=True, slots=True)
class Definition:
    """One document of the user's. source: the file, or the URI that it was read from; runs: a domain's ``type``."""

    name: str
    kind: str
    text: str
    source: str
    runs: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not judged, and why. code: 2 bad input, 3 it was asked for and nothing is known, 0 no definition."""

    source: str
    why: str
    code: int


@dataclass(slots=True)
class Read:
    """Everything that was read. passed: files of a directory that are not called ``*.xml``."""

    definitions: list[Definition] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    passed: int = 0
    seen: set[tuple[int, int]] = field(default_factory=set)

    def file(self, path: Path, *, named: bool) -> None:
        """Read one file; a file that was read already, by whatever name, counts once."""
        shown = printable(str(path))
        try:
            about = path.stat()
            if not stat.S_ISREG(about.st_mode):
                raise BadData(path, "not a regular file", "write it to one")
            if (about.st_dev, about.st_ino) in self.seen:
                return
            self.seen.add((about.st_dev, about.st_ino))
            text = read_text(path)
        except OSError as error:
            self.left_out.append(LeftOut(shown, f"cannot be read: {error.strerror}", 2))
        except (UnicodeError, LookupError) as error:
            self.left_out.append(LeftOut(shown, printable(f"not in the encoding that it names: {error}"), 2))
        except BadData as error:
            self.left_out.append(LeftOut(shown, printable(f"line {error.message.removeprefix(f'{path}:')}"), 2))
        else:
            self.text(text, shown, named=named)

    def text(self, text: str, shown: str, *, named: bool) -> None:
        """Take one document in, or say what it is instead."""
        try:
            root = parse(text)
        except NotWellFormed as error:
            self.left_out.append(LeftOut(shown, printable(f"not well-formed XML: {error}"), 2))
            return
        tag = str(root.tag)
        kind = KIND_OF_ROOT.get(tag, "")
        if not kind or tag in STATE:
            why = STATE.get(tag, f"<{printable(tag)}> is no definition that libvirt keeps")
            self.left_out.append(LeftOut(shown, why, 3 if named else 0))
        elif kind in ORPHANS:
            self.left_out.append(LeftOut(shown, f"belongs to {ORPHANS[kind]}, which is not in the file", 3))
        else:
            name = root.findtext("name") or root.get("name") or root.findtext("uuid") or "(no name)"
            runs = root.get("type", "") if kind == "domain" else ""
            self.definitions.append(Definition(printable(name.strip()), kind, text, shown, runs))


def printable(text: str) -> str:
    """A text that a terminal shows as it is: no control characters, no undecodable bytes."""
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)


def of_files(paths: Sequence[Path], found: Read) -> None:
    """Read every file that is named, and every ``*.xml`` below a directory that is named."""
    for path in paths:
        if path.is_dir():
            for file in _below(path, found):
                found.file(file, named=False)
        else:
            found.file(path, named=True)


def _below(folder: Path, found: Read) -> Iterator[Path]:
    """The XML files below a directory in order; links to directories are not followed, so that none leads in circles."""

    def unreadable(error: OSError) -> None:
        found.left_out.append(LeftOut(printable(str(error.filename)), f"cannot be read: {error.strerror}", 2))

    for above, folders, files in os.walk(folder, onerror=unreadable):
        folders.sort()
        for name in sorted(files):
            if name.lower().endswith(SUFFIX):
                yield Path(above, name)
            else:
                found.passed += 1


def of_libvirt(virsh: Virsh, found: Read, progress: Callable[[int, int], None]) -> None:
    """Read every domain, network and storage pool of a libvirt; what cannot be listed or written is left out."""
    for kind in COMMANDS:
        uuids = virsh.uuids(kind)
        if isinstance(uuids, Failed):
            found.left_out.append(LeftOut(f"{virsh.uri} ({kind})", printable(uuids.words), 3))
            continue
        texts = virsh.texts(kind, uuids, progress)
        for uuid, text in zip(uuids, texts, strict=True):
            shown = f"{virsh.uri} {uuid}"
            if isinstance(text, Failed):
                found.left_out.append(LeftOut(shown, printable(text.words), 3))
            else:
                found.text(text, shown, named=True)
