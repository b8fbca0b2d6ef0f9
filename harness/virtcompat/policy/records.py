"""Two records of one surface compared: a verdict for every interface in either, with its findings."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from virtcompat.facts import Facts, differences
from virtcompat.model import Finding, NotHere, Outcome, Tier, Verdict, judged, unasked
from virtcompat.surfaces import Part, Record, RecordedSurface

UNKNOWN = NotHere("not in this record", "record the release again: virt-compat record RELEASE")


def compare(surface: RecordedSurface, old: Record, new: Record, *, back: bool = False) -> list[Verdict]:
    """One verdict an interface, in the order of their names; ``back``: the way goes to the older release.

    A part that either side could not be read is one verdict ``not-here``, called by the part's name in
    parentheses: what is not known is never equal.
    """
    verdicts, missing = [], set()
    for part in surface.parts:
        for side in (old, new):
            found: Part = side.get(part, UNKNOWN)
            if isinstance(found, NotHere) and part not in missing:
                missing.add(part)
                verdicts.append(unasked(f"({part})", found))
    if missing and surface.expand:
        return verdicts  # what one part leaves out another says: half of such a record is no record
    shown = [p for p in surface.parts if p not in missing]
    before, after = (_facts_of(surface, side, tuple(shown)) for side in (old, new))
    by_interface: dict[str, list[Finding]] = {}
    sides = [{_interface(surface.interface, path) for path in facts} for facts in (before, after)]
    for name in sides[0] | sides[1]:
        by_interface.setdefault(name, [])
    for finding in _findings(surface, before, after, back=back):
        by_interface.setdefault(_interface(surface.interface, finding.path), []).append(finding)
    for name in sorted(by_interface):
        alone = (name in sides[0]) != (name in sides[1])
        if alone and not by_interface[name]:
            verdicts.append(Verdict(name, Outcome.NOT_APPLICABLE, reason="only one of the releases has it"))
        else:
            verdicts.append(judged(name, by_interface[name]))
    return verdicts


def _findings(surface: RecordedSurface, before: Facts, after: Facts, *, back: bool) -> Iterator[Finding]:
    for path, change, was, now in differences(before, after):
        tier = surface.tier(path, change, back=back)
        if tier > Tier.IDENTICAL:
            yield Finding(path, change, tier, was, now, surface.product)
    if surface.special:
        yield from surface.special(before, after, back)


@lru_cache(maxsize=1 << 17)
def _interface(pattern: str, path: str) -> str:
    found = re.match(pattern, path)
    return found[0] if found and found[0] else path


#: The facts of the records compared last: (surface, record, parts) -> facts. A release takes part in several pairs.
_LAST: OrderedDict[tuple[str, int, tuple[str, ...]], tuple[Record, Facts]] = OrderedDict()
KEPT = 48


def _facts_of(surface: RecordedSurface, record: Record, shown: tuple[str, ...]) -> Facts:
    """All facts of these parts, taken once for one record. Nobody changes the map."""
    key = surface.name, id(record), shown
    kept = _LAST.get(key)
    if kept is None or kept[0] is not record:
        kept = record, _facts(surface, [record[part] for part in shown])
        _LAST[key] = kept
        while len(_LAST) > KEPT:
            _LAST.popitem(last=False)
    return kept[1]


def _facts(surface: RecordedSurface, parts: Iterable[Part]) -> Facts:
    """All facts of the parts in one map that knows what lies below what."""
    found = Facts()
    ignored = re.compile("|".join(surface.ignored)) if surface.ignored else None
    every: Mapping[str, str] = {p: v for part in parts if not isinstance(part, NotHere) for p, v in part.items()}
    for path, value in (surface.expand(every) if surface.expand else every).items():
        if not (ignored and ignored.search(path)):
            found.add(path, value)
    return found


def merged(record: Record) -> Mapping[str, str]:
    """All facts of a record in one map; the parts that could not be read are left out."""
    return {path: value for part in record.values() if not isinstance(part, NotHere) for path, value in part.items()}
