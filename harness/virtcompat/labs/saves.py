"""Guests in save images: written by one lab's libvirt, altered or restored by another's."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virtcompat import guestdump
from virtcompat.errors import LabError
from virtcompat.labs import Lab, within
from virtcompat.labs.session import DEATHS, Session, Start
from virtcompat.store import paths

PROBE = paths.PACKAGE / "probes" / "save_probe.py"
GUEST = paths.PACKAGE / "guest" / "guest.elf"
#: Definitions of guests, ``{workdir}`` in place of the directory of their files.
DEFINITIONS = paths.PACKAGE / "guest"
MAGIC = b"LibvirtQemudSave"
HEADER = struct.Struct("=19I")
#: The longest wait for one thing, in seconds; a first start asks QEMU about itself.
LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class Saved:
    """A guest in an image: the definition in it, how far it had counted, what it saw (one fact a line)."""

    image: bytes
    xml: str
    counter: int
    dump: str


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of an image: migrated, refused, crashed, hung (``words`` say why) and what the guest said then.

    counter_before and counter_after are both after the restore; between them the guest has read all of its memory.
    """

    status: str
    words: str = ""
    counter_before: int = 0
    counter_after: int = 0
    mismatches: int = 0
    dump: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What libvirt says of another definition for an image: accepted, with what it wrote there, or refused.

    code: virErrorNumber of a refusal.
    """

    status: str
    words: str = ""
    code: int = 0
    xml: str = ""


class Unsaved(LabError):
    """A lab could not save a guest; ``status`` and ``words`` as in Restored."""

    def __init__(self, release: str, status: str, words: str) -> None:
        super().__init__(f"{release}: the guest could not be saved: {status}: {words}", "virt-compat doctor")
        self.status = status
        self.words = words


def command(lab: Lab, cache: Path) -> list[str]:
    """The lab's command with what a guest needs: the host's /sys, and what libvirt learnt about QEMU, which is kept."""
    kept = f"{lab.workdir}/kept/libvirt/qemu/capabilities"
    argv = within(lab.command(daemon=False), "--ro-bind", "/sys", "/sys", "--bind", str(cache), kept)
    if not lab.sandboxed or argv is None:
        raise LabError(f"{lab.release}: guests are started in a sandbox only", "use a lab built from packages")
    cache.mkdir(parents=True, exist_ok=True)
    return argv


@dataclass(slots=True)
class Host:
    """A lab's libvirtd with nothing on it, asked one thing after the other. Close it."""

    lab: Lab
    guest: Path = GUEST
    limit: float = LIMIT
    session: Session = field(init=False)

    def __post_init__(self) -> None:
        # A cache of its own: the daemon and the embedded driver would each take the other's for outdated.
        cache = paths.cache_dir() / "qemu-capabilities" / f"{self.lab.fingerprint()[:16]}-session"
        files = {"guest.elf": base64.b64encode(self.guest.read_bytes()).decode()}
        opening = {"workdir": self.lab.workdir, "files": files, "limit": self.limit}
        self.session = Session(Start(command(self.lab, cache), opening, 6 * self.limit, source=PROBE))

    def close(self) -> None:
        self.session.close()

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        reply = next(reply for _, reply in self.session.ask([dict(request)]))
        if reply["status"] in DEATHS:
            return {"outcome": "hung" if reply["status"] == "hung" else "crashed", "words": str(reply["message"])}
        if reply["outcome"] == "failed":
            raise LabError(f"{self.lab.release}: {reply['words']}", "virt-compat doctor")
        return reply

    def save(self, xml: str) -> Saved:
        """Start a guest and save it; Unsaved where that cannot be done."""
        reply = self._ask({"op": "save", "xml": xml})
        if reply["outcome"] != "saved":
            raise Unsaved(self.lab.release, reply["outcome"], reply["words"])
        image = zlib.decompress(base64.b64decode(reply["image"]))
        return Saved(image, str(reply["xml"]), int(reply["counter"]), str(reply["dump"]))

    def restore(self, image: bytes, xml: str | None = None) -> Restored:
        """Restore an image, under another definition where one is given, and ask the guest."""
        reply = self._ask({"op": "restore", "image": _packed(image), "xml": xml})
        names = ("counter_before", "counter_after", "mismatches", "dump")
        return Restored(str(reply["outcome"]), str(reply["words"]), **{n: reply[n] for n in names if n in reply})

    def define(self, image: bytes, xmls: Sequence[str]) -> list[Verdict]:
        """What libvirt says of each of these definitions for an image; no guest is started."""
        reply = self._ask({"op": "define", "image": _packed(image), "xmls": list(xmls)})
        if reply["outcome"] != "answered":
            return [Verdict(str(reply["outcome"]), str(reply["words"]))] * len(xmls)
        return [Verdict(v["outcome"], v["words"], v["code"], v["xml"]) for v in reply["verdicts"]]


def with_definition(image: bytes, xml: str) -> bytes:
    """An image whose definition is another one, of a guest that was never started: enough to ask about definitions.

    An image starts with 16 bytes of magic and 19 words of 32 bits in the host's order: version, length of what
    follows, running, compression, offset of a cookie. What follows is the definition, a zero byte and padding.
    """
    words = list(HEADER.unpack_from(image, len(MAGIC)))
    length, start = words[1], len(MAGIC) + HEADER.size
    text = xml.encode() + b"\0"
    if not image.startswith(MAGIC) or len(text) > length:
        raise ValueError("no save image, or the definition is too long for it")
    words[4] = 0
    return MAGIC + HEADER.pack(*words) + text.ljust(length, b"\0") + image[start + length :]


def _packed(image: bytes) -> str:
    return base64.b64encode(zlib.compress(image, 1)).decode()


@contextmanager
def hosting(lab: Lab, guest: Path = GUEST, limit: float = LIMIT) -> Iterator[Host]:
    """A host that is gone when the block ends, with everything on it."""
    host = Host(lab, guest, limit)
    try:
        yield host
    finally:
        host.close()


def definitions() -> dict[str, str]:
    """The guests' definitions that come with the tool, by name."""
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(DEFINITIONS.glob("*.xml"))}


def save(lab: Lab, xml: str, guest: Path = GUEST) -> Saved:
    """Save a guest in a lab of its own."""
    with hosting(lab, guest) as host:
        return host.save(xml)


def restore(lab: Lab, image: bytes, guest: Path = GUEST) -> Restored:
    """Restore an image in a lab of its own."""
    with hosting(lab, guest) as host:
        return host.restore(image)


def differences(before: str, after: str) -> list[str]:
    """What a guest sees otherwise, two dumps of it compared; what is no part of the machine is left out."""
    old, new = guestdump.facts(before), guestdump.facts(after)
    found = [f"the guest no longer sees {path} = {old[path]}" for path in old.keys() - new.keys()]
    found += [f"the guest now sees {path} = {new[path]}" for path in new.keys() - old.keys()]
    both = old.keys() & new.keys()
    return sorted(found + [f"{path}: {old[path]} -> {new[path]}" for path in both if old[path] != new[path]])


def faults(saved: Saved, restored: Restored) -> list[str]:
    """What is wrong with a restored guest; empty where it is the same machine and goes on.

    What QEMU makes anew at each start, files of fw_cfg that firmware reads at the next boot, is compared as well.
    """
    if restored.status != "migrated":
        return [f"{restored.status}: {restored.words}"]
    found = []
    if restored.counter_before < saved.counter:
        found.append(f"the counter fell from {saved.counter} to {restored.counter_before}")
    if restored.mismatches:
        found.append(f"{restored.mismatches} pages of memory are not as the guest left them")
    return found + differences(saved.dump, restored.dump)
