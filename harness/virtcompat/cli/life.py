"""``life``: guests that live across an upgrade of their hosts, step by step, and what they lose on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from virtcompat.cli import options as shared
from virtcompat.engine import columns, living
from virtcompat.engine.living import Found, Report, Written
from virtcompat.errors import BadData, NotAsked, UsageError


@click.command()
@click.option("--old", default="", type=shared.RELEASE, help="The release that hosts begin with.")
@click.option("--new", default="", type=shared.RELEASE, help="The release that they are upgraded to.")
@click.option("--steps", default=30, type=click.IntRange(1), help="At most so many steps a life (30).")
@click.option(
    "--examples", default=40, type=click.IntRange(1), help="So many lives (40), and as many again after each finding."
)
@click.option("--seed", default=0, type=click.IntRange(0), help="The same seed draws the same lives.")
@click.option(
    "--replay", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Play the life in FILE once more."
)
@click.option(
    "--to", type=click.Path(file_okay=False, path_type=Path), help="Write the failing lives there, a file each."
)
@click.option("--known", is_flag=True, help="Play the known lives of suites/life/known.toml.")
def life(
    old: str, new: str, steps: int, examples: int, seed: int, replay: Path | None, to: Path | None, known: bool
) -> int:
    """Let guests live across upgrades: defined, started, saved, edited, migrated, upgraded, restored, undefined.

    Two hosts, north and south, run libvirt's test driver. What they say after each step is held against a model: no guest may
    disappear, none may change. A life that goes wrong is cut down to few steps, which --replay plays again. Without --old and
    --new: each release to the next, and the oldest to the newest.

    \b
    Examples:
      virt-compat life --old debian-12 --new debian-13
      virt-compat life --old debian-11 --new debian-14 --examples 500 --seed 7 --to lives/
      virt-compat life --replay lives/debian-11-debian-14-1.txt
      virt-compat life --known

    Exit codes: 0 nothing goes wrong that is not known, 1 something does, 2 usage, 3 nothing asked, 4 no lab.
    """
    if replay and (old or new or known):
        raise UsageError("--replay with --old, --new or --known", "the file says which releases it is about")
    if bool(old) != bool(new):
        raise UsageError("--old and --new go together", "name both, or neither")
    if replay:
        return _replay(living.read(replay), replay)
    found = columns.find((old, new) if old else ())
    chosen = [(old, new)] if old else living.pairs(found)
    if not chosen:
        raise NotAsked("no two releases have a lab here", "virt-compat lab create")
    codes = []
    for pair in chosen:
        codes.append(_known(*pair) if known else _lived(*pair, steps, examples, seed, to))
    return max(codes) if 1 not in codes else 1


def _replay(written: Written, source: Path) -> int:
    stage = living.ready(written.old, written.new, columns.find((written.old, written.new)))
    bad = False
    try:
        for step, troubles in living.played(stage, written.steps):
            click.echo(str(step))
            for trouble in troubles:
                known = next((k.name for k in living.known_lives() if k.explains(trouble)), "")
                bad = bad or not known
                click.echo(
                    f"  {trouble.finding.tier.label}: {trouble.guest}: {trouble.signature}{known and f' <{known}>'}"
                )
                click.echo(f"    was: {trouble.finding.old}\n    now: {trouble.finding.new}")
    except ValueError as error:
        raise BadData(source, str(error), "correct the life") from error
    finally:
        stage.close()
    return int(bad)


def _known(old: str, new: str) -> int:
    stage = living.ready(old, new, columns.find((old, new)))
    try:
        stale = {known.name for known in living.unused(stage)}
    finally:
        stage.close()
    about = [known for known in living.known_lives() if known.about(old, new)]
    if not about:
        click.echo(f"{old} -> {new}: no known life is about these")
        return 3
    for known in about:
        word = "does not go wrong any more: remove it" if known.name in stale else "goes wrong, as is known"
        click.echo(f"{old} -> {new}: {known.name}: {word}: {known.summary}")
    return int(bool(stale))


def _lived(old: str, new: str, steps: int, examples: int, seed: int, to: Path | None) -> int:
    stage = living.ready(old, new, columns.find((old, new)))
    try:
        with shared.bar("lives") as progress:
            report = living.live(stage, steps, examples, seed, progress)
    finally:
        stage.close()
    click.echo("\n".join(_lines(report)))
    for number, found in enumerate(report.found, 1) if to else ():
        assert to is not None
        to.mkdir(parents=True, exist_ok=True)
        file = to / f"{old}-{new}-{number}.txt"
        file.write_text(f"# {found.trouble.signature}\n{Written(old, new, tuple(found.life))}\n", encoding="utf-8")
        click.echo(f"virt-compat life --replay {file}")
    return report.exit_code


def _lines(report: Report) -> Iterator[str]:
    yield (
        f"{report.old} -> {report.new}: {report.lives:,} lives of guests of {report.cases:,} documents, {report.steps:,} steps, "
        f"{report.refusals:,} refused as they have to be"
    )
    yield "  " + ", ".join(f"{verb} {count:,}" for verb, count in report.verbs.most_common())
    for release, verbs in report.lacks.items():
        yield f"  the driver of {release} cannot: {', '.join(verbs)}"
    for name, count in sorted(report.known.items()):
        yield f"  known: {name}, {count:,} times"
    for name, count in sorted(report.ledger.items()):
        yield f"  in the ledger: {name}, {count:,} times"
    for verb in report.lost:
        yield f"  break: {verb}: {report.old} can, {report.new} cannot"
    for found in report.found:
        yield from _found(found)
    if not report.found and not report.lost:
        yield "  no guest disappeared, none changed"


def _found(found: Found) -> Iterator[str]:
    trouble = found.trouble
    at = trouble.old if trouble.old == trouble.new else f"{trouble.old} -> {trouble.new}"
    yield f"  {trouble.finding.tier.label}: {trouble.signature} ({trouble.guest}, {at})"
    yield f"    was: {trouble.finding.old}"
    yield f"    now: {trouble.finding.new}"
    yield "    the life:"
    yield from (f"      {step}" for step in found.life)


COMMANDS = (life,)
