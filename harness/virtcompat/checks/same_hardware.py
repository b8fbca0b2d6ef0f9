"""The same hardware: what the newer release builds of a domain that the old one wrote is the machine that the old one built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from virtcompat.checks import Case, Check, Steps
from virtcompat.commandline import hardware
from virtcompat.facts import differences
from virtcompat.model import Answer, Change, Direction, Finding, NotHere, Tier

#: How a migration stream calls a piece of memory, where a device is and what it is; a device's other properties are often
#: a default that one release writes out.
IDENTITY = re.compile(
    r"^/ram\[[^\]]*\]$|^/device\[[^\]]*\](/(driver|addr|bus|port|unit|scsi-id|lun|channel|nr|chassis|index|mac))?$"
)


@dataclass(frozen=True, slots=True)
class SameHardware:
    name: str = "same-hardware"
    purpose: str = (
        "The QEMU command line that the newer release makes of what the old one wrote asks for the same hardware"
    )
    directions: frozenset[Direction] = frozenset((Direction.FORWARD,))

    def judge(self, case: Case, old: str, new: str) -> Steps:
        if "argv" not in case.setup.forms:
            return case.not_applicable("the driver runs no QEMU")
        if unborn := case.unborn(old, new):
            return unborn
        written = yield case.define(old)
        if isinstance(written, NotHere):
            return case.not_here(written)
        before = written.form(case.best)
        built = (yield case.native(old)) if before else written
        if isinstance(built, NotHere):
            return case.not_here(built)
        if not before or not built.form("argv"):
            return case.not_applicable("the old release does not build it")
        again = yield case.native(new, before)
        if isinstance(again, NotHere):
            return case.not_here(again)
        if not again.form("argv"):
            # Whether the newer release takes the document at all is for upgrade-redefine to say.
            return case.not_applicable(f"the newer release does not build it: {_words(again)}")
        return case.verdict(list(_findings(built.form("argv"), again.form("argv"))))


def _words(answer: Answer) -> str:
    form = answer.forms.get("argv")
    return (form.error if form else "") or answer.message or answer.status


def _findings(old: str, new: str) -> Iterator[Finding]:
    for path, change, was, now in differences(hardware(old), hardware(new)):
        yield Finding(path, change, _tier(path, change), was, now)


def _tier(path: str, change: Change) -> Tier:
    if change is Change.ADDED and not re.search(r"\]$|/driver$", path):
        return Tier.ADDITION  # a default that the newer release writes out
    if IDENTITY.match(path) or path in ("/memory", "/cpu/model", "/machine/type") or path.startswith("/smp/"):
        return Tier.GUEST_ABI_BREAK
    return Tier.RISK if change is Change.CHANGED else Tier.ADDITION


CHECK: Check = SameHardware()
