"""A release's Xen host, asked more than documents: its own formats, a guest that runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from virtcompat.errors import LabError
from virtcompat.labs import Lab, xen
from virtcompat.labs.session import DEATHS, Session, Start
from virtcompat.store import paths

PROBE = paths.PACKAGE / "probes" / "xen_probe.py"
#: The longest wait for one answer and for a guest's first words, in seconds: all of it is emulated.
LIMIT, BOOT_LIMIT = 300.0, 120.0
#: What the guest of the host's image prints when it runs (probes/xen_build.py).
SIGN = "virt-compat: the guest runs"


@dataclass(frozen=True, slots=True)
class Converted:
    """A configuration in another form; where libvirt refuses, ``text`` is empty and ``words`` are its own."""

    text: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a guest's life. outcome: ``state/reason`` in numbers, ``yes``, ``no``, ``gone``, or an error."""

    name: str
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Life:
    """A guest from its definition to its end, and what it printed."""

    steps: tuple[Step, ...] = ()
    console: str = ""
    words: str = ""  # why it was not even defined

    def outcome(self, name: str) -> str:
        return next((step.outcome for step in self.steps if step.name == name), "")


@dataclass(slots=True)
class XenHost:
    """A running Xen host of a release, one question after the other."""

    lab: Lab
    session: Session

    def ask(self, op: str, **question: Any) -> dict[str, Any]:
        """The probe's answer, a refusal by libvirt included. LabError where the host or the probe fails."""
        reply = next(reply for _, reply in self.session.ask([{"op": op, **question}]))
        if reply["status"] in DEATHS:
            raise LabError(f"{self.lab.release}: {op}: {reply['status']}: {reply['message']}", "virt-compat doctor")
        return reply

    def texts(self) -> dict[str, str]:
        """``capabilities``, ``dom0`` and ``domcapabilities/pv``, ``/pvh``, ``/hvm``."""
        reply = self.ask("texts")
        if reply["status"] != "accepted":
            raise LabError(f"{self.lab.release}: {reply['message']}", "virt-compat doctor")
        return {str(name): str(text) for name, text in reply["texts"].items()}

    def to_native(self, form: str, xml: str) -> Converted:
        return self._converted(self.ask("to", format=form, xml=xml))

    def from_native(self, form: str, text: str) -> Converted:
        return self._converted(self.ask("from", format=form, text=text))

    def _converted(self, reply: dict[str, Any]) -> Converted:
        return Converted(text=str(reply.get("text", "")), words=str(reply.get("message", "")))

    def life(self, xml: str, limit: float = BOOT_LIMIT) -> Life:
        """Start a guest and end it again."""
        reply = self.ask("life", xml=xml, sign=SIGN, limit=limit)
        if reply["status"] != "accepted":
            return Life(words=str(reply["message"]))
        return Life(tuple(Step(*step) for step in reply["steps"]), str(reply["console"]))


@contextmanager
def running(lab: Lab) -> Iterator[XenHost]:
    """The host of a lab of the flavour ``xen``, started from its checkpoint; it ends with the block."""
    start = Start(lab.command(daemon=False), {"uri": xen.URI}, LIMIT, source=PROBE)
    host = XenHost(lab, Session(start))
    try:
        yield host
    finally:
        host.session.close()
