"""Hunts: which documents in which shares (``suites/properties/*.toml``), what is known, and how far one has come.

<cache>/hunts/<name>.json     the state after the last whole batch: a hunt that was cut off goes on there
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virtcompat.errors import BadData
from virtcompat.store import files, paths, tables

KEYS = {"title": str, "patience": int, "chunk": int, "share": list, "known": list}
SHARE = {"kind": str, "driver": str, "share": int}
KNOWN = {"signature": str, "why": str, "around": list, "kinds": list}


@dataclass(frozen=True, slots=True)
class Share:
    """So many of a hundred documents are of this kind and go to this driver."""

    kind: str
    driver: str
    share: int


@dataclass(frozen=True, slots=True)
class Known:
    """Findings that are understood and not looked for. around: XPaths; a document that one finds something in is not asked."""

    signature: re.Pattern[str]
    why: str
    around: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """How a hunt goes. patience: seconds until a question has hung; chunk: documents asked together."""

    shares: tuple[Share, ...]
    known: tuple[Known, ...]
    patience: float
    chunk: int


def rules(private: Path | None = None) -> Rules:
    """Every file of suites/properties, taken together. private: a directory with more of them. Raises BadData."""
    folders = [paths.data_root() / "suites" / "properties", *([private] if private else [])]
    shares: list[Share] = []
    known: list[Known] = []
    numbers = {"patience": 10, "chunk": 250}
    own = [file for folder in folders for file in sorted(folder.glob("*.toml"))]
    for file in own if not private else [f for f in own if f.parent != private or f.name == "known.toml"]:
        table = tables.read(file)
        tables.check_keys(file, table, KEYS)
        for row in table.get("share", []):
            tables.check_keys(file, row, SHARE, tuple(SHARE))
            shares.append(Share(row["kind"], row["driver"], row["share"]))
        known += [_known(file, row) for row in table.get("known", [])]
        numbers |= {key: table[key] for key in numbers if key in table}
    return Rules(tuple(shares), tuple(known), float(numbers["patience"]), numbers["chunk"])


def _known(file: Path, row: tables.Table) -> Known:
    tables.check_keys(file, row, KNOWN, ("why",))
    if not row.get("signature") and not row.get("around"):
        raise BadData(file, "a [[known]] without signature and around", "say what is known by one of them")
    try:
        pattern = re.compile(row.get("signature") or r"(?!)")
    except re.error as error:
        at = tables.line_of(file, "signature")
        raise BadData(file, f"'{row['signature']}' is no regular expression: {error}", "correct it", at) from error
    return Known(pattern, row["why"], tuple(row.get("around", ())), tuple(row.get("kinds", ())))


@dataclass(slots=True)
class Find:
    """Findings of one cause. example: the shortest document that has it, as generated; cells: (old, new)."""

    signature: str
    kind: str
    driver: str
    check: str
    change: str
    path: str
    old: str
    new: str
    tier: int
    entry: str
    example: str
    release: str
    what: str
    count: int = 0
    cells: list[list[str]] = field(default_factory=list)
    known: str = ""
    trace: dict[str, Any] = field(default_factory=dict)
    minimal: str = ""


@dataclass(slots=True)
class State:
    """How far a hunt has come. done: batches; counts: of documents and questions; unasked: why something was not asked."""

    plan: str = ""
    done: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    unasked: dict[str, int] = field(default_factory=dict)
    finds: dict[str, Find] = field(default_factory=dict)

    def add(self, word: str, number: int = 1) -> None:
        self.counts[word] = self.counts.get(word, 0) + number


def file_of(plan: str) -> Path:
    return paths.cache_dir() / "hunts" / f"{plan}.json"


def load(plan: str) -> State:
    """The state of a hunt; a new one where there is none, or none that can be read."""
    try:
        table = json.loads(file_of(plan).read_text(encoding="utf-8"))
        finds = {name: Find(**row) for name, row in table.pop("finds").items()}
        return State(**table, finds=finds)
    except (OSError, ValueError, TypeError, KeyError):
        return State(plan)


def save(state: State) -> None:
    """Written aside and put in place: a hunt that is killed leaves the state after a whole batch."""
    file = file_of(state.plan)
    file.parent.mkdir(mode=0o700, exist_ok=True)
    table = {"plan": state.plan, "done": state.done, "counts": state.counts, "unasked": state.unasked}
    finds = {name: {key: getattr(find, key) for key in Find.__slots__} for name, find in state.finds.items()}
    files.put(file, json.dumps({**table, "finds": finds}))


def forget(plan: str) -> None:
    file_of(plan).unlink(missing_ok=True)


def put_aside(folder: Path, find: Find, why: str) -> None:
    """A confidential find in the user's own directory: the shortest example of each cause, in a file of its owner alone."""
    name = hashlib.sha256(find.signature.encode()).hexdigest()[:12]
    file = folder / f"{name}.json"
    if file.exists():
        known = json.loads(file.read_text(encoding="utf-8"))
        find.cells += [cell for cell in known["cells"] if cell not in find.cells]
        find.count += known["count"]
        if len(known["example"]) <= len(find.example):
            find.example, find.what, find.trace = known["example"], known["what"], known["trace"]
    table = {key: getattr(find, key) for key in Find.__slots__}
    file.touch(mode=0o600)
    file.write_text(json.dumps({**table, "confidential": why}, indent=1), encoding="utf-8")
