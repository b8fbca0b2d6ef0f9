"""The matrix as JSON: everything in it, for other programs and for ``report compare``."""

from __future__ import annotations

import json
from typing import Any

from virtcompat.model import Cell, Finding, Matrix, Verdict
from virtcompat.renderers import Renderer


class JsonRenderer:
    """One object; ``schema`` names the shape. What a run cost is left out: it is not what the run found."""

    name = "json"
    suffix = "json"

    def render(self, matrix: Matrix) -> str:
        record = {
            "schema": "virt-compat/matrix/1",
            "gate": matrix.gate.label,
            "columns": [
                {
                    "name": c.name,
                    "libvirt": c.libvirt,
                    "qemu": c.qemu,
                    "golden": c.golden,
                    "live": c.live,
                    "note": c.note,
                    **({"others": dict(c.others)} if c.others else {}),
                }
                for c in matrix.columns
            ],
            "cells": [_cell(c) for c in matrix.cells if any(c.counts.values())],
            "stale": list(matrix.stale),
            "notes": list(matrix.notes),
        }
        return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def _cell(cell: Cell) -> dict[str, Any]:
    key = cell.key
    return {
        "cell": str(key),
        "check": key.check,
        "kind": key.kind,
        "driver": key.driver,
        "old": key.old,
        "new": key.new,
        "outcome": cell.outcome.value,
        "worst": cell.worst.label,
        "counts": {outcome.value: n for outcome, n in sorted(cell.counts.items())},
        "unexplained": cell.unexplained,
        "cases": [_verdict(v) for v in cell.verdicts],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    record: dict[str, Any] = {"case": verdict.case, "outcome": verdict.outcome.value}
    if verdict.reason:
        record["reason"] = verdict.reason
    if verdict.findings:
        record["findings"] = [_finding(f) for f in verdict.findings]
    return record


def _finding(finding: Finding) -> dict[str, str]:
    fields = {
        "path": finding.path, "change": finding.change.value, "tier": finding.tier.label, "old": finding.old,
        "new": finding.new, "product": finding.product, "entry": finding.entry,
    }  # fmt: skip
    return {name: value for name, value in fields.items() if value}


RENDERER: Renderer = JsonRenderer()
