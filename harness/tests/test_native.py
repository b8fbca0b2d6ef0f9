"""Configurations in native formats: read by the real drivers, and an answer that lost something is seen."""

from __future__ import annotations

import os

import pytest
from virtcompat.conversions import told
from virtcompat.errors import Absent
from virtcompat.labs import Lab
from virtcompat.labs.visit import visiting
from virtcompat.model import NotHere, Tier
from virtcompat.policy import records
from virtcompat.store import fixtures, golden
from virtcompat.store import records as store
from virtcompat.surfaces import RecordedSurface, every, every_recorded
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
        (SURFACE, {part: part for part in SURFACE.parts}),
        (XEN, {"xl": "xen-xl", "xm": "xen-xm"}),
    ):
        record = store.recorded(release, surface.name, tuple(surface.parts))
        assert record is not None
        for part, form in forms.items():
            facts = record[part]
            assert not isinstance(facts, golden.Recorder)
            assert {path.split("/")[0] for path in facts} == {form}
            assert {path.split("/")[1] for path in facts} == set(fixtures.native(form)), (release, part)
            # OpenVZ's driver passes over what it cannot read: the container is there, with nothing in it.
            read = [p for p in facts if "/nonsense/" in p and not p.endswith("/refused")]
            assert not read or facts["openvz/nonsense/domain/devices"] == ""


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("surface", [SURFACE, XEN], ids=lambda s: s.name)
def test_no_part_hides_what_another_says(surface: RecordedSurface, release: str) -> None:
    record = store.recorded(release, surface.name, tuple(surface.parts))
    assert record is not None
    told = [path for part in record.values() if not isinstance(part, NotHere) for path in part]
    assert len(told) == len(set(told))


def test_there_are_enough_of_every_format() -> None:
    for form in ("lxc-tools", "xen-xl", "xen-xm", "qemu-argv", "openvz"):
        assert len(fixtures.native(form)) >= 6, form


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
        lying = {**read, "lxc-tools": SURFACE.parts["lxc-tools"](Altered(visit, "<shares>512</shares>", ""))}
    assert [f for v in records.compare(SURFACE, recorded, read) for f in v.findings] == []
    found = [f for v in records.compare(SURFACE, recorded, lying) for f in v.findings]
    assert [(f.path, f.tier) for f in found] == [("lxc-tools/limits/domain/cputune/shares", Tier.BREAK)]
    back = [f for v in records.compare(SURFACE, lying, recorded, back=True) for f in v.findings]
    assert [f.path for f in back] == ["lxc-tools/limits/domain/cputune/shares"]


@pytest.mark.lab
def test_a_file_of_openvz_that_is_read_otherwise_is_seen(host: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = fixtures.native("openvz")
    altered = {**texts, "limits": texts["limits"].replace('CPUS="2"', 'CPUS="3"')}
    with visiting(host) as visit:
        before = {"openvz": SURFACE.parts["openvz"](visit)}
        monkeypatch.setattr(fixtures, "native", lambda form: altered)
        after = {"openvz": SURFACE.parts["openvz"](visit)}
    found = [f for v in records.compare(SURFACE, before, after) for f in v.findings]
    assert [(f.path, f.old, f.new) for f in found] == [("openvz/limits/domain/vcpu", "2", "3")]


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
