"""Outputs: one way to tell a gate's judgement each. Pure: a judgement in, a text out. The folder is the list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from virtcompat import registry
from virtcompat.facts import masked
from virtcompat.judgement import Item, Judgement, Standing, Unreached
from virtcompat.model import NO_DRIVER, CellKey, Change, Column, Finding


class Output(Protocol):
    """One format. ``summary`` says for whom it is."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    def render(self, judgement: Judgement) -> str: ...


def every() -> dict[str, Output]:
    return registry.members(__name__, "OUTPUT")


#: Characters that a terminal obeys, that XML 1.0 cannot write, that no UTF-8 has, or that turn the direction of a line.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]",
)


def visible(text: str) -> str:
    r"""The text with every character that cannot be shown written as Python would: ``\x1b``, ``\udc80``."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def line(text: str, width: int = 100) -> str:
    """The text in one line of at most ``width`` characters."""
    words = " ".join(visible(text).split())
    return words if len(words) <= width else words[: width - 1] + "…"


def counted(number: int, noun: str) -> str:
    """``1 regression``, ``2 regressions``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def some(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many there are besides."""
    rest = len(names) - most
    return visible(", ".join(names[:most])) + (f" and {rest} more" if rest > 0 else "")


def was_and_now(finding: Finding, width: int = 100) -> tuple[str, str]:
    """What was there and what is there now, a line each; empty where there was, or is, nothing."""
    now = finding.new
    if finding.change in (Change.REMOVED, Change.DROPPED):
        now = ""
    was = "" if finding.change in (Change.ADDED, Change.ACCEPTED) else finding.old
    return line(was, width), line(now, width)


def sentence(finding: Finding, width: int = 200) -> str:
    """One finding in a line: where, what, from, to."""
    was, now = was_and_now(finding, width)
    values = " -> ".join(v for v in (was, now) if v) if finding.change is not Change.CHANGED else f"{was} -> {now}"
    if finding.path.startswith("("):
        values = now
    return line(f"{finding.path} {finding.change}" + (f": {values}" if values else ""), width)


def file_of(key: CellKey, case: str) -> str:
    """The project's file that a case is: a fixture, or the old release's record of a surface."""
    return f"golden/{key.old}/{key.kind}" if key.driver == NO_DRIVER else f"fixtures/{key.kind}/{case}.xml"


def versions(column: Column) -> str:
    """``debian-13 (libvirt 11.3.0, QEMU 10.0)``."""
    parts = [f"libvirt {column.libvirt}"] if column.libvirt else []
    parts += [f"QEMU {column.qemu}"] if column.qemu else []
    return visible(f"{column.name} ({', '.join(parts)})" if parts else column.name)


def title(judgement: Judgement) -> str:
    """Who was judged against whom."""
    against = ", ".join(column.name for column in judgement.baselines) or "nothing"
    return visible(f"{judgement.candidate.name} against {against}")


def reasons(judgement: Judgement) -> list[str]:
    """Why the judgement is what it is: a sentence for each exit code that applies, none for 0."""
    found = []
    if judgement.problems:
        found.append(counted(len(judgement.problems), "problem") + " with waivers")
    if judgement.broken:
        found.append(counted(len(judgement.broken), "cell") + " broken")
    regressions = judgement.of(Standing.REGRESSION)
    if regressions:
        found.append(counted(len(regressions), "regression"))
    if judgement.unreached:
        found.append(f"{counted(len(judgement.unreached), 'cell')} not reached")
    if not judgement.compatible + judgement.incompatible:
        found.append("nothing was judged")
    return found


def standings(judgement: Judgement) -> str:
    """How many items stand how: each is named, whether or not there is one."""
    return ", ".join(f"{standing} {len(judgement.of(standing))}" for standing in Standing)


def reason(item: Item) -> str:
    """What puts an item in its standing: its waiver's terms, the ledger's entry."""
    if item.waiver is None:
        return visible(f"ledger {item.why}" if item.why and item.standing is Standing.KNOWN else item.why)
    waiver = item.waiver
    terms = ", ".join(part for part in (f"until {waiver.expires}", waiver.owner, waiver.issue) if part)
    return visible(f"{terms}: {waiver.reason}")


def ordered(items: Iterable[Item]) -> list[Item]:
    """The worst first; the same order however they came."""
    ranks = list(Standing)

    def rank(item: Item) -> tuple[object, ...]:
        finding, key = item.finding, item.key
        weight = (ranks.index(item.standing), -finding.tier, -len(item.cases))
        return (*weight, key.kind, finding.path, finding.change.value, str(key), item.fingerprint, item.cases)

    return sorted(items, key=rank)


def cells(unreached: Iterable[Unreached]) -> list[Unreached]:
    """Cells that gave no verdict, those with the most cases first."""
    return sorted(unreached, key=lambda u: (-u.cases, str(u.key), u.why))


@dataclass(frozen=True, slots=True)
class Cause:
    """Items that look alike: the same kind of document, place and difference, in whichever check, driver and pair.

    items: that which tells most first: with a witness, with the most cases.
    """

    items: tuple[Item, ...]

    @property
    def lead(self) -> Item:
        return self.items[0]

    @property
    def cases(self) -> list[str]:
        return list(dict.fromkeys(case for item in self.items for case in item.cases))

    @property
    def alike(self) -> str:
        """How many further items there are in it: `` and 2 like it``."""
        return f" and {len(self.items) - 1} like it" if len(self.items) > 1 else ""

    @property
    def scope(self) -> str:
        """``upgrade-disk, upgrade-redefine · domain on qemu · debian-12, debian-13 -> libvirt-git``."""

        def each(name: str) -> str:
            return ", ".join(sorted({str(getattr(item.key, name)) for item in self.items}))

        drivers = each("driver")
        subject = each("kind") + ("" if drivers == NO_DRIVER else f" on {drivers}")
        return visible(f"{each('check')} · {subject} · {each('old')} -> {each('new')}")


def causes(items: Iterable[Item]) -> list[Cause]:
    """Items grouped by cause, the worst and most frequent first."""
    groups: dict[tuple[object, ...], list[Item]] = {}
    for item in ordered(items):
        finding = item.finding
        terms = reason(item) if item.waiver else ""  # two waivers are never told as one
        key = (item.standing, terms, finding.tier, item.key.kind, masked(finding.path), finding.change, words(finding))
        groups.setdefault(key, []).append(item)
    found = [Cause(tuple(sorted(group, key=_telling))) for group in groups.values()]
    return sorted(found, key=lambda c: (-c.lead.finding.tier, -len(c.cases), c.lead.finding.path, c.lead.fingerprint))


def _telling(item: Item) -> tuple[bool, int, str, str]:
    return item.witness is None, -len(item.cases), str(item.key), item.fingerprint


def words(finding: Finding) -> str:
    """For a refusal, its message without names and numbers; elsewhere the place says enough."""
    if not finding.path.startswith("("):
        return ""
    plain = re.sub(r"'[^']*'|\"[^\"]*\"|\S*/\S*|\d+", " ", finding.new)
    return " ".join(plain.split())[:80]
