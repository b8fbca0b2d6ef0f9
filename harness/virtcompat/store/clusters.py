"""Clusters as an operator writes them down: ``CLUSTER.toml`` with hosts, guests, a target release and how it is reached."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from virtcompat.errors import BadData
from virtcompat.store import guests as sets
from virtcompat.store import releases, tables

PATHS = ("stepwise", "direct")
#: What a host has and a guest takes: (key, unit). A host without a key is not limited in it.
ROOM = {"guests": "guests", "memory": "MiB", "vcpus": "vcpus"}
KEYS = {"target": str, "down": int, "path": str, "host": list, "guest": list}
HOST = {"name": str, "release": str, "guests": int, "memory": int, "vcpus": int}
GUEST = {"name": str, "host": str, "machine": str, "devices": list, "memory": int, "vcpus": int, "restart": bool}
#: (line, what is wrong, what to do)
Mistake = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class Host:
    """A host. room: how much of each of :data:`ROOM` it has, None where that is not limited. line: where it stands."""

    name: str
    release: str
    room: tuple[int | None, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest and the host that it runs on. size: what it takes of each of :data:`ROOM`.

    devices: the device sets that stand for its devices. restart: it may be shut down to be moved.
    """

    name: str
    host: str
    machine: str
    devices: tuple[str, ...]
    size: tuple[int, ...]
    restart: bool
    line: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a file says. down: how many hosts may be upgraded at once.

    path: ``stepwise`` (a host goes through every release between its own and the target) or ``direct``.
    """

    file: Path
    target: str
    down: int
    path: str
    hosts: tuple[Host, ...]
    guests: tuple[Guest, ...]


def read(file: Path) -> Cluster:
    """A cluster file; BadData names every mistake in it with its line and what to do about it."""
    table = tables.read(file)
    tables.check_keys(file, table, KEYS, ("target", "host", "guest"))
    lines = Lines(file)
    hosts = tuple(_host(lines, n, row) for n, row in enumerate(_rows(lines, table, "host")))
    guests = tuple(_guest(lines, n, row) for n, row in enumerate(_rows(lines, table, "guest")))
    cluster = Cluster(file, table["target"], table.get("down", 1), table.get("path", PATHS[0]), hosts, guests)
    refuse(file, [*_about(cluster, lines), *_names(cluster, lines), *_places(cluster, lines), *_kinds(cluster, lines)])
    return cluster


def refuse(file: Path, mistakes: Sequence[Mistake]) -> None:
    """BadData with every mistake in the order of the lines; nothing where there is none."""
    if not mistakes:
        return
    (line, message, remedy), *others = sorted(dict.fromkeys(mistakes))
    more = [f"{file}:{n}: {words}\n  remedy: {what}" for n, words, what in others]
    raise BadData(file, message, "\n".join([remedy, *more]), line)


def chain(start: str, target: str, path: str) -> tuple[str, ...]:
    """The releases that a host goes through, its own first.

    Between two stand the distribution's releases with versions in between; a user's own one is no step of an upgrade.
    """
    if start == target:
        return (start,)
    first, last = releases.find(start).order, releases.find(target).order
    between = [r.name for r in releases.shipped() if first < r.order < last and r.name not in (start, target)]
    return (start, *(between if path == "stepwise" else ()), target)


class Lines:
    """Where the n-th ``[[table]]`` of a file and the keys in it stand."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.heads: dict[str, list[dict[str, int]]] = {}
        here: dict[str, int] = {}
        for number, words in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if head := re.match(r"\s*\[\[?\s*([\w-]+)", words):
                here = {"": number}
                self.heads.setdefault(head[1], []).append(here)
            elif key := re.match(r"\s*([\w-]+)\s*=", words):
                here.setdefault(key[1], number)

    def of(self, table: str, number: int, key: str = "") -> int:
        """The line of a key, else of its table's heading, else (tables written inline) of the table's name."""
        if number >= len(self.heads.get(table, ())):
            return tables.line_of(self.file, table)
        found = self.heads[table][number]
        return found.get(key, found[""])


def _rows(lines: Lines, table: tables.Table, name: str) -> Iterator[tables.Table]:
    allowed, required = (HOST, ("name", "release")) if name == "host" else (GUEST, ("name", "host", "machine"))
    if not table[name]:
        raise BadData(lines.file, f"no {name}s", f"add a [[{name}]]", tables.line_of(lines.file, name))
    for number, row in enumerate(table[name]):
        if not isinstance(row, dict):
            raise BadData(lines.file, f"'{name}' is no list of tables", f"write [[{name}]]", lines.of(name, number))
        _checked(lines, name, number, row, allowed, required)
        yield row


def _checked(
    lines: Lines, name: str, number: int, row: dict[str, Any], allowed: dict[str, type], required: tuple[str, ...]
) -> None:
    """Refuse what is unknown, of a wrong type, missing or negative, on its own line."""
    for key, value in row.items():
        line = lines.of(name, number, key)
        if key not in allowed:
            raise BadData(lines.file, f"unknown key '{key}'", f"use one of: {', '.join(allowed)}", line)
        if not isinstance(value, allowed[key]) or (allowed[key] is int and isinstance(value, bool)):
            wanted = {str: "text", int: "number", list: "list", bool: "true or false"}[allowed[key]]
            raise BadData(lines.file, f"'{key}' must be a {wanted}", "correct the value", line)
        if isinstance(value, int) and value < 0:
            raise BadData(lines.file, f"'{key}' is {value}", "give a number from 0 on, or leave it out", line)
    for key in required:
        if not row.get(key):
            raise BadData(
                lines.file, f"a {name} without '{key}'", f"add a line '{key} = …'", lines.of(name, number, key)
            )


def _host(lines: Lines, number: int, row: tables.Table) -> Host:
    return Host(row["name"], row["release"], tuple(row.get(key) for key in ROOM), lines.of("host", number, "release"))


def _guest(lines: Lines, number: int, row: tables.Table) -> Guest:
    devices = row.get("devices", ["plain"])
    if not devices or not all(isinstance(name, str) for name in devices):
        remedy = 'name device sets, such as devices = ["virtio-net"]'
        raise BadData(lines.file, "'devices' is no list of names", remedy, lines.of("guest", number, "devices"))
    size = (1, row.get("memory", 0), row.get("vcpus", 0))
    line = lines.of("guest", number, "machine")
    return Guest(row["name"], row["host"], row["machine"], tuple(devices), size, row.get("restart", False), line)


def _about(cluster: Cluster, lines: Lines) -> Iterator[Mistake]:
    """The keys at the top, and the releases of the hosts."""
    known = {release.name: release for release in releases.every()}
    remedy = f"use one of: {', '.join(known)}; or add one with 'virt-compat lab add'"
    if cluster.down < 1:
        yield _top(lines, "down"), f"down = {cluster.down}: no host may ever be upgraded", "give at least 1"
    if cluster.path not in PATHS:
        yield _top(lines, "path"), f"no path '{cluster.path}'", f"use one of: {', '.join(PATHS)}"
    target = known.get(cluster.target)
    if target is None:
        yield _top(lines, "target"), f"no release '{cluster.target}'", remedy
    for host in cluster.hosts:
        release = known.get(host.release)
        if release is None:
            yield host.line, f"host '{host.name}': no release '{host.release}'", remedy
        elif target is not None and release.order > target.order:
            words = f"host '{host.name}' has {host.release}, which is newer than the target {target.name}"
            yield host.line, words, "choose a target that no host is beyond, or leave the host out"


def _top(lines: Lines, key: str) -> int:
    return tables.line_of(lines.file, key)


def _names(cluster: Cluster, lines: Lines) -> Iterator[Mistake]:
    """Two hosts, or two guests, of one name."""
    every = {"host": [host.name for host in cluster.hosts], "guest": [guest.name for guest in cluster.guests]}
    for what, names in every.items():
        seen = set()
        for number, name in enumerate(names):
            if name in seen:
                yield lines.of(what, number, "name"), f"a second {what} '{name}'", "give each a name of its own"
            seen.add(name)


def _places(cluster: Cluster, lines: Lines) -> Iterator[Mistake]:
    """Guests on hosts that are none, and hosts that hold more than they have room for."""
    known = {host.name for host in cluster.hosts}
    for number, guest in enumerate(cluster.guests):
        if guest.host not in known:
            line = lines.of("guest", number, "host")
            yield line, f"guest '{guest.name}' is on '{guest.host}', which is no host", f"use one of: {_few(known)}"
    taken = {host.name: [0] * len(ROOM) for host in cluster.hosts}
    for guest in cluster.guests:
        for at, size in enumerate(guest.size if guest.host in taken else ()):
            taken[guest.host][at] += size
    for number, host in enumerate(cluster.hosts):
        for (key, unit), room, used in zip(ROOM.items(), host.room, taken[host.name], strict=True):
            if room is not None and used > room:
                words = f"host '{host.name}' has room for {room} {unit} and its guests take {used}"
                yield lines.of("host", number, key), words, f"correct '{key}', or move a guest elsewhere first"


def _kinds(cluster: Cluster, lines: Lines) -> Iterator[Mistake]:
    """Device sets that do not exist or are not for a machine type."""
    for number, guest in enumerate(cluster.guests):
        for name in guest.devices:
            line = lines.of("guest", number, "devices")
            if name not in sets.every():
                yield line, f"no device set '{name}'", f"use some of: {', '.join(sets.every())}"
            elif sets.family(guest.machine) and sets.every()[name].command(guest.machine) is None:
                yield line, f"the device set '{name}' is not for {guest.machine}", "see 'virt-compat list device-sets'"


def _few(names: set[str], most: int = 8) -> str:
    chosen = sorted(names)[:most]
    return ", ".join(chosen) + (f" and {len(names) - most} more" if len(names) > most else "")
