"""The report page: a matrix with its evidence, claims and waivers as one HTML text that needs nothing else.

Everything said of cells and findings stands once, in columns of numbers and one list of words, deflated; the documents
behind the findings lie in packs of their own, which the page opens when somebody asks for them. The page may load
nothing: its own Content-Security-Policy forbids it. The same contents give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import lru_cache
from html import escape
from pathlib import Path

from virtcompat.judgement import fingerprint
from virtcompat.model import Cell, CellKey, Column, Finding, Matrix, Outcome, Tier, Verdict

SCHEMA = "virt-compat/page/1"
TEMPLATES = Path(__file__).parent / "data" / "page"
#: Lines of a document that are shown; what is longer says so.
LINES = 1500
#: Characters of a line of packed data: a file of one line is a burden on every tool.
WRAP = 4000
PRODUCTS = ("libvirt", "qemu", "spice", "xen", "virt-manager")
OUTCOMES = tuple(Outcome)
Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Exhibit:
    """What is shown of one case: two documents side by side, their titles, and in a line each what was asked for them."""

    cell: CellKey
    case: str
    left: str
    right: str
    old: str
    new: str
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Findings of one cell that look alike: one of them, and the cases that have it."""

    cell: CellKey
    finding: Finding
    cases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything on the page.

    purposes: what each check and each recorded surface is about, by name. ledger: id, product, since, tier, summary,
    why and reference of an entry. claims: id, statement, standing (holds, refuted, unproven), why, command, by and
    url. waivers: fingerprint, check, where, reason, owner, issue, expires and items. shown: of how many cases of a
    group the documents are kept.
    """

    matrix: Matrix
    groups: Sequence[Group] = ()
    exhibits: Sequence[Exhibit] = ()
    purposes: Mapping[str, str] = field(default_factory=dict)
    ledger: Sequence[Mapping[str, str]] = ()
    claims: Sequence[Row] = ()
    waivers: Sequence[Row] = ()
    shown: int = 0


def html(contents: Contents) -> str:
    """The whole page."""
    table = _Table(contents)
    packs, places = _packs(contents.exhibits, table)
    data = table.record() | {"exhibits": places}
    style, script = _template("page.css"), _script()
    parts = {
        "policy": _policy(style, script),
        "style": style,
        "summary": _summary(contents.matrix),
        "releases": _releases(contents.matrix.columns),
        "data": packed(data),
        "packs": json.dumps(packs, indent=0),
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _template("index.html"))


def packed(data: object) -> str:
    """A value as JSON, deflated, in base64, in lines."""
    text = json.dumps(data, separators=(",", ":"))
    words = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return "\n".join(words[at : at + WRAP] for at in range(0, len(words), WRAP))


def unpacked(page: str) -> str:
    """A page with its packed parts opened: what two pages are compared by, since another zlib deflates differently."""
    found = re.fullmatch(r'(.*id="data">)(.*?)(</script>.*?id="packs">)(.*?)(</script>.*)', page, re.DOTALL)
    try:
        return (
            "\0".join((found[1], _opened(found[2]), found[3], *map(_opened, json.loads(found[4])), found[5]))
            if found
            else page
        )
    except (ValueError, zlib.error):
        return page


def _opened(words: str) -> str:
    return zlib.decompress(base64.b64decode(words)).decode()


@lru_cache
def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _script() -> str:
    """The scripts in the order of their names, as one that leaves nothing outside itself."""
    bodies = "\n".join(_template(file.name) for file in sorted(TEMPLATES.glob("*.js")))
    return f'"use strict";\n(() => {{\n{bodies}}})();\n'


def _policy(style: str, script: str) -> str:
    """Nothing may be loaded, and only this script and this style may run."""

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    own = f"script-src 'sha256-{digest(script)}'; style-src 'sha256-{digest(style)}'"
    return f"default-src 'none'; img-src data:; {own}; base-uri 'none'; form-action 'none'"


def _summary(matrix: Matrix) -> str:
    """One sentence that stands there before any script has run."""
    counts: Counter[Outcome] = Counter()
    for cell in matrix.cells:
        counts.update(cell.counts)
    unexplained = sum(cell.unexplained for cell in matrix.cells)
    words = "".join(
        f"<li class='{o.value}'><b>{counts[o]:,}</b> {o.value.replace('-', ' ')}</li>" for o in Outcome if counts[o]
    )
    new = f"<b>{unexplained:,}</b> in no ledger entry" if unexplained else "every break is in the change ledger"
    return f"<ul class='totals'>{words}<li>{new}</li></ul>"


def _releases(columns: Iterable[Column]) -> str:
    """The releases and what is in them, a row each."""
    versions = {c.name: {**c.others, "libvirt": c.libvirt, "qemu": c.qemu} for c in columns}
    every = {product for own in versions.values() for product, version in own.items() if version}
    shown = [p for p in PRODUCTS if p in every] + sorted(every - set(PRODUCTS))
    names = {"qemu": "QEMU", "spice": "SPICE", "xen": "Xen"}
    head = "".join(f"<th scope='col'>{escape(names.get(p, p))}</th>" for p in shown)
    rows = []
    for column in columns:
        own = "".join(f"<td>{escape(versions[column.name].get(p) or '–')}</td>" for p in shown)
        how = "asked live" if column.live else "from golden records" if column.golden else "nothing recorded"
        note = f"<small>{escape(column.note)}</small>" if column.note else ""
        rows.append(f"<tr><th scope='row'>{escape(column.name)}</th>{own}<td>{how}{note}</td></tr>")
    top = f"<tr><th scope='col'>release</th>{head}<th scope='col'>answers</th></tr>"
    return f"<thead>{top}</thead><tbody>{''.join(rows)}</tbody>"


class _Words:
    """Every word once, called by its number."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __getitem__(self, word: str) -> int:
        return self.numbers.setdefault(word, len(self.numbers))

    def list(self) -> list[str]:
        return list(self.numbers)


class _Table:
    """Cells, verdicts and findings as columns of numbers.

    A finding is a row. A verdict that could not be given has one row too, whose change is -1 and whose new value is
    the reason.
    """

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self.words, self.checks, self.kinds, self.drivers, self.changes = (_Words() for _ in range(5))
        self.releases = {column.name: at for at, column in enumerate(contents.matrix.columns)}
        self.entries = {entry["id"]: at for at, entry in enumerate(contents.ledger)}
        self.cells: dict[str, list[int]] = {
            name: [] for name in ("check", "kind", "driver", "old", "new", "worst", "unexplained", "verdicts")
        }
        self.counts: list[list[int]] = [[] for _ in OUTCOMES]
        self.verdicts: dict[str, list[int]] = {name: [] for name in ("case", "outcome", "reason", "rows")}
        self.rows: dict[str, list[int]] = {name: [] for name in ("path", "change", "tier", "old", "new", "entry")}
        self.numbers: dict[tuple[CellKey, str], int] = {}
        self.first: dict[tuple[CellKey, Finding], int] = {}
        self.prints: list[tuple[int, str]] = []
        for cell in contents.matrix.cells:
            if any(cell.counts.values()):
                self._cell(cell)

    def _cell(self, cell: Cell) -> None:
        key = cell.key
        own = (
            self.checks[key.check], self.kinds[key.kind], self.drivers[key.driver], self.releases[key.old],
            self.releases[key.new], int(cell.worst), cell.unexplained, len(cell.verdicts),
        )  # fmt: skip
        for column, value in zip(self.cells.values(), own, strict=True):
            column.append(value)
        for column, outcome in zip(self.counts, OUTCOMES, strict=True):
            column.append(cell.counts.get(outcome, 0))
        for verdict in cell.verdicts:
            self._verdict(key, verdict)

    def _verdict(self, key: CellKey, verdict: Verdict) -> None:
        self.numbers[key, verdict.case] = len(self.verdicts["case"])
        self.verdicts["case"].append(self.words[verdict.case])
        self.verdicts["outcome"].append(OUTCOMES.index(verdict.outcome))
        self.verdicts["reason"].append(self.words[verdict.reason])
        self.verdicts["rows"].append(max(len(verdict.findings), 1))
        if not verdict.findings:
            self._row("", -1, Tier.IDENTICAL, "", verdict.reason, 0)
        for finding in verdict.findings:
            row = len(self.rows["path"])
            self.first.setdefault((key, finding), row)
            if finding.tier >= self.contents.matrix.gate and not finding.explained:
                self.prints.append((row, fingerprint(key, finding)))
            entry = self.entries.get(finding.entry, -1) + 1
            self._row(finding.path, self.changes[finding.change], finding.tier, finding.old, finding.new, entry)

    def _row(self, path: str, change: int, tier: Tier, old: str, new: str, entry: int) -> None:
        own = (self.words[path], change, int(tier), self.words[old], self.words[new], entry)
        for column, value in zip(self.rows.values(), own, strict=True):
            column.append(value)

    def _groups(self) -> list[list[int]]:
        """Row of a finding, then the verdicts of the cases that have it."""
        found = []
        for group in self.contents.groups:
            row = self.first.get((group.cell, group.finding))
            if row is not None:
                found.append([row, *(self.numbers[group.cell, case] for case in group.cases)])
        return found

    def record(self) -> dict[str, object]:
        contents, matrix = self.contents, self.contents.matrix
        return {
            "schema": SCHEMA,
            "gate": int(matrix.gate),
            "releases": list(self.releases),
            "checks": self.checks.list(),
            "kinds": self.kinds.list(),
            "drivers": self.drivers.list(),
            "changes": self.changes.list(),
            "cells": self.cells,
            "counts": self.counts,
            "verdicts": self.verdicts,
            "rows": self.rows,
            "words": self.words.list(),
            "groups": self._groups(),
            "prints": self.prints,
            "purposes": dict(contents.purposes),
            "ledger": [dict(entry) for entry in contents.ledger],
            "claims": [dict(claim) for claim in contents.claims],
            "waivers": [dict(waiver) for waiver in contents.waivers],
            "notes": [*matrix.notes, *(f"stale ledger entry: {entry}" for entry in matrix.stale)],
            "shown": contents.shown,
        }


def _packs(exhibits: Sequence[Exhibit], table: _Table) -> tuple[list[str], list[list[int]]]:
    """The exhibits in packs, and where each is: verdict, pack, number in it.

    A pack has all exhibits of one kind and case: the releases write nearly the same of it, which deflates to little.
    """
    members: dict[tuple[str, str], list[Exhibit]] = {}
    for exhibit in exhibits:
        members.setdefault((exhibit.cell.kind, exhibit.case), []).append(exhibit)
    packs, places = [], []
    for number, own in enumerate(members.values()):
        words = _Words()
        shown = [_exhibit(exhibit, words) for exhibit in own]
        packs.append(packed({"texts": words.list(), "exhibits": shown}))
        places += [[table.numbers[e.cell, e.case], number, at] for at, e in enumerate(own)]
    return packs, sorted(places)


def _exhibit(exhibit: Exhibit, words: _Words) -> dict[str, object]:
    old, new = _cut(exhibit.old), _cut(exhibit.new)
    return {
        "left": exhibit.left,
        "right": exhibit.right,
        "old": words[old],
        "new": words[new],
        "steps": list(exhibit.steps),
        "blocks": _blocks(old, new),
    }


def _cut(text: str) -> str:
    lines = text.split("\n")
    return text if len(lines) <= LINES else "\n".join([*lines[:LINES], f"… and {len(lines) - LINES} more lines"])


@lru_cache(maxsize=4096)
def _blocks(old: str, new: str) -> list[list[int]]:
    """The lines that differ: [first, end] of the old and [first, end] of the new, from 0."""
    matcher = SequenceMatcher(None, old.split("\n"), new.split("\n"), autojunk=False)
    return [[a, b, c, d] for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal"]
