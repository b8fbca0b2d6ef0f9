"""The Xen probe: a program that runs inside a release's lab and asks the Xen host beside it more than documents.

It is fed to the lab's own Python (3.9 or newer, standard library and libvirt-python only) and speaks JSON lines: one
question a line on stdin, one answer a line on stdout, in the same order. Nothing imports it.

Questions (every one carries an ``id`` that the answer repeats):

``open``    uri -> ``opened``, or ``refused``
``texts``   -> ``accepted`` with texts by name: ``capabilities``, ``dom0`` (its own XML), ``domcapabilities/TYPE``
``to``      format, xml -> ``accepted`` with the text in the hypervisor's own form, or ``refused``
``from``    format, text -> ``accepted`` with the XML, or ``refused``
``life``    xml, sign, limit -> ``accepted``: ``steps``, (name, outcome, seconds): define, create, seen (the
            text ``sign`` on its console within ``limit`` s), suspend, resume, destroy, undefine. An outcome is
            ``state/reason`` as libvirt numbers them, or libvirt's words. ``console`` is what the guest printed.

``refused`` carries libvirt's own error: code, domain (numbers of virErrorNumber, virErrorDomain), message.
"""

import json
import os
import resource
import sys
import threading
import time

import libvirt

CONN = None
MACHINES = (("pv", "xenpv"), ("pvh", "xenpvh"), ("hvm", "xenfv"))
EMULATOR = "/usr/lib/xen/bin/qemu-system-i386"


def failure(error):
    code, domain = error.get_error_code() or 0, error.get_error_domain() or 0
    return {"status": "refused", "code": code, "domain": domain, "message": error.get_error_message() or ""}


def run_events():
    while True:
        libvirt.virEventRunDefaultImpl()


def answer_open(question):
    global CONN
    # A console's words arrive with events only.
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=run_events, daemon=True).start()
    CONN = libvirt.open(question["uri"])
    return {"status": "opened", "libvirt": CONN.getLibVersion(), "hypervisor": CONN.getVersion()}


def answer_texts(question):
    texts = {"capabilities": CONN.getCapabilities(), "dom0": CONN.lookupByID(0).XMLDesc(0)}
    for kind, machine in MACHINES:
        try:
            text = CONN.getDomainCapabilities(EMULATOR, "x86_64", machine, "xen", 0)
        except libvirt.libvirtError as error:
            text = "error: " + (error.get_error_message() or "")
        texts["domcapabilities/" + kind] = text
    return {"status": "accepted", "texts": texts}


def answer_to(question):
    return {"status": "accepted", "text": CONN.domainXMLToNative(question["format"], question["xml"], 0)}


def answer_from(question):
    return {"status": "accepted", "text": CONN.domainXMLFromNative(question["format"], question["text"], 0)}


def state(domain):
    return "%d/%d" % tuple(domain.state())


def listen(domain, sign, limit, heard):
    """What the guest's console says, until it says the sign."""
    stream = CONN.newStream(libvirt.VIR_STREAM_NONBLOCK)
    domain.openConsole(None, stream, 0)
    deadline = time.monotonic() + limit
    while sign not in "".join(heard) and time.monotonic() < deadline:
        data = stream.recv(4096)
        if isinstance(data, bytes) and data:
            heard.append(data.decode("utf-8", "replace"))
        elif data == b"":
            break
        else:
            time.sleep(0.05)
    stream.abort()
    return "yes" if sign in "".join(heard) else "no"


def answer_life(question):
    steps, heard = [], []

    def step(name, action):
        start = time.monotonic()
        try:
            outcome, fine = str(action()), True
        except libvirt.libvirtError as error:
            outcome, fine = error.get_error_message() or "", False
        steps.append([name, outcome, round(time.monotonic() - start, 2)])
        return fine

    domain = CONN.defineXML(question["xml"])
    steps.append(["define", state(domain), 0.0])
    try:
        if step("create", lambda: domain.create() or state(domain)):
            step("seen", lambda: listen(domain, question["sign"], question["limit"], heard))
            step("suspend", lambda: domain.suspend() or state(domain))
            step("resume", lambda: domain.resume() or state(domain))
            step("destroy", lambda: domain.destroy() or state(domain))
    finally:
        step("undefine", lambda: domain.undefine() or "gone")
    return {"status": "accepted", "steps": steps, "console": "".join(heard)}


ASKED = {"open": answer_open, "texts": answer_texts, "to": answer_to, "from": answer_from, "life": answer_life}
# Libraries print. Keep the original stdout for answers alone and send everything else to stderr.
OUT = os.dup(1)
os.dup2(2, 1)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main():
    libvirt.registerErrorHandler(lambda context, error: None, None)
    with os.fdopen(OUT, "w", encoding="utf-8", closefd=False) as out:
        for line in sys.stdin:
            question = json.loads(line)
            try:
                answer = ASKED[question["op"]](question)
            except libvirt.libvirtError as error:
                answer = failure(error)
            out.write(json.dumps({**answer, "id": question["id"]}) + "\n")
            out.flush()
    os._exit(0)


main()
