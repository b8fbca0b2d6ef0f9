"""Renderers: one way to print a matrix each. Pure: a matrix in, a text out. The folder is the list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from virtcompat import registry
from virtcompat.facts import masked
from virtcompat.model import NO_DRIVER, Cell, CellKey, Finding, Matrix, Outcome, Tier, overall


class Renderer(Protocol):
    """One format. ``suffix`` is that of a file in it."""

    @property
    def name(self) -> str: ...
    @property
    def suffix(self) -> str: ...
    def render(self, matrix: Matrix) -> str: ...


def every() -> dict[str, Renderer]:
    return registry.members(__name__, "RENDERER")


@dataclass(slots=True)
class Square:
    """The cells of one (driver, check, old, new), all document kinds together."""

    counts: Counter[Outcome] = field(default_factory=Counter)
    worst: Tier = Tier.IDENTICAL
    unexplained: int = 0
    cells: list[Cell] = field(default_factory=list)

    def add(self, cell: Cell) -> None:
        self.counts.update(cell.counts)
        self.worst = max(self.worst, cell.worst)
        self.unexplained += cell.unexplained
        self.cells.append(cell)

    @property
    def good(self) -> int:
        return self.counts[Outcome.COMPATIBLE]

    @property
    def bad(self) -> int:
        return self.counts[Outcome.INCOMPATIBLE]

    @property
    def asked(self) -> int:
        return self.good + self.bad

    @property
    def outcome(self) -> Outcome:
        return overall(self.counts)

    @property
    def label(self) -> str:
        """``196 ok``, ``12 of 196``, ``not here``, ``–`` (not applicable), ``broken``."""
        if self.outcome is Outcome.COMPATIBLE:
            return f"{self.good} ok"
        if self.outcome is Outcome.INCOMPATIBLE:
            return f"{self.bad} of {self.asked}"
        return {Outcome.NOT_HERE: "not here", Outcome.BROKEN: "broken"}.get(self.outcome, "–")


Grids = dict[tuple[str, str], dict[tuple[str, str], Square]]


def grids(matrix: Matrix) -> Grids:
    """(driver or surface, check) -> (old, new) -> square, without grids in which nothing applies."""
    found: Grids = {}
    for cell in matrix.cells:
        key = cell.key
        grid = found.setdefault((key.subject, key.check), {})
        grid.setdefault((key.old, key.new), Square()).add(cell)
    shown = {k: g for k, g in found.items() if any(s.outcome is not Outcome.NOT_APPLICABLE for s in g.values())}
    subjects = {cell.key.kind for cell in matrix.cells if cell.key.driver == NO_DRIVER}
    return dict(sorted(shown.items(), key=lambda item: (item[0][0] in subjects, item[0])))


@dataclass(frozen=True, slots=True)
class Cause:
    """Findings that look alike: the same kind of document, place and difference, the same explanation.

    key: the first cell that has it, for the command that shows it.
    """

    finding: Finding
    cases: tuple[str, ...]
    key: CellKey

    @property
    def command(self) -> str:
        return f"virt-compat explain {self.key}/{self.cases[0]}"


def causes(cells: Iterable[Cell], least: Tier = Tier.RISK) -> list[Cause]:
    """The findings of these cells grouped by cause, the worst and most frequent first."""
    groups: dict[tuple[str, str, str, str, int], tuple[Finding, list[str], CellKey]] = {}
    for cell in cells:
        for verdict in cell.verdicts:
            for finding in verdict.findings:
                if finding.tier >= least:
                    what = finding.entry or _words(finding)
                    # What an entry explains of a recorded surface is one cause, however many interfaces it is.
                    place = "" if finding.entry and cell.key.driver == NO_DRIVER else masked(finding.path)
                    key = (cell.key.kind, place, finding.change, what, finding.tier)
                    names = groups.setdefault(key, (finding, [], cell.key))[1]
                    if verdict.case not in names:
                        names.append(verdict.case)
    found = [Cause(finding, tuple(names), key) for finding, names, key in groups.values()]
    return sorted(found, key=lambda c: (-c.finding.tier, -len(c.cases), c.finding.path))


def _words(finding: Finding) -> str:
    """For a refusal, its message without names and numbers; elsewhere the place says enough."""
    if not finding.path.startswith("("):
        return ""
    words = "".join(" " if c in "'\"" else "0" if c.isdigit() else c for c in finding.new)
    return " ".join(w for w in words.split() if "/" not in w)[:60]


def sentence(finding: Finding, width: int = 100) -> str:
    """One finding in a line: where, what, from, to."""

    def short(text: str) -> str:
        line = " ".join(text.split())
        return line if len(line) <= width else line[: width - 1] + "…"

    if finding.path.startswith("("):
        return f"{finding.path} {finding.change}: {short(finding.new)}"
    if finding.change.value in ("added", "accepted"):
        return f"{finding.path} {finding.change}: {short(finding.new)}"
    if finding.change.value in ("removed", "dropped"):
        return f"{finding.path} {finding.change}: {short(finding.old)}"
    return f"{finding.path} {finding.change}: {short(finding.old)} -> {short(finding.new)}"


def totals(matrix: Matrix) -> Counter[Outcome]:
    counts: Counter[Outcome] = Counter()
    for cell in matrix.cells:
        counts.update(cell.counts)
    return counts
