"""``record``, ``list``, ``doctor`` and ``check``: what the tool has, what it lacks, what is recorded."""

from __future__ import annotations

import click

from virtcompat import checks, drivers, surfaces
from virtcompat.cli import options as shared
from virtcompat.engine import health
from virtcompat.engine import record as recording
from virtcompat.store import releases


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--surface", "chosen", multiple=True, help="Only this recorded surface; the rest stays (repeatable).")
def record(names: tuple[str, ...], chosen: tuple[str, ...]) -> int:
    """Record what releases answer into golden/. Refused where CI is set; commit the data on its own.

    \b
    Examples:
      virt-compat record debian-14
      virt-compat record debian-13 debian-14 --surface c-api
    """
    for name in names:
        with shared.bar(f"recording {name}") as progress:
            click.echo(f"recorded {recording.record(name, chosen, progress)}", err=True)
    return 0


@click.command("list")
@click.argument("what", type=click.Choice(("drivers", "kinds", "surfaces", "checks", "releases")))
def list_things(what: str) -> int:
    """List what there is.

    \b
    Example:
      virt-compat list checks
    """
    if what == "drivers":
        for driver in drivers.every().values():
            click.echo(f"{driver.name}: {driver.summary}\n  {', '.join(driver.kinds)}")
    elif what == "kinds":
        for surface in surfaces.every().values():
            takers = [d.name for d in drivers.every().values() if surface.name in d.kinds]
            click.echo(f"{surface.name}: {surface.summary} ({', '.join(takers)})")
    elif what == "surfaces":
        for recorded in surfaces.every_recorded().values():
            click.echo(f"{recorded.name}: {recorded.summary} ({', '.join(recorded.parts)})")
    elif what == "checks":
        for check in checks.every().values():
            click.echo(f"{check.name} ({', '.join(sorted(check.directions))}): {check.purpose}")
    else:
        for release in releases.every():
            products = ", ".join(f"{name} {version}" for name, version in release.products.items())
            click.echo(f"{release.name}: {release.summary or 'your own'}; {products}")
    return 0


@click.command()
def doctor() -> int:
    """Say what is here, what is missing and what to install.

    \b
    Example:
      virt-compat doctor
    """
    worst = 0
    for good, line in health.examine():
        click.echo(f"{'ok     ' if good else 'missing'} {line}")
        worst = worst if good else 4
    return worst


@click.command()
def check() -> int:
    """Check fixtures/, golden/ and the change ledger themselves: metadata, digests, contradictions.

    \b
    Example:
      virt-compat check
    """
    problems = health.data_problems()
    for problem in problems:
        click.echo(problem, err=True)
    click.echo(f"{len(problems)} problems" if problems else "fixtures/, golden/ and golden/changes/ are in order")
    return 2 if problems else 0
