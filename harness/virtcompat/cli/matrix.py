"""``matrix``, ``run`` and ``publish``: ask, judge, print, write reports/."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from virtcompat import renderers
from virtcompat.cli import claims as telling
from virtcompat.cli import drivers as counting
from virtcompat.cli import interfaces
from virtcompat.cli import options as shared
from virtcompat.cli import remote as talking
from virtcompat.engine import census, corpora, fleet, guests, parts, publishing, remote, stability, verdicts
from virtcompat.engine import run as engine
from virtcompat.errors import UsageError
from virtcompat.model import Fixture, Matrix, Tier
from virtcompat.renderers.text import TextRenderer
from virtcompat.store import paths, releases


def _print(matrix: Matrix, form: str) -> None:
    if form == "text":
        click.echo(TextRenderer(shared.width(), sys.stdout.isatty()).render(matrix), nl=False)
    else:
        click.echo(renderers.every()[form].render(matrix), nl=False)


@click.command()
@shared.selecting
@click.option("--corpus", type=click.Path(exists=True, file_okay=False), help="XML documents instead of fixtures/.")
@click.option("--beside", is_flag=True, help="With --corpus: the project's fixtures as well.")
@click.option("--format", "form", default="text", type=click.Choice(sorted(renderers.every())), help="What to print.")
@click.option("--fail-on", default="break", type=click.Choice(shared.GATES), help="Exit 1 from this tier upwards.")
@click.option("--allow-missing", is_flag=True, help="Exit 0 though single cases of a cell could not be asked here.")
@click.option("--reports", type=click.Path(file_okay=False), help="Write the matrix in every format there.")
@click.option("--executor", metavar="dask://HOST:PORT", help="Judge at the workers of a dask scheduler.")
@click.option("--shard", metavar="I/N", help="Judge this share alone and write a part file for 'merge'.")
@click.option("--part", type=click.Path(dir_okay=False), help="With --shard: the file; else part-I-of-N.jsonl.zst.")
def matrix(
    form: str,
    fail_on: str,
    corpus: str | None,
    beside: bool,
    allow_missing: bool,
    reports: str | None,
    executor: str | None,
    shard: str | None,
    part: str | None,
    **options: Any,
) -> int:
    """Ask the releases and print the compatibility matrix, release by release.

    \b
    Examples:
      virt-compat matrix
      virt-compat matrix --driver qemu --kind domain --old debian-11 --format markdown
      virt-compat matrix --corpus /etc/libvirt/qemu --check upgrade-disk
      virt-compat matrix --shard 2/5
      virt-compat matrix --executor dask://scheduler:8786

    A square reads "12 of 196": 12 of the 196 documents or interfaces asked are incompatible;
    below it the worst tier.
    """
    if (part and not shard) or (executor and shard):
        raise UsageError("--part goes with --shard, and --shard without --executor", "see virt-compat matrix --help")
    gate = Tier.named(fail_on) if fail_on != "none" else Tier.BREAK
    documents, skipped = corpora.load(Path(corpus)) if corpus else (None, [])
    selection = shared.selection(options, gate)
    if documents is not None and beside:
        documents += engine.own_documents(selection)
    if shard:
        return _shard(parts.Share.parsed(shard), part, selection, documents, skipped)
    with shared.bar("asking") as progress:
        found = (
            fleet.run(executor, selection, documents, progress)
            if executor
            else engine.run(selection, documents, progress)
        )
    _print(found, form)
    if reports:
        publish_to(Path(reports), found)
    for line in skipped:
        click.echo(f"left out: {line}", err=True)
    code = verdicts.exit_code(found, judged=fail_on != "none", partly=allow_missing)
    return code or (3 if skipped and not allow_missing else 0)


def _shard(
    share: parts.Share,
    part: str | None,
    selection: engine.Selection,
    documents: list[Fixture] | None,
    skipped: list[str],
) -> int:
    """Judge one share and write its part. The verdict is the merged matrix's: exit 0 says that the part is whole."""
    file = Path(part or f"part-{share.number}-of-{share.of}.jsonl.zst")
    with shared.bar("judging") as progress:
        header, found = parts.judge(share, selection, documents, progress, skipped)
    parts.write(file, header, found)
    click.echo(f"wrote {file}: shard {share}, {parts.sentence(found)}", err=True)
    return parts.exit_code(found)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> int:
    """Run the suites as CI sees them: pytest, one item a matrix cell.

    \b
    Example:
      virt-compat run -k 'upgrade-disk and qemu' -q
    """
    import pytest

    folder = paths.data_root() / "suites"
    counting = _Counting()
    quiet = ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    code = int(pytest.main([str(folder), *quiet, *arguments], plugins=[counting]))
    if code == 0 and not counting.asked:
        return 3  # everything was skipped: that is no pass
    return {2: 3, 3: 4, 4: 2, 5: 3}.get(code, code)


class _Counting:
    """How many items really gave a verdict."""

    def __init__(self) -> None:
        self.asked = 0

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.asked += report.when == "call" and (report.outcome != "skipped" or hasattr(report, "wasxfail"))


@click.command()
@click.option("--to", "target", type=click.Path(file_okay=False), help="Where; default reports/ of the checkout.")
@click.option(
    "--check", "only_check", is_flag=True, help="Write nothing; exit 1 where the published files would change."
)
@click.option(
    "--guests", "moving", is_flag=True, help="The matrices of guests that move, instead (minutes the first time)."
)
def publish(target: str | None, only_check: bool, moving: bool) -> int:
    """Regenerate the published matrices in reports/.

    \b
    Examples:
      virt-compat publish
      virt-compat publish --guests
    """
    folder = Path(target) if target else paths.data_root() / "reports"
    if moving:
        return _publish_guests(folder, only_check)
    before = folder / "matrix.json"
    published = before.read_text(encoding="utf-8") if before.exists() else ""
    with shared.bar("asking") as progress:
        found = engine.run(engine.Selection(), None, progress)
    _print(found, "text")
    changed = publish_to(folder, found, dry=only_check)
    promises = "\n".join(line for report in stability.steps() for line in (*interfaces.markdown(report), ""))
    changed += _written(folder / "stability.md", promises, dry=only_check)
    shipped = tuple(r.name for r in releases.shipped())
    counted = census.take(shipped, here=False)
    changed += _written(folder / "drivers.md", "\n".join(counting.markdown(counted)) + "\n", dry=only_check)
    with shared.bar("talking") as progress:
        talks = remote.report(shipped, shipped, progress=progress)
    changed += _written(folder / "remote.md", "\n".join(talking.markdown(talks)) + "\n", dry=only_check)
    if published and before.name in changed:
        now = renderers.every()["json"].render(verdicts.publishable(found))
        for line in verdicts.drift(published, now):
            click.echo(line, err=True)
    for name in changed:
        click.echo(f"{'would change' if only_check else 'wrote'}: {folder / name}", err=True)
    codes = {verdicts.exit_code(found, judged=False), talks.exit_code}
    # What is published may be a break; that something could not be asked, or failed, is not published as the whole.
    code = next((code for code in (4, 3) if code in codes), 0)
    return 1 if only_check and changed and code == 0 else code


def _publish_guests(folder: Path, only_check: bool) -> int:
    """Replay, live migration and the four remedies, for every pair of releases."""
    with shared.bar("moving guests") as progress:
        found = engine.run(engine.Selection(kinds=(guests.KIND,)), None, progress)
    _print(found, "text")
    changed = publish_to(folder, found, guests.KIND, dry=only_check)
    report = publishing.report_of_claims()
    changed += _written(folder / "claims.md", "\n".join(telling.markdown(report)) + "\n", dry=only_check)
    with shared.bar("writing the page") as progress:
        changed += publishing.write_page(
            folder / "index.html", report, None, lambda _what, done, of: progress(done, of), dry=only_check
        )
    for name in changed:
        click.echo(f"{'would change' if only_check else 'wrote'}: {folder / name}", err=True)
    code = verdicts.exit_code(found, judged=False)
    return 1 if only_check and changed and code == 0 else code


def publish_to(folder: Path, found: Matrix, name: str = "matrix", *, dry: bool = False) -> list[str]:
    """Write the matrix in every format; returns the files whose content is not what it was."""
    changed = []
    if not dry:
        folder.mkdir(parents=True, exist_ok=True)
    for renderer in renderers.every().values():
        text = renderer.render(verdicts.publishable(found))
        changed += _written(folder / f"{name}.{renderer.suffix}", text, dry=dry)
    return changed


def _written(file: Path, text: str, *, dry: bool) -> list[str]:
    """Write a file whose content changes; its name where it does."""
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return []
    if not dry:
        file.write_text(text, encoding="utf-8")
    return [file.name]


COMMANDS = (matrix, run, publish)
