"""Options that several commands share, and the progress bar."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from virtcompat.engine.run import Selection, validated
from virtcompat.model import Tier

GATES = [t.label for t in Tier if t > Tier.IDENTICAL] + ["none"]

_SELECTION = [
    click.option("--check", "checks", multiple=True, help="Only this check (repeatable)."),
    click.option("--kind", "kinds", multiple=True, help="Only this kind of document (repeatable)."),
    click.option("--surface", "surfaces", multiple=True, help="Only this recorded surface or kind (repeatable)."),
    click.option("--driver", "drivers", multiple=True, help="Only this driver (repeatable)."),
    click.option("--release", "releases", multiple=True, help="Only these releases as columns (repeatable)."),
    click.option("--old", multiple=True, help="Only pairs that start at this release (repeatable)."),
    click.option("--new", multiple=True, help="Only pairs that end at this release (repeatable)."),
    click.option("--case", "cases", multiple=True, help="Only fixtures matching this pattern, such as 'disk-*'."),
]

Command = Callable[..., Any]


def selecting(command: Command) -> Command:
    """Add the options that narrow a run."""
    for option in reversed(_SELECTION):
        command = option(command)
    return command


def selection(options: dict[str, Any], gate: Tier) -> Selection:
    """The selection of those options, checked for names that do not exist."""
    o = {name: tuple(value) for name, value in options.items() if isinstance(value, tuple)}
    narrowed = (o["checks"], o["kinds"] + o["surfaces"], o["drivers"], o["releases"], o["old"], o["new"], o["cases"])
    return validated(Selection(*narrowed, gate=gate))


def width() -> int:
    """Columns of the terminal; never less than a table needs."""
    return max(shutil.get_terminal_size((120, 40)).columns, 80)


def console() -> Console:
    """Where tables are printed: coloured where somebody watches."""
    return Console(width=width(), highlight=False, no_color=not sys.stdout.isatty())


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, with a rate; silent where nobody watches."""
    errors = Console(stderr=True)
    if not errors.is_terminal:
        yield lambda done, of: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=errors, transient=True) as progress:
        task = progress.add_task(title, total=None, rate="")

        def advance(done: int, of: int) -> None:
            speed = progress.tasks[0].finished_speed or progress.tasks[0].speed or 0
            progress.update(task, completed=done, total=of, rate=f"{speed:,.0f} cells/s" if speed else "")

        yield advance
