"""``record``, ``list``, ``doctor`` and ``check``: what the tool has, what it lacks, what is recorded."""

from __future__ import annotations

from collections.abc import Iterator

import click

from virtcompat import checks, drivers, surfaces
from virtcompat.cli import options as shared
from virtcompat.engine import guests as moving
from virtcompat.engine import health, remote
from virtcompat.engine import record as recording
from virtcompat.store import guests, releases


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--surface", "chosen", multiple=True, help="Only this recorded surface; the rest stays (repeatable).")
@click.option(
    "--driver", "only", multiple=True, type=shared.DRIVER, help="Only the documents of this driver (repeatable)."
)
@click.option("--streams", "fresh", is_flag=True, help="Migration streams, too, though there are some.")
def record(names: tuple[str, ...], chosen: tuple[str, ...], only: tuple[str, ...], fresh: bool) -> int:
    """Record what releases answer into golden/. Refused where CI is set; commit the data on its own.

    \b
    Examples:
      virt-compat record debian-14
      virt-compat record debian-13 debian-14 --surface c-api
    """
    for name in names:
        with shared.bar(f"recording {name}") as progress:
            click.echo(f"recorded {recording.record(name, recording.Part(chosen, only, fresh), progress)}", err=True)
    return 0


def _drivers() -> Iterator[str]:
    for driver in drivers.every().values():
        what = ", ".join(driver.kinds) or "no documents"
        native = f"; native: {', '.join(driver.native)}" if driver.native else ""
        yield f"{driver.name} ({driver.role}, {driver.means}): {driver.summary}\n  {what}{native}"
    yield "how real each is here, release by release, and why: virt-compat drivers"


def _kinds() -> Iterator[str]:
    for surface in surfaces.every().values():
        takers = [d.name for d in drivers.every().values() if surface.name in d.kinds]
        yield f"{surface.name}: {surface.summary} ({', '.join(takers)})"


def _surfaces() -> Iterator[str]:
    for surface in surfaces.every_recorded().values():
        yield f"{surface.name}: {surface.summary} ({', '.join(surface.parts)})"


def _device_sets() -> Iterator[str]:
    for devices in guests.every().values():
        yield f"{devices.name}: {devices.summary} ({', '.join(devices.argv)})"


def _checks() -> Iterator[str]:
    for check in checks.every().values():
        yield f"{check.name} ({', '.join(sorted(check.directions))}): {check.purpose}"
    yield "static (forward, backward): a recorded surface of one release holds in the next, record against record"
    for name, purpose in remote.PURPOSES.items():
        yield f"{name} (self, forward, backward): {purpose}"
    for name, purpose in moving.PURPOSES.items():
        yield f"{name} (self, forward, backward): {purpose}"


def _releases() -> Iterator[str]:
    for release in releases.every():
        products = ", ".join(f"{name} {version}" for name, version in release.products.items())
        yield f"{release.name}: {release.summary or 'your own'}; {products}"


_LISTS = {
    "drivers": _drivers, "kinds": _kinds, "surfaces": _surfaces, "device-sets": _device_sets, "checks": _checks,
    "releases": _releases,
}  # fmt: skip


@click.command("list")
@click.argument("what", type=click.Choice(tuple(_LISTS)))
def list_things(what: str) -> int:
    """List what there is.

    \b
    Example:
      virt-compat list checks
    """
    for line in _LISTS[what]():
        click.echo(line)
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
    """Check fixtures/, golden/, the change ledger and the promises themselves: metadata, digests, contradictions.

    \b
    Example:
      virt-compat check
    """
    problems = health.data_problems()
    for problem in problems:
        click.echo(problem, err=True)
    click.echo(f"{len(problems)} problems" if problems else "fixtures/, golden/ and golden/changes/ are in order")
    return 2 if problems else 0


COMMANDS = (record, list_things, doctor, check)
