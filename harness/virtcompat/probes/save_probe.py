"""The save probe: a program that runs inside a lab and has the lab's own libvirt save, alter and restore guests.

It is fed to the lab's own Python (3.9 or newer, standard library and libvirt-python only) in a sandbox of its own, starts
the lab's session libvirtd there, and speaks JSON lines: one question a line on stdin, one answer a line on stdout, in the
same order, each with the question's ``id``. Nothing imports it.

``open``     workdir, files ({name: base64}), limit (s: the longest wait for one thing) -> ``opened``
``save``     xml (``{workdir}`` stands for the directory of the files), defaults (leave out what is asked of the guest):
             start it, ask its guest, stop it, save it
             -> ``saved`` with image, xml (what the image says), counter, dump
``restore``  image, xml (another definition than the image's, or none): restore it, let it go on, ask its guest
             -> ``migrated`` with counter_before, counter_after, mismatches, dump
``define``   image, xmls: write each into the image in place of its own definition; no QEMU is started
             -> ``answered`` with verdicts ([{outcome: accepted | refused | crashed | hung, words, code, xml}])
``inspect``  image -> ``answered`` with the definition in it

Images are base64 of zlib. Every answer but the first has the status ``accepted`` and these as its outcome. The other outcomes, with
words (libvirt's own, then the end of what QEMU printed):
``refused``  libvirt said no
``crashed``  a signal ended QEMU or libvirtd
``hung``     libvirt did not answer in time, or the guest does not answer or go on
"""

import base64
import contextlib
import ctypes
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib

import libvirt

LIMIT = 20.0  # s
ROUND = 512  # steps of the counter in which the guest has read all the memory that it verifies
DISK = 1 << 20  # bytes of every image file that a definition names
HEAD = 1 << 18  # bytes at the start of an image that hold its definition
CRASHES = {getattr(signal, name) for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP", "SIGSYS")}
PR_SET_CHILD_SUBREAPER = 36
SECURE = 1  # VIR_DOMAIN_SAVE_IMAGE_XML_SECURE
HOST = "5f1c0de0-0002-4000-8000-%012x"

FOLDER = ""
DAEMON = None  # process number of the lab's libvirtd
CONN = None
ENDED = {}  # pid -> wait status of what was orphaned and has ended: QEMU is a daemon, and this its reaper


class Trouble(Exception):
    """What does not do what it should: (status, words)."""


def path(*names):
    return os.path.join(FOLDER, *names)


# The daemon.


def environment():
    return dict(
        os.environ, XDG_RUNTIME_DIR=path("run"), XDG_CONFIG_HOME=path("config"), XDG_CACHE_HOME=path("kept"),
        HOME=path("home"),
    )  # fmt: skip


def listening(name):
    """Whether somebody accepts connections there; the file alone comes too early."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(name) == 0


def connect():
    """Start the lab's libvirtd where it does not run, and connect to it."""
    global DAEMON, CONN
    if CONN is not None:
        return
    DAEMON = subprocess.Popen(
        ["libvirtd"], stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), stderr=sys.stderr.fileno(),
        env=environment(),
    ).pid  # fmt: skip
    name = path("run", "libvirt", "libvirt-sock")
    deadline = time.monotonic() + LIMIT
    while not listening(name):
        if DAEMON in ENDED or time.monotonic() > deadline:
            words = "libvirtd did not come up (wait status %s)" % ENDED.get(DAEMON)
            disconnect()
            raise Trouble("crashed", words)
        time.sleep(0.01)
    CONN = within(libvirt.open, "qemu+unix:///session?socket=" + name)


def disconnect():
    """End the daemon and every QEMU that it has started. After a hung call its connection is not touched again."""
    global DAEMON, CONN
    for file in glob.glob(path("run", "libvirt", "qemu", "run", "*.pid")):
        with contextlib.suppress(OSError, ValueError), open(file) as opened:
            os.kill(int(opened.read()), signal.SIGKILL)
    while DAEMON is not None and DAEMON not in ENDED:
        with contextlib.suppress(OSError):
            os.kill(DAEMON, signal.SIGKILL)
        time.sleep(0.005)
    DAEMON = CONN = None
    shutil.rmtree(path("run"), ignore_errors=True)
    os.makedirs(path("run"), mode=0o700)


def within(function, *arguments):
    """What a call into libvirt returns; Trouble where it says no, or says nothing in time."""
    result, failure = [], []

    def run():
        try:
            result.append(function(*arguments))
        except Exception as error:  # handed to the thread that waits
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LIMIT)
    if thread.is_alive():
        raise Trouble("hung", "no answer to %s within %g s" % (function.__name__, LIMIT))
    if failure and isinstance(failure[0], libvirt.libvirtError):
        raise Trouble("refused", failure[0].get_error_message() or "no words", failure[0].get_error_code() or 0)
    if failure:
        # The binding's own: what libvirt reads in a damaged image need not be text.
        raise Trouble("refused", "%s: %s" % (type(failure[0]).__name__, failure[0]))
    return result[0]


def reap():
    """Take note of what ends, for ever. What libvirt has killed must not stay behind as a zombie: it waits for that."""
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
            ENDED[pid] = status
        except ChildProcessError:
            time.sleep(0.01)


def crash():
    """The signal that ended QEMU by a fault of its own, or how the daemon ended, or an empty string."""
    # libvirt may hear of an end before the reaper does; where it has nothing and nobody to lose, there was none.
    quiet = CONN is not None and CONN.isAlive() and not os.path.exists(path("com1"))
    deadline = time.monotonic() + (0 if quiet else 0.1)
    while time.monotonic() < deadline:
        for pid, status in list(ENDED.items()):
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            if pid == DAEMON:
                return "libvirtd ended: %s" % (signal.Signals(number).name if number else status >> 8)
            if number in CRASHES:
                return "QEMU ended: %s" % signal.Signals(number).name
        time.sleep(0.01)
    return ""


# The guest.


class Guest:
    """The guest behind COM1, once QEMU listens there."""

    def __init__(self, domain):
        self.domain = domain
        self.buffer = bytearray()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if self.socket.connect_ex(path("com1")):
            raise Trouble("crashed" if gone(domain) else "hung", "nobody listens at the guest's serial port")

    def _line(self, deadline):
        while b"\n" not in self.buffer:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                raise Trouble("crashed", "QEMU hung up")
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode("latin-1").strip()

    def _answer(self, deadline):
        lines = []
        while not lines or lines[-1] != "end":
            lines.append(self._line(deadline))
        return lines[:-1]

    def ask(self, word, begins):
        """The guest's answer to a word, known by its first line: others may come late, to what was asked of its boot."""
        try:
            self.socket.sendall(word.encode() + b"\n")
            deadline = time.monotonic() + LIMIT
            while not (lines := self._answer(deadline)) or not lines[0].startswith(begins):
                pass
            return lines
        except ConnectionError:
            raise Trouble("crashed", "QEMU hung up") from None
        except socket.timeout:
            raise Trouble("crashed" if gone(self.domain) else "hung", "the guest does not answer '%s'" % word) from None

    def up(self):
        """Wait until the guest answers: it may be asked before it has started, and then knows nothing of it."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            self.socket.sendall(b"\nping\n")
            with contextlib.suppress(socket.timeout):
                end = time.monotonic() + 0.5
                while not "".join(self._answer(end)).startswith("counter "):
                    pass
                return
        raise Trouble("hung", "the guest did not come up")

    def ping(self):
        """(counter, mismatches) as the guest says now."""
        said = re.fullmatch(r"counter (\d+)\nmismatches (\d+)", "\n".join(self.ask("ping", "counter ")))
        if not said:
            raise Trouble("hung", "the guest talks nonsense")
        return int(said[1]), int(said[2])

    def dump(self):
        """What the guest sees; what it counts is no part of it."""
        return "".join(line + "\n" for line in self.ask("dump", "guest/") if not line.startswith("volatile/"))

    def go_on(self):
        """Two counters, between which the guest has read all of its memory, and how often that was not as it left it."""
        first, mismatches = self.ping()
        last, deadline = first, time.monotonic() + LIMIT
        while last < first + ROUND:
            if time.monotonic() > deadline:
                raise Trouble("hung", "the guest's counter stays at %d" % last)
            time.sleep(0.005)
            last, mismatches = self.ping()
        return {"counter_before": first, "counter_after": last, "mismatches": mismatches, "dump": self.dump()}

    def close(self):
        self.socket.close()


def gone(domain):
    """Whether there is no QEMU of this domain any more."""
    try:
        return not within(domain.isActive)
    except Trouble:
        return True


# The questions.


def make_files(xml):
    """Create what a definition names in the workdir: disks."""
    for name in re.findall(r"file=['\"]%s/([\w.-]+)['\"]" % re.escape(FOLDER), xml):
        with open(path(name), "wb") as file:
            file.truncate(DISK)


def remove(*names):
    for name in names:
        for file in glob.glob(path(name)):
            os.unlink(file)


def write_image(request):
    with open(path("image"), "wb") as file:
        file.write(zlib.decompress(base64.b64decode(request["image"])))
    return path("image")


def answer_save(request):
    xml = request["xml"].replace("{workdir}", FOLDER)
    make_files(xml)
    domain = within(CONN.createXML, xml, 0)
    guest = Guest(domain)
    try:
        guest.up()
        dump = guest.dump()
        counter, mismatches = guest.ping()
        while counter < 2 * ROUND:
            time.sleep(0.005)
            counter, mismatches = guest.ping()
        within(domain.suspend)
        within(domain.save, path("image"))
    finally:
        guest.close()
    with open(path("image"), "rb") as file:
        image = base64.b64encode(zlib.compress(file.read(), 1)).decode()
    written = within(CONN.saveImageGetXMLDesc, path("image"), SECURE)
    return {"outcome": "saved", "words": "", "image": image, "xml": written, "counter": counter, "dump": dump,
            "mismatches": mismatches}  # fmt: skip


def answer_restore(request):
    name = write_image(request)
    xml = request.get("xml")
    make_files(xml or within(CONN.saveImageGetXMLDesc, name, SECURE))
    within(CONN.restoreFlags, name, xml, 0)
    for domain in within(CONN.listAllDomains):
        guest = Guest(domain)
        try:
            within(domain.resume)
            return dict(guest.go_on(), outcome="migrated", words="")
        finally:
            guest.close()
    raise Trouble("crashed", "nothing runs after the restore")


def one_definition(name, head, xml):
    """What libvirt says of another definition for an image, whose own is put back."""
    try:
        connect()
        within(CONN.saveImageDefineXML, name, xml, 0)
        return {"outcome": "accepted", "words": "", "code": 0, "xml": within(CONN.saveImageGetXMLDesc, name, SECURE)}
    except Trouble as trouble:
        found = failed(trouble)
        if found["outcome"] != "refused":
            disconnect()
        return dict(found, code=(trouble.args + (0,))[2], xml="")
    finally:
        with open(name, "r+b") as file:
            file.write(head)


def answer_define(request):
    name = write_image(request)
    with open(name, "rb") as file:
        head = file.read(HEAD)
    return {"outcome": "answered", "words": "", "verdicts": [one_definition(name, head, xml) for xml in request["xmls"]]}


def answer_inspect(request):
    return {"outcome": "answered", "words": "", "xml": within(CONN.saveImageGetXMLDesc, write_image(request), SECURE)}


def said_by_qemu():
    """The end of QEMU's log, without what libvirt writes there and without the time of day."""
    lines = []
    for name in glob.glob(path("kept", "libvirt", "qemu", "log", "*.log")):
        with open(name, encoding="utf-8", errors="replace") as file:
            lines += file.read().splitlines()
    lines = [re.sub(r"^\d{4}-\d\d-\d\dT[\d:.]+Z ", "", line) for line in lines[-12:]]
    return [line[:300] for line in lines if re.match(r"qemu|.*(assert|Assert|ERROR|warning)", line)][-3:]


def failed(trouble):
    """The answer that a trouble is: libvirt's refusal may be a crash of QEMU's or of its own."""
    status, words = trouble.args[0], re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z ", "", trouble.args[1])
    signalled = crash() if status in ("refused", "crashed") else ""
    said = [line for line in said_by_qemu() if line not in words]
    return {"outcome": "crashed" if signalled else status, "words": " | ".join([w for w in (words, signalled, *said) if w])}


def clear():
    """End every guest and remove what a question left."""
    if CONN is not None:
        for domain in within(CONN.listAllDomains):
            within(domain.destroy)
    remove("image", "com1", "*.img", "kept/libvirt/qemu/log/*.log")


ANSWERS = {"save": answer_save, "restore": answer_restore, "define": answer_define, "inspect": answer_inspect}


def opened(request):
    global FOLDER, LIMIT
    FOLDER, LIMIT = request["workdir"], float(request.get("limit", LIMIT))
    for name in ("run", "home", "kept", "config/libvirt"):
        os.makedirs(path(name), mode=0o700, exist_ok=True)
    for name, data in request["files"].items():
        with open(path(name), "wb") as file:
            file.write(base64.b64decode(data))
    with open(path("config", "libvirt", "qemu.conf"), "w") as file:
        # QEMU's output would go to a virtlogd that is not there.
        file.write('stdio_handler = "file"\nsecurity_driver = "none"\n')
    with open(path("config", "libvirt", "libvirtd.conf"), "w") as file:
        file.write('host_uuid = "%s"\n' % (HOST % libvirt.getVersion()))
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    threading.Thread(target=reap, daemon=True).start()
    libvirt.registerErrorHandler(lambda context, error: None, None)
    connect()
    return {"status": "opened", "libvirt": libvirt.getVersion(), "qemu": within(CONN.getVersion)}


def answer(request):
    if request["op"] == "open":
        try:
            return opened(request)
        except Trouble as trouble:
            return {"status": trouble.args[0], "message": trouble.args[1]}
    try:
        connect()
        clear()
        ENDED.clear()
        return ANSWERS[request["op"]](request)
    except Trouble as trouble:
        found = failed(trouble)
        if found["outcome"] != "refused":
            disconnect()  # a daemon that hangs, or lost its QEMU, is not asked anything else
        return found
    except (zlib.error, ValueError, OSError) as error:
        disconnect()
        return {"outcome": "failed", "words": "%s: %s" % (type(error).__name__, error)}
    finally:
        with contextlib.suppress(Trouble):
            clear()


# Libraries print. Keep the original stdout for answers alone and send everything else to stderr.
OUT = os.dup(1)
os.dup2(2, 1)


def main():
    with os.fdopen(OUT, "w", encoding="utf-8", closefd=False) as out:
        for line in sys.stdin:
            request = json.loads(line)
            out.write(json.dumps({"status": "accepted", **answer(request), "id": request["id"]}) + "\n")
            out.flush()
    disconnect()
    os._exit(0)


main()
