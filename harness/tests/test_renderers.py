"""Every renderer prints every outcome, and the empty matrix."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest
from virtcompat import renderers
from virtcompat.engine import verdicts
from virtcompat.model import Cell, CellKey, Change, Column, Finding, Matrix, Outcome, Tier, Verdict

COLUMNS = [
    Column("one", "9.0.0", "7.2", (9,), golden=True, live=True),
    Column("two", "11.3.0", "10.0", ((11, 3), (10,)), golden=True, live=False),
]
NASTY = Finding("/domain/title", Change.CHANGED, Tier.BREAK, "a<b>&\x01|", "]]>\n'\"")


def cell(outcome: Outcome, findings: tuple[Finding, ...] = (), kind: str = "domain", unexplained: int = 0) -> Cell:
    verdict = Verdict("case", outcome, findings, "a reason")
    worst = max((f.tier for f in findings), default=Tier.IDENTICAL)
    key = CellKey("upgrade-disk", kind, "qemu", "one", "two")
    return Cell(key, {outcome: 1}, worst, unexplained, (verdict,))


def matrix(*cells: Cell, stale: tuple[str, ...] = ()) -> Matrix:
    return Matrix(COLUMNS, cells, Tier.BREAK, stale=stale, notes=("a note",))


EVERY = matrix(
    *(cell(o, (NASTY,) if o is Outcome.INCOMPATIBLE else (), o.value, int(o is Outcome.INCOMPATIBLE)) for o in Outcome)
)


@pytest.mark.parametrize("name", sorted(renderers.every()))
def test_the_empty_matrix_and_all_outcomes(name: str) -> None:
    renderer = renderers.every()[name]
    assert renderer.render(matrix())
    for outcome in Outcome:
        assert renderer.render(matrix(cell(outcome)))
    assert renderer.render(EVERY)


def test_xml_formats_are_well_formed_whatever_the_findings_say() -> None:
    for name in ("junit", "svg"):
        ET.fromstring(renderers.every()[name].render(EVERY))


def test_junit_counts_what_it_holds() -> None:
    suite = ET.fromstring(renderers.every()["junit"].render(EVERY)).find("testsuite")
    assert suite is not None
    assert {k: suite.get(k) for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5", "failures": "1", "errors": "1", "skipped": "2",
    }  # fmt: skip


def test_json_holds_the_finding_unchanged() -> None:
    record = json.loads(renderers.every()["json"].render(EVERY))
    findings = [f for c in record["cells"] for v in c["cases"] for f in v.get("findings", ())]
    assert [f["old"] for f in findings] == [NASTY.old]


def test_html_needs_no_network_and_escapes() -> None:
    page = renderers.every()["html"].render(EVERY)
    assert "http" not in page
    assert "a<b>" not in page


@pytest.mark.parametrize(
    ("cells", "stale", "code"),
    [
        ((cell(Outcome.COMPATIBLE),), (), 0),
        ((), (), 3),
        ((cell(Outcome.NOT_HERE),), (), 3),
        ((cell(Outcome.COMPATIBLE), cell(Outcome.NOT_HERE, kind="network")), (), 3),
        ((cell(Outcome.NOT_APPLICABLE),), (), 3),
        ((cell(Outcome.INCOMPATIBLE, (NASTY,), unexplained=1),), (), 1),
        ((cell(Outcome.INCOMPATIBLE, (NASTY,)),), (), 0),
        ((cell(Outcome.COMPATIBLE),), ("old-entry",), 1),
        ((cell(Outcome.INCOMPATIBLE, (NASTY,), unexplained=1), cell(Outcome.BROKEN, kind="network")), (), 4),
    ],
)
def test_exit_codes(cells: tuple[Cell, ...], stale: tuple[str, ...], code: int) -> None:
    assert verdicts.exit_code(matrix(*cells, stale=stale), judged=True) == code


def test_drift_names_the_cells_that_changed_and_only_those() -> None:
    before = renderers.every()["json"].render(
        matrix(cell(Outcome.COMPATIBLE), cell(Outcome.COMPATIBLE, kind="network"))
    )
    after = renderers.every()["json"].render(matrix(cell(Outcome.COMPATIBLE), cell(Outcome.NOT_HERE, kind="network")))
    assert verdicts.drift(before, before) == []
    (line,) = verdicts.drift(before, after)
    assert line.startswith("upgrade-disk/network/qemu/one/two: compatible identical")
    assert "not-here" in line
