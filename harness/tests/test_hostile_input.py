"""Hostile or broken input ends in a clear error with file and remedy and exit code 2, never in a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from virtcompat.documents import read_text
from virtcompat.errors import BadData
from virtcompat.store import fixtures

META = """summary = "a case"
drivers = ["test"]
stability = "committed"
reference = "https://libvirt.org/formatdomain.html"
provenance = "written for virt-compat"
"""
GOOD = "<domain type='qemu'><name>a</name><uuid>5f1c0de0-0001-4000-8000-0000000000aa</uuid></domain>"
LAUGHS = "<!DOCTYPE d [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {b} '{f'&{a};' * 10}'>" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "billion laughs": (LAUGHS + "]><domain>&i;</domain>").encode(),
    "external entity": b"<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain><name>&x;</name></domain>",
    "external dtd": b"<!DOCTYPE domain SYSTEM 'http://127.0.0.1:9/x.dtd'><domain/>",
    "fifty megabytes": b"<domain>" + b" " * (50 << 20) + b"</domain>",
    "NUL bytes": b"<domain>\0</domain>",
    "deep nesting": b"<domain>" * 100_000,
    "wrong encoding": "<?xml version='1.0' encoding='UTF-8'?><domain><name>é</name></domain>".encode("latin-1"),
    "unknown encoding": b"<?xml version='1.0' encoding='klingon'?><domain/>",
    "empty": b"",
    "not xml": b"hello",
    "another kind": b"<network><name>a</name></network>",
}
LIES = {
    "unknown key": META + 'colour = "red"\n',
    "missing key": META.replace("summary", "# summary"),
    "wrong type": META.replace('["test"]', '"test"'),
    "not TOML": META + "= = =\n",
    "since after until": META + '[since]\nlibvirt = "9.0.0"\n[until]\nlibvirt = "8.0.0"\n',
    "unknown product": META + '[since]\nbhyve = "9.0.0"\n',
    "version that is none": META + '[since]\nlibvirt = "soon"\n',
    "refusal of a driver not asked": META + '[refused]\nqemu = "why"\n',
    "unknown stability": META.replace("committed", "granite"),
    "context that is not there": META + '[context]\npool = "nowhere"\n',
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for folder in ("fixtures/domain", "golden/changes", "suites"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "fixtures/domain/a.xml").write_text(GOOD)
    (tmp_path / "fixtures/domain/a.toml").write_text(META)
    return tmp_path


def run(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VIRT_COMPAT_DATA": str(data), "VIRT_COMPAT_CACHE": str(data / "cache")}
    command = [sys.executable, "-c", "from virtcompat.cli import main; main()", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def refused_clearly(done: subprocess.CompletedProcess[str], *named: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "remedy:" in done.stderr
    for name in named:
        assert name in done.stderr


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_fixture(data: Path, name: str) -> None:
    (data / "fixtures/domain/a.xml").write_bytes(HOSTILE[name])
    refused_clearly(run(data, "matrix"), "fixtures/domain/a.xml:")


@pytest.mark.parametrize("name", LIES)
def test_metadata_that_is_wrong(data: Path, name: str) -> None:
    (data / "fixtures/domain/a.toml").write_text(LIES[name])
    refused_clearly(run(data, "matrix"), "fixtures/domain/a.toml:")


def test_a_document_without_metadata_and_metadata_without_a_document(data: Path) -> None:
    (data / "fixtures/domain/a.toml").unlink()
    refused_clearly(run(data, "matrix"), "a.xml:1: document without metadata")
    (data / "fixtures/domain/a.xml").unlink()
    (data / "fixtures/domain/a.toml").write_text(META)
    refused_clearly(run(data, "matrix"), "a.toml:1: metadata without a document")


def test_a_ledger_entry_that_is_none(data: Path) -> None:
    (data / "golden/changes/x.toml").write_text('product = "libvirt"\n')
    refused_clearly(run(data, "check"), "golden/changes/x.toml:")


@pytest.mark.parametrize(
    "arguments",
    [
        ("matrix", "--driver", "teapot"),
        ("matrix", "--kind", "toaster"),
        ("matrix", "--check", "wishful"),
        ("matrix", "--old", "debian-3"),
        ("explain", "not-a-cell"),
        ("explain", "upgrade-disk/domain/qemu/debian-3/debian-12"),
        ("lab", "add", "mine"),
        ("lab", "add", "debian-12", "--host"),
        ("lab", "remove", "debian-99"),
        ("matrix", "--corpus", "."),
    ],
)
def test_names_that_do_not_exist(data: Path, arguments: tuple[str, ...]) -> None:
    environment = {**os.environ, "VIRT_COMPAT_CACHE": str(data / "cache"), "VIRT_COMPAT_CONFIG": str(data / "config")}
    command = [sys.executable, "-c", "from virtcompat.cli import main; main()", *arguments]
    (data / "empty").mkdir()
    done = subprocess.run(command, cwd=data / "empty", env=environment, capture_output=True, text=True, check=False)
    refused_clearly(done)


def test_an_unknown_option_is_a_usage_error(data: Path) -> None:
    done = run(data, "matrix", "--colour")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_corpus_leaves_hostile_documents_out_and_pins_what_is_random(tmp_path: Path) -> None:
    for name, content in HOSTILE.items():
        (tmp_path / f"{name}.xml").write_bytes(content)
    body = "<devices><interface type='user'/></devices></domain>"
    (tmp_path / "one.xml").write_text("<domain type='qemu'><name>x</name>" + body)
    (tmp_path / "two.xml").write_text("<domain type='qemu'><!-- the same -->\n<name>y</name>" + body)
    found = list(fixtures.corpus(tmp_path, {"domain": "domain"}, {"": "pc-i440fx-5.2"}))
    assert len(found) == 1
    assert "<uuid>" in found[0].text
    assert "<mac address=" in found[0].text


def test_utf16_is_read_as_declared(tmp_path: Path) -> None:
    file = tmp_path / "a.xml"
    file.write_bytes("<?xml version='1.0' encoding='UTF-16'?><domain><name>é</name></domain>".encode("utf-16"))
    assert read_text(file) == "<domain><name>é</name></domain>"


def test_a_missing_file_is_bad_data(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="cannot be read"):
        read_text(tmp_path / "nowhere.xml")
