"""The judgement as JUnit XML: a test suite a driver and check, a test case a cell, and one for the gate itself."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from virtcompat.judgement import Item, Judgement, Standing, Unreached
from virtcompat.model import CellKey
from virtcompat.outputs import (
    Output,
    cells,
    counted,
    ordered,
    reason,
    reasons,
    sentence,
    some,
    standings,
    title,
    versions,
    visible,
)

GATE = "gate"


@dataclass(slots=True)
class Case:
    """What there is to say of one cell."""

    items: list[Item] = field(default_factory=list)
    unreached: list[Unreached] = field(default_factory=list)
    broken: list[Unreached] = field(default_factory=list)

    def of(self, *standings: Standing) -> list[Item]:
        return [item for item in self.items if item.standing in standings]


class JunitOutput:
    """Regressions are failures, what broke is an error, what was waived, is pending or not reached is skipped.

    The suite ``gate`` fails with the whole judgement: what looks at test results alone sees an inconclusive one too.
    """

    name = "junit"
    summary = "test results, for CI servers"

    def render(self, judgement: Judgement) -> str:
        root = ET.Element("testsuites", name="virt-compat")
        _gate(_suite(root, f"{GATE}.{judgement.candidate.name}"), judgement)
        suites: dict[str, ET.Element] = {}
        for key, case in sorted(_cases(judgement).items(), key=lambda entry: _order(entry[0])):
            name = f"{key.subject}.{key.check}"
            if name not in suites:
                suites[name] = _suite(root, name)
            _cell(suites[name], key, case)
        for suite in root:
            counts = {"tests": "testcase", "failures": "testcase/failure", "errors": "testcase/error"}
            for attribute, path in {**counts, "skipped": "testcase/skipped"}.items():
                suite.set(attribute, str(len(suite.findall(path))))
        for attribute in ("tests", "failures", "errors"):
            root.set(attribute, str(sum(int(suite.get(attribute, "0")) for suite in root)))
        root.set("time", f"{max(judgement.seconds, 0):.3f}")
        ET.indent(root)
        return "<?xml version='1.0' encoding='utf-8'?>\n" + ET.tostring(root, encoding="unicode") + "\n"


def _order(key: CellKey) -> tuple[str, ...]:
    return key.subject, key.check, key.kind, key.old, key.new


def _suite(root: ET.Element, name: str) -> ET.Element:
    return ET.SubElement(root, "testsuite", name=visible(name))


def _cases(judgement: Judgement) -> dict[CellKey, Case]:
    found: dict[CellKey, Case] = {}
    for item in ordered(judgement.items):
        found.setdefault(item.key, Case()).items.append(item)
    for unreached in cells(judgement.unreached):
        found.setdefault(unreached.key, Case()).unreached.append(unreached)
    for broken in cells(judgement.broken):
        found.setdefault(broken.key, Case()).broken.append(broken)
    return found


def _gate(suite: ET.Element, judgement: Judgement) -> None:
    properties = ET.SubElement(suite, "properties")
    facts = [("word", judgement.word), ("gate", judgement.gate.label), ("candidate", versions(judgement.candidate))]
    facts += [("baseline", versions(column)) for column in judgement.baselines]
    facts += [("exit code", str(code)) for code in judgement.codes]
    for name, value in facts:
        ET.SubElement(properties, "property", name=name, value=value)
    case = ET.SubElement(suite, "testcase", classname="virt-compat", name=title(judgement), time="0")
    message = f"{judgement.word}: {'; '.join(reasons(judgement))}"
    if judgement.word == "fail":
        _add(case, "failure", "regression", message, [])
    elif judgement.word != "pass":
        _add(case, "error", judgement.word, message, sorted(judgement.problems))
    counts = f"{judgement.compatible} compatible, {judgement.incompatible} incompatible; {standings(judgement)}"
    ET.SubElement(case, "system-out").text = visible("\n".join((counts, *judgement.notes)))


def _cell(suite: ET.Element, key: CellKey, case: Case) -> None:
    """One test case: an element for each way in which it does not pass, all the rest in its output."""
    name = visible(f"{key.kind} {key.old} -> {key.new}")
    element = ET.SubElement(suite, "testcase", classname=visible(f"{key.subject}.{key.check}"), name=name, time="0")
    regressions, accepted = case.of(Standing.REGRESSION), case.of(Standing.WAIVED, Standing.PENDING)
    missing = [f"not reached: {counted(u.cases, 'case')}: {u.why}" for u in case.unreached]
    if case.broken:
        _add(element, "error", "broken", "; ".join(f"{counted(u.cases, 'case')}: {u.why}" for u in case.broken), [])
    if regressions:
        worst = max(item.finding.tier for item in regressions).label
        number = len({name for item in regressions for name in item.cases})
        message = f"{counted(len(regressions), 'regression')} in {counted(number, 'case')}, the worst a {worst}"
        _add(element, "failure", worst, message, [_told(item) for item in regressions])
    elif not case.broken and (accepted or missing):
        whys = [f"{item.standing}: {reason(item) or sentence(item.finding)}" for item in accepted]
        _add(element, "skipped", "", "; ".join(dict.fromkeys([*missing, *whys])), [])
    quiet = [f"{i.standing}: {_told(i)}" for i in case.items if i.standing is not Standing.REGRESSION]
    if missing or quiet:
        ET.SubElement(element, "system-out").text = visible("\n".join([*missing, *quiet]))


def _told(item: Item) -> str:
    """An item in some lines: what, which cases, why, the command, the witness."""
    lines = [f"{item.finding.tier.label}: {sentence(item.finding)} [{item.fingerprint}]"]
    lines.append(f"  {counted(len(item.cases), 'case')}: {some(item.cases, 10)}")
    if reason(item):
        lines.append(f"  {reason(item)}")
    lines.append(f"  $ {item.command}")
    if item.witness:
        lines.append(f"  witness {item.witness.file}:")
        lines += [f"    {text}" for text in item.witness.text.rstrip().split("\n")]
    return "\n".join(lines)


def _add(case: ET.Element, tag: str, kind: str, message: str, lines: list[str]) -> None:
    element = ET.SubElement(case, tag, message=visible(message))
    if kind:
        element.set("type", visible(kind))
    if lines:
        element.text = visible("\n".join(lines))


OUTPUT: Output = JunitOutput()
