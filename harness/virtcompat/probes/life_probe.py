"""The life probe: a program that runs inside a lab and keeps hosts whose guests live through several releases.

It is fed to the lab's own Python (3.9 or newer, standard library and libvirt-python only) and speaks JSON lines. A host is a
process of its own, forked from this one, with a libvirt connection and a directory: it ends without the others.

``open``   workdir, limit (seconds, the longest wait for one call) -> status ``opened`` with the library's version
``begin``  host, uri ({folder}: the host's directory), files ({path: base64}) -> ``ok`` with the view, or how it failed
``call``   host, on, method, args, keep -> how it ended, with its value and the view of the host after it
``end``    host, hard (kill it) -> ``ok`` with its files ({path: base64}), or how it died
``clear``  end every host

on: [] the connection, [name] a guest, [name, "snapshot" or "checkpoint", its name]. An argument that is a dictionary stands
for something of the host's: {"file": name} a path, {"snapshot": name} a snapshot of the guest.

outcome: ``ok``; ``refused`` with libvirt's code, domain and words; ``no-binding``; ``crashed`` or ``hung``: the host is gone.
The view is all that the host says of its guests: {name: {...}}, see ``seen``.
"""

import base64
import contextlib
import ctypes
import glob
import json
import os
import select
import shutil
import signal
import sys
import threading
import time

import libvirt

FOLDER = None
LIMIT = 20.0
HOSTS = {}
SECURE, INACTIVE, MIGRATABLE = 1, 2, 8  # virDomainXMLFlags
STATES = {1: "running", 3: "paused", 5: "shutoff"}  # virDomainState
NO_SUPPORT = 3


def refusal(error):
    return {
        "outcome": "refused",
        "code": error.get_error_code() or 0,
        "domain": error.get_error_domain() or 0,
        "words": error.get_error_message() or "",
    }


# What a host does: all of this runs in its own process.


def text_of(write, flags):
    try:
        return write(flags)
    except libvirt.libvirtError as error:
        return "error: " + (error.get_error_message() or "")


def tree(items):
    """Snapshots or checkpoints: name, parent, whether current, as written."""
    found = {}
    for item in items:
        try:
            parent = item.getParent().getName()
        except libvirt.libvirtError:
            parent = ""
        current = bool(item.isCurrent(0)) if hasattr(item, "isCurrent") else False
        found[item.getName()] = {"parent": parent, "current": current, "text": text_of(item.getXMLDesc, SECURE)}
    return found


def listed(list_all):
    try:
        return list_all(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() == NO_SUPPORT:
            return []
        raise


def findable(conn, name, uuid):
    """Whether a guest that is listed is found by its name and by its UUID."""
    try:
        return conn.lookupByName(name).UUIDString() == uuid and conn.lookupByUUIDString(uuid).name() == name
    except libvirt.libvirtError:
        return False


def seen(conn):
    """What a host says of its guests, each as every way of asking says it."""
    view = {}
    for domain in conn.listAllDomains(0):
        name, uuid = domain.name(), domain.UUIDString()
        active = bool(domain.isActive())
        view[name] = {
            "uuid": uuid,
            "state": STATES.get(domain.state()[0], "other"),
            "active": active,
            "persistent": bool(domain.isPersistent()),
            "autostart": bool(domain.autostart()),
            "managed": bool(domain.hasManagedSaveImage(0)),
            "inactive": text_of(domain.XMLDesc, SECURE | INACTIVE),
            "live": text_of(domain.XMLDesc, SECURE) if active else "",
            "snapshots": tree(listed(domain.listAllSnapshots)),
            "checkpoints": tree(listed(domain.listAllCheckpoints)),
            "found": findable(conn, name, uuid),
        }
    counted = conn.numOfDomains() + conn.numOfDefinedDomains()
    if counted != len(view):
        view["(count)"] = {"found": False}
    return view


def place(folder, name):
    return os.path.join(folder, os.path.basename(name))


def resolved(conn, folder, on, argument):
    if not isinstance(argument, dict):
        return argument
    if "file" in argument:
        return place(folder, argument["file"])
    return conn.lookupByName(on[0]).snapshotLookupByName(argument["snapshot"])


def called(conn, folder, request):
    on = request.get("on") or []
    item = conn
    if on:
        item = conn.lookupByName(on[0])
    if len(on) > 2:
        item = getattr(item, on[1] + "LookupByName")(on[2], 0)
    if not hasattr(item, request["method"]):
        return {"outcome": "no-binding", "words": "the binding has no " + request["method"]}
    args = [resolved(conn, folder, on, argument) for argument in request.get("args", [])]
    value = getattr(item, request["method"])(*args)
    if not isinstance(value, (str, int, float, bool, type(None))):
        value = None
    return {"outcome": "ok", "value": value}


def run_events():
    while True:
        libvirt.virEventRunDefaultImpl()


def host(folder, uri, requests, replies):
    """A host's process: opens its connection and answers until its requests end."""
    out = os.fdopen(replies, "w", encoding="utf-8")

    def say(reply):
        out.write(json.dumps(reply) + "\n")
        out.flush()

    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=run_events, daemon=True).start()
    libvirt.registerErrorHandler(lambda context, error: None, None)
    try:
        conn = libvirt.open(uri.replace("{folder}", folder))
        say({"outcome": "ok", "view": seen(conn)})
    except libvirt.libvirtError as error:
        say(refusal(error))
        os._exit(0)
    with os.fdopen(requests, encoding="utf-8") as asked:
        for line in asked:
            try:
                reply = called(conn, folder, json.loads(line))
            except (libvirt.libvirtError, UnicodeError) as error:
                reply = refusal(error) if isinstance(error, libvirt.libvirtError) else {"outcome": "garbled", "words": str(error)}
            except TypeError as error:
                reply = {"outcome": "no-binding", "words": str(error)}
            try:
                reply["view"] = seen(conn)
            except (libvirt.libvirtError, UnicodeError) as error:
                reply = {"outcome": "garbled", "words": "the host cannot be looked at: %s" % error}
            say(reply)
    conn.close()
    os._exit(0)


# What looks after the hosts.


class Host:
    """A host's process, and the pipes to it."""

    def __init__(self, folder, uri):
        self.folder = folder
        asked, self.asking = os.pipe()
        self.answering, answered = os.pipe()
        self.buffer = b""
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for other in HOSTS.values():
                    other.shut()
                os.close(self.asking)
                os.close(self.answering)
                host(folder, uri, asked, answered)
            finally:
                os._exit(70)
        os.close(asked)
        os.close(answered)

    def shut(self):
        for end in (self.asking, self.answering):
            with contextlib.suppress(OSError):
                os.close(end)

    def send(self, request):
        with contextlib.suppress(BrokenPipeError):
            data = (json.dumps(request) + "\n").encode()
            while data:
                data = data[os.write(self.asking, data) :]

    def reply(self):
        """Its next answer, or how it died."""
        deadline = time.monotonic() + LIMIT
        while b"\n" not in self.buffer:
            if not select.select([self.answering], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return {"outcome": "hung", "words": "no answer within %g s" % LIMIT}
            data = os.read(self.answering, 1 << 16)
            if not data:
                return {"outcome": "crashed", "words": self.ended()}
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def ended(self):
        """Wait for the process; how it ended, empty where it ended well."""
        deadline = time.monotonic() + LIMIT
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                return "hung"
            time.sleep(0.0005)
        self.pid = 0
        if os.WIFSIGNALED(status):
            return signal.Signals(os.WTERMSIG(status)).name
        return "exit status %d" % os.WEXITSTATUS(status) if os.WEXITSTATUS(status) else ""

    def end(self, hard):
        """End the process (``hard``: kill it); how it died, if it did not end by itself."""
        if hard and self.pid:
            os.kill(self.pid, signal.SIGKILL)
        self.shut()
        words = self.ended() if self.pid else ""
        if words == "hung" and self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        return "" if hard else words


def files_of(folder):
    found = {}
    for file in sorted(glob.glob(os.path.join(folder, "*"))):
        if os.path.isfile(file):
            with open(file, "rb") as data:
                found[os.path.basename(file)] = base64.b64encode(data.read()).decode()
    return found


def gone(name, reply):
    """A reply after which there is no host any more."""
    HOSTS.pop(name).end(hard=True)
    return reply


def answer_begin(request):
    name = request["host"]
    if name in HOSTS:
        gone(name, None)
    folder = os.path.join(FOLDER, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for path, data in request["files"].items():
        with open(place(folder, path), "wb") as file:
            file.write(base64.b64decode(data))
    HOSTS[name] = Host(folder, request["uri"])
    reply = HOSTS[name].reply()
    return reply if reply["outcome"] == "ok" else gone(name, reply)


def answer_call(request):
    name = request["host"]
    if name not in HOSTS:
        return {"outcome": "absent", "words": "no host " + name}
    HOSTS[name].send(request)
    reply = HOSTS[name].reply()
    return gone(name, reply) if reply["outcome"] in ("crashed", "hung") else reply


def answer_end(request):
    name = request["host"]
    if name not in HOSTS:
        return {"outcome": "absent", "words": "no host " + name}
    ended = HOSTS.pop(name)
    words = ended.end(request.get("hard", False))
    files = files_of(ended.folder)
    if words:
        return {"outcome": "hung" if words == "hung" else "crashed", "words": words, "files": files}
    return {"outcome": "ok", "files": files}


def answer_clear(request):
    for name in list(HOSTS):
        HOSTS.pop(name).end(hard=True)
    return {"outcome": "ok"}


ANSWERS = {"begin": answer_begin, "call": answer_call, "end": answer_end, "clear": answer_clear}


def answer(request):
    global FOLDER, LIMIT
    if request["op"] == "open":
        FOLDER, LIMIT = request["workdir"], float(request.get("limit", LIMIT))
        os.makedirs(FOLDER, exist_ok=True)
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
        return {"status": "opened", "libvirt": libvirt.getVersion()}
    return {"status": "accepted", **ANSWERS[request["op"]](request)}


# Libraries print. Keep the original stdout for answers alone and send everything else to stderr.
OUT = os.dup(1)
os.dup2(2, 1)


def main():
    with os.fdopen(OUT, "w", encoding="utf-8", closefd=False) as out:
        for line in sys.stdin:
            request = json.loads(line)
            out.write(json.dumps({**answer(request), "id": request["id"]}) + "\n")
            out.flush()
    answer_clear({})
    os._exit(0)


main()
