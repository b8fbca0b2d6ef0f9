"""Waivers as data: findings that somebody accepts, each narrow, owned, reasoned and with an end.

A file is TOML, one ``[[waiver]]`` a finding. What would accept more than one finding is refused when it is read: a waiver
by check alone, a path of wildcards, an end that is further away than a year.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator
from pathlib import Path

from virtcompat.errors import BadData
from virtcompat.judgement import Waiver
from virtcompat.store import tables

KEYS = {
    "fingerprint": str, "check": str, "where": dict, "reason": str, "owner": str, "issue": str, "expires": object,
}  # fmt: skip
WHERE = {"driver": str, "kind": str, "path": str, "old": str, "new": str, "case": str}
LONGEST = datetime.timedelta(days=366)
REMEDY = "virt-compat waive writes one that is narrow enough"
#: ``libvirt 13.0.0``: the waiver ends when the candidate is that new.
VERSION = re.compile(r"(libvirt|qemu|spice|xen) (\d+(?:\.\d+)*)")


def read(file: Path, today: datetime.date | None = None) -> list[Waiver]:
    """The waivers of a file; BadData with the line of the first that is malformed or too broad."""
    table = tables.read(file)
    tables.check_keys(file, table, {"waiver": list})
    starts = [n for n, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1) if "[[waiver]]" in line]
    found = []
    for number, body in enumerate(table.get("waiver", [])):
        line = starts[number] if number < len(starts) else 1
        if not isinstance(body, dict):
            raise BadData(file, "a waiver must be a table", "write [[waiver]]", line)
        found.append(_read(file, line, body, today or datetime.date.today()))
    for one in found:
        twins = [w.line for w in found if w.fingerprint == one.fingerprint and w.where == one.where]
        if len(twins) > 1:
            raise BadData(file, f"{one.fingerprint} is waived twice (line {twins[0]})", "remove one", twins[1])
    return found


def _read(file: Path, line: int, body: tables.Table, today: datetime.date) -> Waiver:
    for problem, remedy in (*_malformed(body), *_too_broad(body.get("where")), *_endless(body.get("expires"), today)):
        raise BadData(file, problem, remedy or REMEDY, line)
    words = {key: str(body[key]) for key in KEYS if key != "where"}
    return Waiver(**words, where=dict(body["where"]), file=str(file), line=line)


#: What is wrong, and what to do about it; without a remedy the usual one.
Problems = Iterator[tuple[str, str]]


def _malformed(body: tables.Table) -> Problems:
    for key in body:
        if key not in KEYS:
            yield f"a waiver has no '{key}'", f"use: {', '.join(KEYS)}"
    for key in KEYS:
        if key not in body or not str(body[key]).strip():
            yield f"a waiver without '{key}'", ""
    if not re.fullmatch(r"[0-9a-f]{16}", str(body.get("fingerprint"))):
        yield "'fingerprint' must be the 16 hexadecimal digits of one finding", ""


def _too_broad(where: object) -> Problems:
    if not isinstance(where, dict) or set(where) - set(WHERE) or not all(isinstance(v, str) for v in where.values()):
        yield f"'where' must be a table of {', '.join(WHERE)}", ""
        return
    missing = [key for key in ("driver", "path") if not where.get(key)]
    if missing or not any(where.get(side, "").strip("*?") for side in ("old", "new")):
        yield f"too broad: 'where' must name {', '.join(missing) or 'a release, as old or new'}", ""
    elif not re.search(r"[^*/?\[\]]", where["path"]) or not where["driver"].strip("*?"):
        yield "too broad: a path or driver of wildcards accepts anything", ""


def _endless(expires: object, today: datetime.date) -> Problems:
    if VERSION.fullmatch(str(expires)):
        return
    try:
        end = datetime.date.fromisoformat(str(expires))
    except ValueError:
        yield f"'expires' is neither a date nor a version: {expires}", "write 2027-06-30, or 'libvirt 13.0.0'"
        return
    if end - today > LONGEST:
        yield f"expires {expires}, more than a year ahead", "nobody remembers it then: choose an earlier day"


def write(file: Path, waiver: Waiver, comment: str = "") -> None:
    """Append one waiver to a file, which is made where there is none."""

    def quoted(text: str) -> str:
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

    where = ", ".join(f"{key} = {quoted(value)}" for key, value in waiver.where.items())
    expires = waiver.expires if re.fullmatch(r"\d{4}-\d\d-\d\d", waiver.expires) else quoted(waiver.expires)
    lines = [f"# {' '.join(comment.split())}"] if comment else []
    lines += ["[[waiver]]", f"fingerprint = {quoted(waiver.fingerprint)}", f"check = {quoted(waiver.check)}"]
    lines += [f"where = {{ {where} }}", f"reason = {quoted(waiver.reason)}", f"owner = {quoted(waiver.owner)}"]
    lines += [f"issue = {quoted(waiver.issue)}", f"expires = {expires}", ""]
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text(f"{before.rstrip()}\n\n" * bool(before.strip()) + "\n".join(lines), encoding="utf-8")
