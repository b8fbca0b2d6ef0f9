"""What a gate says of a candidate: its items, each with a fingerprint and a standing. Frozen records, no questions asked.

An item is one finding with every case that has it. Its fingerprint digests where it is, what changed and between which
values, but not the releases, so that a waiver and a baseline recognise it again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from virtcompat.model import CellKey, Column, Finding, Tier

#: What differs from run to run or from machine to machine though nothing changed: sandbox paths, addresses, process ids.
_VOLATILE = re.compile(r"/(?:tmp|run|work|home|root)/[^\s'\"]*|0x[0-9a-f]{6,}|\bpid \d+|\b[0-9a-f]{8}-[0-9a-f-]{27}\b")


def fingerprint(key: CellKey, finding: Finding) -> str:
    """16 hexadecimal digits that are this finding's: check, kind, driver, path, change and both values; no release."""
    values = [_VOLATILE.sub("…", value) for value in (finding.old, finding.new)]
    body = "\0".join((key.check, key.kind, key.driver, finding.path, finding.change.value, *values))
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Standing(StrEnum):
    """What an item means for the gate. Only ``regression`` fails it."""

    REGRESSION = "regression"
    WAIVED = "waived"  # a waiver accepts it
    PENDING = "pending"  # the fixture is new: no release has passed it yet
    BEFORE = "before"  # the baseline has it on its own, the candidate did not bring it
    KNOWN = "known"  # an entry of the change ledger explains it


@dataclass(frozen=True, slots=True)
class Witness:
    """The smallest document found that is fine on the old release and broken on the new one in the same way.

    file: where it is stored. questions: how many documents were tried. minimal: whether nothing more could be
    taken away (else the time ended first). command: shows it, in one line.
    """

    text: str
    file: str
    questions: int
    minimal: bool
    command: str


@dataclass(frozen=True, slots=True)
class Waiver:
    """An accepted finding: narrow, with a reason, an owner and an end.

    where: patterns by name: ``driver``, ``kind``, ``path``, and the versions ``old`` and ``new`` as release names or
    ``PRODUCT<=VERSION`` conditions. file and line: where it stands.
    """

    fingerprint: str
    check: str
    where: Mapping[str, str]
    reason: str
    owner: str
    issue: str
    expires: str
    file: str = ""
    line: int = 1


@dataclass(frozen=True, slots=True)
class Item:
    """One finding of the candidate, with every case that has it. command: the minimal reproduction."""

    fingerprint: str
    standing: Standing
    key: CellKey
    finding: Finding
    cases: tuple[str, ...]
    command: str
    why: str = ""  # what puts it in this standing: the ledger entry, the waiver's reason
    waiver: Waiver | None = None
    witness: Witness | None = None


@dataclass(frozen=True, slots=True)
class Unreached:
    """What was to be asked and was not: a whole cell, or ``cases`` of it. late: only for want of time."""

    key: CellKey
    cases: int
    why: str
    late: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """The gate's whole answer. codes: every exit code that applies; ``exit_code`` is the one that is returned.

    problems: waivers that are expired or match nothing, a line each. asked, known: questions put now, and answered
    from earlier runs. judged: (case, cell) pairs judged now; remembered: those whose verdict stood already.
    """

    candidate: Column
    baselines: Sequence[Column]
    gate: Tier
    items: Sequence[Item] = ()
    unreached: Sequence[Unreached] = ()
    broken: Sequence[Unreached] = ()
    problems: Sequence[str] = ()
    compatible: int = 0
    incompatible: int = 0
    asked: int = 0
    known: int = 0
    judged: int = 0
    remembered: int = 0
    seconds: float = 0.0
    notes: Sequence[str] = ()
    waivers: Sequence[Waiver] = field(default=())
    forgiven: bool = (
        False  # what this machine cannot ask is listed, and does not count; what was not reached in time does
    )

    def of(self, *standings: Standing) -> list[Item]:
        return [item for item in self.items if item.standing in standings]

    @property
    def codes(self) -> list[int]:
        """Every exit code that applies, in the order of precedence."""
        found = []
        if self.problems:
            found.append(2)
        if self.broken:
            found.append(4)
        if self.of(Standing.REGRESSION):
            found.append(1)
        owed = any(u.late or not self.forgiven for u in self.unreached)
        if owed or not self.compatible + self.incompatible:
            found.append(3)
        return found or [0]

    @property
    def exit_code(self) -> int:
        return self.codes[0]

    @property
    def word(self) -> str:
        """``pass``, ``fail`` or ``inconclusive``; ``error`` where waivers or the tool are at fault."""
        return {0: "pass", 1: "fail", 3: "inconclusive"}.get(self.exit_code, "error")
