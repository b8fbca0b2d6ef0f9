"""Defects told: a list, and of each a text that is ready to be sent upstream; as text, Markdown or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from virtcompat.engine.defects import DEADLY, Hunted, Report, Stand
from virtcompat.labs.backtraces import Trace
from virtcompat.model import Column
from virtcompat.store.defects import WHATS

FORMATS = ("text", "markdown", "json")
#: What is said of a recorded defect that looks like a security matter.
WITHHELD = "withheld: it looks like a security matter there"
URIS = {"test": "test:///default", "qemu": "qemu:///embed?root=/tmp/embed", "lxc": "lxc:///system"}
DEFINES = {
    "domain": "define", "network": "net-define", "storagepool": "pool-define", "secret": "secret-define", "nwfilter": "nwfilter-define",
    "interface": "iface-define", "storagevol": "vol-create POOL", "domainsnapshot": "snapshot-create --redefine GUEST",
    "domaincheckpoint": "checkpoint-create --redefine GUEST", "networkport": "net-port-create NETWORK",
    "nwfilterbinding": "nwfilter-binding-create",
}  # fmt: skip


def render(report: Report, form: str, *, whole: bool) -> str:
    """The report in a format. whole: each defect entire; else a line each."""
    if form == "json":
        return json.dumps([_record(s, report) for s in report.stands], indent=2, ensure_ascii=False) + "\n"
    if form == "markdown":
        return "\n".join(_markdown(report)) + "\n"
    lines = [line for stand in report.stands for line in (*_whole(stand, report), "")] if whole else _listed(report)
    return "\n".join([*lines, ""])


def said(stand: Stand) -> str:
    """A release's own words without the time of day."""
    return re.sub(r"\b\d\d:\d\d:\d\d\.\d+: ", "", stand.message)


def _listed(report: Report) -> list[str]:
    width = max((len(stand.defect.name) for stand in report.stands), default=0)
    lines = []
    for stand in report.stands:
        defect = stand.defect
        where = ", ".join(stand.shows) or "nowhere"
        lines.append(f"{defect.what:10} {defect.name:{width}}  {defect.kind}/{defect.driver}: {where} [{stand.words}]")
    return [*lines, counted(report)]


def counted(report: Report) -> str:
    bad = sum(1 for stand in report.stands if stand.words != "as recorded")
    return f"{len(report.stands)} defects, {len(report.stands) - bad} as recorded" + (f", {bad} not" if bad else "")


def _whole(stand: Stand, report: Report) -> Iterator[str]:
    """What a maintainer needs: what happens, where, with which document, why."""
    defect = stand.defect
    yield f"{defect.name}: {defect.summary}"
    yield f"  what      {defect.what}: {WHATS[defect.what]}"
    yield f"  affected  {_places(stand.shows, report) or 'no release any more'} [{stand.words}]"
    if stand.fine:
        yield f"  not       {_places(stand.fine, report)}"
    if stand.withheld:
        yield f"  {WITHHELD}"
        return
    if stand.message:
        yield f"  says      {said(stand)}"
    yield f"  why       {defect.why}"
    yield from (f"  {line}" for line in _asked(stand))
    yield from (f"    {line}" for line in defect.text.strip().splitlines())
    if defect.what in DEADLY and stand.trace is not None:
        yield "  backtrace"
        yield from (f"    {line}" for line in _frames(stand))


def _asked(stand: Stand) -> list[str]:
    """How to see it without this tool, where one command does."""
    defect = stand.defect
    if defect.what == "schema":
        return [f"document (virt-xml-validate FILE {defect.kind})"]
    command = DEFINES.get(defect.kind)
    uri = URIS.get(defect.driver, "qemu:///system")
    return [f"document (virsh -c '{uri}' {command} FILE)" if command else "document"]


def _frames(stand: Stand) -> list[str]:
    trace = stand.trace
    if not isinstance(trace, Trace):
        return [f"none: {trace.reason}"] if trace else []
    ended = f"{trace.signal} at address {trace.address:#x}" if trace.signal else "stopped while it hung"
    frames = [f"#{number:<3} {frame}" for number, frame in enumerate(trace.frames)]
    return [ended, *([trace.instruction] if trace.instruction and trace.signal else []), *frames]


def _places(places: list[str], report: Report) -> str:
    """Releases with their versions, where they are few."""
    columns = {column.name: column for column in report.columns}
    return ", ".join(f"{p} (libvirt {columns[p].libvirt})" if p in columns else p for p in places)


def _markdown(report: Report) -> Iterator[str]:
    yield "# Defects found in current releases"
    yield ""
    yield (
        "Found with documents generated from the schemas, brought down to the smallest document that does the same, and asked "
        "of every release anew each time this page is made:"
    )
    yield ""
    yield (
        "```\nvirt-compat defects --format markdown > reports/defects.md\n"
        "virt-compat defects --hunt 100000 --seed 11 --no-minimise --format markdown >> reports/defects.md\n```"
    )
    yield ""
    yield f"Releases: {'; '.join(_column(column) for column in report.columns)}. {counted(report).capitalize()}."
    yield ""
    yield "What looks like a security matter is not on this page and nowhere in this project."
    yield ""
    yield "| defect | what | kind, driver | shows on | standing |"
    yield "|---|---|---|---|---|"
    for stand in report.stands:
        d = stand.defect
        shows = ", ".join(stand.shows) or "nowhere any more"
        yield f"| [{d.name}](#{d.name}) | {d.what} | {d.kind}, {d.driver} | {shows} | {stand.words} |"
    for stand in report.stands:
        yield ""
        yield from _section(stand, report)


def _column(column: Column) -> str:
    return f"{column.name} (libvirt {column.libvirt}, QEMU {column.qemu})"


def _section(stand: Stand, report: Report) -> Iterator[str]:
    defect = stand.defect
    yield f"## {defect.name}"
    yield ""
    yield f"{defect.summary}. {WHATS[defect.what].capitalize()}."
    yield ""
    if stand.withheld:
        yield f"{WITHHELD}."
        return
    yield f"- Shows on: {_places(stand.shows, report) or 'no release any more'}"
    if stand.fine:
        yield f"- Does not on: {_places(stand.fine, report)}"
    if stand.message:
        yield f"- Says: `{said(stand)}`"
    yield f"- Why: {defect.why}"
    if defect.reference:
        yield f"- See: <{defect.reference}>"
    yield ""
    how = _asked(stand)[0]
    yield how[0].upper() + how[1:] + ":"
    yield ""
    yield f"```xml\n{defect.text.strip()}\n```"
    if defect.what in DEADLY and stand.trace is not None:
        yield ""
        yield "```\n" + "\n".join(_frames(stand)) + "\n```"


def _record(stand: Stand, report: Report) -> dict[str, object]:
    defect, trace = stand.defect, stand.trace
    found: dict[str, object] = {
        "name": defect.name, "what": defect.what, "kind": defect.kind, "driver": defect.driver, "summary": defect.summary,
        "shows": stand.shows, "recorded": list(defect.shows), "not": stand.fine, "unasked": stand.unasked, "standing": stand.words,
    }  # fmt: skip
    if stand.withheld:
        return {**found, "withheld": WITHHELD}
    found |= {
        "message": stand.message,
        "why": defect.why,
        "document": defect.text,
        "releases": [_column(c) for c in report.columns],
    }
    if isinstance(trace, Trace):
        found["backtrace"] = {"signal": trace.signal, "address": trace.address, "frames": list(trace.frames)}
    return found


def red(hunted: Hunted) -> str:
    """What a hunt found that nothing explains, as a section of the page."""
    counts = hunted.state.counts
    lines = [
        "",
        "## Left red",
        "",
        f"{counts.get('documents', 0):,} generated documents, {counts.get('verdicts', 0):,} verdicts: {len(hunted.fresh)} causes that no "
        "entry of the ledger, no rule and no defect above explains. A place without identities, or a release's words with what they "
        f"quote masked. {hunted.confidential} findings look like a security matter and are not here.",
        "",
        "| findings | kind, driver | property: what | where |",
        "|---|---|---|---|",
    ]
    for find in hunted.fresh:
        words = find.signature.removeprefix(f"{find.kind} {find.driver} ").replace("|", "\\|").replace("\n", " ")
        where = ", ".join(dict.fromkeys(" -> ".join(dict.fromkeys(cell)) for cell in sorted(find.cells)))
        lines.append(f"| {find.count:,} | {find.kind}, {find.driver} | `{words}` | {where} |")
    return "\n".join([*lines, ""])
