"""The judgement as a Code Quality report: what GitLab shows in a merge request, by the fingerprints that are new."""

from __future__ import annotations

import hashlib
import json

from virtcompat.judgement import Item, Judgement, Standing, Unreached
from virtcompat.model import Tier
from virtcompat.outputs import Output, cells, counted, file_of, ordered, reason, sentence, some, visible

SEVERITY = {Tier.GUEST_ABI_BREAK: "blocker", Tier.BREAK: "critical", Tier.RISK: "major"}
#: Where what is in no file of the project is said to be.
NOWHERE = "verdict.json"


class GitlabOutput:
    """An issue a finding, info unless it is a regression; without what the baseline has too or the ledger knows."""

    name = "gitlab"
    summary = "a Code Quality report, for GitLab"

    def render(self, judgement: Judgement) -> str:
        shown = judgement.of(Standing.REGRESSION, Standing.PENDING, Standing.WAIVED)
        issues = [_item(item) for item in ordered(shown)]
        issues += [_cell(u, "not reached", "major") for u in cells(judgement.unreached)]
        issues += [_cell(u, "broken", "blocker") for u in cells(judgement.broken)]
        issues += [
            _issue("waivers", problem, "critical", _file(problem), problem) for problem in sorted(judgement.problems)
        ]
        return (
            json.dumps(list({str(i["fingerprint"]): i for i in issues}.values()), indent=1, ensure_ascii=False) + "\n"
        )


def _item(item: Item) -> dict[str, object]:
    regression = item.standing is Standing.REGRESSION
    severity = SEVERITY.get(item.finding.tier, "minor") if regression else "info"
    standing = "" if regression else f"{item.standing}: "
    why = f" ({reason(item)})" if reason(item) else ""
    pair = f"{item.key.driver}: {item.key.old} -> {item.key.new}"
    cases = f"{counted(len(item.cases), 'case')}: {some(item.cases)}"
    text = f"{standing}{sentence(item.finding, 300)}; {pair}; {cases}{why}; {item.command} [{item.fingerprint}]"
    # One finding against two baselines is two issues, and GitLab keeps one of a fingerprint. The candidate's name may
    # change from run to run, so it is no part of it.
    identity = f"{item.fingerprint}/{item.key.old}"
    return _issue(item.key.check, text, severity, file_of(item.key, item.cases[0] if item.cases else "-"), identity)


def _cell(unreached: Unreached, what: str, severity: str) -> dict[str, object]:
    text = f"{what}: {unreached.key}: {counted(unreached.cases, 'case')}: {unreached.why}"
    return _issue(unreached.key.check, text, severity, NOWHERE, f"{what}/{unreached.key}/{unreached.why}")


def _file(problem: str) -> str:
    """The file that a line such as ``waivers.toml:12: expired`` names."""
    file, found, _ = problem.partition(":")
    return visible(file) if found and file and " " not in file else NOWHERE


def _issue(check: str, text: str, severity: str, path: str, identity: str) -> dict[str, object]:
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return {
        "description": visible(text),
        "check_name": visible(f"virt-compat/{check}"),
        "fingerprint": digest,
        "severity": severity,
        "location": {"path": visible(path), "lines": {"begin": 1}},
    }


OUTPUT: Output = GitlabOutput()
