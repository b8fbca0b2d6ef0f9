"""``merge``: the parts of a run that was judged in shards, put together to the matrix that one machine would print."""

from __future__ import annotations

from pathlib import Path

import click

from virtcompat import renderers
from virtcompat.cli import matrix as printing
from virtcompat.cli import options as shared
from virtcompat.engine import parts, verdicts
from virtcompat.errors import UsageError


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="PART…", type=click.Path(exists=True, dir_okay=False))
@click.option("--format", "form", default="text", type=click.Choice(sorted(renderers.every())), help="What to print.")
@click.option("--fail-on", type=click.Choice(shared.GATES), help="The tier of the shards (default), or none.")
@click.option("--allow-missing", is_flag=True, help="Exit 0 though single cases of a cell could not be asked.")
@click.option("--reports", type=click.Path(file_okay=False), help="Write the matrix in every format there.")
def merge(files: tuple[str, ...], form: str, fail_on: str | None, allow_missing: bool, reports: str | None) -> int:
    """Put the parts of a run together and print its matrix, the same bytes as one machine prints.

    Every shard must be there, whole, and judged with the same documents, records, releases and version of the tool.

    \b
    Examples:
      virt-compat matrix --shard 1/3      # on three machines, or as three jobs: 1/3, 2/3, 3/3
      virt-compat merge part-*-of-3.jsonl.zst --format json
    """
    merged = parts.merge([Path(file) for file in files])
    found = merged.matrix
    if fail_on not in (None, "none", found.gate.label):
        remedy = f"judge the shards again with --fail-on {fail_on}, or leave the option out"
        raise UsageError(f"the shards were judged with --fail-on {found.gate.label}", remedy)
    printing._print(found, form)
    if reports:
        printing.publish_to(Path(reports), found)
    for line in merged.left_out:
        click.echo(f"left out: {line}", err=True)
    code = verdicts.exit_code(found, judged=fail_on != "none", partly=allow_missing)
    return code or (3 if merged.left_out and not allow_missing else 0)


COMMANDS = (merge,)
