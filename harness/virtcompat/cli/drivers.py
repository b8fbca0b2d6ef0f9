"""``drivers``: how real each driver is, release by release, and which calls it implements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

import click
from rich import box
from rich.table import Table

from virtcompat.cli import options as shared
from virtcompat.drivers import Role
from virtcompat.engine import census as engine
from virtcompat.engine.census import Census, Presence

STYLE = {"real": "green", "stand-in": "cyan", "simulated": "cyan", "absent": "dim", "not-here": "yellow"}


@click.command()
@click.argument("releases", nargs=-1, type=shared.RELEASE)
@click.option("--call", "pattern", help="The calls of this pattern by driver, as the last release's own table says.")
@click.option("--format", "form", default="text", type=click.Choice(("text", "markdown", "json")))
def drivers(releases: tuple[str, ...], pattern: str | None, form: str) -> int:
    """Say how real each driver is here, release by release: asked for real, with a stand-in, absent, or not here.

    \b
    Examples:
      virt-compat drivers
      virt-compat drivers debian-14 --call 'virDomainMigrate*'
    """
    census = engine.take(releases)
    if pattern:
        _print_calls(census, census.releases[-1], pattern, form)
    elif form == "json":
        record = {name: {r: asdict(census.presence[name, r]) for r in census.releases} for name in census.drivers}
        click.echo(json.dumps(record, indent=1, ensure_ascii=False))
    elif form == "markdown":
        click.echo("\n".join(markdown(census)))
    else:
        _print(census)
    return 0


def _print(census: Census) -> None:
    for role in Role:
        table = Table(title=f"{role} drivers", box=box.SIMPLE_HEAD, title_justify="left")
        for word in ("driver", *census.releases):
            table.add_column(word)
        for name, driver in census.drivers.items():
            if driver.role is role:
                cells = [census.presence[name, release] for release in census.releases]
                table.add_row(name, *(f"[{STYLE[c.word]}]{_cell(c)}[/]" for c in cells))
        shared.console().print(table)
    for name, why in _reasons(census):
        click.echo(f"{name}: {why}")


def _cell(presence: Presence) -> str:
    documents = f" {presence.accepted}/{presence.asked}" if presence.asked else ""
    return f"{presence.word}{documents}" + (f", {presence.calls} calls" if presence.calls else "")


def _reasons(census: Census) -> Iterator[tuple[str, str]]:
    """Why a driver is not asked for real, once where several releases say the same."""
    for name, driver in census.drivers.items():
        said: dict[str, list[str]] = {}
        for release in census.releases:
            presence = census.presence[name, release]
            if presence.word in ("absent", "not-here"):
                said.setdefault(presence.why, []).append(release)
        for why, releases in said.items():
            yield f"{name} ({', '.join(releases)})", why
        if said and driver.needs:
            yield name, f"for real: {driver.needs.removeprefix('for real: ')}"


def markdown(census: Census) -> Iterator[str]:
    """The census as published: what each driver is in each release, why, and libvirt's table of calls in numbers."""
    yield "# The drivers, and how real each is"
    yield ""
    yield "`real`: the driver against the real thing. `stand-in` and `simulated`: the release's own driver code against a"
    yield "program of this project's, or a simulator. `absent`: in none of these builds; what opening it answers is recorded."
    yield "`27/28`: documents accepted of those in the golden record. Calls: how many libvirt's own table gives the driver."
    for role in Role:
        yield from ("", f"## {role.value.capitalize()} drivers", "")
        yield "| driver | what | " + " | ".join(census.releases) + " |"
        yield "|---" * (len(census.releases) + 2) + "|"
        for name, driver in census.drivers.items():
            if driver.role is role:
                cells = " | ".join(_cell(census.presence[name, r]) for r in census.releases)
                yield f"| [{name}]({driver.reference}) | {driver.summary} | {cells} |"
    yield from ("", "## Why a driver is not asked", "")
    for name, why in _reasons(census):
        yield f"- {name}: {why}"


def _print_calls(census: Census, release: str, pattern: str, form: str) -> None:
    found = census.calls(release, pattern)
    if form == "json":
        click.echo(json.dumps(found, indent=1))
        return
    names = sorted({name for by_driver in found.values() for name in by_driver})
    words = {n: census.presence[n, release].word if (n, release) in census.presence else "" for n in names}
    heads = [f"{n} ({words[n]})" if words[n] else n for n in names]
    if form == "markdown":
        click.echo("| call | " + " | ".join(heads) + " |\n" + "|---" * (len(names) + 1) + "|")
        for call, by_driver in found.items():
            click.echo(f"| {call} | " + " | ".join(by_driver.get(n, "") for n in names) + " |")
        return
    table = Table(title=f"calls of {release}, since which version", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("call", no_wrap=True)
    for head in heads:
        table.add_column(head)
    for call, by_driver in found.items():
        table.add_row(call, *(by_driver.get(name, "") for name in names))
    shared.console().print(table)


COMMANDS = (drivers,)
