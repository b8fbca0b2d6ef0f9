"""The museum's pieces: regressions that really happened, each with a fault that has its effect today, as data.

``suites/regressions/<id>.toml`` is one piece: what went wrong, in which versions, where that is written; what is asked of a
candidate with the fault; the faults. ``labs/faults.py`` says what each kind of fault does.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from virtcompat.errors import BadData, UsageError
from virtcompat.model import Tier
from virtcompat.store import paths, releases, tables

KEYS = {
    "id": str, "title": str, "product": str, "class": list, "broken": str, "fixed": str, "what": str, "reference": str,
    "enacted": str, "nearest": str, "expect": str, "tier": str, "ask": dict, "fault": list,
}  # fmt: skip
REQUIRED = ("id", "title", "product", "what", "reference", "enacted", "ask", "fault")
ASK = {"release": str, "surfaces": list, "drivers": list, "checks": list, "cases": list}
#: Kind of fault -> its keys; the first ones, up to the number, must be there.
FAULTS: Mapping[str, tuple[int, Mapping[str, type]]] = {
    "answer": (0, {
        "probe": str, "op": list, "kinds": list, "uri": str, "asked": str, "unasked": str, "answered": str, "unanswered": str,
        "forms": list, "edits": list, "transform": str, "say": dict, "die": int, "records": dict,
    }),
    "question": (0, {
        "probe": str, "op": list, "kinds": list, "uri": str, "asked": str, "unasked": str, "edits": list, "transform": str,
    }),
    "file": (1, {"path": str, "edits": list, "content": str, "flavours": list}),
    "vmstate": (3, {
        "path": str, "section": str, "change": str, "field": str, "to": str, "number": int, "flavours": list,
    }),
    "program": (2, {"path": str, "script": str, "flavours": list}),
    "symbol": (1, {"library": str, "hide": list, "add": list, "soname": str, "flavours": list}),
    "place": (0, {}),
    "clock": (0, {"seconds": int, "zone": str}),
    "load": (0, {"processes": int}),
}  # fmt: skip
#: Kinds that change a file of the root.
FILES = ("file", "symbol", "vmstate", "program")


class Expected(StrEnum):
    """What the gate is to say of a candidate with the piece's faults."""

    DETECTED = "detected"  # a regression at the piece's tier or above
    HARMLESS = "harmless"  # nothing above ``addition``
    SILENT = "silent"  # nothing at all


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a candidate. what: the rest of its table; ``kind`` says how it is read."""

    kind: str
    what: Mapping[str, Any]

    @property
    def flavours(self) -> tuple[str, ...]:
        return tuple(self.what.get("flavours", ()))

    def digest(self) -> str:
        return hashlib.sha256(json.dumps([self.kind, self.what], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Piece:
    """One regression. nearest: why only something like it can be re-enacted, empty where it is the thing itself.

    tier: the least that counts as seen. release: whose packages the candidate is made of.
    """

    name: str
    title: str
    product: str
    classes: tuple[str, ...]
    broken: str
    fixed: str
    what: str
    reference: str
    enacted: str
    nearest: str
    expected: Expected
    tier: Tier
    release: str
    surfaces: tuple[str, ...]
    drivers: tuple[str, ...]
    checks: tuple[str, ...]
    cases: tuple[str, ...]
    faults: tuple[Fault, ...]
    file: str = ""

    @property
    def control(self) -> bool:
        return self.expected is not Expected.DETECTED

    def digest(self) -> str:
        """Digest of all that decides what is asked and what is wrong; not of the words about it."""
        asked = [self.expected, self.tier, self.release, self.surfaces, self.drivers, self.checks, self.cases]
        body = json.dumps([asked, [f.digest() for f in self.faults]])
        return hashlib.sha256(body.encode()).hexdigest()


def folder() -> Path:
    return paths.data_root() / "suites" / "regressions"


def every() -> list[Piece]:
    """All pieces, those that must be seen before those that must not."""
    found = [read(file) for file in sorted(folder().glob("*.toml"))]
    return sorted(found, key=lambda p: (p.control, p.name))


def choose(names: Iterable[str] = (), products: Iterable[str] = ()) -> list[Piece]:
    """The pieces whose name matches one of the patterns, of these products; UsageError where a word matches none."""
    pieces, names, products = every(), tuple(names), tuple(products)
    for name in names:
        if not any(fnmatchcase(p.name, name) for p in pieces):
            raise UsageError(f"no piece '{name}'", "see 'virt-compat museum --list'")
    for product in products:
        if product not in {p.product for p in pieces}:
            known = ", ".join(sorted({p.product for p in pieces}))
            raise UsageError(f"no piece of '{product}'", f"use one of: {known}")
    return [
        p
        for p in pieces
        if (not names or any(fnmatchcase(p.name, n) for n in names)) and (not products or p.product in products)
    ]


def read(file: Path) -> Piece:
    """One piece; BadData names file and line."""
    table = tables.read(file)
    tables.check_keys(file, table, KEYS, REQUIRED)
    ask = table["ask"]
    tables.check_keys(file, ask, ASK, ("release",))
    if table["id"] != file.stem:
        raise BadData(file, f"id '{table['id']}' is not the file's name", "rename one", tables.line_of(file, "id"))
    if not ask.get("surfaces") and not ask.get("drivers") and not table.get("expect"):
        raise BadData(file, "asks everything", "name surfaces or drivers", tables.line_of(file, "ask"))
    expected = _one_of(file, "expect", table.get("expect", Expected.DETECTED), [e.value for e in Expected])
    tier = _one_of(file, "tier", table.get("tier", Tier.BREAK.label), [t.label for t in Tier if t > Tier.IDENTICAL])
    if ask["release"] not in {r.name for r in releases.shipped()}:
        raise BadData(file, f"no release '{ask['release']}'", "name one of the tool's", tables.line_of(file, "release"))
    return Piece(
        table["id"], table["title"], table["product"], tuple(table.get("class", ())), table.get("broken", ""),
        table.get("fixed", ""), _plain(table["what"]), table["reference"], _plain(table["enacted"]),
        _plain(table.get("nearest", "")), Expected(expected), Tier.named(tier), ask["release"],
        tuple(ask.get("surfaces", ())), tuple(ask.get("drivers", ())), tuple(ask.get("checks", ())),
        tuple(ask.get("cases", ())), tuple(_fault(file, f) for f in table["fault"]), str(file),
    )  # fmt: skip


def _one_of(file: Path, key: str, word: str, words: list[str]) -> str:
    if word not in words:
        raise BadData(file, f"'{key}' is '{word}'", f"use one of: {', '.join(words)}", tables.line_of(file, key))
    return word


def _plain(text: str) -> str:
    return " ".join(text.split())


def _fault(file: Path, table: tables.Table) -> Fault:
    at = tables.line_of(file, "fault")
    rest = {key: value for key, value in table.items() if key != "kind"}
    kind = _one_of(file, "kind", table.get("kind", ""), list(FAULTS))
    required, keys = FAULTS[kind]
    tables.check_keys(file, rest, keys, tuple(keys)[:required])
    if any(not (isinstance(pair, list) and len(pair) == 2) for pair in table.get("edits", ())):
        raise BadData(file, "'edits' must be pairs: [pattern, replacement]", "correct it", at)
    for key, value in rest.items():
        for pattern in _patterns(key, value, kind):
            try:
                re.compile(pattern)
            except re.error as error:
                raise BadData(file, f"'{key}' is no pattern: {error}", "correct it", at) from error
    return Fault(kind, rest)


def _patterns(key: str, value: Any, kind: str) -> list[str]:
    if key in ("uri", "asked", "unasked", "answered", "unanswered"):
        return [value]
    return [find for find, _ in value] if key == "edits" and kind != "program" else []
