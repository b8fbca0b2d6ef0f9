"""The judgement as workflow commands of GitHub Actions: what the log shows as annotations of a change."""

from __future__ import annotations

from virtcompat.judgement import Judgement, Standing
from virtcompat.outputs import (
    Cause,
    Output,
    causes,
    cells,
    counted,
    file_of,
    line,
    reason,
    reasons,
    sentence,
    some,
    standings,
    title,
    visible,
)

#: Annotations of one type that GitHub shows of a step; it drops the others without a word.
SHOWN = 10


class GithubOutput:
    """Regressions, what broke and faulty waivers are errors, what was not reached or is pending warnings."""

    name = "github"
    summary = "annotations, for GitHub Actions"

    def render(self, judgement: Judgement) -> str:
        faults = []
        if judgement.broken:
            broken = [f"{u.key}: {counted(u.cases, 'case')}: {u.why}" for u in cells(judgement.broken)]
            faults.append(_command("error", "broken: the tool or a lab failed", broken))
        if judgement.problems:
            faults.append(_command("error", "waivers to put right", sorted(judgement.problems)))
        regressions = causes(judgement.of(Standing.REGRESSION))
        errors = [_of(cause, "error") for cause in regressions[: SHOWN - len(faults)]]
        warnings = [
            _command("warning", "not reached", [f"{u.key}: {counted(u.cases, 'case')}: {u.why}"])
            for u in cells(judgement.unreached)
        ] + [_of(cause, "warning") for cause in causes(judgement.of(Standing.PENDING))]
        notices = [_of(cause, "notice") for cause in causes(judgement.of(Standing.WAIVED))]
        rest = len(regressions) - len(errors) + len(warnings[SHOWN:]) + len(notices[SHOWN:])
        more = f"; {rest} more than GitHub shows" if rest else ""
        why = "; ".join(reasons(judgement)) or "no regression"
        closing = f"virt-compat gate: {judgement.word}: {title(judgement)}: {why} ({standings(judgement)}){more}"
        # The old spelling of a command, ##[error]…, is obeyed wherever it stands in a line.
        closing = line(closing, 1000).replace("##[", "## [")
        return "\n".join((*errors, *faults, *warnings[:SHOWN], *notices[:SHOWN], closing)) + "\n"


def _of(cause: Cause, level: str) -> str:
    item = cause.lead
    lines = [sentence(item.finding, 300), f"{cause.scope}; {counted(len(cause.cases), 'case')}: {some(cause.cases, 5)}"]
    if reason(item):
        lines.append(reason(item))
    lines.append(f"$ {item.witness.command if item.witness else item.command}")
    if item.witness:
        lines += ["", *item.witness.text.rstrip().split("\n")[:40]]
    standing = "" if item.standing is Standing.REGRESSION else f", {item.standing}"
    heading = f"{item.finding.tier.label}{standing}: {item.key.check} [{item.fingerprint}{cause.alike}]"
    return _command(level, heading, lines, file_of(item.key, item.cases[0] if item.cases else "-"))


def _command(level: str, heading: str, lines: list[str], file: str = "") -> str:
    parts = {"file": file, "title": f"virt-compat: {heading}"}
    properties = ",".join(f"{name}={_property(value)}" for name, value in parts.items() if value)
    return f"::{level} {properties}::{_data(chr(10).join(lines))}"


def _data(text: str) -> str:
    """As the runner unescapes it: the per cent sign first."""
    return visible(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


OUTPUT: Output = GithubOutput()
