"""Another host over ssh: asked as a local lab is, touched no more than that, and rid of us whatever happens."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import far_host
import pytest
from virtcompat.drivers import Means, Role, every
from virtcompat.engine import census, columns, static
from virtcompat.engine import labs as engine
from virtcompat.errors import Absent, LabError, UsageError
from virtcompat.labs import Lab, open_lab
from virtcompat.labs.kinds import ssh
from virtcompat.labs.session import PROBE, Session, Start
from virtcompat.labs.visit import visiting
from virtcompat.model import NotHere
from virtcompat.store.releases import Release
from virtcompat.surfaces.recorded import drivers as surface

COMMAND = [sys.executable, "-c", "from virtcompat.cli import main; main()"]
#: What it answers depends on which networks are up, and this host has one that the local sandbox has not.
NETWORKED = "esx"


@dataclass(frozen=True, slots=True)
class Far:
    """The host: the words that ssh takes, its lab, the folder of its files."""

    words: str
    lab: Lab
    folder: Path

    def run(self, command: str) -> str:
        done = far_host.far(self.folder, command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def left(self) -> str:
        """Our processes and directories there; waits for what is about to go."""
        deadline = time.monotonic() + 10
        ours = "pgrep -f 'virt-compat-prob[e]'; ls -d /tmp/virt-compat-* 2>/dev/null; true"
        while (found := self.run(ours)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    """A host with the root of debian-13."""
    from conftest import _standing

    folder = tmp_path_factory.mktemp("far")
    with far_host.running(_standing("debian-13-sys"), folder) as words:
        found = open_lab(Release("far", lab={"kind": "ssh", "host": words}))
        assert not isinstance(found, NotHere), found.reason
        yield Far(words, found, folder)


def run(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    own = {**os.environ, "VIRT_COMPAT_CONFIG": str(config)}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=300, env=own)


@pytest.mark.lab
def test_a_host_over_ssh_is_a_column_that_means_what_the_local_lab_means(far: Far, tmp_path: Path) -> None:
    added = run(tmp_path, "lab", "add", "far", "--command", f"ssh {far.words}")
    assert (added.returncode, added.stdout[:23]) == (0, "far: libvirt 11.3.0, QE"), added.stderr
    assert 'kind = "ssh"' in (tmp_path / "releases/far.toml").read_text()
    whole = _same(tmp_path, "--driver", "test")
    assert {("same-input", "domain"), ("upgrade-redefine", "domain")} <= whole
    # QEMU is started there, and ends: what this driver learns of it takes minutes where its end goes unseen.
    few = _same(tmp_path, "--driver", "qemu", "--kind", "domain", "--case", "disk-[a-c]*")
    assert {("same-hardware", "domain"), ("upgrade-disk", "domain")} <= few
    assert far.left() == ""


def _same(config: Path, *chosen: str) -> set[tuple[str, str]]:
    """Hold what the far host answers against the local lab; the (check, kind) of what both were asked."""
    cells = {}
    for name in ("far", "debian-13"):
        arguments = ("--old", "debian-12", "--new", name, "--fail-on", "none", "--format", "json")
        done = run(config, "matrix", *chosen, *arguments)
        assert done.returncode == 0, done.stderr
        found = [c for c in json.loads(done.stdout)["cells"] if c["new"] == name]
        cells[name] = {(c["check"], c["kind"]): c for c in found}
    both = cells["far"].keys() & cells["debian-13"].keys()
    for name in both:
        assert cells["far"][name]["counts"] == cells["debian-13"][name]["counts"], name
        assert _findings(cells["far"][name]) == _findings(cells["debian-13"][name])
    return both


def _findings(cell: dict) -> list[str]:
    seen = [(v["case"], f["path"], f.get("new")) for v in cell["cases"] for f in v.get("findings", ())]
    return sorted(json.dumps(one).replace("far", "debian-13") for one in seen)


@pytest.mark.lab
def test_the_drivers_of_a_host_are_those_of_the_local_lab(far: Far, tmp_path: Path) -> None:
    with visiting(far.lab) as visit:
        opening, support = surface.opening(visit), surface.support(visit)
    found = static.Records(columns.find(("debian-13",))).facts("debian-13", "drivers")
    recorded = {path: value for path, value in found.items() if not path.startswith(NETWORKED)}
    here = {path: value for path, value in (opening | support).items() if not path.startswith(NETWORKED)}
    assert here == recorded
    assert run(tmp_path, "lab", "add", "far", "--ssh", far.words).returncode == 0
    presence = json.loads(run(tmp_path, "drivers", "far", "--format", "json").stdout)
    words = {name: presence[name]["far"]["word"] for name in presence}
    assert {n for n, w in words.items() if w == "real" and every()[n].role is Role.HYPERVISOR} == {
        "lxc", "qemu", "remote", "test"
    }  # fmt: skip
    assert {words[n] for n in ("openvz", "vmware", "xen")} == {"not-here"}, "nothing stands in for them there"
    assert words["network"] == "real", "through the daemon that runs there"
    assert "libvirt was built without the 'hyperv' driver" in presence["hyperv"]["far"]["why"]


def test_what_opens_on_another_host_is_real_there(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that no build of the tool's has, on a host that has it and no documentation of libvirt's."""
    live = ssh.SshLab("far", ("far",))
    column = columns.find(("debian-12",))
    column.labs["debian-12", ""] = live
    said = {"vbox/open": "VBOX", "bhyve/closed": "refused: 5: no", "lxc/closed": "refused: 38: no", "qemu/closed": "no"}
    record = {"opening": said, "support": NotHere("no table", "install it")}
    monkeypatch.setattr(columns, "find", lambda names: column)
    monkeypatch.setattr(static.Records, "of", lambda self, release, surface: record)
    found = census.take(("debian-12",)).presence
    assert every()["vbox"].means is Means.ABSENT
    words = {
        n: found[n, "debian-12"].word for n in ("vbox", "bhyve", "hyperv", "lxc", "network", "qemu", "test", "uml")
    }
    assert words == {
        "vbox": "real", "bhyve": "absent", "hyperv": "absent", "lxc": "not-here", "network": "not-here",
        "qemu": "real", "test": "real", "uml": "absent",
    }  # fmt: skip


@pytest.mark.lab
def test_files_and_words_cross_as_they_are(far: Far) -> None:
    with visiting(far.lab) as visit:
        path, data = visit.library("libvirt.so.0")
        assert far.run(f"sha256sum {path}").split()[0] == hashlib.sha256(data).hexdigest()
        assert len(data) > 1 << 20
        words = 'it\'s "quoted" $HOME `id` \\n ! ; é 漢\n'
        assert visit.run("cat", stdin=words).out == words
        assert visit.run("printf", "%s", words).out == words
        assert visit.run("sh", "-c", "echo $LC_ALL").out == "C.UTF-8\n"


@pytest.mark.lab
def test_no_daemon_is_started_and_no_file_written_on_a_live_host(far: Far) -> None:
    before = far.run("pidof libvirtd; find /etc/libvirt /run/libvirt /var/lib/libvirt | sort")
    with visiting(far.lab) as visit, pytest.raises(Absent, match="in a sandbox only"):
        visit.ask("open_probe.py", {"op": "census", "uris": {}, "limit": 1}, daemon={"/etc/libvirt/x.conf": "x"})
    assert far.run("pidof libvirtd; find /etc/libvirt /run/libvirt /var/lib/libvirt | sort") == before


@pytest.mark.lab
@pytest.mark.parametrize(
    ("how", "status", "words"), [("segfault", "crashed", "SIGSEGV"), ("hang", "hung", "no answer")]
)
def test_a_probe_that_dies_there_is_told_as_one_that_dies_here(far: Far, how: str, status: str, words: str) -> None:
    opening = {"uri": "test:///default", "root": far.lab.workdir, "files": {}}
    session = Session(Start(far.lab.command(daemon=False), opening, time_limit=3.0, source=PROBE))
    try:
        replies = [
            reply for _, reply in session.ask([{"op": "identify"}, {"op": "fault", "how": how}, {"op": "identify"}])
        ]
    finally:
        session.close()
    assert [reply["status"] for reply in replies] == ["accepted", status, "accepted"]
    assert words in replies[1]["message"]
    assert far.left() == ""


CHILD = """import json, os, subprocess, sys
for line in sys.stdin:
    reply = {"id": json.loads(line)["id"], "status": "opened"}
    subprocess.Popen(["setsid", "sh", "-c", "setsid sleep 987 & sleep 987"])
    print(json.dumps(reply), flush=True)
    while True:
        pass
"""


@pytest.mark.lab
def test_a_lost_connection_leaves_nothing_there(far: Far, tmp_path: Path) -> None:
    """The client is killed while its probe computes, with children that went into sessions of their own."""
    source = tmp_path / "probe.py"
    source.write_text(CHILD)
    session = Session(Start(far.lab.command(daemon=False), {}, 30.0, source=source))
    process = session._running()
    assert len(far.run("pgrep -f 'virt-compat-prob[e]'; ls -d /tmp/virt-compat-*").split()) > 2
    assert len(far.run("pgrep -f 'sleep 98[7]'").split()) == 3
    os.kill(process.popen.pid, signal.SIGKILL)
    session.close()
    assert far.left() == ""
    assert far.run("pgrep -f 'sleep 98[7]' || true") == ""


@pytest.mark.lab
def test_a_root_on_another_host_is_entered_by_a_prefix(far: Far) -> None:
    found = open_lab(Release("root", lab={"kind": "ssh", "host": f"{far.words} env INSIDE=there chroot /"}))
    assert not isinstance(found, NotHere)
    with visiting(found) as visit:
        assert visit.run("sh", "-c", "echo $INSIDE").out == "there\n"
    assert found.fingerprint() != far.lab.fingerprint(), "it is another lab"


HOST = """import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import far_host
from virtcompat.labs import open_lab
from virtcompat.store import releases
with far_host.running(open_lab(releases.find("debian-13-sys")), Path(sys.argv[2])):
    print("up", flush=True)
    sys.stdin.read()
"""


@pytest.mark.lab
def test_a_second_host_has_addresses_of_its_own(far: Far) -> None:
    """Of the same process even: its number alone does not tell two hosts apart."""
    here, there = far_host.addresses()
    assert f"HostName {there}\n" not in (far.folder / "ssh.conf").read_text()
    assert here != there


@pytest.mark.lab
@pytest.mark.usefixtures("far")
def test_a_host_is_gone_with_its_killed_maker(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOST, str(Path(__file__).parent), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "up\n"
        assert _traces(maker.pid, tmp_path)
        maker.kill()
    deadline = time.monotonic() + 10
    while _traces(maker.pid, tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _traces(maker.pid, tmp_path) == []


def _traces(maker: int, folder: Path) -> list[str]:
    """What this machine shows of a host: its link, its processes."""
    links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    found = [line for line in links.splitlines() if line.startswith(f"vcfar{maker % 100000}@")]
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes()
        except OSError:
            continue
        if str(folder).encode() in words and int(file.parent.name) != maker:
            found.append(words.decode("utf-8", "replace"))
    return found


def test_no_shell_on_the_way_changes_the_program() -> None:
    """sh, and what other shells take for their own even within single quotes."""
    lab = ssh.SshLab("far", ("far",))
    assert not set("\n!") & set(lab.command(daemon=False)[-1])
    source = "import os, sys\nprint(os.environ['LC_ALL'], sys.stdin.__next__(), end='')\n"
    line = "/tmp/virt-compat-{pid}/é/{pid}\n"
    remote = replace(lab, interpreter=sys.executable).command(daemon=False)[-1]
    said = subprocess.run(
        ["sh", "-c", remote], input=f"{len(source)}\n{source}{line}".encode(), capture_output=True, check=True
    )
    number = said.stdout.decode().split("/")[2].removeprefix("virt-compat-")
    assert said.stdout.decode() == f"C.UTF-8 /tmp/virt-compat-{number}/é/{{pid}}\n"
    assert not Path(f"/tmp/virt-compat-{number}").exists()


def test_words_of_a_login_are_no_answer(tmp_path: Path) -> None:
    """A host whose shell prints before anything else: said, not taken for silence."""
    noise = ["sh", "-c", "echo Welcome to far; cat >/dev/null"]
    with pytest.raises(LabError, match="not an answer: b'Welcome to far'"):
        list(Session(Start(noise, {}, source=PROBE)).ask([{"op": "identify"}]))


def test_a_host_that_is_not_there_is_said_and_not_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far_host.need("ssh")
    monkeypatch.setenv("VIRT_COMPAT_CONFIG", str(tmp_path))
    with pytest.raises(LabError, match="could not open its connection"):
        engine.add("far", "ssh", {"host": "-F /dev/null -p 1 127.0.0.1"})
    with pytest.raises(UsageError, match="names no host"):
        engine.add("far", "command", {"prefix": "ssh"})
    assert not list(tmp_path.rglob("*.toml"))
