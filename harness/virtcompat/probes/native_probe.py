"""The converter: a program that has a lab's libvirt read configurations in a hypervisor's own format, and write them again.

It is fed to the lab's own Python (3.9 or newer, standard library and libvirt-python only) and speaks JSON lines. Nothing
imports it.

``open``     daemon (start the lab's own libvirtd first), files {path: text} -> ``opened``
``convert``  uri, format, texts {name: text} -> ``accepted`` with ``answers``: {name: {xml, back} or {code, message}};
             back is what writing the document in the format again gives, or {code, message}
"""

import json
import os
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
    """Start the system daemon in this sandbox, if it is wanted."""
    global DAEMON
    for path, text in request.get("files", {}).items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    if request.get("daemon"):
        DAEMON = subprocess.Popen(["libvirtd"], stdin=subprocess.DEVNULL, stdout=2, stderr=2)
        deadline = time.monotonic() + 30
        while not listening("/run/libvirt/libvirt-sock"):
            if DAEMON.poll() is not None or time.monotonic() > deadline:
                return {"status": "failed", "message": "libvirtd did not come up (exit status %s)" % DAEMON.poll()}
            time.sleep(0.05)
    return {"status": "opened"}


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


OPS = {"open": start, "convert": convert}


def main():
    """Answer until stdin ends."""
    for line in sys.stdin:
        request = json.loads(line)
        reply = OPS[request["op"]](request)
        reply["id"] = request["id"]
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


main()
