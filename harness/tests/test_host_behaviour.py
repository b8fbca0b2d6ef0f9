"""What the secondary drivers do on a host: told the same twice, seen where a tool lies or is gone, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import _standing
from virtcompat.errors import Absent, BadData, LabError
from virtcompat.labs import Lab, hosts, within
from virtcompat.labs.hosts import Host, Said, hosting
from virtcompat.labs.visit import visiting
from virtcompat.model import Finding, NotHere, Outcome, Tier
from virtcompat.policy import records
from virtcompat.store import golden
from virtcompat.store import records as store
from virtcompat.surfaces import behaviour
from virtcompat.surfaces.behaviour import Scene, bracketed, firewall, network, play, secret, storage
from virtcompat.surfaces.recorded.host_behaviour import SURFACE

NETWORK, STORAGE, SECRET, QEMU = (
    f"{d}+unix:///system?socket={{socket}}" for d in ("network", "storage", "secret", "qemu")
)
#: Parts that take longer than ten seconds; one release's are asked again here.
SLOW = ("network", "nwfilter")
BREAK, RISK, ADDITION = Tier.BREAK, Tier.RISK, Tier.ADDITION


@pytest.fixture(scope="session")
def sys_lab() -> Callable[[str], Lab]:
    """release -> its lab that is a whole host."""
    return cache(lambda name: _standing(f"{name}-{hosts.FLAVOUR}"))


@dataclass(frozen=True, slots=True)
class Altered:
    """A lab with further arguments for its sandbox: another file in the place of a real one."""

    lab: Lab
    more: tuple[str, ...]

    def __getattr__(self, name: str) -> object:
        return getattr(self.lab, name)

    def command(self, daemon: bool) -> list[str]:
        found = within(self.lab.command(daemon), *self.more)
        assert found is not None
        return found


def instead(lab: Lab, program: str, text: str, folder: Path) -> Lab:
    """The lab with a script in a program's place; the program itself is /run/real."""
    script = folder / "script"
    script.write_text(text)
    script.chmod(0o755)
    root = lab.folder / "root"  # type: ignore[attr-defined]  # a lab of packages has one
    more = ("--ro-bind", str((root / program.lstrip("/")).resolve()), "/run/real", "--ro-bind", str(script), program)
    return Altered(lab, more)  # type: ignore[return-value]


def compared(old: Mapping[str, str], new: Mapping[str, str], *, back: bool = False) -> list[Finding]:
    surface = replace(SURFACE, parts={"part": lambda visit: {}})
    verdicts = records.compare(surface, {"part": old}, {"part": new}, back=back)
    return [finding for verdict in verdicts for finding in verdict.findings]


def told(release: str, *parts: str) -> dict[str, str]:
    """What is recorded of a release's host."""
    record = store.recorded(release, SURFACE.name, tuple(SURFACE.parts))
    assert record is not None
    return dict(records.merged({part: record[part] for part in parts or SURFACE.parts}))


# What differs, and how bad that is.


@pytest.mark.parametrize(
    ("path", "was", "now", "tier", "backward"),
    [
        ("network/start/nat/start", "ok", "refused: INTERNAL_ERROR (NETWORK)", BREAK, RISK),
        ("network/start/nat/start", "ok", "crashed", BREAK, BREAK),
        ("network/start/nat/start", "refused: INTERNAL_ERROR (NETWORK)", "hung", BREAK, BREAK),
        ("network/start/nat/start", "refused: INTERNAL_ERROR (NETWORK)", "ok", ADDITION, ADDITION),
        ("network/refusals/same-name", "refused: OPERATION_FAILED (NETWORK)", "refused: XML_ERROR (XML)", RISK, RISK),
        ("node_device/own/veth/isActive", "no-binding", "1", ADDITION, ADDITION),
        ("node_device/own/veth/isActive", "1", "no-binding", BREAK, ADDITION),
        ("storage/content/file", "as sent", "not as sent", BREAK, BREAK),
        ("storage/clone/raw-4/content", "the same", "other", BREAK, BREAK),
        ("storage/resize/raw/up/size", "8388608 in the image, 8388608 by libvirt", "4 in the image, 4 by libvirt", BREAK, BREAK),
        ("storage/create/qcow2/qemu-img/virtual-size", "8388608", "8388096", BREAK, BREAK),
        ("storage/create/qcow2/qemu-img/cluster-size", "65536", "131072", RISK, RISK),
        ("secret/values/text/value", "as set", "other", BREAK, BREAK),
        ("network/restart/killed/running/active", "1", "0", BREAK, BREAK),
        ("network/start/nat/left", "nothing", "virbr-t", BREAK, BREAK),
        ("network/lease/given/ip", "192.168.122.77", "192.168.122.9", BREAK, BREAK),
        ("network/start/nat/link/mtu", "1500", "1400", RISK, RISK),
        ("cpu/baseline/amd/plain", "EPYC AMD", "EPYC AMD -monitor", RISK, RISK),
        ("security/guests/plain/disk", "64055:64055 640", "0:0 640", RISK, RISK),
    ],
)  # fmt: skip
def test_what_was_allowed_or_right_and_is_not_any_more_breaks(
    path: str, was: str, now: str, tier: Tier, backward: Tier
) -> None:
    for back, expected in ((False, tier), (True, backward)):
        assert [(f.path, f.tier) for f in compared({path: was}, {path: now}, back=back)] == [(path, expected)]
    assert not compared({path: was}, {path: was})


@pytest.mark.parametrize(
    ("old", "new", "tiers"),
    [
        ({}, {"cpu/models/x86_64/New": "known"}, [ADDITION]),
        ({"cpu/models/x86_64/Old": "known"}, {}, [BREAK]),
        ({}, {"network/start/nat/firewall/ip4/filter/IN/[-j ACCEPT]": "1"}, [RISK]),
        ({"network/start/nat/firewall/ip4/filter/IN/[-j DROP]": "1"}, {}, [RISK]),
        ({}, {"network/start/nat/(stopped)/networkDefineXML": "refused: XML_ERROR (NETWORK)"}, [BREAK]),
        ({}, {"storage/create/qcow2/qemu-img/format-specific/data/corrupt": "false"}, [ADDITION]),
    ],
)
def test_what_comes_and_goes_has_its_tier(old: dict[str, str], new: dict[str, str], tiers: list[Tier]) -> None:
    beside = dict.fromkeys(
        ("cpu/models/x86_64/Kept", "network/start/nat/firewall/ip4/filter/IN/[-j kept]", "network/start/nat/start",
         "storage/create/qcow2/qemu-img/format-specific/data/compat"), "1",
    )  # fmt: skip
    assert [f.tier for f in compared(beside | old, beside | new)] == tiers


def test_a_rule_is_moved_only_where_it_changes_places_with_another() -> None:
    above = "network/start/nat/firewall/ip4/filter/IN"
    old = {f"{above}/[-i a]": "1", f"{above}/[-i b]": "2", f"{above}/[-i c]": "3"}
    one_less = {f"{above}/[-i b]": "1", f"{above}/[-i c]": "2"}
    assert [f.change.name for f in compared(old, one_less)] == ["REMOVED"]
    swapped = {f"{above}/[-i a]": "1", f"{above}/[-i b]": "3", f"{above}/[-i c]": "2"}
    assert [(f.path, f.tier) for f in compared(old, swapped)] == [(f"{above}/(order)", RISK)]
    assert [f.tier for f in compared(old, {**old, f"{above}/[-i a]": "1, 4"})] == []


def test_every_call_of_every_release_is_answered() -> None:
    """No scene had to stop, no daemon died, and nothing was told of what the lab's programs lack."""
    for release in ("debian-11", "debian-12", "debian-13", "debian-14"):
        facts = told(release)
        assert len(facts) > 2000, release
        assert not [path for path in facts if "(stopped)" in path], release
        assert not [path for path, value in facts.items() if value in ("crashed", "hung")], release


def test_the_behaviour_that_users_count_on_is_the_same_in_every_release() -> None:
    """Leases, contents, values and what a restart keeps do not differ between any two of the four."""
    facts = [told(f"debian-{n}") for n in (11, 12, 13, 14)]
    counted = ("network/lease/", "network/restart/", "storage/content/", "storage/restart/", "secret/values/", "secret/restart/",
               "secret/flags/", "nwfilter/restart/", "security/")  # fmt: skip
    for above in counted:
        parts = [{p: v for p, v in each.items() if p.startswith(above)} for each in facts]
        assert parts[0]
        assert all(part == parts[0] for part in parts), above
    for path, value in {
        "network/lease/client": "has a lease", "network/lease/given/ip": "192.168.122.77", "storage/content/fetched": "as sent",
        "secret/values/every-byte/value": "as set", "secret/restart/killed/kept/value": "as set",
        "secret/restart/killed/ephemeral/lookup": "refused: NO_SECRET (SECRET)", "storage/wipe/content": "zeros",
        "network/refusals/same-subnet/start": "refused: INTERNAL_ERROR (NONE)", "security/models/names": "none dac",
    }.items():  # fmt: skip
        assert [each[path] for each in facts] == [value] * 4, path


# Reading the host.

SAVED = """# Generated by iptables-nft-save v1.8.9 (nf_tables) on Sat Nov 21 11:18:04 2026
*filter
:INPUT ACCEPT [12:3456]
:LIBVIRT_INP - [0:0]
-A INPUT -j LIBVIRT_INP
-A LIBVIRT_INP -s ! 52:54:00:00:04:01 -j DROP
-A LIBVIRT_INP -i virbr0 -p udp -m udp --dport 53 -j ACCEPT
COMMIT
"""
LISTED = """table ip libvirt_network {
	chain forward {
		type filter hook forward priority 0; policy accept;
		counter packets 12 bytes 900 jump guest_cross
	}

	chain guest_cross {
	}
}
table ip nat {
	chain POSTROUTING {
		counter packets 1 bytes 2 masquerade
	}
}
"""


def test_the_firewalls_are_read_without_how_often_a_rule_was_met() -> None:
    found: dict[str, list[str]] = {}
    firewall._saved("ip4", SAVED, found)
    firewall._listed(LISTED, found)
    assert found == {
        "ip4/filter/INPUT": ["-j LIBVIRT_INP"],
        "ip4/filter/LIBVIRT_INP": ["! -s 52:54:00:00:04:01 -j DROP", "-i virbr0 -p udp -m udp --dport 53 -j ACCEPT"],
        # Only libvirt's own tables: the others are those of iptables, in other words.
        "nft-ip/libvirt_network/forward": ["type filter hook forward priority 0; policy accept;", "jump guest_cross"],
    }
    before = {"a/b": ("x", "y")}
    assert firewall.added(before, before) == {}
    assert firewall.added(before, {"a/b": ("x", "z", "y", "x", "x"), "c": ("=[]",)}) == {
        "a/b/[z]": "2", "a/b/[x]": "4, 5", "c/[:()]": "1",
    }  # fmt: skip


def test_a_step_in_brackets_can_be_written_and_read_back() -> None:
    path = f"a/{bracketed('x = [y]  z')}"
    assert store.parsed(store.written({path: "1"}), Path("x")) == {path: "1"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None), ("somebody:100000:65536\n", None), ("me:100000:1000\n", None), ("me:x:y\nme\n", None),
        ("root:1:65536\nme:100000:65536\n", (100000, 65536)), ("1000:200000:99999\n", (200000, 99999)),
        ("me:100000:1000\nme:300000:65536\n", (300000, 65536)),
    ],
)  # fmt: skip
def test_subordinate_ids_are_found_by_name_or_number(text: str, found: tuple[int, int] | None, tmp_path: Path) -> None:
    file = tmp_path / "subuid"
    file.write_text(text)
    assert hosts.ranges(file, ("me", "1000")) == found
    assert hosts.ranges(tmp_path / "nothing", ("me",)) is None


# A real host.


@pytest.fixture(scope="module")
def mapped() -> None:
    if hosts.maps() is None:
        if os.environ.get("CI"):
            raise AssertionError(hosts.REMEDY)
        pytest.skip(hosts.REMEDY)


@pytest.fixture
def host(sys_lab: Callable[[str], Lab]) -> Iterator[Host]:
    with hosting(sys_lab("debian-13"), SECRET) as found:
        yield found


@pytest.mark.lab
@pytest.mark.usefixtures("mapped")
@pytest.mark.parametrize(
    ("release", "part"),
    [
        *(("debian-14", part) for part in SURFACE.parts),
        *(("debian-11", part) for part in SURFACE.parts if part not in SLOW),
    ],
)
def test_a_host_tells_what_was_recorded(release: str, part: str, sys_lab: Callable[[str], Lab]) -> None:
    """Recording again gives the same bytes."""
    lab = sys_lab(release)
    provenance = golden.provenance(release)
    if provenance is None or provenance.packages.get(hosts.FLAVOUR) != lab.versions:
        pytest.skip("the mirror has moved since this was recorded")
    with visiting(lab) as visit:
        assert store.written(SURFACE.parts[part](visit)) == store.written(told(release, part))


@pytest.mark.lab
@pytest.mark.parametrize("part", ["storage", "secret", "interface"])
def test_a_host_with_one_user_tells_the_same(
    part: str, sys_lab: Callable[[str], Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without root and subordinate ids a part of it can still be asked, and is no other then."""
    monkeypatch.setattr(hosts, "maps", lambda: None)
    with visiting(sys_lab("debian-12")) as visit:
        assert SURFACE.parts[part](visit) == told("debian-12", part)


@pytest.mark.lab
@pytest.mark.parametrize("part", ["network", "cpu", "security"])
def test_what_needs_more_users_says_so(
    part: str, sys_lab: Callable[[str], Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "maps", lambda: None)
    with visiting(sys_lab("debian-12")) as visit, pytest.raises(Absent, match="no users but one") as raised:
        SURFACE.parts[part](visit)
    assert "subuid" in raised.value.remedy


@pytest.mark.lab
def test_a_qemu_img_that_does_not_resize_is_seen(sys_lab: Callable[[str], Lab], tmp_path: Path) -> None:
    text = '#!/bin/sh\n[ "$1" = resize ] && exit 0\nexec /run/real "$@"\n'
    lab = instead(sys_lab("debian-12"), "/usr/bin/qemu-img", text, tmp_path)
    with visiting(lab) as visit:
        facts = play(visit, "storage", "storage", (storage.resize, storage.create), clear=storage.clear)
    known = {path: value for path, value in told("debian-12", "storage").items() if path in facts}
    assert len(known) > 100
    found = {f.path: f.tier for f in compared(known, facts)}
    assert found.pop("storage/resize/qcow2/up/size") is BREAK
    assert all(path.startswith("storage/resize/qcow2/") for path in found)


@pytest.mark.lab
def test_a_qemu_img_that_makes_smaller_images_is_seen(sys_lab: Callable[[str], Lab], tmp_path: Path) -> None:
    text = '#!/bin/sh\nif [ "$1" = create ]; then set -- "$@"; eval "last=\\${$#}"; exec /run/real create -q -f qcow2 '
    text += '"$(for a; do case $a in /*) echo $a;; esac; done)" 4M; fi\nexec /run/real "$@"\n'
    lab = instead(sys_lab("debian-14"), "/usr/bin/qemu-img", text, tmp_path)
    with visiting(lab) as visit:
        facts = play(visit, "storage", "storage", (storage.create,), clear=storage.clear)
    known = {path: value for path, value in told("debian-14", "storage").items() if path in facts}
    assert {f.tier for f in compared(known, facts) if f.path.endswith("/qcow2/qemu-img/virtual-size")} == {BREAK}


@pytest.mark.lab
@pytest.mark.usefixtures("mapped")
def test_a_firewall_that_is_gone_is_seen(sys_lab: Callable[[str], Lab], tmp_path: Path) -> None:
    """iptables fails, as it does in a kernel without it: networks do not start any more."""
    text = '#!/bin/sh\ncase "$0" in *xtables-nft-multi) exec /run/real "$@" ;; esac\necho gone >&2\nexit 3\n'
    lab = instead(sys_lab("debian-12"), "/usr/sbin/xtables-nft-multi", text, tmp_path)
    with visiting(lab) as visit:
        facts = play(visit, "network", "network", (_first,), clear=network.clear, users=True)
    assert facts["network/first/start"].startswith("refused: ")
    assert [f.tier for f in compared({**facts, "network/first/start": "ok"}, facts)] == [BREAK]


def _first(scene: Scene) -> None:
    scene.must("networkDefineXML", network.document("first", network.NAT), keep="n")
    scene.call("start", "create", on="n")


@pytest.mark.lab
@pytest.mark.parametrize("program", ["/usr/sbin/libvirtd", "/usr/lib/python3/dist-packages/libvirt.py"])
def test_a_lab_that_lacks_what_a_host_needs_says_so(program: str, sys_lab: Callable[[str], Lab]) -> None:
    lab = sys_lab("debian-12")
    folder, name = program.rsplit("/", 1)
    more = ["--tmpfs", folder]
    for path in (lab.folder / "root" / folder.lstrip("/")).iterdir():  # type: ignore[attr-defined]
        link = ("--symlink", str(path.readlink())) if path.is_symlink() else ("--ro-bind", str(path))
        more += [*link, f"{folder}/{path.name}"] if path.name != name else []
    with visiting(Altered(lab, tuple(more))) as visit, pytest.raises(Absent, match="libvirt"):  # type: ignore[arg-type]
        SURFACE.parts["secret"](visit)


@pytest.mark.parametrize(("hangs", "told"), [(0, "ok"), (1, "ok"), (2, "ok"), (3, "hung")])
def test_a_daemon_that_now_and_then_does_not_end_is_no_fact(
    hangs: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = ["hung"] * hangs + ["ok"] * 3
    opened: list[str] = []

    class Restarted:
        def restart(self, *between: str, hard: bool) -> Said:
            return Said(ends.pop(0))

    @contextmanager
    def hosting(lab: Lab, uri: str, **how: object) -> Iterator[Restarted]:
        opened.append(uri)
        yield Restarted()

    def once(scene: Scene) -> None:
        scene.restart()

    monkeypatch.setattr(behaviour, "hosting", hosting)
    assert behaviour.play(SimpleNamespace(lab=None), "part", "secret", [once]) == {"part/once/restart": told}  # type: ignore[arg-type]
    assert len(opened) == min(hangs + 1, behaviour.PLAYS)


@pytest.mark.lab
def test_a_value_that_was_changed_behind_the_daemons_back_is_seen(host: Host) -> None:
    scene = Scene(host, "secret")
    scene.must("secretDefineXML", secret.document(1, "tls"), 0, keep="s")
    scene.must("setValue", secret.given(b"a passphrase"), 0, on="s")
    secret.compared(scene, "before", "s", b"a passphrase")
    host.write(f"{secret.KEPT}/{secret.uuid(1)}.base64", "c29tZXRoaW5nIGVsc2U=")
    assert host.restart(hard=True).outcome == "ok"
    scene.must("secretLookupByUUIDString", secret.uuid(1), keep="s")
    secret.compared(scene, "after", "s", b"a passphrase")
    assert scene.facts == {"secret/before": "as set", "secret/after": "other"}


@pytest.mark.lab
def test_a_daemon_that_dies_is_an_outcome_and_the_next_one_answers(host: Host) -> None:
    assert host.call("numOfSecrets") == Said("ok", 0)
    host.call("secretDefineXML", secret.document(1, "tls"), 0, keep="s")
    host.run("sh", "-c", "kill -SEGV $(busybox pidof libvirtd)")
    assert host.call("UUIDString", on="s").outcome == "ok"  # asks nobody
    said = host.call("numOfSecrets")
    assert (said.outcome, "SIGSEGV" in said.words) == ("crashed", True), said
    assert said.text == "crashed"
    assert host.call("numOfSecrets").value == 1
    assert host.call("UUIDString", on="s").outcome == "no-object"


@pytest.mark.lab
def test_a_daemon_that_hangs_is_an_outcome_and_the_next_one_answers(sys_lab: Callable[[str], Lab]) -> None:
    host = Host(sys_lab("debian-13"), SECRET, limit=2.0)
    try:
        assert host.call("numOfSecrets").outcome == "ok"
        host.run("sh", "-c", "kill -STOP $(busybox pidof libvirtd)")
        said = host.call("numOfSecrets")
        assert (said.outcome, "2 s" in said.words) == ("hung", True)
        assert host.call("numOfSecrets").outcome == "ok"
    finally:
        host.close()


@pytest.mark.lab
def test_calls_come_to_what_they_come_to(host: Host) -> None:
    assert host.call("secretLookupByUUIDString", secret.uuid(9)).text == "refused: NO_SECRET (SECRET)"
    assert host.call("nobodyHasThis").outcome == "no-binding"
    assert host.call("secretDefineXML", "<secret/>", {"constant": "VIR_NOT_THERE"}).outcome == "no-binding"
    assert host.call("undefine", on="nothing").outcome == "no-object"
    with pytest.raises(Absent, match="no program nothing-at-all"):
        host.run("nothing-at-all")
    with pytest.raises(LabError, match="exit status 3"):
        host.out("sh", "-c", "exit 3")
    scene = Scene(host, "here")
    scene.tell("a", "1")
    with pytest.raises(BadData, match="told twice"):
        scene.tell("a", "1")
    with scene.within("there"):
        scene.must("secretLookupByUUIDString", secret.uuid(9))
        scene.tell("never", "told")
    assert scene.facts == {
        "here/a": "1",
        "here/there/(stopped)/secretLookupByUUIDString": "refused: NO_SECRET (SECRET)",
    }


@pytest.mark.lab
def test_a_probe_that_dies_is_no_answer(host: Host) -> None:
    """A new one would be on a host where nothing is any more that was there before."""
    assert host.call("numOfSecrets").outcome == "ok"
    assert host.session.process is not None
    host.session.process.popen.send_signal(signal.SIGKILL)
    host.session.process.popen.wait(10)
    time.sleep(0.2)  # what it held ends with it
    with pytest.raises(LabError):
        host.call("numOfSecrets")


# Nothing of the machine's is touched, and nothing is left.


def _machine() -> dict[str, object]:
    """What a host of ours could have changed of this machine."""
    return {
        "devices": sorted(p.name for p in Path("/sys/class/net").iterdir()),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "namespaces": sorted(p.name for p in Path("/run/netns").iterdir()) if Path("/run/netns").is_dir() else [],
        "groups": sorted(str(p) for p in Path("/sys/fs/cgroup").glob("*/machine*")),
        "libvirt": [p for p in ("/run/libvirt", "/etc/libvirt/secrets", "/var/lib/pools") if Path(p).exists()],
    }


@pytest.mark.lab
@pytest.mark.usefixtures("mapped")
def test_a_network_starts_without_this_machine_noticing(sys_lab: Callable[[str], Lab]) -> None:
    before = _machine()
    with hosting(sys_lab("debian-14"), NETWORK, users=True) as host:
        assert host.call("networkCreateXML", network.document("nat", network.NAT), keep="n").outcome == "ok"
        assert "virbr-t" in host.out("ip", "link")
        assert host.read("/proc/sys/net/ipv4/ip_forward").popitem()[1] == "1\n"
        assert host.processes("dnsmasq")
        assert "eth0" not in host.out("ip", "link")
        assert _machine() == before
        # Root of the host is nobody's outside: it may write to none of this machine's settings.
        for command in ("cat /proc/sys/kernel/printk >/proc/sys/kernel/printk", "touch /sys/x", "touch /usr/bin/x"):
            ran = host.run("sh", "-c", command)
            assert ran.code, command
            assert "Read-only file system" in ran.err or "Permission denied" in ran.err, ran
    assert _machine() == before


SCRIPT = """
import sys
from virtcompat.labs import open_lab
from virtcompat.labs.hosts import hosting
from virtcompat.store import releases
from virtcompat.surfaces.behaviour import network, security, uuid
with hosting(open_lab(releases.find("debian-13-sys")), sys.argv[1], users=True, sysfs=sys.argv[2] == "guest",
             files={"/etc/libvirt/qemu.conf": security.CONFIGURATION}) as host:
    if sys.argv[2] == "guest":
        host.out("sh", "-c", "mkdir -p /var/lib/disks; truncate -s 1M /var/lib/disks/disk.img")
        xml = security.GUEST.format(uuid=uuid(1), disk=security.DISK, more="", source="", disk_more="")
        assert host.call("createXML", xml, 0).outcome == "ok"
        running = host.out("busybox", "pidof", "qemu-system-x86_64")
    else:
        assert host.call("networkCreateXML", network.document("nat", network.NAT)).outcome == "ok"
        assert host.processes("dnsmasq")
    print("runs", flush=True)
    sys.stdin.read()
"""


@pytest.mark.lab
@pytest.mark.usefixtures("mapped")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("uri", "what"), [(NETWORK, "network"), (QEMU, "guest")])
def test_a_kill_in_the_middle_leaves_nothing(
    uri: str, what: str, number: signal.Signals, sys_lab: Callable[[str], Lab], tmp_path: Path
) -> None:
    sys_lab("debian-13")
    before = _machine()
    run = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, uri, what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert run.stdout is not None
        assert run.stdout.readline() == b"runs\n"
        ours = _children(run.pid)
        assert len(ours) > 3
    finally:
        run.send_signal(number)
        run.wait(90)
        for pipe in (run.stdin, run.stdout):
            if pipe:
                pipe.close()
    deadline = time.monotonic() + 10
    while (left := [pid for pid in ours if _alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
    assert _machine() == before


def _children(pid: int) -> list[int]:
    """Every descendant of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_children(int(child))]
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_lab_that_is_no_sandbox_cannot_be_asked() -> None:
    @dataclass(frozen=True)
    class Plain:
        release: str = "mine"
        workdir: str = "/tmp"
        sandboxed: bool = False

        def command(self, daemon: bool) -> list[str]:
            return ["python3"]

    with pytest.raises(Absent, match="in a sandbox only"):
        Host(Plain(), SECRET)  # type: ignore[arg-type]


def test_a_part_that_is_not_here_is_never_equal() -> None:
    record = store.recorded("debian-12", SURFACE.name, tuple(SURFACE.parts))
    assert record is not None
    absent = NotHere("no users but one in a sandbox here", hosts.REMEDY)
    verdicts = records.compare(SURFACE, record, {**record, "network": absent})
    assert [v.case for v in verdicts if v.outcome is Outcome.NOT_HERE] == ["(network)"]
    assert len(verdicts) > 200
