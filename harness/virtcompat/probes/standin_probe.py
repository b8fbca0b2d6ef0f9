"""The stand-in probe: a program that runs inside a lab, calls libvirt as an application would, and tells what that asked.

It is fed to the lab's own Python (3.9 or newer, standard library and libvirt-python only) in a sandbox with a stand-in for
a hypervisor, which writes down each call it gets. It speaks JSON lines: one question a line on stdin, one answer a line on
stdout, in the same order, each with the question's ``id``. Nothing imports it.

``open``   -> ``opened``
``play``   files ({path: text}), transcript (path), limit (s), steps -> ``accepted`` with ``results``, one for each step

A step is {call, on, args, keep}: ``call`` a method of the object kept under the name ``on``, or one of libvirt's functions
where that is empty; what it returns is kept under ``keep``. A result has ``asked`` (the stand-in's lines) and an outcome:
``accepted``   with value; an object is its kind, name and UUID
``refused``    with code, domain, message
``garbled``    refused with words that are no text
``missing``    the binding has no such call
``unplayed``   nothing is kept under that name
``crashed``    with message: a signal ended the process; no later step was played
``hung``       no end within the limit; no later step was played
"""

import json
import os
import select
import signal
import sys

import libvirt

KINDS = {"virDomain": "domain", "virNetwork": "network", "virInterface": "interface", "virStoragePool": "pool"}


def told(value):
    """A value as JSON can have it; an object by what its handle itself knows, so that nothing more is asked."""
    if isinstance(value, (list, tuple)):
        return [told(item) for item in value]
    if isinstance(value, dict):
        return {str(key): told(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    words = [KINDS.get(type(value).__name__, type(value).__name__)]
    return " ".join(words + [getattr(value, name)() for name in ("name", "UUIDString") if hasattr(value, name)])


def lines(path, start):
    """The lines of the transcript from a place on, and the place of its end."""
    try:
        with open(path, "rb") as file:
            file.seek(start)
            data = file.read()
    except OSError:
        return [], start
    # At newlines alone: what a driver hands over may hold any other character, a carriage return among them.
    return data.decode("utf-8", "backslashreplace").split("\n")[:-1], start + len(data)


def one(step, kept):
    """Play one step."""
    if step.get("on") and step["on"] not in kept:
        return {"outcome": "unplayed"}
    method = getattr(kept[step["on"]] if step.get("on") else libvirt, step["call"], None)
    if method is None:
        return {"outcome": "missing", "message": "no %s" % step["call"]}
    try:
        value = method(*step.get("args", []))
    except libvirt.libvirtError as error:
        return {
            "outcome": "refused",
            "code": error.get_error_code() or 0,
            "domain": error.get_error_domain() or 0,
            "message": error.get_error_message() or "",
        }
    except SystemError:
        # The binding cannot decode libvirt's words, and trips over that.
        return {"outcome": "garbled", "message": "refused with words that are no text"}
    except (TypeError, UnicodeError, AttributeError) as error:
        return {"outcome": "missing", "message": "%s: %s" % (type(error).__name__, error)}
    if step.get("keep"):
        kept[step["keep"]] = value
    return {"outcome": "accepted", "value": told(value)}


def actor(question, out):
    """Play all steps, in a process that may die of it; a line for each."""
    kept, at = {}, 0
    libvirt.registerErrorHandler(lambda context, error: None, None)
    with os.fdopen(out, "w", encoding="utf-8") as pipe:
        for step in question["steps"]:
            result = one(step, kept)
            result["asked"], at = lines(question["transcript"], at)
            pipe.write(json.dumps(result) + "\n")
            pipe.flush()
    os._exit(0)


def play(question):
    for path, text in question.get("files", {}).items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        actor(question, writing)
    os.close(writing)
    results, buffer, end = [], b"", ""
    while len(results) < len(question["steps"]):
        if not select.select([reading], [], [], question["limit"])[0]:
            os.kill(child, signal.SIGKILL)
            end = "hung"
            break
        data = os.read(reading, 1 << 16)
        if not data:
            end = "crashed"
            break
        buffer += data
        *whole, buffer = buffer.split(b"\n")
        results += [json.loads(line) for line in whole]
    os.close(reading)
    status = os.waitpid(child, 0)[1]
    if end:
        at = sum(len(line.encode()) + 1 for result in results for line in result["asked"])
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        words = signal.Signals(number).name if number else "exit status %d" % os.WEXITSTATUS(status)
        results.append({"outcome": end, "message": words, "asked": lines(question["transcript"], at)[0]})
    return {"status": "accepted", "results": results}


# Libraries print. Keep the original stdout for answers alone and send everything else to stderr.
OUT = os.dup(1)
os.dup2(2, 1)


def main():
    with os.fdopen(OUT, "w", encoding="utf-8", closefd=False) as out:
        for line in sys.stdin:
            question = json.loads(line)
            answer = {"status": "opened"} if question["op"] == "open" else play(question)
            answer["id"] = question["id"]
            out.write(json.dumps(answer) + "\n")
            out.flush()
    os._exit(0)


main()
