"""``stability``: what a release changed against what was promised."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from fnmatch import fnmatchcase

import click
from rich import box
from rich.table import Table

from virtcompat.cli import options as shared
from virtcompat.engine import columns, xen
from virtcompat.engine import stability as engine
from virtcompat.engine.stability import Report
from virtcompat.errors import UsageError
from virtcompat.model import Outcome, Tier
from virtcompat.policy.stability import Judged, RowVerdict, Standing
from virtcompat.renderers import sentence
from virtcompat.store import stability as store
from virtcompat.surfaces.recorded.xen_abi import Client

STYLE = {
    Standing.KEPT: "green", Standing.ALLOWED: "yellow", Standing.EXCEPTED: "yellow", Standing.VIOLATED: "bold red",
    Standing.UNKNOWN: "bold yellow", Standing.ABSENT: "dim", Standing.UNMEASURED: "dim",
}  # fmt: skip
SHOWN = 12
UNKNOWN = (Outcome.NOT_HERE, Outcome.BROKEN)


@click.command()
@click.argument("old")
@click.argument("new")
@click.option("--binding", default="minor", help="What kind of release NEW is: major, minor, micro or patch.")
@click.option("--table", "tables", multiple=True, help="Only this table of suites/stability/ (repeatable).")
@click.option("--surface", "only", multiple=True, help="Only this recorded surface (repeatable).")
@click.option("--all", "everything", is_flag=True, help="Every change and every unclassified interface, not the first.")
@click.option("--format", "form", default="text", type=click.Choice(("text", "markdown", "json")))
def stability(
    old: str, new: str, binding: str, tables: tuple[str, ...], only: tuple[str, ...], everything: bool, form: str
) -> int:
    """Hold what changed from release OLD to NEW against what was promised of each interface.

    \b
    Examples:
      virt-compat stability debian-12 debian-13 --binding minor
      virt-compat stability debian-11 debian-14 --binding major --table libvirt --format markdown

    Exit codes: 1 a promise is violated, 3 part of one could not be read, 0 else.
    """
    report = engine.judge(old, new, binding, tables, only)
    if form == "json":
        click.echo(json.dumps(_record(report), indent=1, ensure_ascii=False))
    elif form == "markdown":
        click.echo("\n".join(markdown(report)))
    else:
        _print(report, None if everything else SHOWN)
    return report.exit_code


def difference(old: str, new: str, case: str | None, only: tuple[str, ...], everything: bool) -> int:
    """Print what differs between two releases' records, worst first."""
    found = columns.find((old, new))
    engine.either_way(found, old, new, only)
    missing = False
    for surface, verdicts in engine.compared(found, old, new, only).items():
        chosen = [v for v in verdicts if v.outcome in UNKNOWN or not case or fnmatchcase(v.case, case)]
        if not chosen:
            raise UsageError(f"no interface of {surface} matches '{case}'", f"see golden/{old}/{surface}/")
        findings = sorted((f for v in chosen for f in v.findings), key=lambda f: (-f.tier, f.path))
        loud = [f for f in findings if everything or f.tier > Tier.ADDITION]
        click.echo(f"{surface}: {len(chosen)} interfaces, {sum(bool(v.findings) for v in chosen)} of them changed")
        for finding in loud:
            entry = f" <{finding.entry}>" if finding.entry else ""
            click.echo(f"  {finding.tier.label}: {sentence(finding)}{entry}")
        if len(loud) < len(findings):
            click.echo(f"  addition: {len(findings) - len(loud)} more, --all names them")
        for verdict in chosen:
            if verdict.outcome in UNKNOWN:
                missing = True
                click.echo(f"  {verdict.outcome}: {verdict.case}: {verdict.reason}")
    return 3 if missing else 0


@click.command()
@click.argument("names", nargs=-1)
@click.option("--format", "form", default="text", type=click.Choice(("text", "json")))
def clients(names: tuple[str, ...], form: str) -> int:
    """Show which Xen client (rows: compiled against) can talk to which hypervisor (columns), interface by interface.

    \b
    Examples:
      virt-compat clients
      virt-compat clients debian-12 debian-13

    refused: the version says so, and nothing is misread. misread: understood as something else. Exit code 1 where
    anything would be misread.
    """
    table = xen.talk(names)
    misread = any(c.standing == "misread" for of in table.values() for c in of)
    if form == "json":
        shown = [{"client": a, "hypervisor": b, "interfaces": [asdict(c) for c in of]} for (a, b), of in table.items()]
        click.echo(json.dumps(shown, indent=1))
        return int(misread)
    console = shared.console()
    releases = list(dict.fromkeys(a for a, _ in table))
    grid = Table(box=box.SIMPLE_HEAD)
    for heading in ("client \\ hypervisor", *releases):
        grid.add_column(heading)
    for a in releases:
        grid.add_row(a, *(_standings(table[a, b]) for b in releases))
    console.print(grid)
    for (a, b), of in table.items():
        for client in of:
            if client.misread:
                console.print(f"{a} -> {b}: {client.interface}: misread: {', '.join(client.misread)}", markup=False)
    return int(misread)


def _standings(of: tuple[Client, ...]) -> str:
    """``28 understood; refused: domctl, sysctl; misread: memory`` a line each."""
    lines = [f"[green]{sum(c.standing in ('same', 'compatible') for c in of)} understood[/]"]
    for standing, style in (("refused", "yellow"), ("misread", "bold red")):
        named = [c.interface for c in of if c.standing == standing]
        if named:
            lines.append(f"[{style}]{standing}: {', '.join(named)}[/]")
    return "\n".join(lines)


def _print(report: Report, most: int | None) -> None:
    console = shared.console()
    for table, rows in report.tables:
        console.print(f"\n{table.title}", style="bold")
        console.print(f"{report.old} -> {report.new} as a {report.binding} release; {table.reference}", style="dim")
        shown = Table(box=box.SIMPLE_HEAD)
        for heading in ("interface", "level", "has", "changes", "worst", "verdict"):
            shown.add_column(heading, overflow="fold")
        for row in rows:
            verdict = f"[{STYLE[row.standing]}]{row.standing}[/]"
            shown.add_row(row.row.name, level(row), str(row.interfaces or ""), *_changed(row), verdict)
        console.print(shown)
        for row in rows:
            for line in _behind(row, most):
                console.print(line, markup=False)
    for line in _unclassified(report, most):
        console.print(line, markup=False)


def level(row: RowVerdict) -> str:
    """``Committed``, ``Committed for ever``, ``Obsolete Volatile``."""
    words = row.row.level + (" for ever" if row.row.never else "")
    return f"Obsolete {words} (since {row.row.obsolete})" if row.row.obsolete else words


def _changed(row: RowVerdict) -> tuple[str, str]:
    return (str(len(row.changes)) if row.changes else "", row.worst.label if row.changes else "")


def _behind(row: RowVerdict, most: int | None) -> Iterator[str]:
    """The changes that need words: violations first, then what is allowed or excepted though it breaks."""
    for reason in row.missing:
        yield f"  not here: {reason}"
    loud = sorted((j for j in row.changes if j.violates or j.finding.tier >= Tier.BREAK), key=lambda j: not j.violates)
    if loud:
        yield f"  {row.row.name}:"
    for judged in loud[:most]:
        yield f"    {_words(judged)}"
    if most is not None and len(loud) > most:
        yield f"    … and {len(loud) - most} more (--all)"


def _words(judged: Judged) -> str:
    finding = judged.finding
    entry = f" <{finding.entry}>" if finding.entry else ""
    if judged.exception:
        why = f"excepted ({judged.exception.reason}): {judged.exception.why}"
    else:
        why = f"allowed: {judged.why}" if judged.why else "VIOLATED"
    return f"{finding.tier.label}: {sentence(finding, 80)}{entry}; {why}"


def _unclassified(report: Report, most: int | None) -> Iterator[str]:
    for surface, verdicts in report.unclassified.items():
        changed = [v for v in verdicts if v.findings]
        yield f"\n{surface}: {len(verdicts)} interfaces are in no table, {len(changed)} of them changed"
        names = [f"{v.case} ({v.worst.label})" if v.findings else v.case for v in verdicts]
        yield "  " + ", ".join(names[:most]) + (" …" if most is not None and len(names) > most else "")


def markdown(report: Report) -> Iterator[str]:
    """The report for a repository: a table a promise, then what is behind it."""
    yield f"# Stability: {report.old} to {report.new} as a {report.binding} release"
    for table, rows in report.tables:
        yield from ("", f"## {table.title}", "", f"Source: {table.reference}", "")
        yield from ("| interface | level | has | changes | worst | verdict |", "|---|---|---|---|---|---|")
        for row in rows:
            count, worst = _changed(row)
            bold = f"**{row.standing}**" if row.standing is Standing.VIOLATED else row.standing.value
            yield f"| {row.row.name} | {level(row)} | {row.interfaces or ''} | {count} | {worst} | {bold} |"
        lines = [line.strip() for row in rows for line in _behind(row, SHOWN)]
        if lines:
            yield from ("", "<details><summary>What is behind it</summary>", "")
            yield from (f"- `{line}`" if not line.endswith(":") else f"- {line}" for line in lines)
            yield from ("", "</details>")
    lines = [line.strip() for line in _unclassified(report, SHOWN)]
    if lines:
        yield from ("", "## In no table", "", *(f"- {line}" for line in lines))


def _record(report: Report) -> dict[str, object]:
    def change(judged: Judged) -> dict[str, str]:
        f = judged.finding
        said = {"path": f.path, "change": f.change.value, "tier": f.tier.label, "old": f.old, "new": f.new}
        how = {"entry": f.entry, "allowed": judged.why, "exception": judged.exception.why if judged.exception else ""}
        return {k: v for k, v in (said | how).items() if v}

    return {
        "schema": "virt-compat/stability/1",
        "old": report.old,
        "new": report.new,
        "binding": report.binding,
        "policy": {b: {lv: t[b].label for lv, t in store.policy().allows.items()} for b in (report.binding,)},
        "tables": [
            {
                "table": table.name,
                "title": table.title,
                "rows": [
                    {
                        "interface": row.row.name,
                        "surface": row.row.surface,
                        "level": level(row),
                        "interfaces": row.interfaces,
                        "verdict": row.standing.value,
                        "changes": [change(j) for j in row.changes],
                        "missing": row.missing,
                    }
                    for row in rows
                ],
            }
            for table, rows in report.tables
        ],
        "unclassified": {s: [v.case for v in of] for s, of in report.unclassified.items()},
    }


COMMANDS = (stability, clients)
