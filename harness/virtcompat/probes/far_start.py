"""The start of a probe on another host: a program that ssh runs there, beside which the probe lives and with which it ends.

It is given to the host's own Python (3.9 or newer, standard library only) as ``-c TEXT`` and has two lives:

- the **keeper** stays with the connection. Where that is lost it kills the probe and everything the probe has started; where
  the probe ends it ends alike, with 128 + the number of the signal as a sandbox does. It removes the probe's directory.
- the **probe** is what the host reads from stdin: a line with the length in characters, then the source, then questions.
  It runs without address-space randomization, so that what depends on addresses does the same each time. ``{pid}`` in
  the name of its directory, wherever a question has it, is its own number: several probes share a host.
"""

import ctypes
import os
import select
import shutil
import signal
import sys
import time

FOLDER = "/tmp/virt-compat-"
LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, ADDR_NO_RANDOMIZE = 1, 36, 0x0040000


def libc(name, *arguments):
    return getattr(ctypes.CDLL(None), name)(*arguments) if LINUX else None


def probe():
    """Become the probe. On Linux this program starts itself anew first, as its image is laid out when it starts."""
    folder = FOLDER + str(os.getpid())
    if LINUX and len(sys.argv) == 1:
        libc("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
        libc("personality", ADDR_NO_RANDOMIZE)
        with open("/proc/self/cmdline", "rb") as file:
            words = file.read().split(b"\0")[:-1]
        os.execv(sys.executable, words + [b"again"])
    try:
        os.mkdir(folder, 0o711)
    except FileExistsError:
        if os.lstat(folder).st_uid != os.getuid():
            sys.exit("%s is somebody else's" % folder)
        shutil.rmtree(folder)  # of a probe of this number whose host was switched off
        os.mkdir(folder, 0o711)
    source = sys.stdin.read(int(sys.stdin.readline()))
    questions = sys.stdin
    sys.stdin = (line.replace(FOLDER + "{pid}", folder) for line in questions)
    exec(compile(source, "virt-compat-probe", "exec"), {"__name__": "__main__"})


def orphans():
    """The processes that are this one's children, by the kernel's list."""
    found = []
    for name in os.listdir("/proc") if LINUX else ():
        try:
            with open("/proc/%s/stat" % int(name)) as file:
                parent = file.read().rsplit(")", 1)[1].split()[1]
        except (OSError, ValueError):
            continue
        if int(parent) == os.getpid():
            found.append(int(name))
    return found


def sweep():
    """Kill what the probe has started, however it went into a session of its own: without a parent it is this one's."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for child in orphans():
            try:
                os.kill(child, signal.SIGKILL)
            except OSError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def wait(child, woken):
    """Wait for the probe's end or the connection's; returns the probe's status."""
    poll = select.poll()
    poll.register(woken, select.POLLIN)
    poll.register(1, 0)  # hung up or broken is always told
    while True:
        # Everybody's: a daemon that ended and that nobody buries seems alive to whoever waits for its end, as libvirt does.
        ended = -1
        while ended:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == child:
                return status
        lost = False
        for file, _ in poll.poll():
            lost |= file == 1 or any(number != signal.SIGCHLD for number in os.read(woken, 64))
        if lost:
            try:
                os.killpg(child, signal.SIGKILL)
            except OSError:
                os.kill(child, signal.SIGKILL)  # it has no group of its own yet
            return os.waitpid(child, 0)[1]


def keep():
    """Start the probe, stay until it or the connection ends, leave nothing."""
    libc("prctl", PR_SET_CHILD_SUBREAPER, 1)
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    child = os.fork()
    if child == 0:
        os.close(woken)
        os.close(wakes)
        os.setsid()
        probe()
        return
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda number, frame: None)
    signal.set_wakeup_fd(wakes)
    status = wait(child, woken)
    sweep()
    shutil.rmtree(FOLDER + str(child), ignore_errors=True)
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


if len(sys.argv) == 1:
    keep()
else:
    probe()
