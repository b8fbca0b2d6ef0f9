"""A visit to a lab: read its files, run its commands, put another program into it. What records are made from."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from virtcompat.errors import Absent, BadData, LabError
from virtcompat.labs import Lab
from virtcompat.labs.qemu import Failed, Machine, QemuSessions, Recorded
from virtcompat.labs.session import DEATHS, OpenFailed, Session, Start
from virtcompat.store import paths

PROBES = paths.PACKAGE / "probes"
PROBE = PROBES / "lab_probe.py"
#: The program that guests run: it says what hardware it sees (guest/README.md).
GUEST = paths.PACKAGE / "guest" / "guest.elf"


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did: its exit status (negative: the signal that ended it) and what it printed."""

    code: int
    out: str
    err: str


class Visit(Protocol):
    """What a recorded surface may do in a lab. Tests put an altered file in the way of a real one.

    ``lab`` is what is visited. ``read`` gives the files of glob patterns by path, none at all where there are none.
    ``library`` gives path and bytes of the shared library that the lab's own linker takes for a soname. ``run`` runs a command of the lab
    (``limit`` in seconds). ``ask`` runs a program of ``probes/`` inside and asks it one thing;
    with ``daemon`` it is told to start the lab's system daemon first, with these files (path -> text) in place: in a sandbox
    only, Absent elsewhere. ``boot`` starts a guest. All raise
    Absent where the lab has no such library, program or interpreter, LabError where the lab itself fails.
    """

    @property
    def lab(self) -> Lab: ...
    @property
    def release(self) -> str: ...
    @property
    def workdir(self) -> str: ...
    def read(self, *patterns: str) -> dict[str, bytes]: ...
    def library(self, soname: str) -> tuple[str, bytes]: ...
    def run(self, *argv: str, stdin: str = "", env: Mapping[str, str] | None = None, limit: float = 30.0) -> Ran: ...
    def ask(
        self, program: str, request: Mapping[str, Any], limit: float = 60.0, daemon: Mapping[str, str] | None = None
    ) -> dict[str, Any]: ...
    def boot(self, argv: Sequence[str], wanted: Sequence[str]) -> Recorded | Failed: ...


@dataclass(slots=True)
class LabVisit:
    """A visit through one probe process, started at the first question."""

    lab: Lab
    session: Session = field(init=False)
    guests: QemuSessions | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    booted: dict[tuple[str, ...], Recorded | Failed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.session = self._session(PROBE, 600.0)

    @property
    def release(self) -> str:
        return self.lab.release

    @property
    def workdir(self) -> str:
        return self.lab.workdir

    def _session(self, source: Path, limit: float, daemon: Mapping[str, str] | None = None) -> Session:
        if daemon is not None and not self.lab.sandboxed:
            raise Absent(f"{self.release}: a system daemon is started in a sandbox only", "use a root or a built lab")
        opening: dict[str, Any] = {"workdir": self.lab.workdir}
        if daemon is not None:
            opening |= {"daemon": True, "files": dict(daemon)}
        return Session(Start(self.lab.command(daemon=daemon is not None), opening, limit, source=source))

    def _reply(self, session: Session, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            reply = next(reply for _, reply in session.ask([dict(request)]))
        except OpenFailed as error:
            # What its start misses is missing in the lab as well.
            if error.reply.get("status") != "absent":
                raise LabError(f"{self.release}: {error.message}", error.remedy) from error
            reply = error.reply
        if reply["status"] == "absent":
            raise Absent(f"{self.release}: {reply['message']}", "install it in the lab")
        if reply["status"] in DEATHS or reply["status"] == "failed":
            raise LabError(f"{self.release}: {reply['status']}: {reply.get('message')}", "virt-compat doctor")
        return reply

    def read(self, *patterns: str) -> dict[str, bytes]:
        files = self._reply(self.session, {"op": "read", "patterns": list(patterns)})["files"]
        return {path: base64.b64decode(data) for path, data in sorted(files.items())}

    def library(self, soname: str) -> tuple[str, bytes]:
        reply = self._reply(self.session, {"op": "library", "soname": soname})
        return str(reply["path"]), base64.b64decode(reply["data"])

    def run(self, *argv: str, stdin: str = "", env: Mapping[str, str] | None = None, limit: float = 30.0) -> Ran:
        request = {"op": "run", "argv": argv, "stdin": stdin, "env": dict(env or {}), "limit": limit}
        reply = self._reply(self.session, request)
        return Ran(int(reply["code"]), str(reply["out"]), str(reply["err"]))

    def boot(self, argv: Sequence[str], wanted: Sequence[str]) -> Recorded | Failed:
        """Boot the project's guest under the lab's QEMU and write down what is wanted; several threads may.

        The same machine is booted once in a visit; the stream is not kept, only what it says of itself.
        """
        key = (*argv, "", *wanted)
        if key not in self.booted:
            with self.lock:
                if self.guests is None:
                    self.guests = QemuSessions(GUEST.read_bytes()).__enter__()
            found = self.guests.record(self.lab, Machine(tuple(argv)), wanted)
            self.booted[key] = replace(found, stream=b"") if isinstance(found, Recorded) else found
        return self.booted[key]

    def close(self) -> None:
        self.session.close()
        if self.guests is not None:
            self.guests.__exit__(None, None, None)

    def ask(
        self, program: str, request: Mapping[str, Any], limit: float = 60.0, daemon: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        session = self._session(PROBES / program, limit, daemon)
        try:
            return self._reply(session, request)
        finally:
            session.close()


@contextmanager
def visiting(lab: Lab) -> Iterator[Visit]:
    """A visit that is over when the block ends, whatever happens."""
    visit = LabVisit(lab)
    try:
        yield visit
    finally:
        visit.close()


def monitor(visit: Visit, emulator: str, question: str) -> list[dict[str, Any]]:
    """The list that an emulator without a machine answers to one QMP command; BadData where it answers none."""
    talk = "".join(json.dumps({"execute": command}) + "\n" for command in ("qmp_capabilities", question, "quit"))
    said = visit.run(emulator, "-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio", stdin=talk)
    try:
        replies = [json.loads(line) for line in said.out.splitlines() if line.startswith("{")]
    except ValueError:
        replies = []
    answer = next((r["return"] for r in replies if isinstance(r.get("return"), list)), None)
    if not answer:
        raise BadData(emulator, f"no answer to {question}: {said.err.strip()[-200:]}", "try it by hand in the lab")
    return list(answer)


def one(visit: Visit, what: str, package: str, *patterns: str) -> dict[str, bytes]:
    """The files of these patterns, of which there must be one at least; Absent names the package that brings them."""
    found = visit.read(*patterns)
    if not found:
        raise Absent(f"{visit.release}: no {what} ({', '.join(patterns)})", f"install {package} in the lab")
    return found
