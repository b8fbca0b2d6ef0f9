"""The museum's pieces: regressions that really happened, each with a fault that has its effect today, as data.

``suites/regressions/<id>.toml`` is one piece: what went wrong, in which versions, where that is written; what is asked of a
candidate with the fault; the faults. ``labs/faults.py`` says what each kind of fault does. That surfaces,
drivers, checks and cases exist the engine sees to, which knows them.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
#: What a fault of the talk does: of each kind one of these keys must be there.
DEEDS = {"answer": ("edits", "transform", "say", "die", "records"), "question": ("edits", "transform")}
#: ``transform`` of a fault, as ``probes/fault_filter.py`` knows them.
TRANSFORMS = ("reversed-attributes", "opened-elements", "unindented", "double-quoted", "reversed-devices")
#: ``change`` of a fault in QEMU's device state (``labs/faults_qemu.py``).
CHANGES = ("lost", "longer", "moved", "raised", "renamed", "unasked")
#: ``records`` of a fault.
RECORDS = {"key": str, "match": str, "named": str, "set": dict}
PRODUCTS = ("libvirt", "qemu", "spice", "xen", "harmless", "control")
#: Keys that hold patterns, and how all patterns of faults are read.
PATTERNS, FLAGS = ("uri", "asked", "unasked", "answered", "unanswered"), re.DOTALL | re.MULTILINE


class Expected(StrEnum):
    """What the gate is to say of a candidate with the piece's faults."""

    DETECTED = "detected"  # a regression at the piece's tier or above
    HARMLESS = "harmless"  # nothing above ``addition``
    SILENT = "silent"  # nothing at all


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a candidate. what: the rest of its table; ``kind`` says how it is read.

    file, line: where it is written, for those who find that it cannot be applied.
    """

    kind: str
    what: Mapping[str, Any]
    file: str = field(default="", compare=False)
    line: int = field(default=1, compare=False)

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
    named = [p for p in pieces if not names or any(fnmatchcase(p.name, n) for n in names)]
    chosen = [p for p in named if not products or p.product in products]
    if names and products and not chosen:
        words = f"no piece '{', '.join(names)}' is of '{', '.join(products)}'"
        raise UsageError(f"--piece and --product exclude each other: {words}", "leave one of them out")
    return chosen


def read(file: Path) -> Piece:
    """One piece; BadData names file and line."""
    table = tables.read(file)
    tables.check_keys(file, table, KEYS, REQUIRED)
    ask = table["ask"]
    tables.check_keys(file, ask, ASK, ("release",))
    _check_words(file, table)
    _check_words(file, ask)
    if table["id"] != file.stem:
        raise BadData(file, f"id '{table['id']}' is not the file's name", "rename one", tables.line_of(file, "id"))
    if not ask.get("surfaces") and not ask.get("drivers") and not table.get("expect"):
        raise BadData(file, "asks everything", "name surfaces or drivers", tables.line_of(file, "ask"))
    _one_of(file, "product", table["product"], PRODUCTS)
    expected = _one_of(file, "expect", table.get("expect", Expected.DETECTED), [e.value for e in Expected])
    tier = _one_of(file, "tier", table.get("tier", Tier.BREAK.label), [t.label for t in Tier if t > Tier.IDENTICAL])
    if ask["release"] not in {r.name for r in releases.shipped()}:
        raise BadData(file, f"no release '{ask['release']}'", "name one of the tool's", tables.line_of(file, "release"))
    for word in table.get("class", ()):
        if not re.fullmatch("[A-Z]", word):
            raise BadData(file, f"no class '{word}'", "a class is one capital letter", tables.line_of(file, "class"))
    return Piece(
        table["id"], table["title"], table["product"], tuple(table.get("class", ())), table.get("broken", ""),
        table.get("fixed", ""), _plain(table["what"]), table["reference"], _plain(table["enacted"]),
        _plain(table.get("nearest", "")), Expected(expected), Tier.named(tier), ask["release"],
        tuple(ask.get("surfaces", ())), tuple(ask.get("drivers", ())), tuple(ask.get("checks", ())),
        tuple(ask.get("cases", ())), _faults(file, table["fault"]), str(file),
    )  # fmt: skip


def _check_words(file: Path, table: tables.Table) -> None:
    """Refuse words that are required and empty, and lists of anything but words."""
    for key in REQUIRED:
        if table.get(key, "?") == [] or not str(table.get(key, "?")).strip():
            raise BadData(file, f"'{key}' is empty", "write it", tables.line_of(file, key))
    for key, value in table.items():
        if key != "fault" and not _words(value):
            raise BadData(file, f"'{key}' must be a list of words", "correct it", tables.line_of(file, key))


def _words(value: Any) -> bool:
    """Whether a value is no list, or a list of words."""
    return not isinstance(value, list) or all(isinstance(word, str) and word for word in value)


def _one_of(file: Path, key: str, word: str, words: Iterable[str], line: int = 0) -> str:
    if word not in words:
        at = line or tables.line_of(file, key)
        raise BadData(file, f"'{key}' is '{word}'", f"use one of: {', '.join(words)}", at)
    return word


def _plain(text: str) -> str:
    return " ".join(text.split())


# -- faults ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spot:
    """The one of a file's ``[[fault]]`` tables that is read now, the first being 0."""

    file: Path
    number: int

    def line(self, key: str = "") -> int:
        """Where a key of it is set; the table's own line where it is not."""
        lines = self.file.read_text(encoding="utf-8").splitlines()
        heads = [at for at, line in enumerate(lines) if re.match(r"\s*\[\[\s*fault\s*\]\]", line)]
        if self.number >= len(heads):
            return tables.line_of(self.file, "fault")
        head = heads[self.number]
        end = [*heads, len(lines)][self.number + 1]
        sought = rf"\s*(\[\s*fault\s*\.\s*)?{re.escape(key)}\s*[\]=.]"
        return next((at for at in range(head + 1, end) if key and re.match(sought, lines[at])), head) + 1

    def bad(self, key: str, message: str, remedy: str = "correct it") -> BadData:
        return BadData(self.file, message, remedy, self.line(key))


def _faults(file: Path, rows: list[Any]) -> tuple[Fault, ...]:
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise Spot(file, number).bad("", "a fault must be a table", "write [[fault]]")
    return tuple(_fault(Spot(file, number), row) for number, row in enumerate(rows))


def _fault(spot: Spot, table: tables.Table) -> Fault:
    file = spot.file
    rest = {key: value for key, value in table.items() if key != "kind"}
    kind = _one_of(file, "kind", table.get("kind", ""), FAULTS, spot.line("kind"))
    required, keys = FAULTS[kind]
    tables.check_keys(file, rest, keys, tuple(keys)[:required])
    for key, value in rest.items():
        if key != "edits" and not _words(value):
            raise spot.bad(key, f"'{key}' must be a list of words")
        for pattern in [value] if key in PATTERNS else []:
            _check_edit(spot, key, pattern)
    _check_edits(spot, rest.get("edits", ()))
    _check_records(spot, rest.get("records"))
    _check_names(spot, kind, rest)
    if kind in DEEDS and not any(rest.get(key) for key in DEEDS[kind]):
        raise spot.bad("", f"a fault of kind '{kind}' that does nothing", f"say one of: {', '.join(DEEDS[kind])}")
    return Fault(kind, rest, str(file), spot.line())


def _check_names(spot: Spot, kind: str, rest: tables.Table) -> None:
    """Refuse words of a fault that name nothing."""
    known = {"transform": TRANSFORMS, "change": CHANGES}
    if kind in DEEDS:
        known["probe"] = tuple(sorted(p.stem for p in (paths.PACKAGE / "probes").glob("*_probe.py")))
    for key, words in known.items():
        if key in rest:
            _one_of(spot.file, key, rest[key], words, spot.line(key))
    if "die" in rest and rest["die"] not in set(signal.valid_signals()):
        raise spot.bad("die", f"no signal {rest['die']}", "name a signal by its number, such as 11")


def _check_edits(spot: Spot, edits: Iterable[Any]) -> None:
    for pair in edits:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(word, str) for word in pair)):
            raise spot.bad("edits", "'edits' must be pairs: [pattern, replacement]")
        _check_edit(spot, "edits", *pair)


def _check_records(spot: Spot, records: tables.Table | None) -> None:
    if records is None:
        return
    tables.check_keys(spot.file, records, RECORDS, ("set",))
    if ("key" in records) != ("match" in records) or not {"key", "named"} & records.keys():
        raise spot.bad("records", "'records' does not say which", "name them by 'key' and 'match', or by 'named'")
    for key in {"match", "named"} & records.keys():
        _check_edit(spot, key, records[key])


def _check_edit(spot: Spot, key: str, pattern: str, replacement: str = "") -> None:
    """Refuse what is no pattern, and a replacement that names a group which the pattern has not."""
    try:
        compiled = re.compile(pattern, FLAGS)
    except re.error as error:
        raise spot.bad(key, f"'{key}' is no pattern: {error}") from error
    try:
        # A replacement is read whether or not there is anything to replace.
        compiled.sub(replacement, "")
    except (re.error, IndexError) as error:
        words = f"'{key}': '{replacement}' is no replacement for '{pattern}': {error}"
        raise spot.bad(key, words) from error
