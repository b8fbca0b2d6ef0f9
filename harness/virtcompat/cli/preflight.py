"""``preflight``: will my own guests survive the upgrade? One line each, the worst first, with what to change."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from virtcompat.cli import options as shared
from virtcompat.engine import preflight as engine
from virtcompat.errors import UsageError
from virtcompat.labs.definitions import Virsh
from virtcompat.model import Tier
from virtcompat.policy.preflight import Outlook, Problem, Report, Standing

LOUD = {Standing.BREAKS: "red", Standing.BROKEN: "magenta", Standing.UNKNOWN: "yellow", Standing.OK: "green"}
NAME = 32
#: What to do about files that are left out, by their code: 2 they cannot be read, 3 they hold no definition.
LEFT_OUT = {
    2: "check the path, or have libvirt write the file anew: virsh dumpxml --inactive NAME > FILE",
    3: "give definitions, as 'virsh dumpxml --inactive NAME' writes them",
}


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE|DIR]...")
@click.option("--to", "to", required=True, help="The release that you are going to.")
@click.option("--from", "origin", default="", help="The release that the definitions come from; said where assumed.")
@click.option("--connect", "uri", default="", help="Read every domain, network and pool of a libvirt, read-only.")
@click.option("--cold", is_flag=True, help="Guests are shut down for the upgrade: do not ask whether they migrate.")
@click.option("--all", "everything", is_flag=True, help="Every problem and gap of a guest, not its worst alone.")
@click.option(
    "--format", "form", default="text", type=click.Choice(("text", "json", "markdown")), help="What to print."
)
@click.option("--fail-on", default="break", type=click.Choice(shared.GATES), help="Exit 1 from this tier upwards.")
def preflight(
    files: tuple[Path, ...], to: str, origin: str, uri: str, cold: bool, everything: bool, form: str, fail_on: str
) -> int:
    """Hold your own definitions (libvirt XML files, directories of them, or --connect URI) against a newer release.

    Accepted? The same guest? Machine type and CPU model still there? Does it migrate there, and back? Files are opened
    for reading only; nothing of them leaves this machine, and only your answers cache remembers what was asked.

    \b
    Examples:
      virt-compat preflight --from debian-12 --to debian-14 /etc/libvirt/qemu
      virt-compat preflight --to debian-14 --connect qemu:///system --cold
      virt-compat preflight --from debian-13 --to debian-14 web.xml db.xml --all

    Exit codes: 0 all fine, 1 a guest would break, 2 bad input, 3 something is unknown, 4 the environment or the tool failed.
    """
    if not files and not uri:
        raise UsageError("nothing to judge", "name files or directories, or --connect qemu:///system")
    gate = None if fail_on == "none" else Tier.named(fail_on)
    request = engine.Request(to, origin, files, Virsh(uri) if uri else None, cold, gate)
    with shared.bar("asking") as progress:
        report = engine.run(request, progress)
    if form == "json":
        click.echo(json.dumps(_record(report), indent=1))
    else:
        for line in _markdown(report, origin) if form == "markdown" else _text(report, origin, everything=everything):
            click.echo(line)
    return report.exit_code


def _text(report: Report, origin: str, *, everything: bool) -> Iterator[str]:
    """A line a definition: standing, name, where it comes from, whether it migrates, what to know and change."""
    yield _head(report, origin)
    if report.outlooks:
        yield ""
    widths = _widths(report)
    if any(widths[2:]):
        yield _row(widths, ("", "", "from", "there", "back")).rstrip()
    for o in report.outlooks:
        row = _row(widths, (o.standing, _name(o, report), o.origin or "-", o.there or "-", o.back or "-"))
        before = click.style(row[:9], fg=LOUD.get(o.standing)) + row[9:] if sys.stdout.isatty() else row
        yield from _wrapped(before, len(row), _worst(o, everything=everything))
        for line in _rest(o) if everything else ():
            yield from _wrapped(" " * len(row), len(row), line)
    yield from _foot(report)


def _widths(report: Report) -> tuple[int, ...]:
    """Columns: standing, name, origin where there are several, there and back where anything migrates."""
    name = min(max((len(_name(o, report)) for o in report.outlooks), default=0), NAME)
    origins = {o.origin for o in report.outlooks if o.origin}
    moved = 7 if any(o.there for o in report.outlooks) else 0
    return 9, name, max(map(len, origins)) if len(origins) > 1 else 0, moved, moved


def _row(widths: tuple[int, ...], cells: tuple[str, ...]) -> str:
    return "".join(f"{cell:{width}}  " for cell, width in zip(cells, widths, strict=True) if width)


def _name(outlook: Outlook, report: Report) -> str:
    """The name, with the kind of what is no guest, and the file where two have one name."""
    same = sum((o.name, o.kind) == (outlook.name, outlook.kind) for o in report.outlooks) > 1
    kind = "" if outlook.kind == "domain" else f"{outlook.kind} "
    return f"{kind}{outlook.name}" + (f" ({outlook.source.rpartition('/')[2]})" if same else "")


def _wrapped(before: str, indent: int, text: str) -> Iterator[str]:
    """One line; where somebody watches, wrapped below itself."""
    if not sys.stdout.isatty():
        yield f"{before}{text}".rstrip()
        return
    room = max(shutil.get_terminal_size((120, 40)).columns - indent, 40)
    for number, line in enumerate(textwrap.wrap(text, room) or [""]):
        yield f"{before if not number else ' ' * indent}{line}".rstrip()


def _sentence(problem: Problem) -> str:
    return f"{problem.what}{f' -> {problem.remedy}' if problem.remedy else ''}"


def _worst(outlook: Outlook, *, everything: bool) -> str:
    """The worst problem with its remedy; else the first gap; else that there is nothing."""
    lines = [_sentence(p) for p in outlook.problems] + list(outlook.unknown)
    if outlook.standing in (Standing.UNKNOWN, Standing.BROKEN, Standing.SET_ASIDE):
        lines = [*outlook.unknown, *(_sentence(p) for p in outlook.problems)]
    if not lines:
        return f"the same {'guest' if outlook.kind == 'domain' else outlook.kind}"
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 and not everything else ""
    return lines[0] + more


def _rest(outlook: Outlook) -> Iterator[str]:
    """Everything but the line that stands first."""
    first = _worst(outlook, everything=True)
    for problem in outlook.problems:
        if _sentence(problem) != first:
            yield f"{problem.tier.label}: {_sentence(problem)}"
        if problem.entry:
            yield f"  because {problem.why} <{problem.entry}>"
    yield from (f"not known: {gap}" for gap in outlook.unknown if gap != first)
    yield from (f"asked otherwise: {word}" for word in outlook.replaced)
    shape = ", ".join(filter(None, (outlook.machine, f"CPU {outlook.cpu}" if outlook.cpu else "")))
    yield (
        f"{outlook.source}: from {outlook.origin or 'nowhere known'}{f' ({outlook.assumed})' if outlook.assumed else ''}"
        + (f": {shape}" if shape else "")
    )


def _head(report: Report, origin: str) -> str:
    """How many definitions go from where to where. origin: the release that --from names, empty where it was not given."""

    def words(name: str) -> str:
        column = report.columns.get(name)
        return f"{name} (libvirt {column.libvirt}, QEMU {column.qemu})" if column else name

    guests = sum(o.kind == "domain" for o in report.outlooks)
    others = len(report.outlooks) - guests
    origins = [name for name in report.columns if name == origin or any(o.origin == name for o in report.outlooks)]
    what = _many(guests, "guest") + (f" and {_many(others, 'other definition')}" if others else "")
    return f"{what}: {', '.join(map(words, origins)) or 'from nowhere known'} -> {words(report.to)}"


def _many(number: int, word: str) -> str:
    return f"{number} {word}" + ("s" if number != 1 else "")


def _foot(report: Report) -> Iterator[str]:
    if report.left_out:
        yield ""
    for source, why, _ in report.left_out:
        yield f"left out  {_place(source, why)}"
    of_files = {code for source, _, code in report.left_out if "://" not in source}
    yield from (f"remedy: {remedy}" for code, remedy in LEFT_OUT.items() if code in of_files)
    yield ""
    counts = ", ".join(f"{report.count(s)} {s}" for s in Standing if report.count(s))
    yield f"{counts or 'nothing judged'}; {report.asked} questions asked, {report.known} known before, {report.seconds:.1f} s"
    for note in report.notes:
        yield f"note: {note}"


def _place(source: str, why: str) -> str:
    """``cut.xml:1: words``, as compilers write it, where the reason names a line."""
    line = re.match(r"line (\d+): ", why)
    return f"{source}:{line[1]}: {why[line.end() :]}" if line else f"{source}: {why}"


def _record(report: Report) -> dict[str, object]:
    definitions = []
    for outlook in report.outlooks:
        problems = [{**asdict(p), "tier": p.tier.label} for p in outlook.problems]
        definitions.append({**asdict(outlook), "problems": problems})
    return {
        "to": report.to,
        "releases": {name: {"libvirt": c.libvirt, "qemu": c.qemu} for name, c in report.columns.items()},
        "exit_code": report.exit_code,
        "exit_codes": report.codes,
        "counts": {s.value: report.count(s) for s in Standing},
        "definitions": definitions,
        "left_out": [{"source": source, "why": why, "code": code} for source, why, code in report.left_out],
        "notes": list(report.notes),
    }


def _markdown(report: Report, origin: str) -> Iterator[str]:
    """A table with every problem of a definition in its last cell."""

    def cell(text: str) -> str:
        return text.replace("|", "\\|").replace("<", "&lt;")

    yield f"# {_head(report, origin)}"
    yield ""
    yield "| | definition | from | machine type | CPU | there | back | what to know and change |"
    yield "|---|---|---|---|---|---|---|---|"
    for o in report.outlooks:
        lines = [_sentence(p) for p in o.problems] + [f"not known: {gap}" for gap in o.unknown]
        shown = (o.standing, _name(o, report), o.origin, o.machine, o.cpu, o.there, o.back)
        yield f"| {' | '.join(map(cell, shown))} | {'<br>'.join(map(cell, lines))} |"
    for line in _foot(report):
        yield f"- {cell(line)}" if line else ""


COMMANDS = (preflight,)
