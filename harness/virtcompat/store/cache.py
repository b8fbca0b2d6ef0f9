"""The answers already given: one SQLite file, safe under kill -9 and two writers."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from virtcompat.model import Answer

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, lab TEXT NOT NULL, body BLOB NOT NULL) WITHOUT ROWID"
)


class Cache:
    """Answers by key. A key digests the lab, the probe, the set-up and the question: nothing is ever stale.

    Write-ahead logging lets a second process read and write; every batch is one transaction, so that a killed
    run has stored whole answers or none of a batch.
    """

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(file, timeout=60, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(SCHEMA)
        # Users' own documents are among what was asked.
        with contextlib.suppress(OSError):
            file.chmod(0o600)

    def get_many(self, keys: Iterable[str]) -> Iterator[tuple[str, Answer]]:
        """The answers that are stored among these keys."""
        wanted = list(keys)
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            marks = ",".join("?" * len(part))
            with self._lock:
                rows = self._db.execute(f"SELECT key, body FROM answers WHERE key IN ({marks})", part).fetchall()  # noqa: S608
            for key, body in rows:
                yield key, Answer.from_dict(json.loads(zlib.decompress(body)))

    def put_many(self, lab: str, answers: Iterable[tuple[str, Answer]]) -> None:
        rows = [(key, lab, zlib.compress(json.dumps(a.to_dict()).encode(), 1)) for key, a in answers]
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)
            self._db.execute("COMMIT")

    def count(self) -> int:
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])

    def forget_lab(self, lab: str) -> int:
        """Drop what one lab answered; returns how many answers that were."""
        with self._lock:
            return self._db.execute("DELETE FROM answers WHERE lab = ?", (lab,)).rowcount

    def close(self) -> None:
        self._db.close()
