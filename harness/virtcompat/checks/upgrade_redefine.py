"""Upgrade by redefining: an application hands the document that the old release wrote to the newer one."""

from __future__ import annotations

from dataclasses import dataclass

from virtcompat.checks import Case, Check, Steps, compare, refusal, unwritten
from virtcompat.model import Direction, NotHere


@dataclass(frozen=True, slots=True)
class UpgradeRedefine:
    name: str = "upgrade-redefine"
    purpose: str = "What an old release wrote is accepted when it is handed to the newer one, and means the same"
    directions: frozenset[Direction] = frozenset((Direction.SELF, Direction.FORWARD))

    def judge(self, case: Case, old: str, new: str) -> Steps:
        if unborn := case.unborn(old, new):
            return unborn
        written = yield case.define(old)
        if isinstance(written, NotHere):
            return case.not_here(written)
        before = written.form(case.best)
        if not before:
            return case.not_applicable("the old release does not accept it")
        read = yield case.define(new, before)
        if isinstance(read, NotHere):
            return case.not_here(read)
        if not read.accepted:
            return case.verdict([refusal("define", read)])
        broken = list(unwritten(read, (case.best,)))
        return case.verdict(broken or list(compare(case.surface, before, read.form(case.best))))


CHECK: Check = UpgradeRedefine()
