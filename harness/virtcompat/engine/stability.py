"""The stability tables over two releases: every row's verdict, and what no table classifies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from virtcompat import surfaces
from virtcompat.engine import columns, static
from virtcompat.engine.run import crossed
from virtcompat.errors import UsageError
from virtcompat.model import NO_DRIVER, STATIC, CellKey, Verdict
from virtcompat.policy import changes
from virtcompat.policy import stability as judging
from virtcompat.policy.stability import RowVerdict, Standing, Step
from virtcompat.store import releases
from virtcompat.store import stability as store
from virtcompat.store.stability import StabilityTable


@dataclass(slots=True)
class Report:
    """Two releases against the promises. unclassified: surface -> verdicts of interfaces in no table."""

    old: str
    new: str
    binding: str
    tables: list[tuple[StabilityTable, list[RowVerdict]]] = field(default_factory=list)
    unclassified: dict[str, list[Verdict]] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """1 where a promise is violated, 3 where one could not be read or none was judged, 0 else."""
        standings = {row.standing for _, rows in self.tables for row in rows}
        if Standing.VIOLATED in standings:
            return 1
        nothing = not standings - {Standing.ABSENT, Standing.UNMEASURED}
        return 3 if nothing or Standing.UNKNOWN in standings else 0


def judge(old: str, new: str, binding: str, names: tuple[str, ...] = (), only: tuple[str, ...] = ()) -> Report:
    """Compare the records of two releases and hold them against the tables. UsageError for an unknown name."""
    policy, tables = store.policy(), store.choose(names)
    if binding not in policy.bindings:
        raise UsageError(f"no release binding '{binding}'", f"use one of: {', '.join(policy.bindings)}")
    for name in (old, new):
        releases.find(name)
    found = columns.find((old, new))
    if found.names.index(old) > found.names.index(new):
        raise UsageError(f"{old} is newer than {new}", "name the older release first")
    verdicts = compared(found, old, new, only)
    step = Step(found.products[old], found.products[new], binding)
    report = Report(old, new, binding)
    homeless = {surface: {v.case: v for v in of if not v.reason} for surface, of in verdicts.items()}
    for table in tables.values():
        rows, without = judging.judge(table, policy, step, verdicts)
        asked = [r for r in rows if not only or r.row.surface in only]
        report.tables += [(table, asked)] if asked else []
        for surface in verdicts:
            names_left = {v.case for v in without.get(surface, ())}
            homeless[surface] = {case: v for case, v in homeless[surface].items() if case in names_left}
    report.unclassified = {s: sorted(of.values(), key=lambda v: -v.worst) for s, of in homeless.items() if of}
    return report


def steps() -> list[Report]:
    """Each release that comes with the tool against the next one, as a minor release: what is published."""
    names = [r.name for r in releases.shipped()]
    return [judge(old, new, "minor") for old, new in pairwise(names)]


def either_way(found: columns.Columns, old: str, new: str, only: tuple[str, ...]) -> None:
    """UsageError where the way goes back and a surface has nothing to say of that."""
    if found.names.index(old) <= found.names.index(new):
        return
    for name, surface in surfaces.every_recorded().items():
        if name in only and not surface.backward:
            raise UsageError(f"going back to an older release says nothing of {name}", "name the older release first")


def compared(found: columns.Columns, old: str, new: str, only: tuple[str, ...]) -> Mapping[str, list[Verdict]]:
    """surface -> its verdicts between two releases, with the change ledger's word on each finding."""
    records = static.Records(found)
    every = surfaces.every_recorded()
    for name in only:
        if name not in every:
            raise UsageError(f"no recorded surface '{name}'", f"use one of: {', '.join(every)}")
    verdicts: dict[str, list[Verdict]] = {}
    for name in every:
        if not only or name in only:
            key = CellKey(STATIC, name, NO_DRIVER, old, new)
            entries = crossed(key, found)
            verdicts[name] = [_noted(v, entries) for v in static.judge(key, records)]
    return verdicts


def _noted(verdict: Verdict, entries: changes.Crossed) -> Verdict:
    """The verdict with the ledger's word on each finding, its tier included: what the difference is for a user."""
    return changes.explain(verdict, entries) if verdict.findings else verdict
