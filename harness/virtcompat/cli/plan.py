"""``plan``: in which order a cluster is upgraded, or why it cannot be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

import click

from virtcompat.cli import options as shared
from virtcompat.engine import plan as engine
from virtcompat.engine.plan import Level, Planned
from virtcompat.policy.cluster import Move, Step
from virtcompat.policy.planner import Impossible, Plan, Proof, Unproven

SHOWN = 12


@click.command()
@click.argument("cluster", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--format", "form", default="text", type=click.Choice(("text", "json", "markdown")), help="How it is printed."
)
def plan(cluster: Path, form: str) -> int:
    """Plan the upgrade of a CLUSTER (a TOML file: hosts, guests, target): which host when, where its guests go meanwhile.

    Only migrations that were measured to work are used, and between two releases only those that work back as well, so
    that every step can be undone until the last host is done. Where there is no plan the cells that forbid it are
    shown. What is not known yet is asked of the labs, about 2 s a migration.

    \b
    Examples:
      virt-compat plan suites/clusters/three-hosts.toml
      virt-compat plan CLUSTER.toml --format markdown

    Exit codes: 0 there is a plan, 1 there can be none, 2 the file is wrong, 3 unproven: something was not asked.
    """
    with shared.bar("migrations") as progress:
        found = engine.plan(cluster, progress)
    if form == "json":
        click.echo(json.dumps(_record(found), indent=1))
    else:
        click.echo("\n".join(_markdown(found) if form == "markdown" else _text(found)))
    return found.exit_code


# -- sentences ---------------------------------------------------------------------------------------------------------


def _heading(found: Planned) -> str:
    problem = found.problem
    size = (
        f"{len(problem.hosts)} hosts to {problem.target}, {len(problem.guests)} guests, {problem.down} down at a time"
    )
    if not isinstance(found.answer, Plan):
        return size
    moves = [move for step in found.answer.steps for move in step.moves]
    cold = sum(move.cold for move in moves)
    return f"{size}: {len(found.answer.steps)} steps, {len(moves)} moves, {cold} of them with the guest shut down"


def _groups(moves: Sequence[Move]) -> Iterator[tuple[str, str]]:
    """(from -> to, guests) of moves that follow each other."""
    for (source, end, cold), group in groupby(moves, key=lambda m: (m.source, m.destination, m.cold)):
        how = " (shut down, start there)" if cold else ""
        yield f"{source} -> {end}", ", ".join(move.guest for move in group) + how


def _level(level: Level) -> str:
    return f"new guests at most {', '.join(level.machines)}; SPICE compat version {level.spice}"


def _upgrades(step: Step) -> Iterator[str]:
    for upgrade in step.upgrades:
        yield f"{upgrade.host}: {' -> '.join(upgrade.releases)}"


def _end(found: Planned, steps: Sequence[Step]) -> list[str]:
    """What holds until the last step, and from then on."""
    if not steps:
        return [f"every host is on {found.problem.target} already: nothing to do"]
    last = ", ".join(upgrade.host for upgrade in steps[-1].upgrades)
    return [
        f"until {last} is done: every move above works in both directions, each step can be undone in reverse order",
        f"then: the features of {found.problem.target} may be switched on; {_level(found.levels[-1])}",
    ]


def _room(proof: Proof) -> str:
    return f"{'and the room: ' if proof.forbidden else 'the room: '}{proof.room}"


# -- formats -----------------------------------------------------------------------------------------------------------


def _text(found: Planned) -> Iterator[str]:
    yield f"{found.word}: {_heading(found)}"
    match found.answer:
        case Plan(steps):
            yield from _steps(found, steps)
        case Impossible(proofs):
            for proof in proofs[:SHOWN]:
                yield from _proof(proof)
            if len(proofs) > SHOWN:
                yield f"\nand {len(proofs) - SHOWN} more such reasons (--format json has them all)"
        case Unproven():
            yield from _unproven(found.answer)
    for hint in found.hints:
        yield f"\nhint: {hint}"
    for note in found.notes:
        yield f"note: {note}"


def _steps(found: Planned, steps: Sequence[Step]) -> Iterator[str]:
    if steps:
        yield f"\nnow: {_level(found.levels[0])}"
    for number, (step, level) in enumerate(zip(steps, found.levels[1:], strict=True), 1):
        yield f"\nstep {number}: {', '.join(upgrade.host for upgrade in step.upgrades)}"
        for where, who in _groups(step.moves):
            yield f"  move     {where}: {who}"
        for line in _upgrades(step):
            yield f"  upgrade  {line}"
        if number < len(steps):
            yield f"  level    {_level(level)}"
    yield ""
    yield from _end(found, steps)
    yield ""


def _proof(proof: Proof) -> Iterator[str]:
    if proof.guests:
        yield f"\nthere is no way for {_few(proof.guests)}:"
    for forbidden in proof.forbidden:
        kind, old, new = forbidden.pair
        yield f"  {kind} does not go {old} -> {new}"
        for cell in forbidden.cells:
            yield f"    {cell.words}\n    {cell.command}"
    if proof.room:
        yield f"  {_room(proof)}" if proof.forbidden else f"\n{_room(proof)}"
    if proof.forbidden:
        yield "  without any one of these there is no proof" if proof.minimal else "  fewer of these may be enough"


def _unproven(answer: Unproven) -> Iterator[str]:
    if answer.why:
        yield f"\n{answer.why}"
    if not answer.questions:
        return
    yield "\nthere would be a plan if these migrations worked, which is not known:"
    for question in answer.questions:
        kind, old, new = question.pair
        yield f"  {kind}: {old} -> {new}"
    yield "\nwhy it is not known:"
    yield from dict.fromkeys(f"  {what.words}" for question in answer.questions for what in question.what)
    yield "\nthen plan again, which asks them; one alone:"
    yield from (f"  {what.command}" for what in answer.questions[0].what[:1])


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _markdown(found: Planned) -> Iterator[str]:
    yield f"# {found.word.capitalize()}\n\n{_heading(found)}\n"
    match found.answer:
        case Plan(steps):
            yield from _table(found, steps)
        case Impossible(proofs):
            for proof in proofs[:SHOWN]:
                yield from _listed(proof)
            if len(proofs) > SHOWN:
                yield f"And {len(proofs) - SHOWN} more such reasons (`--format json` has them all).\n"
        case Unproven():
            yield from (f"- `{line.strip()}`" for line in _unproven(found.answer) if line.strip())
    yield from (f"- hint: {hint}" for hint in found.hints)
    yield from (f"- note: {note}" for note in found.notes)


def _table(found: Planned, steps: Sequence[Step]) -> Iterator[str]:
    if steps:
        yield "| step | guests that move | upgrade | then the cluster runs at |\n|---|---|---|---|"
        yield f"| now | | | {_level(found.levels[0])} |"
    for number, (step, level) in enumerate(zip(steps, found.levels[1:], strict=True), 1):
        moves = "<br>".join(f"{where}: {who}" for where, who in _groups(step.moves))
        yield f"| {number} | {moves} | {'<br>'.join(_upgrades(step))} | {_level(level)} |"
    yield ""
    yield from (f"- {line}" for line in _end(found, steps))


def _listed(proof: Proof) -> Iterator[str]:
    yield f"There is no way for {_few(proof.guests)}:\n" if proof.guests else ""
    for forbidden in proof.forbidden:
        kind, old, new = forbidden.pair
        cells = "; ".join(f"{cell.words} (`{cell.command}`)" for cell in forbidden.cells)
        yield f"- {kind} does not go {old} → {new}: {cells}"
    if proof.room:
        yield f"- {_room(proof)}"
    yield ""


def _record(found: Planned) -> dict[str, object]:
    problem = found.problem
    record: dict[str, object] = {
        "schema": "virt-compat/plan/1", "answer": found.word, "target": problem.target, "down": problem.down,
        "path": found.cluster.path, "hosts": len(problem.hosts), "guests": len(problem.guests),
        "levels": [asdict(level) for level in found.levels],
    }  # fmt: skip
    match found.answer:
        case Plan(steps):
            record["steps"] = [asdict(step) for step in steps]
        case Impossible(proofs):
            record["proofs"] = [asdict(proof) for proof in proofs]
        case Unproven(questions, why):
            record |= {"questions": [asdict(question) for question in questions], "why": why}
    return {**record, "hints": found.hints, "notes": found.notes, "asked": found.asked, "known": found.known}


COMMANDS = (plan,)
