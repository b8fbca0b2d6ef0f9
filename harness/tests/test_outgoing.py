"""What a command writes: never over somebody else's file, never two things into one, and a reader that goes changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from virtcompat.labs import Lab

COMMAND = [sys.executable, "-c", "from virtcompat.cli import main; main()"]
GATE = ("gate", "--baseline", "debian-13", "--candidate", "debian-14", "--driver", "test", "--case", "disk-bus-usb*")
OLD = '{\n "schema": "virt-compat/verdict/1",\n "word": "pass"'  # cut off: a verdict all the same


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {**os.environ, **environment}
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=own, capture_output=True, text=True, check=False, timeout=300
    )


def unread(*arguments: str) -> int:
    """The exit code of a command whose reader has gone before it prints."""
    read, write = os.pipe()
    os.close(read)
    try:
        return subprocess.run([*COMMAND, *arguments], stdout=write, check=False, timeout=300).returncode
    finally:
        os.close(write)


def test_what_is_no_verdict_is_not_replaced(tmp_path: Path, lab: Lab) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("mine\n")
    done = run(tmp_path, *GATE, "--verdict", "kept.txt")
    assert (done.returncode, kept.read_text()) == (2, "mine\n")
    assert "is no verdict" in done.stderr
    done = run(tmp_path, *GATE, "--verdict", "kept.txt", "--no-such-option")
    assert (done.returncode, kept.read_text()) == (2, "mine\n")
    # A verdict is, also one that was cut off; and a device is written into.
    (tmp_path / "verdict.json").write_text(OLD)
    assert run(tmp_path, *GATE).returncode == 0
    assert (tmp_path / "verdict.json").read_text().rstrip().endswith('"complete": true\n}')
    (tmp_path / "null").symlink_to("/dev/null")
    assert run(tmp_path, *GATE, "--verdict", "null").returncode == 0
    assert (tmp_path / "null").is_symlink()
    assert [f.name for f in sorted(tmp_path.iterdir())] == ["kept.txt", "null", "verdict.json"]


def test_neither_completion_nor_help_touches_the_last_verdict(tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text(OLD)
    words = {"COMP_WORDS": "virt-compat gate --driver te", "COMP_CWORD": "3"}
    done = run(tmp_path, _VIRT_COMPAT_COMPLETE="bash_complete", **words)
    assert (done.returncode, done.stdout) == (0, "plain,test\n")
    assert run(tmp_path, "gate", "--verdict", "verdict.json", "--help").returncode == 0
    assert (tmp_path / "verdict.json").exists()
    assert run(tmp_path, "gate", "--verdict", "verdict.json").returncode == 2
    assert not (tmp_path / "verdict.json").exists(), "a run that is not understood leaves no verdict"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--format", "json=one", "--format", "junit=one"), "two outputs"),
        (("--format", "junit=verdict.json"), "two outputs"),
        (("--waivers", "waivers.toml", "--format", "junit=waivers.toml"), "two outputs"),
        (("--format", "json=."), "is a directory"),
        (("--format", "json=none/one"), "no such directory"),
    ],
)
def test_where_outputs_cannot_go_is_said_before_anything_is_asked(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "waivers.toml").write_text("")
    done = run(tmp_path, *GATE, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert [f.name for f in tmp_path.iterdir()] == ["waivers.toml"]


def test_a_full_disk_is_named(tmp_path: Path, lab: Lab) -> None:
    done = run(tmp_path, *GATE, "--format", "json=/dev/full")
    assert done.returncode == 4
    assert "/dev/full: cannot be written: No space left on device" in done.stderr


def test_a_reader_that_has_gone_is_no_break(tmp_path: Path, lab: Lab) -> None:
    verdict = ("--verdict", str(tmp_path / "verdict.json"))
    assert unread(*GATE, *verdict) == 0, "the verdict is what it was"
    assert (tmp_path / "verdict.json").exists()
    assert unread("drivers") == 0
    assert unread("list", "drivers") != 1
