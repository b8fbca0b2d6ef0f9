"""``history`` and ``path``: how an answer changed over the releases; which upgrade hops are green."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from virtcompat.cli import options as shared
from virtcompat.engine import history as engine
from virtcompat.engine import hops, interfaces, published
from virtcompat.engine.history import History, Step
from virtcompat.engine.hops import Colour, Hop, Paths
from virtcompat.errors import UsageError
from virtcompat.model import NO_DRIVER, Tier
from virtcompat.renderers import sentence

SHOWN = 12
#: Of more histories than these each is a line.
MANY = 8


@click.command()
@click.argument("case", required=False)
@click.option("--driver", "drivers", multiple=True, help="Only this driver (repeatable).")
@click.option("--kind", "kinds", multiple=True, help="Only this kind of document (repeatable).")
@click.option("--release", "releases", multiple=True, help="Only these releases (repeatable).")
@click.option("--surface", "only", multiple=True, help="CASE is an interface of this recorded surface (repeatable).")
@click.option(
    "--document", type=click.Path(exists=True, dir_okay=False), help="A document of your own, in place of CASE."
)
@click.option(
    "--form",
    default="document",
    type=click.Choice(engine.FORMS),
    help="What is compared of every answer.",
    show_default=True,
)
@click.option("--all", "everything", is_flag=True, help="Every difference, not the first of each release.")
@click.option("--format", "output", default="text", type=click.Choice(("text", "json")))
def history(
    case: str | None,
    drivers: tuple[str, ...],
    kinds: tuple[str, ...],
    releases: tuple[str, ...],
    only: tuple[str, ...],
    document: str | None,
    form: str,
    everything: bool,
    output: str,
) -> int:
    """Show how the answer to one document, or an interface, changed over the releases, and what explains each change.

    CASE is a fixture's name or a pattern, with its kind before it or not; with --surface the name of an interface.

    \b
    Examples:
      virt-compat history disk-bus-usb-cdrom --driver qemu
      virt-compat history 'domain/machine-alias-*' --form argv
      virt-compat history 'libvirt/symbol/virDomain*' --surface c-api
      virt-compat history --document my-guest.xml --driver qemu

    Exit codes: 3 a release could not be asked, 0 else.
    """
    if bool(case) == bool(document):
        raise UsageError("one of CASE and --document is wanted", "virt-compat history --help has examples")
    wanted = engine.Wanted((case,) if case else (), kinds, drivers, releases, form)
    with shared.bar("asking") as progress:
        if document:
            found = engine.of_file(Path(document), wanted, progress)
        elif only:
            found = interfaces.of_interfaces(case or "", only, releases, progress)
        else:
            found = engine.of_cases(wanted, progress)
    if output == "json":
        record = {"schema": "virt-compat/history/1", "histories": [_record(one) for one in found]}
        click.echo(json.dumps(record, indent=1, ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(found, None if everything else SHOWN)))
    return engine.exit_code(found)


def _lines(found: Sequence[History], most: int | None) -> Iterator[str]:
    """One history release by release; of several, what never changed is a line each, of many everything is."""
    short = most is not None and len(found) > MANY
    for one in found:
        title = f"{one.kind} {one.case}" if one.driver == NO_DRIVER else f"{one.kind}/{one.case} on {one.driver}"
        if short or (len(found) > 1 and not one.changes and not one.reworded):
            yield f"{title}: {engine.sentence(one)}"
            continue
        yield f"{title}: {one.summary}" + (f" ({one.form})" if one.form not in ("", "document") else "")
        widest = max(len(step.column.name) for step in one.steps)
        versions = max(len(one.products(step.column)) for step in one.steps)
        for at, step in enumerate(one.steps):
            start = f"  {step.column.name:{widest}}  {one.products(step.column):{versions}}  "
            previous = next((s for s in reversed(one.steps[:at]) if s.known), None)
            yield f"{start}{_state(step, previous)}"
            yield from _differences(step, most)
        yield f"  {engine.sentence(one)}" if len(found) > 1 else engine.sentence(one)
    if len(found) > 1:
        changed = sum(bool(one.changes) for one in found)
        more = " (--all shows them release by release)" if short else ""
        yield f"{len(found)} histories: {changed} changed, {len(found) - changed} never did{more}."


def _state(step: Step, previous: Step | None) -> str:
    """``accepted, as before``; ``refused: the message``."""
    status = engine.WORDS.get(step.status, step.status)
    words = f"{status}: {' '.join(step.words.split())}" if step.words else status
    same = ""
    if previous and step.status == previous.status and step.status != "absent":
        reworded = ", in other words than before" if step.status == "refused" else ", as before"
        same = reworded if step.words != previous.words else ", as before"
        same = ", otherwise than before" if step.findings else same
    notes = "".join(f" ({note})" for note in (step.note, step.partly) if note)
    return f"{words}{same}{notes}"


def _differences(step: Step, most: int | None) -> Iterator[str]:
    # That an interface came says its state already.
    worst = sorted((f for f in step.findings if f.tier > Tier.IDENTICAL), key=lambda f: (-f.tier, f.path))
    for finding in worst[:most]:
        # What was answered stands in the line above.
        words = f"{finding.path} {finding.change}" if finding.path.startswith("(") else sentence(finding)
        yield f"      {finding.tier.label}: {words}"
        if why := step.why(finding):
            yield f"        {why}"
    if most is not None and len(worst) > most:
        yield f"      … and {len(worst) - most} more (--all)"


def _record(one: History) -> dict[str, object]:
    since = one.since
    return {
        "kind": one.kind,
        "case": one.case,
        "driver": one.driver,
        "form": one.form,
        "summary": one.summary,
        "since": since.column.name if since else None,
        "sentence": engine.sentence(one),
        "releases": [_step(one, step) for step in one.steps],
    }


def _step(one: History, step: Step) -> dict[str, object]:
    record = {
        "release": step.column.name, "products": one.products(step.column), "status": step.status, "words": step.words,
        "note": step.note, "partly": step.partly, "compared_with": step.before,
    }  # fmt: skip
    shown: dict[str, object] = {name: value for name, value in record.items() if value}
    if step.before:
        shown["differences"] = [
            {
                "path": f.path, "change": f.change.value, "tier": f.tier.label, "old": f.old, "new": f.new,
                "entry": f.entry, "why": step.why(f),
            }
            for f in step.findings
        ]  # fmt: skip
    return shown


@click.command()
@click.argument("start", metavar="FROM")
@click.argument("end", metavar="TO")
@click.option("--check", "checks", multiple=True, help="Only this check (repeatable).")
@click.option("--kind", "kinds", multiple=True, help="Only this kind of document (repeatable).")
@click.option("--surface", "surfaces", multiple=True, help="Only this recorded surface or kind (repeatable).")
@click.option("--driver", "drivers", multiple=True, help="Only this driver (repeatable).")
@click.option("--case", "cases", multiple=True, help="Only fixtures matching this pattern, such as 'disk-*'.")
@click.option(
    "--via", multiple=True, help="Step on these releases only (repeatable); all between FROM and TO otherwise."
)
@click.option(
    "--fail-on", default="break", type=click.Choice(shared.GATES[:-1]), help="A hop is red from this tier upwards."
)
@click.option("--strict", is_flag=True, help="What the change ledger explains makes a hop red, too.")
@click.option("--back", is_flag=True, help="Each hop must be green the other way as well.")
@click.option(
    "--allow-missing", is_flag=True, help="A hop is green though single cases of a cell could not be asked here."
)
@click.option(
    "--matrix", "file", type=click.Path(exists=True, dir_okay=False), help="Of this matrix.json; nothing is asked."
)
@click.option("--format", "output", default="text", type=click.Choice(("text", "json")))
def path(
    start: str,
    end: str,
    via: tuple[str, ...],
    fail_on: str,
    strict: bool,
    back: bool,
    allow_missing: bool,
    file: str | None,
    output: str,
    **options: Any,
) -> int:
    """Find the upgrade hops that are green from release FROM to release TO, the shortest way first; or the cut.

    A hop is a pair of releases. It is green where everything was asked and no finding at the gate's tier is
    unexplained. FROM may be the newer one: then the hops go back.

    \b
    Examples:
      virt-compat path debian-11 debian-14
      virt-compat path debian-11 debian-14 --driver qemu --check upgrade-disk --strict
      virt-compat path debian-12 debian-14 --surface c-api --strict --matrix reports/matrix.json

    Exit codes: 0 there is a green way, 1 there is none, 3 a hop that could not be asked decides, 4 one that broke does.
    """
    gate = Tier.named(fail_on)
    selection = shared.selection({**options, "releases": (), "old": (), "new": ()}, gate)
    if file:
        if via or selection.cases:
            raise UsageError("--matrix goes with neither --via nor --case", "a cell that was written down is whole")
        matrix = published.matrix(Path(file))
        found = hops.of_matrix(matrix, start, end, selection, strict=strict, partly=allow_missing, back=back)
    else:
        with shared.bar("asking") as progress:
            found = hops.find(
                start, end, selection, via=via, strict=strict, partly=allow_missing, back=back, progress=progress
            )
    if output == "json":
        click.echo(json.dumps(_paths(found), indent=1, ensure_ascii=False))
    else:
        click.echo("\n".join(_way_lines(found)))
    return found.exit_code


def _way(names: Sequence[str]) -> str:
    return " -> ".join(names)


def _way_lines(found: Paths) -> Iterator[str]:
    """The ways, then every hop; where there is no way the cut first."""
    what = "finding" if found.strict else "unexplained finding"
    gate = f"a hop is green without {what} at '{found.gate.label}' or above"
    if found.ways:
        at_least = "at least " if len(found.ways) == hops.WAYS else ""
        count = f"{at_least}{len(found.ways)} ways are" if len(found.ways) > 1 else "one way is"
        yield f"{found.start} to {found.end}: {count} green ({gate})"
        yield from (f"  {_way(way)}" for way in found.ways)
    else:
        verdict = "no way is known to be green" if found.deciding else "no way is green"
        yield f"{found.start} to {found.end}: {verdict} ({gate})"
        yield f"the cut: every way takes {'one of these hops' if len(found.cut) > 1 else 'this hop'}"
        for hop in found.cut:
            yield from _hop_lines(hop)
        if found.deciding:
            yield f"what decides: {', '.join(_way((hop.old, hop.new)) for hop in found.deciding)}"
        against = sum(found.hops[pair].standing for pair in pairwise(found.repair))
        if against:
            yield f"the way with the fewest cases against it ({against}): {_way(found.repair)}"
    rest = [hop for hop in found.hops.values() if hop not in found.cut]
    if rest:
        yield "hops:" if found.ways else "the other hops:"
    for hop in rest:
        yield from _hop_lines(hop)


def _hop_lines(hop: Hop) -> Iterator[str]:
    counts = f"{hop.asked} asked, {hop.incompatible} incompatible"
    against = f", {hop.standing} against it" if hop.colour is Colour.RED else ""
    yield f"  {_way((hop.old, hop.new))}  {hop.colour}: {counts}{against}"
    if hop.cause:
        entry = f" <{hop.cause.finding.entry}>" if hop.cause.finding.entry else ""
        yield f"      {hop.cause.finding.tier.label}: {sentence(hop.cause.finding)}{entry}"
    if hop.missing:
        yield f"      {hop.missing}"
    if hop.command:
        yield f"      {hop.command}"


def _paths(found: Paths) -> dict[str, object]:
    return {
        "schema": "virt-compat/path/1",
        "from": found.start,
        "to": found.end,
        "gate": found.gate.label,
        "strict": found.strict,
        "exit_code": found.exit_code,
        "ways": [list(way) for way in found.ways],
        "cut": [[hop.old, hop.new] for hop in found.cut],
        "repair": list(found.repair),
        "deciding": [[hop.old, hop.new] for hop in found.deciding],
        "hops": [_hop(hop) for hop in found.hops.values()],
    }


def _hop(hop: Hop) -> dict[str, object]:
    record: dict[str, object] = {"from": hop.old, "to": hop.new, "colour": hop.colour.value, "asked": hop.asked}
    record |= {"incompatible": hop.incompatible, "against": hop.standing}
    if hop.cause:
        f = hop.cause.finding
        worst = {
            "path": f.path,
            "change": f.change.value,
            "tier": f.tier.label,
            "old": f.old,
            "new": f.new,
            "entry": f.entry,
        }
        record["worst"] = {**worst, "cases": list(hop.cause.cases)}
    return record | {name: value for name, value in (("missing", hop.missing), ("command", hop.command)) if value}


COMMANDS = (history, path)
