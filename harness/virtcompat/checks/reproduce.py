"""Reproduce: the release still gives the answers that were recorded of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from virtcompat.checks import DEATHS, Case, Check, Steps
from virtcompat.model import Answer, Change, Direction, Finding, NotHere, Tier


@dataclass(frozen=True, slots=True)
class Reproduce:
    name: str = "reproduce"
    purpose: str = "Asked again, a release answers its golden record byte for byte"
    directions: frozenset[Direction] = frozenset((Direction.SELF,))

    def judge(self, case: Case, old: str, new: str) -> Steps:
        recorded = yield case.define(new, source="golden")
        if isinstance(recorded, NotHere):
            return case.not_applicable(recorded.reason)
        given = yield case.define(new, source="lab")
        if isinstance(given, NotHere):
            return case.not_here(given)
        if "argv" in case.setup.forms:
            converted = yield case.native(new, source="lab")
            if isinstance(converted, Answer):
                given = converted.merged_into(given)
        return case.verdict(list(_differences(recorded, given)))


def _differences(recorded: Answer, given: Answer) -> Iterator[Finding]:
    if recorded.status != given.status:
        yield Finding("(status)", Change.CHANGED, Tier.BREAK, recorded.status, given.status)
    if recorded.message != given.message and given.status not in DEATHS:
        yield Finding("(message)", Change.CHANGED, Tier.RISK, recorded.message, given.message)
    for form in sorted(recorded.forms.keys() | given.forms.keys()):
        was, now = recorded.forms.get(form), given.forms.get(form)
        if was is None or now is None or was.text != now.text:
            before, after = (f.text or f.error if f else "" for f in (was, now))
            # A native conversion depends on devices of the host; a document does not.
            tier = Tier.RISK if form == "argv" else Tier.BREAK
            yield Finding(f"({form})", Change.CHANGED, tier, before, after)


CHECK: Check = Reproduce()
