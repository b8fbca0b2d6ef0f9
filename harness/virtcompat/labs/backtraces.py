"""Backtraces: one question asked of a lab's probe under gdb, and what the process was doing when it died or hung.

gdb is this machine's own, with the lab's root as its sysroot. Labs have no debugging symbols; libvirt exports its private
functions, so that most frames have a name and static functions have none.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from virtcompat.labs.prober import Asked, requested, starting
from virtcompat.labs.session import OpenFailed, Process
from virtcompat.model import NotHere

#: Seconds for gdb to read symbols and stand ready.
READY = 30.0
FRAMES = 40
COMMANDS = (
    "handle SIGPIPE nostop noprint pass", "echo READY\\n", "continue",
    "printf \"FAULT %d %d %#lx\\n\", $_siginfo.si_signo, $_siginfo.si_code, (long)$_siginfo._sifields._sigfault.si_addr",
    f"bt {FRAMES}", "x/i $pc",
)  # fmt: skip
SETTINGS = ("set debuginfod enabled off", "set auto-load off", "set pagination off", "set confirm off", "set width 0")
#: What a probe does itself: no frame of interest from here on outwards.
INTERPRETER = re.compile(r"^(_?Py|libvirt_vir|__libc_start|_start\b)")


@dataclass(frozen=True, slots=True)
class Trace:
    """Where a process was. signal: its name, empty where it hung; code: si_code; address: of the fault.

    frames: function and library, ``virExpandN (libvirt.so.0)``, the innermost first, the interpreter's left out; ``??`` is a
    function without a name. words: what it last said on stderr. instruction: at which it stopped.
    """

    signal: str
    code: int = 0
    address: int = 0
    frames: tuple[str, ...] = ()
    words: str = ""
    instruction: str = ""

    @property
    def place(self) -> str:
        """The innermost two functions with a name that are libvirt's: what tells one cause from another."""
        named = [frame.split()[0] for frame in self.frames if "libvirt" in frame and not frame.startswith("??")]
        return " < ".join(named[:2])


def take(asked: Asked, limit: float = 10.0) -> Trace | NotHere:
    """Ask a question under gdb. NotHere without gdb, where the lab is on another machine, or where nothing happens.

    limit: seconds after which a process that is silent has hung, and is stopped to be looked at.
    """
    if not shutil.which("gdb"):
        return NotHere("gdb is not installed", "apt-get install gdb")
    if asked.question.op == "load":
        return NotHere("a driver that dies as it starts is not looked at", "start it by hand on the file")
    start = starting(asked.lab, asked.setup, {})
    root = sysroot(start.command)
    if root is None:
        return NotHere("gdb looks into sandboxes of this machine alone", "use a built lab or a root")
    try:
        process = Process(start)
    except OpenFailed as error:
        return NotHere(f"the driver does not open: {error.said}", "virt-compat doctor")
    try:
        return _watched(process, asked, root, limit)
    finally:
        process.close()


def sysroot(command: Sequence[str]) -> Path | None:
    """Where the root of a sandbox is on this machine: the directory above what it shows as /usr; None for no sandbox of ours."""
    if command[0] != "bwrap":
        return None
    binds = zip(command, command[1:], command[2:], strict=False)
    return next((Path(source).parent for word, source, to in binds if word == "--ro-bind" and to == "/usr"), None)


def _watched(process: Process, asked: Asked, root: Path, limit: float) -> Trace | NotHere:
    pid = _inner(process.popen.pid, "libvirtd" if asked.setup.daemon else "")
    try:
        program = str(root) + str(Path(f"/proc/{pid}/exe").readlink())
    except OSError as error:
        return NotHere(f"the lab's process cannot be looked at: {error.strerror}", "run it as root")
    argv = ["gdb", "-nx", "-q", "-batch", "-iex", f"set sysroot {root}"]
    argv += [word for setting in SETTINGS for word in ("-iex", setting)] + [program, "-p", str(pid)]
    argv += [word for command in COMMANDS for word in ("-ex", command)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT) as gdb:
        timer = threading.Timer(READY + limit * 2, gdb.kill)
        timer.start()
        try:
            lines = _lines(gdb, process, asked, (pid, limit))
        finally:
            timer.cancel()
            with contextlib.suppress(ProcessLookupError):
                gdb.kill()
    return read(lines, process.last_words())


def _lines(gdb: subprocess.Popen[bytes], process: Process, asked: Asked, of: tuple[int, float]) -> list[str]:
    """What gdb says from the question on. of: the process that is watched, and how long it may be silent."""
    pid, limit = of
    assert gdb.stdout is not None
    for line in gdb.stdout:
        if line.startswith(b"READY"):
            break
    process.send({**requested(asked, "define"), "id": 1})
    stopper = threading.Timer(limit, _interrupt, (pid,))
    stopper.start()
    waiter = threading.Thread(target=_release, args=(process, gdb, limit), daemon=True)
    waiter.start()
    try:
        return gdb.stdout.read().decode("utf-8", "replace").splitlines()
    finally:
        stopper.cancel()
        waiter.join()


def _interrupt(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGINT)


def _release(process: Process, gdb: subprocess.Popen[bytes], limit: float) -> None:
    """Let go of a probe that answered after all: gdb would wait for ever."""
    deadline = time.monotonic() + limit
    with contextlib.suppress(TimeoutError):
        line = process.line(limit)
        if line is not None and time.monotonic() < deadline:
            gdb.terminate()


def _inner(pid: int, name: str) -> int:
    """The process in a sandbox that is asked: the last child of children, or the one of that name."""
    waiting, last = [pid], pid
    while waiting:
        last = waiting.pop(0)
        with contextlib.suppress(OSError):
            if name and Path(f"/proc/{last}/comm").read_text().strip() == name:
                return last
            waiting += [int(child) for child in Path(f"/proc/{last}/task/{last}/children").read_text().split()]
    return last


def read(lines: Sequence[str], words: str = "") -> Trace | NotHere:
    """A trace out of what gdb printed."""
    fault = next((line.split() for line in lines if line.startswith("FAULT ")), None)
    received = next((m for line in lines if (m := re.search(r"received signal (SIG\w+)", line))), None)
    if received is None:
        return NotHere("nothing happened under gdb", "ask it again")
    number, code, address = (int(word, 0) for word in fault[1:4]) if fault else (0, 0, 0)
    name = received[1] if received[1] != "SIGINT" else ""
    several = [found for line in lines if (found := _frame(line))]
    end = next((at for at, frame in enumerate(several) if INTERPRETER.match(frame)), len(several))
    instruction = next((line[3:].strip() for line in lines if line.startswith("=> ")), "")
    if not number or not name:
        code, address = 0, 0
    return Trace(name, code, address & (1 << 64) - 1, tuple(several[:end]), words, instruction)


def _frame(line: str) -> str:
    """``#1  0x… in virExpandN () from …/libvirt.so.0`` -> ``virExpandN (libvirt.so.0)``; empty for any other line."""
    found = re.match(r"#\d+\s+(?:0x[0-9a-f]+ in )?([\w?.@]+) \(.*?\)(?: from (\S+))?", line)
    if not found:
        return ""
    return f"{found[1]} ({Path(found[2]).name})" if found[2] else found[1]
