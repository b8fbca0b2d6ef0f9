"""Generated documents put through the checks of the matrix, and what they find grouped by its cause.

Thousands of failing documents are a few dozen causes: findings are one where check, kind of change, product's ledger entry and
place are the same, identities and values of the place aside.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from virtcompat import documents
from virtcompat.engine import columns, corpora
from virtcompat.engine import run as engine
from virtcompat.engine.generating import Generated
from virtcompat.engine.run import Progress, Selection
from virtcompat.model import CellKey, Finding, Fixture, Matrix, Outcome, Tier

#: What must hold of every document a driver accepts.
CHECKS = ("round-trip", "upgrade-redefine")


@dataclass(slots=True)
class Cause:
    """Findings that are one. count: how many; cells: where, as (old, new); example: the shortest document that has it."""

    signature: str
    entry: str
    tier: Tier
    finding: Finding
    example: Generated
    count: int = 0
    cells: set[tuple[str, str]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Suite:
    """What the checks said of documents. asked: verdicts; missing: why some could not be asked."""

    causes: list[Cause]
    asked: int
    missing: str = ""

    @property
    def unexplained(self) -> list[Cause]:
        """The breaks that no ledger entry knows."""
        return [cause for cause in self.causes if not cause.entry and cause.tier >= Tier.BREAK]

    @property
    def exit_code(self) -> int:
        return 1 if self.unexplained else 3 if self.missing or not self.asked else 0


def suite(
    kind: str,
    driver: str,
    releases: Sequence[str],
    generated: Sequence[Generated],
    progress: Progress = lambda done, of: None,
) -> Suite:
    """The checks over documents of a kind, on one driver of several releases.

    Names and whatever a release would draw at random are pinned first, so that an answer is a function of the document.
    """
    machines = corpora.machines()
    by_case: dict[str, Generated] = {}
    asked: list[Fixture] = []
    for each in generated:
        try:
            text, digest = documents.pin(each.text, machines)
        except documents.NotWellFormed:
            continue
        case = f"{each.name}-{digest[:8]}"
        by_case[case] = each
        asked.append(Fixture(kind, case, text, each.what, (driver,), foreign=True))
    selection = Selection(checks=CHECKS, kinds=(kind,), drivers=(driver,), releases=tuple(releases))
    matrix = engine.run(selection, asked, progress, columns.find(tuple(releases)))
    return Suite(_causes(matrix, by_case), sum(cell.asked for cell in matrix.cells), _missing(matrix))


def _causes(matrix: Matrix, by_case: dict[str, Generated]) -> list[Cause]:
    """The findings of a matrix by cause, the worst and most frequent first."""
    found: dict[tuple[str, str], Cause] = {}
    for cell in matrix.cells:
        for verdict in cell.verdicts:
            for finding in verdict.findings:
                example = by_case[verdict.case]
                words = signature(cell.key, finding)
                cause = found.setdefault(
                    (words, finding.entry), Cause(words, finding.entry, finding.tier, finding, example)
                )
                cause.count += 1
                cause.cells.add((cell.key.old, cell.key.new))
                if len(example.text) < len(cause.example.text):
                    cause.example, cause.finding = example, finding
    return sorted(found.values(), key=lambda cause: (-cause.tier, bool(cause.entry), -cause.count, cause.signature))


def signature(key: CellKey, finding: Finding) -> str:
    """What is the same in findings of one cause: check, change, place without identities, and an error with its values masked."""
    place = re.sub(r"\[[^\]]*\]", "", finding.path)
    words = (
        masked(finding.new) if finding.change.value in ("refused", "crashed", "hung", "invalid", "unreadable") else ""
    )
    return f"{key.check}: {finding.change} {place}{': ' + words if words else ''}"


def masked(message: str) -> str:
    """An error message without what it quotes and counts."""
    return re.sub(r"\b(0x)?\d[\w.:-]*", "N", re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", message))[:160]


def _missing(matrix: Matrix) -> str:
    """Why something could not be asked, the first reason of them."""
    reasons = (
        v.reason for cell in matrix.cells for v in cell.verdicts if v.outcome in (Outcome.NOT_HERE, Outcome.BROKEN)
    )
    return next(reasons, "")
