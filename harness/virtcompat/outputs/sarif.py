"""The judgement as SARIF 2.1.0: a log of static analysis, for code scanning and for editors.

The shape is OASIS's: https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/sarif-v2.1.0-errata01-os-complete.html
"""

from __future__ import annotations

import json
from urllib.parse import quote

from virtcompat import __version__
from virtcompat.judgement import Item, Judgement, Standing, Unreached
from virtcompat.outputs import Output, cells, counted, file_of, ordered, reason, reasons, sentence, some, title, visible

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
#: What GitHub reads of the further places of a result.
RELATED = 100
#: standing -> kind and level of the result. A level other than "none" is for what fails.
GRADE = {
    Standing.REGRESSION: ("fail", "error"),
    Standing.WAIVED: ("fail", "note"),
    Standing.PENDING: ("review", "none"),
    Standing.BEFORE: ("fail", "note"),
    Standing.KNOWN: ("informational", "none"),
}


class SarifOutput:
    """A rule a check, a result an item; what was not reached, broke or is wrong with waivers are notifications."""

    name = "sarif"
    summary = "a SARIF 2.1.0 log, for code scanning"

    def render(self, judgement: Judgement) -> str:
        items = ordered(judgement.items)
        checks = sorted({item.key.check for item in items})
        driver = {"name": "virt-compat", "version": __version__, "rules": [_rule(check) for check in checks]}
        run = {
            "tool": {"driver": driver},
            "automationDetails": {"id": visible(f"virt-compat/{judgement.candidate.name}/")},
            "invocations": [_invocation(judgement)],
            "results": [_result(item, checks.index(item.key.check)) for item in items],
            "columnKind": "unicodeCodePoints",
            "properties": {"word": judgement.word, "exitCodes": judgement.codes, "gate": judgement.gate.label},
        }
        return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1, ensure_ascii=False) + "\n"


def _rule(check: str) -> dict[str, object]:
    name = visible(check)
    told = (
        f"The check {name} of virt-compat: one release against another. 'virt-compat list checks' says what must hold."
    )
    short = {"text": f"{name}: an older and a newer release disagree"}
    return {"id": name, "shortDescription": short, "fullDescription": {"text": told}, "help": {"text": told}}


def _invocation(judgement: Judgement) -> dict[str, object]:
    """``executionSuccessful`` only where everything was asked: what an analysis did not reach it does not clear."""
    failed = [_notification("broken", u, "error") for u in cells(judgement.broken)]
    failed += [_notification("not-reached", u, "warning") for u in cells(judgement.unreached)]
    problems = [
        {"descriptor": {"id": "waiver"}, "level": "error", "message": {"text": visible(problem)}}
        for problem in sorted(judgement.problems)
    ]
    return {
        "executionSuccessful": set(judgement.codes) <= {0, 1},
        "exitCode": judgement.exit_code,
        "exitCodeDescription": visible(f"{judgement.word}: {title(judgement)}: {'; '.join(reasons(judgement))}"),
        "toolExecutionNotifications": failed,
        "toolConfigurationNotifications": problems,
    }


def _notification(what: str, unreached: Unreached, level: str) -> dict[str, object]:
    text = visible(f"{unreached.key}: {counted(unreached.cases, 'case')}: {unreached.why}")
    return {"descriptor": {"id": what}, "level": level, "message": {"text": text}}


def _result(item: Item, rule: int) -> dict[str, object]:
    kind, level = GRADE[item.standing]
    places = [_place(item, case) for case in item.cases or ("-",)]
    record: dict[str, object] = {
        "ruleId": visible(item.key.check),
        "ruleIndex": rule,
        "kind": kind,
        "level": level,
        "message": {"text": _message(item)},
        "locations": places[:1],
        "partialFingerprints": {
            "virtCompatFinding/v1": visible(item.fingerprint),
            # What GitHub goes by; against another baseline the same finding is another result.
            "primaryLocationLineHash": visible(f"{item.fingerprint}:{item.key.old}"),
        },
        "baselineState": "unchanged" if item.standing is Standing.BEFORE else "new",
        # Either every result of a run has this list or none has: an empty one says that nothing suppresses it.
        "suppressions": _suppressions(item),
        "properties": _properties(item),
    }
    if places[1:]:
        record["relatedLocations"] = [{"id": at, **place} for at, place in enumerate(places[1 : RELATED + 1], 1)]
    if item.witness:
        description = {"text": "the smallest document that shows it"}
        uri = quote(visible(item.witness.file))
        record["attachments"] = [{"description": description, "artifactLocation": {"uri": uri}}]
    return record


def _message(item: Item) -> str:
    lines = [
        f"{sentence(item.finding, 500)}.",
        f"{item.key}: {counted(len(item.cases), 'case')}: {some(item.cases, 10)}.",
    ]
    if reason(item):
        lines.append(f"{item.standing}: {reason(item)}.")
    lines.append(f"Shown by: {item.witness.command if item.witness else item.command}")
    if item.witness:
        lines += ["", item.witness.text.rstrip()]
    # In a message, [text](place) is a link.
    return visible("\n".join(lines)).replace("](", "] (")


def _place(item: Item, case: str) -> dict[str, object]:
    name = visible(case)
    logical = {"name": name, "fullyQualifiedName": f"{name}:{visible(item.finding.path)}", "kind": "element"}
    return {**_at(file_of(item.key, case), 1), "logicalLocations": [logical]}


def _at(file: str, line: int) -> dict[str, object]:
    return {"physicalLocation": {"artifactLocation": {"uri": quote(visible(file))}, "region": {"startLine": line}}}


def _suppressions(item: Item) -> list[dict[str, object]]:
    waiver = item.waiver
    if item.standing is not Standing.WAIVED or waiver is None:
        return []
    found: dict[str, object] = {"kind": "external", "status": "accepted", "justification": reason(item)}
    return [found | ({"location": _at(waiver.file, waiver.line)} if waiver.file else {})]


def _properties(item: Item) -> dict[str, object]:
    finding = item.finding
    values: dict[str, str] = {
        "standing": item.standing.value, "cell": str(item.key), "path": finding.path, "change": finding.change.value,
        "tier": finding.tier.label, "was": finding.old, "now": finding.new, "ledgerEntry": finding.entry,
        "why": item.why, "command": item.command,
    }  # fmt: skip
    shown: dict[str, object] = {name: visible(value) for name, value in values.items() if value}
    shown["cases"] = [visible(case) for case in item.cases]
    if item.witness:
        shown |= {"witnessIsMinimal": item.witness.minimal, "witnessQuestions": item.witness.questions}
    return shown


OUTPUT: Output = SarifOutput()
