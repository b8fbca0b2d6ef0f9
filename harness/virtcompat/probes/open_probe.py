"""A lab's drivers opened: each once, in a process of its own, or one that reads configurations in its hypervisor's format.

It is fed to the lab's own Python (3.9 or newer, standard library and libvirt-python only) and speaks JSON lines. Nothing
imports it.

``open``     daemon (start the lab's own libvirtd first), files {path: text} -> ``opened``
``census``   uris {name: uri}, limit (s) -> ``accepted`` with ``answers``: {name: {status, code, domain, message, type}}
             status is opened, refused, crashed or hung; type is what the connection calls its driver
``convert``  uri, format, texts {name: text} -> ``accepted`` with ``answers``: {name: {xml, back} or {code, message}};
             back is what writing the document in the format again gives, or {code, message}
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import libvirt

DAEMON = None


def listening(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(path) == 0


def start(request):
    """Start the system daemon in this sandbox, if it is wanted and there is one."""
    global DAEMON
    for path, text in request.get("files", {}).items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    if request.get("daemon"):
        try:
            DAEMON = subprocess.Popen(["libvirtd"], stdin=subprocess.DEVNULL, stdout=2, stderr=2)
        except FileNotFoundError:
            return {"status": "absent", "message": "no libvirtd"}
        deadline = time.monotonic() + 30
        while not listening("/run/libvirt/libvirt-sock"):
            if DAEMON.poll() is not None or time.monotonic() > deadline:
                return {"status": "failed", "message": "libvirtd did not come up (exit status %s)" % DAEMON.poll()}
            time.sleep(0.05)
    return {"status": "opened"}


def opened(uri):
    """What libvirt says to this URI."""
    libvirt.registerErrorHandler(lambda context, error: None, None)
    try:
        connection = libvirt.open(uri)
    except libvirt.libvirtError as error:
        return {"status": "refused", "code": error.get_error_code(), "domain": error.get_error_domain(),
                "message": error.get_error_message() or ""}
    return {"status": "opened", "type": connection.getType()}


def alone(uri, limit):
    """The same in a child, which may crash or hang."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        os.write(write, json.dumps(opened(uri)).encode())
        os._exit(0)
    os.close(write)
    data, deadline = b"", time.monotonic() + limit
    while True:
        ready, _, _ = select.select([read], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(read, 65536) if ready else None
        if not part:
            break
        data += part
    os.close(read)
    if part is None:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if part is None:
        return {"status": "hung", "message": "no answer within %s s" % limit}
    if not data:
        return {"status": "crashed", "message": "signal %s" % os.WTERMSIG(status)}
    return json.loads(data)


def census(request):
    return {
        "status": "accepted",
        "answers": {name: alone(uri, request["limit"]) for name, uri in sorted(request["uris"].items())},
    }


def words(error):
    return {"code": error.get_error_code(), "message": error.get_error_message() or ""}


def converted(connection, form, text):
    try:
        xml = connection.domainXMLFromNative(form, text, 0)
    except libvirt.libvirtError as error:
        return words(error)
    try:
        return {"xml": xml, "back": connection.domainXMLToNative(form, xml, 0)}
    except libvirt.libvirtError as error:
        return {"xml": xml, "back": words(error)}


def run_events():
    while True:
        libvirt.virEventRunDefaultImpl()


def convert(request):
    libvirt.virEventRegisterDefaultImpl()  # an embedded driver wants one
    threading.Thread(target=run_events, daemon=True).start()
    libvirt.registerErrorHandler(lambda context, error: None, None)
    try:
        connection = libvirt.open(request["uri"])
    except libvirt.libvirtError as error:
        return {"status": "absent", "message": error.get_error_message() or "the driver does not open"}
    answers = {name: converted(connection, request["format"], text) for name, text in sorted(request["texts"].items())}
    return {"status": "accepted", "answers": answers}


OPS = {"open": start, "census": census, "convert": convert}


def main():
    """Answer until stdin ends."""
    for line in sys.stdin:
        request = json.loads(line)
        reply = OPS[request["op"]](request)
        reply["id"] = request["id"]
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


main()
