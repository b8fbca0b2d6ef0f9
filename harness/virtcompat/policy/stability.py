"""The stability policy applied: what a release changed against what was promised, row by row of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from virtcompat.model import Change, Finding, Outcome, Tier, Verdict
from virtcompat.store.stability import Exempt, Policy, Row, StabilityTable
from virtcompat.store.tables import version


class Standing(StrEnum):
    """What became of a promise between two releases."""

    KEPT = "kept"
    ALLOWED = "allowed"  # broken, in a release that may
    EXCEPTED = "excepted"  # broken, for a recognised reason
    VIOLATED = "violated"
    UNKNOWN = "not-here"  # part of it could not be read
    ABSENT = "absent"  # neither release has it
    UNMEASURED = "not-measured"  # nothing here measures it


@dataclass(frozen=True, slots=True)
class Judged:
    """One change against the promise. ``why`` says what allows it, empty where nothing does."""

    finding: Finding
    why: str = ""
    exception: Exempt | None = None

    @property
    def violates(self) -> bool:
        return not self.why and self.exception is None


@dataclass(slots=True)
class RowVerdict:
    """A row with the changes behind it; interfaces: how many of them the row is about here."""

    row: Row
    interfaces: int = 0
    changes: list[Judged] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def worst(self) -> Tier:
        return max((j.finding.tier for j in self.changes), default=Tier.IDENTICAL)

    @property
    def standing(self) -> Standing:
        if not self.row.surface:
            return Standing.UNMEASURED
        if any(j.violates for j in self.changes):
            return Standing.VIOLATED
        if self.missing:
            return Standing.UNKNOWN
        if not self.interfaces:
            return Standing.ABSENT
        if any(j.exception for j in self.changes):
            return Standing.EXCEPTED
        return Standing.ALLOWED if self.worst >= Tier.BREAK else Standing.KEPT


@dataclass(frozen=True, slots=True)
class Step:
    """From which release to which, and as what kind of release the newer is offered."""

    old: Mapping[str, str]  # product -> version
    new: Mapping[str, str]
    binding: str


def judge(
    table: StabilityTable, policy: Policy, step: Step, verdicts: Mapping[str, Sequence[Verdict]]
) -> tuple[list[RowVerdict], dict[str, list[Verdict]]]:
    """(the table's rows judged, surface -> verdicts of interfaces that no row is about).

    verdicts: surface -> what the comparison of its records gave. The first row that matches a path has it:
    a table goes from the special to the general.
    """
    rows = [RowVerdict(row) for row in table.rows]
    left: dict[str, list[Verdict]] = {}
    for surface, found in verdicts.items():
        own = [r for r in rows if r.row.surface == surface]
        for verdict in found:
            if verdict.outcome in (Outcome.NOT_HERE, Outcome.BROKEN):
                for row in own:
                    row.missing.append(f"{surface} {verdict.case}: {verdict.reason}")
                continue
            home = _home(own, verdict.case)
            if home is None and not any(_home(own, f.path) for f in verdict.findings):
                left.setdefault(surface, []).append(verdict)
                continue
            if home:
                home.interfaces += 1
            for finding in verdict.findings:
                row_of = _home(own, finding.path) or home
                if row_of:
                    row_of.changes.append(_judged(table, policy, step, row_of.row, surface, finding))
    return rows, left


def _home(rows: Sequence[RowVerdict], path: str) -> RowVerdict | None:
    return next((r for r in rows if r.row.where.match(path)), None)


def _judged(table: StabilityTable, policy: Policy, step: Step, row: Row, surface: str, finding: Finding) -> Judged:
    allowed = policy.allows[row.level][step.binding]
    limit = min(Tier.RISK, allowed) if row.never else allowed
    if row.lifetime and (said := _lifetime(table, row, step, finding)):
        return Judged(finding, why=said)
    if finding.tier <= limit and not (row.lifetime and finding.path.endswith("/deprecated")):
        return Judged(finding, why=f"{row.level} allows {finding.tier.label} in a {step.binding} release")
    if row.obsolete and finding.change is Change.REMOVED and _may_remove(table, policy, row, step):
        return Judged(finding, why=f"Obsolete since {table.product} {row.obsolete}")
    for exception in table.exceptions:
        if exception.surface == surface and finding.change in exception.change and exception.where.match(finding.path):
            return Judged(finding, exception=exception)
    return Judged(finding)


def _may_remove(table: StabilityTable, policy: Policy, row: Row, step: Step) -> bool:
    great_enough = policy.bindings.index(step.binding) <= policy.bindings.index(policy.obsolete_from)
    return great_enough and version(step.old.get(table.product, "")) >= version(row.obsolete)


def _lifetime(table: StabilityTable, row: Row, step: Step, finding: Finding) -> str:
    """Why the age of a versioned interface allows its deprecation or removal; empty where it does not."""
    assert row.lifetime is not None
    found = row.lifetime.introduced.search(finding.path)
    deprecation = finding.path.endswith("/deprecated")
    if found is None or not (deprecation or finding.change is Change.REMOVED):
        return ""
    born, now = table.dates.get(_short(found[1])), table.dates.get(_short(step.new.get(table.product, "")))
    if born is None or now is None:
        return ""
    years = row.lifetime.deprecated_years if deprecation else row.lifetime.removed_years
    # Releases come on a schedule that moves by weeks: a month of grace, as upstream counts releases, not days.
    age = (now - born).days / 365.25
    return f"{age:.1f} years old, {years} promised" if age >= years - 1 / 12 else ""


def _short(text: str) -> str:
    """``10.0.13`` -> ``10.0``: dates are those of the first release of a series."""
    return ".".join(text.split(".")[:2])
