"""``gate`` and ``waive``: may this change go in, and which of its breaks somebody accepts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from virtcompat import outputs
from virtcompat.cli import options as shared
from virtcompat.cli import outgoing
from virtcompat.engine import gate as engine
from virtcompat.engine import labs, waiving
from virtcompat.engine.run import Progress
from virtcompat.errors import UsageError
from virtcompat.model import Tier

VERDICT = "verdict.json"
WAIVERS = "waivers.toml"


class Seconds(click.ParamType[float]):
    """A length of time: ``90``, ``120s``, ``2m``, ``1h``."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip()
        unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:], 0.0)
        try:
            found = float(text[:-1] if unit else text) * (unit or 1.0)
        except ValueError:
            found = 0.0
        if not found > 0:
            self.fail(f"{value!r} is no length of time: write for example 120s or 2m", param, ctx)
        return found


class Judging(click.Command):
    """A run that is cut off, or not understood, does not leave the last one's verdict."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except (click.UsageError, UsageError):
            outgoing.outdate(ctx.params.get("verdict") or Path(VERDICT))
            raise


@click.command(cls=Judging)
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    type=shared.RELEASE,
    required=True,
    help="A release to be compatible with (repeatable).",
)
@click.option("--candidate", type=shared.RELEASE, help="The release to judge, by name.")
@click.option("--root", type=click.Path(exists=True, file_okay=False, resolve_path=True), help="Or: of this root.")
@click.option("--command", "prefix", help="Or: of a build tree behind this command prefix, such as 'BUILD/run'.")
@click.option("--host", is_flag=True, help="Or: this machine's own.")
@click.option("--driver", "drivers", multiple=True, type=shared.DRIVER, help="Only this driver (repeatable).")
@click.option(
    "--surface", "kinds", multiple=True, type=shared.SURFACE, help="Only this recorded surface or kind (repeatable)."
)
@click.option("--check", "checks", multiple=True, type=shared.CHECK, help="Only this check (repeatable).")
@click.option("--case", "cases", multiple=True, help="Only fixtures matching this pattern (repeatable).")
@click.option(
    "--fail-on", default="break", type=click.Choice([t.label for t in Tier if t >= Tier.RISK]), show_default=True
)
@click.option(
    "--waivers",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help=f"Default: {WAIVERS}, if there is one.",
)
@click.option(
    "--time-budget", "budget", type=Seconds(), help="Stop asking after this long, what is likely to break first."
)
@click.option("--no-witness", is_flag=True, help="Do not look for the smallest document of each break.")
@click.option("--allow-missing", is_flag=True, help="Do not fail for what this machine cannot ask; it is still listed.")
@click.option(
    "--format", "formats", multiple=True, metavar="F[=FILE]", help="text, json, junit, sarif, github, gitlab, markdown."
)
@click.option(
    "--verdict",
    default=VERDICT,
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,
    help="Always written.",
)
def gate(formats: tuple[str, ...], verdict: Path, prefix: str | None, root: str | None, host: bool, **o: Any) -> int:
    """Judge a candidate against released versions: does it still understand everything that they wrote?

    \b
    Examples:
      virt-compat gate --baseline debian-13 --candidate debian-14
      virt-compat gate --baseline debian-12 --baseline debian-13 --command ~/libvirt/build/run --driver qemu
      virt-compat gate --baseline debian-13 --host --time-budget 120s --format github --format sarif=gate.sarif

    Exit codes: 0 no unwaived break, 1 there is one, 2 bad usage or a waiver that is expired, too broad or matches
    nothing, 3 inconclusive (something was not asked), 4 the tool failed. verdict.json always says the same.
    """
    outgoing.outdate(verdict)
    wanted = _formats(formats)
    waivers = o["waivers"] or (Path(WAIVERS) if Path(WAIVERS).is_file() else None)
    outgoing.checked([verdict, *([waivers] if waivers else []), *(file for _, file in wanted if file)])
    ways = {"command": {"prefix": prefix} if prefix else None, "root": {"path": root} if root else None}
    ways["host"] = {} if host else None
    chosen = [(kind, how) for kind, how in ways.items() if how is not None]
    if len(chosen) + bool(o["candidate"]) != 1:
        raise UsageError("say which candidate, in one way", "--candidate, --root, --command or --host")
    candidate = o["candidate"] or labs.adopt(*chosen[0])
    request = engine.Request(
        o["baselines"], candidate, o["drivers"], o["kinds"], o["checks"], o["cases"], Tier.named(o["fail_on"]), waivers,
        o["budget"], minimise=not o["no_witness"], forgive=o["allow_missing"],
    )  # fmt: skip
    with _stages() as stage:
        judgement = engine.judge(request, stage)
    every = outputs.every()
    outgoing.put(verdict, every["json"].render(judgement))
    for name, file in wanted:
        text = every[name].render(judgement)
        if file:
            outgoing.put(file, text)
            continue
        with outgoing.unheard():
            click.echo(text, nl=False)
    return judgement.exit_code


def _formats(given: tuple[str, ...]) -> list[tuple[str, Path | None]]:
    """(format, file) of every ``F[=FILE]``; text on the terminal unless another goes there."""
    found: list[tuple[str, Path | None]] = []
    for word in given:
        name, _, file = word.partition("=")
        if name not in outputs.every():
            raise UsageError(f"no format '{name}'", f"use one of: {', '.join(outputs.every())}")
        found.append((name, Path(file) if file else None))
    return found if any(file is None for _, file in found) else [("text", None), *found]


@contextlib.contextmanager
def _stages() -> Iterator[engine.Stage]:
    """One progress bar after another, each with its title."""
    with contextlib.ExitStack() as stack:

        def stage(title: str) -> Progress:
            stack.close()
            return stack.enter_context(shared.bar(title))

        yield stage


@click.command()
@click.argument("cell")
@click.option("--reason", required=True, help="Why the break is accepted.")
@click.option("--expires", required=True, help="A day (2027-06-30, within a year) or a version ('libvirt 13.0.0').")
@click.option("--owner", required=True, help="Who answers for it.")
@click.option("--issue", required=True, help="Where it is tracked.")
@click.option("--fingerprint", default="", help="Which finding, where the case has several.")
@click.option("--waivers", default=WAIVERS, show_default=True, type=click.Path(dir_okay=False, path_type=Path))
def waive(cell: str, fingerprint: str, waivers: Path, **words: str) -> int:
    """Accept one finding of a CELL, written check/kind/driver/old/new/case: writes a narrow waiver.

    \b
    Example:
      virt-compat waive upgrade-redefine/domain/qemu/debian-13/debian-14/controller-usb-vt82c686b \\
        --reason 'no guest has this controller' --owner virt-team --issue https://bugs.example.org/1 --expires 2027-06-30
    """
    written = waiving.waive(cell, waivers, fingerprint, words)
    click.echo(
        f"{waivers}:{written.line}: waives {written.fingerprint} ({written.where['path']}) until {written.expires}"
    )
    return 0


COMMANDS = (gate, waive)
