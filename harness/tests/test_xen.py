"""Xen hosts under TCG: how they are built, started and ended; with VIRT_COMPAT_XEN=1 (tox -e xen) the real ones."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from virtcompat import drivers
from virtcompat.drivers import Means
from virtcompat.engine import run as engine
from virtcompat.engine import xenlab
from virtcompat.errors import LabError, UsageError
from virtcompat.labs import BOOTSTRAP, Lab, build, open_lab, xen, xenhosts
from virtcompat.labs.build import Made
from virtcompat.labs.kinds.built import BuiltLab
from virtcompat.model import NotHere, Outcome
from virtcompat.store import releases

RELEASES = [r.name for r in releases.shipped()]
booting = pytest.mark.skipif(
    os.environ.get("VIRT_COMPAT_XEN") != "1", reason="boots Xen hosts, some minutes: set VIRT_COMPAT_XEN=1"
)
#: Bars in seconds: the first boot, and from a checkpoint to the first answer.
FIRST_BOOT, FIRST_ANSWER = 360.0, 30.0
XL = """name = "written-by-hand"
uuid = "5f1c0de0-0000-4000-8000-0000000000b1"
type = "{type}"
memory = 256
vcpus = 2
{boot}
disk = [ "format=raw, vdev=xvda, access=rw, backendtype=phy, target=/dev/vg/guest" ]
vif = [ "mac=00:16:3e:5f:1c:31,bridge=xenbr0" ]
"""
XM = """name = "written-by-hand"
uuid = "5f1c0de0-0000-4000-8000-0000000000b2"
maxmem = 256
memory = 256
vcpus = 1
localtime = 0
on_poweroff = "destroy"
on_reboot = "restart"
on_crash = "restart"
kernel = "/boot/guest"
extra = "root=/dev/xvda1"
vif = [ "mac=00:16:3e:5f:1c:32,bridge=xenbr0" ]
disk = [ "phy:/dev/vg/guest,xvda,w" ]
"""


def _plain(folder: Path, name: str = "debian-12-xen") -> tuple[BuiltLab, Made]:
    (folder / "root" / "etc").mkdir(parents=True, exist_ok=True)
    (folder / "root" / "usr").mkdir(exist_ok=True)
    return BuiltLab(name, folder, {"libvirt0": "9.0.0"}, "d" * 64), Made(folder, {"libvirt0": "9.0.0"}, "d" * 64)


def _booted(folder: Path) -> xen.XenLab:
    inner, made = _plain(folder)
    xen.folder_of(made).mkdir()
    (xen.folder_of(made) / xen.MANIFEST).write_text('{"argv": [], "seconds": {"boot": 1.5}}')
    found = xen.lab(inner, made)
    assert isinstance(found, xen.XenLab)
    return found


def _until(reached: Callable[[], bool], limit: float = 20.0) -> bool:
    deadline = time.monotonic() + limit
    while not reached():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_the_documents_are_of_every_kind_of_guest() -> None:
    documents = xenlab.documents()
    types = [re.search(r"machine='(\w+)'>(\w+)<", f.text) for f in documents]
    assert len(documents) >= 12
    assert {t.groups() for t in types if t} == {("xenpv", "linux"), ("xenpvh", "xenpvh"), ("xenfv", "hvm")}
    uuids = [re.search(r"<uuid>(.*)</uuid>", f.text) for f in documents]
    assert len({u[1] for u in uuids if u}) == len(documents)
    assert all(f.drivers == ("xen",) for f in documents)


def test_the_driver_is_asked_where_the_host_is() -> None:
    driver = drivers.every()["xen"]
    setup = driver.kinds["domain"]
    assert (driver.means, setup.flavour, setup.uri) == (Means.REAL, xen.FLAVOUR, xen.URI)
    assert not setup.daemon
    assert not setup.disk
    assert all(xen.FLAVOUR in r.flavours for r in releases.shipped())


def test_a_host_that_was_never_booted_is_not_here(tmp_path: Path) -> None:
    inner, made = _plain(tmp_path)
    found = xen.lab(inner, made)
    assert isinstance(found, NotHere)
    assert "not built" in found.reason
    assert found.remedy == "virt-compat lab create debian-12-xen"
    assert xen.seconds(made) is None
    xen.folder_of(made).mkdir()
    (xen.folder_of(made) / xen.MANIFEST).write_text("{")
    assert isinstance(xen.lab(inner, made), NotHere)


def test_a_probe_starts_behind_a_host_of_its_own(tmp_path: Path) -> None:
    lab = _booted(tmp_path)
    argv = lab.command(daemon=False)
    assert argv[-8:] == ["python3", "-I", xen.PROGRAM, xen.DOM0, "python3", "-u", "-c", BOOTSTRAP]
    at = argv.index(str(lab.dom0))
    assert argv[at - 1 : at + 2] == ["--ro-bind", str(lab.dom0), xen.DOM0]
    # Its network is its own, and everything in it ends with whoever started it.
    assert {"--unshare-net", "--unshare-pid", "--die-with-parent"} <= set(argv)


def test_another_recipe_is_another_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = _booted(tmp_path)
    before = lab.fingerprint()
    assert before == lab.fingerprint() != lab.inner.fingerprint()
    starter = tmp_path / "xen_host.py"
    starter.write_text("pass\n")
    monkeypatch.setattr(xen, "STARTER", starter)
    assert lab.fingerprint() != before
    monkeypatch.setattr(xen, "BUILDER", starter)
    assert isinstance(xen.lab(lab.inner, _plain(tmp_path)[1]), NotHere)  # booted by another builder


def test_an_unknown_guest_and_a_release_without_a_host_are_said() -> None:
    with pytest.raises(UsageError, match="no guest 'hvm'"):
        next(xenlab.tell(["debian-12"], ["hvm"]))
    assert xenlab.is_host(releases.find("debian-12-xen"))
    assert not xenlab.is_host(releases.find("debian-12"))


def test_what_is_half_made_goes_with_the_build(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), xen._aside(tmp_path) as aside:
        aside.write_bytes(b"half")
    assert list(tmp_path.iterdir()) == []
    with xen._aside(tmp_path) as aside:
        (aside / "root.img").write_bytes(b"whole")
        aside.rename(tmp_path / "dom0-whole")
    assert [p.name for p in tmp_path.iterdir()] == ["dom0-whole"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_build_leaves_no_image(tmp_path: Path, number: signal.Signals) -> None:
    program = (
        "import sys, time, pathlib\nfrom virtcompat.labs import xen\n"
        "with xen._aside(pathlib.Path(sys.argv[1])) as aside:\n"
        "    (aside / 'root.img').write_bytes(b'half')\n    print('made', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as build_process:
        assert build_process.stdout is not None
        assert build_process.stdout.readline() == b"made\n"
        assert len(list(tmp_path.iterdir())) == 1
        build_process.send_signal(number)
    assert _until(lambda: not list(tmp_path.iterdir()))


@pytest.mark.lab
def test_a_lab_without_a_kernel_says_so(lab: Lab, tmp_path: Path) -> None:
    """The plain lab has neither mke2fs nor kernel: the stage that lacks something is named, and nothing stays."""
    assert isinstance(lab, BuiltLab)
    (tmp_path / "root").symlink_to(lab.folder / "root")
    stages: list[str] = []
    with pytest.raises(LabError, match=r"making the (disk image|initial file system): .*") as caught:
        xen.create(lab, Made(tmp_path, lab.versions, lab.digest), stages.append)
    assert "nothing half-made" in caught.value.remedy
    assert stages
    assert [p.name for p in tmp_path.iterdir()] == ["root"]


def _host(name: str) -> xen.XenLab:
    """The Xen lab of a release, built and booted if need be."""
    release = releases.find(f"{name}-{xen.FLAVOUR}")
    made = build.create(release)
    xenlab.create(release, made, lambda words: None)
    found = open_lab(release)
    assert isinstance(found, xen.XenLab)
    return found


@booting
@pytest.mark.parametrize("name", RELEASES)
def test_a_host_answers(name: str) -> None:
    lab = _host(name)
    made = build.find(releases.find(f"{name}-{xen.FLAVOUR}"))
    assert made is not None
    took = xen.seconds(made)
    assert took is not None
    assert sum(took.values()) < FIRST_BOOT
    begin = time.monotonic()
    with xenhosts.running(lab) as host:
        texts = host.texts()
        assert time.monotonic() - begin < FIRST_ANSWER
        assert "<os_type>xen</os_type>" in texts["capabilities"]
        assert "<os_type>hvm</os_type>" in texts["capabilities"]
        assert "<name>Domain-0</name>" in texts["dom0"]
        assert all(text.startswith("<domainCapabilities>") for n, text in texts.items() if "domcap" in n)
        _converts(host)


def _converts(host: xenhosts.XenHost) -> None:
    for fixture in xenlab.documents():
        written = host.to_native("xen-xl", fixture.text)
        assert f'name = "{fixture.case}"' in written.text, f"{fixture.case}: {written.words}"
    pvh = host.from_native("xen-xl", XL.format(type="pvh", boot='kernel = "/boot/guest"'))
    assert "machine='xenpvh'>xenpvh<" in pvh.text
    assert "bridge='xenbr0'" in pvh.text
    hvm = host.from_native("xen-xl", XL.format(type="hvm", boot=""))
    assert "machine='xenfv'>hvm<" in hvm.text
    old = host.from_native("xen-xm", XM)
    assert "<cmdline>root=/dev/xvda1</cmdline>" in old.text
    assert "dev='xvda'" in old.text
    assert host.from_native("xen-xl", "name = [").words
    assert host.to_native("xen-xl", "<domain/>").words


@booting
@pytest.mark.parametrize("name", RELEASES)
def test_a_guest_really_runs(name: str) -> None:
    with xenhosts.running(_host(name)) as host:
        life = host.life(xenlab.guest("pv"))
        assert not life.words
        states = {step.name: step.outcome.partition("/")[0] for step in life.steps}
        # libvirt's numbers: 1 running, 3 paused, 5 shut off.
        assert states == {
            "define": "5", "create": "1", "seen": "yes", "suspend": "3", "resume": "1", "destroy": "5", "undefine": "gone",
        }  # fmt: skip
        assert xenhosts.SIGN in life.console
        broken = host.life(xenlab.guest("pv").replace("guest.kernel", "no.kernel"), 5.0)
        assert broken.outcome("create").partition("/")[0] != "1"
        assert not broken.outcome("seen")
        assert broken.outcome("undefine") == "gone"


@booting
def test_the_documents_hold_between_releases() -> None:
    """Asked once; the second time every answer is known and no host is started."""
    for name in RELEASES:
        _host(name)
    selection = engine.Selection(drivers=("xen",))
    first, second = engine.run(selection), engine.run(selection)
    assert second.asked == 0
    for matrix in (first, second):
        counts = {
            c.key.check: sum(c.counts.get(o, 0) for o in (Outcome.BROKEN, Outcome.NOT_HERE)) for c in matrix.cells
        }
        assert {"round-trip", "same-input", "upgrade-redefine", "downgrade"} <= counts.keys()
        assert not any(counts.values())
        asked = {c.key.check: c.asked for c in matrix.cells}
        assert asked["round-trip"] == len(xenlab.documents())


def _family(pid: int) -> Iterator[int]:
    """A process and everything below it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            yield from _family(int(child))


def _namespaces(pids: list[int]) -> set[str]:
    found = set()
    for pid in pids:
        with suppress(OSError):
            found.add(os.readlink(f"/proc/{pid}/ns/net"))
    return found - {os.readlink("/proc/self/ns/net")}


@booting
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_run_leaves_no_host(number: signal.Signals) -> None:
    lab = _host("debian-12")
    files = sorted(p.name for p in lab.dom0.iterdir())
    program = (
        "import time\nfrom virtcompat.engine import xenlab\nfrom virtcompat.labs import xenhosts\n"
        "with xenhosts.running(xenlab.lab('debian-12')) as host:\n"
        "    host.texts()\n    print('runs', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"runs\n"
        family = list(_family(started.pid))
        names = [Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0] for pid in family]
        assert b"qemu-system-x86_64" in names
        own = _namespaces(family)
        assert own
        started.send_signal(number)
    assert _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family))
    everybody = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]
    assert not own & _namespaces(everybody)
    assert sorted(p.name for p in lab.dom0.iterdir()) == files


@booting
def test_a_build_killed_while_it_boots_leaves_nothing(tmp_path: Path) -> None:
    """A second host is booted from debian-12's root beside the standing one, and killed in the middle."""
    root = build.folder_of(releases.find("debian-12-xen")) / "root"
    _host("debian-12")
    (tmp_path / "root").symlink_to(root)
    program = (
        "import sys, pathlib, dataclasses\nfrom virtcompat.labs import build, xen\n"
        "from virtcompat.labs.kinds import built\nfrom virtcompat.store import releases\n"
        "release = releases.find('debian-12-xen')\nmade = build.find(release)\ninner = built.plain(release, made)\n"
        "xen.create(inner, dataclasses.replace(made, folder=pathlib.Path(sys.argv[1])), lambda w: print(w, flush=True))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as started:
        assert started.stdout is not None
        while b"booting" not in started.stdout.readline():
            assert started.poll() is None
        assert _until(lambda: any(b"qemu" in Path(f"/proc/{p}/cmdline").read_bytes() for p in _family(started.pid)))
        family = list(_family(started.pid))
        started.kill()
    assert _until(lambda: [p.name for p in tmp_path.iterdir()] == ["root"])
    assert _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family))
    shutil.rmtree(tmp_path, ignore_errors=True)
