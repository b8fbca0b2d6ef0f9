"""The change ledger explains what crosses a change, and nothing else."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from virtcompat.model import CellKey, Change, Finding, Outcome, Tier, Verdict
from virtcompat.policy import changes
from virtcompat.store import ledger
from virtcompat.store.ledger import Entry

PRODUCTS = {
    "a": {"libvirt": "7.0.0", "qemu": "5.2"}, "b": {"libvirt": "9.0.0", "qemu": "7.2"}, "c": {"libvirt": "11.3.0", "qemu": "10.0"},
}  # fmt: skip
ENTRY = Entry(
    id="libvirt-8.0-watchdog", product="libvirt", since=(8,), kinds=frozenset({"domain"}), drivers=frozenset(),
    checks=frozenset(), cases=(), where=ledger.glob(["/domain/devices/watchdog[*]"]), change=frozenset({Change.ADDED}),
    old=re.compile(""), new=re.compile("itco"), tier=Tier.ADDITION, summary="s", why="w", reference="r",
    either_way=False, same_release=False, until=(), file="x",
)  # fmt: skip
FINDING = Finding("/domain/devices/watchdog[itco]", Change.ADDED, Tier.GUEST_ABI_BREAK, "", "@model=itco")


def explained(entry: Entry, old: str, new: str, finding: Finding = FINDING, check: str = "upgrade-disk") -> Finding:
    key = CellKey(check, "domain", "qemu", old, new)
    verdict = Verdict("case-one", Outcome.INCOMPATIBLE, (finding,))
    return changes.explain(verdict, changes.crossed(key, PRODUCTS, [entry])).findings[0]


def test_a_pair_that_crosses_the_change_is_explained_and_gets_its_tier() -> None:
    found = explained(ENTRY, "a", "b")
    assert (found.entry, found.tier, found.product) == ("libvirt-8.0-watchdog", Tier.ADDITION, "libvirt")


@pytest.mark.parametrize(("old", "new"), [("b", "c"), ("b", "b"), ("b", "a")])
def test_a_pair_that_does_not_cross_it_is_not(old: str, new: str) -> None:
    assert not explained(ENTRY, old, new).explained


def test_backwards_only_where_the_entry_says_so_and_mirrored() -> None:
    mirror = replace(FINDING, change=Change.REMOVED, old="@model=itco", new="")
    assert not explained(ENTRY, "b", "a", mirror).explained
    assert explained(replace(ENTRY, either_way=True), "b", "a", mirror).explained
    assert explained(replace(ENTRY, either_way=True), "b", "a").explained


def test_one_release_by_itself_only_where_the_entry_says_so() -> None:
    same = replace(ENTRY, same_release=True)
    assert explained(same, "b", "b").explained
    assert not explained(same, "a", "a").explained
    assert not explained(replace(same, until=same.since), "b", "b").explained, "it does so no more"
    assert explained(replace(same, until=(999,)), "b", "b").explained


@pytest.mark.parametrize(
    "other",
    [
        replace(ENTRY, drivers=frozenset({"test"})),
        replace(ENTRY, kinds=frozenset({"network"})),
        replace(ENTRY, checks=frozenset({"downgrade"})),
        replace(ENTRY, cases=("case-two",)),
        replace(ENTRY, change=frozenset({Change.REMOVED})),
        replace(ENTRY, new=re.compile("i6300esb")),
        replace(ENTRY, where=ledger.glob(["/domain/devices/*/@model"])),
        replace(ENTRY, product="qemu", since=(11,)),
    ],
)
def test_whatever_is_narrower_does_not_match(other: Entry) -> None:
    assert not explained(other, "a", "b").explained


def test_path_patterns_take_brackets_as_they_are() -> None:
    pattern = ledger.glob(["/domain/devices/disk[*]/driver/@*", "/domain/**/alias"])
    assert pattern.match("/domain/devices/disk[vda]/driver/@cache")
    assert not pattern.match("/domain/devices/disk[vda]/source/@file")
    assert pattern.match("/domain/devices/disk[vda]/alias")


def test_every_entry_names_its_source_and_its_id_is_its_file() -> None:
    for entry in ledger.entries():
        assert entry.reference.startswith("https://"), entry.id
        assert entry.why
        assert entry.summary
        assert entry.since
        assert entry.product in ("libvirt", "qemu", "spice", "xen")
