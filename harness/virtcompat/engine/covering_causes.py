"""What the covering corpora found, by cause: thousands of failing documents are a few dozen causes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from virtcompat.engine.properties import signature
from virtcompat.model import Cell, CellKey, Change, Finding, Tier


@dataclass(slots=True)
class Cause:
    """Findings that are one. count: verdicts that have it; documents: their cases; key, case, finding: the one that is shown,
    of a document with as little else wrong as any."""

    signature: str
    entry: str
    tier: Tier
    key: CellKey
    case: str
    finding: Finding
    least: int
    count: int = 0
    documents: set[str] = field(default_factory=set)
    subjects: set[tuple[str, str]] = field(default_factory=set)
    pairs: set[tuple[str, str]] = field(default_factory=set)

    @property
    def kinds(self) -> list[str]:
        return sorted({kind for kind, _ in self.subjects})

    @property
    def cell(self) -> str:
        return f"{self.key}/{self.case}"


def causes(cells: Iterable[Cell], least: Tier = Tier.BREAK) -> list[Cause]:
    """The findings of this tier and above: what no ledger entry explains first, then the worst and most frequent."""
    found: dict[tuple[str, str], Cause] = {}
    for cell in cells:
        for verdict in cell.verdicts:
            bad = [f for f in verdict.findings if f.tier >= least]
            for finding in bad:
                # What is lost is lost without a word: whether a guest or a pool is no one cause.
                words = signature(cell.key, finding)
                lost = f" ({cell.key.kind})" if finding.change is Change.LOST else ""
                place = (words + lost, finding.entry)
                if place not in found:
                    found[place] = Cause(*place, finding.tier, cell.key, verdict.case, finding, len(bad))
                _add(found[place], cell.key, verdict.case, finding, len(bad))
    return sorted(found.values(), key=lambda c: (bool(c.entry), -c.tier, -len(c.documents), c.signature))


def _add(cause: Cause, key: CellKey, case: str, finding: Finding, size: int) -> None:
    cause.count += 1
    cause.documents.add(case)
    cause.subjects.add((key.kind, key.driver))
    cause.pairs.add((key.old, key.new))
    cause.tier = max(cause.tier, finding.tier)
    if size < cause.least:
        cause.key, cause.case, cause.finding, cause.least = key, case, finding, size
