"""The matrix as JUnit XML: a test suite a driver and check, a test case a cell."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from virtcompat.model import Cell, Matrix, Outcome
from virtcompat.renderers import Renderer, causes, sentence


class JunitRenderer:
    """Incompatible cells with an unexplained finding are failures, explained ones are passed and say so."""

    name = "junit"
    suffix = "xml"

    def render(self, matrix: Matrix) -> str:
        root = ET.Element("testsuites", name="virt-compat")
        suites: dict[str, list[Cell]] = {}
        for cell in matrix.cells:
            if any(cell.counts.values()):
                suites.setdefault(f"{cell.key.driver}.{cell.key.check}", []).append(cell)
        for name, cells in sorted(suites.items()):
            suite = ET.SubElement(root, "testsuite", name=name, tests=str(len(cells)))
            tallies = {"failures": 0, "errors": 0, "skipped": 0}
            for cell in cells:
                verdict = _case(suite, matrix, cell)
                if verdict:
                    tallies[verdict] += 1
            for tally, count in tallies.items():
                suite.set(tally, str(count))
        ET.indent(root)
        return "<?xml version='1.0' encoding='utf-8'?>\n" + ET.tostring(root, encoding="unicode") + "\n"


def _case(suite: ET.Element, matrix: Matrix, cell: Cell) -> str:
    key = cell.key
    name = f"{key.kind} {key.old} -> {key.new}"
    case = ET.SubElement(suite, "testcase", classname=f"{key.driver}.{key.check}", name=name, time="0")
    if cell.outcome is Outcome.BROKEN:
        reasons = sorted({v.reason for v in cell.verdicts if v.outcome is Outcome.BROKEN})
        ET.SubElement(case, "error", message=_clean("; ".join(reasons)))
        return "errors"
    if cell.outcome in (Outcome.NOT_HERE, Outcome.NOT_APPLICABLE):
        reasons = sorted({v.reason for v in cell.verdicts})[:3]
        ET.SubElement(case, "skipped", message=_clean(f"{cell.outcome}: {'; '.join(reasons)}"))
        return "skipped"
    found = causes([cell], matrix.gate)
    lines = [f"{c.finding.tier.label}: {sentence(c.finding)} [{', '.join(c.cases[:5])}]" for c in found]
    if cell.unexplained:
        count = cell.counts.get(Outcome.INCOMPATIBLE, 0)
        message = f"{count} of {cell.asked} incompatible, {cell.unexplained} of them unexplained"
        ET.SubElement(case, "failure", message=message, type=cell.worst.label).text = _clean("\n".join(lines))
        return "failures"
    if lines:
        ET.SubElement(case, "system-out").text = _clean("\n".join(lines))
    return ""


def _clean(text: str) -> str:
    """Without the control characters that XML 1.0 has no way to write."""
    return "".join(c for c in text if c in "\t\n" or ord(c) >= 32)


RENDERER: Renderer = JunitRenderer()
