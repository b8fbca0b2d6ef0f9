"""Labs of every kind that can be had here, entered for real; and a lab whose mirror has moved on."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from virtcompat.engine import census, columns
from virtcompat.engine import labs as engine
from virtcompat.engine import run as runner
from virtcompat.errors import BadData, LabError, UsageError
from virtcompat.labs import Lab, build, bwrap, lab_kinds
from virtcompat.labs.kinds.built import BuiltLab
from virtcompat.model import NotHere, Outcome
from virtcompat.store import golden, paths, releases
from virtcompat.store.releases import Release

HOST_LIBVIRT = Path("/usr/lib/python3/dist-packages/libvirt.py").exists()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's configuration directory of its own."""
    monkeypatch.setenv("VIRT_COMPAT_CONFIG", str(tmp_path))
    return tmp_path


def agrees_with_debian_12(name: str) -> None:
    """The added release is a column, really asked, and means the same as the release it is."""
    selection = runner.Selection(("same-input",), ("domain",), ("test",), ("debian-12", name), cases=("disk-[a-e]*",))
    matrix = runner.run(selection)
    assert {c.name for c in matrix.columns} == {"debian-12", name}
    assert sum(c.counts.get(Outcome.COMPATIBLE, 0) for c in matrix.cells) > 50
    assert not any(c.counts.get(Outcome.INCOMPATIBLE) or c.counts.get(Outcome.NOT_HERE) for c in matrix.cells)


@pytest.mark.lab
def test_any_root_is_a_lab(lab: Lab, own: Path) -> None:
    assert isinstance(lab, BuiltLab)
    assert "libvirt 9.0.0, QEMU 7.2" in engine.add("mine", "root", {"path": str(lab.folder / "root")})
    agrees_with_debian_12("mine")
    assert engine.remove("mine") == ["mine: no longer a release"]
    with pytest.raises(UsageError):
        releases.find("mine")


@pytest.mark.lab
@pytest.mark.skipif(not HOST_LIBVIRT, reason="needs this machine's own libvirt: apt-get install python3-libvirt")
@pytest.mark.parametrize(("kind", "how"), [("host", {}), ("command", {"prefix": "env BUILD=1"})])
def test_the_host_and_a_command_prefix_are_labs(lab: Lab, own: Path, kind: str, how: dict[str, str]) -> None:
    said = engine.add("mine", kind, how)
    assert re.search(r"libvirt \d+\.\d+\.\d+", said)
    if "libvirt 9.0.0" in said:
        agrees_with_debian_12("mine")


@pytest.mark.skipif(not HOST_LIBVIRT, reason="needs this machine's own libvirt: apt-get install python3-libvirt")
def test_a_build_tree_stays_visible_to_its_own_command(own: Path, tmp_path: Path) -> None:
    tree = tmp_path / "libvirt" / "build"
    tree.mkdir(parents=True)
    (tree / "run").write_text('#!/bin/sh\n. "$(dirname "$0")/env"\nexec "$@"\n')
    (tree / "run").chmod(0o755)
    (tree / "env").write_text("FROM_THE_TREE=1\n")
    assert "libvirt" in engine.add("mine", "command", {"prefix": str(tree / "run")})


def test_a_lab_that_does_not_start_is_not_added(own: Path) -> None:
    with pytest.raises((UsageError, LabError)):
        engine.add("mine", "command", {"prefix": "false"})
    assert not list(own.rglob("*.toml"))


@pytest.mark.parametrize("name", ["debian-12", "debian-12-all", "candidate", "a/b", "../x", "a" * 65, "A", ""])
def test_a_name_that_is_somebodys_or_no_name_is_refused(own: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a release's name"):
        engine.add(name, "host", {})


def test_removing_removes_releases_alone(own: Path) -> None:
    (own / "mine.toml").write_text("")
    for name in ("../mine", str(own / "mine")):
        with pytest.raises(UsageError, match="no release"):
            engine.remove(name)
    assert (own / "mine.toml").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "mine"\n[lab]\nkind = "root"\npath = ["a"]\n', r"mine.toml:4: 'path' must be a str"),
        ('name = "mine"\n[lab]\nkind = "host"\n[products]\nlibvirt = 9\n', r"mine.toml:5: 'libvirt' must be a str"),
        ('name = "mine"\n[lab]\nkind = "odd"\n', r"no lab kind 'odd'(.|\n)*virt-compat lab remove mine"),
    ],
)
def test_a_release_of_ones_own_that_is_wrong_is_named(own: Path, text: str, words: str) -> None:
    (own / "releases").mkdir()
    (own / "releases/mine.toml").write_text(text)
    with pytest.raises((BadData, UsageError), match=words):
        list(engine.listing())
    assert engine.remove("mine") == ["mine: no longer a release"]


@pytest.mark.lab
@pytest.mark.skipif(not HOST_LIBVIRT, reason="needs this machine's own libvirt: apt-get install python3-libvirt")
def test_a_host_without_a_daemon_is_a_column_that_says_so(own: Path) -> None:
    tree = own / "tree"
    tree.mkdir()
    (tree / "run").write_text('#!/bin/sh\nPATH=/usr/bin exec "$@"\n')  # libvirtd is in /usr/sbin
    (tree / "run").chmod(0o755)
    engine.add("mine", "command", {"prefix": str(tree / "run")})
    taken = census.take(("mine",))
    assert taken.presence["test", "mine"].word == "real"
    for name in ("remote", "xen", "network"):
        presence = taken.presence[name, "mine"]
        assert (presence.word, presence.why) == ("not-here", "mine: no libvirtd; install it in the lab")


@pytest.mark.parametrize("kind", sorted(lab_kinds()))
def test_what_is_missing_is_said_with_a_remedy(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found = lab_kinds()[kind].open(Release("x", lab={"kind": kind}))
    assert isinstance(found, NotHere)
    assert found.reason
    assert found.remedy


def test_the_definition_is_the_address() -> None:
    release = releases.find("debian-12")
    flavour = releases.find("debian-12-all")
    assert build.folder_of(release) != build.folder_of(flavour)
    assert set(release.packages) < set(flavour.packages)


def test_a_lab_that_cannot_be_built_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRT_COMPAT_CACHE", str(tmp_path))
    if not shutil.which("mmdebstrap"):
        pytest.skip("needs mmdebstrap: apt-get install mmdebstrap")
    with pytest.raises(LabError, match="could not build debian-12"):
        build.create(releases.find("debian-12"), "http://127.0.0.1:9/debian")
    assert list((tmp_path / "labs").iterdir()) == []


@pytest.mark.lab
def test_a_mirror_that_moved_makes_a_column_of_its_own(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("fixtures", "suites"):
        (tmp_path / folder).symlink_to(paths.data_root() / folder)
    shutil.copytree(paths.data_root() / "golden" / "debian-12", tmp_path / "golden" / "debian-12")
    provenance = tmp_path / "golden" / "debian-12" / "PROVENANCE.toml"
    text = provenance.read_text()
    provenance.write_text(re.sub(r'("qemu-system-x86" = )".*"', r'\1"1:7.2+dfsg-0"', text))
    monkeypatch.setenv("VIRT_COMPAT_DATA", str(tmp_path))
    golden.forget()
    try:
        found = columns.find(("debian-12",))
        assert [c.live for c in found.columns].count(True) == 1
        moved = next(c for c in found.columns if c.live)
        assert moved.name.startswith("debian-12@libvirt-9.0.0+qemu-7.2")
        assert "the mirror has moved" in moved.note
        assert isinstance(found.lab("debian-12", ""), NotHere)
        selection = runner.Selection(("same-input", "upgrade-redefine"), ("domain",), ("test",), cases=("disk-[ab]*",))
        matrix = runner.run(selection, found=found)
        both = [c for c in matrix.cells if c.key.new == moved.name and c.key.old == "debian-12"]
        assert sum(c.asked for c in both) > 10, "the recorded release is compared with what the mirror has now"
        assert not any(c.counts.get(Outcome.INCOMPATIBLE) for c in both)
        assert matrix.notes
    finally:
        golden.forget()


@pytest.mark.lab
@pytest.mark.parametrize("daemon", [False, True])
def test_a_sandbox_cannot_set_what_is_the_machines(lab: Lab, daemon: bool) -> None:
    """Its own user 0 may be the machine's: what it can write below /proc/sys outlives it."""
    command = bwrap.command(Path("/"), daemon, None)
    tried = "for f in kernel/core_pattern vm/swappiness; do (: >>/proc/sys/$f) 2>&1; done; id -u"
    done = subprocess.run([*command, "sh", "-c", tried], capture_output=True, text=True, check=False)
    assert len(re.findall("Read-only file system|Permission denied", done.stdout)) == 2, done
    assert done.stdout.endswith("0\n" if daemon else "1000\n")
