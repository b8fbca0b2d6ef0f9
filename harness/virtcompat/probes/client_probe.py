"""A release's client: calls of the public API and commands of virsh, put to a daemon of any release.

A program, not a module of virt-compat: standard library and libvirt-python only, Python 3.9 and newer. It runs inside the
client's lab and speaks JSON lines: one question a line on stdin, one answer a line on stdout, in the order asked.

    {"id": 0, "op": "open", "limit": seconds}        the longest that a call may take
    {"id": 1, "op": "topic", "uri": {…}, "connect": "test:///default", "documents": {…}, "calls": […], "skip": […]}
    {"id": 2, "op": "alive", "uris": […], "interval": 1, "count": 2}

uri: how an address is written for this daemon: {"transport": "unix", "host": "", "query": "socket=…"}. A topic is one
connection and calls on it, in order, in a process of its own; what is in ``skip`` is left out. A call is a record:

    name     what it is called
    do       a Python expression; in it are libvirt, conn, documents, what was kept, and the functions of ``HELP``
    keep     the name under which its value is kept
    virsh    true: ``do`` is a command of virsh; commands that follow each other run in one virsh
    mask     regular expressions of what differs from time to time in the value
    shape    "type": the value itself differs from time to time; "sorted": the order of a list has no meaning

An answer has for each call a record: ``class`` and ``value``, ``code`` and ``domain`` or ``words``.

``ok``          it returned a value, as JSON; an object of libvirt is its type and name
``error``       libvirt said no: code and domain
``no-binding``  this release's libvirt has no such function, constant or argument
``dropped``     the connection is gone; ``hung``: no answer within the limit; ``crashed``: a signal ended the client.
                Nothing more is asked of the topic then
``unasked``     what the call needs was not kept, because an earlier one failed
``fault``       the call is written wrongly
"""

import ctypes
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import threading
import time

import libvirt

LIMIT = 10.0
ENDINGS = ("dropped", "hung")
#: Stands around the name of a command in front of what that prints; ``echo`` of virsh ends no line.
MARK, END = "@@@", "(end)"
#: A domain that says that somebody has used this state of the test driver before.
SEEN = "virt-compat-seen"
ADDRESS = re.compile(r"^(\w+)://(.*)$")
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)  # looked up before any fork


class Hung(Exception):
    pass


# Values.


def named(thing):
    """``virDomain guest``: type and name of an object; a connection has none."""
    for way in ("name", "getName", "usageID", "portDev", "UUIDString"):
        if hasattr(thing, way):
            return "%s %s" % (type(thing).__name__, getattr(thing, way)())
    return type(thing).__name__


def plain(value):
    """A value as JSON can write it."""
    if isinstance(value, bytes):
        return "%d bytes %s" % (len(value), hashlib.sha256(value).hexdigest()[:16])
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {str(plain(k)): plain(v) for k, v in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return named(value)


def shaped(value, how):
    """The value without what has no meaning: the order of a list, or everything but its form."""
    if how == "sorted":
        return sorted(value, key=lambda v: json.dumps(v, sort_keys=True)) if isinstance(value, list) else value
    if how != "type":
        return value
    if isinstance(value, dict):
        return {k: shaped(v, how) for k, v in value.items()}
    if isinstance(value, list):
        return [shaped(v, how) for v in value]
    return type(value).__name__


def written(value, call):
    """The value of a call as text. An object in a list of objects has no place: lists of them are sorted."""
    objects = isinstance(value, list) and value and type(value[0]).__name__.startswith("vir")
    value = shaped(plain(value), "sorted" if objects else call.get("shape", ""))
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    for pattern in call.get("mask", ()):
        text = re.sub(pattern, "…", text)
    return text


# What expressions may use.


class Events:
    """Callbacks that write down what they hear."""

    def __init__(self):
        self.heard = []
        self.news = threading.Condition()

    def hear(self, tag):
        def callback(conn, *arguments):
            with self.news:
                self.heard.append([tag, *[plain(a) for a in arguments[:-1]]])
                self.news.notify_all()

        return callback

    def take(self, number, seconds=5.0):
        """What was heard since the last time, once it is so many; fewer where they do not come."""
        with self.news:
            self.news.wait_for(lambda: len(self.heard) >= number, seconds)
            found, self.heard = self.heard, []
            return found


def upload(volume, data, flags=0):
    """Send bytes into a volume; the number of them."""
    stream = volume.connect().newStream()
    volume.upload(stream, 0, len(data), flags)
    stream.sendAll(lambda s, size, source: source.read(size), io.BytesIO(data))
    stream.finish()
    return len(data)


def received(stream):
    """Everything that comes out of a stream."""
    found = []
    stream.recvAll(lambda s, data, opaque: found.append(data), None)
    stream.finish()
    return b"".join(found)


def download(volume, offset=0, length=0, flags=0):
    stream = volume.connect().newStream()
    volume.download(stream, offset, length, flags)
    return received(stream)


def download_sparse(volume):
    """[number of data, bytes of data, number of holes, bytes of holes] of a volume whose holes stay holes."""
    found = [0, 0, 0, 0]

    def data(stream, piece, opaque):
        found[0] += 1
        found[1] += len(piece)

    def hole(stream, length, opaque):
        found[2] += 1
        found[3] += length

    stream = volume.connect().newStream()
    volume.download(stream, 0, 0, libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM)
    stream.sparseRecvAll(data, hole, None)
    stream.finish()
    return [bool(found[0]), found[1], bool(found[2]), found[3]]


def upload_sparse(volume, pieces):
    """Send data (bytes) and holes (a number of bytes) into a volume."""
    stream = volume.connect().newStream()
    volume.upload(stream, 0, sum(p if isinstance(p, int) else len(p) for p in pieces), 1)
    for piece in pieces:
        if isinstance(piece, int):
            stream.sendHole(piece)
        else:
            while piece:
                piece = piece[stream.send(piece):]
    stream.finish()
    return len(pieces)


def aborted(volume):
    """A download that is given up after its first bytes."""
    stream = volume.connect().newStream()
    volume.download(stream, 0, 0, 0)
    first = stream.recv(4)
    stream.abort()
    return len(first)


def screenshot(domain):
    """[type, content] of a picture of a domain's screen."""
    stream = domain.connect().newStream()
    kind = domain.screenshot(stream, 0)
    return [kind, plain(received(stream))]


def closed(uri, readonly=False):
    """What closing a connection of one's own returns."""
    return (libvirt.openReadOnly if readonly else libvirt.open)(uri).close()


HELP = (upload, download, download_sparse, upload_sparse, aborted, screenshot, closed)


# Calls.


def within(function, limit):
    """What a function returns; Hung where it does not return in time."""
    result, failure = [], []

    def run():
        try:
            result.append(function())
        except BaseException as error:  # handed to the thread that waits
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        raise Hung("no answer within %g s" % limit)
    if failure:
        raise failure[0]
    return result[0]


def failed(error, connections):
    """The record of a call that raised."""
    words = str(error)
    if isinstance(error, libvirt.libvirtError):
        if not all(alive(conn) for conn in connections):
            return {"class": "dropped", "words": words}
        code, domain = error.get_error_code() or 0, error.get_error_domain() or 0
        return {"class": "error", "code": code, "domain": domain, "words": words}
    if isinstance(error, Hung):
        return {"class": "hung", "words": words}
    if isinstance(error, NameError) or "'NoneType' object" in words:
        return {"class": "unasked", "words": words}
    lacks = isinstance(error, AttributeError) and ("'libvirt'" in words or "'vir" in words)
    takes = isinstance(error, TypeError) and re.search(r"argument|takes", words)
    if lacks or takes or isinstance(error, NotImplementedError):
        return {"class": "no-binding", "words": words}
    return {"class": "fault", "words": "%s: %s" % (type(error).__name__, words)}


def alive(conn):
    try:
        return conn.isAlive() == 1
    except libvirt.libvirtError:
        return False


class Writer:
    """Writes an address of the daemon's (``test:///default``) as the client must write it for a transport."""

    def __init__(self, how):
        self.how = how
        self.query = how["query"]

    def __call__(self, address, query=None):
        scheme, rest = ADDRESS.match(address).groups()
        query = self.query if query is None else query
        return "%s+%s://%s%s%s" % (scheme, self.how["transport"], self.how["host"], rest, "?" + query if query else "")


class Topic:
    """One connection, what is kept of it, and the records of its calls."""

    def __init__(self, request, say):
        self.request = request
        self.say = say
        self.uri = Writer(request["uri"])
        self.names = {f.__name__: f for f in HELP}
        self.names.update(libvirt=libvirt, uri=self.uri, documents=request["documents"], events=Events())

    def connections(self):
        return [v for v in self.names.values() if isinstance(v, libvirt.virConnect)]

    def run(self):
        """Every call in order, until the connection is lost."""
        waiting = [c for c in self.request["calls"] if c["name"] not in self.request["skip"]]
        while waiting:
            count = next((n for n, c in enumerate(waiting) if not c.get("virsh")), len(waiting))
            batch, waiting = waiting[: count or 1], waiting[count or 1 :]
            self.say({"at": batch[0]["name"]})
            records = self.virsh(batch) if count else {batch[0]["name"]: self.one(batch[0])}
            for name, record in records.items():
                self.say({"name": name, "record": record})
            if any(record["class"] in ENDINGS for record in records.values()):
                break

    def one(self, call):
        def evaluate():
            value = eval(call["do"], self.names)  # the project's own calls, in a sandbox
            return value, written(value, call)

        try:
            value, text = within(evaluate, LIMIT)
        except BaseException as error:
            return self.refused(failed(error, self.connections()))
        if "keep" in call:
            self.names[call["keep"]] = value
        if not all(alive(conn) for conn in self.connections()):
            return {"class": "dropped", "words": "the connection is gone after this call"}
        return {"class": "ok", "value": text}

    def refused(self, record):
        """The record of a call that raised, once the connection has been seen to bear another call."""
        if record["class"] == "error":
            try:
                within(self.names["conn"].getLibVersion, LIMIT)
            except (libvirt.libvirtError, Hung) as error:
                words = "%s; then, to the next call: %s" % (record["words"], error)
                return {"class": "hung" if isinstance(error, Hung) else "dropped", "words": words}
        return record

    def virsh(self, calls):
        """Commands of virsh in one process; what each prints, errors among it."""
        for name, text in self.request["documents"].items():
            with open("/tmp/" + name, "w", encoding="utf-8") as file:
                file.write(text)
        script = "".join("echo %s%s%s; %s; " % (MARK, c["name"], MARK, c["do"]) for c in calls)
        script += "echo %s%s%s" % (MARK, END, MARK)
        out, hung = spoken(["virsh", "--quiet", "--connect", self.uri(self.request["connect"]), script], 3 * LIMIT)
        parts = out.split(MARK)[1:]
        found = dict(zip(parts[::2], parts[1::2]))
        records = {c["name"]: self.printed(found[c["name"]], c) for c in calls if c["name"] in found}
        if END not in found:
            at = next((c["name"] for c in reversed(calls) if c["name"] in found), calls[0]["name"])
            words = ("no answer within %g s" % (3 * LIMIT)) if hung else "virsh ended: %s" % out[-200:]
            records[at] = {"class": "hung" if hung else "dropped", "words": words}
        return records

    def printed(self, text, call):
        lines = [line.rstrip() for line in text.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error:")]
        if any(re.search("client socket is closed|End of file while reading|Cannot recv data|reset by peer", e) for e in errors):
            return {"class": "dropped", "words": "; ".join(errors)}
        unknown = ("error: unknown command", "error: unrecognized command", "doesn't support option", "unexpected data")
        if any(word in line for line in errors for word in unknown):
            return {"class": "no-binding", "words": "; ".join(errors)}
        if errors:
            return {"class": "error", "code": 0, "domain": 0, "words": "; ".join(errors)}
        return {"class": "ok", "value": written("\n".join(lines), call)}


def spoken(argv, limit):
    """(what a command printed, on stdout and stderr in order, whether it was ended for its slowness)."""
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=end_with_parent
    )  # fmt: skip
    try:
        return process.communicate(timeout=limit)[0].decode("utf-8", "replace"), False
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0].decode("utf-8", "replace"), True


def end_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)


# Questions.


def fresh(uri):
    """A connection to a test driver in its first state: an earlier client's may last until the daemon has let go of it."""
    deadline = time.monotonic() + LIMIT
    while True:
        conn = libvirt.open(uri)
        if conn.getType() != "TEST":
            return conn
        try:
            conn.lookupByName(SEEN)
        except libvirt.libvirtError:
            conn.defineXML("<domain type='test'><name>%s</name><memory>1</memory><os><type>hvm</type></os></domain>" % SEEN)
            return conn
        conn.close()
        if time.monotonic() > deadline:
            raise Hung("the daemon keeps what an earlier connection left")
        time.sleep(0.02)


def connected():
    """Make this process a client: with an event loop, as everyone has who wants to live through a pause."""
    libvirt.registerErrorHandler(lambda context, error: None, None)
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=run_events, daemon=True).start()


def run_events():
    while True:
        libvirt.virEventRunDefaultImpl()


def apart(function, request):
    """(what a function says, its wait status) in a process of its own, whose end is the end of every connection."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        end_with_parent()
        os.close(reading)
        out = os.fdopen(writing, "w", encoding="utf-8")

        def say(record):
            out.write(json.dumps(record) + "\n")
            out.flush()

        try:
            connected()
            function(request, say)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    return found, os.waitpid(child, 0)[1]


def run_topic(request, say):
    topic = Topic(request, say)
    try:
        topic.names["conn"] = within(lambda: fresh(topic.uri(request["connect"])), 2 * LIMIT)
    except (libvirt.libvirtError, Hung) as error:
        return say({"refused": "no answer within %g s" % (2 * LIMIT) if isinstance(error, Hung) else str(error)})
    topic.run()
    say({"done": True})


def answer_topic(request):
    """The records of a topic. What it was at when its process ended has crashed it."""
    found, status = apart(run_topic, request)
    records = {said["name"]: said["record"] for said in found if "record" in said}
    refused = next((said["refused"] for said in found if "refused" in said), "")
    if not refused and not any("done" in said for said in found):
        at = ([said["at"] for said in found if "at" in said] or ["(open)"])[-1]
        words = "signal %d" % os.WTERMSIG(status) if os.WIFSIGNALED(status) else "exit status %d" % (status >> 8)
        records[at] = {"class": "crashed", "words": "the client ended with " + words}
    return {"records": records, "refused": refused}


def run_alive(request, say):
    """For each address whether a connection that hears nothing but answers to its own pings lives on: yes, no, or why not."""
    found = []
    for uri in request["uris"]:
        try:
            conn = within(lambda: libvirt.open(uri), LIMIT)
            found.append((conn, within(lambda: conn.setKeepAlive(request["interval"], request["count"]), LIMIT)))
        except (libvirt.libvirtError, Hung) as error:
            found.append((None, str(error)))
    time.sleep(request["interval"] * (request["count"] + 1) + 0.3)
    for conn, code in found:
        say({"said": str(code) if conn is None or code else "alive" if alive(conn) else "dropped"})


def answer_alive(request):
    found, status = apart(run_alive, request)
    said = [line["said"] for line in found]
    return {"said": said + ["the client ended with wait status %d" % status] * (len(request["uris"]) - len(said))}


def opened(request):
    global LIMIT
    LIMIT = float(request.get("limit", LIMIT))
    return {"status": "opened", "libvirt": libvirt.getVersion()}


ANSWERS = {"open": opened, "topic": answer_topic, "alive": answer_alive}

# Libraries print. Keep the original stdout for answers alone and send everything else to stderr.
OUT = os.dup(1)
os.dup2(2, 1)


def main():
    with os.fdopen(OUT, "w", encoding="utf-8", closefd=False) as out:
        for line in sys.stdin:
            request = json.loads(line)
            out.write(json.dumps({"status": "accepted", **ANSWERS[request["op"]](request), "id": request["id"]}) + "\n")
            out.flush()
    os._exit(0)


main()
