"""Round trip: what a release writes of a document it can read again, and it says the same the second time."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

from virtcompat.checks import DEATHS, Case, Check, Steps, compare, compare_facts, refusal, unwritten
from virtcompat.documents import NotWellFormed
from virtcompat.model import Answer, Change, Direction, Finding, NotHere, Question, Tier, Verdict

Asking = Generator[Question, Answer | NotHere, list[Finding]]


@dataclass(frozen=True, slots=True)
class RoundTrip:
    name: str = "round-trip"
    purpose: str = (
        "Parse, write, parse, write: both writings equal, readable again (after a restart from disk too), valid under "
        "the release's own schema, and nothing of the input silently dropped"
    )
    directions: frozenset[Direction] = frozenset((Direction.SELF,))

    def judge(self, case: Case, old: str, new: str) -> Steps:
        first = yield case.define(new, source="lab")
        if isinstance(first, NotHere):
            return case.not_here(first)
        if not case.knows(new):
            return case.not_applicable("the behaviour does not exist in this release")
        if case.driver in case.fixture.refused:
            return _expected_refusal(case, first)
        if first.status == "refused" and case.fixture.foreign:
            return case.not_applicable("this release does not accept it, and nobody said that it would")
        if not first.accepted:
            return case.verdict([refusal("define", first)])
        # What a driver keeps on disk is not always XML: a .vmx file is not.
        disk = ("disk",) if case.setup.disk.endswith(".xml") else ()
        findings = list(unwritten(first, ("secure", "inactive", "migratable", *disk)))
        if not findings:
            findings += yield from _again(case, new, first)
            findings += yield from _restart(case, new, first)
            valid = yield case.validate(new, first.form("inactive"))
            if isinstance(valid, NotHere):
                return case.not_here(valid)
            if not valid.accepted:
                findings.append(Finding("(schema)", Change.INVALID, Tier.RISK, "valid", valid.message))
            findings += yield from _native(case, new)
            findings += _dropped(case, first)
        return case.verdict(findings)


def _expected_refusal(case: Case, first: Answer) -> Verdict:
    if first.status == "refused":
        return case.verdict([])
    if first.accepted:
        return case.verdict([Finding("(define)", Change.ACCEPTED, Tier.ADDITION, "refused", "accepted")])
    return case.verdict([refusal("define", first)])


def _again(case: Case, release: str, first: Answer) -> Asking:
    second = yield case.define(release, first.form(case.best))
    if isinstance(second, NotHere):
        return []
    if not second.accepted:
        return [refusal("define again", second)]
    found = compare(case.surface, first.form(case.best), second.form(case.best))
    return [replace(f, change=Change.UNSTABLE, tier=max(f.tier, Tier.RISK)) for f in found]


def _restart(case: Case, release: str, first: Answer) -> Asking:
    if "disk" not in first.forms:
        return []
    loaded = yield case.load(release, first)
    if isinstance(loaded, NotHere):
        return []
    if not loaded.accepted:
        return [refusal("load", loaded, Tier.GUEST_ABI_BREAK)]
    return list(compare(case.surface, first.form(case.best), loaded.form(case.best)))


def _native(case: Case, release: str) -> Asking:
    """A conversion may fail for want of a device here, but it must not take the daemon down."""
    if "argv" not in case.setup.forms:
        return []
    converted = yield case.native(release, source="lab")
    if isinstance(converted, NotHere) or converted.status not in DEATHS:
        return []
    return [refusal("native", converted)]


def _dropped(case: Case, first: Answer) -> list[Finding]:
    """What the input said and the written form does not. A value written differently is not dropped."""
    try:
        asked = case.surface.facts(case.fixture.text)
        kept = case.surface.facts(first.form(case.best))
    except NotWellFormed:
        return []
    gone = (f for f in compare_facts(case.surface, asked, kept) if f.change is Change.REMOVED)
    declared = case.fixture.drops
    return [
        replace(f, change=Change.DROPPED, tier=Tier.RISK)
        for f in gone
        if not any(f.path.startswith(prefix) for prefix in declared)
    ]


CHECK: Check = RoundTrip()
