"""``covering``: documents that take every branch of a release's grammars, recorded, and what became of them in other releases."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from virtcompat import renderers
from virtcompat.cli import options as shared
from virtcompat.engine import columns, covering_record, evidence, verdicts
from virtcompat.engine import covering as engine
from virtcompat.engine.covering_causes import Cause, causes
from virtcompat.engine.run import Selection
from virtcompat.errors import UsageError
from virtcompat.model import NO_DRIVER, Cell, CellKey, Matrix, Outcome, Tier
from virtcompat.renderers import sentence
from virtcompat.store import paths
from virtcompat.store.covering import About

SHOWN = 20
NAME = "covering.md"
CHECK = click.Choice((*engine.CHECKS, engine.INCLUSION))
#: What a reader of the published report asks himself first.
TITLES = {
    "upgrade-redefine": "Handed to the newer release",
    "upgrade-disk": "Found on disk by the newer release",
    "downgrade": "Handed back to the older release",
    engine.INCLUSION: "Under the newer grammar",
}


@click.group()
def covering() -> None:
    """Documents that together take every branch of a release's grammars: recorded, upgraded, handed back.

    \b
    Examples:
      virt-compat covering matrix --old debian-11 --new debian-14
      virt-compat covering publish
    """


@covering.command()
@click.argument("names", nargs=-1, required=True, type=shared.RELEASE)
@click.option("--kind", "kinds", multiple=True, type=shared.KIND, help="Only this kind of document (repeatable).")
def record(names: tuple[str, ...], kinds: tuple[str, ...]) -> int:
    """Give releases the covering corpora of their own grammars and keep what they answer in golden/. Refused where CI is set.

    One file a kind, some hundred kilobytes a release; minutes the first time. Recording twice changes nothing.

    \b
    Examples:
      virt-compat covering record debian-14
      virt-compat covering record debian-11 debian-12 --kind domain
    """
    for name in names:
        with shared.bar(f"recording {name}") as progress:
            found = covering_record.record(name, kinds, progress)
        for each in found:
            word = "recorded " if each.changed else "unchanged"
            click.echo(f"{word} {each.file}: {_recorded(each.corpus.about())}, {each.size:,} bytes", err=True)
    return 0


def _recorded(about: About) -> str:
    answers = "; ".join(f"{driver}: {_counts(counts)}" for driver, counts in about.statuses.items())
    return f"{about.documents:,} documents, {about.taken:,} of {about.branches:,} branches; {answers}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {status}" for status, number in sorted(counts.items()))


@covering.command()
@click.option("--check", "checks", multiple=True, type=CHECK, help="Only this check (repeatable).")
@click.option("--kind", "kinds", multiple=True, type=shared.KIND, help="Only this kind of document (repeatable).")
@click.option("--driver", "drivers", multiple=True, type=shared.DRIVER, help="Only this driver (repeatable).")
@click.option("--release", "releases", multiple=True, type=shared.RELEASE, help="Only these releases (repeatable).")
@click.option("--old", multiple=True, type=shared.RELEASE, help="Only pairs that start at this release (repeatable).")
@click.option("--new", multiple=True, type=shared.RELEASE, help="Only pairs that end at this release (repeatable).")
@click.option("--format", "form", default="text", type=click.Choice(("text", "markdown", "json")))
@click.option("--fail-on", default="break", type=click.Choice(shared.GATES), help="Exit 1 from this tier upwards.")
def matrix(form: str, fail_on: str, **options: Any) -> int:
    """Judge what each release wrote of its covering corpus in the releases after and before it.

    \b
    Examples:
      virt-compat covering matrix
      virt-compat covering matrix --kind domain --driver qemu --old debian-12 --new debian-14
      virt-compat covering matrix --check inclusion

    A square reads "12/1,862": 12 of 1,862 documents asked are incompatible.

    Exit codes: 0 no break that no ledger entry explains, 1 one, or a stale entry, 2 usage, 3 something could not be asked, 4 failure.
    """
    gate = Tier.named(fail_on) if fail_on != "none" else Tier.BREAK
    o = {name: tuple(value) for name, value in options.items()}
    selection = Selection(o["checks"], o["kinds"], o["drivers"], o["releases"], o["old"], o["new"], gate=gate)
    found = _run(selection)
    if form == "json":
        click.echo(renderers.every()["json"].render(found), nl=False)
    elif form == "markdown":
        click.echo("\n".join(markdown(found, [])))
    else:
        _print(found)
    return verdicts.exit_code(found, judged=fail_on != "none")


def _run(selection: Selection) -> Matrix:
    with shared.bar("judging") as progress:
        return engine.run(engine.validated(selection), progress)


@covering.command()
@click.argument("cell")
def explain(cell: str) -> int:
    """Show what became of one document, written CHECK/KIND/DRIVER/OLD/NEW/CASE: what was asked, what was written, what differs.

    \b
    Example:
      virt-compat covering explain downgrade/nodedev/test/debian-12/debian-11/based-20eea51810
    """
    parts = cell.split("/")
    if len(parts) != evidence.PARTS + 1 or parts[0] not in TITLES:
        raise UsageError(f"'{cell}' is no document of a cell", "write CHECK/KIND/DRIVER/OLD/NEW/CASE, as 'matrix' does")
    key = CellKey(*parts[: evidence.PARTS])
    chosen = engine.validated(Selection((key.check,), (key.kind,), (), (), (key.old,), (key.new,)))
    if key not in engine.keys(columns.find((key.old, key.new)), chosen):
        raise UsageError(
            f"{key} is no cell of the covering corpora", "take one that 'virt-compat covering matrix' names"
        )
    *lines, _ = evidence.lines(engine.explain(key, parts[-1]))
    click.echo("\n".join([*lines, f"reproduce: virt-compat covering explain {cell}"]))
    return 0


@covering.command()
@click.option("--to", "target", type=click.Path(file_okay=False), help="Where; default reports/ of the checkout.")
@click.option(
    "--check", "only_check", is_flag=True, help="Write nothing; exit 1 where the published file would change."
)
def publish(target: str | None, only_check: bool) -> int:
    """Regenerate reports/covering.md: every pair of releases and kind, and the causes.

    \b
    Examples:
      virt-compat covering publish
      virt-compat covering publish --check
    """
    found = _run(Selection())
    file = (Path(target) if target else paths.data_root() / "reports") / NAME
    text = "\n".join(markdown(found, engine.recorded(found))) + "\n"
    changed = not file.is_file() or file.read_text(encoding="utf-8") != text
    if changed and not only_check:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    word = "unchanged" if not changed else "would change" if only_check else "wrote"
    click.echo(f"{word}: {file}", err=True)
    code = verdicts.exit_code(found, judged=False)
    return code or int(only_check and changed)


# -- on a terminal -----------------------------------------------------------------------------------------------------


def _print(found: Matrix) -> None:
    for check, title in TITLES.items():
        cells = [cell for cell in found.cells if cell.key.check == check]
        if not cells:
            continue
        pairs = list(dict.fromkeys((cell.key.old, cell.key.new) for cell in cells))
        by_place = {(c.key.kind, c.key.driver, c.key.old, c.key.new): c for c in cells}
        short = _short({name for pair in pairs for name in pair})
        table = Table(title=f"{check}: {title.lower()}", box=box.SIMPLE_HEAD, title_justify="left")
        table.add_column("kind")
        for old, new in pairs:
            table.add_column(f"{short[old]} → {short[new]}" if old != new else short[old], justify="right")
        for kind, driver in dict.fromkeys((c.key.kind, c.key.driver) for c in cells):
            squares = (_square(by_place.get((kind, driver, *pair))) for pair in pairs)
            table.add_row(kind if driver == NO_DRIVER else f"{kind} ({driver})", *squares)
        shared.console().print(table)
    every = causes(found.cells)
    red = [cause for cause in every if not cause.entry]
    click.echo(f"{len(every):,} causes of breaks, {len(red):,} of them in no ledger entry")
    for cause in red[:SHOWN]:
        click.echo(f"  {len(cause.documents):5,}  {cause.tier.label} {_what(cause)}")
        click.echo(f"         virt-compat covering explain {cause.cell}")
    if len(red) > SHOWN:
        click.echo(f"  and {len(red) - SHOWN} more (--format markdown has all)")
    for line in _missing(found):
        click.echo(line)
    told = f"{found.asked:,} asked, {found.cached:,} known, {found.replayed:,} recorded"
    click.echo(f"{told}; {found.judged:,} judged, {found.remembered:,} remembered")


def _square(cell: Cell | None) -> str:
    if cell is None:
        return ""
    if cell.outcome in (Outcome.NOT_HERE, Outcome.NOT_APPLICABLE, Outcome.BROKEN):
        return f"[dim]{'-' if cell.outcome is Outcome.NOT_APPLICABLE else cell.outcome}[/]"
    colour = "red" if cell.unexplained else "yellow" if cell.worst >= Tier.BREAK else "green"
    return f"[{colour}]{cell.counts.get(Outcome.INCOMPATIBLE, 0):,}/{cell.asked:,}[/]"


def _what(cause: Cause) -> str:
    """Where and what, once for all the documents that have it."""
    where = ", ".join(cause.kinds)
    pairs = f"{len(cause.pairs)} pair{'s' * (len(cause.pairs) > 1)}"
    return f"{cause.key.check}: {sentence(cause.finding)} ({where}; {pairs})"


def _missing(found: Matrix) -> Iterator[str]:
    """Why something was not asked or broke, once a reason; and what is stale."""
    words = (Outcome.NOT_HERE, Outcome.BROKEN)
    reasons = dict.fromkeys((v.outcome, v.reason) for c in found.cells for v in c.verdicts if v.outcome in words)
    yield from (f"{outcome}: {reason}" for outcome, reason in reasons)
    yield from (f"stale: golden/changes/{entry}.toml explains nothing" for entry in found.stale)


# -- as published ------------------------------------------------------------------------------------------------------


def markdown(found: Matrix, corpora: Sequence[About]) -> Iterator[str]:
    """The report: what was recorded, every pair of releases and kind, the causes, what kills a release."""
    yield "# The covering corpora of the releases, in upgrade and downgrade"
    yield ""
    yield "Few documents that together take every branch of a grammar, plain and put into accepted documents, made of each release's"
    yield "own RELAX NG grammars and given to its own drivers (`golden/<release>/covering/`). What a release wrote of them is given to"
    yield "the releases after and before it, by the checks of the matrix. `virt-compat covering publish` writes this page, and"
    yield "`virt-compat covering explain` shows what stands under *such as*: the documents, and what differs."
    if corpora:
        yield from _corpora(corpora)
    every = causes(found.cells)
    for check, title in TITLES.items():
        cells = [cell for cell in found.cells if cell.key.check == check]
        if cells:
            yield from ("", f"## {title} (`{check}`)", "")
            yield from _rows(cells, check == engine.INCLUSION)
            yield from _causes([cause for cause in every if cause.key.check == check])
    missing = list(_missing(found))
    if missing:
        yield from ("", "## Not asked", "", *(f"- {line}" for line in missing))


def _corpora(corpora: Sequence[About]) -> Iterator[str]:
    yield from ("", "## What is recorded", "")
    yield "| release | kind | documents | branches taken | answers | bytes |"
    yield "|---|---|---:|---:|---|---:|"
    for a in corpora:
        answers = "; ".join(f"{driver}: {_counts(counts)}" for driver, counts in a.statuses.items())
        taken = f"{a.taken:,} of {a.branches:,}"
        yield f"| {a.release} | {a.kind} | {a.documents:,} | {taken} | {answers} | {a.size:,} |"
    deaths: dict[tuple[str, str, str, str], list[str]] = {}
    for a in corpora:
        for driver, case, what, status in a.deaths:
            deaths.setdefault((a.kind, driver, case, f"{status} ({what})"), []).append(a.release)
    yield from ("", "## Documents that end or hang a release's library", "")
    if not deaths:
        yield "None of these."
        return
    yield "| kind | driver | document | what became of it | releases |"
    yield "|---|---|---|---|---|"
    for (kind, driver, case, what), names in sorted(deaths.items()):
        yield f"| {kind} | {driver} | {case} | {what} | {', '.join(names)} |"


def _rows(cells: Sequence[Cell], grammars: bool) -> Iterator[str]:
    """One line a pair and kind. Where nothing can be asked of any pair, the kind has one line in all."""
    yield "| from | to | kind | driver | compatible | incompatible | unexplained | not applicable | not here | broken | worst |"
    yield "|---|---|---|---|---:|---:|---:|---:|---:|---:|---|"
    idle: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for cell in sorted(cells, key=lambda c: (_at(cells, c), c.key.kind, c.key.driver)):
        key = cell.key
        if cell.outcome is Outcome.NOT_APPLICABLE:
            idle.setdefault((key.kind, key.driver), set()).add((key.old, key.new))
            continue
        counts = [f"{cell.counts.get(o, 0):,}" for o in Outcome]
        numbers = [counts[0], counts[1], f"{cell.unexplained:,}", *counts[2:]]
        driver = "grammar" if grammars else key.driver
        yield f"| {key.old} | {key.new} | {key.kind} | {driver} | {' | '.join(numbers)} | {cell.worst.label} |"
    for (kind, driver), pairs in sorted(idle.items()):
        yield from ("", f"{kind} on {driver}: no document is accepted to begin with ({len(pairs)} pairs).")


def _at(cells: Sequence[Cell], cell: Cell) -> int:
    """The place of a pair among the pairs, in the order of the releases."""
    return list(dict.fromkeys((c.key.old, c.key.new) for c in cells)).index((cell.key.old, cell.key.new))


def _causes(found: Sequence[Cause]) -> Iterator[str]:
    """The causes, those that nobody has explained first."""
    for word, chosen in (
        ("In no ledger entry", [c for c in found if not c.entry]),
        ("Known", [c for c in found if c.entry]),
    ):
        if not chosen:
            continue
        yield from ("", f"### {word}: {len(chosen):,} cause{'s' * (len(chosen) > 1)}", "")
        yield "| documents | tier | what | kinds | pairs | ledger | such as |"
        yield "|---:|---|---|---|---|---|---|"
        for c in chosen:
            entry = f"`{c.entry}`" if c.entry else ""
            short = _short({name for pair in c.pairs for name in pair})
            pairs = ", ".join(f"{short[a]}→{short[b]}" if a != b else short[a] for a, b in sorted(c.pairs))
            what = _escaped(sentence(c.finding, 90))
            kinds = ", ".join(c.kinds)
            yield f"| {len(c.documents):,} | {c.tier.label} | {what} | {kinds} | {pairs} | {entry} | `{c.cell}` |"


def _short(names: Collection[str]) -> dict[str, str]:
    """Names without their first word, where all begin with the same: ``debian-11`` and ``debian-12`` are 11 and 12."""
    same = len({name.partition("-")[0] for name in names}) == 1
    return {name: name.partition("-")[2] if same and "-" in name else name for name in names}


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("`", "'")


COMMANDS = (covering,)
