"""Whole hosts: a lab's system daemon with network devices, firewall and files of its own, called and looked at from inside.

The sandbox has network, process, mount and user namespaces of its own. Where this machine lets it, the user namespace
maps 65,536 users one to one (*mapped*): libvirt then starts QEMU and dnsmasq as their own users. Otherwise it
has one user, who is root in it: what starts a process as somebody else cannot be asked. Real users' rights are not
given to either: root inside may do nothing outside, and everything ends with the process that started it.
"""

from __future__ import annotations

import base64
import getpass
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from virtcompat.errors import Absent, LabError
from virtcompat.labs import Lab, bwrap, within
from virtcompat.labs.session import DEATHS, OpenFailed, Session, Start
from virtcompat.store import paths

PROBE = paths.PACKAGE / "probes" / "host_probe.py"
#: The flavour of a release's lab that is a whole host.
FLAVOUR = "sys"
#: The longest wait for one call, in seconds.
LIMIT = 30.0
USERS = 65536
REMEDY = (
    "run as root, or: apt-get install uidmap, and give this user 65536 subordinate ids in /etc/subuid and /etc/subgid"
)
#: A program run by this machine's own Python: it makes a user namespace in which the given maps hold, and becomes the
#: command. argv: "write" (the maps are written by root) or "ask" (newuidmap and newgidmap write them), the map of users,
#: the map of groups, the command. The maps are written from outside the namespace, by a child that stays there.
MAPPED = """import ctypes, os, subprocess, sys
way, users, groups, command = sys.argv[1], sys.argv[2].split(), sys.argv[3].split(), sys.argv[4:]
made, told = os.pipe()
child = os.fork()
if child == 0:
    os.close(told)
    os.read(made, 1)
    for file, program, words in (("uid_map", "newuidmap", users), ("gid_map", "newgidmap", groups)):
        if way == "ask":
            subprocess.run([program, str(os.getppid()), *words], check=True)
        else:
            with open("/proc/%d/%s" % (os.getppid(), file), "w") as out:
                out.write("".join(" ".join(words[n:n + 3]) + chr(10) for n in range(0, len(words), 3)))
    os._exit(0)
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000):
    sys.exit("no user namespace: " + os.strerror(ctypes.get_errno()))
os.write(told, b"x")
if os.waitpid(child, 0)[1]:
    sys.exit("the users could not be mapped")
os.close(told)
os.close(made)
os.setgroups([])
os.setresgid(0, 0, 0)
os.setresuid(0, 0, 0)
os.execvp(command[0], command)
"""
#: Where root is the only user there is, nothing is given to others; the daemon would not start otherwise.
ALONE = {"/etc/libvirt/qemu.conf": 'stdio_handler = "file"\nuser = "root"\ngroup = "root"\n'}
#: Users that packages of a whole host would have made, besides those of every sandbox.
ETC = {
    "passwd": "libvirt-dnsmasq:x:64057:64057::/var/lib/libvirt/dnsmasq:/usr/sbin/nologin\n"
    "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n",
    "group": "libvirt-dnsmasq:x:64057:\nnogroup:x:65534:\n",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What a call came to: ``ok`` with its value, ``refused`` with the names of code and domain and words, ``crashed`` or
    ``hung`` (words say how), ``no-binding``: the lab's binding has no such call, ``no-object``: there is none to call, or
    ``garbled``: refused with words that are no text."""

    outcome: str
    value: Any = None
    code: str = ""
    domain: str = ""
    words: str = ""

    @property
    def text(self) -> str:
        """The outcome as a class, the same in every release that does the same: without words."""
        if self.outcome == "refused":
            return f"refused: {self.code.removeprefix('VIR_ERR_')} ({self.domain.removeprefix('VIR_FROM_')})"
        return self.outcome


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did on the host."""

    code: int
    out: str
    err: str


def ranges(file: Path, names: Sequence[str]) -> tuple[int, int] | None:
    """(first, count) of somebody's first large enough range of subordinate ids in a file such as /etc/subuid."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        parts = line.split(":")
        if (
            len(parts) == 3
            and parts[0] in names
            and parts[1].isdigit()
            and parts[2].isdigit()
            and int(parts[2]) >= USERS
        ):
            return int(parts[1]), int(parts[2])
    return None


@cache
def maps() -> tuple[str, str, str] | None:
    """(way, users, groups) as MAPPED takes them; None where this machine lets this user map nobody but itself."""
    if os.geteuid() == 0:
        whole = f"0 0 {USERS}"
        given = Path("/proc/self/uid_map").read_text(encoding="utf-8").split()
        # A container's root may have fewer users than a machine's.
        return ("write", whole, whole) if given[0] == "0" and int(given[2]) >= USERS else None
    if not shutil.which("newuidmap") or not shutil.which("newgidmap"):
        return None
    names = (getpass.getuser(), str(os.getuid()))
    users, groups = ranges(Path("/etc/subuid"), names), ranges(Path("/etc/subgid"), names)
    if users is None or groups is None:
        return None
    return (
        "ask",
        f"0 {os.getuid()} 1 1 {users[0]} {USERS - 1}",
        f"0 {os.getgid()} 1 1 {groups[0]} {USERS - 1}",
    )


def _etc() -> Path:
    """A directory with the users of a whole host, written aside and renamed when whole."""
    folder = paths.cache_dir() / "etc-sys"
    folder.mkdir(parents=True, exist_ok=True)
    for name, more in ETC.items():
        file, text = folder / name, bwrap.ETC[name] + more
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            aside = folder / f".{name}.{os.getpid()}.{threading.get_ident()}"
            aside.write_text(text, encoding="utf-8")
            aside.replace(file)
    return folder


def command(lab: Lab, *, mapped: bool) -> list[str]:
    """The lab's command for a whole host; Absent where the lab is no sandbox of its own."""
    own = [word for name in ETC for word in ("--ro-bind", str(_etc() / name), f"/etc/{name}")]
    # What libvirt learns about QEMU is learnt anew: other users' files would stay behind in the cache.
    argv = within(lab.command(daemon=True), *own, "--tmpfs", "/var/cache/libvirt")
    if not lab.sandboxed or argv is None:
        raise Absent(
            f"{lab.release}: a host is started in a sandbox only", "use a lab of packages or a root of your own"
        )
    if not mapped:
        return argv
    found = maps()
    assert found is not None
    # The user namespace is made before bubblewrap, which would map one user only.
    at = argv.index("--unshare-user")
    argv = [*argv[:at], *argv[at + 1 :]]
    for option in ("--uid", "--gid"):
        at = argv.index(option)
        argv = [*argv[:at], *argv[at + 2 :]]
    return [sys.executable, "-I", "-c", MAPPED, *found, *argv]


@dataclass(slots=True)
class Host:
    """A host that is asked one thing after the other; its daemon runs from the first question on. Close it.

    uri: ``{socket}`` stands for the daemon's socket. users: whether what is asked needs users other than root. files:
    {path: text} that lie there before the daemon starts; it finds programs in /run/bin first. sysfs: /sys shows the
    host's own network devices, and no control groups.
    """

    lab: Lab
    uri: str
    users: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    sysfs: bool = False
    limit: float = LIMIT
    session: Session = field(init=False)

    def __post_init__(self) -> None:
        if self.users and maps() is None:
            raise Absent(f"{self.lab.release}: no users but one in a sandbox here", REMEDY)
        opening = {"workdir": self.lab.workdir, "uri": self.uri, "limit": self.limit}
        opening |= {"files": {**(ALONE if maps() is None else {}), **self.files}, "sysfs": self.sysfs}
        argv = command(self.lab, mapped=maps() is not None)
        self.session = Session(Start(argv, opening, 4 * self.limit, source=PROBE))

    def close(self) -> None:
        self.session.close()

    def ask(self, op: str, **question: Any) -> dict[str, Any]:
        """The probe's own answer. LabError where the probe fails, Absent where the lab lacks what it takes."""
        try:
            reply = next(reply for _, reply in self.session.ask([{"op": op, **question}]))
        except OpenFailed as error:
            if error.reply.get("status") == "absent" or "No module named 'libvirt'" in error.said:
                raise Absent(
                    f"{self.lab.release}: {error.said}", f"virt-compat lab create {self.lab.release}"
                ) from error
            raise
        # A probe that died was started anew, on a host where nothing is any more that was there before.
        if reply["status"] in DEATHS or reply.get("outcome") == "failed" or self.session.restarts:
            words = reply.get("message") or reply.get("unsettled") or reply.get("words")
            raise LabError(
                f"{self.lab.release}: {op} {question}: {reply.get('outcome')}: {words}", "virt-compat doctor"
            )
        if reply.get("outcome") == "absent":
            raise Absent(f"{self.lab.release}: {reply['words']}", "install it in the lab")
        return reply

    def _said(self, reply: Mapping[str, Any]) -> Said:
        names = ("outcome", "value", "code", "domain", "words")
        return Said(**{name: reply[name] for name in names if name in reply})

    def call(self, method: str, *args: Any, on: str = "", keep: str = "") -> Said:
        """Call a method of the connection, or of the object that was kept under the name ``on``."""
        return self._said(self.ask("call", method=method, args=args, on=on, keep=keep))

    def restart(self, *between: str, hard: bool = False) -> Said:
        """End the daemon (``hard``: kill it), run a command if one is given, start it again. Nothing kept lives on."""
        return self._said(self.ask("restart", hard=hard, between=between))

    def run(self, *argv: str, stdin: str = "") -> Ran:
        """Run a command of the host's. Absent where there is no such program."""
        reply = self.ask("run", argv=argv, stdin=stdin)
        if reply["outcome"] != "ok":
            raise LabError(f"{self.lab.release}: {reply['words']}", "try it by hand in the lab")
        return Ran(int(reply["code"]), str(reply["out"]), str(reply["err"]))

    def out(self, *argv: str) -> str:
        """What a command prints that has to succeed."""
        ran = self.run(*argv)
        if ran.code:
            words = f"{' '.join(argv)}: exit status {ran.code}: {ran.err.strip()[-300:]}"
            raise LabError(f"{self.lab.release}: {words}", "try it by hand in the lab")
        return ran.out

    def read(self, *patterns: str) -> dict[str, str]:
        """The texts of the host's files of these patterns, by path."""
        return dict(sorted(self.ask("read", patterns=patterns)["files"].items()))

    def write(self, path: str, data: bytes | str) -> None:
        raw = data.encode() if isinstance(data, str) else data
        self.ask("write", path=path, data=base64.b64encode(raw).decode())

    def processes(self, name: str) -> list[list[str]]:
        """The command lines of the host's processes of that name."""
        return list(self.ask("processes", name=name)["argvs"])

    def events(self, name: str, expected: int) -> list[list[Any]]:
        """What the daemon has told of an object since it started; waits some seconds for as many as are expected."""
        return list(self.ask("events", name=name, expected=expected)["events"])


@contextmanager
def hosting(
    lab: Lab, uri: str, *, users: bool = False, files: Mapping[str, str] | None = None, sysfs: bool = False
) -> Iterator[Host]:
    """A host that is gone when the block ends, with everything on it."""
    host = Host(lab, uri, users, files or {}, sysfs)
    try:
        yield host
    finally:
        host.close()
