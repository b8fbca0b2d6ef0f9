"""Answers that travel: a worker's cache that knows which answers a unit rests on, and the rows as they are stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from virtcompat.model import Answer
from virtcompat.store.cache import Cache

#: Key, fingerprint of the lab, packed answer.
Row = tuple[str, str, bytes]


class Relay(Cache):
    """A cache whose rows can be taken out and put into another as they are, without unpacking an answer."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self.wanted: set[str] = set()

    def get_many(self, keys: Iterable[str]) -> Iterator[tuple[str, Answer]]:
        for key, answer in super().get_many(keys):
            self.wanted.add(key)
            yield key, answer

    def put_many(self, lab: str, answers: Iterable[tuple[str, Answer]]) -> None:
        stored = list(answers)
        super().put_many(lab, stored)
        self.wanted |= {key for key, _ in stored}

    def taken(self) -> list[Row]:
        """The rows that were read or written since this was last called."""
        keys, rows = sorted(self.wanted), []
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            marks = ",".join("?" * len(part))
            with self._lock:
                asked = f"SELECT key, lab, body FROM answers WHERE key IN ({marks})"  # noqa: S608
                rows += self._db.execute(asked, part).fetchall()
        self.wanted.clear()
        return rows

    def put_rows(self, rows: Sequence[Row]) -> None:
        """Store rows of another cache, in one transaction."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", rows)
            self._db.execute("COMMIT")
