"""``layering``: which of libvirt's drivers uses another, in a source tree."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich import box
from rich.table import Table

from virtcompat import layers
from virtcompat.cli import options as shared
from virtcompat.engine import labs
from virtcompat.errors import UsageError
from virtcompat.layers import Layers


@click.command()
@click.argument("trees", nargs=-1, type=click.Path(path_type=Path))
@click.option("--release", "names", multiple=True, help="The source package of this release, fetched (repeatable).")
@click.option("--mirror", default="", help="Fetch from this Debian mirror instead of the one apt is configured for.")
@click.option("--format", "form", default="text", type=click.Choice(("text", "json")))
def layering(trees: tuple[Path, ...], names: tuple[str, ...], mirror: str, form: str) -> int:
    """Show which driver's directory includes or links another driver's, in TREES of libvirt's source.

    A tree is a directory, a tarball or a .dsc of any version. The rule: a driver uses the public API, util, conf and the
    shared helpers only (suites/layering/libvirt.toml, with the accepted exceptions and their reasons).

    \b
    Examples:
      virt-compat layering ~/src/libvirt
      virt-compat layering --release debian-12 --release debian-13

    Exit code 1 where the rule is violated.
    """
    if not trees and not names:
        raise UsageError("no source tree named", "name a path, or --release NAME")
    found = [layers.analyse(tree) for tree in (*trees, *(labs.sources(name, mirror) for name in names))]
    if form == "json":
        click.echo(json.dumps([_record(tree) for tree in found], indent=1))
    else:
        for tree in found:
            _print(tree)
    return int(any(tree.violations for tree in found))


def _print(tree: Layers) -> None:
    console = shared.console()
    used = sorted({use.used for use in tree.uses})
    console.print(f"\n{tree.tree}: {len(tree.drivers)} drivers, {len(tree.uses)} uses of one by another", style="bold")
    if used:
        grid = Table(box=box.SIMPLE_HEAD)
        for heading in ("who \\ whom", *used):
            grid.add_column(heading)
        for user in tree.users:
            cells = [_cell(tree, user, other) for other in used]
            if any(cells):
                grid.add_row("src/ itself" if user == "." else user, *cells)
        console.print(grid)
    for use in tree.violations:
        console.print(f"violation: {use}", style="red", markup=False)
    reasons: dict[str, int] = {}
    for reason in tree.allowed.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in sorted(reasons.items()):
        console.print(f"accepted, {count}: {reason}", style="dim", markup=False)
    if tree.unknown:
        console.print(f"in no rule: {', '.join(tree.unknown)}", style="yellow", markup=False)
    if not tree.violations:
        console.print("no violation", style="green")


def _cell(tree: Layers, user: str, used: str) -> str:
    uses = tree.cell(user, used)
    bad = sum(use in tree.violations for use in uses)
    return f"[red]{bad}[/] of {len(uses)}" if bad else str(len(uses) or "")


def _record(tree: Layers) -> dict[str, object]:
    return {
        "tree": tree.tree,
        "drivers": list(tree.drivers),
        "uses": [
            {
                "user": use.user, "used": use.used, "kind": use.kind, "what": use.what, "file": use.file, "line": use.line,
                "accepted": tree.allowed.get(use, ""),
            }
            for use in tree.uses
        ],
        "unknown": list(tree.unknown),
    }  # fmt: skip


COMMANDS = (layering,)
