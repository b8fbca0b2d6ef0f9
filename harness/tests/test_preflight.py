"""Preflight: a user's own definitions against the real labs and records: what breaks is found, what is fine is ok, unknown is said."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_hostile_input import HOSTILE
from virtcompat import checks
from virtcompat.cli import group
from virtcompat.documents import parse
from virtcompat.engine import columns, definitions, preflight, standin
from virtcompat.engine.definitions import Read
from virtcompat.engine.preflight import Request
from virtcompat.errors import LabError, UsageError
from virtcompat.labs import Lab, bwrap
from virtcompat.labs.definitions import Failed, Virsh, host
from virtcompat.model import Change, Finding, NotHere, Tier
from virtcompat.policy import drift
from virtcompat.policy import preflight as policy
from virtcompat.policy.drift import Pair, Processor
from virtcompat.policy.preflight import Outlook, Problem, Report, Standing
from virtcompat.store import golden
from virtcompat.store import records as store

GUEST = """<domain type='{type}'><name>{name}</name><uuid>5f1c0de0-0001-4000-8000-0000000000ff</uuid>
<memory unit='KiB'>65536</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='{machine}'>hvm</type></os>{more}
<devices><disk type='file' device='disk'><source file='/a.img'/><target dev='vda' bus='virtio'/></disk>
<interface type='network'><mac address='52:54:00:00:00:01'/><source network='default'/><model type='virtio'/></interface>
{device}<video><model type='vga'/></video><memballoon model='none'/></devices></domain>"""
MACHINES = ("machines",)


def guest(name: str = "web", machine: str = "pc-i440fx-7.2", by: str = "kvm", more: str = "", device: str = "") -> str:
    return GUEST.format(name=name, machine=machine, type=by, more=more, device=device)


def clean(name: str = "web") -> str:
    """A guest of which nothing changes from debian-12 to debian-13, whose QEMU shows every virtio queue otherwise."""
    text = guest(name).replace("dev='vda' bus='virtio'", "dev='sda' bus='usb'")
    return text.replace("model type='virtio'", "model type='e1000'")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Releases of this machine's user are no part of a test."""
    monkeypatch.setenv("VIRT_COMPAT_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def labs(abi: Callable[[str], Lab], lab: Lab) -> None:
    """The labs of debian-12 and debian-14 stand."""
    for name in ("debian-12", "debian-14"):
        abi(name)
        for flavour in ("", "abi"):
            if isinstance(columns.find((name,)).lab(name, flavour), NotHere):
                pytest.skip(f"the lab {name} {flavour} is not built; virt-compat lab create {name}")


def ask(folder: Path, *texts: str, to: str = "debian-14", origin: str = "debian-12", **how: object) -> Report:
    for number, text in enumerate(texts):
        (folder / f"{number}.xml").write_text(text)
    return preflight.run(Request(to, origin, (folder,), **how))  # type: ignore[arg-type]


def only(report: Report) -> Outlook:
    (outlook,) = report.outlooks
    return outlook


def says(outlook: Outlook, words: str) -> Problem:
    return next(p for p in outlook.problems if words in p.what)


# Guests against real labs


@pytest.mark.lab
def test_a_clean_guest_is_ok_and_migrates_there_and_back(labs: None, tmp_path: Path) -> None:
    report = ask(tmp_path, clean(), to="debian-13")
    assert only(report).standing is Standing.OK, only(report)
    assert (only(report).there, only(report).back) == ("yes", "yes")
    assert report.codes == [0]


@pytest.mark.lab
def test_a_machine_type_that_is_gone_breaks_with_what_to_write(labs: None, tmp_path: Path) -> None:
    report = ask(tmp_path, guest("old", "pc-q35-4.2"), guest("new", "pc-q35-7.2"))
    first, second = report.outlooks
    assert (first.name, first.standing, first.machine) == ("old", Standing.BREAKS, "pc-q35-4.2 (gone)")
    problem = first.problems[0]
    assert problem.what == "machine type pc-q35-4.2 is gone in debian-14"
    assert "write machine='pc-q35-7.2'" in problem.remedy
    assert "sees other hardware" in problem.remedy
    assert problem.entry == "qemu-10.1-machine-type-lifetime"
    assert problem.why
    assert not any("does not support machine type" in p.what for p in first.problems)
    assert (first.there, first.back) == ("no", "no")
    assert (second.name, second.standing, second.machine) == ("new", Standing.RISK, "pc-q35-7.2 (deprecated)")
    assert report.codes == [1]
    assert replace(report, gate=None).codes == [0]
    assert replace(report, gate=Tier.RISK, outlooks=[second]).codes == [1]


@pytest.mark.lab
def test_what_libvirt_no_longer_accepts_is_said_in_its_words(labs: None, tmp_path: Path) -> None:
    gone = "<disk type='network'><source protocol='sheepdog' name='a'/><target dev='vdb' bus='virtio'/></disk>"
    report = ask(tmp_path, guest(device=gone), cold=True)
    assert "sheepdog" in says(only(report), "debian-14 does not accept it").what
    assert says(only(report), "debian-14 does not accept it").entry
    assert report.codes == [1]


@pytest.mark.lab
def test_a_processor_that_loses_a_feature(labs: None, tmp_path: Path) -> None:
    """QEMU's models are without mpx from machine type 4.0 on: only older guests ever had it."""

    def cpu(feature: str = "") -> str:
        return f"<cpu mode='custom' match='exact'><model>Skylake-Server</model>{feature}</cpu>"

    named = "<feature policy='disable' name='mpx'/>"
    texts = [
        clean(n).replace("<devices>", f"{cpu(f)}<devices>") for n, f in (("loses", ""), ("named", named), ("never", ""))
    ]
    texts[:2] = [t.replace("pc-i440fx-7.2", "pc-i440fx-3.1") for t in texts[:2]]
    report = ask(tmp_path, *texts, to="debian-13", cold=True)
    standings = {o.name: o.standing for o in report.outlooks}
    assert standings["loses"] is Standing.BREAKS
    assert Standing.BREAKS not in (standings["named"], standings["never"])
    loses = next(o for o in report.outlooks if o.name == "loses")
    assert "<feature policy='require' name='mpx'/>" in says(loses, "mpx").remedy
    assert loses.cpu == "Skylake-Server (other mpx)"


@pytest.mark.lab
def test_what_cannot_be_told_is_unknown_and_not_asked_of_guests_that_are_shut_down(labs: None, tmp_path: Path) -> None:
    own = "<cpu mode='host-model'/>"
    report = ask(tmp_path, guest(more=own, device="<sound model='es1370'/>"))
    assert only(report).standing is Standing.UNKNOWN
    assert only(report).there == only(report).back == "unknown"
    assert any("sound es1370" in gap for gap in only(report).unknown)
    assert any("host-model" in gap for gap in only(report).unknown)
    assert report.codes == [3]
    assert "another processor" in says(only(report), "host-model").what
    cold = ask(tmp_path, cold=True)
    assert (only(cold).standing, only(cold).there, cold.codes) == (Standing.RISK, "", [0])


@pytest.mark.lab
def test_a_guest_that_does_not_arrive_has_to_be_shut_down(
    labs: None, abi: Callable[[str], Lab], tmp_path: Path
) -> None:
    abi("debian-11")
    balloon = guest(machine="pc-i440fx-5.2").replace("memballoon model='none'", "memballoon model='virtio'")
    report = ask(tmp_path, balloon, origin="debian-11")
    problem = says(only(report), "does not migrate to debian-14")
    assert "virtio-balloon" in problem.what
    assert problem.remedy == "shut it down for the upgrade"
    assert problem.tier is Tier.GUEST_ABI_BREAK
    assert says(only(report), "does not migrate back").tier is Tier.RISK
    assert (only(report).there, only(report).back) == ("no", "no")


@pytest.mark.lab
def test_a_guest_that_its_origin_refuses_is_set_aside_and_no_break(labs: None, tmp_path: Path) -> None:
    report = ask(tmp_path, guest(machine="pc-q35-10.0"), guest("thing", by="xen"))
    standings = {o.name: o for o in report.outlooks}
    assert standings["web"].standing is Standing.SET_ASIDE
    assert "does not support machine type 'pc-q35-10.0'" in standings["web"].unknown[0]
    assert standings["thing"].standing is Standing.UNKNOWN
    assert report.codes == [3]


@pytest.mark.lab
def test_an_alias_is_said_to_mean_two_things(labs: None, tmp_path: Path) -> None:
    report = ask(tmp_path, guest("alias", "q35"), guest("none").replace(" machine='pc-i440fx-7.2'", ""), cold=True)
    alias, none = sorted(report.outlooks, key=lambda o: o.name)
    problem = says(alias, "machine='q35' means")
    assert problem.what.endswith("pc-q35-7.2 in debian-12 and pc-q35-11.1 in debian-14")
    assert problem.remedy.startswith("write machine='pc-q35-7.2'")
    assert says(none, "no machine type is named").tier is Tier.RISK


@pytest.mark.lab
def test_other_documents_and_snapshots_have_an_outlook_too(labs: None, tmp_path: Path) -> None:
    texts = [
        f"<domainsnapshot><name>s</name><creationTime>1</creationTime><state>shutoff</state>{guest()}</domainsnapshot>",
        "<domainsnapshot><name>lost</name></domainsnapshot>",
        "<network><name>n</name><forward mode='nat'/><ip address='192.168.9.1' netmask='255.255.255.0'/></network>",
        "<pool type='dir'><name>p</name><target><path>/p</path></target></pool>",
    ]
    found = {o.name: o for o in ask(tmp_path, *texts).outlooks}
    assert {found[name].standing for name in "snp"} == {Standing.OK}
    assert found["lost"].standing is Standing.UNKNOWN
    assert found["n"].there == ""


@pytest.mark.lab
def test_nothing_of_the_input_changes_and_no_record_either(labs: None, tmp_path: Path) -> None:
    def state(folder: Path) -> dict[str, tuple[int, int]]:
        return {str(f): (f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(folder.rglob("*"))}

    file = tmp_path / "0.xml"
    file.write_text(guest())
    file.chmod(0o400)
    data, before, records = file.read_bytes(), state(tmp_path), state(golden.folder())
    ask(tmp_path)
    assert file.read_bytes() == data
    assert state(tmp_path) == before
    assert state(golden.folder()) == records


@pytest.mark.lab
def test_hostile_files_have_a_line_each_and_the_others_are_judged(labs: None, tmp_path: Path) -> None:
    for name, content in HOSTILE.items():
        (tmp_path / f"{name}.xml").write_bytes(content)
    os.mkfifo(tmp_path / "fifo.xml")
    (tmp_path / "self.xml").symlink_to("self.xml")
    (tmp_path / "broken.xml").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "\x1b[31m.xml").write_text("<domstatus/>")
    report = ask(tmp_path, clean(), to="debian-13")
    assert {o.name: o.standing for o in report.outlooks} == {"web": Standing.OK, "a": Standing.OK}
    sources = [Path(source).stem for source, _, code in report.left_out if code == 2]
    assert sorted(sources) == sorted({*HOSTILE, "fifo", "self", "broken"} - {"another kind"})
    assert all(source.isprintable() and why.isprintable() for source, why, _ in report.left_out)
    assert report.codes == [2]


# Where definitions come from


def older(name: str) -> tuple[str, str]:
    provenance = golden.provenance(name)
    assert provenance is not None
    return provenance.products["libvirt"], provenance.products["qemu"]


def origins(host: tuple[str, str] | None, to: str = "debian-14", origin: str = "") -> preflight.Origins:
    return preflight._origins(Request(to, origin, host=lambda: host))


def test_the_origin_is_what_is_said_else_what_this_host_runs_else_guessed_aloud() -> None:
    assert origins(None, origin="debian-12") == preflight.Origins(("debian-12",))
    here = origins(older("debian-12"))
    assert (here.names, here.guessed) == (("debian-12",), False)
    assert "--from debian-12 was assumed: this host runs libvirt 9.0.0" in here.note
    for runs in (None, ("10.7.0", "9.1"), older("debian-14"), ("9.1.0", "7.2"), ("9.0.0", "8.0")):
        any_older = origins(runs)
        assert any_older.names == ("debian-11", "debian-12", "debian-13"), runs
        assert any_older.guessed
        assert "the oldest of debian-11, debian-12, debian-13 that accepts it" in any_older.note


@pytest.mark.parametrize(
    ("to", "origin"), [("debian-12", "debian-14"), ("debian-12", "debian-12"), ("debian-11", ""), ("debian-99", "")]
)
def test_origins_that_cannot_be(to: str, origin: str) -> None:
    with pytest.raises(UsageError):
        origins(None, to, origin)


@pytest.mark.lab
def test_a_guess_takes_the_oldest_release_that_accepts_it(labs: None, tmp_path: Path) -> None:
    report = ask(tmp_path, guest(machine="pc-i440fx-7.2"), origin="", cold=True, host=lambda: None)
    assert (only(report).origin, bool(only(report).assumed)) == ("debian-12", True)
    assert any("no --from" in note for note in report.notes)


def test_this_hosts_own_daemon_says_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, words in (("virtqemud", "virtqemud (libvirt) 9.0.0"), ("kvm", "QEMU emulator version 7.2.9 (Debian)")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{words}'\n")
        (tmp_path / name).chmod(0o755)
    assert host() == ("9.0.0", "7.2.9")
    (tmp_path / "virtqemud").write_text("#!/bin/sh\nexit 1\n")
    if not any(Path(folder, "libvirtd").exists() for folder in ("/usr/sbin", "/usr/local/sbin", "/sbin")):
        assert host() is None


# A running libvirt


@pytest.mark.lab
def test_a_libvirt_is_read_through_its_read_only_connection(labs: None, lab: Lab) -> None:
    prefix = (*bwrap.command(lab.folder / "root", daemon=False, cache=None), "virsh")  # type: ignore[attr-defined]
    virsh = Virsh("test:///default", prefix)
    assert virsh.versions() == ("9.0.0", "")
    report = preflight.run(Request("debian-14", "", virsh=virsh))
    assert [(o.kind, o.name, o.standing) for o in report.outlooks] == [
        ("domain", "test", Standing.OK), ("network", "default", Standing.OK), ("storagepool", "default-pool", Standing.OK),
    ]  # fmt: skip
    assert report.codes == [0]
    with pytest.raises(LabError, match="nowhere"):
        Virsh("test:///nowhere", prefix).versions()


def virsh(folder: Path, script: str) -> Virsh:
    """A virsh that writes down what it is asked and answers what a script says."""
    file = folder / "virsh"
    file.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n{script}\n')
    file.chmod(0o755)
    return Virsh("qemu:///system", (str(file),))


ONE, OTHER = "6695eb01-f6a4-8304-79aa-97f2502e193f", "6695eb01-f6a4-8304-79aa-97f2502e1940"


def test_what_a_libvirt_does_not_give_is_named(tmp_path: Path) -> None:
    script = f"""for last; do :; done
case "$last" in
  "list --all --uuid") printf '%s\\n' {ONE} {OTHER} '' 'no uuid';;
  "net-list --all --uuid") echo 'error: no network driver' >&2; exit 1;;
  "pool-list --all --uuid") ;;
  *"; echo "*) cat {tmp_path}/here; echo "${{last##*; echo }}";;
  *) echo 'error: Domain not found' >&2; exit 1;;
esac"""
    (tmp_path / "here").write_text(guest("here"))
    read = Read()
    definitions.of_libvirt(virsh(tmp_path, script), read, lambda done, of: None)
    assert [d.name for d in read.definitions] == ["here"]
    assert {(left.source, left.why, left.code) for left in read.left_out} == {
        (f"qemu:///system {OTHER}", "Domain not found", 3), ("qemu:///system (network)", "no network driver", 3)
    }  # fmt: skip
    asked = (tmp_path / "asked").read_text().splitlines()
    assert all(line.startswith("--readonly --quiet --connect=qemu:///system ") for line in asked)


def test_a_virsh_that_is_not_there_or_says_nothing(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="cannot run /nowhere"):
        Virsh("qemu:///system", ("/nowhere",)).versions()
    assert replace(virsh(tmp_path, "exec sleep 9"), limit=0.1).uuids("domain") == Failed(
        "virsh gave no answer within 0.1 s"
    )


# What is read and left out


def test_a_file_counts_once_and_what_is_no_definition_is_named(tmp_path: Path) -> None:
    (tmp_path / "autostart").mkdir()
    (tmp_path / "a.xml").write_text(guest())
    (tmp_path / "autostart" / "a.xml").symlink_to(tmp_path / "a.xml")
    (tmp_path / "hard.xml").hardlink_to(tmp_path / "a.xml")
    (tmp_path / "run.xml").write_text(f"<domstatus>{guest()}</domstatus>")
    (tmp_path / "volume.xml").write_text("<volume><name>v</name></volume>")
    (tmp_path / "notes.txt").write_text("hello")
    read = Read()
    definitions.of_files((tmp_path, tmp_path / "a.xml"), read)
    assert [d.name for d in read.definitions] == ["web"]
    assert read.passed == 1
    assert {Path(left.source).name: left.code for left in read.left_out} == {"run.xml": 0, "volume.xml": 3}
    named = Read()
    definitions.of_files((tmp_path / "run.xml", tmp_path / "nowhere.xml"), named)
    assert [left.code for left in named.left_out] == [3, 2]


@pytest.mark.parametrize("content", [None, "<capabilities/>"])
def test_nothing_to_judge_is_an_error(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "a.xml").write_text(content)
    with pytest.raises(UsageError, match="no definition to judge"):
        ask(tmp_path)


def test_without_labs_everything_is_unknown_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRT_COMPAT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "own").mkdir()
    report = ask(tmp_path / "own", guest())
    assert only(report).standing is Standing.UNKNOWN
    assert "virt-compat lab create debian-12" in only(report).unknown[0]
    assert report.codes == [3]


# The stand-in


def test_a_stand_in_has_no_kvm_no_password_and_nothing_random() -> None:
    text = guest(device="<graphics type='vnc' passwd='geheim'/>").replace("<mac address='52:54:00:00:00:01'/>", "")
    text = text.replace("<uuid>5f1c0de0-0001-4000-8000-0000000000ff</uuid>", "<genid/>")
    own = standin.exact(text)
    assert own.kvm
    assert own == standin.exact(text)
    assert "geheim" not in own.text
    root = parse(own.text)
    assert root.get("type") == "qemu"
    assert root.find("devices/graphics").get("passwd") == "xxxxxx"  # type: ignore[union-attr]
    assert root.findtext("uuid")
    assert root.findtext("genid")
    assert root.find("devices/interface/mac") is not None
    assert root.findtext("name") == "web"


def test_what_no_lab_takes_is_replaced_and_said() -> None:
    tpm = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
    shared = "<filesystem><driver type='virtiofs'/><source dir='/a'/><target dir='a'/></filesystem>"
    own = standin.exact(guest(device=tpm + shared, more="<launchSecurity type='sev'/>"))
    reduced = standin.reduced(own)
    assert [word.partition(":")[0] for word in reduced.replaced] == ["TPM", "virtiofs", "launch security"]
    root = parse(reduced.text)
    assert root.find("devices/filesystem") is None
    assert root.find("devices/tpm/backend").attrib == {"type": "passthrough"}  # type: ignore[union-attr]
    plain = standin.exact(guest())
    assert standin.reduced(plain) is plain


def test_hardware_keeps_what_a_guest_sees_and_says_what_it_is_without() -> None:
    disk = "<disk type='network'><auth username='a'/><source protocol='rbd' name='p'/><target dev='sda' bus='sata'/></disk>"
    host_device = "<hostdev mode='subsystem' type='pci'><source/></hostdev>"
    cpu = "<cpu mode='host-passthrough'><topology sockets='1' cores='1' threads='1'/><feature name='x'/></cpu>"
    found = standin.hardware(standin.exact(guest(device=disk + host_device, more=cpu)).text)
    assert found.replaced == ("network cards", "host devices")
    root = parse(found.text)
    assert [d.get("type") for d in root.iterfind("devices/disk")] == ["file", "file"]
    assert root.find("devices/disk/auth") is None
    assert [c.tag for c in root.find("cpu")] == ["topology"]  # type: ignore[union-attr]
    assert root.find("cpu").attrib == {}  # type: ignore[union-attr]
    named = parse(standin.hardware(guest(more="<cpu><model>Haswell</model></cpu>")).text)
    assert named.findtext("cpu/model") == "Haswell"


# Records alone


@pytest.fixture(scope="module")
def pair() -> Pair:
    facts = []
    for name in ("debian-12", "debian-14"):
        record = store.recorded(name, "machine-types", MACHINES)
        assert record is not None
        assert not isinstance(record["machines"], NotHere)
        facts.append(record["machines"])
    return Pair("debian-12", "debian-14", facts[0], facts[1], {}, {}, {})


def test_the_machine_type_to_go_to_is_the_newest_that_both_have(pair: Pair) -> None:
    assert drift.replacement("pc-q35-2.4", "x86_64", pair.before, pair.after) == "pc-q35-7.2"
    assert drift.replacement("pc-1.3", "x86_64", pair.before, pair.after) == "pc-i440fx-7.2"
    assert drift.replacement("pc-q35-2.4", "x86_64", pair.after, pair.after) == "pc-q35-11.1"
    assert drift.replacement("isapc", "x86_64", pair.before, pair.after) == ""
    assert drift.replacement("pseries-5.2", "ppc64", pair.before, pair.after) == ""


def test_a_machine_of_which_no_record_says_anything_is_no_problem(pair: Pair) -> None:
    assert drift.machine(pair, "m68k", "virt-7.2", "virt-7.2") == ("virt-7.2", [])
    assert drift.machine(pair, "x86_64", "pc-q35-8.0", "pc-q35-8.0")[0] == "pc-q35-8.0 (deprecated)"
    assert drift.machine(pair, "x86_64", "pc-q35-99.9", "pc-q35-99.9")[0] == "pc-q35-99.9 (gone)"


def test_a_processor_of_its_own_is_told_from_the_one_that_was_tried() -> None:
    assert drift.translated(Processor()) == ("plain",)
    assert drift.translated(Processor("custom", "Nehalem")) == ("processors",)
    assert drift.translated(Processor("custom", "EPYC")) == ()
    assert drift.translated(Processor("host-model")) == ()


# Standings and exit codes


def outlook(standing: Standing, *tiers: Tier, unknown: tuple[str, ...] = ()) -> Outlook:
    problems = tuple(Problem(tier, tier.label) for tier in tiers)
    return Outlook("a", "domain", "a.xml", standing, problems=problems, unknown=unknown)


def report(*outlooks: Outlook, left: int = 0, gate: Tier | None = Tier.BREAK) -> Report:
    return Report("debian-14", {}, outlooks, [("x", "y", left)] if left else [], (), gate)


def test_exit_codes_and_their_precedence() -> None:
    good, bad = outlook(Standing.OK), outlook(Standing.BREAKS, Tier.BREAK, unknown=("x",))
    broken = outlook(Standing.BROKEN)
    assert report(good).codes == [0]
    assert report().codes == [3]
    assert report(good, bad).codes == [1, 3]
    assert report(good, bad, gate=None).codes == [3]
    assert report(good, left=3).codes == [3]
    assert report(good, bad, broken, left=2).codes == [2, 4, 1, 3]
    assert report(outlook(Standing.SET_ASIDE)).codes == [3]


def test_the_worst_stands_first_and_a_break_is_one_whatever_is_unknown() -> None:
    assert policy.standing([Problem(Tier.BREAK, "x")], ["y"], failed=True) is Standing.BREAKS
    assert policy.standing([Problem(Tier.RISK, "x")], ["y"], failed=True) is Standing.BROKEN
    assert policy.standing([Problem(Tier.RISK, "x")], ["y"], failed=False) is Standing.UNKNOWN
    assert policy.standing([Problem(Tier.RISK, "x")], [], failed=False) is Standing.RISK
    assert policy.standing([], [], failed=False) is Standing.OK
    mixed = [outlook(s) for s in (Standing.OK, Standing.RISK, Standing.UNKNOWN, Standing.BREAKS)]
    assert [o.standing for o in policy.in_order(mixed)] == [
        Standing.BREAKS, Standing.UNKNOWN, Standing.RISK, Standing.OK
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "finding", "words", "tier"),
    [
        ("upgrade-disk", Finding("(load)", Change.LOST, Tier.GUEST_ABI_BREAK, "", "w"), "gone after", Tier.GUEST_ABI_BREAK),
        ("upgrade-redefine", Finding("(define)", Change.CRASHED, Tier.BREAK, "", "w"), "dies of it", Tier.BREAK),
        ("downgrade", Finding("(define)", Change.REFUSED, Tier.BREAK, "", "w"), "debian-12 refuses", Tier.RISK),
        ("downgrade", Finding("/domain/a/@b", Change.REMOVED, Tier.BREAK, "v", ""), "a/@b is gone: v", Tier.RISK),
        ("same-hardware", Finding("/device[x]/addr", Change.CHANGED, Tier.BREAK, "1", "2"), "was 1, becomes 2", Tier.BREAK),
        ("upgrade-disk", Finding("/domain/a", Change.ADDED, Tier.RISK, "", "v"), "takes it otherwise: a is new", Tier.RISK),
        ("round-trip", Finding("(schema)", Change.INVALID, Tier.RISK, "", "w"), "schema: invalid: w", Tier.RISK),
    ],
)  # fmt: skip
def test_every_finding_is_a_sentence(check: str, finding: Finding, words: str, tier: Tier) -> None:
    problem = policy.of_document(check, finding, "debian-12", "debian-14")
    assert words in problem.what
    assert problem.tier is tier


@pytest.mark.lab
def test_a_check_that_fails_is_this_definitions_outcome(
    labs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(self: object, case: checks.Case, old: str, new: str) -> checks.Steps:
        yield case.define(old)
        raise ValueError("a bug")

    monkeypatch.setattr(type(checks.every()["downgrade"]), "judge", judge)
    failed = ask(tmp_path, clean(), to="debian-13", cold=True)
    assert only(failed).standing is Standing.BROKEN
    assert "ValueError: a bug" in only(failed).unknown[0]
    assert failed.exit_code == 4


# The command


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = group.main(["preflight", *arguments], standalone_mode=False)
    return int(code), capsys.readouterr().out


@pytest.mark.lab
def test_the_command_prints_a_line_each_and_the_same_in_every_format(
    labs: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.xml").write_text(guest("fine", "pc-i440fx-7.2"))
    (tmp_path / "b.xml").write_text(guest("gone", "pc-i440fx-4.2"))
    (tmp_path / "c.xml").write_text("<domain")
    where = ("--from", "debian-12", "--to", "debian-14", str(tmp_path))
    code, text = run(capsys, *where)
    assert code == 2
    lines = text.splitlines()
    assert lines[0].startswith("2 guests: debian-12 (libvirt 9.0.0")
    assert [line.split()[:2] for line in lines[3:5]] == [["breaks", "gone"], ["risk", "fine"]]
    assert "-> write machine='pc-i440fx-7.2'" in lines[3]
    assert any(line.startswith("left out  ") and "c.xml" in line for line in lines)
    code, everything = run(capsys, *where, "--all")
    assert "because Versioned machine types" in everything
    code, written = run(capsys, *where, "--format", "json")
    record = json.loads(written)
    assert (code, record["exit_code"], record["exit_codes"]) == (2, 2, [2, 1])
    assert [d["name"] for d in record["definitions"]] == ["gone", "fine"]
    assert record["definitions"][0]["problems"][0]["tier"] == "break"
    code, table = run(capsys, *where, "--format", "markdown")
    assert "| breaks | gone | debian-12 | pc-i440fx-4.2 (gone) |" in table


def test_what_is_left_out_is_named_as_compilers_do_with_a_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.xml"
    cut.write_text("<domain type='kvm' a")
    (tmp_path / "volume.xml").write_text("<volume><name>v</name></volume>")
    where = ("--from", "debian-12", "--to", "debian-14", "--cold", str(cut), str(tmp_path / "gone.xml"))
    code, text = run(capsys, *where)
    assert code == 2
    head, *rest = text.splitlines()
    assert re.fullmatch(r"0 guests: debian-12 \(libvirt 9\S+, QEMU \S+\) -> debian-14 \(.*\)", head)
    words = "not well-formed XML: Specification mandates value for attribute a, line 1, column 21"
    assert f"left out  {cut}:1: {words}" in rest
    assert f"left out  {tmp_path / 'gone.xml'}: cannot be read: No such file or directory" in rest
    assert [line for line in rest if line.startswith("remedy: ")] == [
        "remedy: check the path, or have libvirt write the file anew: virsh dumpxml --inactive NAME > FILE"
    ]
    _, table = run(capsys, *where, "--format", "markdown")
    assert table.startswith("# 0 guests: debian-12 (")
    code, text = run(capsys, *where[:5], str(tmp_path / "volume.xml"))
    assert code == 3
    assert "remedy: give definitions, as 'virsh dumpxml --inactive NAME' writes them" in text


def test_the_command_wants_something_to_judge() -> None:
    with pytest.raises(UsageError, match="nothing to judge"):
        group.main(["preflight", "--to", "debian-14"], standalone_mode=False)
