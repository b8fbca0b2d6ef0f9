"""The judgement as Markdown: a comment on a change, or the summary of a CI job."""

from __future__ import annotations

import re

from virtcompat.judgement import Judgement, Standing, Unreached
from virtcompat.outputs import (
    Cause,
    Output,
    causes,
    cells,
    counted,
    line,
    reason,
    reasons,
    sentence,
    some,
    standings,
    title,
    versions,
    visible,
    was_and_now,
)

MARK = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️", "error": "💥"}
ROWS, LISTED = 20, 20
#: Lines of a witness, and characters of the whole: a comment on GitHub may have 65,536.
EXCERPT, SIZE = 60, 60_000
#: Lets a bot find its comment again.
MARKER = "<!-- virt-compat gate -->"


class MarkdownOutput:
    """Regressions in a table, with the witness below; then what was not reached, what is waived, the counts."""

    name = "markdown"
    summary = "a comment on a change, or a job's summary"

    def render(self, judgement: Judgement) -> str:
        j = judgement
        regressions = causes(j.of(Standing.REGRESSION))
        why = "; ".join(reasons(j)) or f"no regression at or above `{j.gate.label}`"
        head = [MARKER, f"## {MARK[j.word]} {j.word}: {_plain(title(j))}", "", f"{why}. Exit {_codes(j)}.", ""]
        tail = _listed("Not reached", [_cell(u) for u in cells(j.unreached)])
        tail += _listed("Broken: the tool or a lab failed", [_cell(u) for u in cells(j.broken)])
        tail += _listed("Waivers to put right", [code(problem, 300) for problem in sorted(j.problems)])
        tail += _listed("Waived", [_accepted(cause) for cause in causes(j.of(Standing.WAIVED))])
        tail += _listed(
            "Pending: new fixtures that no release has passed",
            [_accepted(cause) for cause in causes(j.of(Standing.PENDING))],
        )
        tail += _footer(j)
        table = _table(regressions)
        room = SIZE - sum(len(text) + 1 for text in (*head, *table, *tail))
        return "\n".join((*head, *table, *_witnesses(regressions, room), *tail)).rstrip() + "\n"


def code(text: str, width: int = 100) -> str:
    """Words as they are, in one line and in a cell of a table; nobody is called by an ``@`` in them."""
    words = line(text, width)
    if not words:
        return "–"
    fence = "`" * (max((len(run) for run in re.findall("`+", words)), default=0) + 1)
    space = " " if words[0] == "`" or words[-1] == "`" else ""
    return f"{fence}{space}{words}{space}{fence}".replace("|", "\\|")


def _plain(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|~#@&])", r"\\\1", " ".join(visible(text).split()))


def _codes(judgement: Judgement) -> str:
    first, *others = judgement.codes
    return f"{first}, also {', '.join(map(str, others))}" if others else str(first)


def _table(regressions: list[Cause]) -> list[str]:
    if not regressions:
        return []
    lines = ["| tier | where | before | now | cases | fingerprint |", "|---|---|---|---|---|---|"]
    for cause in regressions[:ROWS]:
        finding = cause.lead.finding
        was, now = was_and_now(finding, 120)
        where = f"{code(finding.path)} {finding.change}<br>{_plain(cause.scope)}"
        cases = f"{len(cause.cases)}: {code(some(cause.cases, 2))}"
        mark = f"{code(cause.lead.fingerprint)}{cause.alike}"
        row = (finding.tier.label, where, code(was, 120), code(now, 120), cases, mark)
        lines.append(f"| {' | '.join(row)} |")
    rest = len(regressions) - ROWS
    return [*lines, "", *([f"and {rest} more: `verdict.json` has all", ""] if rest > 0 else [])]


def _witnesses(regressions: list[Cause], room: int) -> list[str]:
    """How to see each, with the smallest document that shows it, as long as there is room."""
    found: list[str] = []
    for cause in regressions[:ROWS]:
        item, witness = cause.lead, cause.lead.witness
        lines = ["", *_fenced(witness.command if witness else item.command, "sh"), ""]
        if witness:
            size = "the smallest document" if witness.minimal else "the smallest document found in the time"
            lines += [f"{size}, kept as {code(witness.file)}:", "", *_fenced(witness.text, "xml"), ""]
        words = _html(sentence(item.finding, 120))
        summary = f"<summary>{item.finding.tier.label}: <code>{words}</code></summary>"
        block = [f"<details>{summary}", *lines, "</details>", ""]
        room -= sum(len(text) + 1 for text in block)
        if room < 0:
            break
        found += block
    return found


def _fenced(text: str, language: str) -> list[str]:
    lines = visible(text).rstrip().split("\n")
    if len(lines) > EXCERPT:
        lines[EXCERPT:] = [f"… {len(lines) - EXCERPT} more lines"]
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    return [f"{fence}{language}", *(text if len(text) <= 500 else text[:499] + "…" for text in lines), fence]


def _html(text: str) -> str:
    words = " ".join(visible(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#])", lambda found: f"&#{ord(found[0])};", words)


def _cell(unreached: Unreached) -> str:
    return f"{code(str(unreached.key), 200)}: {counted(unreached.cases, 'case')}: {code(unreached.why, 300)}"


def _accepted(cause: Cause) -> str:
    finding = cause.lead.finding
    was, now = was_and_now(finding, 120)
    what = f"{code(finding.path)} {finding.change}: {code(was, 120)} → {code(now, 120)}"
    cases = f"{counted(len(cause.cases), 'case')}: {code(some(cause.cases))}"
    why = _plain(line(reason(cause.lead), 300))
    return f"{code(cause.lead.fingerprint)}{cause.alike} {what}; {cases}{f': {why}' if why else ''}"


def _listed(heading: str, entries: list[str]) -> list[str]:
    if not entries:
        return []
    rest = len(entries) - LISTED
    more = [f"- and {rest} more: `verdict.json` has all"] if rest > 0 else []
    return [f"**{heading}** ({len(entries)})", "", *(f"- {entry}" for entry in entries[:LISTED]), *more, ""]


def _footer(judgement: Judgement) -> list[str]:
    j = judgement
    lines = [f"Items: {standings(j)}.", f"Verdicts: {j.compatible} compatible, {j.incompatible} incompatible; "]
    lines[-1] += f"{j.judged} judged now, {j.remembered} remembered. Questions: {j.asked} asked now, {j.known} known."
    lines.append(f"Candidate: {_plain(versions(j.candidate))}.")
    lines += [f"Baseline: {_plain(versions(column))}." for column in j.baselines]
    lines += [f"Note: {_plain(note)}" for note in j.notes[:10]]
    return [f"<sub>{'<br>'.join(lines)}</sub>"]


OUTPUT: Output = MarkdownOutput()
