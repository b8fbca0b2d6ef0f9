"""What a run has found so far, and what it comes to. The parts sum up to the whole in whatever order they come."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from virtcompat.engine import guests
from virtcompat.engine.answers import Answers
from virtcompat.engine.columns import Columns
from virtcompat.engine.tally import Tally
from virtcompat.model import CellKey, Matrix, Outcome, Tier
from virtcompat.policy.agreement import agreement
from virtcompat.store import ledger


@dataclass(slots=True)
class Cost:
    """What a run took: questions put now, known and replayed; verdicts judged now and remembered."""

    asked: int = 0
    cached: int = 0
    replayed: int = 0
    judged: int = 0
    remembered: int = 0

    def add(self, other: Cost) -> None:
        self.asked += other.asked
        self.cached += other.cached
        self.replayed += other.replayed
        self.judged += other.judged
        self.remembered += other.remembered


@dataclass(slots=True)
class Sum:
    """Tallies by cell, in the order in which the cells are shown.

    used: the ledger entries that explained something. seen, foreign: (driver, case) of the documents that some release
    accepted, and of somebody else's documents.
    """

    tallies: dict[CellKey, Tally] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    seen: set[tuple[str, str]] = field(default_factory=set)
    foreign: set[tuple[str, str]] = field(default_factory=set)
    cost: Cost = field(default_factory=Cost)

    def add(self, other: Sum) -> None:
        """Take another part in. Only cells of this sum are counted."""
        for key, tally in other.tallies.items():
            into(self.tallies[key], tally)
        self.used |= other.used
        self.seen |= other.seen
        self.foreign |= other.foreign
        self.cost.add(other.cost)

    def matrix(self, found: Columns, gate: Tier, *, complete: bool) -> Matrix:
        """The cells, and what follows from all of them. complete: nothing was left out, so an unused entry is stale."""
        missing = any(t.counts.get(Outcome.NOT_HERE) or t.counts.get(Outcome.BROKEN) for t in self.tallies.values())
        whole = complete and not self.foreign and not missing
        return Matrix(
            columns=found.columns,
            cells=[tally.cell(key) for key, tally in self.tallies.items()],
            gate=gate,
            asked=self.cost.asked,
            cached=self.cost.cached,
            replayed=self.cost.replayed,
            judged=self.cost.judged,
            remembered=self.cost.remembered,
            stale=tuple(sorted(self._askable() - self.used)) if whole else (),
            notes=(*found.notes, *self._set_aside(), *agreement(self.tallies, guests.LIVE, guests.KIND)),
        )

    def _set_aside(self) -> list[str]:
        """How many of somebody else's documents no release accepts, by driver."""
        aside = Counter(driver for driver, _ in self.foreign - self.seen)
        every = Counter(driver for driver, _ in self.foreign)
        return [
            f"{driver}: {n} of {every[driver]} documents set aside, no release accepts them"
            for driver, n in sorted(aside.items())
        ]

    def _askable(self) -> set[str]:
        """The ledger entries that a check of this run could have used."""
        asked = {key.check for key in self.tallies}
        return {e.id for e in ledger.entries() if not e.checks or e.checks & asked}


class Ran(Protocol):
    """A run that has judged what it was given."""

    answers: Answers
    tallies: dict[CellKey, Tally]
    used: set[str]
    seen: set[tuple[str, str]]
    foreign: set[tuple[str, str]]
    moved: tuple[int, int]
    judged: int
    remembered: int


def summed(run: Ran) -> Sum:
    """What one run has found."""
    answers = run.answers
    asked, cached = answers.asked + run.moved[0], answers.cached + run.moved[1]
    cost = Cost(asked, cached, answers.replayed, run.judged, run.remembered)
    return Sum(run.tallies, run.used, run.seen, run.foreign, cost)


def into(whole: Tally, part: Tally) -> None:
    """Add one tally to another of the same cell."""
    whole.counts.update(part.counts)
    whole.worst = max(whole.worst, part.worst)
    whole.unexplained += part.unexplained
    whole.kept += part.kept
    whole.seen |= part.seen
