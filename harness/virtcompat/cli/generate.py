"""``generate``: documents from a release's own schemas."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click

from virtcompat.cli import options as shared
from virtcompat.engine import generating as engine
from virtcompat.engine import properties
from virtcompat.engine.generating import Garden, Generated, Report
from virtcompat.engine.properties import Suite
from virtcompat.errors import UsageError

SHOWN = 20


@click.command()
@click.argument("release", type=shared.RELEASE)
@click.argument("kind", type=shared.KIND)
@click.option(
    "--covering", is_flag=True, help="Few documents that together take every branch of the grammar (the default)."
)
@click.option("--based", is_flag=True, help="The same, each put into a document that is known to be accepted.")
@click.option(
    "--mutate",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Change one piece of documents below DIR.",
)
@click.option("--random", "count", type=click.IntRange(1), help="So many documents from nothing.")
@click.option("--number", default=1000, type=click.IntRange(1), help="How many mutated documents (1000).")
@click.option("--seed", default=0, help="Of what is drawn; the same seed gives the same documents.")
@click.option("--to", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write them there, a file each.")
@click.option("--driver", default="", type=shared.DRIVER, help="Ask this driver of the release to define each.")
@click.option(
    "--and-on",
    "others",
    multiple=True,
    type=shared.RELEASE,
    help="With --driver: put them through round-trip and upgrade-redefine on RELEASE and on these (repeatable).",
)
@click.option("--under", default="", type=shared.RELEASE, help="What of them the schema of this release rejects.")
def generate(
    release: str,
    kind: str,
    covering: bool,
    based: bool,
    mutate: Path | None,
    count: int | None,
    number: int,
    seed: int,
    folder: Path | None,
    driver: str,
    others: tuple[str, ...],
    under: str,
) -> int:
    """Generate documents of a KIND from the RELAX NG schemas of a RELEASE, check them, and say what became of them.

    Without --to nothing is written, only counts are printed. With --driver the documents to mutate are those that it accepts;
    each document is defined by the real driver in its lab, and one that kills or hangs it is named.

    \b
    Examples:
      virt-compat generate debian-14 domain --covering --to corpus/
      virt-compat generate debian-14 domain --based --driver qemu
      virt-compat generate debian-14 domain --mutate fixtures/domain --number 5000 --driver qemu
      virt-compat generate debian-11 domain --covering --under debian-14
      virt-compat generate debian-12 domain --mutate fixtures/generate --driver qemu --and-on debian-14

    Exit codes: 0 all is well, 1 a driver died, or a schema rejects a document, 2 usage, 3 nothing asked, 4 no lab.
    """
    if sum(map(bool, (covering or based, mutate, count))) > 1:
        raise UsageError("--covering (or --based), --mutate and --random are three ways", "choose one")
    if others and not driver:
        raise UsageError("--and-on without --driver", "name the driver that is asked")
    found = engine.garden(release, kind, driver)
    made = _made(found, driver, mutate, count, (based, number, seed))
    if folder:
        engine.write(made, folder)
    with shared.bar("documents") as progress:
        report = engine.judge(found, made, driver, under, progress)
    click.echo("\n".join(_lines(report)))
    if not others:
        return report.exit_code
    with shared.bar("checks") as progress:
        suite = properties.suite(kind, driver, (release, *others), made, progress)
    click.echo("\n".join(_causes(suite)))
    return min((code for code in (report.exit_code, suite.exit_code) if code), default=0)


def _made(
    found: Garden, driver: str, mutate: Path | None, count: int | None, how: tuple[bool, int, int]
) -> list[Generated]:
    """The documents asked for. how: (based, number of mutated documents, seed)."""
    based, number, seed = how
    if mutate:
        trees = found.matched(mutate)
        return list(found.mutated(engine.accepted(found, trees, driver) if driver else trees, number, seed))
    return list(found.random(count, seed) if count else found.covering(based=based))


def _causes(suite: Suite) -> Iterator[str]:
    yield (
        f"checks: {suite.asked:,} verdicts, {len(suite.causes):,} causes of findings, "
        f"{len(suite.unexplained):,} breaks that no ledger entry knows"
    )
    for cause in islice(suite.causes, SHOWN):
        pairs = ", ".join(old if old == new else f"{old} -> {new}" for old, new in sorted(cause.cells))
        known = f" <{cause.entry}>" if cause.entry else ""
        yield f"  {cause.count:5,}  {cause.tier.label}{known} {cause.signature} ({pairs}), as in {cause.example.name}"
    if len(suite.causes) > SHOWN:
        yield f"  and {len(suite.causes) - SHOWN} more causes"
    if suite.missing:
        yield f"not asked: {suite.missing}"


def _lines(report: Report) -> Iterator[str]:
    of = len(report.documents)
    yield f"{report.garden.release} {report.garden.kind}: {of:,} documents, {of - len(report.invalid):,} valid under its schema"
    yield f"branches taken: {report.branches - report.left:,} of {report.branches:,}"
    for each in islice(report.invalid, SHOWN):
        yield f"  invalid: {each.name} ({each.what})"
    if report.driver and report.statuses:
        counts = ", ".join(f"{count:,} {status}" for status, count in report.statuses.most_common())
        yield f"{report.driver} accepts {100 * report.accepted:.1f} %: {counts}"
    for each, answer in islice(report.dead, SHOWN):
        yield f"  {answer.status}: {each.name} ({each.what}): {answer.message}"
    if report.under:
        many = sum(count for count, _ in report.rejections.values())
        yield f"rejected by the schema of {report.under}: {many:,}, for {len(report.rejections):,} causes"
    causes = sorted(report.rejections.items(), key=lambda item: -item[1][0])
    for words, (count, first) in islice(causes, SHOWN):
        yield f"  {count:5,}  {words}, as in {first.name}"
    if len(causes) > SHOWN:
        yield f"  and {len(causes) - SHOWN} more causes"
    if report.missing:
        yield f"not asked: {report.missing.reason}; {report.missing.remedy}"


COMMANDS = (generate,)
