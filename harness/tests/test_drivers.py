"""The census of the drivers: every one of libvirt's is there, what is absent says so, and a build that lies is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import pytest
from virtcompat import drivers
from virtcompat.cli.drivers import markdown
from virtcompat.drivers import Role
from virtcompat.engine import census, columns, static
from virtcompat.errors import BadData, UsageError
from virtcompat.labs import Lab
from virtcompat.labs.visit import visiting
from virtcompat.model import Change, Tier
from virtcompat.policy import records
from virtcompat.store import golden, releases
from virtcompat.store.tables import version
from virtcompat.surfaces.recorded.drivers import SURFACE, TABLES, support

#: What there has to be at least; another one needs no line here.
HYPERVISORS = set("bhyve esx hyperv lxc openvz phyp qemu remote test uml vbox vmware xen xenapi".split())
SECONDARY = set("cpu interface network node-device nwfilter secret security storage".split())
#: Parts of libvirt that its table of calls by driver has no column for.
WITHOUT_CALLS = {"cpu", "security"}
SHIPPED = tuple(r.name for r in releases.shipped())


@cache
def recorded(release: str) -> Mapping[str, str]:
    return static.Records(columns.find(SHIPPED)).facts(release, SURFACE.name)


def test_every_driver_of_libvirt_is_there() -> None:
    by_role = {role: {d.name for d in drivers.every().values() if d.role is role} for role in Role}
    assert by_role[Role.HYPERVISOR] >= HYPERVISORS
    assert by_role[Role.SECONDARY] >= SECONDARY


@pytest.mark.parametrize("name", sorted(drivers.every()))
def test_a_driver_is_one_of_libvirts(name: str) -> None:
    """libvirt's own table of calls has it in each release since the driver was new, and in none before; or it is removed."""
    driver = drivers.every()[name]
    if driver.until or name in WITHOUT_CALLS:
        return
    libvirts = {release: golden.provenance(release).products["libvirt"] for release in SHIPPED}
    having = {release for release in SHIPPED if any(path.startswith(f"{name}/api/") for path in recorded(release))}
    assert having == {release for release in SHIPPED if version(libvirts[release]) >= version(driver.since or "0")}


@pytest.mark.parametrize("release", SHIPPED)
def test_what_opening_a_driver_answers_is_recorded(release: str) -> None:
    """A driver that is added is asked of every release: virt-compat record RELEASE --surface drivers."""
    said = {path.split("/")[0] for path in recorded(release) if path.endswith(("/open", "/closed"))}
    assert said == {name for name, driver in drivers.every().items() if driver.uri}


@pytest.mark.parametrize("name", sorted(drivers.every()))
def test_a_driver_says_since_when_it_is_and_what_it_needs(name: str) -> None:
    driver = drivers.every()[name]
    assert driver.since or driver.means is not drivers.Means.ABSENT
    assert driver.reference.startswith("https://libvirt.org/")
    assert driver.needs or driver.means is not drivers.Means.ABSENT
    assert all(setup.flavour in ("", driver.flavour) for setup in driver.kinds.values())


def test_what_is_absent_says_what_opening_it_answers() -> None:
    found = census.take(("debian-11", "debian-14"), here=False)
    assert found.presence["hyperv", "debian-14"].why.startswith("refused: 67:")
    assert found.presence["uml", "debian-11"].why.startswith("removed in libvirt 5.0.0; refused: 38:")
    assert found.presence["uml", "debian-14"].why.startswith("removed in libvirt 5.0.0; refused: 5:")
    assert {found.presence[n, "debian-14"].word for n in ("uml", "xenapi", "phyp", "hyperv", "bhyve", "vbox")} == {
        "absent"
    }
    qemu = found.presence["qemu", "debian-14"]
    assert qemu.word == "real"
    assert 600 < qemu.accepted < qemu.asked
    assert qemu.calls > found.presence["qemu", "debian-11"].calls > 200
    assert any("| [vbox](" in line and line.count("absent") == 2 for line in markdown(found))


def test_calls_by_driver() -> None:
    found = census.take(("debian-14",), here=False)
    assert found.calls("debian-14", "virDomainSuspend")["virDomainSuspend"]["xen"]
    with pytest.raises(UsageError, match="no call"):
        found.calls("debian-14", "virNoSuchThing")


class Altered:
    """A visit in which one file, or one answer, is another."""

    def __init__(self, visit: object, table: Callable[[bytes], bytes], answer: Callable[[dict], dict] = dict) -> None:
        self.visit, self.table, self.answer = visit, table, answer

    def __getattr__(self, name: str) -> object:
        return getattr(self.visit, name)

    def read(self, *patterns: str) -> dict[str, bytes]:
        return {path: self.table(data) for path, data in self.visit.read(*patterns).items()}

    def ask(self, *arguments: object, **more: object) -> dict:
        return self.answer(self.visit.ask(*arguments, **more))


@pytest.fixture(scope="module")
def sys_lab() -> Lab:
    from conftest import _standing

    return _standing("debian-13-sys")


@pytest.mark.lab
def test_a_driver_that_no_longer_opens_and_a_call_that_is_gone_are_breaks(sys_lab: Lab) -> None:
    def refuse(reply: dict) -> dict:
        answers = {**reply["answers"], "lxc": {"status": "refused", "code": 5, "message": "no connection driver"}}
        return {**reply, "answers": answers}

    def without(page: bytes) -> bytes:
        assert page.count(b"virDomainSuspend") == 1 or b">virDomainSuspend<" in page
        return page.replace(b"virDomainSuspend", b"virDomainSuspence")

    with visiting(sys_lab) as visit:
        before = {part: read(visit) for part, read in SURFACE.parts.items()}
        lying = Altered(visit, without, refuse)
        after = {part: read(lying) for part, read in SURFACE.parts.items()}
        with pytest.raises(BadData, match="holds no table"):
            support(Altered(visit, lambda page: b"<html/>"))
        assert list(visit.read(TABLES))
    found = {f.path: f for v in records.compare(SURFACE, before, after) for f in v.findings if f.tier >= Tier.RISK}
    assert (found["lxc/open"].change, found["lxc/open"].tier) == (Change.REMOVED, Tier.BREAK)
    assert found["lxc/api/virDomainSuspend"].tier is Tier.BREAK
    assert not [f for v in records.compare(SURFACE, before, before) for f in v.findings]
