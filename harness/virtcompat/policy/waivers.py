"""Waivers applied: which accepts a finding, which has ended, which accepts nothing."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from virtcompat.judgement import Item, Waiver
from virtcompat.model import CellKey
from virtcompat.store.ledger import glob
from virtcompat.store.tables import version
from virtcompat.store.waivers import VERSION

Products = Mapping[str, Mapping[str, str]]
CONDITION = re.compile(r"(libvirt|qemu|spice|xen)\s*(<=|>=|<|>|=)\s*(\d+(?:\.\d+)*)")


def accepts(waiver: Waiver, item: Item, products: Products) -> bool:
    """Whether a waiver is about this finding: the fingerprint and every place it names."""
    return (
        waiver.fingerprint == item.fingerprint
        and glob([waiver.where["path"]]).match(item.finding.path) is not None
        and all(fnmatchcase(case, waiver.where.get("case", "*")) for case in item.cases)
        and in_scope(waiver, [item.key], products)
    )


def in_scope(waiver: Waiver, keys: Iterable[CellKey], products: Products) -> bool:
    """Whether one of these cells is where the waiver says."""
    where = waiver.where
    return any(
        key.check == waiver.check
        and fnmatchcase(key.driver, where["driver"])
        and fnmatchcase(key.kind, where.get("kind", "*"))
        and _is(key.old, where.get("old", "*"), products)
        and _is(key.new, where.get("new", "*"), products)
        for key in keys
    )


def _is(release: str, wanted: str, products: Products) -> bool:
    """Whether a release is one of this name pattern, or meets a condition such as ``libvirt >= 9.0``."""
    condition = CONDITION.fullmatch(wanted.strip())
    if condition is None:
        return fnmatchcase(release, wanted)
    product, sign, limit = condition.groups()
    have, bound = version(products.get(release, {}).get(product, "")), version(limit)
    found = {"<": have < bound, "<=": have <= bound, "=": have == bound, ">=": have >= bound, ">": have > bound}
    return bool(have) and found[sign]


def ended(waiver: Waiver, today: datetime.date, candidate: Mapping[str, str]) -> bool:
    """Whether its day has passed, or the candidate is as new as the version it ends with."""
    by_version = VERSION.fullmatch(waiver.expires)
    if by_version:
        return version(candidate.get(by_version[1], "")) >= version(by_version[2])
    return datetime.date.fromisoformat(waiver.expires) < today


def problems(
    waivers: Sequence[Waiver],
    used: set[int],
    keys: Sequence[CellKey],
    products: Products,
    ends: tuple[datetime.date, Mapping[str, str]],
) -> list[str]:
    """What is wrong with the waivers after a whole run: ended ones, and those of its cells that accept nothing.

    used: indices of the waivers that accepted something. keys: the cells that were asked completely. ends: today and
    the candidate's versions.
    """
    found = []
    for at, waiver in enumerate(waivers):
        place = f"{waiver.file}:{waiver.line}"
        if ended(waiver, *ends):
            found.append(f"{place}: expired {waiver.expires}: decide anew, or remove it ({waiver.reason})")
        elif at not in used and in_scope(waiver, keys, products):
            found.append(f"{place}: matches nothing any more: remove it ({waiver.fingerprint}, {waiver.where['path']})")
    return found
