"""Stability tables: interface -> level, as somebody promised it; and the policy that says what each level allows.

``suites/stability/policy.toml`` is the policy, every other file there is one table, for example libvirt's own guarantees.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from virtcompat.errors import BadData, UsageError
from virtcompat.model import Change, Tier
from virtcompat.store import paths, tables
from virtcompat.store.ledger import glob

LEVELS = ("Committed", "Uncommitted", "Volatile", "Not-an-Interface", "Private")
TABLE = {"title": str, "reference": str, "product": str, "interface": list, "exception": list, "dates": dict}
ROW = {
    "name": str, "surface": str, "where": list, "level": str, "obsolete": str, "never": bool, "why": str, "lifetime": dict,
}  # fmt: skip
LIFETIME = {"introduced": str, "deprecated_years": int, "removed_years": int}
EXCEPTION = {"surface": str, "where": list, "change": list, "reason": str, "why": str, "reference": str}
POLICY = {"bindings": list, "allows": dict, "obsolete": dict, "reasons": dict}


@dataclass(frozen=True, slots=True)
class Lifetime:
    """An interface that carries its version in its name and lives so many years.

    introduced: regular expression whose first group, found in a path, is the product version that introduced it.
    """

    introduced: re.Pattern[str]
    deprecated_years: int
    removed_years: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table. surface: empty where nothing here measures it. obsolete: since which product version.

    never: not even a major release may break it.
    """

    name: str
    surface: str
    where: re.Pattern[str]
    level: str
    obsolete: str = ""
    never: bool = False
    why: str = ""
    lifetime: Lifetime | None = None


@dataclass(frozen=True, slots=True)
class Exempt:
    """A break of the promise that is recognised, for a reason that the policy knows."""

    surface: str
    where: re.Pattern[str]
    change: frozenset[Change]
    reason: str
    why: str
    reference: str
    line: str


@dataclass(frozen=True, slots=True)
class StabilityTable:
    """What somebody promised. dates: product version -> day of its release, for lifetimes."""

    name: str
    title: str
    reference: str
    product: str
    rows: tuple[Row, ...]
    exceptions: tuple[Exempt, ...]
    dates: Mapping[str, date]


@dataclass(frozen=True, slots=True)
class Policy:
    """allows: level -> binding -> worst tier allowed; bindings from the greatest release to the smallest."""

    bindings: tuple[str, ...]
    allows: Mapping[str, Mapping[str, Tier]]
    obsolete_from: str
    reasons: Mapping[str, str]


def folder() -> Path:
    return paths.data_root() / "suites" / "stability"


@cache
def policy() -> Policy:
    """The policy of this checkout."""
    file = folder() / "policy.toml"
    table = tables.read(file)
    tables.check_keys(file, table, POLICY, tuple(POLICY))
    bindings = tuple(table["bindings"])
    allows = {}
    for level in LEVELS:
        allowed = table["allows"].get(level, {})
        try:
            allows[level] = {binding: Tier.named(allowed[binding]) for binding in bindings}
        except KeyError as error:
            remedy = f"name a tier for each of {', '.join(bindings)}"
            raise BadData(file, f"[allows.{level}] lacks or misspells {error}", remedy) from error
    if table["obsolete"].get("from") not in bindings:
        raise BadData(file, "[obsolete] names no binding", f"from = one of: {', '.join(bindings)}")
    return Policy(bindings, allows, table["obsolete"]["from"], table["reasons"])


@cache
def every() -> dict[str, StabilityTable]:
    """name -> table, in the order of their names."""
    files = sorted(f for f in folder().glob("*.toml") if f.name != "policy.toml")
    return {file.stem: _read(file) for file in files}


def choose(names: tuple[str, ...]) -> dict[str, StabilityTable]:
    for name in names:
        if name not in every():
            raise UsageError(f"no stability table '{name}'", f"use one of: {', '.join(every())}")
    return {name: table for name, table in every().items() if not names or name in names}


def _read(file: Path) -> StabilityTable:
    table = tables.read(file)
    tables.check_keys(file, table, TABLE, ("title", "reference", "interface"))
    dates = table.get("dates", {})
    for version, day in dates.items():
        if not isinstance(day, date):
            remedy = 'write "5.2" = 2020-12-08, the version in quotes'
            raise BadData(file, f"the date of '{version}' is no day", remedy, tables.line_of(file, "dates"))
    return StabilityTable(
        name=file.stem,
        title=table["title"],
        reference=table["reference"],
        product=table.get("product", ""),
        rows=tuple(_row(file, row) for row in table["interface"]),
        exceptions=tuple(_exception(file, found) for found in table.get("exception", ())),
        dates={str(version): day for version, day in dates.items()},
    )


def _row(file: Path, row: dict[str, Any]) -> Row:
    line = tables.line_of(file, str(row.get("name", "")))
    tables.check_keys(file, row, ROW, ("name", "level"))
    if row["level"] not in LEVELS:
        raise BadData(file, f"no stability level '{row['level']}'", f"use one of: {', '.join(LEVELS)}", line)
    if bool(row.get("surface")) != bool(row.get("where")):
        raise BadData(file, f"'{row['name']}' has only one of surface and where", "give both, or none", line)
    lifetime = None
    if "lifetime" in row:
        tables.check_keys(file, row["lifetime"], LIFETIME, tuple(LIFETIME))
        years = row["lifetime"]
        try:
            pattern = re.compile(years["introduced"])
        except re.error as error:
            raise BadData(file, f"'introduced' is no regular expression: {error}", "correct it", line) from error
        if not pattern.groups:
            raise BadData(file, "'introduced' has no group", "put the version in parentheses", line)
        lifetime = Lifetime(pattern, years["deprecated_years"], years["removed_years"])
    return Row(
        name=row["name"],
        surface=row.get("surface", ""),
        where=glob(row.get("where", [])) if row.get("where") else re.compile(r"(?!)"),
        level=row["level"],
        obsolete=row.get("obsolete", ""),
        never=row.get("never", False),
        why=row.get("why", ""),
        lifetime=lifetime,
    )


def _exception(file: Path, found: dict[str, Any]) -> Exempt:
    tables.check_keys(file, found, EXCEPTION, tuple(EXCEPTION))
    if found["reason"] not in policy().reasons:
        known = ", ".join(policy().reasons)
        raise BadData(file, f"no recognised reason '{found['reason']}'", f"use one of: {known}")
    try:
        change = frozenset(Change(c) for c in found["change"])
    except ValueError as error:
        raise BadData(file, str(error), f"use one of: {', '.join(Change)}") from error
    where = glob(found["where"])
    words = f"{found['surface']}: {', '.join(found['where'])}"
    return Exempt(found["surface"], where, change, found["reason"], found["why"], found["reference"], words)
