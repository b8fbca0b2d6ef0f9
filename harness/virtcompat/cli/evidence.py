"""``explain`` and ``diff``: the evidence behind the matrix."""

from __future__ import annotations

import json
from pathlib import Path

import click

from virtcompat import checks
from virtcompat.cli import interfaces
from virtcompat.engine import evidence
from virtcompat.engine import run as engine
from virtcompat.engine.evidence import Evidence
from virtcompat.errors import UsageError
from virtcompat.model import Outcome, Tier
from virtcompat.renderers import causes, sentence


@click.command()
@click.argument("cell")
@click.option(
    "--document", type=click.Path(path_type=Path), help="Judge this XML file in the cell, or in place of the case."
)
@click.option("--format", "form", default="text", type=click.Choice(("text", "json")))
def explain(cell: str, document: Path | None, form: str) -> int:
    """Show what is behind a CELL, written check/kind/driver/old/new, or behind one case of it: …/case.

    With --document a file of yours is judged instead: a guest of your own, or the witness of a break.

    \b
    Examples:
      virt-compat explain upgrade-disk/domain/qemu/debian-13/debian-14
      virt-compat explain upgrade-disk/domain/qemu/debian-13/debian-14/m68k-q800-default
      virt-compat explain upgrade-redefine/domain/qemu/debian-12/debian-14 --document guest.xml
    """
    key, name = evidence.parse_cell(cell)
    if document is not None:
        _show(evidence.document(key, name, document), form)
        return 0
    if name:
        _show(evidence.case(key, name), form)
        return 0
    found = evidence.cell(key)
    if form == "json":
        counts = {o.value: n for o, n in found.counts.items()}
        click.echo(json.dumps({"cell": str(key), "outcome": found.outcome, "counts": counts}, indent=1))
        return 0
    click.echo(f"{key}: {found.outcome} ({found.worst.label})")
    click.echo(", ".join(f"{n} {o}" for o, n in sorted(found.counts.items())))
    for cause in causes([found], Tier.ADDITION):
        entry = f"ledger {cause.finding.entry}" if cause.finding.entry else "in no ledger entry"
        click.echo(f"\n{cause.finding.tier.label}: {sentence(cause.finding)}\n  {entry}; {len(cause.cases)} cases:")
        click.echo(f"  {cause.command}")
    reasons = {v.reason for v in found.verdicts if v.outcome in (Outcome.NOT_HERE, Outcome.BROKEN)}
    for reason in sorted(reasons):
        click.echo(f"\n{reason}")
    return 0


def _show(found: Evidence, form: str) -> None:
    if form == "text":
        click.echo("\n".join(evidence.lines(found)))
        return
    findings = [
        {"path": f.path, "change": f.change, "tier": f.tier.label, "old": f.old, "new": f.new, "entry": f.entry}
        for f in found.verdict.findings
    ]
    record = {"cell": str(found.key), "case": found.verdict.case, "outcome": found.verdict.outcome}
    if found.document:
        record |= {"document": found.document, "note": found.note}
    click.echo(json.dumps({**record, "reason": found.verdict.reason, "findings": findings}, indent=1))


@click.command()
@click.argument("old")
@click.argument("new")
@click.argument("case", required=False)
@click.option("--driver", "drivers", multiple=True, help="Only this driver (repeatable).")
@click.option("--kind", "kinds", multiple=True, help="Only this kind of document (repeatable).")
@click.option("--surface", "only", multiple=True, help="Of this recorded surface, in place of documents (repeatable).")
@click.option("--all", "everything", is_flag=True, help="With --surface: every addition by name, not their number.")
def diff(
    old: str,
    new: str,
    case: str | None,
    drivers: tuple[str, ...],
    kinds: tuple[str, ...],
    only: tuple[str, ...],
    everything: bool,
) -> int:
    """List what differs from release OLD to release NEW, by cause, or of one CASE (a fixture's name or a pattern).

    With --surface CASE is an interface, such as 'libvirt/symbol/virDomain*'. It tells and does not judge: exit 0
    whatever differs, 2 where nothing was asked. 'matrix' and 'gate' judge.

    \b
    Examples:
      virt-compat diff debian-11 debian-14
      virt-compat diff debian-12 debian-13 'controller-pci-*' --driver qemu
      virt-compat diff debian-11 debian-14 --surface c-api --surface rpc
      virt-compat diff debian-12 debian-13 'virsh/command/*' --surface command-line --all
    """
    if only:
        return interfaces.difference(old, new, case, only, everything)
    selection = engine.Selection(tuple(checks.every()), kinds, drivers, (), (old,), (new,), (case,) if case else ())
    matrix = engine.run(engine.validated(selection))
    if not any(c.asked for c in matrix.cells):
        raise UsageError(
            f"nothing was asked between {old} and {new}", "check the case's name, and 'virt-compat doctor'"
        )
    for check in sorted({c.key.check for c in matrix.cells}):
        cells = [c for c in matrix.cells if c.key.check == check]
        found = causes(cells, Tier.ADDITION)
        asked = sum(c.asked for c in cells)
        click.echo(
            f"\n{check}: {asked} asked, {sum(c.counts.get(Outcome.INCOMPATIBLE, 0) for c in cells)} incompatible"
        )
        for cause in found:
            cases = f"{cause.key.kind}/{cause.cases[0]}" + (
                f" and {len(cause.cases) - 1} more" if len(cause.cases) > 1 else ""
            )
            entry = f" <{cause.finding.entry}>" if cause.finding.entry else ""
            click.echo(f"  {cause.finding.tier.label}: {sentence(cause.finding)} [{cases}]{entry}")
    return 0


COMMANDS = (explain, diff)
