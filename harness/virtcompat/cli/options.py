"""Options that several commands share, and the progress bar."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.shell_completion import CompletionItem
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from virtcompat import checks, drivers, surfaces
from virtcompat.cli import outgoing
from virtcompat.engine import guests
from virtcompat.engine.run import Selection, validated
from virtcompat.model import STATIC, Tier
from virtcompat.store import releases


class Name(click.ParamType[str]):
    """A name of something there is, which the shell completes; whether it is one the engine says."""

    def __init__(self, word: str, names: Callable[[], Iterable[str]]) -> None:
        self.name = word
        self._names = names

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in self._names() if name.startswith(incomplete)]


RELEASE = Name("release", lambda: (r.name for r in releases.every()))
DRIVER = Name("driver", lambda: drivers.every())
CHECK = Name("check", lambda: (*checks.every(), STATIC, *guests.CHECKS))
KIND = Name("kind", lambda: surfaces.every())
SURFACE = Name("surface", lambda: (*surfaces.every_recorded(), *surfaces.every()))
GATES = [t.label for t in Tier if t > Tier.IDENTICAL] + ["none"]

_SELECTION = [
    click.option("--check", "checks", multiple=True, type=CHECK, help="Only this check (repeatable)."),
    click.option("--kind", "kinds", multiple=True, type=KIND, help="Only this kind of document (repeatable)."),
    click.option(
        "--surface", "surfaces", multiple=True, type=SURFACE, help="Only this recorded surface or kind (repeatable)."
    ),
    click.option("--driver", "drivers", multiple=True, type=DRIVER, help="Only this driver (repeatable)."),
    click.option(
        "--release", "releases", multiple=True, type=RELEASE, help="Only these releases as columns (repeatable)."
    ),
    click.option("--old", multiple=True, type=RELEASE, help="Only pairs that start at this release (repeatable)."),
    click.option("--new", multiple=True, type=RELEASE, help="Only pairs that end at this release (repeatable)."),
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


class _Terminal(Console):
    """A console that goes on in silence when its reader has gone: the command's own exit code stands."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        outgoing.mute()


def console() -> Console:
    """Where tables are printed: coloured where somebody watches."""
    return _Terminal(width=width(), highlight=False, no_color=not sys.stdout.isatty())


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
