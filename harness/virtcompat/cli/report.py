"""``report``: two runs compared, and the page of one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from virtcompat.cli import options as shared
from virtcompat.engine import comparison as engine
from virtcompat.engine import published, publishing
from virtcompat.engine.comparison import Changed, Comparison, Found
from virtcompat.model import Cell, Outcome
from virtcompat.renderers import sentence
from virtcompat.store import paths

SHOWN = 20


@click.group()
def report() -> None:
    """Compare two runs, or write the page that shows one.

    \b
    Examples:
      virt-compat report compare /tmp/reports-of-main reports
      virt-compat report page
    """


@report.command()
@click.argument("a", type=click.Path(exists=True))
@click.argument("b", type=click.Path(exists=True))
@click.option(
    "--all", "everything", is_flag=True, help=f"Each finding with its fingerprint, not the first {SHOWN} causes."
)
@click.option("--format", "form", default="text", type=click.Choice(("text", "json", "markdown")))
def compare(a: str, b: str, everything: bool, form: str) -> int:
    """Show what differs from run A to run B: cells, and findings by their fingerprint, the worst first.

    A and B are files that 'matrix --format json' or 'gate' wrote, or directories that hold them, such as reports/.

    \b
    Examples:
      virt-compat report compare main.json branch.json
      virt-compat report compare /tmp/reports-of-main reports --format markdown

    Exit codes: 0 B is the same or better, 1 B is worse (a new finding at break or above, a cell lost or asked less),
    2 a file is cut off or foreign, 3 A asked nothing.
    """
    found = engine.compare(Path(a), Path(b))
    most = None if everything else SHOWN
    if form == "json":
        click.echo(json.dumps(_record(found), indent=1, ensure_ascii=False))
    else:
        click.echo("\n".join(_markdown(found, most) if form == "markdown" else _lines(found, most)))
    return found.exit_code


@report.command()
@click.option("--to", "target", type=click.Path(dir_okay=False), help="The file; default reports/index.html.")
@click.option(
    "--matrix", "file", type=click.Path(exists=True, dir_okay=False), help="Of this matrix.json; else it is asked."
)
def page(target: str | None, file: str | None) -> int:
    """Write the report page: one file that needs no network.

    \b
    Examples:
      virt-compat report page
      virt-compat report page --matrix reports/matrix.json --to /tmp/index.html
    """
    to = Path(target) if target else paths.data_root() / "reports" / "index.html"
    matrix = published.matrix(Path(file)) if file else None
    with shared.bar("collecting") as progress:
        told = publishing.report_of_claims()
        changed = publishing.write_page(to, told, matrix, lambda _what, done, of: progress(done, of))
    click.echo(f"wrote: {to}" if changed else f"unchanged: {to}", err=True)
    return 0


def _headline(found: Comparison) -> str:
    return f"B is {found.word}" + (f": {', '.join(found.counts)}" if found.counts else "")


def _lines(found: Comparison, most: int | None) -> Iterator[str]:
    for name, run in (("A", found.a), ("B", found.b)):
        yield f"{name}: {run.source} ({len(run.cells)} cells, {len(run.sightings)} findings)"
    yield from (f"   {note}" for note in found.notes)
    yield _headline(found)
    for fate in engine.Fate:
        findings = [f for f in found.findings if f.fate is fate]
        if findings:
            yield f"\nfindings {fate}:"
            yield from _each(findings) if most is None else _causes(findings, most)
        cells = [c for c in found.cells if c.fate is fate]
        if cells:
            yield f"\ncells {fate}:"
        yield from (f"  {cell.key}: {_change(cell)}" for cell in cells[:most])
        yield from _rest(len(cells), most)


def _each(findings: Sequence[Found]) -> Iterator[str]:
    """Every finding with its fingerprint."""
    for one in findings:
        yield f"  {_tiers(one)}: {sentence(one.sighting.finding)}"
        yield f"    {one.sighting.fingerprint}, {_places(one)}, {_entry(one)}"
        yield f"    {one.command}"


def _causes(findings: Sequence[Found], most: int) -> Iterator[str]:
    """The findings by cause."""
    causes = engine.grouped(findings)
    for cause in causes[:most]:
        entry = f"ledger {cause.finding.entry}" if cause.finding.entry else "in no ledger entry"
        cases = f"{len(cause.cases)} case{'s' * (len(cause.cases) > 1)}"
        yield f"  {cause.finding.tier.label}: {sentence(cause.finding)}"
        yield f"    {entry}; {cases}, the first: {cause.command}"
    if len(causes) > most:
        yield f"  … and {len(causes) - most} more causes (--all lists each finding)"


def _rest(count: int, most: int | None) -> Iterator[str]:
    if most is not None and count > most:
        yield f"  … and {count - most} more (--all)"


def _tiers(one: Found) -> str:
    moved = one.before is not None and one.before.finding.tier != one.tier
    return f"{one.before.finding.tier.label} -> {one.tier.label}" if one.before and moved else one.tier.label


def _places(one: Found) -> str:
    """``3 cases in 2 cells``."""
    cells = len({key for key, _ in one.places})
    return f"{len(one.places)} case{'s' * (len(one.places) > 1)} in {cells} cell{'s' * (cells > 1)}"


def _entry(one: Found) -> str:
    entry = one.sighting.finding.entry
    standing = f", {one.sighting.standing}" if one.sighting.standing else ""
    return (f"ledger {entry}" if entry else "in no ledger entry") + standing


def _change(cell: Changed) -> str:
    """``12 compatible (identical) -> 11 compatible, 1 incompatible (break, 1 new)``."""
    if cell.before is None and cell.after is None:
        return "not asked"
    if cell.before is None or cell.after is None:
        return _counts(cell.before or cell.after)
    return f"{_counts(cell.before)} -> {_counts(cell.after)}"


def _counts(cell: Cell | None) -> str:
    if cell is None:
        return ""
    counts = ", ".join(f"{cell.counts[o]} {o}" for o in Outcome if cell.counts.get(o))
    return f"{counts} ({cell.worst.label}{f', {cell.unexplained} unexplained' if cell.unexplained else ''})"


def _markdown(found: Comparison, most: int | None) -> Iterator[str]:
    """For a comment on a change: what is worse first, at most so many rows."""
    yield f"**{_headline(found)}**"
    if found.notes:
        yield from ("", *(f"- {note}" for note in found.notes))
    if found.findings:
        yield from ("", "| finding | tier | what | where | ledger |", "|---|---|---|---|---|")
    for one in found.findings[:most]:
        fate = f"**{one.fate}**" if one.worse else str(one.fate)
        what = _cell(sentence(one.sighting.finding, 60))
        yield f"| {fate} | {_tiers(one)} | {what} `{one.sighting.fingerprint}` | `{_cell(one.command)}` | {_entry(one)} |"
    yield from _more(len(found.findings), most)
    if found.cells:
        yield from ("", "| cell | | |", "|---|---|---|")
    for cell in found.cells[:most]:
        fate = f"**{cell.fate}**" if cell.worse else str(cell.fate)
        yield f"| {cell.key} | {fate} | {_change(cell)} |"
    yield from _more(len(found.cells), most)


def _more(count: int, most: int | None) -> Iterator[str]:
    if most is not None and count > most:
        yield from ("", f"and {count - most} more")


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def _record(found: Comparison) -> dict[str, object]:
    return {
        "schema": "virt-compat/comparison/1",
        "a": found.a.source,
        "b": found.b.source,
        "word": found.word,
        "exit_code": found.exit_code,
        "counts": found.counts,
        "notes": list(found.notes),
        "findings": [_finding(one) for one in found.findings],
        "cells": [
            {
                "cell": str(one.key), "fate": one.fate.value, "worse": one.worse,
                "before": _summary(one.before), "after": _summary(one.after),
            }
            for one in found.cells
        ],
    }  # fmt: skip


def _finding(one: Found) -> dict[str, object]:
    finding = one.sighting.finding
    return {
        "fingerprint": one.sighting.fingerprint,
        "fate": one.fate.value,
        "worse": one.worse,
        "path": finding.path,
        "change": finding.change.value,
        "tier": finding.tier.label,
        "tier_before": one.before.finding.tier.label if one.before else None,
        "old": finding.old,
        "new": finding.new,
        "entry": finding.entry,
        "standing": one.sighting.standing.value if one.sighting.standing else None,
        "places": [f"{key}/{case}" for key, case in one.places],
        "command": one.command,
    }


def _summary(cell: Cell | None) -> dict[str, object] | None:
    if cell is None:
        return None
    counts = {o.value: n for o, n in sorted(cell.counts.items()) if n}
    return {"outcome": cell.outcome.value, "worst": cell.worst.label, "counts": counts, "unexplained": cell.unexplained}


COMMANDS = (report,)
