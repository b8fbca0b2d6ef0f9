#!/usr/bin/python3 -IS
# pathlib takes longer to load than all that is done here.
# ruff: noqa: PTH113, PTH118, PTH119, PTH120, PTH123, PTH207
"""A stand-in for VMware's vmrun, vmplayer and vmware, whichever name it is called by.

A machine is its .vmx file, which libvirt writes; this program only keeps which of them run. Those that are there when it
is first asked have been running all along, as vmrun lists no others. What was asked is written down, a line a call.
"""

from __future__ import annotations

import glob
import os
import sys

MACHINES = "/var/lib/vmware/Virtual Machines"
RUNNING = "/run/virt-compat/running"
TRANSCRIPT = "/run/virt-compat/transcript"
BUILD = "16.2.5 build-20904516"
#: The process that runs a machine, in the first line of its log: libvirt's id of the domain.
LOG = "2010-01-01T00:00:00.000Z| vmx| I005: Log for VMware Workstation pid=4711 version=16.2.5 option=Release\n"


def write_down(words: list[str]) -> None:
    with open(TRANSCRIPT, "a", encoding="utf-8") as file:
        file.write("\x1f".join(words).replace("\n", "\\n") + "\n")


def refusal(words: str) -> SystemExit:
    print("Error: " + words)
    return SystemExit(255)


def running() -> list[str]:
    try:
        with open(RUNNING, encoding="utf-8") as file:
            return file.read().splitlines()
    except OSError:
        found = sorted(glob.glob(os.path.join(glob.escape(MACHINES), "**", "*.vmx"), recursive=True))
        return keep(found)


def keep(machines: list[str]) -> list[str]:
    for folder in {os.path.dirname(machine) for machine in machines}:
        with open(os.path.join(folder, "vmware.log"), "w", encoding="utf-8") as log:
            log.write(LOG)
    with open(RUNNING, "w", encoding="utf-8") as file:
        file.write("".join(machine + "\n" for machine in machines))
    return machines


def vmrun(words: list[str]) -> None:
    if words[:1] == ["-T"]:
        words = words[2:]
    command, machine = (*words, "", "")[:2]
    now = running()
    if command == "list":
        print(f"Total running VMs: {len(now)}")
        print("".join(m + "\n" for m in now), end="")
    elif not os.path.isfile(machine):
        raise refusal(f"Cannot open VM: {machine}, The virtual machine cannot be found")
    elif command == "start":
        keep(sorted({*now, machine}))
    elif machine not in now:
        raise refusal(f"The virtual machine is not powered on: {machine}")
    elif command == "stop":
        keep([m for m in now if m != machine])
    elif command not in ("reset", "suspend", "pause", "unpause"):
        raise refusal(f"Unrecognized command: {command}")


def main() -> None:
    name = os.path.basename(sys.argv[0])
    write_down([name, *sys.argv[1:]])
    if name == "vmrun":
        vmrun(sys.argv[1:])
    else:
        print(f"VMware {'Player' if name == 'vmplayer' else 'Workstation'} {BUILD}")


main()
