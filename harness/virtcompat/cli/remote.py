"""``remote``: clients of one release and daemons of another, call by call."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import click
from rich import box
from rich.table import Table

from virtcompat.cli import options as shared
from virtcompat.engine import remote as engine
from virtcompat.engine.remote import TRANSPORTS, Report
from virtcompat.model import CellKey, Finding, Outcome, Tier
from virtcompat.renderers import sentence

STYLE = {
    Outcome.COMPATIBLE: "green",
    Outcome.INCOMPATIBLE: "red",
    Outcome.NOT_HERE: "yellow",
    Outcome.BROKEN: "magenta",
}
#: Findings of one call are one thing where what came of it begins alike.
ALIKE = 60


@click.command()
@click.option("--client", "clients", multiple=True, help="Only this release's client (repeatable).")
@click.option("--daemon", "daemons", multiple=True, help="Only this release's daemon (repeatable).")
@click.option("--transport", "transports", multiple=True, type=click.Choice(TRANSPORTS), help="Only this (repeatable).")
@click.option(
    "--case", "cases", multiple=True, help="Only calls matching TRANSPORT/TOPIC/CALL, such as 'tls/domain/*'."
)
@click.option("--format", "form", default="text", type=click.Choice(("text", "json", "markdown")))
def remote(
    clients: tuple[str, ...], daemons: tuple[str, ...], transports: tuple[str, ...], cases: tuple[str, ...], form: str
) -> int:
    """Put each release's client, library and virsh, to each release's daemon over unix sockets, TCP and TLS.

    A call is incompatible where the daemon's own client is told another thing, or where the connection does not bear it.

    \b
    Examples:
      virt-compat remote
      virt-compat remote --client debian-14 --daemon debian-11 --transport unix
      virt-compat remote --case 'tls/*' --format markdown

    Exit codes: 1 an unexplained break, 3 something could not be asked, 4 the tool failed, 0 else.
    """
    with shared.bar("talking") as progress:
        found = engine.report(clients, daemons, transports, cases, progress)
    if form == "json":
        click.echo(json.dumps(_record(found), indent=1, ensure_ascii=False))
    elif form == "markdown":
        click.echo("\n".join(markdown(found)))
    else:
        _print(found)
    return found.exit_code


@dataclass(slots=True)
class Cause:
    """Findings of one call that are one thing: with an example, where they are, and over which transports."""

    example: Finding
    pairs: dict[str, list[str]] = field(default_factory=dict)
    transports: list[str] = field(default_factory=list)

    @property
    def where(self) -> str:
        pairs = "; ".join(f"{client} -> {', '.join(daemons)}" for client, daemons in self.pairs.items())
        return f"{pairs} ({', '.join(t for t in TRANSPORTS if t in self.transports)})"


def causes(found: Report) -> list[Cause]:
    """The findings by call, change and what explains them; the worst first, the unexplained before the known."""
    grouped: dict[tuple[str, ...], Cause] = {}
    for key, verdicts in found.cells.items():
        for finding in (f for v in verdicts for f in v.findings):
            transport, _, call = finding.path.partition("/")
            alike = (
                call,
                finding.change,
                finding.tier.label,
                finding.entry,
                re.sub(r"[\d\s]", "", finding.new)[:ALIKE],
            )
            cause = grouped.setdefault(alike, Cause(finding))
            daemons = cause.pairs.setdefault(key.old, [])
            if key.new not in daemons:
                daemons.append(key.new)
            if transport not in cause.transports:
                cause.transports.append(transport)
    return sorted(
        grouped.values(), key=lambda c: (-c.example.tier, c.example.explained, c.example.path.partition("/")[2])
    )


def _cell(found: Report, key: CellKey) -> tuple[str, Outcome]:
    counts = found.counts(key)
    if counts[Outcome.BROKEN]:
        return "broken", Outcome.BROKEN
    asked = counts[Outcome.COMPATIBLE] + counts[Outcome.INCOMPATIBLE]
    if not asked:
        return "not here", Outcome.NOT_HERE
    words = f"{counts[Outcome.INCOMPATIBLE]} of {asked}" if counts[Outcome.INCOMPATIBLE] else f"{asked} alike"
    if counts[Outcome.NOT_APPLICABLE]:
        words += f", {counts[Outcome.NOT_APPLICABLE]} n/a"
    if counts[Outcome.NOT_HERE]:
        words += f", {counts[Outcome.NOT_HERE]} not here"
    return words, Outcome.INCOMPATIBLE if counts[Outcome.INCOMPATIBLE] else Outcome.COMPATIBLE


def _axes(found: Report) -> tuple[list[str], list[str]]:
    return list(dict.fromkeys(k.old for k in found.cells)), list(dict.fromkeys(k.new for k in found.cells))


def _print(found: Report) -> None:
    console = shared.console()
    rows, columns = _axes(found)
    by_pair = {(key.old, key.new): key for key in found.cells}
    grid = Table(box=box.SIMPLE_HEAD)
    for heading in ("client \\ daemon", *columns):
        grid.add_column(heading)
    for client in rows:
        squares = [_cell(found, by_pair[client, daemon]) for daemon in columns]
        grid.add_row(client, *(f"[{STYLE[outcome]}]{words}[/]" for words, outcome in squares))
    console.print(grid)
    for cause in causes(found):
        console.print(_words(cause), markup=False)
        console.print(f"    {cause.where}", style="dim", markup=False)
    for line in _unknown(found):
        console.print(line, markup=False)
    console.print(f"{found.asked} talks held, {found.known} known from earlier runs", style="dim")


def _words(cause: Cause) -> str:
    finding = cause.example
    entry = f" <{finding.entry}>" if finding.entry else ""
    return f"{finding.tier.label}: {sentence(finding, 120).partition('/')[2]}{entry}"


def _unknown(found: Report) -> Iterator[str]:
    """Why something could not be asked or broke, once each."""
    reasons: dict[str, list[str]] = {}
    for key, verdicts in found.cells.items():
        for verdict in verdicts:
            if verdict.outcome in (Outcome.NOT_HERE, Outcome.BROKEN):
                pairs = reasons.setdefault(f"{verdict.outcome}: {verdict.reason}", [])
                if (pair := f"{key.old} -> {key.new}") not in pairs:
                    pairs.append(pair)
    for reason, pairs in reasons.items():
        yield f"{reason} ({', '.join(pairs)})"


def markdown(found: Report) -> Iterator[str]:
    """The report for a repository: the grid, then what is behind it."""
    rows, columns = _axes(found)
    by_pair = {(key.old, key.new): key for key in found.cells}
    yield from ("# Clients and daemons of different releases", "")
    yield f"| client \\ daemon | {' | '.join(columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for client in rows:
        squares = [_cell(found, by_pair[client, daemon]) for daemon in columns]
        shown = [f"**{w}**" if o is Outcome.INCOMPATIBLE else w for w, o in squares]
        yield f"| {client} | {' | '.join(shown)} |"
    loud = [c for c in causes(found) if c.example.tier > Tier.ADDITION]
    if loud:
        yield from ("", "| tier | call | what | where | known as |", "|---|---|---|---|---|")
    for cause in loud:
        finding = cause.example
        call, what = sentence(finding, 120).partition("/")[2].split(" ", 1)
        cells = (finding.tier.label, f"`{call}`", what.replace("|", "\\|"), cause.where, finding.entry or "**new**")
        yield f"| {' | '.join(cells)} |"
    unknown = list(_unknown(found))
    if unknown:
        yield from ("", "## Not asked", "", *(f"- {line}" for line in unknown))


def _record(found: Report) -> dict[str, object]:
    def finding(f: Finding) -> dict[str, str]:
        said = {
            "path": f.path,
            "change": f.change.value,
            "tier": f.tier.label,
            "old": f.old,
            "new": f.new,
            "entry": f.entry,
        }
        return {name: value for name, value in said.items() if value}

    def cell(key: CellKey) -> dict[str, object]:
        verdicts = found.cells[key]
        return {
            "client": key.old,
            "daemon": key.new,
            "counts": {outcome.value: count for outcome, count in sorted(found.counts(key).items())},
            "findings": [finding(f) for v in verdicts for f in v.findings],
            "unknown": {
                v.case: f"{v.outcome}: {v.reason}" for v in verdicts if v.outcome in (Outcome.NOT_HERE, Outcome.BROKEN)
            },
        }

    return {"schema": "virt-compat/remote/1", "cells": [cell(key) for key in found.cells]}


COMMANDS = (remote,)
