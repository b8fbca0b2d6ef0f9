"""Another host: a network namespace with a root of its own, its own libvirtd and an sshd. Gone with the process that made it.

The sshd is this machine's, or the one that apt would install, unpacked; each session is put into the lab's root
(ChrootDirectory). The namespace has no name and its link to this machine lives as long as it does: nothing is left behind.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest
from virtcompat import drivers
from virtcompat.labs import Lab, hosts

AT = "/mnt/far"
#: bubblewrap's options that make files, with how many words follow.
FILES = {"--ro-bind": 2, "--bind": 2, "--symlink": 2, "--tmpfs": 1, "--dir": 1, "--proc": 1, "--dev": 1}
INIT = """until ip link show eth0 2>/dev/null >&2; do sleep 0.02; done
ip addr add {address}/30 dev eth0 && ip link set lo up && ip link set eth0 up || exit 1
chroot {at} /usr/sbin/libvirtd 2>/dev/null &
exec {sshd} -D -e -f {folder}/sshd.conf
"""
SSHD = """Port 22
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
ChrootDirectory {at}
PermitRootLogin yes
PasswordAuthentication no
StrictModes no
PidFile none
LogLevel ERROR
"""
SSH = """Host far
  HostName {address}
  User root
  IdentityFile {folder}/user
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
"""


def need(*programs: str) -> None:
    """Skip where this machine lacks a program."""
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"needs {program}: apt-get install openssh-client iproute2 bubblewrap")


def sshd(folder: Path) -> tuple[str, str]:
    """(library path, program) of an sshd; skipped where there is none and none can be fetched."""
    own = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if own:
        return "", own
    need("apt-get", "dpkg-deb")
    fetched = folder / "fetched"
    fetched.mkdir()
    command = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", "openssh-server", "libwrap0"]
    done = subprocess.run(command, cwd=fetched, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        pytest.skip(
            f"no sshd here, and none to be fetched: apt-get install openssh-server ({done.stderr.strip()[-200:]})"
        )
    for package in fetched.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, fetched / "root"], check=True)
    libraries = sorted({str(f.parent) for f in (fetched / "root").rglob("*.so.*")})
    return ":".join(libraries), str(fetched / "root/usr/sbin/sshd")


def moved(argv: Sequence[str], at: str) -> list[str]:
    """The files of a sandbox's command, put below a directory of another sandbox."""
    found, words = [], iter(argv)
    for word in words:
        operands = [next(words) for _ in range(FILES.get(word, 0))]
        if operands:
            found += [word, *operands[:-1], at + operands[-1]]
    return found


def addresses() -> tuple[str, str]:
    """This machine's address and the host's: a network of RFC 2544's that no other host here has (two of them run at once)."""
    said = subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True, check=True).stdout
    nets = list(ip_network("198.18.0.0/15").subnets(new_prefix=30))
    first = os.getpid() % len(nets)
    for net in nets[first:] + nets[:first]:
        here, there = map(str, net.hosts())
        if f" {here}/" not in said:
            return here, there
    pytest.skip("no network is free for another host: ip addr")


@contextmanager
def running(lab: Lab, folder: Path) -> Iterator[str]:
    """A host with a lab's root; yields the words that ssh takes to go there. Skipped where this machine cannot have one."""
    need("ssh", "ssh-keygen", "ip", "bwrap")
    maps = hosts.maps()
    if os.geteuid() != 0 or maps is None:
        pytest.skip("needs root with 65536 users: run as root")
    libraries, program = sshd(folder)
    (here, there), link = addresses(), f"vcfar{os.getpid() % 100000}"
    _write(folder, there, program)
    argv = hosts.command(lab, mapped=False)
    argv = argv[: argv.index("--clearenv")]
    files = [word for path in drivers.host_files() for word in ("--ro-bind", str(folder / Path(path).name), AT + path)]
    info, told = os.pipe()
    sandbox = [
        "bwrap", "--die-with-parent", "--info-fd", str(told), "--unshare-net", "--unshare-pid", "--unshare-ipc",
        "--unshare-uts", "--hostname", "far", "--cap-add", "ALL", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc",
        "--tmpfs", "/run", "--dir", "/run/sshd", "--tmpfs", "/mnt", *moved(argv, AT), *files, "--dir", f"{AT}/root",
        *(word for name in ("passwd", "shadow") for word in ("--ro-bind", str(folder / name), f"/etc/{name}")),
        *("--setenv", "LD_LIBRARY_PATH", libraries), "sh", str(folder / "init"),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", hosts.MAPPED, *maps, *sandbox], stdout=log, stderr=log, pass_fds=(told,)
        )
    os.close(told)
    try:
        with os.fdopen(info) as said:
            child = json.loads(said.read() or "{}").get("child-pid")
        for words in (
            ("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(child)),
            ("addr", "add", f"{here}/30", "dev", link),
            ("link", "set", link, "up"),
        ):
            done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no link into a network namespace here (run as root): {done.stderr.strip()}")
        _await(folder, process)
        yield f"-F {folder}/ssh.conf far"
    finally:
        process.kill()
        process.wait()


def _write(folder: Path, address: str, program: str) -> None:
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    public = (folder / "host.pub").read_text()
    more = ""
    for option, file in (("SshdSessionPath", "sshd-session"), ("SshdAuthPath", "sshd-auth")):
        beside = Path(program).parent.parent / "lib/openssh" / file
        if program.startswith(str(folder)) and beside.exists():
            more += f"{option} {beside}\n"
    words = {"folder": folder, "address": address, "at": AT, "sshd": program}
    for name, text in {
        "init": INIT.format(**words), "sshd.conf": SSHD.format(**words) + more, "ssh.conf": SSH.format(**words),
        "known": f"{address} {public}", "shadow": "root:*:19000::::::\n",
        "passwd": "root:x:0:0:root:/root:/bin/sh\nsshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n",
        **{Path(path).name: text for path, text in drivers.host_files().items()},
    }.items():  # fmt: skip
        (folder / name).write_text(text)


def _await(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the host lets somebody in and its libvirtd listens."""
    deadline = time.monotonic() + 60
    while True:
        done = far(folder, "test -S /run/libvirt/libvirt-sock")
        if done.returncode == 0:
            return
        assert process.poll() is None, (folder / "log").read_text()[-1000:]
        assert time.monotonic() < deadline, done.stderr + (folder / "log").read_text()[-1000:]
        time.sleep(0.1)


def far(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the host."""
    argv = ["ssh", "-F", str(folder / "ssh.conf"), "-o", "BatchMode=yes", "far", command]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
