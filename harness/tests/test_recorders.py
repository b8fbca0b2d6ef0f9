"""One recorder a release at a time, whatever becomes of it; and a stand-in that changes is asked anew."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from virtcompat.engine import static
from virtcompat.errors import VirtCompatError
from virtcompat.store import golden, paths

RECORDS = """import sys
from virtcompat.store import golden
recorder = golden.Recorder(sys.argv[1])
print("records", flush=True)
sys.stdin.read()
recorder.finish(golden.Provenance(sys.argv[1], {}, {}, "", "a test"))
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data folders with nothing in them."""
    (tmp_path / "fixtures").mkdir()
    monkeypatch.setenv("VIRT_COMPAT_DATA", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    return tmp_path


@contextmanager
def recording(release: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that records a release until its stdin is closed."""
    command = [sys.executable, "-c", RECORDS, release]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "records\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_recorder_of_a_release_is_refused_and_of_another_one_is_not(data: Path) -> None:
    with recording("debian-11") as other:
        (data / "golden/.recording-debian-11/is-being-written").touch()
        with pytest.raises(VirtCompatError, match="another recording of debian-11 runs") as refused:
            golden.Recorder("debian-11")
        assert refused.value.exit_code == 4
        assert f"process {other.pid}" in refused.value.remedy
        assert (data / "golden/.recording-debian-11/is-being-written").exists(), "the other's work is not touched"
        golden.Recorder("debian-12").let_go()
        other.communicate("")
        assert other.returncode == 0
    assert (data / "golden/debian-11/PROVENANCE.toml").exists()
    golden.Recorder("debian-11").let_go()


def test_a_recorder_that_is_killed_lets_its_release_go(data: Path) -> None:
    with recording("debian-11") as other:
        other.kill()
        other.wait()
    recorder = golden.Recorder("debian-11")
    recorder.add_text("a/b.txt", "c\n")
    recorder.finish(golden.Provenance("debian-11", {}, {}, "", "a test"))
    golden.forget()
    assert golden.damaged("debian-11") == []
    golden.Recorder("debian-11").let_go()


def test_a_recorder_that_failed_lets_its_release_go(data: Path) -> None:
    def fail() -> None:
        _recorder = golden.Recorder("debian-11")
        raise VirtCompatError("the lab died")

    with pytest.raises(VirtCompatError, match="the lab died"):
        fail()
    gc.collect()
    golden.Recorder("debian-11").let_go()


def test_who_records_is_never_data(data: Path) -> None:
    golden.Recorder("debian-11").let_go()
    assert {p.name[0] for p in (data / "golden").iterdir()} == {"."}
    ignored = paths.PACKAGE.parent.parent / ".gitignore"
    if ignored.exists():
        assert "/golden/.*/" in ignored.read_text().splitlines()


def test_another_stand_in_is_asked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stand-in answers is in what is read off a lab: any of its files counts, what Python leaves beside them not."""
    shutil.copytree(paths.PACKAGE / "data" / "standins", tmp_path / "data" / "standins")
    monkeypatch.setattr(paths, "PACKAGE", tmp_path)
    before = static.reader_digest.__wrapped__()
    (tmp_path / "data/standins/openvz/x.pyc").write_bytes(b"\0")
    assert static.reader_digest.__wrapped__() == before
    conf = tmp_path / "data/standins/openvz/vz.conf"
    conf.write_text(conf.read_text() + "\n# another host\n")
    assert static.reader_digest.__wrapped__() != before
