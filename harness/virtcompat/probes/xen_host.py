"""A Xen host in the sandbox of a probe: started from its checkpoint, and running when the probe opens its connection.

It runs inside a release's lab, before the probe, with the probe's command as its arguments, and becomes it. Nothing
imports it. QEMU belongs to the sandbox and ends with it; what it writes to its disk is in the sandbox's memory. The
host's libvirtd is heard at 127.0.0.1:16509 of the sandbox's own network. argv: the directory of the checkpoint
(xen_build.py), then the probe's command.
"""

import json
import os
import socket
import subprocess
import sys
import time

LIMIT = 50.0
DISK = "/tmp/root.qcow2"


def failed(words):
    sys.exit("the Xen host did not start: " + words)


def ask(file, command):
    """What QEMU's monitor returns to a command; events and errors are passed over."""
    file.write(json.dumps({"execute": command}) + "\n")
    file.flush()
    for line in file:
        reply = json.loads(line)
        if "return" in reply or "error" in reply:
            return reply.get("return")
    return failed("QEMU ended")


def start(folder):
    with open(folder + "/dom0.json", encoding="utf-8") as file:
        argv = json.load(file)["argv"]
    image = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", folder + "/root.img", DISK]
    if subprocess.run(image, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno()).returncode:
        failed("no disk could be made")
    argv = [word.replace("{dom0}", folder).replace("{disk}", "file=%s,format=qcow2" % DISK) for word in argv]
    argv += ["-incoming", "exec:cat %s/state" % folder]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), stderr=sys.stderr.fileno())


def resume(qemu):
    """Wait until the checkpoint is loaded, and let it run."""
    deadline = time.monotonic() + LIMIT
    monitor = socket.socket(socket.AF_UNIX)
    while monitor.connect_ex("/tmp/qmp"):
        if qemu.poll() is not None or time.monotonic() > deadline:
            failed("no QEMU (exit status %s)" % qemu.poll())
        time.sleep(0.02)
    with monitor, monitor.makefile("rw") as file:
        file.readline()
        ask(file, "qmp_capabilities")
        while True:
            status = (ask(file, "query-status") or {}).get("status")
            if status == "running":
                return
            if status != "inmigrate":
                ask(file, "cont")
            if time.monotonic() > deadline:
                failed("its state is %s" % status)
            time.sleep(0.02)


resume(start(sys.argv[1]))
os.execvp(sys.argv[2], sys.argv[2:])
