"""What a release's libvirtd does with messages that no client sends: spoken to in its own protocol, byte by byte.

A program, not a module of virt-compat: standard library only, Python 3.9 and newer. It runs inside a lab, starts the lab's
session libvirtd there, and speaks JSON lines: one question a line on stdin, one answer a line on stdout.

    {"id": 0, "op": "open", "workdir": DIR}
    {"id": 1, "op": "probe", "messages": […], "procedures": {NAME: [program, number]}, "garbage": {NAME: hex}, "conduct": true}

A message is {"name": …, "data": hex, "byte": 0, "fill": how many of these follow, "files": descriptors sent along, "serial": …,
"state": "new", "authenticated" or "opened" (what was said before on its connection), "then": …}. garbage is put to every
procedure as its arguments; conduct asks what needs more than one message.

The answer's ``facts`` are {path: what came of it}: for a message whose ``then`` is "call"

    ok, error CODE from DOMAIN, nothing, stream        the reply to it; then, after a comma,
    goes on, closed, silent, out of step               what becomes of an honest call that follows on the same connection

for "wait", and for "end" (nothing more is sent, and the daemon told so), ``closed`` or ``waits``. Where the daemon is gone
after it, or does not answer another client, the value starts with ``DAEMON``: it is started anew.
"""

import array
import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

REMOTE, KEEPALIVE = 0x20008086, 0x6B656570
CALL, REPLY, MESSAGE, STREAM, HOLE = 0, 1, 2, 3, 6
OK, ERROR = 0, 1
OPEN, FEATURE, AUTH_LIST, LIB_VERSION = 1, 60, 66, 157
SPEAKS_KEEPALIVE = 10  # VIR_DRV_FEATURE_PROGRAM_KEEPALIVE
PING, PONG = 1, 2
HEADER = struct.Struct(">IIiiII")
#: The longest wait for something that is sure to come, and for something that may come late, in seconds.
LIMIT, LATE = 10.0, 0.1
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)  # looked up before any fork
UNREAD = "error 39 from 7"  # VIR_ERR_RPC from VIR_FROM_RPC
FOLDER = "/run/virt-compat"
CONFIGURATION = "keepalive_interval = 1\nkeepalive_count = 1\n"
NODE = "<node><domain type='test'><name>one</name><memory>65536</memory><os><type>hvm</type></os></domain></node>"
DAEMON = None


class Gone(Exception):
    """The daemon closed the connection."""


class OutOfStep(Exception):
    """The daemon sent bytes that are no message: nothing that follows can be understood."""


# The daemon.


def path(*names):
    return os.path.join(FOLDER, *names)


def end_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def start():
    global DAEMON
    for name in ("run", "config/libvirt", "home", "cache"):
        os.makedirs(path(name), mode=0o700, exist_ok=True)
    for name, text in {"config/libvirt/libvirtd.conf": CONFIGURATION, "node.xml": NODE}.items():
        with open(path(name), "w", encoding="utf-8") as file:
            file.write(text)
    environment = dict(
        os.environ, XDG_RUNTIME_DIR=path("run"), XDG_CONFIG_HOME=path("config"), XDG_CACHE_HOME=path("cache"),
        HOME=path("home"),
    )  # fmt: skip
    DAEMON = subprocess.Popen(
        ["libvirtd"], stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), stderr=sys.stderr.fileno(),
        env=environment, preexec_fn=end_with_parent,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not healthy():
        if DAEMON.poll() is not None or time.monotonic() > deadline:
            raise OSError("libvirtd did not come up (exit status %s)" % DAEMON.poll())
        time.sleep(0.02)


def healthy():
    """Whether another client can open a connection and is answered."""
    try:
        with Wire() as wire:
            return wire.open() == "ok" and wire.call(LIB_VERSION)[0] == "ok"
    except (OSError, Gone, OutOfStep):
        return False


def descriptors():
    """How many files the daemon holds open, once that stays the same."""
    last, count = -1, len(os.listdir("/proc/%d/fd" % DAEMON.pid))
    while count != last:
        time.sleep(LATE)
        last, count = count, len(os.listdir("/proc/%d/fd" % DAEMON.pid))
    return count


# The protocol.


def message(procedure, payload=b"", program=REMOTE, kind=CALL, serial=1):
    body = HEADER.pack(program, 1, procedure, kind, serial, OK) + payload
    return struct.pack(">I", len(body) + 4) + body


class Wire:
    """One connection, without any sense of what is right."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.buffer = b""
        self.serial = 100
        try:
            self.socket.connect(path("run", "libvirt", "libvirt-sock"))
        except OSError:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        self.socket.close()

    def send(self, data, files=()):
        try:
            self.socket.sendall(data)
            for file in files:  # each comes with a byte of its own, after the message
                self.socket.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))])
        except (BrokenPipeError, ConnectionResetError):
            raise Gone from None

    def receive(self, limit=LIMIT):
        """The next message as (program, version, procedure, type, serial, status, payload); None after ``limit`` s."""
        deadline = time.monotonic() + limit
        while True:
            if len(self.buffer) >= 4:
                length = struct.unpack(">I", self.buffer[:4])[0]
                if length < 4 + HEADER.size:
                    raise OutOfStep
                if len(self.buffer) >= length:
                    body, self.buffer = self.buffer[4:length], self.buffer[length:]
                    return (*HEADER.unpack(body[: HEADER.size]), body[HEADER.size :])
            if not select.select([self.socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return None
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Gone
            self.buffer += data

    def ended(self, limit=LIMIT):
        """Whether the daemon closes the connection within ``limit`` s; what it says before does not count."""
        try:
            deadline = time.monotonic() + limit
            while time.monotonic() < deadline:
                self.receive(max(0.0, deadline - time.monotonic()))
        except Gone:
            return True
        return False

    def call(self, procedure, payload=b""):
        """(what came of it, the payload of the reply) of an honest call."""
        self.serial += 1
        self.send(message(procedure, payload, serial=self.serial))
        return self.reply(self.serial)

    def reply(self, serial, limit=LIMIT):
        deadline = time.monotonic() + limit
        while True:
            found = self.receive(max(0.0, deadline - time.monotonic()))
            if found is None:
                return "nothing", b""
            if found[4] == serial and found[3] != MESSAGE:
                return said(found), found[6]

    def open(self):
        """Open the test driver on a state of this connection's own; what came of it."""
        if (listed := self.call(AUTH_LIST)[0]) != "ok":
            return listed
        name = ("test://" + path("node.xml")).encode()
        name = struct.pack(">II", 1, len(name)) + name + b"\0" * (-len(name) % 4)
        return self.call(OPEN, name + struct.pack(">I", 0))[0]


def said(found):
    *_, kind, _serial, status, payload = found
    if kind in (STREAM, HOLE):
        return "stream"
    if status == ERROR and len(payload) >= 8:
        return "error %d from %d" % struct.unpack(">ii", payload[:8])
    return "ok" if status == OK else "status %d" % status


def watched(value):
    """The value, or that the daemon is gone or deaf after it: then it is started anew."""
    if DAEMON.poll() is None and healthy():
        return value
    with contextlib.suppress(subprocess.TimeoutExpired):
        DAEMON.wait(1.0)
    code = DAEMON.poll()
    how = "deaf" if code is None else "ended by %s" % signal.Signals(-code).name if code < 0 else "ended with %d" % code
    DAEMON.kill()
    DAEMON.wait()
    shutil.rmtree(path("run"), ignore_errors=True)
    start()
    return "DAEMON %s: %s" % (how, value)


# What is tried.


def put(question):
    """What comes of one message; see the head of this file."""
    data = bytes.fromhex(question["data"]) + bytes([question.get("byte", 0)]) * question.get("fill", 0)
    files = question.get("files", 0)
    before = descriptors() if files else 0
    with Wire() as wire, open(os.devnull) as file:
        if question["state"] == "opened":
            wire.open()
        elif question["state"] == "authenticated":
            wire.call(AUTH_LIST)
        given = [file.fileno()] * files
        if question["then"] == "call":
            value = outcome(wire, data, given, question["serial"])
        else:
            value = ended(wire, data, given, half=question["then"] == "end")
    kept = descriptors() - before if files else 0
    return value if kept <= 0 else "%s; %d files kept" % (value, kept)


def outcome(wire, data, files=(), serial=1):
    """What comes of these bytes, and of an honest call after them."""
    first, last = "nothing", "silent"
    try:
        wire.send(data, files)
        first, _ = wire.reply(serial, LATE)
        wire.serial += 1
        wire.send(message(LIB_VERSION, serial=wire.serial))
        first, last = followed(wire, serial, first)
    except Gone:
        last = "closed"
    except OutOfStep:
        last = "out of step"
    return watched("%s, %s" % (first, last))


def followed(wire, serial, first):
    """(the reply to ``serial``, whether the call after it is answered). A reply may be late: calls are worked on at once."""
    last, limit = "silent", LIMIT
    while True:
        try:
            found = wire.receive(limit)
        except Gone:
            return first, "closed"
        except OutOfStep:
            return first, "out of step"
        if found is None:
            return first, last
        if found[4] == wire.serial and found[3] == REPLY:
            last, limit = "goes on", LATE
        elif found[4] == serial and found[3] != MESSAGE and first == "nothing":
            first = said(found)
        if last == "goes on" and first != "nothing":
            return first, last


def ended(wire, data, files, half):
    """Whether the daemon closes the connection after these bytes. half: it learns that nothing more comes."""
    try:
        wire.send(data, files)
        if half:
            wire.socket.shutdown(socket.SHUT_WR)
    except (Gone, OSError):
        return watched("closed")
    return watched("closed" if wire.ended() else "waits")


def waits(length):
    """Whether the daemon, told of a message of this length, waits for it. Another client's answers say that it has seen it."""
    with Wire() as wire, Wire() as other:
        other.open()
        wire.open()
        wire.send(struct.pack(">I", length) + b"\0" * HEADER.size)
        for _ in range(3):
            other.call(LIB_VERSION)
        return not wire.ended(0.02)


def largest():
    """The largest length of a message, in bytes, that the daemon does not turn down."""
    low, high = 1 << 16, 1 << 31
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if waits(middle) else (low, middle)
    return str(low)


def dribbled():
    """A call, byte by byte."""
    with Wire() as wire:
        wire.open()
        for at in range(len(message(LIB_VERSION))):
            wire.send(message(LIB_VERSION)[at : at + 1])
        return wire.reply(1)[0]


def crowd(number=100):
    """How many of so many calls that are sent at once are answered."""
    with Wire() as wire:
        wire.open()
        wire.send(b"".join(message(LIB_VERSION, serial=n) for n in range(1, number + 1)))
        answered = set()
        while len(answered) < number and (found := wire.receive()):
            answered.add(found[4])
        return "%d of %d answered" % (len(answered), number)


def gone():
    """Many clients that ask and do not wait for the answer."""
    for _ in range(50):
        with Wire() as wire:
            wire.send(message(AUTH_LIST) + message(OPEN, struct.pack(">II", 0, 0), serial=2) * 3)
    return "goes on"


def pinged():
    with Wire() as wire:
        wire.open()
        wire.send(message(PING, program=KEEPALIVE, kind=MESSAGE))
        found = wire.receive()
        return "pong" if found and found[0] == KEEPALIVE and found[2] == PONG else "nothing"


def patience():
    """What becomes of a client that answers the daemon's pings, of one that does not, and of one that never spoke of them."""
    with Wire() as living, Wire() as dead, Wire() as mute:
        for wire in (living, dead, mute):
            wire.open()
        offered = [wire.call(FEATURE, struct.pack(">i", SPEAKS_KEEPALIVE))[1] for wire in (living, dead)]
        answered, deadline = 0, time.monotonic() + LIMIT
        # Who answers twice has lived longer than who does not may.
        while answered < 3 and time.monotonic() < deadline:
            try:
                found = living.receive(0.2)
            except Gone:
                break
            if found and found[0] == KEEPALIVE and found[2] == PING:
                living.send(message(PONG, program=KEEPALIVE, kind=MESSAGE, serial=0))
                answered += 1
        return {
            "offered": "yes" if offered == [struct.pack(">i", 1)] * 2 else "no",
            "who-answers": "lives" if answered > 2 else "is not pinged" if not answered else "dropped",
            "who-does-not-answer": "dropped" if dead.ended(0.5) else "lives",
            "who-never-spoke-of-it": "dropped" if mute.ended(LATE) else "lives",
        }


def features():
    """Which of the features that a client may ask for the daemon says it has, by their numbers."""
    facts = {}
    for number in (*range(1, 33), 0, -1):
        with Wire() as wire:
            wire.open()
            said_of_it, payload = wire.call(FEATURE, struct.pack(">i", number))
            yes = "yes" if payload == struct.pack(">i", 1) else "no"
            facts["feature/%d" % number] = yes if said_of_it == "ok" else said_of_it
    return facts


def conduct():
    """What needs more than one message."""
    facts = {
        "length/largest": watched(largest()),
        "pieces/byte-by-byte": watched(dribbled()),
        "pieces/a-hundred-at-once": watched(crowd()),
        "pieces/gone-without-reading": watched(gone()),
        "keepalive/ping-is-answered": watched(pinged()),
    }
    facts.update({"keepalive/" + name: watched(value) for name, value in patience().items()})
    return dict(facts, **features())


def taken(value):
    """Whether arguments were understood; what the driver behind the daemon then says of them is its own affair."""
    first, _, last = value.rpartition(", ")
    if first == UNREAD:
        return "not read, %s" % last
    return value if first.startswith(("DAEMON", "nothing")) or first.endswith(" from 7") else "read, %s" % last


def garbled(procedures, garbage):
    """What comes of arguments that are none, put to every procedure: what most of them come to, and what the others."""
    facts = {}
    for name, (program, number) in procedures.items():
        found = {}
        for kind, data in garbage.items():
            with Wire() as wire:
                wire.open()
                found[kind] = taken(outcome(wire, message(number, bytes.fromhex(data), program=program)))
        usual = max(found.values(), key=lambda v: (list(found.values()).count(v), v))
        facts["garbage/" + name] = usual
        facts.update({"garbage/%s/%s" % (name, kind): value for kind, value in found.items() if value != usual})
    return facts


def probed(request):
    if DAEMON is None:
        start()
    before = descriptors()
    facts = {question["name"]: put(question) for question in request["messages"]}
    facts.update(garbled(request["procedures"], request["garbage"]))
    if request["conduct"]:
        facts.update(conduct())
    kept = descriptors() - before
    return {"facts": dict(facts, **{"afterwards/files": "none kept" if kept <= 0 else "%d kept" % kept})}


def answer(request):
    global FOLDER
    if request["op"] == "open":
        FOLDER = os.path.join(request["workdir"], "wire")
        return {"status": "opened"}
    if not shutil.which("libvirtd"):
        return {"status": "absent", "message": "no libvirtd"}
    try:
        return probed(request)
    except (OSError, Gone, OutOfStep) as error:
        return {"status": "failed", "message": "%s: %s" % (type(error).__name__, error)}


OUT = os.dup(1)
os.dup2(2, 1)


def main():
    with os.fdopen(OUT, "w", encoding="utf-8", closefd=False) as out:
        for line in sys.stdin:
            request = json.loads(line)
            out.write(json.dumps({"status": "accepted", **answer(request), "id": request["id"]}) + "\n")
            out.flush()
    os._exit(0)


main()
