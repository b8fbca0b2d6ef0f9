"""The matrix for a terminal: a grid of releases per driver and check, coloured."""

from __future__ import annotations

import io

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from virtcompat.model import NO_DRIVER, STATIC, Matrix, Outcome, Tier
from virtcompat.renderers import Renderer, Square, causes, grids, sentence, totals

STYLE = {
    Outcome.COMPATIBLE: "green",
    Outcome.INCOMPATIBLE: "bold red",
    Outcome.NOT_APPLICABLE: "dim",
    Outcome.NOT_HERE: "yellow",
    Outcome.BROKEN: "bold magenta",
}


class TextRenderer:
    """Colours where ``color``; at most ``width`` columns."""

    name = "text"
    suffix = "txt"

    def __init__(self, width: int = 120, color: bool = False) -> None:
        self.width, self.color = width, color

    def render(self, matrix: Matrix) -> str:
        out = io.StringIO()
        console = Console(
            file=out, width=self.width, force_terminal=self.color, no_color=not self.color, highlight=False,
            color_system="standard" if self.color else None,
        )  # fmt: skip
        for (driver, check), grid in grids(matrix).items():
            console.print(f"{driver} · {check}", style="bold")
            console.print(_table(matrix, grid))
        _summary(console, matrix)
        return out.getvalue()


def _table(matrix: Matrix, grid: dict[tuple[str, str], Square]) -> Table:
    olds = [c for c in matrix.columns if any(old == c.name for old, _ in grid)]
    news = [c for c in matrix.columns if any(new == c.name for _, new in grid)]
    table = Table(box=box.SIMPLE_HEAD)
    if all(old == new for old, new in grid):
        for column in news:
            table.add_column(column.name)
        table.add_row(*(_square(grid.get((c.name, c.name))) for c in news))
        return table
    table.add_column("from \\ to")
    for column in news:
        table.add_column(column.name)
    for old in olds:
        table.add_row(old.name, *(_square(grid.get((old.name, new.name))) for new in news))
    return table


def _square(square: Square | None) -> Text:
    if square is None:
        return Text("")
    text = Text(square.label, STYLE[square.outcome])
    if square.outcome is Outcome.INCOMPATIBLE:
        text.append(f"\n{square.worst.label}", "red")
        if square.unexplained:
            text.append(f", {square.unexplained} new", "bold red")
    elif square.outcome is Outcome.COMPATIBLE and square.worst > Tier.IDENTICAL:
        text.append(f"\n{square.worst.label}", "yellow" if square.worst is Tier.RISK else "dim")
    missing = square.counts[Outcome.NOT_HERE]
    if missing and square.asked:
        text.append(f"\n{missing} not here", "yellow")
    return text


def _summary(console: Console, matrix: Matrix) -> None:
    counts = totals(matrix)
    for column in matrix.columns:
        state = "asked here" if column.live else "replayed from golden/" if column.golden else "nothing recorded"
        further = "".join(f", {product} {version}" for product, version in sorted(column.others.items()))
        versions = f"libvirt {column.libvirt}, QEMU {column.qemu or 'none'}{further}"
        console.print(f"{column.name}: {versions} ({state}{'; ' + column.note if column.note else ''})")
    console.print(", ".join(f"{counts[o]} {o}" for o in Outcome if counts[o]) or "nothing was asked")
    on_documents = sum(c.asked for c in matrix.cells if c.key.driver != NO_DRIVER)
    if on_documents:
        console.print(f"{on_documents} verdicts on documents{_sources(matrix)}")
    on_interfaces = sum(c.asked for c in matrix.cells if c.key.check == STATIC)
    if on_interfaces:
        console.print(f"{on_interfaces} verdicts on recorded interfaces")
    moves = sum(c.asked for c in matrix.cells if c.key.driver == NO_DRIVER and c.key.check != STATIC)
    if moves:
        console.print(
            f"{moves} verdicts on guests that moved: {matrix.asked} moved now, {matrix.cached} in earlier runs"
        )
    new = [c for c in causes(matrix.cells, matrix.gate) if not c.finding.explained]
    if new:
        console.print(f"\n{len(new)} causes at or above '{matrix.gate.label}' are in no ledger entry:", style="bold")
    for cause in new[:20]:
        cases = (
            f"{cause.key.kind}/{cause.cases[0]}{f' and {len(cause.cases) - 1} more' if len(cause.cases) > 1 else ''}"
        )
        console.print(f"  {cause.finding.tier.label}: {sentence(cause.finding, 80)}  [{cases}]", markup=False)
    if len(new) > 20:
        console.print(f"  … and {len(new) - 20} more (--format html or json shows all)")
    for entry in matrix.stale:
        console.print(f"stale ledger entry: {entry} explains nothing any more", style="bold red")
    for note in matrix.notes:
        console.print(f"note: {note}", style="yellow")


def _sources(matrix: Matrix) -> str:
    """Where the verdicts of this run came from; nothing of a published matrix, which is about no run."""
    answers = matrix.asked + matrix.cached + matrix.replayed
    if not answers:
        return ", all of them known from earlier runs" if matrix.remembered else ""
    earlier = f" (the others known from earlier runs, {matrix.judged} new ones)" if matrix.remembered else ""
    return (
        f"{earlier} from {answers} answers: {matrix.asked} asked of real libvirt now, {matrix.cached} known from earlier "
        f"runs, {matrix.replayed} read from golden/"
    )


RENDERER: Renderer = TextRenderer()
