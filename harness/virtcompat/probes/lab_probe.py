"""The visitor: a program that runs inside a lab, reads its files and runs its commands for the caller.

It is fed to the lab's own Python (3.9 or newer, standard library only) and speaks JSON lines: one question a line on
stdin, one answer a line on stdout, in the same order, each with the question's ``id``. Nothing imports it.

``open``     -> ``opened``
``read``     patterns -> ``accepted`` with ``files``: {path: base64 of the bytes}, symbolic links by their own path
``library``  soname -> ``accepted`` with path and data (base64) of the file that the lab's dynamic linker takes,
             ``absent`` where it takes none
``run``      argv, stdin, env, limit (s) -> ``accepted`` with code (negative: the signal), out, err, or ``absent``
             where there is no such program, or ``failed`` where it does not end in time
"""

import base64
import ctypes
import glob
import json
import os
import signal
import subprocess
import sys

LIMIT = 64 << 20  # bytes of output that one command may print


def read(request):
    """Return the bytes of every file that one of the patterns names."""
    files = {}
    for pattern in request["patterns"]:
        for path in glob.glob(pattern, recursive=True):
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    files[path] = base64.b64encode(file.read()).decode()
    return {"status": "accepted", "files": files}


def library(request):
    """Let the dynamic linker find a library and return the file it took."""
    try:
        ctypes.CDLL(request["soname"])
    except OSError as error:
        return {"status": "absent", "message": str(error)}
    with open("/proc/self/maps") as maps:
        taken = [line.split(None, 5)[5].strip() for line in maps if line.count("/")]
    # The map names the file behind a symbolic link: libfoo.so.0 is mapped as libfoo.so.0.7000.0.
    names = [path for path in taken if os.path.basename(path).startswith(request["soname"])]
    if not names:
        return {"status": "absent", "message": "%s is loaded, but from no file" % request["soname"]}
    with open(names[0], "rb") as file:
        return {"status": "accepted", "path": names[0], "data": base64.b64encode(file.read()).decode()}


def run(request):
    """Run one command to its end, in a process group of its own that is gone afterwards."""
    try:
        process = subprocess.Popen(
            request["argv"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(os.environ, **request.get("env", {})),
            start_new_session=True,
        )
    except FileNotFoundError:
        return {"status": "absent", "message": "no program %s" % request["argv"][0]}
    try:
        out, err = process.communicate(request.get("stdin", "").encode(), request.get("limit", 30))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return {"status": "failed", "message": "no end within %s s" % request.get("limit", 30)}
    texts = [data[:LIMIT].decode("utf-8", "replace") for data in (out, err)]
    return {"status": "accepted", "code": process.returncode, "out": texts[0], "err": texts[1]}


OPS = {"open": lambda request: {"status": "opened"}, "read": read, "library": library, "run": run}


def main():
    """Answer until stdin ends."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = OPS[request["op"]](request)
        except OSError as error:
            reply = {"status": "failed", "message": str(error)}
        reply["id"] = request["id"]
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


main()
