"""Golden records are evidence: complete, undamaged, reproducible, and written by nobody but ``record``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from virtcompat import drivers
from virtcompat.engine import health, record
from virtcompat.errors import UsageError
from virtcompat.labs import Lab, build
from virtcompat.store import fixtures, golden, paths, releases
from virtcompat.surfaces import every

RELEASES = [r.name for r in releases.shipped()]


@pytest.mark.parametrize("release", RELEASES)
def test_no_file_was_edited_added_or_lost(release: str) -> None:
    assert golden.damaged(release) == []


@pytest.mark.parametrize("release", RELEASES)
def test_every_fixture_has_a_golden_answer(release: str) -> None:
    for fixture in fixtures.load(tuple(every()), tuple(drivers.every())):
        for driver in fixture.drivers:
            assert fixture.case in golden.cases(release, fixture.kind, driver), (fixture.kind, fixture.case, driver)


def test_fixtures_golden_and_ledger_are_in_order() -> None:
    assert health.data_problems() == []


def test_damage_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fixtures").mkdir()
    source = paths.data_root() / "golden" / "debian-12"
    shutil.copytree(source, tmp_path / "golden" / "debian-12")
    monkeypatch.setenv("VIRT_COMPAT_DATA", str(tmp_path))
    edited, gone, added = (
        tmp_path / "golden/debian-12/domain/qemu" / name for name in ("plain.secure.xml", "plain.disk.xml", "x.xml")
    )
    edited.write_text(edited.read_text().replace("65536", "65537"))
    gone.unlink()
    added.write_text("<domain/>")
    assert golden.damaged("debian-12") == [
        "domain/qemu/plain.disk.xml: missing",
        "domain/qemu/plain.secure.xml: edited",
        "domain/qemu/x.xml: not in the provenance",
    ]


def test_another_checkout_has_records_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert golden.provenance("debian-12")
    assert golden.cases("debian-12", "domain", "qemu")
    (tmp_path / "fixtures").mkdir()
    monkeypatch.setenv("VIRT_COMPAT_DATA", str(tmp_path))
    assert golden.provenance("debian-12") is None
    assert not golden.cases("debian-12", "domain", "qemu")


def test_recording_is_refused_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(UsageError, match="CI is set"):
        golden.Recorder("debian-12")


def test_a_driver_without_documents_is_not_recorded_by_itself() -> None:
    with pytest.raises(UsageError, match="driver bhyve has no documents"):
        record.record("debian-12", record.Part(drivers=("bhyve",)))


@pytest.mark.lab
def test_recording_twice_gives_the_same_bytes(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time with an empty cache: every answer is really given twice. Surfaces: test_static; streams stop anywhere."""
    build.create(releases.find("debian-12-all"))
    build.create(releases.find("debian-12-abi"))
    monkeypatch.setattr(record, "_surfaces", lambda *_: None)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(record.remote, "record", lambda name: {})  # test_remote talks
    monkeypatch.setattr(record, "KINDS", ("domain", "secret", "storagepool"))
    texts = []
    for turn in ("one", "two"):
        base = tmp_path / turn
        base.mkdir()
        (base / "fixtures").symlink_to(paths.PACKAGE.parent.parent / "fixtures")
        (base / "cache").mkdir()
        with monkeypatch.context() as patch:
            labs = paths.cache_dir() / "labs"
            patch.setenv("VIRT_COMPAT_DATA", str(base))
            patch.setenv("VIRT_COMPAT_CACHE", str(base / "cache"))
            (base / "cache" / "labs").symlink_to(labs)
            folder = record.record("debian-12")
            texts.append({str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()})
    assert len(texts[0]) > 1000
    assert texts[0] == texts[1]


def test_the_wheel_carries_the_data(tmp_path: Path) -> None:
    root = paths.PACKAGE.parent.parent
    if not (root / "pyproject.toml").exists():
        pytest.skip("not run from a checkout")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(root)]
    subprocess.run(command, check=True, capture_output=True)
    listing = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(next(tmp_path.glob("*.whl")))],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in ("virtcompat/_data/fixtures/domain/plain.xml", "virtcompat/_data/golden/debian-11/PROVENANCE.toml"):
        assert name in listing
    for name in (
        "virtcompat/_data/suites/documents.toml",
        "virtcompat/data/releases/debian-14.toml",
        "probes/libvirt_probe.py",
    ):
        assert name in listing
