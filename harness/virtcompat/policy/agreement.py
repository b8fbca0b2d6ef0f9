"""Static against live: where the records of a guest's hardware and its migration do not say the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from virtcompat.model import STATIC, CellKey


class Tallied(Protocol):
    """The cases of one cell: those that were asked, and those of them that are incompatible."""

    seen: set[str]

    @property
    def bad(self) -> set[str]: ...


def agreement(tallies: Mapping[CellKey, Tallied], live: str, kind: str) -> list[str]:
    """How far what the records say of a guest agrees with what became of it when it moved (the check ``live``)."""
    both = looks_bad = looks_good = 0
    for key, moved in tallies.items():
        still = tallies.get(replace(key, check=STATIC))
        if key.check != live or still is None:
            continue
        asked = moved.seen & still.seen
        both += len(asked)
        looks_bad += len(asked & still.bad - moved.bad)
        looks_good += len(asked & moved.bad - still.bad)
    if not both:
        return []
    return [
        f"{kind}: of {both} guests that moved live, static and live agree on {both - looks_bad - looks_good}; {looks_bad} "
        f"moved though their records differ, {looks_good} did not move, or arrived changed, though their records are alike"
    ]
