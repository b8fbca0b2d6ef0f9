"""Containers that really start: a lab's libvirtd as this machine's real root, asked what becomes of one container after the other.

LXC makes device nodes and puts containers into control groups: no user namespace can do that. The sandbox has this
machine's real root and network, process, mount and control group namespaces of its own; its groups are made for it and
are removed when it ends (labs/cgroups.py). Control groups of version 1 are what this is made for.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virtcompat.errors import Absent, LabError
from virtcompat.labs import Lab, cgroups, within
from virtcompat.labs.session import DEATHS, OpenFailed, Session, Start
from virtcompat.model import NotHere
from virtcompat.store import paths
from virtcompat.store.scenes import Step

PROBE = paths.PACKAGE / "probes" / "container_probe.py"
#: The longest wait for one thing, in s.
LIMIT = 20.0
#: How often a scene is played that the daemon loses its container in (the probe's known() says why).
TRIES = 4
FUSE = "/dev/fuse"
#: What the kernel accounts a group's memory and swap space in; libvirt shows a container its memory only with both.
SWAP = "memory/memory.memsw.usage_in_bytes"
V1 = "start the machine with systemd.unified_cgroup_hierarchy=0 on the kernel's command line, or use another one"

#: Ends the path of what an aspect's line was answered.
SAID = "/(said)"
Lines = Sequence[str]


def _process(lines: Lines) -> dict[str, str]:
    names = ("pid", "user", "group", "directory")
    # The init is a script: the shell and its name come first.
    return dict(zip(names, lines, strict=False)) | {"arguments": " ".join(lines[len(names) + 2 :])}


def _pairs(lines: Lines) -> dict[str, str]:
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def _names(lines: Lines) -> dict[str, str]:
    return dict(zip(("hostname", "machine"), lines, strict=False))


def _mounts(lines: Lines) -> dict[str, str]:
    found, groups = {}, set[str]()
    # What is the machine's own way is no part of the container.
    own = re.compile(r"inode64|seclabel|(nr_inodes|user_id|group_id)=.*")
    for line in lines:
        _, place, kind, options = line.split()[:4]
        kept = [option for option in options.split(",") if not own.fullmatch(option)]
        if kind == "cgroup":
            groups |= set(kept) & set(cgroups.NEEDED)
        else:
            found[f"[{place}]"] = f"{kind} {','.join(kept)}"
    return {**found, "control groups": " ".join(sorted(groups)) or "none"}


def _capabilities(lines: Lines) -> dict[str, str]:
    """The sets of the init, less what is not told."""
    found = {}
    for name, value in (line.split() for line in lines):
        names = [word for number, word in TOLD.items() if int(value, 16) >> number & 1]
        found[name.rstrip(":")] = "all" if len(names) == len(TOLD) else " ".join(names) or "none"
    return {name: found[name] for name in ("CapEff", "CapBnd")}


def _users(lines: Lines) -> dict[str, str]:
    at = lines.index("")
    parts = {"users": lines[:at], "groups": lines[at + 1 :]}
    return {name: ", ".join(" ".join(line.split()) for line in part) for name, part in parts.items()}


def _namespaces(lines: Lines) -> dict[str, str]:
    """name -> its number, which the host's own are compared with."""
    return dict(line.split() for line in lines)


def _devices(lines: Lines) -> dict[str, str]:
    found = {}
    for name, rest in (line.split(" ", 1) for line in lines):
        link = re.search(r"-> '?([^']+)'?$", rest)
        found[name] = f"link to {link[1]}" if link else re.sub(rf" '?{re.escape(name)}'?$", "", rest)
    return found


def _memory(lines: Lines) -> dict[str, str]:
    """Its memory only: its swap space may be the machine's."""
    said = {name: " ".join(value.split()) for name, _, value in (line.partition(":") for line in lines)}
    return {"MemTotal": said.get("MemTotal", "not told")}


def _network(lines: Lines) -> dict[str, str]:
    """Interfaces with their hardware and other addresses; routes."""
    found = {}
    for line in lines:
        words = line.split()
        if "fe80" in line or "ff00" in line:
            continue
        if not words[0].endswith(":"):
            found[f"route/[{words[0]}]"] = " ".join(words[1:])
            continue
        # libvirt counts the names that it gives.
        name = re.sub(r"^vnet\d+$", "vnet", words[1].rstrip(":").partition("@")[0])
        if words[2].startswith("<"):
            mac = re.search(r"link/\S+ (\S+)", line)
            up = "up" if "UP" in words[2][1:-1].split(",") else "down"
            found[f"{name}/link"] = f"{up} {mac[1] if mac else 'no address'}"
        else:
            found[f"{name}/[{words[3]}]"] = " ".join(words[4:6])
    return found


#: Capabilities as libvirt knows them, by number; a kernel may have more.
KNOWN = (
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service net_broadcast "
    "net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice "
    "sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog "
    "wake_alarm block_suspend audit_read"
).split()
#: Those that are told by number, which the root that starts containers has to have: the one left out many roots are denied.
TOLD = {number: name for number, name in enumerate(KNOWN) if name != "sys_resource"}
#: aspect -> (what the container's init is told to do, how its answer is read).
ASPECTS: Mapping[str, tuple[str, Callable[[Lines], dict[str, str]]]] = {
    "process": ("echo $$; id -u; id -g; pwd; tr '\\0' '\\n' < /proc/1/cmdline", _process),
    "environment": ("tr '\\0' '\\n' < /proc/1/environ", _pairs),
    "names": ("hostname; uname -m", _names),
    "mounts": ("cat /proc/mounts", _mounts),
    "capabilities": ("grep Cap /proc/1/status", _capabilities),
    "users": ("cat /proc/self/uid_map; echo; cat /proc/self/gid_map", _users),
    "namespaces": ("for n in ipc mnt net pid user uts; do echo $n $(readlink /proc/1/ns/$n); done", _namespaces),
    "devices": ("(cd /dev; stat -c '%n %F %t:%T %a %N' *)", _devices),
    "memory": ("grep : /proc/meminfo", _memory),
    "network": ("ip -o link; ip -o addr; ip route; ip -6 route", _network),
}


def missing() -> NotHere | None:
    """What this machine lacks to start containers; None where it lacks nothing."""
    if os.geteuid() != 0:
        return NotHere("containers are started by root only", "run as root")
    if Path("/proc/self/uid_map").read_text(encoding="utf-8").split() != ["0", "0", "4294967295"]:
        return NotHere(
            "containers are started by a machine's real root, not by that of a user namespace", "run as real root"
        )
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    has = int(re.findall(r"^CapEff:\s*(\w+)$", status, re.MULTILINE)[0], 16)
    lacking = [f"CAP_{name.upper()}" for number, name in TOLD.items() if not has >> number & 1]
    if lacking:
        return NotHere(
            f"root without {', '.join(lacking)} starts other containers or none", "run as root with all capabilities"
        )
    if not Path(FUSE).exists():
        return NotHere(f"no {FUSE}, which a container's /proc/meminfo is made with", "modprobe fuse")
    mounted = {name for controllers in cgroups.hierarchies().values() for name in controllers}
    absent = [name for name in cgroups.NEEDED if name not in mounted]
    if absent:
        return NotHere(f"no control groups of version 1: {', '.join(absent)}", V1)
    if not (cgroups.BASE / SWAP).exists():
        return NotHere("the kernel does not account swap space", "start it with swapaccount=1 on its command line")
    return None


def command(lab: Lab) -> list[str]:
    """The lab's command with real root and control groups. Absent where this machine or this lab cannot."""
    if lacking := missing():
        raise Absent(f"{lab.release}: {lacking.reason}", lacking.remedy)
    own = ["--dev-bind", FUSE, FUSE, "--unshare-cgroup", "--sync-fd", "{sync}", "--tmpfs", str(cgroups.BASE)]
    for name in cgroups.hierarchies():
        own += ["--bind", f"{{{name}}}", f"{cgroups.BASE}/{name}"]
    for name, target in cgroups.links().items():
        own += ["--symlink", target, f"{cgroups.BASE}/{name}"]
    argv = within(lab.command(daemon=True), *own)
    if not lab.sandboxed or argv is None:
        raise Absent(f"{lab.release}: containers are started in a sandbox only", "use a root or a built lab")
    return [sys.executable, "-IS", str(Path(cgroups.__file__)), *_without_users(argv)]


def _without_users(argv: Sequence[str]) -> list[str]:
    """Bubblewrap's arguments without a user namespace."""
    found, skipped = [], 0
    for word in argv:
        if word in ("--uid", "--gid"):
            skipped = 2
        if skipped or word == "--unshare-user":
            skipped = max(skipped - 1, 0)
            continue
        found.append(word)
    return found


def _simple(step: Step) -> Iterator[Step]:
    """A step as the probe takes it: an aspect is a line for the container's init."""
    if step[0] != "look":
        yield step
        return
    for aspect in step[2:]:
        above = f"{step[1]}/" if step[1] else ""
        yield "look", f"{above}{aspect}{SAID}", ASPECTS[aspect][0]


def _told(facts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The facts with what a container said of itself read."""
    for path, value in facts.items():
        above, said, _ = path.partition(SAID)
        if not said:
            yield path, value
            continue
        read = ASPECTS[above.rpartition("/")[2]][1]
        yield from ((f"{above}/{name}", what) for name, what in read(value.splitlines()).items())


@dataclass(slots=True)
class Host:
    """A lab's libvirtd with containers on it. Close it."""

    lab: Lab
    limit: float = LIMIT
    session: Session = field(init=False)

    def __post_init__(self) -> None:
        opening = {"workdir": self.lab.workdir, "limit": self.limit}
        self.session = Session(Start(command(self.lab), opening, 6 * self.limit, source=PROBE))

    def play(self, name: str, xml: str, steps: Sequence[Step]) -> dict[str, str]:
        """The facts of a container's steps: {path: value}. Absent, LabError: what the lab lacks, or where it fails itself.

        Steps are those of the probe, and ``("look", path, aspect, ...)``: what the container sees of itself (ASPECTS).
        """
        wanted = [simple for step in steps for simple in _simple(step)]
        question = {"op": "play", "name": name, "xml": xml, "steps": wanted}
        for last in (False,) * (TRIES - 1) + (True,):
            reply = self._ask({**question, "last": last})
            if reply["status"] != "lost":
                break
        if reply["status"] in (*DEATHS, "failed", "lost"):
            words = f"{name}: {reply['status']}: {reply.get('message')}"
            raise LabError(f"{self.lab.release}: {words}", "virt-compat doctor")
        return dict(_told(reply["facts"]))

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            return next(reply for _, reply in self.session.ask([question]))
        except OpenFailed as error:
            if error.reply.get("status") == "absent":
                raise Absent(
                    f"{self.lab.release}: {error.said}", f"virt-compat lab create {self.lab.release}"
                ) from error
            raise

    def close(self) -> None:
        self.session.close()


@contextmanager
def hosting(lab: Lab, limit: float = LIMIT) -> Iterator[Host]:
    """A host that is gone when the block ends, with every container, device and control group."""
    host = Host(lab, limit)
    try:
        yield host
    finally:
        host.close()
