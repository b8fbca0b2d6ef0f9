"""The flat map of facts, and what counts as a difference."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from virtcompat import surfaces
from virtcompat.documents import NotWellFormed, canonical
from virtcompat.facts import differences, masked
from virtcompat.model import Change, Tier
from virtcompat.store import fixtures
from virtcompat.surfaces.kinds import domain

DOMAINS = [f.text for f in fixtures.load(("domain",), ("test", "qemu"))]
SURFACE = domain.SURFACE


def diff(old: str, new: str) -> list[tuple[str, Change, str, str]]:
    return list(differences(SURFACE.facts(old), SURFACE.facts(new)))


def devices(inner: str) -> str:
    return f"<domain><devices>{inner}</devices></domain>"


@given(st.sampled_from(DOMAINS), st.randoms(use_true_random=False))
def test_attribute_order_and_white_space_are_no_difference(text: str, chance: random.Random) -> None:
    root = etree.fromstring(text.encode())
    for element in root.iter(etree.Element):
        pairs = list(element.attrib.items())
        chance.shuffle(pairs)
        element.attrib.clear()
        element.attrib.update(pairs)
    etree.indent(root, " " * chance.randrange(5))
    again = etree.tostring(root, encoding="unicode")
    assert not diff(text, again)


@given(st.sampled_from(DOMAINS), st.data())
def test_a_removed_element_is_always_seen(text: str, data: st.DataObject) -> None:
    root = etree.fromstring(text.encode())
    inner = [e for e in root.iter(etree.Element) if e is not root]
    victim = data.draw(st.sampled_from(inner))
    parent = victim.getparent()
    assert parent is not None
    parent.remove(victim)
    assert diff(text, etree.tostring(root, encoding="unicode"))


@given(st.sampled_from(DOMAINS), st.data())
def test_a_changed_attribute_is_always_seen(text: str, data: st.DataObject) -> None:
    root = etree.fromstring(text.encode())
    bearers = [e for e in root.iter(etree.Element) if e.attrib]
    victim = data.draw(st.sampled_from(bearers))
    name = data.draw(st.sampled_from(sorted(victim.attrib)))
    victim.set(name, victim.get(name, "") + "x")
    assert diff(text, etree.tostring(root, encoding="unicode"))


def test_a_whole_device_is_one_difference_with_its_facts() -> None:
    old = devices("<disk><target dev='vda' bus='virtio'/></disk>")
    new = devices("<disk><target dev='vda' bus='virtio'/></disk><disk><target dev='vdb' bus='sata'/></disk>")
    found = [row for row in diff(old, new) if "(order)" not in row[0]]
    assert found == [("/domain/devices/disk[vdb]", Change.ADDED, "", "target/@bus=sata target/@dev=vdb")]


def test_a_device_moved_in_the_document_is_the_same_device() -> None:
    one, other = "<rng model='virtio'/>", "<disk><target dev='vda'/></disk>"
    assert not diff(devices(one + other), devices(other + one))


def test_the_order_of_disks_has_meaning() -> None:
    one, other = "<disk><target dev='vda'/></disk>", "<disk><target dev='vdb'/></disk>"
    found = diff(devices(one + other), devices(other + one))
    assert found == [("/domain/devices/disk(order)", Change.CHANGED, "vda vdb", "vdb vda")]


def test_amounts_are_compared_in_bytes() -> None:
    assert not diff("<domain><memory unit='MiB'>64</memory></domain>", "<domain><memory>65536</memory></domain>")
    assert diff("<domain><memory unit='MB'>64</memory></domain>", "<domain><memory>65536</memory></domain>")


def test_an_element_that_was_empty_and_is_filled_in_is_not_removed() -> None:
    found = diff(devices("<panic/>"), devices("<panic model='isa'/>"))
    assert [(path, change) for path, change, *_ in found] == [("/domain/devices/panic/@model", Change.ADDED)]


def test_what_is_not_xml_is_said_to_be() -> None:
    with pytest.raises(NotWellFormed):
        canonical("<domain title='&'/>")


def test_masked_takes_identities_out() -> None:
    assert (
        masked("/domain/devices/interface[52:54:00:aa:bb:01]/address#2/@bus")
        == "/domain/devices/interface/address/@bus"
    )


@pytest.mark.parametrize(
    ("path", "change", "tier"),
    [
        ("/domain/os/type/@machine", Change.CHANGED, Tier.GUEST_ABI_BREAK),
        ("/domain/devices/disk[vda]/address/@slot", Change.CHANGED, Tier.GUEST_ABI_BREAK),
        ("/domain/devices/watchdog[itco]", Change.ADDED, Tier.GUEST_ABI_BREAK),
        ("/domain/title", Change.ADDED, Tier.ADDITION),
        ("/domain/title", Change.REMOVED, Tier.BREAK),
        ("/domain/devices/disk[vda]/source/@file", Change.CHANGED, Tier.BREAK),
        ("/domain/devices/emulator", Change.CHANGED, Tier.RISK),
    ],
)
def test_tiers_go_by_meaning(path: str, change: Change, tier: Tier) -> None:
    assert SURFACE.tier(path, change) is tier


def test_state_of_a_pool_is_neither_right_nor_wrong() -> None:
    pool = "<pool type='dir'><name>a</name><capacity>{}</capacity></pool>"
    surface = surfaces.every()["storagepool"]
    assert surface.facts(pool.format(1)) == surface.facts(pool.format(2))


def test_boot_order_is_guest_visible() -> None:
    old, new = (
        f"<domain><os><boot dev='{a}'/><boot dev='{b}'/></os></domain>"
        for a, b in (("hd", "network"), ("network", "hd"))
    )
    found = diff(old, new)
    assert [path for path, *_ in found] == ["/domain/os/boot(order)"]
    assert SURFACE.tier(found[0][0], found[0][1]) is Tier.GUEST_ABI_BREAK


def test_an_identity_with_slashes_does_not_change_a_tier() -> None:
    for identity in ("tag", "/mnt/a"):
        assert SURFACE.tier(f"/domain/devices/filesystem[{identity}]/source/@dir", Change.ADDED) is Tier.ADDITION
