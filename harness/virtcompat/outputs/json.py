"""The judgement as JSON: ``verdict.json``, everything in it, and whether all of it is there."""

from __future__ import annotations

import json
from pathlib import Path

from virtcompat.errors import BadData
from virtcompat.judgement import Item, Judgement, Unreached, Waiver
from virtcompat.model import CellKey, Column
from virtcompat.outputs import Output, cells, ordered

SCHEMA = "virt-compat/verdict/1"
#: What a verdict must have besides its last key, ``complete``.
REQUIRED = ("word", "exit_code", "codes", "candidate", "baselines", "items", "unreached", "broken", "problems")
REMEDY = "run 'virt-compat gate' again: a verdict that was cut off says nothing"


class JsonOutput:
    """One object; ``schema`` names the shape, ``complete`` is its last key. Values are kept as they are."""

    name = "json"
    summary = "everything, for programs: verdict.json"

    def render(self, judgement: Judgement) -> str:
        j = judgement
        record = {
            "schema": SCHEMA,
            "word": j.word,
            "exit_code": j.exit_code,
            "codes": j.codes,
            "gate": j.gate.label,
            "candidate": _column(j.candidate),
            "baselines": [_column(column) for column in j.baselines],
            "counts": {
                "compatible": j.compatible, "incompatible": j.incompatible, "asked": j.asked, "known": j.known,
                "judged": j.judged, "remembered": j.remembered,
            },
            "seconds": round(j.seconds, 3),
            "problems": sorted(j.problems),
            "items": [_item(item) for item in ordered(j.items)],
            "unreached": [_unreached(u) for u in cells(j.unreached)],
            "broken": [_unreached(u) for u in cells(j.broken)],
            "waivers": [_waiver(w) for w in sorted(j.waivers, key=lambda w: (w.file, w.line, w.fingerprint))],
            "notes": list(j.notes),
            "complete": True,
        }  # fmt: skip
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        # A lone surrogate has no UTF-8; escaped as \udc80 it is JSON, and is read back as it was.
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def read(text: str, file: Path | str = "verdict.json") -> dict[str, object]:
    """The record of a verdict; BadData for one that was cut off, altered in part or is no verdict at all."""
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadData(file, f"not the whole of a verdict: {error.msg}", REMEDY, error.lineno) from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise BadData(file, f"no verdict: its schema is not '{SCHEMA}'", REMEDY)
    last = text.count("\n", 0, len(text.rstrip())) + 1
    if list(record)[-1] != "complete" or record["complete"] is not True:
        raise BadData(file, "not the whole of a verdict: it does not end in '\"complete\": true'", REMEDY, last)
    missing = [key for key in REQUIRED if key not in record]
    if missing:
        raise BadData(file, f"not the whole of a verdict: it lacks {', '.join(missing)}", REMEDY, last)
    codes = record["codes"]
    if not isinstance(codes, list) or not codes or record["exit_code"] != codes[0]:
        raise BadData(file, "its exit code is not the first of its codes", REMEDY)
    return record


def _column(column: Column) -> dict[str, object]:
    found: dict[str, object] = {"name": column.name, "libvirt": column.libvirt, "qemu": column.qemu}
    found |= {"golden": column.golden, "live": column.live, "note": column.note}
    return found | ({"others": dict(sorted(column.others.items()))} if column.others else {})


def _cell(key: CellKey) -> dict[str, object]:
    named = {"check": key.check, "kind": key.kind, "driver": key.driver, "old": key.old, "new": key.new}
    return {"cell": str(key), **named}


def _unreached(unreached: Unreached) -> dict[str, object]:
    return {**_cell(unreached.key), "cases": unreached.cases, "why": unreached.why}


def _waiver(waiver: Waiver) -> dict[str, object]:
    return {
        "fingerprint": waiver.fingerprint, "check": waiver.check, "where": dict(sorted(waiver.where.items())),
        "reason": waiver.reason, "owner": waiver.owner, "issue": waiver.issue, "expires": waiver.expires,
        "file": waiver.file, "line": waiver.line,
    }  # fmt: skip


def _item(item: Item) -> dict[str, object]:
    finding, witness = item.finding, item.witness
    record: dict[str, object] = {
        "fingerprint": item.fingerprint,
        "standing": item.standing.value,
        **_cell(item.key),
        "path": finding.path,
        "change": finding.change.value,
        "tier": finding.tier.label,
        "was": finding.old,
        "now": finding.new,
        "product": finding.product,
        "entry": finding.entry,
        "cases": list(item.cases),
        "command": item.command,
        "why": item.why,
    }
    if item.waiver:
        record["waiver"] = _waiver(item.waiver)
    if witness:
        told = {"text": witness.text, "file": witness.file, "command": witness.command}
        record["witness"] = {**told, "questions": witness.questions, "minimal": witness.minimal}
    return record


OUTPUT: Output = JsonOutput()
