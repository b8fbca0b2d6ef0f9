"""What became of a guest that moved, as a verdict: it runs, its memory is whole, it sees the hardware that it saw before."""

from __future__ import annotations

from collections.abc import Iterator

from virtcompat import guestdump
from virtcompat.model import Answer, Change, Finding, NotHere, Outcome, Tier, Verdict, judged, unasked
from virtcompat.surfaces import every_recorded


def verdict(case: str, answer: Answer | NotHere) -> Verdict:
    """A guest arrived as it left: it runs, its memory is whole, and it sees the hardware that it saw before."""
    if isinstance(answer, NotHere):
        return unasked(case, answer)
    if answer.status in ("source-unstarted", "source-refused"):
        return Verdict(case, Outcome.NOT_APPLICABLE, reason=f"does not leave: {answer.status[7:]}: {answer.message}")
    worst = Tier.GUEST_ABI_BREAK
    if answer.status != "migrated":
        words = f"{answer.status}: {' '.join(answer.message.split())}"
        ends = {"crashed": Change.CRASHED, "hung": Change.HUNG}
        change = ends.get(answer.status.removeprefix("source-"), Change.REFUSED)
        return judged(case, [Finding(f"{case}/(migration)", change, worst, "a running guest", words, "qemu")])
    findings = list(_seen(case, answer))
    if answer.code:
        findings.append(
            Finding(f"{case}/(memory)", Change.CHANGED, worst, "whole", f"{answer.code} pages differ", "qemu")
        )
    return judged(case, findings)


def _seen(case: str, answer: Answer) -> Iterator[Finding]:
    """Hardware that changed under the guest while it moved."""
    surface = every_recorded()["guest-abi"]
    before, after = guestdump.facts(answer.form("before")), guestdump.facts(answer.form("after"))
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path, ""), after.get(path, "")
        if old != new:
            change = Change.CHANGED if old and new else Change.ADDED if new else Change.REMOVED
            whole_path = f"{case}/{path}"
            yield Finding(whole_path, change, surface.tier(whole_path, change), old, new, "qemu")


def absent(case: str, release: str) -> Verdict:
    """A guest cannot go where its machine type is not."""
    words = f"{release} has no machine type {case.partition('/')[0]}"
    return judged(
        case, [Finding(f"{case}/(migration)", Change.REFUSED, Tier.GUEST_ABI_BREAK, "a running guest", words, "qemu")]
    )
