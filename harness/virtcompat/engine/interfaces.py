"""The history of interfaces: which release first has one, where it changes, where it goes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from virtcompat import surfaces
from virtcompat.engine import columns, run, static
from virtcompat.engine.columns import Columns
from virtcompat.engine.history import NOT_HERE, History, Step
from virtcompat.errors import UsageError
from virtcompat.model import NO_DRIVER, STATIC, CellKey, Change, Column, Finding, NotHere, Tier, Verdict
from virtcompat.policy.records import merged
from virtcompat.surfaces import RecordedSurface

Progress = Callable[[int, int], None]
#: A record of more facts than these is told by their number.
SHOWN = 6


@dataclass(frozen=True, slots=True)
class Held:
    """What a release's record has: interface -> its facts. missing: why not everything is known; empty where it is."""

    column: Column
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    missing: str = ""


def of_interfaces(
    pattern: str, names: Sequence[str], only: tuple[str, ...] = (), progress: Progress = lambda done, of: None
) -> list[History]:
    """The histories of the interfaces of these surfaces whose name, or its last step, matches.

    UsageError where a surface is unknown, or nothing matches in any release.
    """
    run.validated(run.Selection((), tuple(names), (), only))
    recorded = surfaces.every_recorded()
    kinds = [name for name in names if name not in recorded]
    if kinds:
        raise UsageError(f"{kinds[0]} is a kind of document", f"leave --surface out, or use: {', '.join(recorded)}")
    found = columns.find(only)
    records = static.Records(found)
    histories: list[History] = []
    for at, name in enumerate(names, 1):
        histories += _of_surface(recorded[name], pattern, found, records)
        progress(at, len(names))
    if not histories:
        wider = f"*{pattern.strip('*')}*"
        remedy = f"see golden/*/{names[0]}/" + (f", or try '{wider}'" if wider != pattern else "")
        raise UsageError(f"no interface of {', '.join(names)} matches '{pattern}'", remedy)
    return histories


def _of_surface(surface: RecordedSurface, pattern: str, found: Columns, records: static.Records) -> Iterator[History]:
    held = [_held(column, surface, pattern, records) for column in found.columns]
    compared = Compared(surface.name, found, records)
    for name in sorted({name for one in held for name in one.facts}):
        yield History(
            surface.name, name, NO_DRIVER, "", surface.summary, tuple(_steps(name, held, compared)), surface.product
        )


@dataclass(slots=True)
class Compared:
    """The verdicts between two releases' records, each pair compared once."""

    surface: str
    found: Columns
    records: static.Records
    pairs: dict[tuple[str, str], dict[str, Verdict]] = field(default_factory=dict)

    def findings(self, old: str, new: str, name: str) -> tuple[Finding, ...]:
        if (old, new) not in self.pairs:
            key = CellKey(STATIC, self.surface, NO_DRIVER, old, new)
            crossed = run.crossed(key, self.found)
            self.pairs[old, new] = {v.case: run.explained(v, crossed) for v in static.judge(key, self.records)}
        verdict = self.pairs[old, new].get(name)
        return verdict.findings if verdict else ()


def _held(column: Column, surface: RecordedSurface, pattern: str, records: static.Records) -> Held:
    record = records.of(column.name, surface)
    if isinstance(record, NotHere):
        return Held(column, missing=f"{record.reason}; {record.remedy}")
    gone = [part for part in record.values() if isinstance(part, NotHere)]
    missing = f"{gone[0].reason}; {gone[0].remedy}" if gone else ""
    if gone and surface.expand:
        return Held(column, missing=missing)  # half of such a record is no record
    whole = merged(record)
    facts: dict[str, dict[str, str]] = {}
    matching: dict[str, bool] = {}
    for path, value in (surface.expand(whole) if surface.expand else whole).items():
        match = re.match(surface.interface, path)
        name = match[0] if match and match[0] else path
        if name not in matching:
            matching[name] = any(fnmatchcase(word, pattern) for word in (name, name.rpartition("/")[2]))
        if matching[name]:
            facts.setdefault(name, {})[path] = value
    return Held(column, facts, missing)


def _steps(name: str, held: Sequence[Held], compared: Compared) -> Iterator[Step]:
    before: Held | None = None
    for one in held:
        there = name in one.facts
        if not there and one.missing:
            yield Step(one.column, NOT_HERE, one.missing)
            continue
        findings: tuple[Finding, ...] = ()
        if before is not None:
            was = name in before.facts
            findings = compared.findings(before.column.name, one.column.name, name)
            if not findings and there != was:
                # The surface's rules may find nothing in it: that it came or went is its history all the same.
                findings = (Finding(name, Change.ADDED if there else Change.REMOVED, Tier.IDENTICAL),)
        words = _words(name, one.facts[name]) if there else ""
        earlier = before.column.name if before else ""
        yield Step(one.column, "there" if there else "absent", words, "", earlier, findings, one.missing)
        before = one


def _words(name: str, facts: Mapping[str, str]) -> str:
    """The facts of an interface in a line: ``LIBVIRT_8.4.0 = function``."""
    if len(facts) > SHOWN:
        return f"{len(facts)} facts"
    return "; ".join(f"{path[len(name) :].lstrip('/')} = {value}".removeprefix(" = ") for path, value in facts.items())
