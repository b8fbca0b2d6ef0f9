"""The cache of answers: kill -9, two writers, and nothing asked twice."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import accepted
from virtcompat.labs import Lab
from virtcompat.model import Answer, Form
from virtcompat.store import paths
from virtcompat.store.cache import Cache

MATRIX = [
    "matrix", "--kind", "domain", "--driver", "test", "--driver", "qemu", "--case", "[a-d]*", "--release", "debian-12",
    "--fail-on", "none",
]  # fmt: skip


def command(cache: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    environment = {**os.environ, "VIRT_COMPAT_CACHE": str(cache)}
    return [sys.executable, "-c", "from virtcompat.cli import main; main()", *arguments], environment


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "a.sqlite")
    answer = Answer("accepted", {"secure": Form("<a>\ud800é</a>"), "argv": Form(error="no tun")}, 1, 2, "m", "n", "u")
    cache.put_many("lab", [("k", answer), ("other", accepted("<b/>"))])
    assert dict(cache.get_many(["k", "missing"])) == {"k": answer}
    assert cache.forget_lab("lab") == 2
    assert cache.count() == 0


def test_two_writers(tmp_path: Path) -> None:
    def write(name: str) -> None:
        cache = Cache(tmp_path / "a.sqlite")
        for number in range(50):
            cache.put_many("lab", [(f"{name}-{number}-{i}", accepted("<a/>")) for i in range(10)])
        cache.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ["one", "two"]))
    assert Cache(tmp_path / "a.sqlite").count() == 1000


@pytest.mark.lab
def test_a_run_killed_in_the_middle_asks_nothing_again_that_was_stored(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "labs").symlink_to(paths.cache_dir() / "labs")
    argv, environment = command(tmp_path, *MATRIX)
    running = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    file = tmp_path / "answers.sqlite"
    deadline = time.monotonic() + 60
    stored = 0
    while stored < 100 and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.02)
        if file.exists():
            stored = rows(file)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    kept = rows(file)
    assert kept >= 100, "the run ended before it could be killed"
    database = sqlite3.connect(file)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    again = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout
    asked, _ = counted(again)
    assert rows(file) == asked + kept
    third = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout
    assert "all of them known from earlier runs" in " ".join(third.split())
    (tmp_path / "verdicts.sqlite").unlink()  # the verdicts gone, the answers are still there
    fourth = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout
    assert counted(fourth)[0] == 0
    assert counted(fourth)[1] >= kept


def rows(file: Path) -> int:
    try:
        database = sqlite3.connect(file)
        return int(database.execute("SELECT count(*) FROM answers").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def counted(text: str) -> tuple[int, int]:
    """(asked now, known from earlier) of a run's last lines."""
    found = re.search(r"answers: (\d+) asked of\s+real\s+libvirt\s+now, (\d+) known", text)
    assert found, text[-500:]
    return int(found[1]), int(found[2])


@pytest.mark.lab
def test_ctrl_c_keeps_what_is_done_and_says_so(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "labs").symlink_to(paths.cache_dir() / "labs")
    argv, environment = command(tmp_path, *MATRIX)
    running = subprocess.Popen(
        argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    file = tmp_path / "answers.sqlite"
    deadline = time.monotonic() + 60
    while (not file.exists() or rows(file) < 64) and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.02)
    interrupted = time.monotonic()
    os.kill(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert time.monotonic() - interrupted < 45
    assert running.returncode == 3
    assert "every answer so far is kept" in said
    assert "Traceback" not in said
    assert rows(file) >= 64
