"""The change ledger: every known difference between releases, declared once per upstream change.

``golden/changes/<id>.toml`` says which product changed what and since when, where it shows, its tier, why, and where
upstream says so. Declaring a difference explains it; it does not make it smaller: the entry's tier is what it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from virtcompat.errors import BadData
from virtcompat.model import Change, Tier
from virtcompat.store import paths, tables

KEYS = {
    "product": str, "since": str, "kinds": list, "drivers": list, "checks": list, "cases": list, "where": list,
    "change": list, "old": str, "new": str, "tier": str, "summary": str, "why": str, "reference": str,
    "either_way": bool, "same_release": bool, "until": str,
}  # fmt: skip
REQUIRED = ("product", "since", "kinds", "where", "change", "tier", "summary", "why", "reference")


@dataclass(frozen=True, slots=True)
class Entry:
    """One upstream change.

    product, since: the entry explains a pair of releases only where the product crosses this version between
    them. where: patterns (fnmatch without the special meaning of brackets) of finding paths. change: the kinds
    of difference, as seen going from old to new. old, new: regular expressions that the values must match.
    either_way: also explains the mirror image (added for removed) when the pair is crossed backwards.
    same_release: explains what one release does by itself (round trip), from ``since`` on, and between two such;
    until: the first version that does so no more (the older of two is meant), empty where all do.
    """

    id: str
    product: str
    since: tuple[int, ...]
    kinds: frozenset[str]
    drivers: frozenset[str]
    checks: frozenset[str]
    cases: tuple[str, ...]
    where: re.Pattern[str]
    change: frozenset[Change]
    old: re.Pattern[str]
    new: re.Pattern[str]
    tier: Tier
    summary: str
    why: str
    reference: str
    either_way: bool
    same_release: bool
    until: tuple[int, ...]
    file: str


#: Within one step of a path; an identity in brackets may itself hold slashes.
STEP = r"(?:\[[^\]]*\]|[^/\[])*"


def glob(patterns: tuple[str, ...] | list[str]) -> re.Pattern[str]:
    """Path patterns: ``*`` is anything within one step, ``**`` anything; brackets and dots are themselves."""
    parts = []
    for pattern in patterns:
        escaped = re.escape(pattern).replace(r"\*\*", "\0").replace(r"\*", STEP).replace("\0", ".*")
        parts.append(escaped)
    return re.compile(f"^(?:{'|'.join(parts)})$", re.DOTALL)


@cache
def entries() -> tuple[Entry, ...]:
    """Every entry, sorted by id."""
    return tuple(_read(file) for file in sorted((paths.data_root() / "golden" / "changes").glob("*.toml")))


def _read(file: Path) -> Entry:
    table = tables.read(file)
    tables.check_keys(file, table, KEYS, REQUIRED)
    if "until" in table and not table.get("same_release"):
        raise BadData(file, "'until' without 'same_release'", "it ends that alone", tables.line_of(file, "until"))
    try:
        return Entry(
            id=file.stem,
            product=table["product"],
            since=tables.version(table["since"]),
            kinds=frozenset(table["kinds"]),
            drivers=frozenset(table.get("drivers", ())),
            checks=frozenset(table.get("checks", ())),
            cases=tuple(table.get("cases", ())),
            where=glob(table["where"]),
            change=frozenset(Change(c) for c in table["change"]),
            old=re.compile(table.get("old", ""), re.DOTALL),
            new=re.compile(table.get("new", ""), re.DOTALL),
            tier=Tier.named(table["tier"]),
            summary=table["summary"],
            why=table["why"],
            reference=table["reference"],
            either_way=table.get("either_way", False),
            same_release=table.get("same_release", False),
            until=tables.version(table["until"]) if "until" in table else (),
            file=str(file),
        )
    except (KeyError, ValueError, re.error) as error:
        raise BadData(file, f"not a ledger entry: {error}", "see CONTRIBUTING.md, 'Declaring a change'") from error
