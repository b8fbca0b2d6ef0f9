"""What becomes a cell: its verdicts counted, those worth keeping kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from virtcompat.model import Cell, CellKey, Finding, Outcome, Tier, Verdict

LONG = 2000
MANY = 30


@dataclass(slots=True)
class Tally:
    """What becomes a :class:`Cell`."""

    counts: Counter[Outcome] = field(default_factory=Counter)
    worst: Tier = Tier.IDENTICAL
    unexplained: int = 0
    kept: list[Verdict] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)  # the cases that were asked
    moot: set[str] = field(default_factory=set)  # the cases that say nothing of these releases

    def add(self, verdict: Verdict, gate: Tier, least: Tier = Tier.ADDITION, most: int | None = None) -> None:
        """Count a verdict; it is kept where it could not be asked or has a finding of at least this tier.

        most: of more findings than these the worst are kept. All of them count.
        """
        self.counts[verdict.outcome] += 1
        self.worst = max(self.worst, verdict.worst)
        if verdict.outcome in (Outcome.COMPATIBLE, Outcome.INCOMPATIBLE):
            self.seen.add(verdict.case)
        elif verdict.outcome is Outcome.NOT_APPLICABLE:
            self.moot.add(verdict.case)
        self.unexplained += any(f.tier >= gate and not f.explained for f in verdict.findings)
        if verdict.worst >= least or verdict.outcome in (Outcome.NOT_HERE, Outcome.BROKEN):
            self.kept.append(verdict if most is None or len(verdict.findings) <= most else _cut(verdict, most))

    @property
    def bad(self) -> set[str]:
        """The cases that are incompatible."""
        return {v.case for v in self.kept if v.outcome is Outcome.INCOMPATIBLE}

    def cell(self, key: CellKey) -> Cell:
        """The cell, its verdicts in the order of their cases, whichever came first."""
        kept = tuple(sorted(self.kept, key=lambda v: v.case))
        return Cell(key, dict(self.counts), self.worst, self.unexplained, kept)


def _cut(verdict: Verdict, most: int) -> Verdict:
    """A verdict with its worst findings, and how many more there are."""
    worst = sorted(verdict.findings, key=lambda f: (-f.tier, f.path, f.change))[:most]
    rest = len(verdict.findings) - most
    return replace(verdict, findings=tuple(worst), reason=f"{rest} more findings: virt-compat explain")


def shortened(finding: Finding) -> Finding:
    """A finding whose values are no longer than a report can show."""
    if len(finding.old) <= LONG and len(finding.new) <= LONG:
        return finding
    return replace(finding, old=finding.old[:LONG], new=finding.new[:LONG])
