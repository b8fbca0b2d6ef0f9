"""Upgrade on disk: the file an old release left in its configuration directory, found when the newer driver starts."""

from __future__ import annotations

from dataclasses import dataclass

from virtcompat.checks import Case, Check, Steps, compare, refusal
from virtcompat.model import Direction, NotHere, Tier


@dataclass(frozen=True, slots=True)
class UpgradeDisk:
    name: str = "upgrade-disk"
    purpose: str = (
        "What an old release left on disk is there after the newer one has started on it, and means the same "
        "(the diagonal is the control: each release on its own files)"
    )
    directions: frozenset[Direction] = frozenset((Direction.SELF, Direction.FORWARD))

    def judge(self, case: Case, old: str, new: str) -> Steps:
        if unborn := case.unborn(old, new):
            return unborn
        if not case.setup.disk:
            return case.not_applicable(f"the {case.driver} driver keeps no file of a {case.fixture.kind}")
        written = yield case.define(old)
        if isinstance(written, NotHere):
            return case.not_here(written)
        if not written.accepted or not written.form("disk"):
            return case.not_applicable("the old release does not accept it, so it left no file")
        # The control: a release on its own file. What it cannot find either is not the upgrade's doing.
        own = yield case.load(old, written)
        if old == new or isinstance(own, NotHere):
            before = written.form(case.best)
        elif own.accepted:
            before = own.form(case.best)
        else:
            return case.not_applicable("the old release does not find its own file again (see the diagonal)")
        found = yield case.load(new, written)
        if isinstance(found, NotHere):
            return case.not_here(found)
        if not found.accepted:
            return case.verdict([refusal("load", found, Tier.GUEST_ABI_BREAK)])
        return case.verdict(list(compare(case.surface, before, found.form(case.best))))


CHECK: Check = UpgradeDisk()
