"""What clients ask of a daemon, as data in ``fixtures/remote/``, and what each pair of releases answered, in golden/.

fixtures/remote/<topic>.toml             one connection and calls on it, in order
golden/<daemon>/remote/<client>.txt      one fact a line, ``<topic>/<call> = <outcome>``
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from virtcompat.errors import BadData
from virtcompat.store import golden, paths, records, tables

NAME = "remote"
KEYS = {"summary": str, "connect": str, "with": str, "documents": dict, "calls": dict}
CALL = {"do": str, "keep": str, "shape": str, "mask": list, "only": list, "varies": bool}
SHAPES = ("type", "sorted")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a topic; see ``probes/client_probe.py``. only: the transports that it is for, all where empty.

    varies: the answer is about the transport, and need not be the same on another.
    """

    name: str
    do: str
    keep: str = ""
    shape: str = ""
    mask: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    varies: bool = False
    virsh: bool = False

    @property
    def question(self) -> dict[str, object]:
        """The call as the probe reads it."""
        optional = {"keep": self.keep, "shape": self.shape, "mask": list(self.mask), "virsh": self.virsh}
        return {"name": self.name, "do": self.do, **{key: value for key, value in optional.items() if value}}


@dataclass(frozen=True, slots=True)
class Topic:
    """Calls on one connection, in order. connect: what is opened there; documents: what the calls hand in, by name."""

    name: str
    summary: str
    connect: str
    documents: Mapping[str, str]
    calls: tuple[Call, ...]

    def over(self, transport: str) -> tuple[Call, ...]:
        """The calls that are made over a transport."""
        return tuple(c for c in self.calls if not c.only or transport in c.only)

    def of(self, name: str) -> Call | None:
        return next((c for c in self.calls if c.name == name), None)


def folder() -> Path:
    return paths.data_root() / "fixtures" / NAME


@cache
def topics() -> tuple[Topic, ...]:
    """Every topic, in the order of their names; BadData names the file and line that is wrong."""
    found = tuple(_read(file) for file in sorted(folder().glob("*.toml")))
    if not found:
        raise BadData(folder(), "no topics there", "git checkout fixtures/")
    return found


def _read(file: Path) -> Topic:
    table = tables.read(file)
    tables.check_keys(file, table, KEYS, ("summary", "connect", "calls"))
    virsh = table.get("with", "") == "virsh"
    calls = tuple(_call(file, name, value, virsh=virsh) for name, value in table["calls"].items())
    documents = {str(k): str(v) for k, v in table.get("documents", {}).items()}
    return Topic(file.stem, table["summary"], table["connect"], documents, calls)


def _call(file: Path, name: str, value: object, *, virsh: bool) -> Call:
    """A call is written as its expression alone, or as a table with more."""
    table: tables.Table = {"do": value} if isinstance(value, str) else dict(value) if isinstance(value, dict) else {}
    try:
        tables.check_keys(file, table, CALL, ("do",))
    except BadData as error:
        text = error.message.partition(": ")[2]
        raise BadData(file, f"{name}: {text}", error.remedy, tables.line_of(file, name)) from error
    if table.get("shape", "") not in ("", *SHAPES):
        remedy = f"use one of: {', '.join(SHAPES)}"
        raise BadData(file, f"{name}: no shape '{table['shape']}'", remedy, tables.line_of(file, name))
    mask, only = tuple(table.get("mask", ())), tuple(table.get("only", ()))
    varies = bool(table.get("varies", False))
    return Call(name, table["do"], table.get("keep", ""), table.get("shape", ""), mask, only, varies, virsh)


def digest() -> str:
    """Digest of all that is asked: other calls are other questions."""
    body = [
        [t.name, t.connect, sorted(t.documents.items()), [c.question | {"only": c.only} for c in t.calls]]
        for t in topics()
    ]
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()


def file_of(daemon: str, client: str) -> Path:
    return golden.folder() / daemon / NAME / f"{client}{records.SUFFIX}"


def recorded(daemon: str, client: str) -> dict[str, str] | None:
    """What is recorded of a client's release and a daemon's, None where nothing is."""
    file = file_of(daemon, client)
    return records.parsed(file.read_text(encoding="utf-8"), file) if file.is_file() else None


def clients(daemon: str) -> Iterator[str]:
    """The releases whose clients are recorded with a release's daemon."""
    for file in sorted((golden.folder() / daemon / NAME).glob(f"*{records.SUFFIX}")):
        yield file.stem
