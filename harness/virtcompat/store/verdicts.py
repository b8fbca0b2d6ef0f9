"""The verdicts of earlier runs: one SQLite file, each verdict under the digest of everything that it follows from.

Judging costs more than looking up once every answer is known. A verdict is a pure function of the document, of what both
releases answer and of the tool; its key digests these, so that nothing here is ever stale. What another version of the
tool judged is dropped when this one opens the file.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from virtcompat.model import Change, Finding, Outcome, Tier, Verdict

SCHEMA = """CREATE TABLE IF NOT EXISTS verdicts
 (key BLOB PRIMARY KEY, tool TEXT NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (document BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failed (kind TEXT, driver TEXT, case_name TEXT, PRIMARY KEY (kind, driver, case_name));
CREATE TABLE IF NOT EXISTS passed (kind TEXT, driver TEXT, case_name TEXT, PRIMARY KEY (kind, driver, case_name))"""
BATCH = 500
LARGE = 400


class Verdicts:
    """Lists of verdicts by key. ``tool``: the digest of the tool that judges."""

    def __init__(self, file: Path, tool: str) -> None:
        self.tool = tool
        self._db = sqlite3.connect(file, timeout=60, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        for statement in SCHEMA.split(";"):
            self._db.execute(statement)
        if self._db.execute("SELECT 1 FROM verdicts WHERE tool <> ? LIMIT 1", (tool,)).fetchone():
            self._db.execute("DELETE FROM verdicts WHERE tool <> ?", (tool,))

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, list[Verdict]]:
        """What is stored under these keys."""
        found = {}
        for key, body in self._select("SELECT key, body FROM verdicts WHERE key IN ({})", keys):
            found[key] = _read(body)
        return found

    def put_many(self, verdicts: Mapping[bytes, list[Verdict]]) -> None:
        """Store whole lists, in one transaction."""
        rows = [(key, self.tool, _written(found)) for key, found in verdicts.items()]
        self._write("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?)", rows)

    def seen(self, digests: Iterable[bytes]) -> frozenset[bytes]:
        """Which of these documents were judged before, whatever came of it."""
        return frozenset(row[0] for row in self._select("SELECT document FROM seen WHERE document IN ({})", digests))

    def see(self, digests: Iterable[bytes]) -> None:
        self._write("INSERT OR IGNORE INTO seen VALUES (?)", [(d,) for d in digests])

    def failed(self) -> frozenset[tuple[str, str, str]]:
        """(kind, driver, case) that an earlier gate found broken."""
        return frozenset(self._db.execute("SELECT kind, driver, case_name FROM failed").fetchall())

    def fail(self, cases: Iterable[tuple[str, str, str]]) -> None:
        self._write("INSERT OR IGNORE INTO failed VALUES (?, ?, ?)", list(cases))

    def passed(self) -> frozenset[tuple[str, str, str]]:
        """(kind, driver, case) that some release has passed."""
        return frozenset(self._db.execute("SELECT kind, driver, case_name FROM passed").fetchall())

    def succeed(self, cases: Iterable[tuple[str, str, str]]) -> None:
        new = sorted(set(cases) - self.passed())
        self._write("INSERT OR IGNORE INTO passed VALUES (?, ?, ?)", new)

    def close(self) -> None:
        self._db.close()

    def _select(self, statement: str, keys: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
        wanted = list(keys)
        for start in range(0, len(wanted), BATCH):
            part = wanted[start : start + BATCH]
            yield from self._db.execute(statement.format(",".join("?" * len(part))), part).fetchall()

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        if rows:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(statement, rows)
            self._db.execute("COMMIT")


def _written(verdicts: list[Verdict]) -> bytes:
    body = json.dumps([_record(v) for v in verdicts], separators=(",", ":")).encode()
    return b"z" + zlib.compress(body, 1) if len(body) > LARGE else body


def _read(body: bytes) -> list[Verdict]:
    return [_verdict(r) for r in json.loads(zlib.decompress(body[1:]) if body[:1] == b"z" else body)]


def _record(verdict: Verdict) -> list[object]:
    record: list[object] = [verdict.case, verdict.outcome.value, verdict.reason]
    findings = [[f.path, f.change.value, int(f.tier), f.old, f.new, f.product] for f in verdict.findings]
    return [*record, findings] if findings else record


def _verdict(record: list[object]) -> Verdict:
    case, outcome, reason, *rest = record
    findings = rest[0] if rest else []
    assert isinstance(findings, list)
    read = tuple(Finding(p, Change(c), Tier(t), old, new, product) for p, c, t, old, new, product in findings)
    return Verdict(str(case), Outcome(str(outcome)), read, str(reason))
