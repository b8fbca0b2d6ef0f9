#!/usr/bin/python3 -IS
# pathlib takes longer to load than all that is done here.
# ruff: noqa: PTH103, PTH108, PTH119, PTH123, PTH208
"""A stand-in for OpenVZ's vzctl and vzlist, whichever name it is called by.

A container is its configuration file ``/etc/vz/conf/ID.conf``, as OpenVZ writes it, and a state. What was asked is written
down, a line a call. Three things are not as OpenVZ does them, so that many documents can be asked of one host and every
answer can be given again: a container that exists may be created again and is then a new one; any template will do, as
libvirt gives a pointer in place of its name; the hardware address that libvirt draws for the host's side is not kept.
"""

from __future__ import annotations

import os
import sys

CONF = "/etc/vz/conf"
STATES = "/run/virt-compat/containers"
TRANSCRIPT = "/run/virt-compat/transcript"
VERSION = "4.9.4"
#: vzctl's exit codes for an unknown parameter, a bad one, an unknown container and one in the wrong state.
UNKNOWN, BAD, ABSENT, WRONG_STATE = 21, 20, 31, 32
#: vzctl's actions on a container that need another state before and leave a state behind.
MOVES = {"start": ("stopped", "running"), "stop": ("running", "stopped"), "restart": ("running", "running")}


def write_down(words: list[str]) -> None:
    line = "\x1f".join(words).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    with open(TRANSCRIPT, "a", encoding="utf-8") as file:
        file.write(line.replace("\n", "\\n") + "\n")


def refusal(code: int, words: str) -> SystemExit:
    sys.stderr.write(words + "\n")
    return SystemExit(code)


def read(container: str) -> dict[str, str]:
    """The parameters of a container, in the order of its file."""
    try:
        with open(f"{CONF}/{container}.conf", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise refusal(ABSENT, "Container does not exist") from error
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name: value.strip('"') for name, _, value in pairs}


def change(container: str, new: dict[str, str]) -> None:
    """Write parameters into a container's file; comments, libvirt's UUID among them, stay."""
    read(container)
    path = f"{CONF}/{container}.conf"
    with open(path, encoding="utf-8") as file:
        kept = [line for line in file.read().splitlines() if line.partition("=")[0] not in new]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join([*kept, *(f'{name}="{value}"' for name, value in new.items())]) + "\n")


def state(container: str) -> str:
    try:
        with open(f"{STATES}/{container}", encoding="utf-8") as file:
            return file.read()
    except OSError:
        return "stopped"


def enter(container: str, new: str) -> None:
    os.makedirs(STATES, exist_ok=True)
    with open(f"{STATES}/{container}", "w", encoding="utf-8") as file:
        file.write(new)
    # What libvirt reads a container's processor time from, in jiffies: VEID user nice system.
    running = [c for c in containers() if state(c) == "running"]
    with open("/proc/vz/vestat", "w", encoding="utf-8") as file:
        file.write("Version: 2.2\n  VEID user nice system uptime idle\n")
        file.writelines(f"{c:>6} 200 0 100 4711 0\n" for c in running)


def containers() -> list[str]:
    names = (name[: -len(".conf")] for name in os.listdir(CONF) if name.endswith(".conf"))
    return sorted((name for name in names if name.isdigit()), key=int)


def listed(words: list[str]) -> None:
    """Do what vzlist does: print fields of containers, one line each."""
    fields, wanted, stopped, every = ["veid"], "", False, False
    rest = iter(words)
    for word in rest:
        if word.startswith("-o"):
            fields = (word[2:] or next(rest, "")).split(",")
        elif word == "-S":
            stopped = True
        elif word == "-a":
            every = True
        elif word not in ("-H", "--no-header"):
            wanted = word
    found = [c for c in containers() if not wanted or c == wanted]
    if not found and wanted:
        raise refusal(1, "Container(s) not found")
    if not (every or wanted):
        found = [c for c in found if (state(c) == "stopped") == stopped]
    for container in found:
        print(" ".join(field(container, name) for name in fields))


def field(container: str, name: str) -> str:
    if name in ("vpsid", "veid", "ctid"):
        return f"{container:>10}"
    if name == "status":
        return state(container)
    value = read(container).get(name.partition(".")[0].upper(), "-")
    return value.rpartition(":" if name.endswith(".l") else "\0")[2].partition(":" if name.endswith(".b") else "\0")[0]


def create(container: str, words: list[str]) -> None:
    """A new container from the sample file."""
    if not container.isdigit():
        raise refusal(BAD, f"Bad CT ID {container}")
    with open(f"{CONF}/ve-basic.conf-sample", encoding="utf-8") as file:
        sample = file.read()
    with open(f"{CONF}/{container}.conf", "w", encoding="utf-8") as file:
        file.write(sample)
    change(container, {"OSTEMPLATE": "unreadable" if "--ostemplate" in words else "default"})
    enter(container, "stopped")


def interface(value: str) -> str:
    """``--netif_add`` as the file has it: name,mac,host name,host mac[,bridge]."""
    names = ("ifname", "mac", "host_ifname", "host_mac", "bridge")
    given = dict(zip(names, value.split(",")))  # noqa: B905 - Python 3.9
    given["host_mac"] = "fe:18:51:00:00:01"
    return ",".join(f"{name}={value}" for name, value in given.items())


def parameters(container: str, words: list[str]) -> None:
    """Do what ``vzctl set`` does with each option and its value."""
    new: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if word == "--save":
            continue
        value = next(rest, "")
        name = word[2:].upper()
        both = value if ":" in value else f"{value}:{value}"
        old = {**read(container), **new}
        if word == "--netif_add":
            new["NETIF"] = ";".join(filter(None, (old.get("NETIF", ""), interface(value))))
        elif word == "--ipadd":
            new["IP_ADDRESS"] = " ".join(filter(None, (old.get("IP_ADDRESS", ""), value)))
        elif word in ("--diskspace", "--kmemsize", "--privvmpages", "--vmguarpages"):
            new[name] = both
        elif word in ("--cpus", "--onboot", "--hostname"):
            new[name] = value
        else:
            raise refusal(UNKNOWN, f"unrecognized option '{word}'")
    change(container, new)


def control(words: list[str]) -> None:
    """Do what vzctl does: an action, a container, options."""
    if words == ["--help"]:
        print(f"vzctl version {VERSION}")
        return
    action, container, *rest = [*[word for word in words if word != "--quiet"], "", ""]
    rest = [word for word in rest if word]
    if action == "create":
        create(container, rest)
        return
    if not container.isdigit():
        raise refusal(BAD, f"Bad CT ID {container}")
    now = state(container)
    if action == "set":
        parameters(container, rest)
    elif action in MOVES:
        read(container)
        if now != MOVES[action][0]:
            raise refusal(WRONG_STATE, f"Container is {now}")
        enter(container, MOVES[action][1])
    elif action == "chkpnt" and rest in (["--suspend"], ["--resume"]):
        read(container)
    elif action == "destroy":
        read(container)
        os.unlink(f"{CONF}/{container}.conf")
    else:
        raise refusal(BAD, f"Bad action {action}")


def main() -> None:
    name = os.path.basename(sys.argv[0])
    write_down([name, *sys.argv[1:]])
    if name == "vzlist":
        listed(sys.argv[1:])
    else:
        control(sys.argv[1:])


main()
