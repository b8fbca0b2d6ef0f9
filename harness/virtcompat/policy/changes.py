"""The change ledger applied: a finding is explained by the declared upstream change that it is an instance of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from virtcompat.model import CellKey, Change, Finding, Verdict
from virtcompat.store.ledger import Entry
from virtcompat.store.tables import version

MIRROR = {Change.ADDED: Change.REMOVED, Change.REMOVED: Change.ADDED}
Products = Mapping[str, Mapping[str, str]]


Crossed = Sequence[tuple[Entry, bool]]


def crossed(key: CellKey, products: Products, entries: Sequence[Entry]) -> Crossed:
    """The entries whose change lies between a cell's releases, each with whether it is crossed backwards."""
    return [(e, backward) for e in entries if (backward := _crosses(e, key, products)) is not None]


def explain(verdict: Verdict, entries: Crossed) -> Verdict:
    """The verdict with every finding that an entry accounts for marked with it and given its tier."""
    own = [(e, backward) for e, backward in entries if verdict.findings and _named(e, verdict.case)]
    return replace(verdict, findings=tuple(_explained(f, own) for f in verdict.findings)) if own else verdict


def _crosses(entry: Entry, key: CellKey, products: Products) -> bool | None:
    """Whether the cell's releases lie on both sides of the change: None where not, else whether backwards."""
    if key.kind not in entry.kinds or (entry.drivers and key.driver not in entry.drivers):
        return None
    if entry.checks and key.check not in entry.checks:
        return None
    old, new = (version(products.get(r, {}).get(entry.product, "")) for r in (key.old, key.new))
    if entry.same_release and min(old, new) >= entry.since and (not entry.until or min(old, new) < entry.until):
        return False
    if old < entry.since <= new:
        return False
    return True if entry.either_way and new < entry.since <= old else None


def _named(entry: Entry, case: str) -> bool:
    return not entry.cases or any(fnmatchcase(case, pattern) for pattern in entry.cases)


def _explained(finding: Finding, entries: Crossed) -> Finding:
    """Where several entries match, the worst explains it: a harmless one must not hide a break."""
    found = [
        entry
        for entry, backward in entries
        if matches(entry, finding, backward=False) or (backward and matches(entry, finding, backward=True))
    ]
    if not found:
        return finding
    worst = max(found, key=lambda e: e.tier)
    return replace(finding, entry=worst.id, tier=worst.tier, product=finding.product or worst.product)


def matches(entry: Entry, finding: Finding, *, backward: bool) -> bool:
    """Whether a finding is an instance of this change; backwards, added and removed change places."""
    change, old, new = finding.change, finding.old, finding.new
    if backward:
        change, old, new = MIRROR.get(change, change), new, old
    if change not in entry.change or not entry.where.match(finding.path):
        return False
    return bool(entry.old.search(old)) and bool(entry.new.search(new))
