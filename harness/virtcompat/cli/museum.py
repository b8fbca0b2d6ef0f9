"""``museum``: does the gate catch what really broke, and nothing else?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from virtcompat.cli import options as shared
from virtcompat.engine import museum as engine
from virtcompat.engine import museum_report as report
from virtcompat.engine.gate import Stage
from virtcompat.engine.run import Progress
from virtcompat.store import regressions
from virtcompat.store.regressions import Piece

PIECE = shared.Name("piece", lambda: (p.name for p in regressions.every()))
PRODUCT = shared.Name("product", lambda: sorted({p.product for p in regressions.every()}))


@click.command()
@click.option("--piece", "names", multiple=True, type=PIECE, help="Only pieces matching this pattern (repeatable).")
@click.option("--product", "products", multiple=True, type=PRODUCT, help="Only pieces of this product (repeatable).")
@click.option("--list", "listed", is_flag=True, help="Say what there is, ask nothing.")
@click.option("--again", is_flag=True, help="Judge anew what was judged under the same tool and labs.")
@click.option("--format", "form", default="text", type=click.Choice(("text", "json", "markdown")), show_default=True)
def museum(names: tuple[str, ...], products: tuple[str, ...], listed: bool, again: bool, form: str) -> int:
    """Apply each historical regression's fault to a candidate and let the gate judge it against the sound release.

    \b
    Examples:
      virt-compat museum --list
      virt-compat museum --piece L01 --piece 'control-*'
      virt-compat museum --format markdown > reports/museum.md

    Exit codes: 0 at least 95 % are detected and nothing sound raises an alarm, 1 not so, 2 a piece is wrong, 3 something
    could not be asked, 4 the tool failed.
    """
    pieces = regressions.choose(names, products)
    if listed:
        engine.check(pieces)
        click.echo(report.listing(pieces), nl=False)
        return 0 if pieces else 3

    def told(piece: Piece, result: engine.Result) -> None:
        click.echo(report.line(piece, result), err=form != "text")

    with _stages() as stage:
        tour = engine.tour(pieces, told, stage, again=again)
    click.echo(report.FORMATS[form](tour), nl=False)
    return tour.exit_code


@contextlib.contextmanager
def _stages() -> Iterator[engine.Stages]:
    """One progress bar after another, each with its piece's name and its title."""
    with contextlib.ExitStack() as stack:

        def of(name: str) -> Stage:
            def stage(title: str) -> Progress:
                stack.close()
                return stack.enter_context(shared.bar(f"{name} {title}"))

            return stage

        yield of


COMMANDS = (museum,)
