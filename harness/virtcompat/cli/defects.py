"""``defects``: what is known to break in current releases, asked anew; and the hunt for more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

import click

from virtcompat.cli import options as shared
from virtcompat.engine import advisories
from virtcompat.engine import defects as engine
from virtcompat.engine.defects import Hunted
from virtcompat.engine.hunting import Order
from virtcompat.engine.run import Progress
from virtcompat.errors import UsageError
from virtcompat.model import Tier

SHOWN = 40


@click.command()
@click.option("--show", "names", multiple=True, help="Only this defect, entire, with its backtrace (repeatable).")
@click.option("--release", "releases", multiple=True, type=shared.RELEASE, help="Ask only this release (repeatable).")
@click.option("--format", "form", default="text", type=click.Choice(advisories.FORMATS), help="How it is told (text).")
@click.option("--hunt", "count", type=click.IntRange(1), help="Look for more with so many generated documents.")
@click.option("--kind", "kinds", multiple=True, type=shared.KIND, help="Hunt with this kind of document (repeatable).")
@click.option("--driver", "drivers", multiple=True, type=shared.DRIVER, help="Hunt on this driver (repeatable).")
@click.option("--seed", default=0, help="Of what is drawn; the same seed gives the same documents.")
@click.option("--no-minimise", is_flag=True, help="Do not look for the smallest document of each new cause.")
@click.option(
    "--private",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where what looks like a security matter goes: a directory outside the project. Without it such finds are counted.",
)
def defects(
    names: tuple[str, ...],
    releases: tuple[str, ...],
    form: str,
    count: int | None,
    kinds: tuple[str, ...],
    drivers: tuple[str, ...],
    seed: int,
    no_minimise: bool,
    private: Path | None,
) -> int:
    """Every crash, hang, unreadable or lost document that is known, asked of every release's lab; or a hunt for more.

    A hunt gives documents from every release's schemas to every release, keeps what breaks by its cause, and writes the smallest
    document of each new one into the cache directory. Interrupted, it goes on where it was.

    \b
    Examples:
      virt-compat defects
      virt-compat defects --show memorytune-node-id-too-large
      virt-compat defects --format markdown > reports/defects.md
      virt-compat defects --hunt 20000 --driver test --seed 3 --private ~/confidential

    Exit codes: 0 all as recorded and nothing new; 1 a defect is new, shows on another release, or is gone from one; 2 usage;
    3 something could not be asked; 4 the tool failed.
    """
    if private and form == "markdown":
        raise UsageError("Markdown is to be published, and --private is not", "leave one out")
    if count is None:
        if kinds or drivers:
            raise UsageError("--kind and --driver are about a hunt", "add --hunt N")
        with shared.bar("defects") as progress:
            whole = bool(names) or form != "text"
            report = engine.known(names, releases, private, traces=whole, progress=progress)
        click.echo(advisories.render(report, form, whole=bool(names)), nl=False)
        return report.exit_code
    if names or form == "json":
        raise UsageError("--show and JSON are about the known defects", "leave out --hunt")
    with _bars() as bars:
        order = Order(count, seed, kinds, drivers, releases, private)
        hunted = engine.hunt(order, minimise=not no_minimise, progress=bars)
    click.echo(advisories.red(hunted) if form == "markdown" else "\n".join(_hunted(hunted)), nl=form == "text")
    return hunted.exit_code


@contextmanager
def _bars() -> Iterator[Callable[[str], Progress]]:
    """One progress bar after another."""
    with ExitStack() as stack:

        def begin(title: str) -> Progress:
            stack.close()
            return stack.enter_context(shared.bar(title))

        yield begin


def _hunted(hunted: Hunted) -> Iterator[str]:
    counts, finds = hunted.state.counts, hunted.state.finds
    yield (
        f"{counts.get('documents', 0):,} documents, {counts.get('verdicts', 0):,} verdicts, "
        f"{counts.get('findings', 0):,} findings of {len(finds):,} causes; {len(hunted.fresh):,} causes are new"
    )
    for find in islice(hunted.fresh, SHOWN):
        where = ", ".join(" -> ".join(dict.fromkeys(cell)) for cell in find.cells[:4])
        yield f"  {find.count:6,}  {Tier(find.tier).label}  {find.signature} ({where})"
        if find.signature in hunted.files:
            yield f"          {hunted.files[find.signature]}"
    if len(hunted.fresh) > SHOWN:
        yield f"  and {len(hunted.fresh) - SHOWN} more"
    if counts.get("stepped around"):
        yield f"stepped around, for they hold what is known: {counts['stepped around']:,} documents"
    if counts.get("findings beyond"):
        yield f"not kept, for there are too many causes: {counts['findings beyond']:,} findings; hunt with --kind or --driver"
    if hunted.confidential:
        yield f"confidential: {hunted.confidential:,} findings look like a security matter; --private DIR keeps them there"
    for reason, number in sorted(hunted.state.unasked.items()):
        yield f"not asked: {number:,} verdicts: {reason}"


COMMANDS = (defects,)
