"""What awaits a user's definitions: each finding as a sentence with its remedy, each definition's standing, the exit code."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from virtcompat.model import Change, Column, Finding, Tier
from virtcompat.store import ledger


class Standing(StrEnum):
    """What a definition comes to, the worst first."""

    BREAKS = "breaks"
    BROKEN = "broken"  # the tool or a lab failed
    UNKNOWN = "unknown"  # something could not be asked
    SET_ASIDE = "set aside"  # the release that it comes from does not accept it either
    RISK = "risk"
    OK = "ok"


ORDER = tuple(Standing)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to know before the upgrade. remedy: what to change; entry, why: the change ledger's explanation."""

    tier: Tier
    what: str
    remedy: str = ""
    entry: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What awaits one definition.

    origin: the release that it is taken to come from; assumed: why, where nobody said so. there, back: whether it
    migrates: ``yes``, ``no``, ``unknown``; empty where that is not asked. unknown: what could not be told. replaced:
    what a lab was asked in place of what the document says.
    """

    name: str
    kind: str
    source: str
    standing: Standing
    origin: str = ""
    assumed: str = ""
    machine: str = ""
    cpu: str = ""
    there: str = ""
    back: str = ""
    problems: tuple[Problem, ...] = ()
    unknown: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()

    @property
    def worst(self) -> Tier:
        return max((p.tier for p in self.problems), default=Tier.IDENTICAL)


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to one preflight. left_out: (source, why, code). asked, known: questions put now and known before."""

    to: str
    columns: Mapping[str, Column]
    outlooks: Sequence[Outlook]
    left_out: Sequence[tuple[str, str, int]]
    notes: Sequence[str]
    gate: Tier | None
    asked: int = 0
    known: int = 0
    seconds: float = 0.0

    @property
    def codes(self) -> list[int]:
        """Every exit code that applies, in the order of precedence: 2 bad input, 4 tool, 1 a break, 3 unknown, else 0."""
        standings = {o.standing for o in self.outlooks}
        unknown = not self.outlooks or standings & {Standing.UNKNOWN, Standing.SET_ASIDE} or self._left(3)
        unsure = any(o.unknown for o in self.outlooks)
        found = {
            2: bool(self._left(2)),
            4: Standing.BROKEN in standings,
            1: self.gate is not None and any(o.worst >= self.gate for o in self.outlooks),
            3: bool(unknown or unsure),
        }
        return [code for code, holds in found.items() if holds] or [0]

    def _left(self, code: int) -> list[str]:
        return [source for source, _, own in self.left_out if own == code]

    @property
    def exit_code(self) -> int:
        return self.codes[0]

    def count(self, standing: Standing) -> int:
        return sum(o.standing is standing for o in self.outlooks)


def standing(problems: Sequence[Problem], unknown: Sequence[str], *, failed: bool) -> Standing:
    """What problems and gaps come to: a break is one whatever else is unknown."""
    worst = max((p.tier for p in problems), default=Tier.IDENTICAL)
    if worst >= Tier.BREAK:
        return Standing.BREAKS
    if failed:
        return Standing.BROKEN
    if unknown:
        return Standing.UNKNOWN
    return Standing.RISK if worst is Tier.RISK else Standing.OK


def in_order(outlooks: Sequence[Outlook]) -> list[Outlook]:
    """The worst first; within a standing by tier, then by name."""
    return sorted(outlooks, key=lambda o: (ORDER.index(o.standing), -o.worst, o.kind != "domain", o.name, o.source))


def distinct(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """The problems, the worst first, each said once; libvirt's refusal of a machine that is gone says no more than that."""
    gone = any(p.what.startswith("machine type ") and p.tier >= Tier.BREAK for p in problems)
    once: dict[str, Problem] = {}
    for problem in sorted(problems, key=lambda p: -p.tier):
        if not (gone and re.search(r"support machine type|has no machine type", problem.what)):
            once.setdefault(problem.what, problem)
    return tuple(once.values())


def explained(tier: Tier, what: str, remedy: str, finding: Finding) -> Problem:
    """A problem with what the change ledger says of its finding."""
    entry = next((e for e in ledger.entries() if e.id == finding.entry), None)
    return Problem(tier, what, remedy, finding.entry, entry.summary if entry else "")


def short(text: str, width: int = 160) -> str:
    """A text on one line, cut where it is longer."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def difference(finding: Finding) -> str:
    """``disk[vda]/driver/@cache: was none, becomes writeback``."""
    path = finding.path.removeprefix("/domain/").removeprefix("devices/").removeprefix("/")
    if finding.change is Change.ADDED:
        return f"{path} is new: {short(finding.new)}".rstrip(": ")
    if finding.change in (Change.REMOVED, Change.DROPPED):
        return f"{path} is gone: {short(finding.old)}".rstrip(": ")
    return f"{path} was {short(finding.old)}, becomes {short(finding.new)}"


COMPARE = "compare 'virsh dumpxml --inactive' before and after"
DEATHS = (Change.CRASHED, Change.HUNG, Change.GARBLED)


def of_document(check: str, finding: Finding, old: str, new: str) -> Problem:
    """What a finding of a check on documents is for the owner of the document. Going back is no break of the upgrade."""
    words = short(finding.new)
    if check == "downgrade":
        what = f"the way back: {old} refuses what {new} writes: {words}"
        if not finding.path.startswith("("):
            what = f"the way back: what {new} writes is another thing to {old}: {difference(finding)}"
        return explained(Tier.RISK, what, f"keep its 'virsh dumpxml --inactive' from {old}", finding)
    if finding.change in DEATHS:
        return explained(finding.tier, f"{new}'s libvirt dies of it: {words}", "leave this host as it is", finding)
    if finding.change is Change.LOST:
        remedy = f"change it while {old} runs it, or keep 'virsh dumpxml --inactive' to define it anew"
        return explained(
            finding.tier, f"is gone after the upgrade, {new} does not load its file: {words}", remedy, finding
        )
    if finding.path == "(define)":
        return explained(finding.tier, f"{new} does not accept it: {words}", f"change it while {old} runs it", finding)
    if finding.path.startswith("("):
        return explained(finding.tier, f"{new}, {finding.path.strip('()')}: {finding.change}: {words}", "", finding)
    if check == "same-hardware":
        what = f"other hardware in {new}: {difference(finding)}"
        return explained(finding.tier, what, "give the device its properties in the definition", finding)
    what = f"{new} takes it otherwise: {difference(finding)}"
    return explained(finding.tier, what, COMPARE, finding)
