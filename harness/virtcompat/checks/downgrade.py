"""Downgrade: the portable form that a newer release writes is understood by an older one, as a half-upgraded cluster needs."""

from __future__ import annotations

from dataclasses import dataclass

from virtcompat.checks import Case, Check, Steps, received, rejected
from virtcompat.model import Direction, NotHere


@dataclass(frozen=True, slots=True)
class Downgrade:
    name: str = "downgrade"
    purpose: str = (
        "The migratable form that a newer release writes of a document which the older one also accepts, "
        "is accepted by the older one and means the same"
    )
    directions: frozenset[Direction] = frozenset((Direction.BACKWARD,))

    def judge(self, case: Case, old: str, new: str) -> Steps:
        if unborn := case.unborn(old, new):
            return unborn
        at_home = yield case.define(new)
        if isinstance(at_home, NotHere):
            return case.not_here(at_home)
        if not at_home.accepted:
            return case.not_applicable("the older release does not accept the document in the first place")
        written = yield case.define(old)
        if isinstance(written, NotHere):
            return case.not_here(written)
        portable = written.form(case.portable)
        if not portable:
            return case.not_applicable("the newer release does not accept it")
        read = yield case.define(new, portable)
        if isinstance(read, NotHere):
            return case.not_here(read)
        if not read.accepted:
            return (yield from rejected(case, old, portable, read))
        return case.verdict((yield from received(case, old, portable, read)))


CHECK: Check = Downgrade()
