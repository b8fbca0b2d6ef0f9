"""What a whole matrix comes to: an exit code, and the form in which it is published."""

from __future__ import annotations

import json
from dataclasses import replace

from deepdiff import DeepDiff

from virtcompat.model import Matrix, Outcome
from virtcompat.renderers import totals


def exit_code(matrix: Matrix, *, judged: bool, partly: bool = False) -> int:
    """The exit code of a run: tool failure before breaks, breaks before what could not be asked.

    4 a cell is broken; 1 an unexplained finding at the gate's tier or a stale ledger entry (only where ``judged``);
    3 nothing was asked, or something could not be (``partly`` forgives single cases); 0 else.
    """
    counts = totals(matrix)
    if counts[Outcome.BROKEN]:
        return 4
    if judged and (matrix.stale or any(c.unexplained for c in matrix.cells)):
        return 1
    asked = counts[Outcome.COMPATIBLE] + counts[Outcome.INCOMPATIBLE]
    missing = counts[Outcome.NOT_HERE] and not partly
    return 3 if not asked or missing or any(c.outcome is Outcome.NOT_HERE for c in matrix.cells) else 0


def drift(before: str, after: str) -> list[str]:
    """The cells whose outcome, worst tier or counts differ between two published matrices (JSON texts), a line each."""
    old, new = _summaries(before), _summaries(after)
    delta = DeepDiff(old, new, threshold_to_diff_deeper=0, view="tree")
    lines = []
    for group in delta.values():
        for item in group:
            cell = item.path(output_format="list")[0]
            lines.append(f"{cell}: {old.get(cell, 'not there')} -> {new.get(cell, 'not there')}")
    return sorted(set(lines))


def _summaries(text: str) -> dict[str, str]:
    cells = json.loads(text)["cells"]
    return {c["cell"]: f"{c['outcome']} {c['worst']} {json.dumps(c['counts'])}" for c in cells}


def publishable(matrix: Matrix) -> Matrix:
    """The matrix without what differs from run to run though nothing changed: where its answers came from."""
    return replace(matrix, asked=0, cached=0, replayed=0, judged=0, remembered=0)
