"""Guests that move between real QEMUs: recorded in one lab, replayed or live-migrated into another, and asked how they are.

Nothing here judges: a QEMU that refuses, dies or hangs is an answer with its words. LabError is raised only where the
lab itself, or the probe in it, fails.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import tempfile
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from virtcompat.errors import LabError
from virtcompat.labs import Lab, within
from virtcompat.labs.session import DEATHS, Session, Start
from virtcompat.model import NotHere
from virtcompat.store import paths

PROBE = paths.PACKAGE / "probes" / "qemu_probe.py"
#: Where the sandboxes of a live migration see the directory that they share: a short path, as sockets want it.
SHARED = "/run/shared"
#: What can be recorded of a running guest.
WANTED = ("dump", "qtree", "pci", "mtree", "cpu", "machine", "stream")
#: What a destination is given to say why it ended, once the source's side has failed, in s.
AFTERMATH = 3.0
#: QEMU_VM_VMDESCRIPTION, which stands before the description's length (32 bits, big endian) at the end of a stream.
VMDESCRIPTION = 6
FLATVIEW = re.compile(r"^FlatView #\d+$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Machine:
    """A QEMU command line beyond what the probe always gives (see its ALWAYS).

    argv: machine type, devices; ``{workdir}`` stands for the directory of the files that the sessions carry.
    wrapper: text of a program that is run in QEMU's place with QEMU's command line as its arguments.
    binary: the emulator, qemu-system-x86_64 where empty.
    """

    argv: tuple[str, ...]
    wrapper: str = ""
    binary: str = ""

    def question(self, op: str, **more: Any) -> dict[str, Any]:
        return {"op": op, "argv": list(self.argv), "wrapper": self.wrapper, "binary": self.binary, **more}


@dataclass(frozen=True, slots=True)
class Recorded:
    """What there is to say of a running machine. What was not wanted is empty.

    dump: what the guest sees, a line each; lines below ``volatile/`` differ each time. qtree: ``info qtree``.
    pci: ``query-pci``. mtree: the ranges of the address spaces ``memory`` and ``I/O``. cpu: the first CPU's
    properties. machine: its entry in ``query-machines``. vmdesc: the stream's own description. stream: a migration
    of the stopped guest. counter: how far it had come then. words: what QEMU printed.
    """

    dump: str = ""
    qtree: str = ""
    pci: tuple[dict[str, Any], ...] = ()
    mtree: str = ""
    cpu: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    vmdesc: Mapping[str, Any] = field(default_factory=dict)
    stream: bytes = b""
    counter: int = 0
    words: str = ""


@dataclass(frozen=True, slots=True)
class Moved:
    """How a guest arrived.

    status: ``migrated`` (it runs, its counter went on, it has read all its memory again), ``unstarted`` (the
    destination's QEMU does not take the command line), ``refused`` (QEMU does not take the stream), ``crashed``,
    ``hung`` or ``stuck`` (QEMU runs, the guest does not). words: QEMU's own, and how it ended. before, after: the
    guest's dumps on either side, empty where there is none. mismatches: pages that did not arrive as they were.
    """

    status: str
    words: str = ""
    before: str = ""
    after: str = ""
    counter_before: int = 0
    counter_after: int = 0
    mismatches: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The source never got as far as to hand a guest over: a status and words as in Moved."""

    status: str
    words: str


def sandboxed(command: Sequence[str], shared: Path) -> list[str] | None:
    """A lab's command with the shared directory, and /sys, which some properties depend on; None without bubblewrap."""
    return within(command, "--ro-bind", "/sys", "/sys", "--bind", str(shared), SHARED)


def vmdesc(stream: bytes) -> dict[str, Any]:
    """The description at the end of a migration stream; empty where it has none."""
    at = len(stream)
    while (at := stream.rfind(VMDESCRIPTION, 0, at)) >= 0:
        length = len(stream) - at - 5
        if length > 0 and stream[at + 1 : at + 5] == length.to_bytes(4, "big"):
            return dict(json.loads(stream[at + 5 :]))
    return {}


def address_spaces(text: str) -> str:
    """The flat views of memory and I/O in ``info mtree -f``, which prints views in no order and some of them twice."""
    found = []
    for name in ("memory", "I/O"):
        for view in FLATVIEW.split(text):
            if f' AS "{name}", root: ' in view:
                ranges = [line.strip() for line in view.splitlines() if re.match(r"  [0-9a-f]{16}-", line)]
                found += [f"{name} {line}\n" for line in ranges]
    return "".join(found)


@dataclass(slots=True)
class Probe:
    """A probe and the one thread that starts it: a sandbox that dies with its parent dies with the *thread*."""

    session: Session
    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "qemu-probe"))

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        return self.thread.submit(self._ask, question).result()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        reply = next(reply for _, reply in self.session.ask([question]))
        # A probe that died took its QEMU along; what it says when asked again is about another one.
        died = reply.get("unsettled") or (reply["status"] in DEATHS and f"{reply['status']}: {reply['message']}")
        if died or reply["outcome"] == "lost":
            raise LabError(f"the QEMU probe did not live to answer '{question['op']}': {died}", "virt-compat doctor")
        return reply

    def close(self) -> None:
        # A question that is still being answered must not start another probe.
        self.session.start = replace(self.session.start, command=("false",))
        self.session.close()
        self.thread.shutdown()


@dataclass(slots=True)
class QemuSessions:
    """Probes that are started when they are needed, kept, and ended when the block ends. Any number of threads may ask.

    guest: the program that is booted. files: what else a command line may name as ``{workdir}/NAME``.
    step, limit: how long one thing, and one question, may take, in s.
    """

    guest: bytes
    files: Mapping[str, bytes] = field(default_factory=dict)
    step: float = 10.0
    limit: float = 60.0
    shared: Path = field(init=False)
    idle: dict[tuple[str, ...], list[Probe]] = field(default_factory=dict)
    everyone: list[Probe] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __enter__(self) -> Self:
        self.shared = Path(tempfile.mkdtemp(prefix="virt-compat-qemu-"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self.lock, ExitStack() as closing:
            for probe in self.everyone:
                closing.callback(probe.close)
            self.everyone.clear()
            self.idle.clear()
        shutil.rmtree(self.shared, ignore_errors=True)

    def record(self, lab: Lab, machine: Machine, wanted: Sequence[str] = WANTED) -> Recorded | Failed:
        """Boot a machine in a lab and write down what is wanted of it; its migration stream last."""
        with self._probe(lab) as probe:
            said = self._ask(probe, machine.question("record", wanted=list(wanted)))
        if said["outcome"] != "recorded":
            return Failed(said["outcome"], said["words"])
        stream = zlib.decompress(base64.b64decode(said["stream"])) if "stream" in said else b""
        return Recorded(
            said.get("dump", ""), said.get("qtree", ""), tuple(said.get("pci", ())),
            address_spaces(said.get("mtree", "")), said.get("cpu", {}), said.get("machine", {}),
            vmdesc(stream), stream, said.get("counter", 0), said["words"],
        )  # fmt: skip

    def replay(self, lab: Lab, machine: Machine, recorded: Recorded) -> Moved:
        """Load a recorded stream into a lab's QEMU and let the guest go on. Of the record, stream, counter and dump."""
        stream = base64.b64encode(zlib.compress(recorded.stream, 1)).decode()
        with self._probe(lab) as probe:
            said = self._ask(probe, machine.question("replay", stream=stream, counter=recorded.counter))
        return _moved(said, {"dump": recorded.dump, "counter": recorded.counter})

    def live(
        self, source: Lab, destination: Lab, machine: Machine, arriving: Machine | None = None
    ) -> Moved | Failed | NotHere:
        """Boot a machine in one lab and migrate it into another's QEMU, started with ``arriving`` where that differs."""
        for lab in (source, destination):
            if sandboxed(lab.command(daemon=False), self.shared) is None:
                return NotHere(
                    f"{lab.release} runs elsewhere and shares no directory for the migration socket",
                    "use a lab that bubblewrap enters",
                )
        socket = f"{SHARED}/{next(self.numbers)}"
        with self._probe(source) as here, self._probe(destination) as there:
            try:
                return self._handed_over(here, there, machine, arriving or machine, socket)
            finally:
                # What is left running after a failure of either side.
                for probe in (here, there):
                    self._ask(probe, {"op": "drop"})
                (self.shared / Path(socket).name).unlink(missing_ok=True)

    def machines(self, lab: Lab, **options: bool) -> list[dict[str, Any]]:
        """``query-machines``, for example with ``compat_props=True`` where QEMU has that. LabError where it has not."""
        arguments = {name.replace("_", "-"): value for name, value in options.items()}
        return list(self.ask(lab, Machine(("-M", "none")), {"execute": "query-machines", "arguments": arguments})[0])

    def ask(self, lab: Lab, machine: Machine, *commands: Mapping[str, Any]) -> list[Any]:
        """What the monitor of a machine without a guest returns for each command. LabError where it does not."""
        with self._probe(lab) as probe:
            said = self._ask(probe, machine.question("ask", commands=[dict(command) for command in commands]))
        if said["outcome"] != "answered":
            raise LabError(f"{lab.release}: QEMU {said['outcome']}: {said['words']}", "try it by hand in the lab")
        for command, answer in zip(commands, said["answers"], strict=True):
            if "error" in answer:
                raise LabError(f"{lab.release}: {command['execute']}: {answer['error']['desc']}", "ask something else")
        return [answer["return"] for answer in said["answers"]]

    def _handed_over(
        self, here: Probe, there: Probe, machine: Machine, arriving: Machine, socket: str
    ) -> Moved | Failed:
        # The source boots while the destination starts.
        self._ask(here, machine.question("start"))
        ready = self._ask(there, arriving.question("receive", socket=socket))
        if ready["outcome"] != "listening":
            return _moved(ready, {})
        sent = self._ask(here, {"op": "send", "socket": socket})
        if sent["outcome"] == "sent":
            return _moved(self._ask(there, {"op": "finish", "counter": sent["counter"]}), sent)
        if sent["outcome"] == "refused":
            # A destination that hangs up fails the source's side, too, and it is the one that knows why.
            arrived = self._ask(there, {"op": "finish", "counter": 0, "step": AFTERMATH})
            if arrived["outcome"] in ("refused", "crashed"):
                return _moved(arrived, sent)
        return Failed(sent["outcome"], sent["words"])

    @contextmanager
    def _probe(self, lab: Lab) -> Iterator[Probe]:
        """An idle probe in a lab, for one thread at a time."""
        command = lab.command(daemon=False)
        key = tuple(sandboxed(command, self.shared) or command)
        with self.lock:
            waiting = self.idle.setdefault(key, [])
            probe = waiting.pop() if waiting else self._another(lab, key)
        try:
            yield probe
        finally:
            with self.lock:
                self.idle.get(key, []).append(probe)

    def _another(self, lab: Lab, command: Sequence[str]) -> Probe:
        files = {"guest.elf": self.guest, **self.files}
        opening = {
            "workdir": lab.workdir,
            "files": {name: base64.b64encode(data).decode() for name, data in files.items()},
        }
        probe = Probe(Session(Start(command, opening, self.limit + 30.0, source=PROBE)))
        self.everyone.append(probe)
        return probe

    def _ask(self, probe: Probe, question: dict[str, Any]) -> dict[str, Any]:
        return probe.ask({"step": self.step, "limit": self.limit, **question})


def _moved(said: Mapping[str, Any], source: Mapping[str, Any]) -> Moved:
    return Moved(
        said["outcome"], said["words"], source.get("dump", ""), said.get("dump", ""),
        source.get("counter", 0), said.get("counter", 0), said.get("mismatches", 0),
    )  # fmt: skip
