"""The host probe: a program that is a whole host inside a lab: it runs the lab's libvirtd, calls its API and looks around.

It is fed to the lab's own Python (3.9 or newer, standard library and libvirt-python only), as root of a user namespace,
in network, process and mount namespaces of its own, and speaks JSON lines: one question a line on stdin, one answer a
line on stdout, in the same order, each with the question's ``id``. Nothing imports it.

``open``      workdir, uri, files ({path: text}; programs in /run/bin), sysfs, limit (s) -> ``opened``, or a failure's message.
              ``{socket}`` in the uri stands for the daemon's socket. sysfs: /sys shows this namespace's own interfaces
``call``      method, args, on (a handle, empty: the connection), keep (a name for the object that comes back)
``restart``   end the daemon (by SIGKILL where ``hard``), run the command ``between`` and start it again; no handle lives on
``run``       argv, stdin -> code, out, err of a command
``read``      patterns, optionally ``binary`` -> files: {path: text}
``write``     path, text (or data, base64)
``digest``    path, length (bytes of the file that count, all where 0) -> sha256, size, allocated (bytes)
``transfer``  upload or download of the volume ``on``: the bytes go through a stream; returns their digest
``processes`` name -> argvs of the running processes of that name
``events``    name, expected (how many to wait for) -> events: [kind, object, event id, detail …] of that object, since the start

A call's outcome is ``ok`` with a value, ``refused`` with code and domain (their names in the binding) and words, ``hung``,
``crashed`` (the daemon ended: words say how), ``no-binding`` where the lab's binding has no such call,
``no-object`` where the call that should have given the object did not, or ``garbled`` where an error's words are no text.
"""

import base64
import contextlib
import ctypes
import glob
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import libvirt

SOCKET = "/run/libvirt/libvirt-sock"
LOG = "/run/libvirtd.log"
OWN = "/run/bin/"  # programs here come before the lab's
DIRECTORIES = (
    "/etc/libvirt/qemu/networks/autostart", "/etc/libvirt/nwfilter", "/etc/libvirt/storage/autostart", "/etc/libvirt/secrets",
    "/var/lib/libvirt/dnsmasq", "/var/lib/libvirt/qemu", "/var/log/libvirt/qemu", "/run/libvirt",
)  # fmt: skip
#: What libvirtd is told where it would ask others: polkit, virtlogd, the machine's firmware.
CONFIGURATION = {
    "/etc/libvirt/libvirtd.conf": 'auth_unix_ro = "none"\nauth_unix_rw = "none"\nhost_uuid = "5f1c0de0-0003-4000-8000-000000000001"\n',
    "/etc/libvirt/qemu.conf": 'stdio_handler = "file"\n',
}
ASIDE = "/run/aside"
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_MOVE, MNT_DETACH = 1, 2, 4, 8, 32, 4096, 8192, 2
BLOCK = 1 << 18

OPENING = {}
DAEMON = None
CONN = None
LIMIT = 20.0  # s
PATIENCE = 3.0  # s, for an event that may never come
HANDLES = {}
EVENTS = []


class Trouble(Exception):
    """What does not do what it should: (outcome, words)."""


# The daemon.


def mount(*calls):
    """Mount one thing after the other: (source, target, type, flags); a source of None is taken away from its target."""
    libc = ctypes.CDLL(None, use_errno=True)
    for source, target, kind, flags in calls:
        words = [word and word.encode() for word in (source, target, kind)]
        if libc.umount2(words[1], MNT_DETACH) if source is None else libc.mount(*words, flags, None):
            raise Trouble("absent", "%s cannot be mounted in a sandbox here: %s" % (target, os.strerror(ctypes.get_errno())))


def guard_settings():
    """Leave this namespace's own network settings writable and none of the machine's, which its root's user may write to."""
    os.makedirs(ASIDE, exist_ok=True)
    mount(
        # What the sandbox shows is read-only throughout.
        (None, "/proc/sys", None, 0),
        ("/proc/sys/net", ASIDE, None, MS_BIND), ("/proc/sys", "/proc/sys", None, MS_BIND),
        ("/proc/sys", "/proc/sys", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC),
        (ASIDE, "/proc/sys/net", None, MS_MOVE),
    )  # fmt: skip


def show_own_devices():
    """Show this namespace's own network devices, and no control groups: the machine's are not for this host to make more in.

    Read-only, as the /sys that the sandbox gives is; that one is taken away, with what is mounted below it.
    """
    os.makedirs(ASIDE, exist_ok=True)
    flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
    mount(("sysfs", ASIDE, "sysfs", flags), (None, "/sys", None, 0), (ASIDE, "/sys", None, MS_MOVE))


def prepare():
    """What maintainer scripts and systemd would have made."""
    for name in DIRECTORIES:
        os.makedirs(name, exist_ok=True)
    for name, text in {**CONFIGURATION, **OPENING.get("files", {})}.items():
        os.makedirs(os.path.dirname(name), exist_ok=True)
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)
        if name.startswith(OWN):
            os.chmod(name, 0o755)
    for name in glob.glob("/usr/share/libvirt/nwfilter/*.xml"):
        with open(name, encoding="utf-8") as file, open("/etc/libvirt/nwfilter/" + os.path.basename(name), "w") as copy:
            copy.write(file.read())
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    guard_settings()
    if OPENING.get("sysfs"):
        show_own_devices()


def said_by_daemon():
    """The last errors in the daemon's log, without the time of day."""
    with contextlib.suppress(OSError), open(LOG, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file if " : " in line or "error" in line]
        return " | ".join(line.split(": ", 2)[-1] for line in lines[-3:])
    return ""


def ended():
    """How the daemon ended, empty where it runs."""
    code = DAEMON.poll()
    if code is None:
        return ""
    return "libvirtd ended: %s" % (signal.Signals(-code).name if code < 0 else "exit status %d" % code)


def start():
    """Start the daemon and connect to it."""
    global DAEMON, CONN
    environment = dict(os.environ, PATH=OWN + ":" + os.environ["PATH"])
    with open(LOG, "ab") as log:
        DAEMON = subprocess.Popen(["libvirtd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    deadline = time.monotonic() + LIMIT
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            if client.connect_ex(SOCKET) == 0:
                break
        if ended() or time.monotonic() > deadline:
            words = ended() or "libvirtd does not listen"
            stop(hard=True)
            raise Trouble("crashed", "%s: %s" % (words, said_by_daemon()))
        time.sleep(0.01)
    CONN = within(libvirt.open, OPENING["uri"].replace("{socket}", SOCKET))
    listen()


def stop(hard=False):
    """End the daemon; no handle lives on. Its children stay, as they would on a host."""
    global DAEMON, CONN
    HANDLES.clear()
    if CONN is not None and not hard and not ended():
        with contextlib.suppress(libvirt.libvirtError):
            CONN.close()
    CONN = None
    if DAEMON is None:
        return
    DAEMON.send_signal(signal.SIGKILL if hard else signal.SIGTERM)
    try:
        DAEMON.wait(LIMIT)
    except subprocess.TimeoutExpired:
        DAEMON.kill()
        DAEMON.wait()
        DAEMON = None
        raise Trouble("hung", "libvirtd does not end") from None
    DAEMON = None


def within(function, *arguments):
    """What a call into libvirt returns; Trouble where nothing comes in time."""
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
        raise Trouble("hung", "no answer to %s within %g s" % (getattr(function, "__name__", "a call"), LIMIT))
    if failure:
        raise failure[0]
    return result[0]


# Events.


def hear(kind, event):
    """A callback that notes who and what, by the arguments of its kind."""

    def heard(conn, thing, *what):
        name = thing.usageID() or thing.UUIDString() if kind == "secret" else thing.name()
        EVENTS.append([kind, name, event, *[w for w in what[:-1] if isinstance(w, int)]])

    return heard


def listen():
    """Ask for what the connection's driver can tell of."""
    EVENTS.clear()
    ways = {
        "network": "networkEventRegisterAny", "storage": "storagePoolEventRegisterAny", "secret": "secretEventRegisterAny",
        "nodedev": "nodeDeviceEventRegisterAny",
    }  # fmt: skip
    for kind, method in ways.items():
        for event in (0, 1):
            with contextlib.suppress(libvirt.libvirtError):
                getattr(CONN, method)(None, event, hear(kind, event), None)


# The questions.


def named(prefix, value):
    """The binding's own name of a number, the number where it has none."""
    names = sorted(n for n in dir(libvirt) if n.startswith(prefix) and getattr(libvirt, n) == value)
    return names[0] if names else str(value)


def plain(value):
    """A value of the binding as JSON knows it: objects by their names, bytes as hexadecimal digits."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.hex()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    for method in ("name", "portDev", "UUIDString"):
        if hasattr(value, method):
            return getattr(value, method)()
    return type(value).__name__


def argument(value):
    """{"constant": NAME} is one of the binding's, {"handle": NAME} an object kept, {"hex": DIGITS} bytes."""
    if isinstance(value, dict) and "constant" in value:
        number = 0
        for name in value["constant"].split("|"):
            number |= getattr(libvirt, name)
        return number
    if isinstance(value, dict) and "handle" in value:
        return HANDLES[value["handle"]]
    if isinstance(value, dict) and "hex" in value:
        return bytes.fromhex(value["hex"])
    return value


def refusal(error):
    return {
        "outcome": "refused", "code": named("VIR_ERR_", error.get_error_code()), "words": error.get_error_message() or "",
        "domain": named("VIR_FROM_", error.get_error_domain()),
    }  # fmt: skip


def call(request):
    if request.get("on") and request["on"] not in HANDLES:
        return {"outcome": "no-object", "words": "no %s: the call that should have given it did not" % request["on"]}
    target = HANDLES[request["on"]] if request.get("on") else CONN
    HANDLES.pop(request.get("keep"), None)
    try:
        method = getattr(target, request["method"])
        arguments = [argument(value) for value in request.get("args", ())]
    except AttributeError as error:
        return {"outcome": "no-binding", "words": str(error)}
    try:
        value = within(method, *arguments)
    except (SystemError, UnicodeDecodeError) as error:
        return {"outcome": "garbled", "words": str(error)}
    if request.get("keep"):
        HANDLES[request["keep"]] = value
    return {"outcome": "ok", "value": plain(value)}


def restart(request):
    stop(hard=request.get("hard", False))
    if request.get("between"):
        subprocess.run(request["between"], check=True, stdout=subprocess.DEVNULL)
    start()
    return {"outcome": "ok"}


def run(request):
    try:
        done = subprocess.run(
            request["argv"], input=request.get("stdin", "").encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT,
        )  # fmt: skip
    except FileNotFoundError:
        return {"outcome": "absent", "words": "no program %s" % request["argv"][0]}
    except subprocess.TimeoutExpired:
        return {"outcome": "hung", "words": "%s does not end" % request["argv"][0]}
    texts = [data.decode("utf-8", "replace") for data in (done.stdout, done.stderr)]
    return {"outcome": "ok", "code": done.returncode, "out": texts[0], "err": texts[1]}


def read(request):
    files = {}
    for pattern in request["patterns"]:
        for name in glob.glob(pattern):
            if os.path.isfile(name):
                with open(name, encoding="utf-8", errors="replace") as file:
                    files[name] = file.read()
    return {"outcome": "ok", "files": files}


def write(request):
    data = base64.b64decode(request["data"]) if "data" in request else request["text"].encode()
    os.makedirs(os.path.dirname(request["path"]), exist_ok=True)
    with open(request["path"], "wb") as file:
        file.write(data)
    return {"outcome": "ok"}


def digest(request):
    try:
        status = os.stat(request["path"])
        body = hashlib.sha256()
        left = request.get("length") or status.st_size
        with open(request["path"], "rb") as file:
            while left > 0 and (data := file.read(min(BLOCK, left))):
                body.update(data)
                left -= len(data)
    except OSError as error:
        return {"outcome": "absent", "words": error.strerror}
    return {"outcome": "ok", "sha256": body.hexdigest(), "size": status.st_size, "allocated": status.st_blocks * 512}


def transfer(request):
    """Bytes through a stream; an upload's are the same each time: a pattern that is no block's repetition."""
    volume, length = HANDLES[request["on"]], request["length"]
    stream = CONN.newStream(0)
    body = hashlib.sha256()
    if request["way"] == "download":
        within(volume.download, stream, request.get("offset", 0), length, 0)
        count = 0
        while data := within(stream.recv, BLOCK):
            body.update(data)
            count += len(data)
    else:
        within(volume.upload, stream, request.get("offset", 0), length, 0)
        count = 0
        while count < length:
            data = b"".join(b"%015d\n" % (n * 7919) for n in range(count // 16, min(count + BLOCK, length) // 16))
            sent = 0
            while sent < len(data):
                sent += within(stream.send, data[sent:])
            body.update(data)
            count += len(data)
    within(stream.finish)
    return {"outcome": "ok", "sha256": body.hexdigest(), "length": count}


def processes(request):
    found = []
    for name in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError), open(name, "rb") as file:
            argv = file.read().decode("utf-8", "replace").split("\0")[:-1]
            if argv and os.path.basename(argv[0]) == request["name"]:
                found.append(argv)
    return {"outcome": "ok", "argvs": sorted(found)}


def events(request):
    """What was heard of one object, once it is as much as is expected: events come in their own time."""
    deadline = time.monotonic() + PATIENCE
    while True:
        heard = [event for event in list(EVENTS) if event[1] == request["name"]]
        if len(heard) >= request["expected"] or time.monotonic() > deadline:
            return {"outcome": "ok", "events": heard}
        time.sleep(0.005)


OPS = {
    "call": call, "restart": restart, "run": run, "read": read, "write": write, "digest": digest, "transfer": transfer,
    "processes": processes, "events": events,
}  # fmt: skip


def answer(request):
    """The answer to a question about a daemon that runs; one that has ended is started again."""
    try:
        if CONN is None:
            start()
        return OPS[request["op"]](request)
    except libvirt.libvirtError as error:
        found = refusal(error)
    except Trouble as trouble:
        found = {"outcome": trouble.args[0], "words": trouble.args[1]}
    except (OSError, KeyError, ValueError, TypeError, subprocess.SubprocessError) as error:
        return {"outcome": "failed", "words": "%s: %s" % (type(error).__name__, error)}
    time.sleep(0.05 if found["outcome"] == "refused" and not CONN.isAlive() else 0)
    if DAEMON is not None and ended():
        found = {"outcome": "crashed", "words": "%s: %s" % (ended(), said_by_daemon())}
    if found["outcome"] in ("hung", "crashed"):
        with contextlib.suppress(Trouble):
            stop(hard=True)
    return found


def opened(request):
    global LIMIT
    OPENING.update(request)
    LIMIT = float(request.get("limit", LIMIT))
    libvirt.registerErrorHandler(lambda context, error: None, None)
    libvirt.virEventRegisterDefaultImpl()

    def turn():
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=turn, daemon=True).start()
    try:
        prepare()
        start()
    except Trouble as trouble:
        return {"status": trouble.args[0], "message": trouble.args[1]}
    except FileNotFoundError as error:
        return {"status": "absent", "message": "no program %s" % error.filename}
    except (OSError, libvirt.libvirtError) as error:
        return {"status": "failed", "message": str(error)}
    return {"status": "opened", "libvirt": libvirt.getVersion()}


# Libraries print. Keep the original stdout for answers alone and send everything else to stderr.
OUT = os.dup(1)
os.dup2(2, 1)


def main():
    with os.fdopen(OUT, "w", encoding="utf-8", closefd=False) as out:
        for line in sys.stdin:
            request = json.loads(line)
            reply = opened(request) if request["op"] == "open" else {"status": "accepted", **answer(request)}
            out.write(json.dumps({**reply, "id": request["id"]}) + "\n")
            out.flush()
    os._exit(0)


main()
