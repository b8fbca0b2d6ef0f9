"""A probe process: started in a lab, asked many questions in a row, survived when it crashes, hangs or lies."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from virtcompat.errors import LabError
from virtcompat.store import paths

Request = dict[str, Any]
Reply = dict[str, Any]

#: What stands in place of an answer where the probe died, fell silent or lied.
DEATHS = ("crashed", "hung", "garbled")
PROBE = paths.PACKAGE / "probes" / "libvirt_probe.py"
ADDRESS_SPACE = 6 << 30
#: A probe that has grown beyond this many KiB is replaced by a fresh one.
RSS_LIMIT = 1 << 20
#: A line of libvirt's own log, which goes to stderr with the time of day.
LOGGED = re.compile(r"\d{4}-\d\d-\d\d .*: (debug|info|warning|error) :")


@dataclass(frozen=True, slots=True)
class Start:
    """How a probe is started: the command that becomes it, and what it opens."""

    command: Sequence[str]
    opening: Mapping[str, Any]
    time_limit: float = 30.0
    address_space: int = ADDRESS_SPACE
    source: Path = PROBE


@dataclass(slots=True)
class Process:
    """One running probe. ``lines`` yields answers; None stands for its death, TimeoutError for silence."""

    start: Start
    popen: subprocess.Popen[bytes] = field(init=False)
    errors: BinaryIO = field(init=False)
    writer: threading.Thread = field(init=False)
    outbox: queue.SimpleQueue[bytes | None] = field(default_factory=queue.SimpleQueue)
    buffer: bytearray = field(default_factory=bytearray)
    opened: Reply = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        try:
            self.popen = subprocess.Popen(
                list(self.start.command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self.errors.close()
            raise LabError(f"cannot run {self.start.command[0]}: {error.strerror}", "virt-compat doctor") from error
        os.set_blocking(self._stdout.fileno(), False)
        # Writing has a thread of its own: a probe that is busy answering does not read.
        self.writer = threading.Thread(target=self._write, daemon=True)
        self.writer.start()
        source = self.start.source.read_text(encoding="utf-8")
        self.outbox.put(f"{len(source)}\n{source}".encode())
        self.send({"op": "open", "id": 0, "address_space": self.start.address_space, **self.start.opening})
        self._open()

    def _open(self) -> None:
        line: bytes | None = None
        try:
            line = self.line(max(self.start.time_limit, 60.0))
            self.opened = json.loads(line) if line else {}
        except (TimeoutError, ValueError):
            self.opened = {}
        if self.opened.get("status") != "opened":
            words = self.last_words()
            self.close()
            # A far host's login may print before the probe speaks.
            noise = f"not an answer: {line[:80]!r}" if line and not self.opened else ""
            said = self.opened.get("message") or noise or words or f"exit status {self.popen.returncode}"
            raise OpenFailed(said, dict(self.opened))

    @property
    def _stdout(self) -> BinaryIO:
        assert self.popen.stdout is not None
        return self.popen.stdout  # type: ignore[return-value]  # Popen without text gives a binary stream

    def send(self, request: Request) -> None:
        self.outbox.put(json.dumps(request).encode() + b"\n")

    def _write(self) -> None:
        stdin = self.popen.stdin
        assert stdin is not None
        with contextlib.suppress(OSError):
            while (data := self.outbox.get()) is not None:
                stdin.write(data)
                stdin.flush()
        with contextlib.suppress(OSError):
            stdin.close()

    def line(self, limit: float) -> bytes | None:
        """The next line of answer; None when the probe is gone, TimeoutError when it says nothing for ``limit`` s."""
        deadline = time.monotonic() + limit
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            while True:
                end = self.buffer.find(b"\n")
                if end >= 0:
                    line = bytes(self.buffer[:end])
                    del self.buffer[: end + 1]
                    return line
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                data = self._stdout.read(1 << 16)
                if data == b"":
                    return None
                self.buffer += data or b""

    def last_words(self) -> str:
        """The end of what the probe printed to stderr."""
        self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, self.errors.tell() - 2000))
        lines = self.errors.read().decode("utf-8", "replace").strip().splitlines()
        return " | ".join([line for line in lines if not LOGGED.match(line)][-3:])

    def status(self) -> str:
        """How it ended: a signal's name or an exit status (the sandbox reports signal n as 128 + n)."""
        code = self.popen.wait(10)
        number = -code if code < 0 else code - 128
        if 0 < number < 65:
            with contextlib.suppress(ValueError):
                return signal.Signals(number).name
        return f"exit status {code}"

    def close(self) -> None:
        """End the probe and everything it started; bubblewrap takes the whole namespace down with it."""
        self.outbox.put(None)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        self.writer.join()
        self._stdout.close()
        self.errors.close()


class OpenFailed(LabError):
    """The probe did not open its connection; ``reply`` is what it said, empty where it said nothing."""

    def __init__(self, message: str, reply: Reply) -> None:
        super().__init__(f"the probe could not open its connection: {message}", "virt-compat doctor")
        self.said = message
        self.reply = reply


@dataclass(slots=True)
class Session:
    """A probe that is restarted as often as it dies, and blames the one question that killed it."""

    start: Start
    window: int = 64
    process: Process | None = None
    restarts: int = 0

    def ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """(index, reply) for every request, in order. A death is blamed on the first unanswered question, which is
        asked once more, alone, in a fresh process: only if it kills that one too is the death its answer."""
        at = 0
        while at < len(requests):
            death: Reply | None = None
            for index, reply, death in self._stretch(requests, at):
                if death is None:
                    yield index, reply
                    at = index + 1
            if death is not None:
                yield at, self._alone(requests, at, death)
                at += 1

    def _stretch(self, requests: Sequence[Request], first: int) -> Iterator[tuple[int, Reply, Reply | None]]:
        """Ask from ``first`` until the end or the first death; yields (index, reply, death)."""
        process = self._running()
        sent = first
        for at in range(first, len(requests)):
            while sent < min(at + self.window, len(requests)):
                process.send({**requests[sent], "id": sent + 1})
                sent += 1
            death = self._next(process, at + 1)
            if death["status"] in DEATHS:
                yield at, {}, death
                return
            yield at, death, None
            if int(death.get("rss", 0)) > RSS_LIMIT and at + 1 == sent:
                self.close()
                process = self._running()

    def _next(self, process: Process, expected: int) -> Reply:
        """One reply, or the death that came instead."""
        try:
            line = process.line(self.start.time_limit)
        except TimeoutError:
            return self._dead("hung", f"no answer within {self.start.time_limit:g} s")
        if line is None:
            words = process.last_words()
            return self._dead("crashed", f"{process.status()}{': ' + words if words else ''}")
        try:
            reply = json.loads(line)
            if reply["id"] == expected:
                return dict(reply)
        except (ValueError, KeyError, TypeError):
            pass
        return self._dead("garbled", f"not an answer: {line[:80]!r}")

    def _dead(self, status: str, message: str) -> Reply:
        self.close()
        self.restarts += 1
        return {"status": status, "message": message}

    def _alone(self, requests: Sequence[Request], at: int, death: Reply) -> Reply:
        process = self._running()
        process.send({**requests[at], "id": at + 1})
        again = self._next(process, at + 1)
        if again["status"] not in DEATHS:
            # Innocent alone: what killed the probe depends on what it had been asked before.
            return {**again, "unsettled": f"{death['status']} after {at} others: {death['message']}"}
        return again

    def _running(self) -> Process:
        if self.process is None:
            try:
                self.process = Process(self.start)
            except OpenFailed as error:
                if error.reply:
                    raise
                # It said nothing at all: a daemon that is slow to come up on a busy machine gets a second chance.
                self.process = Process(self.start)
        return self.process

    def close(self) -> None:
        if self.process is not None:
            self.process.close()
            self.process = None
