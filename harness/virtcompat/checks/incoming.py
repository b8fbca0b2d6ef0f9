"""Incoming: the portable form that a release sends is taken by the next one as what it is, and by itself as what it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from virtcompat.checks import Case, Check, Steps, compare, received, refusal, rejected, unwritten
from virtcompat.model import Answer, Change, Direction, Finding, NotHere, Tier

#: What is in the portable form alone was never part of the definition: it says where the guest ran.
LEAST = {Change.ADDED: Tier.BREAK}


@dataclass(frozen=True, slots=True)
class Incoming:
    name: str = "incoming"
    purpose: str = (
        "The migratable form that an old release sends is accepted by the newer one and means the same (the diagonal: to the "
        "release itself it means what that keeps)"
    )
    directions: frozenset[Direction] = frozenset((Direction.SELF, Direction.FORWARD))

    def judge(self, case: Case, old: str, new: str) -> Steps:
        if "migratable" not in case.setup.forms:
            return case.not_applicable(f"the {case.driver} driver sends no {case.fixture.kind}")
        if unborn := case.unborn(old, new):
            return unborn
        written = yield case.define(old)
        if isinstance(written, NotHere):
            return case.not_here(written)
        portable = written.form(case.portable)
        if not portable:
            return case.not_applicable("the old release does not accept it")
        read = yield case.define(new, portable)
        if isinstance(read, NotHere):
            return case.not_here(read)
        if old == new:
            return case.verdict(list(_back_home(case, written, read)))
        if not read.accepted:
            return (yield from rejected(case, old, portable, read))
        return case.verdict((yield from received(case, old, portable, read)))


def _back_home(case: Case, written: Answer, read: Answer) -> Iterator[Finding]:
    """What a release's own portable form means otherwise than what it keeps."""
    if not read.accepted:
        yield refusal("define", read)
        return
    broken = list(unwritten(read, (case.best,)))
    for found in broken or compare(case.surface, written.form(case.best), read.form(case.best)):
        yield replace(found, tier=max(found.tier, LEAST.get(found.change, found.tier)))


CHECK: Check = Incoming()
