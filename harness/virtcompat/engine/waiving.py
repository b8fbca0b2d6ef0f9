"""Writing a waiver: the exact finding of one case, and nothing else."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path

from virtcompat.engine import columns, evidence
from virtcompat.errors import UsageError
from virtcompat.judgement import Waiver, fingerprint
from virtcompat.model import Finding, Tier
from virtcompat.policy import waivers as policy
from virtcompat.renderers import sentence
from virtcompat.store import waivers


def waive(cell: str, file: Path, chosen: str, words: Mapping[str, str]) -> Waiver:
    """Append a waiver for a case's finding; UsageError where there is none, or several and none is chosen.

    words: reason, owner, issue and expires. The file is left as it was where the result would not be read.
    """
    key, case = evidence.parse_cell(cell)
    if not case:
        raise UsageError(f"'{cell}' is a whole cell", "a waiver accepts one finding of one case: add /case")
    found = [f for f in evidence.case(key, case).verdict.findings if f.tier >= Tier.RISK]
    bad = {fingerprint(key, f): f for f in found if not f.explained}
    if found and not bad:
        raise UsageError(f"{cell}: the change ledger explains it ({found[0].entry})", "it fails no gate: waive nothing")
    finding = _chosen(bad, chosen, cell)
    where = {"driver": key.driver, "kind": key.kind, "path": finding.path, "old": key.old, "new": key.new}
    if finding.path.startswith("("):
        # A step has no place in the document: every case that is refused in the same words has this fingerprint.
        where["case"] = case
    print_ = fingerprint(key, finding)
    made = Waiver(
        print_, key.check, where, words["reason"], words["owner"], words["issue"], words["expires"], str(file)
    )
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{file}: no such directory", "make it first")
    before = file.read_bytes() if file.exists() else None
    try:
        if before is not None:
            waivers.read(file)
        waivers.write(file, made, f"{case}: {finding.tier.label}: {sentence(finding)}")
        written = waivers.read(file, datetime.date.today())[-1]
        if policy.ended(written, datetime.date.today(), columns.find((key.new,)).products[key.new]):
            raise UsageError(f"a waiver until {written.expires} has ended already", "choose a later --expires")
        return written
    except Exception:
        # What was there must not suffer from what is wrong with the new one.
        if before is not None:
            file.write_bytes(before)
        elif file.exists():
            file.unlink()
        raise


def _chosen(bad: Mapping[str, Finding], chosen: str, cell: str) -> Finding:
    if not bad:
        raise UsageError(f"{cell}: nothing to waive", "see 'virt-compat explain' for what it found")
    if chosen and chosen not in bad:
        raise UsageError(f"{cell} has no finding {chosen}", f"it has: {', '.join(bad)}")
    if len(bad) > 1 and not chosen:
        listed = "; ".join(f"{print_} {f.path} {f.change.value}" for print_, f in bad.items())
        raise UsageError(f"{cell} has {len(bad)} findings", f"choose one with --fingerprint: {listed}")
    return bad[chosen] if chosen else next(iter(bad.values()))
