"""``can-migrate`` and ``pin``: may this guest go there, and what would make it the same machine there."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path

import click

from virtcompat.engine import migration
from virtcompat.model import Outcome, Verdict
from virtcompat.renderers import sentence


@click.command("can-migrate")
@click.option("--from", "old", required=True, help="The release that the guest runs under.")
@click.option("--to", "new", required=True, help="The release that it is to go to.")
@click.option("--machine", default="", help="Its machine type; every versioned one that both have where none is named.")
@click.option(
    "--device-set", "devices", multiple=True, help="Only with these devices (repeatable; 'list device-sets')."
)
@click.option("--domain", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A domain's XML instead.")
@click.option("--format", "form", default="text", type=click.Choice(("text", "json")))
def can_migrate(old: str, new: str, machine: str, devices: tuple[str, ...], domain: Path | None, form: str) -> int:
    """Say whether a guest moves live from one release's QEMU to another's: yes, no with the reason, or unknown.

    Asked of the real binaries under TCG where it is not known yet, about 2 s a machine type and device set.

    \b
    Examples:
      virt-compat can-migrate --from debian-12 --to debian-14 --machine pc-q35-7.2
      virt-compat can-migrate --from debian-13 --to debian-14 --domain my.xml

    Exit codes: 0 yes, 1 no, 3 unknown.
    """
    answer = migration.ask(old, new, machine, devices, domain)
    if form == "json":
        record = {"from": old, "to": new, "answer": answer.word, "unknown": answer.unknown}
        cases = [
            {
                "case": v.case,
                "outcome": v.outcome,
                "reason": v.reason,
                "findings": [{**asdict(f), "tier": f.tier.label} for f in v.findings],
            }
            for v in answer.verdicts
        ]
        click.echo(json.dumps({**record, "cases": cases}, indent=1))
        return answer.exit_code
    click.echo(f"{answer.word}: {old} -> {new}, {len(answer.verdicts)} guests moved")
    for verdict in answer.verdicts:
        click.echo(f"  {_line(verdict)}")
    for what in answer.unknown:
        click.echo(f"  unknown: {what}: in no device set")
    if answer.word == "unknown":
        click.echo("  to find out: move a test guest by hand, or add a device set to fixtures/guest-abi/")
    return answer.exit_code


def _line(verdict: Verdict) -> str:
    if verdict.findings and verdict.outcome is Outcome.INCOMPATIBLE:
        worst = max(verdict.findings, key=lambda f: f.tier)
        entry = f" <{worst.entry}>" if worst.entry else ""
        return f"no   {verdict.case}: {sentence(worst, 120).partition('/')[2].partition('/')[2]}{entry}"
    if verdict.outcome is Outcome.COMPATIBLE:
        return f"yes  {verdict.case}"
    return f"{verdict.outcome} {verdict.case}: {verdict.reason}"


@click.command()
@click.argument("release")
@click.argument("machine")
@click.option("--on", "on", required=True, help="The release whose QEMU shall build it.")
@click.option("--base", default="", help="From which of its machine types; the newest of the family by default.")
@click.option("--device-set", "devices", default="plain", help="With these devices.")
@click.option("--format", "form", default="text", type=click.Choice(("text", "json")))
def pin(release: str, machine: str, on: str, base: str, devices: str, form: str) -> int:
    """Print QEMU arguments that make a newer machine type the one that MACHINE was in RELEASE, and try them.

    \b
    Example:
      virt-compat pin debian-11 pc-q35-5.2 --on debian-14

    Exit code 0 where the guest then sees the same hardware, 1 with what still differs.
    """
    found = migration.pin(release, machine, on, base, devices)
    if form == "json":
        click.echo(json.dumps(asdict(found), indent=1))
        return int(bool(found.after))
    click.echo(" ".join(_quoted(word) for word in found.argv))
    click.echo(f"differences that a guest sees: {len(found.before)} without, {len(found.after)} with them", err=True)
    for line in found.after:
        click.echo(f"  still: {line}", err=True)
    return int(bool(found.after))


def _quoted(word: str) -> str:
    return shlex.quote(word)


COMMANDS = (can_migrate, pin)
