"""Containers: their documents, those that really start, and that nothing of them stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from conftest import _standing
from virtcompat import documents
from virtcompat.engine import static
from virtcompat.errors import Absent, BadData, LabError
from virtcompat.labs import Lab, cgroups, containers
from virtcompat.labs.containers import Host, hosting
from virtcompat.model import Finding, NotHere, Outcome, Question, Tier
from virtcompat.policy import records
from virtcompat.store import fixtures, golden, scenes
from virtcompat.store import records as store
from virtcompat.surfaces.recorded.containers import NAMESPACES, SURFACE, _told

RELEASES = ("debian-11", "debian-12", "debian-13", "debian-14")
ADDITION, RISK, BREAK = Tier.ADDITION, Tier.RISK, Tier.BREAK
LACKING = containers.missing()
starts = pytest.mark.skipif(LACKING is not None, reason=f"{LACKING.reason}; {LACKING.remedy}" if LACKING else "")


@pytest.fixture(scope="session")
def sys_lab() -> Callable[[str], Lab]:
    """release -> its lab that has the driver."""
    return cache(lambda name: _standing(f"{name}-sys"))


@pytest.fixture(scope="module")
def host(sys_lab: Callable[[str], Lab]) -> Iterator[Host]:
    with hosting(sys_lab("debian-13")) as host:
        yield host


def findings(old: Mapping[str, str], new: Mapping[str, str], *, back: bool = False) -> list[Finding]:
    return [f for v in records.compare(SURFACE, {"lxc": old}, {"lxc": new}, back=back) for f in v.findings]


def scene(name: str) -> scenes.Scene:
    return scenes.read(scenes.folder() / f"{name}.toml")


def played(host: Host, name: str, domain: str = "") -> dict[str, str]:
    """A scene's facts as the surface tells them; ``domain`` in place of its own."""
    found = scene(name)
    facts = host.play(name, domain or found.domain, [NAMESPACES, *found.steps])
    return {f"lxc/{name}/{path}": value for path, value in _told(facts)}


def recorded(release: str, name: str) -> dict[str, str]:
    record = store.recorded(release, SURFACE.name, tuple(SURFACE.parts))
    assert record is not None
    part = record["lxc"]
    assert not isinstance(part, NotHere)
    return {path: value for path, value in part.items() if path.startswith(f"lxc/{name}/")}


# Documents.


def test_the_documents_of_containers_are_recorded_as_they_are_meant() -> None:
    own = fixtures.load(("domain",), ("lxc",))
    assert len(own) >= 40
    for release in RELEASES:
        for fixture in own:
            answer = golden.answer(Question(release, "lxc", "domain", "define", fixture.text, recorded=fixture.case))
            assert answer is not None, (release, fixture.case)
            known = fixture.refused or fixture.since or fixture.case.startswith("lxc-cputune-shares-")
            assert answer.accepted or known, (release, fixture.case, answer.message)
            assert not answer.accepted or not fixture.refused, (release, fixture.case)


# Scenes.


def test_every_scene_is_one_container_and_tells_each_thing_once() -> None:
    every = scenes.every()
    assert len(every) >= 25
    assert len({documents.name_of(s.domain) for s in every}) == len(every)
    assert len({documents.parse(s.domain).findtext("uuid") for s in every}) == len(every)
    for one in every:
        told = [(path, *more) if verb in ("look", "group") else path for verb, path, *more in one.steps if path]
        assert len(told) == len(set(told)), one.name


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("call", 5, "is no step"),
        ('say greeting "half', 5, "No closing quotation"),
    ],
)
def test_a_line_that_is_no_step_is_named(text: str, line: int, words: str, tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    head = 'summary = "A"\nreference = "https://a"\ndomain = "<domain/>"\nsteps = """\n'
    file.write_text(f'{head}{text}\n"""\n')
    with pytest.raises(BadData, match=f":{line}: .*{words}"):
        scenes.read(file)
    file.write_text(head.replace("<domain/>", "<domain>") + '"""\n')
    with pytest.raises(BadData, match=r":3: no document"):
        scenes.read(file)


def test_arguments_are_json_where_they_can_be(tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    steps = "call a b '{\"c\": 1}' null word\n\nrun . ls 7"
    file.write_text(f"summary = \"A\"\nreference = \"https://a\"\ndomain = \"<domain/>\"\nsteps = '''\n{steps}\n'''\n")
    assert scenes.read(file).steps == (("call", "a", "b", {"c": 1}, None, "word"), ("run", "", "ls", 7))


# What a difference means.


def test_what_no_longer_works_is_a_break_and_what_works_now_is_more() -> None:
    works, refused = {"lxc/a/start": "ok"}, {"lxc/a/start": "refused: INTERNAL_ERROR (LXC)"}
    assert [f.tier for f in findings(works, refused)] == [BREAK]
    assert [f.tier for f in findings(works, refused, back=True)] == [RISK]
    assert [f.tier for f in findings(refused, works)] == [ADDITION]
    assert [f.tier for f in findings(works, {"lxc/a/start": "crashed"})] == [BREAK]
    assert [f.tier for f in findings(refused, {"lxc/a/start": "refused: NO_SUPPORT (LXC)"})] == [RISK]
    assert [f.tier for f in findings({"lxc/a/state": "running (booted)"}, {"lxc/a/state": "shutoff (failed)"})] == [
        BREAK
    ]
    assert [f.tier for f in findings({"lxc/a/start": "ok"}, {"lxc/a/start": "ok", "lxc/a/(stopped)": "x"})] == [BREAK]
    assert findings(works, works) == []


def test_a_record_compared_with_itself_is_silent_and_the_four_differ_as_declared() -> None:
    whole = {r: store.recorded(r, SURFACE.name, tuple(SURFACE.parts)) for r in RELEASES}
    for record in whole.values():
        assert record is not None
        assert [f for v in records.compare(SURFACE, record, record) for f in v.findings] == []
    pieces = {r: recorded(r, "meminfo")["lxc/meminfo/in-pieces/total"] for r in RELEASES}
    assert pieces == {"debian-11": "0", "debian-12": "1", "debian-13": "1", "debian-14": "1"}


# Containers that start.


@starts
@pytest.mark.lab
@pytest.mark.parametrize("name", ["init", "users", "no-init"])
def test_a_container_does_what_was_recorded(name: str, host: Host) -> None:
    assert played(host, name) == recorded("debian-13", name)


@starts
@pytest.mark.lab
def test_what_a_container_may_do_otherwise_is_seen(host: Host) -> None:
    own = scene("capabilities-deny").domain
    other = own.replace("<kill state='on'/>", "<kill state='on'/>\n      <sys_time state='on'/>")
    assert other != own
    found = findings(played(host, "capabilities-deny"), played(host, "capabilities-deny", other))
    assert {f.path for f in found} == {f"lxc/capabilities-deny/capabilities/{name}" for name in ("CapBnd", "CapEff")}
    assert all(f.new == "chown kill sys_boot sys_time" for f in found)


@starts
@pytest.mark.lab
def test_a_container_that_does_not_start_any_more_is_a_break(host: Host) -> None:
    broken = scene("init").domain.replace("/home", "/nowhere")
    found = findings(played(host, "init"), played(host, "init", broken))
    assert max(f.tier for f in found) is BREAK
    assert "lxc/init/(stopped)" in {f.path for f in found}


@starts
@pytest.mark.lab
def test_a_daemon_that_dies_is_told(host: Host) -> None:
    kill = ("run", "", "busybox", "killall", "-9", "libvirtd")
    steps = [("call", "start", "create"), kill, ("call", "suspend", "suspend")]
    facts = host.play("dies", scene("sight").domain, steps)
    assert facts["suspend"] == "crashed"
    assert played(host, "no-init")["lxc/no-init/state"] == "shutoff (failed)", "the next scene has a daemon again"


# What is lacking.


def test_without_root_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, sys_lab: Callable[[str], Lab]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    lacking = containers.missing()
    assert lacking is not None
    assert (lacking.reason, lacking.remedy) == ("containers are started by root only", "run as root")
    lab = sys_lab("debian-13")
    with pytest.raises(Absent, match="root only"):
        containers.command(lab)
    part = static.read(lab, SURFACE)["lxc"]
    assert isinstance(part, NotHere)
    verdicts = records.compare(SURFACE, {"lxc": part}, {"lxc": {"lxc/a/start": "ok"}})
    assert [v.outcome for v in verdicts] == [Outcome.NOT_HERE]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets as far")
def test_without_control_groups_of_version_1_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path(containers.FUSE).exists():
        pytest.skip(f"no {containers.FUSE}")
    monkeypatch.setattr(cgroups, "hierarchies", lambda: {"memory": ("memory",)})
    lacking = containers.missing()
    assert lacking is not None
    assert "cpuacct, cpuset, devices" in lacking.reason
    assert "systemd.unified_cgroup_hierarchy=0" in lacking.remedy


@starts
def test_what_would_change_the_answers_is_lacking_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "SWAP", "memory/nowhere")
    lacking = containers.missing()
    assert lacking is not None
    assert (lacking.reason, "swapaccount=1" in lacking.remedy) == ("the kernel does not account swap space", True)
    monkeypatch.setattr(containers, "TOLD", {**containers.TOLD, 63: "flying"})
    lacking = containers.missing()
    assert lacking is not None
    assert lacking.reason.startswith("root without CAP_FLYING")


@starts
def test_a_live_host_is_never_asked() -> None:
    class Live:
        release, sandboxed, workdir = "host", False, "/tmp"

        def command(self, daemon: bool) -> list[str]:
            return ["python3"]

    with pytest.raises(Absent, match="sandbox only"):
        containers.command(Live())  # type: ignore[arg-type]


@starts
@pytest.mark.lab
def test_a_lab_without_the_driver_is_a_fault_of_the_lab(sys_lab: Callable[[str], Lab]) -> None:
    plain = _standing("debian-13")
    with hosting(plain) as host, pytest.raises((Absent, LabError)):
        host.play("no", scene("sight").domain, [])


# Nothing is left.

SCRIPT = """
import sys
from virtcompat.labs import containers, open_lab
from virtcompat.store import releases, scenes
with containers.hosting(open_lab(releases.find("debian-13-sys"))) as host:
    one = scenes.read(scenes.folder() / "network.toml")
    steps = [*one.steps[:2], ("run", "", "sleep", "15")]
    print("runs", flush=True)
    host.play("network", one.domain, steps)
"""


def _machine() -> dict[str, object]:
    """What a container could leave on this machine, by names that nothing else here has."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {
        "devices": sorted(
            p.name for p in Path("/sys/class/net").iterdir() if p.name.startswith(("vc-", "vnet", "veth"))
        ),
        "mounts": sorted(p for p in mounts if any(word in p for word in ("libvirt", "virt-compat", "cgroup"))),
        "groups": {name for name in cgroups.standing() if Path("/proc", name.removeprefix(cgroups.PREFIX)).exists()},
        "machine": sorted(str(p) for p in Path("/sys/fs/cgroup").glob("*/machine*")),
        "libvirt": [p for p in ("/run/libvirt", "/etc/libvirt/lxc") if Path(p).exists()],
    }


def _descendants(pid: int) -> list[int]:
    found, waiting = [], [pid]
    while waiting:
        here = waiting.pop()
        for task in Path(f"/proc/{here}/task").glob("*/children"):
            below = [int(word) for word in task.read_text().split()]
            found += below
            waiting += below
    return found


def _commands(pids: list[int]) -> str:
    texts = []
    for pid in pids:
        try:
            texts.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(texts)


def _until(holds: Callable[[], bool], limit: float = 25.0) -> bool:
    deadline = time.monotonic() + limit
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@starts
@pytest.mark.lab
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_in_the_middle_leaves_nothing(number: signal.Signals, sys_lab: Callable[[str], Lab]) -> None:
    sys_lab("debian-13")
    before = _machine()
    run = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert run.stdout is not None
        assert run.stdout.readline() == b"runs\n"
        assert _until(lambda: "libvirt_lxc" in _commands(_descendants(run.pid)))
        ours = _descendants(run.pid)
        group = {name for name in cgroups.standing() if int(name.removeprefix(cgroups.PREFIX)) in ours}
        assert len(group) == 1
        tops = cgroups.standing()[next(iter(group))]
        assert _until(lambda: any((top / "machine").is_dir() for top in tops))
    finally:
        run.send_signal(number)
        run.wait(20)
        run.stdout.close()
    assert _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ours)), _commands(ours)
    assert _until(lambda: not group & cgroups.standing().keys())
    assert _machine() == before


@starts
@pytest.mark.lab
def test_the_end_of_a_host_leaves_nothing(sys_lab: Callable[[str], Lab]) -> None:
    before = _machine()
    with hosting(sys_lab("debian-14")) as host:
        assert host.play("sight", scene("sight").domain, [("call", "start", "create")])["start"] == "ok"
        during = cgroups.standing()
        assert host.session.process is not None
        own = f"{cgroups.PREFIX}{host.session.process.popen.pid}"
        assert own in during
    assert _until(lambda: own not in cgroups.standing())
    assert _machine() == before


@starts
def test_what_a_killed_guard_left_is_swept_up_by_the_next_start() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    forgotten = f"{cgroups.PREFIX}{gone.pid}"
    own = f"{cgroups.PREFIX}{os.getpid()}"
    folders = {name: list(cgroups.groups(name).values()) for name in (forgotten, own)}
    for tops in folders.values():
        cgroups.make(tops)
    try:
        for top in folders[forgotten]:
            (top / "machine").mkdir()
        cgroups.sweep()
        assert forgotten not in cgroups.standing()
        assert own in cgroups.standing(), "its process lives"
    finally:
        removed = [cgroups.remove(tops) for tops in folders.values()]
        assert all(removed)


@starts
def test_a_group_with_processes_is_not_removed() -> None:
    folders = list(cgroups.groups(f"{cgroups.PREFIX}test-{os.getpid()}").values())
    cgroups.make(folders)
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        (folders[0] / "cgroup.procs").write_text(str(sleeper.pid))
        assert not cgroups.remove(folders, 0.1)
    finally:
        sleeper.kill()
        sleeper.wait()
        assert cgroups.remove(folders)


@starts
def test_a_group_is_made_in_the_one_whose_limits_hold() -> None:
    own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    place = cgroups.groups("one")["memory"]
    assert place.name == "one"
    assert str(os.getpid()) in (place.parent / "cgroup.procs").read_text().split()
    assert f"{place.parent}/".endswith(f"{own['memory'].rstrip('/')}/")


def test_a_lab_of_ones_own_is_entered_the_same_way(sys_lab: Callable[[str], Lab]) -> None:
    if LACKING:
        pytest.skip(LACKING.reason)
    argv = containers.command(replace(sys_lab("debian-12")))  # type: ignore[type-var]
    assert "--unshare-user" not in argv
    assert "--uid" not in argv
    assert "--unshare-net" in argv
    assert argv[-1] == sys_lab("debian-12").command(daemon=True)[-1]
