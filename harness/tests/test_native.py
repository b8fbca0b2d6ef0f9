"""Configurations in native formats: read by the real drivers, and an answer that lost something is seen."""

from __future__ import annotations

import os

import pytest
from virtcompat.conversions import told
from virtcompat.errors import Absent
from virtcompat.labs import Lab
from virtcompat.labs.visit import visiting
from virtcompat.model import Tier
from virtcompat.policy import records
from virtcompat.store import fixtures, golden
from virtcompat.store import records as store
from virtcompat.surfaces import every, every_recorded
from virtcompat.surfaces.recorded.native import SURFACE
from virtcompat.surfaces.recorded.xen_native import SURFACE as XEN

RELEASES = ("debian-11", "debian-12", "debian-13", "debian-14")


def test_an_answer_is_its_document_its_lines_or_its_refusal() -> None:
    read = every()["domain"].facts
    xml = (
        "<domain type='xen'><name>a</name><uuid>3d7f0a30-9a3c-4d7e-8d1f-0123456789ab</uuid><memory>1</memory></domain>"
    )
    found = told("one", {"xml": xml, "back": 'name = "a"\n# made up\ndisk = 1\ndisk = 2\n'}, read)
    assert found["one/domain/name"] == "a"
    assert found["one/back/[disk]"] == "1 | 2"
    assert "3d7f0a30" not in str(found), "what libvirt draws is no fact"
    assert told("two", {"code": 3, "message": "not\nsupported"}, read) == {"two/refused": "3: not supported"}
    assert told("three", {"message": "syntax"}, read) == {"three/refused": "syntax"}


@pytest.mark.parametrize("release", RELEASES)
def test_every_configuration_is_recorded_and_nonsense_refused(release: str) -> None:
    for surface, forms in (
        (SURFACE, {"lxc-tools": "lxc-tools", "qemu-argv": "qemu-argv"}),
        (XEN, {"xl": "xen-xl", "xm": "xen-xm"}),
    ):
        record = store.recorded(release, surface.name, tuple(surface.parts))
        assert record is not None
        for part, form in forms.items():
            facts = record[part]
            assert not isinstance(facts, golden.Recorder)
            assert {path.split("/")[0] for path in facts} == set(fixtures.native(form)), (release, part)
            assert all(p.endswith("/refused") for p in facts if p.startswith("nonsense/"))


class Altered:
    """A visit whose converter answers otherwise."""

    def __init__(self, visit: object, old: str, new: str) -> None:
        self.visit, self.old, self.new = visit, old, new

    def __getattr__(self, name: str) -> object:
        return getattr(self.visit, name)

    def ask(self, *arguments: object, **more: object) -> dict:
        reply = self.visit.ask(*arguments, **more)
        for answer in reply["answers"].values():
            if "xml" in answer:
                answer["xml"] = answer["xml"].replace(self.old, self.new)
        return reply


@pytest.fixture(scope="module")
def host() -> Lab:
    from conftest import _standing

    return _standing("debian-13-sys")


@pytest.mark.lab
def test_a_driver_that_drops_what_was_configured_is_seen(host: Lab) -> None:
    recorded = store.recorded("debian-13", SURFACE.name, tuple(SURFACE.parts))
    assert recorded is not None
    with visiting(host) as visit:
        read = {part: reader(visit) for part, reader in SURFACE.parts.items()}
        altered = Altered(visit, "<shares>512</shares>", "")
        lying = {part: reader(altered) for part, reader in SURFACE.parts.items()}
    assert [f for v in records.compare(SURFACE, recorded, read) for f in v.findings] == []
    found = [f for v in records.compare(SURFACE, recorded, lying) for f in v.findings]
    assert [(f.path, f.tier) for f in found if f.tier >= Tier.BREAK] == [
        ("limits/domain/cputune/shares", Tier.BREAK)
    ] or any(f.path.startswith("limits/domain/cputune") and f.tier is Tier.BREAK for f in found)


@pytest.mark.lab
def test_without_a_xen_host_it_is_absent(host: Lab) -> None:
    with visiting(host) as visit, pytest.raises(Absent, match="no Xen host"):
        every_recorded()["xen-native"].parts["xl"](visit)


@pytest.mark.skipif(not os.environ.get("VIRT_COMPAT_XEN"), reason="boots Xen hosts: tox -e xen")
def test_a_xen_host_answers_its_record_again() -> None:
    from conftest import _standing

    recorded = store.recorded("debian-12", XEN.name, tuple(XEN.parts))
    with visiting(_standing("debian-12-xen")) as visit:
        assert {part: dict(reader(visit)) for part, reader in XEN.parts.items()} == {
            k: dict(v) for k, v in recorded.items()
        }
