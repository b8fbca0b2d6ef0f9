"""The container probe: a program that starts containers inside a lab, talks to them and looks at what they are.

It is fed to the lab's own Python (3.9 or newer, standard library and libvirt-python only) as this machine's root in a
sandbox of its own with control groups, starts the lab's libvirtd there, and speaks JSON lines: one question a line on
stdin, one answer a line on stdout, in the same order, each with the question's ``id``. Nothing imports it.

``open``  workdir, limit (s: the longest wait for one thing) -> ``opened``; ``absent`` where the lab has no libvirtd or busybox
``play``  name, xml, steps, last: define the container and take the steps, each [verb, path, arguments...]; then everything is
          taken down -> ``accepted`` with facts {path: value}: what became of each step; ``lost`` where that was perhaps chance
          and it is not the last time that this is played (see known())

A container's root is a file system made of the lab's busybox; ``{root}`` in the definition stands for its directory, and
its init, ``/init``, does what it is told over the console. Verbs:

``call``      method, arguments: of the domain; its outcome, and its value where there is one that says something
``keys``      the same with the names in the value only, where the numbers are the machine's
``state``     the container's state and the reason for it
``wait``      the same, once it is running, paused or shutoff
``say``       a line for the init, how long to wait (s); what it answers
``hear``      a word that the init says by itself, or without a word its answer to what it was asked last
``end``       a line that ends the init; the state then
``again``     tell the init to reboot; wait until it is up again
``look``      a line for the init, which must answer: all that it says
``group``     files of the container's control group, such as memory.limit_in_bytes
``consoles``  devices: whether each can be opened
``own``       a number: give the containers' root to this user and group of the host
``run``       a command on the host, which must succeed: all that it prints
``daemon``    end libvirtd and start it again
``events``    what the daemon has told since it was asked last

An outcome is ``ok``, ``refused: CODE (DOMAIN)`` with libvirt's names of these, ``hung`` or ``crashed`` (libvirtd hung up).
"""

import contextlib
import gc
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import libvirt

LOG = "/run/libvirtd.log"
FILES = {
    "/etc/libvirt/libvirtd.conf": 'auth_unix_rw = "none"\nauth_unix_ro = "none"\nunix_sock_group = "root"\n'
    'host_uuid = "5f1c0de0-0000-4000-8000-000000000001"\n',
    # Every driver of the lab is loaded; QEMU's must find a user that exists.
    "/etc/libvirt/qemu.conf": 'user = "root"\ngroup = "root"\nstdio_handler = "file"\n',
    "/etc/libvirt/lxc.conf": 'security_driver = "none"\nlog_with_libvirtd = 0\n',
}
APPLETS = "sh cat echo env grep hostname id ip ls pwd readlink sleep stat stty tr uname wc".split()
INIT = """#!/bin/sh
stty -echo -onlcr
trap 'echo "@signal"; sleep 0.3; exit 0' TERM
while read -r number line; do
    case "$line" in
        exit*) exit ${line#exit } ;;
        poweroff) /bin/busybox poweroff -f ;;
        reboot) /bin/busybox reboot -f ;;
        *) eval "$line"; echo "@done $number" ;;
    esac
done
"""
STATES = {1: "running", 3: "paused", 4: "shutdown", 5: "shutoff", 6: "crashed"}
EVENTS = "DEFINED UNDEFINED STARTED SUSPENDED RESUMED STOPPED SHUTDOWN PMSUSPENDED CRASHED".split()
# What listens to the daemon, in a process of its own: calls on a connection that an event loop reads from may stall.
LISTENER = """
import libvirt
libvirt.virEventRegisterDefaultImpl()
connection = libvirt.open("lxc:///system")
def tell(connection, domain, event, detail, opaque):
    print(domain.name(), event, detail, flush=True)
connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, tell, None)
print("listening", flush=True)
while connection.isAlive():
    libvirt.virEventRunDefaultImpl()
"""
MARK = "<domain type='lxc'><name>vc-mark</name><memory>1024</memory><os><type>exe</type><init>/init</init></os></domain>"
PATIENCE, TRIES = 1.0, 20  # s, for what takes some milliseconds
ROOT = ""
LIMIT = 20.0
LAST = False
DAEMON = None
CONN = None
HEARD = []
CONSOLE = None


class Trouble(Exception):
    """What does not do what it should: (status, words)."""


def prepare():
    """Files of the daemon, and the containers' root."""
    busybox = shutil.which("busybox")
    if not shutil.which("libvirtd") or busybox is None:
        raise Trouble("absent", "no %s" % ("busybox" if busybox is None else "libvirtd"))
    for name, text in FILES.items():
        os.makedirs(os.path.dirname(name), exist_ok=True)
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)
    for name in ("bin", "dev", "proc", "sys", "tmp", "mnt", "home"):
        os.makedirs(os.path.join(ROOT, name), mode=0o755)
    shutil.copy(busybox, os.path.join(ROOT, "bin", "busybox"))
    for name in APPLETS:
        os.symlink("busybox", os.path.join(ROOT, "bin", name))
    with open(os.path.join(ROOT, "init"), "w", encoding="utf-8") as file:
        file.write(INIT)
    os.chmod(file.name, 0o755)
    subprocess.run([busybox, "ip", "link", "set", "lo", "up"], check=False)
    # A user namespace may have /proc and /sys only where there are such already that nothing is hidden in.
    for kind in ("proc", "sysfs"):
        os.makedirs("/run/" + kind)
        subprocess.run([busybox, "mount", "-t", kind, kind, "/run/" + kind], check=False)


def start_daemon():
    """Start the daemon, connect to it and listen."""
    global DAEMON, CONN
    with open(LOG, "ab") as log:
        DAEMON = subprocess.Popen(["libvirtd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    deadline, CONN = time.monotonic() + LIMIT, None
    while CONN is None:
        with contextlib.suppress(libvirt.libvirtError):
            CONN = within(libvirt.open, "lxc:///system")
        if CONN is None and (DAEMON.poll() is not None or time.monotonic() > deadline):
            with open(LOG, encoding="utf-8", errors="replace") as file:
                words = " | ".join(line.split(": ", 2)[-1] for line in file.read().splitlines()[-3:])
            raise Trouble("failed", "libvirtd does not answer (exit status %s): %s" % (DAEMON.poll(), words))
        time.sleep(0.01)
    listener = subprocess.Popen([sys.executable, "-c", LISTENER], stdout=subprocess.PIPE, universal_newlines=True)
    if listener.stdout.readline() != "listening\n":
        raise Trouble("failed", "nothing listens to the daemon")
    threading.Thread(target=lambda: HEARD.extend(listener.stdout), daemon=True).start()


def named(prefix, value):
    """The binding's own name of a number without its prefix, the number where it has none."""
    names = sorted(n for n in dir(libvirt) if n.startswith(prefix) and getattr(libvirt, n) == value)
    return names[0][len(prefix) :] if names else str(value)


def within(function, *arguments, limit=None):
    """What a call returns; Trouble where nothing comes in time."""
    result, failure = [], []

    def run():
        try:
            result.append(function(*arguments))
        except Exception as error:  # handed to the thread that waits
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit or LIMIT)
    if failure:
        raise failure[0]
    if not result:
        raise Trouble("hung", "no answer to %s" % getattr(function, "__name__", "a call"))
    return result[0]


def outcome(function, *arguments):
    """(class, value) of a call."""
    try:
        value = within(function, *arguments)
    except libvirt.libvirtError as error:
        names = named("VIR_ERR_", error.get_error_code()), named("VIR_FROM_", error.get_error_domain())
        return "crashed" if error.get_error_domain() == libvirt.VIR_FROM_RPC else "refused: %s (%s)" % names, None
    except Trouble as trouble:
        return trouble.args[0], None
    return "ok", value


def known(domain, patience=PATIENCE):
    """Whether the daemon hears of a started container's init.

    Every release so far loses a container whose controller speaks before the daemon has made ready to hear it (virLXCMonitorNew
    reads from the connection before it sets the program): it hangs up and hears of nothing any more, not even of the end.
    What follows would be chance: such a container is started again. A signal that does nothing tells: it is sent to
    the init, whose number is that of the container before, or none.
    """
    deadline = time.monotonic() + patience
    while outcome(domain.sendProcessSignal, 1, 0)[0] != "ok":
        if not domain.isActive():
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def started(domain, function, *arguments):
    """The outcome of a call that starts a container, which the daemon has not lost in the end."""
    for _ in range(TRIES):
        told = list(HEARD)
        begun = time.monotonic()
        found = outcome(function, *arguments)
        drop_console()
        if found[0] != "ok" or known(domain, max(PATIENCE / 4, 8 * (time.monotonic() - begun))):
            return found
        outcome(domain.destroy)
        do_events(domain, "")
        HEARD[:] = told
    raise Trouble("failed", "the daemon never hears of the init")


def lose(words):
    """A scene did not go as it should, perhaps by chance: it is played again, except for the last time."""
    if not LAST:
        raise Trouble("lost", words)


class Console:
    """A container's console through the API. Nothing waits in the stream: two threads in one were seen to wait for ever."""

    def __init__(self, domain, device=None):
        # What a stream brings is read with the answer to another call of its connection.
        self.connection = libvirt.open("lxc:///system")
        self.stream = self.connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
        self.connection.lookupByName(domain.name()).openConsole(device, self.stream, 0)
        self.text, self.number, self.closed = "", 0, False

    def read(self):
        try:
            self.connection.getLibVersion()
            while not self.closed and (data := self.stream.recv(4096)) != -2:
                self.text += data.decode("utf-8", "replace").replace("\r", "")
                self.closed = not data
        except libvirt.libvirtError:
            self.closed = True
        return True

    def until(self, word, limit=None):
        """What was said up to a line with this word; None where it is not said in time."""
        pattern = re.compile(r"^%s\n" % word, re.MULTILINE)
        deadline = time.monotonic() + (LIMIT if limit is None else limit)
        while not (found := within(self.read) and pattern.search(self.text)):
            if self.closed or time.monotonic() > deadline:
                return None
            time.sleep(0.005)
        said, self.text = self.text[: found.start()], self.text[found.end() :]
        return said

    def send(self, line):
        self.number += 1
        within(self.stream.send, b"%d %s\n" % (self.number, line.encode()))

    def ask(self, line, limit=None):
        """What the init answers; None where it does not."""
        self.send(line)
        return self.until("@done %d" % self.number, limit)

    def close(self):
        with contextlib.suppress(libvirt.libvirtError, Trouble):
            within(self.stream.abort, limit=PATIENCE)
            self.connection.close()


def console(domain):
    """The container's console, opened at its first use; its init has answered there. What it is told early may be lost."""
    global CONSOLE
    if CONSOLE is None:
        CONSOLE = within(Console, domain)
        for _ in range(int(LIMIT)):
            if CONSOLE.closed or CONSOLE.ask(":", 0.25) is not None:
                break
        if CONSOLE.ask(":", 1) is None:
            lose("the container's init does not answer")
    return CONSOLE


def drop_console():
    global CONSOLE
    if CONSOLE:
        CONSOLE.close()
    CONSOLE = None


# The steps. A value is one line; None and 0 say nothing.


def do_call(domain, path, method, *arguments):
    way = started if method.startswith("create") and not domain.isActive() else lambda domain, *call: outcome(*call)
    said, value = way(domain, getattr(domain, method), *arguments)
    if method == "destroy":
        drop_console()
    shown = json.dumps(value, sort_keys=True) if isinstance(value, (list, tuple, dict)) else str(value or "")
    return {path: "%s: %s" % (said, shown) if shown else said}


def do_keys(domain, path, method, *arguments):
    said, value = outcome(getattr(domain, method), *arguments)
    return {path: "ok: " + " ".join(sorted(value[0] if isinstance(value, list) else value)) if said == "ok" else said}


def do_state(domain, path):
    said, value = outcome(domain.state)
    name = STATES.get(value[0], str(value[0])) if value else said
    return {path: "%s (%s)" % (name, named("VIR_DOMAIN_%s_" % name.upper(), value[1]).lower()) if value else said}


def do_wait(domain, path, wanted):
    deadline = time.monotonic() + LIMIT / 2
    while STATES.get(domain.state()[0]) != wanted:
        if time.monotonic() > deadline:
            lose("the container is never %s" % wanted)
            break
        time.sleep(0.01)
    if wanted == "shutoff":
        drop_console()
    return do_state(domain, path)


def do_say(domain, path, line, limit=None):
    said = console(domain).ask(line, limit)
    return {path: "no answer" if said is None else " ".join(said.split()) or "done"}


def do_hear(domain, path, word=""):
    talk = console(domain)
    return {path: "no answer" if talk.until(word or "@done %d" % talk.number) is None else "heard"}


def do_end(domain, path, line):
    console(domain).send(line)
    return do_wait(domain, path, "shutoff")


def do_again(domain, path):
    before = CONN.lookupByName(domain.name()).ID()
    console(domain).send("reboot")
    drop_console()
    deadline = time.monotonic() + LIMIT
    while CONN.lookupByName(domain.name()).ID() in (before, -1):
        if time.monotonic() > deadline:
            lose("the container is not started anew")
            return {path: "never"}
        time.sleep(0.02)
    if not known(domain):
        lose("the daemon never heard of the init that was started anew")
    console(domain)
    return {path: "up again"}


def do_look(domain, path, line):
    said = console(domain).ask(line)
    if said is None:
        lose("the container's init does not answer %r" % line)
    return {path: said or ""}


def do_group(domain, path, *files):
    found = {}
    for file in files:
        pattern = "/sys/fs/cgroup/%s/machine/*-%s.libvirt-lxc/%s" % (file.split(".")[0], domain.name(), file)
        found["%s/%s" % (path, file)] = "no such file"
        for name in glob.glob(pattern):
            with open(name, encoding="ascii") as opened:
                found["%s/%s" % (path, file)] = ", ".join(sorted(opened.read().split("\n"))).strip(", ")
    return found


def do_consoles(domain, path, *devices):
    found = {}
    for device in devices:
        said, opened = outcome(Console, domain, device)
        found["%s/%s" % (path, device)] = said
        if opened:
            opened.close()
    return found


def do_run(domain, path, *argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT)
    if done.returncode:
        raise Trouble("failed", "%s: %s" % (" ".join(argv), done.stdout.decode().strip()))
    return {path: done.stdout.decode()}


def do_own(domain, path, number):
    for folder, folders, files in os.walk(ROOT):
        for name in (folder, *[os.path.join(folder, name) for name in folders + files]):
            os.lchown(name, int(number), int(number))
    return {}


def do_daemon(domain, path):
    drop_console()
    CONN.close()
    DAEMON.terminate()
    try:
        DAEMON.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        DAEMON.kill()  # now and then it waits for itself; either way containers stay
        DAEMON.wait()
    start_daemon()
    console(CONN.lookupByName(domain.name()))
    return {path: "started again"}


def heard():
    """What the daemon has told since this was asked last. All of it has come once it tells of a container that is asked for last."""
    CONN.defineXML(MARK).undefine()
    deadline = time.monotonic() + LIMIT
    while not (HEARD and HEARD[-1].startswith("vc-mark 1 ")) and time.monotonic() < deadline:
        time.sleep(0.005)
    told, HEARD[:] = [tuple(map(int, line.split()[1:])) for line in HEARD if not line.startswith("vc-mark ")], []
    return told


def do_events(domain, path):
    time.sleep(0.05)
    words = ["%s %s" % (EVENTS[event], named("VIR_DOMAIN_EVENT_%s_" % EVENTS[event], detail)) for event, detail in heard()]
    return {path: ", ".join(words).lower().replace("_", " ") or "none"}


def play(request):
    """Define the container, take the steps, and leave nothing behind."""
    global LAST
    LAST = request["last"]
    heard()
    said, domain = outcome(CONN.defineXML, request["xml"].replace("{root}", ROOT))
    facts = {"define": said}
    try:
        for verb, path, *arguments in request["steps"] if domain else ():
            try:
                facts.update(globals()["do_" + verb](domain, path, *arguments))
            except (libvirt.libvirtError, Trouble) as trouble:
                if isinstance(trouble, Trouble) and trouble.args[0] != "hung":
                    raise
                lose("nothing to go on with at %s" % path)
                facts["(stopped)"] = path
                break
            if verb == "daemon":
                domain = CONN.lookupByName(domain.name())
    finally:
        drop_console()
        if outcome(lambda: CONN.getLibVersion())[0] != "ok":
            DAEMON.kill()
            DAEMON.wait()
            start_daemon()
        facts.update(clear())
    return {"status": "accepted", "facts": facts}


def clear():
    """Take everything down; what network devices libvirt has left behind, without the numbers in their names."""
    for domain in CONN.listAllDomains():
        outcome(domain.destroy)
        outcome(domain.undefine)
    do_own(None, "", 0)
    subprocess.run(["ip", "link", "del", "vc-br"], stderr=subprocess.DEVNULL, check=False)
    deadline, left = time.monotonic() + PATIENCE, [""]
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        said = do_run(None, "all", "ip", "-o", "link")["all"]
        left = re.findall(r"^\d+: ((?:vc-|vnet|veth)[^:@]*)", said, re.MULTILINE)
    for name in left:
        subprocess.run(["ip", "link", "del", name], check=False)
    return {"left": " ".join(sorted(re.sub(r"\d", "", name) for name in left))} if left else {}


def answered(request):
    global ROOT, LIMIT
    try:
        if request["op"] == "play":
            return play(request)
        ROOT, LIMIT = os.path.join(request["workdir"], "root"), float(request["limit"])
        libvirt.registerErrorHandler(lambda context, error: None, None)
        prepare()
        start_daemon()
        return {"status": "opened"}
    except Trouble as trouble:
        status = trouble.args[0]
        return {"status": status if status in ("absent", "lost") else "failed", "message": trouble.args[1]}
    except (libvirt.libvirtError, OSError, ValueError) as error:
        return {"status": "failed", "message": "%s: %s" % (type(error).__name__, error)}


OUT = os.dup(1)
os.dup2(2, 1)
gc.disable()  # what it takes away in the middle of a call resets that call's error


def main():
    with os.fdopen(OUT, "w", encoding="utf-8", closefd=False) as out:
        for line in sys.stdin:
            request = json.loads(line)
            out.write(json.dumps({**answered(request), "id": request["id"]}) + "\n")
            out.flush()
    os._exit(0)


main()
