"""The command lines of virt-install, virt-xml and virt-clone: a program that runs inside a lab.

It imports them once, which takes longer than anything they do, and forks for every question. It is fed to the lab's
own Python (3.9 or newer, standard library only) and speaks JSON lines. Nothing imports it.

``open``     -> ``opened``
``options``  programs -> ``accepted`` with ``programs``: {name: [{names, arity, type, append, required, hidden}]} and
             ``suboptions``: {option of virt-install: {name: whether its help is silent about it}}
``run``      lines (argument vectors), limit (s each) -> ``accepted`` with ``runs``: [{code, out, err}]; code is
             negative for a signal

All answer ``absent`` where a program is not installed.
"""

import argparse
import importlib
import io
import json
import os
import runpy
import signal
import ssl
import sys
import tempfile
import traceback

SANDBOX = "virt-compat"
FOLDER = "/usr/share/virt-manager"
MODULES = {"virt-install": "virtinstall", "virt-xml": "virtxml", "virt-clone": "virtclone"}


class Absent(Exception):
    """A program that is not installed."""


def prepare(programs):
    """Import what the programs are made of, once; return the paths of the programs."""
    load = ssl.SSLContext.load_verify_locations

    def tolerant(self, *arguments, **more):
        # A lab has no certificate authorities: no maintainer script ran. Nobody asks anything over TLS here.
        try:
            return load(self, *arguments, **more)
        except OSError:
            return None

    paths = {}
    for program in programs:
        paths[program] = os.path.join("/usr/bin", program)
        if program not in MODULES or not os.path.exists(paths[program]):
            raise Absent("no program %s" % program)
    ssl.SSLContext.load_verify_locations = tolerant
    if os.uname().nodename == SANDBOX:
        for path in ("/usr/share/misc/pci.ids", "/usr/share/misc/usb.ids"):
            # A link into /var, which is empty and ours in a sandbox; without the file no operating system is known.
            target = os.path.realpath(path)
            if os.path.islink(path) and not os.path.exists(target):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                open(target, "w").close()
    sys.path.insert(0, FOLDER)
    for program in programs:
        try:
            importlib.import_module("virtinst." + MODULES[program])
        except ImportError as error:
            raise Absent("%s cannot be imported: %s" % (program, error))
    return paths


def forked(work, limit):
    """Do some work in a process of its own; return its exit status, output and errors."""
    files = [tempfile.TemporaryFile() for _ in range(2)]
    child = os.fork()
    if not child:
        code = 1
        try:
            os.setsid()
            signal.alarm(int(limit))
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, file in enumerate(files, 1):
                os.dup2(file.fileno(), number)
            sys.stdout, sys.stderr = (io.TextIOWrapper(open(n, "wb", 0), write_through=True) for n in (1, 2))
            code = finish(work)
        finally:
            os._exit(code & 0xFF)
    status = os.waitpid(child, 0)[1]
    texts = []
    for file in files:
        file.seek(0)
        texts.append(file.read().decode("utf-8", "replace"))
    return {"code": -os.WTERMSIG(status) if os.WIFSIGNALED(status) else status >> 8, "out": texts[0], "err": texts[1]}


def finish(work):
    """Do the work and say what a program that did it would exit with."""
    try:
        work()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def describe(module):
    """Print as JSON the options that a program's parser takes, and what the values of virt-install's consist of."""
    taken = []

    def take(parser, *arguments, **more):
        taken.append(parser)
        raise SystemExit(0)

    argparse.ArgumentParser.parse_args = take
    try:
        importlib.import_module("virtinst." + module).parse_args()
    except SystemExit:
        pass
    options = [
        {
            "names": action.option_strings or ["(%s)" % action.dest],
            "arity": action.nargs,
            "type": action.type.__name__ if action.type else "",
            "append": "Append" in type(action).__name__,
            "required": bool(action.required),
            "hidden": action.help == argparse.SUPPRESS,
        }
        for action in taken[0]._actions
    ]
    suboptions = {}
    for parser in importlib.import_module("virtinst.cli")._get_completer_parsers():
        names = suboptions.setdefault(parser.cli_flag_name(), {})
        for argument in parser._virtargs:
            names.update(dict.fromkeys(argument._aliases, True))
            names[argument.cliname] = False
    print(json.dumps({"options": options, "suboptions": suboptions}))


def options(request):
    """Answer what each program takes."""
    prepare(request["programs"])
    programs, suboptions = {}, {}
    for program in request["programs"]:
        ran = forked(lambda: describe(MODULES[program]), request.get("limit", 20))
        if ran["code"]:
            return {"status": "failed", "message": "%s: %s" % (program, ran["err"][-400:])}
        said = json.loads(ran["out"])
        programs[program] = said["options"]
        if program == "virt-install":
            suboptions = said["suboptions"]
    return {"status": "accepted", "programs": programs, "suboptions": suboptions}


def run(request):
    """Run argument vectors as the installed programs would be run."""
    paths = prepare(sorted({line[0] for line in request["lines"]}))
    # Reading the operating systems takes longer than the rest of a run, and every run wants them; without a cache of
    # compiled modules so does importing what is imported late.
    importlib.import_module("logging.handlers")
    importlib.import_module("virtinst").OSDB.list_os()
    runs = []
    for line in request["lines"]:

        def work(line=line):
            sys.argv = [paths[line[0]]] + line[1:]
            runpy.run_path(paths[line[0]], run_name="__main__")

        runs.append(forked(work, request.get("limit", 20)))
    return {"status": "accepted", "runs": runs}


OPS = {"open": lambda request: {"status": "opened"}, "options": options, "run": run}


def main():
    """Answer until stdin ends."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = OPS[request["op"]](request)
        except Absent as error:
            reply = {"status": "absent", "message": str(error)}
        except Exception:
            reply = {"status": "failed", "message": traceback.format_exc()[-800:]}
        reply["id"] = request["id"]
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


main()
