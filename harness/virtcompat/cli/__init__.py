"""The command line: every command asks the engine and prints; nothing is decided here."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys

import click

import virtcompat
from virtcompat.cli import outgoing
from virtcompat.errors import VirtCompatError


class Unheard(Exception):
    """Who read the output has gone."""


class Commands(click.Group):
    """click ends with 1, a break, where nobody reads on: here that has a name."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise Unheard from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(virtcompat.__version__, prog_name="virt-compat")
def group() -> None:
    """Compatibility of virtualization stacks, measured on real binaries of several releases.

    \b
    Example:
      virt-compat lab create debian-12 debian-13
      virt-compat matrix --driver qemu --old debian-12 --new debian-13

    Exit codes: 0 satisfied, 1 an unexplained break, 2 usage or bad data, 3 inconclusive, 4 environment or tool failure.
    """


for module in pkgutil.iter_modules(__path__):
    # Every module of this folder that offers commands lists them.
    for command in getattr(importlib.import_module(f"{__name__}.{module.name}"), "COMMANDS", ()):
        group.add_command(command)


def main() -> None:
    """Run the command; errors meet the user as a message with a remedy, never as a traceback."""
    try:
        code = group.main(standalone_mode=False, prog_name="virt-compat")
    except VirtCompatError as error:
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("\ninterrupted: every answer so far is kept; run it again to go on", err=True)
        code = 3
    except Unheard:
        outgoing.mute()
        code = 4
    except Exception as error:
        if os.environ.get("VIRT_COMPAT_DEBUG"):
            raise
        click.echo(f"error: {type(error).__name__}: {error}\n  remedy: VIRT_COMPAT_DEBUG=1 shows where", err=True)
        code = 4
    sys.exit(code if isinstance(code, int) else 0)
