"""The SPICE probe: a program that runs inside a lab, asks libspice-server and shakes hands with a SPICE server.

It is fed to the lab's own Python (3.9 or newer, standard library only) and speaks JSON lines: one question a line on
stdin, one answer a line on stdout, in the same order, each with the question's ``id``. Nothing imports it.

``open``    workdir -> ``opened``
``compat``  library, below, upto, above, extremes, setters ({function: values}) -> ``accepted`` with ``current`` and, by
            value, what ``spice_server_set_compat_version`` and each setter said; ``absent`` where there is no library.
            Values run from ``below`` to ``upto``, from one before ``current`` to ``above`` beyond it, and are the
            ``extremes``. A call is made in a process of its own: some answer nonsense with an abort.
``link``    program, arguments, steps -> ``accepted`` with one result a step; ``absent`` where there is no such
            program or it has no SPICE. The program is started with ``-spice unix=on,addr=...`` and the arguments.

A step is ``{"qmp": command}`` or a handshake: ``hello`` (hex of what the client says first), ``held`` (put the
connection id of the session that is being held into it), ``end`` (the client says nothing more), ``mechanism``
(number or null), ``ticket`` (text, or ``{"raw": hex}``), ``then`` (hex of what the client says once it is in),
``session`` (go on until the list of channels has come),
``mini`` (the client takes mini headers), ``hold`` (leave the connection open as long as the server runs).
Its result: ``reply`` (what the link reply said, or null), ``result`` (of the authentication, or null), ``messages``,
``init``, ``channels``, ``line`` (of text that came in place of a reply) and ``end`` (closed, silent, died).
"""

import ctypes
import hashlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

WORKDIR = "."
PATIENCE = 10  # seconds that a server may take for one answer
MAGIC = b"REDQ"
MINI_HEADER = 1 << 3  # SPICE_COMMON_CAP_MINI_HEADER
INIT, CHANNELS_LIST, ATTACH_CHANNELS = 103, 104, 104  # SPICE_MSG_MAIN_*, SPICE_MSGC_MAIN_*
KEY_BYTES = 162
MOST_MESSAGES = 200
# What a QEMU says that was built without SPICE, or whose module for it, or for a device, is not installed.
WITHOUT_SPICE = (
    "no option group 'spice'",
    "spice is not supported",
    "spice support is disabled",
    "spice: invalid option",
    "unknown audio driver `spice'",
    "is not a valid char driver name",
    "is not a valid device model name",
)


# -- the library ------------------------------------------------------------------------------------------------------


def apart(call):
    """Return what a call answers as words, made in a child process that may abort, crash or hang."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 1)
            os.dup2(null, 2)
            signal.alarm(PATIENCE)
            os.write(writing, str(call()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if said:
        return {"0": "accepted", "-1": "refused"}.get(said, "answered " + said)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        # GLib ends a program at a fatal message with either of these.
        if number in (signal.SIGABRT, signal.SIGTRAP):
            return "aborted"
        return "hung" if number == signal.SIGALRM else "crashed (%s)" % signal.Signals(number).name
    return "no answer"


def setter(library, name):
    """Return a function that hands one value to a setter of a new server."""

    def call(value):
        new = library.spice_server_new
        new.restype = ctypes.c_void_p
        function = getattr(library, name)
        function.restype = ctypes.c_int
        function.argtypes = [ctypes.c_void_p, ctypes.c_int]
        return function(new(), value)

    return call


def answers(library, name, values):
    """Return what a setter says to each value; ``no such function`` where the library has none."""
    if not hasattr(library, name):
        return {str(value): "no such function" for value in values}
    call = setter(library, name)
    return {str(value): apart(lambda value=value: call(value)) for value in values}


def compat(request):
    """Ask the library itself which compat versions it takes."""
    try:
        library = ctypes.CDLL(request["library"])
    except OSError as error:
        return {"status": "absent", "message": str(error)}
    current, said = None, "no such function"
    if hasattr(library, "spice_get_current_compat_version"):
        said = apart(lambda: "version %d" % library.spice_get_current_compat_version())
        if said.startswith("answered version "):
            current = int(said.split()[-1])
    values = {*range(request["below"], request["upto"] + 1), *request["extremes"]}
    if current is not None:
        values |= set(range(current - 1, current + request["above"] + 1))
    values = sorted(values)
    return {
        "status": "accepted",
        "current": said if current is None else str(current),
        "versions": answers(library, "spice_server_set_compat_version", values),
        "setters": {name: answers(library, name, asked) for name, asked in request["setters"].items()},
    }


# -- a server ---------------------------------------------------------------------------------------------------------


class NoAnswer(Exception):
    """The other side closed, or said nothing for too long; ``end`` says which."""

    def __init__(self, end):
        super().__init__(end)
        self.end = end


class Server:
    """A QEMU that listens for SPICE clients on a socket of the lab, and is driven by QMP on its standard input."""

    def __init__(self, program, arguments):
        self.path = os.path.join(WORKDIR, "spice.sock")
        self.command = [program, "-qmp", "stdio"]
        for argument in arguments:
            self.command.append(argument.replace("{socket}", self.path))
        self.errors = os.path.join(WORKDIR, "spice.errors")
        self.done = []

    def start(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        with open(self.errors, "wb") as errors:
            # It stays in the probe's process group: what ends the probe ends the server.
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=WORKDIR
            )
        os.set_blocking(self.process.stdout.fileno(), False)
        self.buffer = b""
        self.qmp({"execute": "qmp_capabilities"})
        for command in self.done:
            self.qmp(command)

    def qmp(self, command):
        """Return ``ok`` or the class of the error; events and greeting are passed over."""
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise NoAnswer("died")
        deadline = time.monotonic() + 3 * PATIENCE
        while True:
            while b"\n" in self.buffer:
                line, self.buffer = self.buffer.split(b"\n", 1)
                reply = json.loads(line)
                if "return" in reply:
                    return "ok"
                if "error" in reply:
                    return "error " + reply["error"]["class"]
            if not select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                raise NoAnswer("silent")
            data = self.process.stdout.read()
            if not data:
                raise NoAnswer("died")
            self.buffer += data

    def connect(self):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        client.connect(self.path)
        return client

    def beat(self):
        """Shake hands with no meaning: an answer shows that what came before is dealt with and the server lives."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with self.connect() as client:
                    client.sendall(bytes(4))
                    client.recv(4096)
                    return True
            except OSError:
                time.sleep(0.02)  # a connection that is reset or refused: it is on its way out
        return False

    def death(self):
        """Return how the server ended."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return "hung"
        return "died (%s)" % (signal.Signals(-code).name if code < 0 else "exit status %d" % code)

    def last_words(self):
        with open(self.errors, "rb") as errors:
            return " | ".join(errors.read().decode("utf-8", "replace").strip().splitlines()[-3:])

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        try:
            self.process.stdin.close()
        except OSError:
            pass  # what it was told last and never read


# -- a client ---------------------------------------------------------------------------------------------------------


def receive(client, size):
    """Return exactly so many bytes."""
    data = b""
    while len(data) < size:
        try:
            more = client.recv(size - len(data))
        except socket.timeout:
            raise NoAnswer("silent")
        except OSError:
            raise NoAnswer("closed")
        if not more:
            raise NoAnswer("closed")
        data += more
    return data


def element(data, at):
    """Return (start, end) of the contents of the DER element at an offset."""
    size, at = data[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        size, at = int.from_bytes(data[at : at + count], "big"), at + count
    return at, at + size


def public_key(data):
    """Return modulus and exponent of a SubjectPublicKeyInfo."""
    start, _ = element(data, 0)
    _, end = element(data, start)  # the algorithm
    start, _ = element(data, end)  # the bit string, whose first byte counts unused bits
    start, _ = element(data, start + 1)
    first, end = element(data, start)
    second, last = element(data, end)
    return int.from_bytes(data[first:end], "big"), int.from_bytes(data[second:last], "big")


def mask(seed, size):
    """Return so many bytes of MGF1 with SHA-1."""
    data, count = b"", 0
    while len(data) < size:
        data += hashlib.sha1(seed + struct.pack(">I", count)).digest()
        count += 1
    return data[:size]


def encrypted(ticket, key):
    """Return a ticket under RSAES-OAEP; the seed is fixed, for nothing here is secret."""
    modulus, exponent = public_key(key)
    size = (modulus.bit_length() + 7) // 8
    message = ticket.encode() + b"\0"
    block = hashlib.sha1(b"").digest() + bytes(size - len(message) - 42) + b"\1" + message
    seed = bytes(range(20))
    block = bytes(a ^ b for a, b in zip(block, mask(seed, len(block))))
    seed = bytes(a ^ b for a, b in zip(seed, mask(block, 20)))
    return pow(int.from_bytes(b"\0" + seed + block, "big"), exponent, modulus).to_bytes(size, "big")


def link_reply(client):
    """Return what the server answers to a client's hello, and its public key; a line of text goes as such."""
    magic = receive(client, 4)
    if magic != MAGIC:
        text = magic
        while b"\n" not in text and len(text) < 200:
            text += receive(client, 1)
        return {"line": text.decode("latin-1").strip()}, b""
    major, minor, size = struct.unpack("<III", receive(client, 12))
    body = receive(client, min(size, 1 << 16))
    (error,) = struct.unpack_from("<I", body)
    key = body[4 : 4 + KEY_BYTES]
    common, channel, at = struct.unpack_from("<III", body, 4 + KEY_BYTES)
    words = list(struct.unpack_from("<%dI" % (common + channel), body, at)) if common + channel else []
    reply = {"major": major, "minor": minor, "error": error, "common": words[:common], "channel": words[common:]}
    return {"reply": reply}, key


def say(client, data):
    try:
        client.sendall(data)
    except OSError:
        pass  # it has hung up; what it said before is still there to be read


def session(client, mini, result):
    """Read messages of the main channel up to the list of channels, which the client asks for after the first."""
    header = struct.Struct("<HI" if mini else "<QHII")
    for _ in range(MOST_MESSAGES):
        fields = header.unpack(receive(client, header.size))
        kind, size = fields if mini else fields[1:3]
        body = receive(client, size)
        result["messages"].append(kind)
        if kind == INIT:
            result["init"] = list(struct.unpack_from("<8I", body))
            say(client, header.pack(ATTACH_CHANNELS, 0) if mini else header.pack(1, ATTACH_CHANNELS, 0, 0))
        if kind == CHANNELS_LIST:
            (count,) = struct.unpack_from("<I", body)
            result["channels"] = [list(struct.unpack_from("<BB", body, 4 + 2 * at)) for at in range(count)]
            return
    raise NoAnswer("talks on")


def handshake(client, step, held, result):
    """Say hello as the step tells and follow the server as far as it goes."""
    hello = bytearray.fromhex(step["hello"])
    if step.get("held"):
        struct.pack_into("<I", hello, 16, held)
    say(client, bytes(hello))
    if step.get("end"):
        client.shutdown(socket.SHUT_WR)
    found, key = link_reply(client)
    result.update(found)
    if not found.get("reply") or found["reply"]["error"] or "ticket" not in step:
        return
    if step.get("mechanism") is not None:
        say(client, struct.pack("<I", step["mechanism"]))
    ticket = step["ticket"]
    say(client, bytes.fromhex(ticket["raw"]) if isinstance(ticket, dict) else encrypted(ticket, key))
    answer = receive(client, 4)
    if answer == MAGIC:
        result["refused"] = struct.unpack("<I", receive(client, 16)[12:])[0]
        return
    result["result"] = struct.unpack("<I", answer)[0]
    if result["result"] == 0:
        say(client, bytes.fromhex(step.get("then", "")))
    if result["result"] == 0 and step.get("session"):
        server_common = found["reply"]["common"]
        session(client, step.get("mini") and server_common and server_common[0] & MINI_HEADER, result)


class Visitor:
    """Takes the steps one after the other; a server that a step killed is started anew for the next."""

    def __init__(self, server):
        self.server = server
        self.open = []
        self.held = 0

    def take(self, step):
        if "qmp" in step:
            said = self.server.qmp(step["qmp"])
            self.server.done.append(step["qmp"])
            return {"end": said}
        result = {"reply": None, "result": None, "messages": [], "init": [], "channels": [], "end": ""}
        client = self.server.connect()
        try:
            handshake(client, step, self.held, result)
        except NoAnswer as silence:
            result["end"] = silence.end
        except (IndexError, ValueError, OverflowError, struct.error):
            result["end"] = "nonsense"
        if step.get("hold"):
            self.open.append(client)
            self.held = result["init"][0] if result["init"] else self.held
        else:
            client.close()
        if not self.server.beat():
            result["end"] = self.server.death()
            self.again()
        return result

    def again(self):
        for client in self.open:
            client.close()
        self.open, self.held = [], 0
        self.server.stop()
        self.server.start()


def link(request):
    """Start a server, take all steps with it and end it."""
    server = Server(request["program"], request["arguments"])
    try:
        server.start()
    except FileNotFoundError:
        return {"status": "absent", "message": "no program %s" % request["program"]}
    except NoAnswer as silence:
        end = server.death() if silence.end == "died" else silence.end
        server.stop()
        words = server.last_words()
        known = any(word in words.lower() for word in WITHOUT_SPICE)
        message = "%s: %s%s" % (request["program"], end, ": " + words if words else "")
        return {"status": "absent" if known else "failed", "message": message}
    visitor = Visitor(server)
    try:
        return {"status": "accepted", "results": [visitor.take(step) for step in request["steps"]]}
    except NoAnswer as silence:
        return {"status": "failed", "message": "%s: %s: %s" % (request["program"], silence.end, server.last_words())}
    finally:
        server.stop()


# -- the protocol -----------------------------------------------------------------------------------------------------


def opening(request):
    global WORKDIR
    WORKDIR = request["workdir"]
    return {"status": "opened"}


OPS = {"open": opening, "compat": compat, "link": link}


def main():
    """Answer until stdin ends."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = OPS[request["op"]](request)
        except OSError as error:
            reply = {"status": "failed", "message": str(error)}
        reply["id"] = request["id"]
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


main()
