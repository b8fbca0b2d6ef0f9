"""Same input: one document given to two releases means the same to both, as an application that keeps its own expects."""

from __future__ import annotations

from dataclasses import dataclass

from virtcompat.checks import Case, Check, Steps, compare, refusal, unwritten
from virtcompat.model import Change, Direction, Finding, NotHere, Tier


@dataclass(frozen=True, slots=True)
class SameInput:
    name: str = "same-input"
    purpose: str = "A document that an old release accepts is accepted by the newer one, and both make the same of it"
    directions: frozenset[Direction] = frozenset((Direction.FORWARD, Direction.BACKWARD))

    def judge(self, case: Case, old: str, new: str) -> Steps:
        if unborn := case.unborn(old, new):
            return unborn
        before = yield case.define(old)
        if isinstance(before, NotHere):
            return case.not_here(before)
        after = yield case.define(new)
        if isinstance(after, NotHere):
            return case.not_here(after)
        # The question is symmetric; its findings are always told from the older release to the newer.
        if case.older(new, old):
            before, after = after, before
        if not before.accepted:
            if not after.accepted:
                return case.not_applicable("neither release accepts it")
            return case.verdict([Finding("(define)", Change.ACCEPTED, Tier.ADDITION, "refused", "accepted")])
        if not after.accepted:
            return case.verdict([refusal("define", after)])
        broken = list(unwritten(after, (case.best,))) or list(unwritten(before, (case.best,)))
        return case.verdict(broken or list(compare(case.surface, before.form(case.best), after.form(case.best))))


CHECK: Check = SameInput()
