"""The QEMU probe: a program that runs inside a lab, starts the lab's QEMU with a small guest and migrates it.

It is fed to the lab's own Python (3.9 or newer, standard library only) and speaks JSON lines: one question a line on
stdin, one answer a line on stdout, in the same order, each with the question's ``id``. Nothing imports it.

``open``     workdir, files ({name: base64}; ``guest.elf`` is booted where there is one) -> ``opened``
Every other answer is ``accepted`` with ``outcome`` and ``words`` (the end of what QEMU printed, and how it ended).
Questions that start a QEMU take argv (``{workdir}`` stands for the directory of the files), binary
(qemu-system-x86_64), wrapper (text of a program that is run with the whole command line of QEMU as its arguments);
all take step (s: the longest wait for one thing) and limit (s: for the whole question).

``ask``      commands put to a QEMU without a guest -> ``answered`` with answers; both as QMP has them
``record``   wanted (of dump, qtree, pci, mtree, cpu, machine, stream) -> ``recorded`` with these and counter
``replay``   stream, counter -> ``migrated`` with dump, counter, mismatches
Live, between two probes that share a directory:
``start``    start a source, whose guest boots while other things are done -> ``started``
``receive``  socket: start a destination that listens there -> ``listening``
``send``     socket: to the source, as soon as its guest is up -> ``sent`` with dump and counter
``finish``   counter: to the destination -> as ``replay``
``drop``     end what was started -> ``dropped``
Streams are base64 of zlib. Other outcomes:
``unstarted``  QEMU ended by itself before it could be talked to: it does not know the machine, or a device
``refused``    QEMU said no, or ended by itself while it loaded or saved a stream
``crashed``    a signal ended QEMU, or it ended where it had no reason to
``hung``       QEMU did not answer, or did not complete, in time
``stuck``      QEMU runs, its guest does not; ``lost``: the QEMU in question was never started here
"""

import base64
import contextlib
import ctypes
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib

BINARY = "qemu-system-x86_64"
#: What every QEMU here is started with; with a clock of its own a guest sees the same date each time.
ALWAYS = "-nodefaults -no-user-config -no-reboot -display none -accel tcg -m 32".split()
ALWAYS += ["-rtc", "base=2026-01-01T00:00:00,clock=vm"]
STEP, LIMIT = 10.0, 60.0  # s
ROUND = 512  # steps of the counter in which the guest has read all the memory that it verifies
LINE_LIMIT = 64 << 20  # bytes: nothing that QEMU or a guest has to say is longer
TAIL = 4096  # bytes of what a QEMU prints that are kept
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
FOLDER = ""
RUNNING = None  # the one QEMU that this probe has started and not ended


class Trouble(Exception):
    """(outcome, words) of a QEMU that does not do what it should."""


class Wire:
    """A socket pair of which QEMU gets one end: lines out and in. TimeoutError: not in time; EOFError: never."""

    def __init__(self):
        self.ours, self.theirs = socket.socketpair()
        self.buffer = bytearray()

    def send(self, data, limit, *fds):
        self.ours.settimeout(max(limit, 0.001))
        try:
            sent = socket.send_fds(self.ours, [data], fds) if fds else 0
            self.ours.sendall(data[sent:])
        except ConnectionError:
            raise EOFError from None
        except OSError:
            raise TimeoutError from None

    def line(self, limit):
        deadline = time.monotonic() + limit
        while b"\n" not in self.buffer:
            if len(self.buffer) > LINE_LIMIT or not self.ready(deadline - time.monotonic()):
                raise TimeoutError
            with contextlib.suppress(ConnectionError):
                if data := self.ours.recv(1 << 18):
                    self.buffer += data
                    continue
            raise EOFError
        line, _, self.buffer = self.buffer.partition(b"\n")
        return bytes(line)

    def ready(self, seconds):
        return bool(select.select([self.ours], [], [], max(0.0, seconds))[0])


class Tail(threading.Thread):
    """The end of what a QEMU prints. It reads on for ever: a QEMU must not stand still because its pipe is full."""

    def __init__(self, pipe):
        super().__init__(daemon=True)
        self.pipe, self.kept = pipe, b""
        self.start()

    def run(self):
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(self.pipe.fileno(), 1 << 16):
                self.kept = (self.kept + data)[-TAIL:]

    def lines(self):
        lines = self.kept.decode("utf-8", "replace").splitlines()
        return [re.sub(r"^qemu-system-\w+: ", "", line.strip()[:400]) for line in lines if line.strip()]


class Qemu:
    """A running QEMU: its monitor, its guest on COM1, its end."""

    def __init__(self, request, *more):
        self.go_on(request)
        self.ending = "unstarted"  # what it means when QEMU ends by itself now
        self.events = []
        self.number = 0
        self.qmp, self.com1 = Wire(), Wire()
        argv = [request.get("binary") or BINARY, *ALWAYS]
        argv += ["-chardev", "socket,id=vc-qmp,fd=%d" % self.qmp.theirs.fileno(), "-qmp", "chardev:vc-qmp"]
        argv += ["-chardev", "socket,id=vc-com1,fd=%d" % self.com1.theirs.fileno(), "-serial", "chardev:vc-com1"]
        if request["op"] != "ask" and os.path.exists(os.path.join(FOLDER, "guest.elf")):
            argv += ["-kernel", os.path.join(FOLDER, "guest.elf")]
        argv += [word.replace("{workdir}", FOLDER) for word in request["argv"]]
        if request.get("wrapper"):
            argv.insert(0, os.path.join(FOLDER, "wrapper"))
            with open(argv[0], "w", encoding="utf-8") as file:
                file.write(request["wrapper"])
            os.chmod(argv[0], 0o700)
        self._start([*argv, *more])

    def go_on(self, request):
        """Begin the time of a question about this QEMU."""
        self.step = float(request.get("step", STEP))
        self.deadline = time.monotonic() + float(request.get("limit", LIMIT))

    def _start(self, argv):
        global RUNNING
        ends = (self.qmp.theirs.fileno(), self.com1.theirs.fileno())
        try:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=ends,
                start_new_session=True, preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), cwd=FOLDER,
            )  # fmt: skip
        except OSError as error:
            raise Trouble("unstarted", "%s: %s" % (argv[0], error.strerror)) from error
        finally:
            self.qmp.theirs.close()
            self.com1.theirs.close()
        RUNNING = self
        self.tail = Tail(self.process.stdout)

    def left(self):
        """How long may be waited now."""
        return max(0.0, min(self.step, self.deadline - time.monotonic()))

    def greet(self):
        """Take the monitor's greeting and leave its negotiation mode. QEMU has built its machine by then."""
        self._message("come up", self.left())
        self.execute("qmp_capabilities")
        self.execute("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        self.ending = "crashed"

    @contextlib.contextmanager
    def _waiting(self, outcome, words):
        """Make trouble of what comes too late, or never."""
        try:
            yield
        except TimeoutError:
            if self.process.poll() is not None:  # and something that it started holds the socket open
                raise self.ended() from None
            raise Trouble(outcome, self.words(words)) from None
        except EOFError:
            raise self.ended() from None

    def _message(self, what, limit):
        """The next message on the monitor; events are kept."""
        with self._waiting("hung", "did not %s in time" % what):
            line = self.qmp.line(limit)
        try:
            said = dict(json.loads(line))
        except (TypeError, ValueError):
            raise Trouble("crashed", self.words("garbage on the monitor: %r" % line[:80])) from None
        if "event" in said:
            self.events.append(said)
        return said

    def ask(self, *commands, fds=()):
        """What QEMU answers each command. All are sent at once."""
        numbered = [dict(command, id=self.number + at) for at, command in enumerate(commands)]
        self.number += len(commands)
        with self._waiting("hung", "does not read its monitor"):
            self.qmp.send(b"".join(json.dumps(each).encode() + b"\n" for each in numbered), self.left(), *fds)
        answers = []
        while len(answers) < len(numbered):
            command = numbered[len(answers)]
            said = self._message("answer '%s'" % command["execute"], self.left())
            if said.get("id") == command["id"]:
                answers.append(said)
        return answers

    def execute(self, command, fds=(), **arguments):
        """What QEMU returns for a command; an error is a refusal."""
        (said,) = self.ask({"execute": command, "arguments": arguments}, fds=fds)
        if "error" in said:
            raise Trouble("refused", self.words("%s: %s" % (command, said["error"]["desc"])))
        return said["return"]

    def migrated(self):
        """Wait until a migration, of either direction, has completed."""
        end = time.monotonic() + self.left()
        while True:
            found = [event["data"]["status"] for event in self.events if event["event"] == "MIGRATION"]
            if "completed" in found:
                return
            if "failed" in found:
                said = self.execute("query-migrate").get("error-desc")
                raise Trouble("refused", self.words(said or "the migration failed"))
            self._message("complete the migration", end - time.monotonic())

    def _lines(self, limit):
        """One answer of the guest."""
        deadline, lines = time.monotonic() + limit, []
        while not lines or lines[-1] != "end":
            lines.append(self.com1.line(deadline - time.monotonic()).decode("latin-1").strip())
        return lines[:-1]

    def guest(self, word):
        """The lines that the guest answers to a word; belated answers to others, and to pieces, are passed over."""
        lines = ["error"]
        with self._waiting("stuck", "the guest does not answer '%s'" % word):
            while not lines[0].startswith({"ping": "counter ", "dump": "guest/"}[word]):
                if lines[0].startswith("error"):
                    self.com1.send(word.encode() + b"\n", self.left())
                lines = self._lines(self.left()) or [""]
        return lines

    def up(self):
        """Wait until the guest answers. What comes before it is ready waits, but for the first byte: an empty line."""
        end, asked, said = time.monotonic() + self.left(), 0, []
        with self._waiting("stuck", "the guest did not come up"):
            while not any(line.startswith("counter ") for line in said):
                try:
                    # An error answers what arrived in pieces; the whole question is behind it.
                    said = self._lines(min(0.5, self.left()) if asked else 0)
                except TimeoutError:
                    if time.monotonic() > end:
                        raise
                    asked += 1
                    self.com1.send(b"\nping\n", self.left())
        while asked > 1 and self.com1.ready(0.1) and self.com1.ours.recv(1 << 16):
            self.com1.buffer.clear()  # belated answers must not be taken for those to come

    def dump(self):
        return "".join(line + "\n" for line in self.guest("dump"))

    def ping(self):
        """(counter, mismatches) as the guest says now."""
        lines = self.guest("ping")
        said = re.fullmatch(r"counter (\d+)\nmismatches (\d+)", "\n".join(lines))
        if not said:
            raise Trouble("stuck", self.words("the guest talks nonsense: %r" % lines[:3]))
        return int(said[1]), int(said[2])

    def words(self, first="", last=""):
        """What there is to say: the finding, the end of what QEMU printed. Warnings tell nothing about a trouble."""
        lines = [line for line in self.tail.lines() if not (first or last) or "warning: " not in line]
        return " | ".join([word for word in (first, *lines[-4:], last) if word])

    def ended(self):
        """The trouble that a QEMU is which has hung up."""
        try:
            code = self.process.wait(2.0)
        except subprocess.TimeoutExpired:
            return Trouble("hung", self.words("closed its monitor and did not end"))
        self.tail.join(0.5)
        number = -code if code < 0 else code - 128  # a wrapper's shell says 128 + n
        with contextlib.suppress(ValueError):
            if number > 0:
                return Trouble("crashed", self.words("", signal.Signals(number).name))
        reasons = [event["data"]["reason"] for event in self.events if event["event"] == "SHUTDOWN"]
        if reasons and reasons[0].startswith("guest"):
            return Trouble("stuck", self.words(reasons[0]))
        return Trouble(self.ending, self.words("", "exit status %d" % code))

    def close(self):
        """End it and everything that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.tail.join(2.0)
        self.process.stdout.close()
        self.qmp.ours.close()
        self.com1.ours.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(FOLDER, "wrapper"))


class Pump(threading.Thread):
    """A stream on its way through a socket: out of QEMU (data is None), or into it."""

    def __init__(self, sock, data=None):
        super().__init__(daemon=True)
        self.sock, self.data, self.taken = sock, data, bytearray()
        self.start()

    def run(self):
        with contextlib.suppress(OSError), self.sock:
            if self.data is not None:
                return self.sock.sendall(self.data)
            while len(self.taken) < LINE_LIMIT and (data := self.sock.recv(1 << 18)):
                self.taken += data


def through_socket(qemu, command, data=None):
    """Let a QEMU migrate out to, or in from, this process; return what came out."""
    ours, theirs = socket.socketpair()
    pump = Pump(ours, data)
    try:
        with theirs:
            qemu.execute("getfd", fds=(theirs.fileno(),), fdname="vc-stream")
        qemu.execute(command, uri="fd:vc-stream")
        qemu.migrated()
        pump.join(qemu.left())
    finally:
        with contextlib.suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)
    return bytes(pump.taken)


def incoming(request):
    """A destination that waits to be told where from."""
    qemu = Qemu(request, "-incoming", "defer")
    qemu.greet()
    qemu.ending = "refused"
    return qemu


def pause(qemu):
    """Stop a source and return the counter of its guest. Nothing is dirtied while it is sent: it stays as it is."""
    qemu.execute("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
    counter, _ = qemu.ping()
    qemu.execute("stop")
    qemu.ending = "refused"
    return counter


def go(qemu, before):
    """Let a loaded guest go on, and see whether it does, and finds its memory as it left it."""
    qemu.ending = "crashed"
    qemu.execute("cont")
    first, mismatches = qemu.ping()
    counter, end = first, time.monotonic() + qemu.left()
    while before <= counter < first + ROUND and time.monotonic() < end:
        time.sleep(0.002)
        counter, mismatches = qemu.ping()
    found = {"counter": counter, "mismatches": mismatches}
    if counter < before:
        return dict(found, outcome="stuck", words=qemu.words("the counter fell to %d" % counter))
    if counter == first:
        return dict(found, outcome="stuck", words=qemu.words("the counter stays at %d" % counter))
    return dict(found, outcome="migrated", dump=qemu.dump(), words=qemu.words())


def cpu_of(qemu):
    """The first CPU's plain properties, with the values that they have in this machine."""
    path = qemu.execute("query-cpus-fast")[0]["qom-path"]
    plain = re.compile(r"bool|string|u?int(8|16|32|64)?|strList|X86CPUFeatureWordInfo")
    names = [p["name"] for p in qemu.execute("qom-list", path=path) if plain.fullmatch(p["type"])]
    answers = qemu.ask(*({"execute": "qom-get", "arguments": {"path": path, "property": name}} for name in names))
    return {name: said["return"] for name, said in sorted(zip(names, answers)) if "return" in said}


def human(line):
    return lambda qemu: qemu.execute("human-monitor-command", **{"command-line": line}).replace("\r\n", "\n")


def machine_of(qemu):
    """What query-machines says of the machine that runs."""
    name = re.sub("-machine$", "", qemu.execute("qom-get", path="/machine", property="type"))
    return next((m for m in qemu.execute("query-machines") if m["name"] == name), {"name": name})


RECORDS = {
    "dump": Qemu.dump, "qtree": human("info qtree"), "mtree": human("info mtree -f"),
    "pci": lambda qemu: qemu.execute("query-pci"), "cpu": cpu_of, "machine": machine_of,
}  # fmt: skip


def answer_ask(request):
    qemu = Qemu(request, "-S")
    qemu.greet()
    answers = qemu.ask(*request["commands"])
    return {"outcome": "answered", "words": qemu.words(), "answers": [dict(said, id=None) for said in answers]}


def answer_record(request):
    qemu = Qemu(request)
    qemu.greet()
    qemu.up()
    found = {name: RECORDS[name](qemu) for name in request["wanted"] if name != "stream"}
    if "stream" in request["wanted"]:
        found["counter"] = pause(qemu)
        found["stream"] = base64.b64encode(zlib.compress(through_socket(qemu, "migrate"), 1)).decode()
    return dict(found, outcome="recorded", words=qemu.words())


def answer_replay(request):
    qemu = incoming(request)
    through_socket(qemu, "migrate-incoming", zlib.decompress(base64.b64decode(request["stream"])))
    return go(qemu, request.get("counter", 0))


def answer_start(request):
    return {"outcome": "started", "words": Qemu(request).words()}


def answer_receive(request):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(request["socket"])
    incoming(request).execute("migrate-incoming", uri="unix:" + request["socket"])
    return {"outcome": "listening", "words": ""}


def answer_send(request):
    RUNNING.greet()
    RUNNING.up()
    found = {"dump": RUNNING.dump(), "counter": pause(RUNNING)}
    RUNNING.execute("migrate", uri="unix:" + request["socket"])
    RUNNING.migrated()
    return dict(found, outcome="sent", words=RUNNING.words())


def answer_finish(request):
    RUNNING.migrated()
    return go(RUNNING, request.get("counter", 0))


def drop(request=None):
    """End what runs; it is the answer to ``drop``, too."""
    global RUNNING
    if RUNNING is not None:
        RUNNING = RUNNING.close()
    return {"outcome": "dropped", "words": ""}


def opened(request):
    global FOLDER
    FOLDER = os.path.join(request["workdir"].replace("{pid}", str(os.getpid())), "qemu")
    os.makedirs(FOLDER, exist_ok=True)
    for name, data in request.get("files", {}).items():
        with open(os.path.join(FOLDER, name), "wb") as file:
            file.write(base64.b64decode(data))
    return {"status": "opened"}


ANSWERS = {
    "ask": answer_ask, "record": answer_record, "replay": answer_replay, "start": answer_start,
    "receive": answer_receive, "send": answer_send, "finish": answer_finish, "drop": drop,
}  # fmt: skip


def answer(request):
    if request["op"] == "open":
        return opened(request)
    try:
        if request["op"] not in ("send", "finish"):
            drop()
        elif RUNNING is None:
            raise Trouble("lost", "no QEMU was started for it")
        else:
            RUNNING.go_on(request)
        found = ANSWERS[request["op"]](request)
    except Trouble as trouble:
        found = dict(zip(("outcome", "words"), trouble.args))
    if found["outcome"] not in ("started", "listening"):
        drop()
    return dict(found, status="accepted")


def main():
    """Answer until stdin ends, and leave nothing behind."""
    try:
        for line in sys.stdin:
            request = json.loads(line)
            sys.stdout.write(json.dumps(dict(answer(request), id=request["id"])) + "\n")
            sys.stdout.flush()
    finally:
        drop()
        shutil.rmtree(FOLDER, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(FOLDER))  # on another host it was made for this probe alone


main()
