"""A release's libvirtd, kept running for clients of other releases: on unix sockets, TCP and TLS at the same time.

A program, not a module of virt-compat: standard library only, Python 3.9 and newer. It runs inside the daemon's lab and
speaks JSON lines: one question a line on stdin, one answer a line on stdout, in the order asked.

    {"id": 0, "op": "open", "files": {path: text}, "unix": […], "tcp": […], "log": FILE}   start it and wait for its sockets
    {"id": 1, "op": "check", "patience": 0.5}   {"alive": true} or how it ended within these seconds: it has been started anew

files are written first. unix and tcp: the sockets and ports that must take connections. An opening whose status is
``absent`` says that the lab has no libvirtd.
"""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
LIMIT = 30.0
LIBC = ctypes.CDLL(None)  # looked up before any fork
OPENING = {}
DAEMON = None


def end_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def connects(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as client:
        return client.connect_ex(address) == 0


def ready():
    """Whether every socket takes connections; a file alone comes too early."""
    return all(connects(socket.AF_UNIX, path) for path in OPENING["unix"]) and all(
        connects(socket.AF_INET, ("127.0.0.1", port)) for port in OPENING["tcp"]
    )


def last_words():
    with open(OPENING["log"], encoding="utf-8", errors="replace") as log:
        return " | ".join(log.read().strip().splitlines()[-3:])


def start():
    """Start it; the words of what went wrong, or none."""
    global DAEMON
    for path in ("/run/libvirtd.pid", *OPENING["unix"]):
        if os.path.exists(path):
            os.unlink(path)
    with open(OPENING["log"], "a") as log:
        DAEMON = subprocess.Popen(
            ["libvirtd", "--listen"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=end_with_parent
        )  # fmt: skip
    deadline = time.monotonic() + LIMIT
    while not ready():
        if DAEMON.poll() is not None:
            return "libvirtd ended with %s: %s" % (DAEMON.returncode, last_words())
        if time.monotonic() > deadline:
            return "libvirtd did not come up within %g s: %s" % (LIMIT, last_words())
        time.sleep(0.02)
    return ""


def opened(request):
    OPENING.update(request)
    if not shutil.which("libvirtd"):
        return {"status": "absent", "message": "no libvirtd"}
    for path, text in request["files"].items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    words = start()
    return {"status": "failed", "message": words} if words else {"status": "opened"}


def checked(request):
    try:
        code = DAEMON.wait(request["patience"])
    except subprocess.TimeoutExpired:
        return {"alive": True, "words": ""}
    how = signal.Signals(-code).name if code < 0 else "exit status %d" % code
    said = "libvirtd ended: %s: %s" % (how, last_words())
    again = start()
    return {"alive": False, "words": said + ("; " + again if again else "")}


OUT = os.dup(1)
os.dup2(2, 1)


def main():
    with os.fdopen(OUT, "w", encoding="utf-8", closefd=False) as out:
        for line in sys.stdin:
            request = json.loads(line)
            answer = opened(request) if request["op"] == "open" else checked(request)
            out.write(json.dumps({"status": "accepted", **answer, "id": request["id"]}) + "\n")
            out.flush()
    os._exit(0)


main()
