"""Drivers on stand-ins: the release's own code against programs of ours, honest ones and such as lie, die and hang."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from virtcompat import drivers
from virtcompat.engine import columns, run
from virtcompat.engine.answers import Answers
from virtcompat.errors import Absent
from virtcompat.labs import BOOTSTRAP, Lab, stages
from virtcompat.labs.stages import StandIn
from virtcompat.labs.visit import visiting
from virtcompat.model import Answer, NotHere, Outcome, Question, Tier
from virtcompat.policy import records
from virtcompat.store import fixtures, paths
from virtcompat.surfaces import standins
from virtcompat.surfaces.recorded.standins import SURFACE
from virtcompat.surfaces.standins import Scene, Step, esx, opening, openvz, told, vmware

FOLDERS = sorted(f for f in (paths.PACKAGE / "data" / "standins").iterdir() if f.is_dir())
SHORT = Scene("short", (*openvz.LIFE.steps[:8], openvz.on("start", "create"), openvz.on("state-running", "state")))


def scene(scenes: tuple[Scene, ...], name: str) -> Scene:
    return next(s for s in scenes if s.name == name)


def facts(lab: Lab, stage: str, *scenes: Scene) -> dict[str, str]:
    with visiting(lab) as visit:
        return told(visit, stage, scenes, openvz.plain if stage == "openvz" else list)


def altered(stage: str, folder: Path, file: str, old: str, new: str) -> StandIn:
    """A stand-in of which one file says something else."""
    shutil.copytree(paths.PACKAGE / "data" / "standins" / stage, folder)
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    member = stages.every()[stage]
    assert isinstance(member, StandIn)
    return replace(member, folder=str(folder))


@contextmanager
def instead(other: StandIn) -> Iterator[None]:
    """Another stand-in on the stage of its name."""
    with pytest.MonkeyPatch.context() as patch:
        everything = {**stages.every(), other.name: other}
        patch.setattr(stages, "every", lambda: everything)
        yield


# The family.


def test_every_folder_is_a_stage_and_says_what_it_stands_for() -> None:
    assert set(stages.every()) == {f.name for f in FOLDERS}
    for name, stage in stages.every().items():
        assert stage.name == name
        assert len(stage.summary) > 20


def test_programs_that_libvirt_starts_can_be_started() -> None:
    for file in ("openvz/vz.py", "vmware/vmrun.py"):
        assert os.access(paths.PACKAGE / "data" / "standins" / file, os.X_OK), file


def test_a_stage_is_its_files_and_arguments(tmp_path: Path) -> None:
    same = altered("openvz", tmp_path / "same", "cpus", "0-3", "0-3")
    other = altered("openvz", tmp_path / "other", "cpus", "0-3", "0-7")
    assert same.digest() == stages.digest("openvz") != other.digest()
    assert replace(same, arguments=()).digest() != same.digest()
    assert stages.digest("") == ""


@pytest.mark.lab
def test_without_a_stage_a_lab_is_entered_as_ever(lab: Lab) -> None:
    assert stages.command(lab) == lab.command(daemon=False)
    assert stages.command(lab, daemon=True) == lab.command(daemon=True)
    staged = stages.command(lab, "openvz")
    assert not isinstance(staged, NotHere)
    assert staged[-1] == BOOTSTRAP
    assert set(lab.command(daemon=False)) < set(staged)


class Remote:
    """A lab that is entered over ssh."""

    release, workdir, sandboxed, schemas, versions = "far", "/tmp/far", False, "", {}

    def command(self, daemon: bool) -> list[str]:
        return ["ssh", "far", BOOTSTRAP]

    def fingerprint(self) -> str:
        return "far"


@pytest.mark.parametrize("stage", [f.name for f in FOLDERS])
def test_a_lab_that_is_no_sandbox_is_not_here_with_a_remedy(stage: str) -> None:
    missing = stages.command(Remote(), stage)  # type: ignore[arg-type]
    assert isinstance(missing, NotHere)
    assert stage in missing.reason
    assert "lab" in missing.remedy

    class Visiting:
        lab, release = Remote(), "far"

    with pytest.raises(Absent):
        told(Visiting(), stage, (SHORT,))  # type: ignore[arg-type]


@pytest.mark.parametrize("driver", [f.name for f in FOLDERS])
def test_each_driver_has_documents_of_its_own(driver: str) -> None:
    own = fixtures.load(("domain",), (driver,))
    assert len(own) >= 12
    assert all(f.case.startswith(f"{driver}-") and f.drivers == (driver,) for f in own)


# What the real drivers do on them.


@pytest.mark.lab
def test_a_container_lives(lab: Lab) -> None:
    found = facts(lab, "openvz", openvz.LIFE)
    assert found["openvz/life/define/outcome"] == "accepted"
    assert (found["openvz/life/state-running/value"], found["openvz/life/state-stopped/value"]) == ("[1, 1]", "[5, 1]")
    assert found["openvz/life/list-running/value"] == "[101]"
    asked = "openvz/life/define/asked/"
    assert f"{asked}[vzctl --quiet set 101 --kmemsize 268435456 --save]" in found
    # Neither a pointer nor an address that is drawn at random is ever compared.
    assert f"{asked}[vzctl --quiet create 101 --name 101 --ostemplate (a pointer)]" in found
    assert any("(drawn)" in path for path in found)
    assert not any(re.search(r"52:54:00", path) for path in found)


@pytest.mark.lab
def test_a_container_is_not_undefined_as_two_actions_are_one_too_many(lab: Lab) -> None:
    found = facts(lab, "openvz", openvz.LIFE)
    assert found["openvz/life/undefine/outcome"].startswith("refused")
    assert "Bad CT ID destroy" in found["openvz/life/undefine/words"]


@pytest.mark.lab
def test_a_machine_of_vmware_lives_and_the_player_cannot_suspend(lab: Lab) -> None:
    life = [scene(vmware.SCENES, name) for name in ("life", "life-player")]
    found = facts(lab, "vmware", *life)
    assert found["vmware/life/suspend/outcome"] == "accepted"
    assert found["vmware/life-player/suspend/outcome"].startswith("refused")
    assert found["vmware/life/list-running/value"] == "[4711]"
    assert found["vmware/life/dump-running/xml/domain/devices/graphics[vnc]/@port"] == "5901"
    assert "vmware/life-player/open/asked/[vmplayer -v]" in found


@pytest.mark.lab
def test_a_machine_of_an_esx_host_lives(lab: Lab) -> None:
    found = facts(lab, "esx", esx.LIFE, esx.NETWORKS)
    assert found["esx/life/define/outcome"] == "accepted"
    assert found["esx/life/dump/xml/domain/devices/disk[sda]/source/@file"] == "[datastore1] guest/guest.vmdk"
    # The model was looked up in the disk image, over the API.
    assert found["esx/life/dump/xml/domain/devices/controller[scsi,0]/@model"] == "lsilogic"
    assert found["esx/life/start/order"].split()[-5:] == [
        "CreateFilter", "FindByUuid", "RetrieveProperties", "WaitForUpdates", "DestroyPropertyFilter",
    ]  # fmt: skip
    assert found["esx/networks/list-more/value"] == '["vSwitch0", "vSwitch1"]'
    assert found["esx/networks/list-less/value"] == '["vSwitch0"]'
    assert not any("standin" in value for value in found.values()), "no password is written down"


@pytest.mark.lab
def test_a_record_is_the_same_twice(abi: Callable[[str], Lab]) -> None:
    chosen = openvz.LIFE, scene(esx.SCENES, "found-instance-uuid")
    first, second = (
        [facts(abi("debian-13"), s, c) for s, c in zip(("openvz", "esx"), chosen, strict=True)] for _ in range(2)
    )
    assert first == second
    assert len(first[0]) > 150


# What differs between releases.


def compared(abi: Callable[[str], Lab], stage: str, part: Scene, old: str, new: str) -> dict[str, tuple[str, Tier]]:
    """interface -> (change, tier) of the worst finding, the openvz part standing for all parts."""
    sides = [{"openvz": facts(abi(name), stage, part), "vmware": {"x": "y"}, "esx": {"x/": "y"}} for name in (old, new)]
    verdicts = records.compare(SURFACE, sides[0], sides[1])
    return {v.case: (v.findings[0].change.value, v.worst) for v in verdicts if v.worst > Tier.ADDITION}


@pytest.mark.lab
def test_memory_parameters_of_a_container_are_lost_on_the_way(abi: Callable[[str], Lab]) -> None:
    found = compared(abi, "openvz", openvz.LIFE, "debian-11", "debian-12")
    assert found["openvz/life/memory-parameters"] == ("refused", Tier.BREAK)
    assert "openvz/life/define" not in found
    assert compared(abi, "openvz", openvz.LIFE, "debian-12", "debian-13") == {}


@pytest.mark.lab
def test_a_machine_with_two_identifiers_is_another_domain_from_12_4_on(abi: Callable[[str], Lab]) -> None:
    found = compared(abi, "esx", scene(esx.SCENES, "found-instance-uuid"), "debian-13", "debian-14")
    assert found["esx/found-instance-uuid/list"][1] == Tier.BREAK
    assert found["esx/found-instance-uuid/lookup-bios"] == ("refused", Tier.BREAK)
    assert found["esx/found-instance-uuid/dump"][1] == Tier.BREAK


@pytest.mark.lab
def test_a_datastore_that_is_not_mounted_kills_older_clients_and_nothing_else(abi: Callable[[str], Lab]) -> None:
    unmounted = scene(esx.SCENES, "found-unmounted")
    dead, alive = (facts(abi(name), "esx", unmounted) for name in ("debian-11", "debian-14"))
    assert dead["esx/found-unmounted/lookup/outcome"] == "accepted"
    assert (dead["esx/found-unmounted/dump/outcome"], dead["esx/found-unmounted/dump/words"]) == ("crashed", "SIGSEGV")
    assert alive["esx/found-unmounted/dump/outcome"] == "accepted"


@pytest.mark.lab
def test_a_bridged_machine_without_a_network_name_keeps_newer_drivers_shut(abi: Callable[[str], Lab]) -> None:
    found = compared(abi, "vmware", scene(vmware.SCENES, "found-bridged-without-name"), "debian-11", "debian-14")
    assert found["vmware/found-bridged-without-name/open"] == ("refused", Tier.BREAK)


# Stand-ins that lie, die, hang and ask for more.


def unlike(lab: Lab, other: StandIn, *scenes: Scene) -> set[str]:
    """The facts that another stand-in changes."""
    honest = facts(lab, other.name, *scenes)
    with instead(other):
        lying = facts(lab, other.name, *scenes)
    return {path for path in honest.keys() | lying.keys() if honest.get(path) != lying.get(path)}


@pytest.mark.lab
def test_a_lying_vzlist_is_seen(lab: Lab, tmp_path: Path) -> None:
    lie = altered("openvz", tmp_path / "lie", "vz.py", "        return state(container)", '        return "running"')
    assert {"openvz/short/state/value", "openvz/short/start/outcome"} <= unlike(lab, lie, SHORT)


def failing(action: str, folder: Path) -> StandIn:
    """A vzctl that does not do one thing."""
    return altered(
        "openvz",
        folder,
        "vz.py",
        "    now = state(container)\n",
        f"    if action == {action!r}:\n        sys.exit(7)\n    now = state(container)\n",
    )


@pytest.mark.lab
def test_a_vzctl_that_fails_is_seen_and_named(lab: Lab, tmp_path: Path) -> None:
    with instead(failing("start", tmp_path / "fails")):
        found = facts(lab, "openvz", SHORT)
    assert found["openvz/short/start/outcome"].startswith("refused")
    assert "unexpected exit status 7" in found["openvz/short/start/words"]
    assert found["openvz/short/state-running/value"] == "[5, 0]"


@pytest.mark.lab
def test_steps_on_what_there_is_not_are_not_played(lab: Lab, tmp_path: Path) -> None:
    with instead(failing("set", tmp_path / "fails")):
        found = facts(lab, "openvz", SHORT)
    assert found["openvz/short/define/outcome"].startswith("refused")
    assert "openvz/short/state/outcome" not in found, "there is no container whose state could be asked"


@pytest.mark.lab
def test_words_that_are_no_text_end_nothing(lab: Lab, tmp_path: Path) -> None:
    fails = altered(
        "openvz",
        tmp_path / "fails",
        "vz.py",
        '    if action == "create":\n',
        '    if action == "create":\n        sys.exit(7)\n',
    )
    with instead(fails):
        found = facts(lab, "openvz", SHORT)
    # libvirt repeats the command, a pointer in it: whether that happens to be text is chance.
    assert found["openvz/short/define/outcome"].partition(" ")[0] in ("refused", "garbled")
    assert found["openvz/short/list/outcome"] == "accepted"


@pytest.mark.lab
def test_a_hypervisor_that_does_not_answer_is_seen(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = altered(
        "openvz",
        tmp_path / "hangs",
        "vz.py",
        "def listed(words: list[str]) -> None:",
        "def listed(words: list[str]) -> None:\n    os.read(os.pipe()[0], 1)",
    )
    monkeypatch.setattr(standins, "LIMIT", 5.0)
    with instead(hangs):
        found = facts(lab, "openvz", SHORT)
    assert found == {
        "openvz/short/open/outcome": "hung",
        "openvz/short/open/words": "SIGKILL",
        "openvz/short/open/asked/[vzlist -a -ovpsid,status -H]": "1",
        "openvz/short/open/order": "vzlist",
    }


@pytest.mark.lab
def test_a_lying_vmrun_is_seen(lab: Lab, tmp_path: Path) -> None:
    lie = altered("vmware", tmp_path / "lie", "vmrun.py", "        keep(sorted({*now, machine}))", "        keep([])")
    found = unlike(lab, lie, scene(vmware.SCENES, "life"))
    assert {"vmware/life/start/outcome", "vmware/life/list-running/value"} <= found


@pytest.mark.lab
@pytest.mark.parametrize(
    ("file", "old", "new", "where"),
    [
        ("inventory.xml", ">4</hardware.cpuInfo.numCpuCores>", ">6</hardware.cpuInfo.numCpuCores>", "node/value"),
        ("host.py", '("poweredOff", "suspended"), "poweredOn"', '("poweredOff", "suspended"), "poweredOff"', "state-running/value"),
        ("vsphere.py", "data = file.read_bytes()", "data = file.read_bytes().replace(b'256', b'512')", "dump/xml/domain/memory"),
    ],
)  # fmt: skip
def test_a_lying_host_is_seen(lab: Lab, tmp_path: Path, file: str, old: str, new: str, where: str) -> None:
    assert f"esx/life/{where}" in unlike(lab, altered("esx", tmp_path / "lie", file, old, new), esx.LIFE)


@pytest.mark.lab
def test_a_host_that_leaves_out_what_the_driver_needs_is_an_outcome(lab: Lab, tmp_path: Path) -> None:
    less = altered("esx", tmp_path / "less", "inventory.xml", "<level>-2147483647</level>", "")
    with instead(less):
        found = facts(lab, "esx", Scene("short", esx.LIFE.steps[:3]))
    assert found["esx/short/open/outcome"].startswith(("refused", "crashed"))


@pytest.mark.lab
def test_a_method_that_the_stand_in_lacks_is_told_not_guessed(lab: Lab) -> None:
    snapshot = Step(
        "snapshot", "snapshotCreateXML", ("<domainsnapshot><name>s</name></domainsnapshot>", 0), on="domain"
    )
    steps = (opening(esx.URI), Step("define", "defineXML", (esx.GUEST,), keep="domain"), snapshot)
    found = facts(lab, "esx", Scene("more", steps))
    assert "the stand-in does not know CreateSnapshot_Task" in found["esx/more/snapshot/words"]


def test_what_is_asked_anew_is_a_risk_and_what_no_longer_works_a_break() -> None:
    base = {"a/b/c/outcome": "accepted", "a/b/c/asked/[x]": "1", "a/b/c/order": "x", "a/b/c/value": "1"}
    parts = {"vmware": {"d/e/f/outcome": "accepted"}, "esx": {"g/h/i/outcome": "accepted"}}

    def worst(**changes: str) -> Tier:
        new = {**base, **{f"a/b/c/{k.replace('_', '/', 1)}": v for k, v in changes.items()}}
        verdicts = records.compare(SURFACE, {"openvz": base, **parts}, {"openvz": new, **parts})
        return max(v.worst for v in verdicts)

    assert worst() == Tier.IDENTICAL
    assert worst(order="x x") == Tier.ADDITION
    assert worst(**{"asked_[y]": "1"}) == Tier.RISK
    assert worst(outcome="refused (1/28)") == Tier.BREAK
    assert worst(outcome="crashed") == Tier.BREAK
    assert worst(value="2") == Tier.BREAK


# Documents, through the checks of all drivers.


@pytest.mark.lab
@pytest.mark.parametrize(("driver", "case"), [("openvz", "bridges"), ("vmware", "scsi-lsilogic"), ("esx", "scsi-auto")])
def test_documents_go_through_the_checks(abi: Callable[[str], Lab], driver: str, case: str) -> None:
    asked = ("round-trip", "upgrade-disk", "upgrade-redefine", "downgrade", "same-input")
    selection = run.Selection(asked, ("domain",), (driver,), ("debian-12", "debian-14"), cases=(f"{driver}-{case}",))
    matrix = run.run(selection)
    counts = {check: sum((c.asked for c in matrix.cells if c.key.check == check), start=0) for check in asked}
    assert counts == {"round-trip": 2, "upgrade-disk": 3, "upgrade-redefine": 3, "downgrade": 1, "same-input": 2}
    assert not any(v.outcome in (Outcome.NOT_HERE, Outcome.BROKEN) for c in matrix.cells for v in c.verdicts)
    assert [c.unexplained for c in matrix.cells] == [0] * len(matrix.cells)


@pytest.mark.lab
def test_another_stand_in_is_asked_anew_and_what_it_says_is_seen(lab: Lab, tmp_path: Path) -> None:
    document = next(f for f in fixtures.load(("domain",), ("openvz",)) if f.case == "openvz-vcpu")
    question = Question("debian-12", "openvz", "domain", "define", document.text, recorded=document.case, source="lab")
    lie = altered("openvz", tmp_path / "lie", "vz.py", "new[name] = value", 'new[name] = value + "0"')
    forms = []
    for stage in (stages.every()["openvz"], lie):
        assert isinstance(stage, StandIn)
        with instead(stage), run.opened(columns.find(("debian-12",))) as answers:
            answer = answers.resolve([question])[question]
            assert isinstance(answer, Answer)
            forms.append(answer.form("disk"))
    assert 'CPUS="2"' in forms[0]
    assert 'CPUS="20"' in forms[1]


# Nothing stays behind.

HARNESS = """
import sys, time
from virtcompat.labs import open_lab, stages
from virtcompat.labs.session import Session, Start
from virtcompat.store import releases
from virtcompat.surfaces.standins import PROBE
lab = open_lab(releases.find(sys.argv[1]))
session = Session(Start(stages.command(lab, "esx"), {"mark": sys.argv[2]}, 60.0, source=PROBE))
session._running()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.lab
def test_a_harness_that_is_killed_leaves_no_host_behind(abi: Callable[[str], Lab]) -> None:
    own = subprocess.Popen(
        [sys.executable, "-c", HARNESS, abi("debian-12").release, "x"], stdout=subprocess.PIPE, text=True
    )
    assert own.stdout is not None
    try:
        assert own.stdout.readline() == "ready\n"
        tree = descendants(own.pid)
        assert any("vsphere.py" in command for command in tree.values()), tree
    finally:
        own.send_signal(signal.SIGKILL)
        own.wait()
        own.stdout.close()
    deadline = time.monotonic() + 10
    while alive := [pid for pid in tree if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, [tree[pid] for pid in alive]
        time.sleep(0.05)


def descendants(pid: int) -> dict[int, str]:
    """The processes below one, by number, with their command lines."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        above = waiting.pop()
        for child in [c for c, p in parents.items() if p == above]:
            try:
                found[child] = (
                    Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                )
            except OSError:
                continue
            waiting.append(child)
    return found


def test_an_answers_key_without_a_stage_is_what_it_was() -> None:
    every = drivers.every()
    asking = Answers.__new__(Answers)
    asking.drivers, asking.probe = every, "probe"
    for name in ("qemu", "test"):
        question = Question("debian-12", name, "domain", "define", "<domain/>")
        setup = every[name].kinds["domain"]
        how = [setup.uri, setup.root, sorted(setup.files.items()), setup.forms, setup.disk, setup.daemon]
        body = json.dumps(["far", "probe", how, question.digest()])
        assert asking._key(Remote(), question) == hashlib.sha256(body.encode()).hexdigest()  # type: ignore[arg-type]
