"""Clients of one release and daemons of another, each in its own lab, on one private network: unix sockets, TCP and TLS.

Every sandbox is entered from the network namespace of one idle process, so that a client and a daemon of different
releases meet on its loopback device. Unix sockets and certificates lie on a file system in memory that is that process's
alone. Nothing is reachable from outside, nothing is on the disk, and everything ends with the process that started it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from virtcompat.errors import Absent, LabError
from virtcompat.labs import Lab, bwrap, within
from virtcompat.labs.session import DEATHS, OpenFailed, Session, Start
from virtcompat.store import paths
from virtcompat.store.remote import Topic

CLIENT = paths.PACKAGE / "probes" / "client_probe.py"
DAEMON = paths.PACKAGE / "probes" / "daemon_probe.py"
TRANSPORTS = ("unix", "tcp", "tls")
#: Where the shared directory is inside every sandbox.
SHARED = f"{bwrap.WORKDIR}/shared"
#: By this name every client calls every daemon; its certificate is for it.
HOST = "localhost"
FIRST_PORT = 16600
#: The longest that one call may take, in seconds.
LIMIT = 10.0
#: The longest that one topic may take: a hung call, and what is asked again without it, included.
TOPIC_LIMIT = 120.0
#: How often a topic is asked again without the calls that ended it, before the rest is given up.
TRIES = 5
NEEDED = {"nsenter": "util-linux", "bwrap": "bubblewrap"}
#: What holds the namespaces: it says its process number and waits until nobody holds its other end.
HOLDER = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
#: Classes of a call after which nothing more can be asked on its connection.
ENDINGS = ("dropped", "hung", "crashed")
#: In the place of a call: the opening of the topic's connection.
OPEN = "(open)"

Record = dict[str, Any]
Records = dict[str, Record]


@dataclass(frozen=True, slots=True)
class Address:
    """How a client writes where a daemon is: ``DRIVER+TRANSPORT://HOST/PATH?QUERY``."""

    transport: str
    host: str
    query: str

    @property
    def parts(self) -> dict[str, str]:
        return {"transport": self.transport, "host": self.host, "query": self.query}

    def uri(self, driver: str, path: str) -> str:
        return f"{driver}+{self.transport}://{self.host}/{path}{'?' + self.query if self.query else ''}"


@dataclass(slots=True)
class Namespaces:
    """An idle process with a network and a file system in memory of its own, which others enter."""

    mount: Path = field(init=False)
    popen: subprocess.Popen[bytes] = field(init=False)
    pid: int = 0
    closed: bool = False

    def __post_init__(self) -> None:
        for program, package in NEEDED.items():
            if shutil.which(program) is None:
                raise Absent(f"{program} is not installed", f"apt-get install {package}")
        self.mount = paths.cache_dir() / "shared"
        self.mount.mkdir(exist_ok=True)
        own = [
            "--unshare-user",
            "--unshare-net",
            "--uid",
            "0",
            "--gid",
            "0",
            "--cap-add",
            "ALL",
            "--dev-bind",
            "/",
            "/",
        ]
        argv = ["bwrap", "--die-with-parent", *own, "--tmpfs", str(self.mount), sys.executable, "-c", HOLDER]
        self.popen = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        assert self.popen.stdout is not None
        said = self.popen.stdout.readline().strip()
        if not said.isdigit():
            words = self.popen.communicate()[1].decode("utf-8", "replace").strip()
            raise Absent(f"no private network: {words}", "allow user namespaces, or run it as root")
        self.pid = int(said)

    @property
    def folder(self) -> Path:
        """The file system in memory, as this process sees it."""
        return Path(f"/proc/{self.pid}/root{self.mount}")

    def entered(self, lab: Lab, *, daemon: bool) -> list[str]:
        """A lab's command on this network, with the shared directory. Absent for a lab that bubblewrap does not enter."""
        argv = within(lab.command(daemon), "--bind", str(self.mount), SHARED)
        if argv is None or not lab.sandboxed:
            raise Absent(f"{lab.release} runs elsewhere", "use a lab that bubblewrap enters")
        enter = ["nsenter", f"--target={self.pid}", "--user", "--preserve-credentials", "--mount", "--net"]
        return [*enter, "--", *(word for word in argv if word != "--unshare-net")]

    def ask(self, session: Session, request: Mapping[str, Any]) -> Record:
        """The reply of a probe in here; LabError once these namespaces are closed: nothing is started any more."""
        if self.closed:
            raise LabError("the run has ended", "run it again")
        return next(dict(reply) for _, reply in session.ask([dict(request)]))

    def close(self) -> None:
        self.closed = True
        self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                pipe.close()


CONFIGURATION = """unix_sock_dir = "{folder}"
unix_sock_group = "root"
unix_sock_ro_perms = "0777"
unix_sock_rw_perms = "0777"
auth_unix_ro = "none"
auth_unix_rw = "none"
listen_addr = "127.0.0.1"
listen_tcp = 1
tcp_port = "{tcp}"
auth_tcp = "none"
listen_tls = 1
tls_port = "{tls}"
auth_tls = "none"
ca_file = "{pki}/cacert.pem"
cert_file = "{pki}/servercert.pem"
key_file = "{pki}/serverkey.pem"
host_uuid = "5f1c0de0-0000-4000-8000-000000000001"
"""
#: Without this QEMU's output goes to a virtlogd that is not there.
QEMU = 'user = "root"\ngroup = "root"\nstdio_handler = "file"\n'


@dataclass(slots=True)
class Daemon:
    """A release's libvirtd, on all three transports. ``number`` gives its ports."""

    lab: Lab
    room: Namespaces
    number: int
    session: Session = field(init=False)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        folder = self.room.folder / self.lab.release
        folder.mkdir()
        inside = f"{SHARED}/{self.lab.release}"
        text = CONFIGURATION.format(folder=inside, tcp=self.tcp, tls=self.tls, pki=f"{SHARED}/pki/own")
        opening = {
            "files": {"/etc/libvirt/libvirtd.conf": text, "/etc/libvirt/qemu.conf": QEMU},
            "unix": [f"{inside}/libvirt-sock", f"{inside}/libvirt-sock-ro"],
            "tcp": [self.tcp, self.tls],
            "log": f"{inside}/log",
        }
        self.session = Session(Start(self.room.entered(self.lab, daemon=True), opening, 60.0, source=DAEMON))

    @property
    def tcp(self) -> int:
        return FIRST_PORT + 2 * self.number

    @property
    def tls(self) -> int:
        return self.tcp + 1

    def address(self, transport: str) -> Address:
        if transport == "unix":
            return Address("unix", "", f"socket={SHARED}/{self.lab.release}/libvirt-sock")
        if transport == "tcp":
            return Address("tcp", f"{HOST}:{self.tcp}", "")
        return Address("tls", f"{HOST}:{self.tls}", f"pkipath={SHARED}/pki/own")

    def check(self, patience: float = 0.0) -> str:
        """How it ended, if it did (within ``patience`` seconds): by then it runs again. Absent: the lab has none."""
        try:
            with self.lock:
                reply = self.room.ask(self.session, {"op": "check", "patience": patience})
        except OpenFailed as error:
            if error.reply.get("status") == "absent":
                raise Absent(f"{self.lab.release}: no libvirtd", "install libvirt-daemon in the lab") from error
            raise LabError(f"{self.lab.release}: libvirtd did not start: {error.said}", "virt-compat doctor") from error
        return str(reply.get("message") or reply.get("words", ""))


@dataclass(slots=True)
class Client:
    """A release's client; one topic at a time is put through it."""

    lab: Lab
    room: Namespaces
    limit: float = LIMIT
    session: Session = field(init=False)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        argv = self.room.entered(self.lab, daemon=False)
        self.session = Session(Start(argv, {"limit": self.limit}, TOPIC_LIMIT, source=CLIENT))

    def ask(self, request: Mapping[str, Any]) -> Record:
        """The reply of the probe; LabError where there is none."""
        with self.lock:
            reply = self.room.ask(self.session, request)
        if reply["status"] in DEATHS:
            raise LabError(f"{self.lab.release}: {reply['status']}: {reply['message']}", "virt-compat doctor")
        return reply

    def alive(self, addresses: Sequence[Address], interval: int, count: int) -> list[str]:
        """For each address whether its daemon answers the client's pings: ``alive``, ``dropped`` or why it cannot be said."""
        uris = [a.uri("test", "default") for a in addresses]
        return list(self.ask({"op": "alive", "uris": uris, "interval": interval, "count": count})["said"])


def talk(client: Client, daemon: Daemon, transport: str, topic: Topic) -> Records:
    """What became of every call of a topic. A call that ended the connection is left out when the rest is asked again."""
    address = daemon.address(transport)
    calls = [c.question for c in topic.over(transport)]
    request = {
        "op": "topic", "uri": address.parts, "connect": topic.connect, "documents": topic.documents, "calls": calls,
    }  # fmt: skip
    opened: Record = {"class": "ok", "value": ""}
    words = "calls before it ended the connection too often"
    ended: Records = {}
    found: Records = {}
    for _ in range(TRIES):
        reply = client.ask({**request, "skip": list(ended)})
        if reply["refused"]:
            opened = {"class": "refused", "words": f"{reply['refused']} {daemon.check(0.5)}".strip()}
            found, words = {}, "the connection was not opened"
            break
        found = reply["records"]
        over = {name: record for name, record in found.items() if record["class"] in ENDINGS}
        if not over:
            break
        ended |= {name: _with(record, daemon.check(0.5)) for name, record in over.items()}
    left = {str(c["name"]): {"class": "unasked", "words": words} for c in calls}
    return {OPEN: opened, **left, **found, **ended}


def _with(record: Record, words: str) -> Record:
    return {**record, "words": f"{record.get('words', '')}; {words}".strip("; ")} if words else record


@dataclass(slots=True)
class Arena:
    """Every client and daemon of a run, started when they are needed and gone when the block ends."""

    limit: float = LIMIT
    room: Namespaces = field(init=False)
    daemons: dict[str, Daemon] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        # Here alone: every command would wait for the library that makes certificates.
        from virtcompat.labs import certificates

        self.room = Namespaces()
        try:
            certificates.write(self.room.folder / "pki", HOST, "127.0.0.1")
        except BaseException:
            self.room.close()
            raise
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def stop(self) -> None:
        """Kill everything, whoever waits for it in another thread: what waits is told, and can start nothing more."""
        self.room.close()
        for session in self._sessions():
            if (process := session.process) is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.popen.pid, signal.SIGKILL)

    def close(self) -> None:
        """End everything, once nobody waits for an answer any more."""
        self.room.close()
        for session in self._sessions():
            session.close()

    def _sessions(self) -> list[Session]:
        with self.lock:
            return [c.session for c in self.clients.values()] + [d.session for d in self.daemons.values()]

    def daemon(self, lab: Lab) -> Daemon:
        with self.lock:
            if lab.release not in self.daemons:
                self.daemons[lab.release] = Daemon(lab, self.room, len(self.daemons))
            return self.daemons[lab.release]

    def client(self, lab: Lab) -> Client:
        with self.lock:
            if lab.release not in self.clients:
                self.clients[lab.release] = Client(lab, self.room, self.limit)
            return self.clients[lab.release]
