"""``claims`` and ``verify``: what somebody states of releases, held against the cells; and an attestation checked."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import click
from rich import box
from rich.table import Table

from virtcompat.cli import options as shared
from virtcompat.engine import attestation, verification
from virtcompat.engine import claims as engine
from virtcompat.engine.claims import Report
from virtcompat.engine.verification import Verification
from virtcompat.errors import UsageError
from virtcompat.policy.claims import Result, Standing
from virtcompat.renderers import Cause, sentence
from virtcompat.store import claims as store

STYLE = {Standing.HOLDS: "green", Standing.REFUTED: "bold red", Standing.UNPROVEN: "bold yellow"}
MARK = {Standing.HOLDS: "holds", Standing.REFUTED: "**refuted**", Standing.UNPROVEN: "*unproven*"}
#: So many counterexamples, and reasons, of a claim are shown.
SHOWN = 3
#: Cells of an attestation that are asked anew, and how many of them are listed.
SAMPLE, LISTED = 5, 12


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--claim", "only", multiple=True, help="Only the claim of this id (repeatable).")
@click.option("--release", "releases", multiple=True, help="Only between these releases (repeatable).")
@click.option("--all", "everything", is_flag=True, help="Every counterexample by cause, not the first.")
@click.option("--url", default="", help="With --format attestation: where this run can be looked at.")
@click.option("--format", "form", default="text", type=click.Choice(("text", "json", "markdown", "attestation")))
def claims(
    files: tuple[Path, ...], only: tuple[str, ...], releases: tuple[str, ...], everything: bool, url: str, form: str
) -> int:
    """Hold claims against what was measured: each holds, is refuted by a counterexample, or is unproven.

    Without FILES those of suites/claims/: what libvirt, QEMU, SPICE and Debian publish.

    \b
    Examples:
      virt-compat claims
      virt-compat claims my-release.toml --release debian-13 --release libvirt-git
      virt-compat claims --format attestation > claims.intoto.json

    Exit codes: 1 a claim is refuted, 3 one is unproven, 0 all hold.
    """
    found = store.load(files)
    for name in only:
        if name not in {claim.id for claim in found}:
            raise UsageError(f"no claim '{name}'", f"use one of: {', '.join(c.id for c in found)}")
    with shared.bar("asking") as progress:
        report = engine.judge([c for c in found if not only or c.id in only], releases, progress)
    most = None if everything else SHOWN
    if form == "attestation":
        click.echo(attestation.text(report, url), nl=False)
    elif form == "json":
        click.echo(json.dumps(engine.record(report), indent=1, ensure_ascii=False))
    elif form == "markdown":
        click.echo("\n".join(markdown(report, most)))
    else:
        _print(report, most)
    return report.exit_code


def _print(report: Report, most: int | None) -> None:
    console = shared.console()
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("claim", "asked of", "cells", "asked", "refuting", "standing"):
        table.add_column(heading, justify="right" if heading in ("cells", "asked", "refuting") else "left")
    for result in report.results:
        numbers = (str(_cells(result)), f"{result.asked:,}", str(engine.refuting(result) or ""))
        word = f"[{STYLE[result.standing]}]{result.standing}[/]"
        table.add_row(result.claim.id, _span(result), *numbers, word)
    console.print(table)
    for result in report.results:
        if result.standing is not Standing.HOLDS:
            console.print(f"{result.standing}: {result.claim.id}", style=STYLE[result.standing])
            for line in _details(result, most):
                console.print(f"  {line}", markup=False, soft_wrap=True)
            console.print()
    console.print(_summary(report), markup=False, soft_wrap=True)


def _summary(report: Report) -> str:
    counts = {s: sum(r.standing is s for r in report.results) for s in Standing}
    told = ", ".join(f"{n} {standing}" for standing, n in counts.items() if n) or "no claim"
    where = f" (between {', '.join(report.narrowed)} alone)" if report.narrowed else ""
    return f"{told}{where}; {report.asked} questions asked now, {report.known} answers known"


def _cells(result: Result) -> int:
    return sum(bool(share.asked or share.missing) for share in result.shares)


def _span(result: Result) -> str:
    """``debian-11 … debian-14``: the releases that were asked."""
    names = sorted(engine.releases_of(result))
    return " … ".join(dict.fromkeys((names[0], names[-1]))) if names else "nothing"


def _details(result: Result, most: int | None) -> Iterator[str]:
    """What stands behind a claim that does not hold."""
    claim = result.claim
    yield claim.statement
    yield f"{claim.who}, {claim.published}" + (f": “{claim.quote}”" if claim.quote else "")
    if claim.note:
        yield claim.note
    found = engine.counterexamples(result)
    for cause in found[:most]:
        yield f"- {_words(cause)}"
        yield f"    {engine.command(cause)}"
    if most is not None and len(found) > most:
        yield f"  and {len(found) - most} more causes (--all)"
    for lack in result.lacks[:most]:
        yield f"- {lack.what}; {lack.remedy}"
    if most is not None and len(result.lacks) > most:
        yield f"  and {len(result.lacks) - most} more reasons (--all)"


def _words(cause: Cause) -> str:
    finding, more = cause.finding, len(cause.cases) - 1
    cases = cause.cases[0] + (f" and {more} more" if more else "")
    known = f"ledger {finding.entry}" if finding.entry else "in no ledger entry"
    return f"{finding.tier.label}: {sentence(finding, 80)} [{cases}; {known}]"


def markdown(report: Report, most: int | None = SHOWN) -> Iterator[str]:
    """The claims for a repository: a table, then what is behind those that do not hold."""
    yield from (
        "# Claims",
        "",
        "What is published of these releases, held against what was measured (`virt-compat claims`).",
        "",
    )
    yield from ("| claim | who | asked of | cells | asked | refuting | standing |", "|---|---|---|---|---|---|---|")
    for result in report.results:
        claim = result.claim
        where = (
            f"[{claim.who}]({claim.published})"
            if claim.published.startswith("http")
            else f"{claim.who}, {claim.published}"
        )
        name = f"[{claim.id}](#{claim.id})" if result.standing is not Standing.HOLDS else claim.id
        numbers = f"{_cells(result)} | {result.asked:,} | {engine.refuting(result) or ''}"
        said = f"{name}: {_escaped(claim.statement)}"
        yield f"| {said} | {where} | {_span(result)} | {numbers} | {MARK[result.standing]} |"
    for result in report.results:
        if result.standing is not Standing.HOLDS:
            yield from (
                "",
                f"## {result.claim.id}",
                "",
                f"{result.standing.value.capitalize()}: {_escaped(result.claim.statement)}",
            )
            if result.claim.quote:
                yield from ("", f"> {_escaped(result.claim.quote)}")
            if result.claim.note:
                yield from ("", _escaped(result.claim.note))
            yield from ("", *_behind(result, most))


def _behind(result: Result, most: int | None) -> Iterator[str]:
    found = engine.counterexamples(result)
    if found:
        yield from ("| counterexample | cases | ledger |", "|---|---|---|")
    for cause in found[:most]:
        entry = cause.finding.entry
        link = f"[{entry}](../golden/changes/{entry}.toml)" if entry else "**none**"
        shown = f"{cause.finding.tier.label}: {_escaped(sentence(cause.finding, 100))}"
        yield f"| {shown}<br>`{engine.command(cause)}` | {len(cause.cases)} | {link} |"
    if most is not None and len(found) > most:
        yield from ("", f"{len(found) - most} more causes: `virt-compat claims --claim {result.claim.id} --all`")
    if result.lacks:
        yield from ("", *(f"- {_escaped(lack.what)}; {_escaped(lack.remedy)}" for lack in result.lacks))


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--sample", default=SAMPLE, show_default=True, type=click.IntRange(min=1), help="Cells to ask anew.")
@click.option("--seed", type=int, help="Draw the sample of an earlier run again; else it is drawn by chance.")
@click.option("--format", "form", default="text", type=click.Choice(("text", "json")))
def verify(file: Path, sample: int, seed: int | None, form: str) -> int:
    """Check an attestation (claims --format attestation): its inputs, its static cells, and a sample of all its cells.

    The sample is asked of the labs themselves; neither golden records nor earlier answers stand in for them. A cell of
    documents takes seconds, one of guests or of their hardware minutes.

    \b
    Examples:
      virt-compat verify claims.intoto.json
      virt-compat verify claims.intoto.json --sample 40 --seed 7

    Exit codes: 0 confirmed, 1 contradicted, 2 the file is cut off or none, 3 something could not be compared.
    """
    with shared.bar("verifying") as progress:
        checked = verification.verify(file, sample, secrets.randbelow(10**6) if seed is None else seed, progress)
    if form == "json":
        click.echo(json.dumps(_checked(checked), indent=1, ensure_ascii=False))
    else:
        for line in _lines(checked):
            click.echo(line)
    return checked.exit_code


def _checked(checked: Verification) -> dict[str, object]:
    return {
        "schema": "virt-compat/verification/1",
        "word": checked.word,
        "exit_code": checked.exit_code,
        "seed": checked.seed,
        "contradictions": checked.contradictions,
        "differing": checked.differing,
        "computed": [str(key) for key in checked.computed],
        "asked": [str(key) for key in checked.asked],
        "unasked": {str(key): why for key, why in checked.unasked.items()},
    }


def _lines(checked: Verification) -> Iterator[str]:
    cells = {key for of in checked.attested.cells.values() for key in of}
    yield f"attested: {len(checked.attested.claims)} claims on {len(cells)} cells"
    yield f"inputs: {checked.same} are the same here, {len(checked.differing)} differ"
    yield from (f"  {line}" for line in checked.differing)
    yield f"computed anew from golden records: {len(checked.computed)} cells"
    yield f"asked anew of the labs: {len(checked.asked)} cells (--seed {checked.seed})"
    yield from _first([str(key) for key in checked.asked])
    if checked.unasked:
        yield f"not asked: {len(checked.unasked)} cells of the sample"
        yield from _first([f"{key}: {why}" for key, why in checked.unasked.items()])
    yield from (f"contradiction: {line}" for line in checked.contradictions)
    yield checked.word


def _first(lines: list[str]) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:LISTED])
    if len(lines) > LISTED:
        yield f"  and {len(lines) - LISTED} more (--format json)"


COMMANDS = (claims, verify)
