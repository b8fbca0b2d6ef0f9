"""The report page: what is on it, collected from a run, its evidence, the ledger, claims and waivers, and written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from virtcompat import checks, page, renderers, surfaces
from virtcompat.engine import columns, exhibits, guests, remote, verdicts
from virtcompat.engine import run as engine
from virtcompat.errors import NotAsked
from virtcompat.model import STATIC, Cell, Matrix, Tier
from virtcompat.page import Contents, Group, Row
from virtcompat.store import files, ledger
from virtcompat.store.ledger import Entry

#: Of how many cases of a cause the documents are kept.
SHOWN = 3
#: Called with (what is being done, how much of it is done, of how much).
Progress = Callable[[str, int, int], None]


def write(
    file: Path,
    matrix: Matrix | None = None,
    claims: Sequence[Row] = (),
    waivers: Sequence[Row] = (),
    progress: Progress = lambda what, done, of: None,
) -> list[str]:
    """Write the page of a matrix (of everything, guests that move too, where none is given); its name if it changed.

    A page that says the same stays as it is, also where another zlib would pack it into other bytes. Raises NotAsked
    for a matrix without a cell that was asked: such a page would look like all is well.
    """
    whole = verdicts.publishable(everything(progress) if matrix is None else matrix)
    if not any(cell.asked for cell in whole.cells):
        raise NotAsked("nothing was asked, so there is nothing to report", "virt-compat doctor says what is missing")
    text = page.html(contents(whole, claims, waivers, progress))
    if file.is_file() and page.unpacked(file.read_text(encoding="utf-8")) == page.unpacked(text):
        return []
    file.parent.mkdir(parents=True, exist_ok=True)
    files.put(file, text)
    return [file.name]


def everything(progress: Progress = lambda what, done, of: None) -> Matrix:
    """The cells of documents, of recorded surfaces and of guests that move, in one matrix."""

    def told(what: str) -> Callable[[int, int], None]:
        return lambda done, of: progress(what, done, of)

    still = engine.run(engine.Selection(), None, told("asking"))
    moving = engine.run(engine.Selection(checks=guests.CHECKS, kinds=(guests.KIND,)), None, told("moving guests"))
    return replace(still, cells=(*still.cells, *moving.cells), notes=(*still.notes, *moving.notes))


def contents(
    matrix: Matrix,
    claims: Sequence[Row] = (),
    waivers: Sequence[Row] = (),
    progress: Progress = lambda what, done, of: None,
) -> Contents:
    """Everything on the page of this matrix. Its documents come from golden records and from what was asked before."""
    groups = list(_groups(matrix))
    chosen = [(g.cell, case) for g in groups if g.finding.tier >= Tier.BREAK for case in g.cases[:SHOWN]]
    found = columns.find(tuple(dict.fromkeys(c.name.partition("@")[0] for c in matrix.columns)))
    shown = exhibits.collect(found, chosen, lambda done, of: progress("collecting evidence", done, of))
    used = {f.entry for cell in matrix.cells for verdict in cell.verdicts for f in verdict.findings}
    entries = [_entry(entry) for entry in ledger.entries() if entry.id in used]
    return Contents(matrix, groups, shown, purposes(matrix.cells), entries, claims, waivers, SHOWN)


def _groups(matrix: Matrix) -> Iterator[Group]:
    """The causes behind each square."""
    for grid in renderers.grids(matrix).values():
        for square in grid.values():
            for cause in renderers.causes(square.cells, Tier.ADDITION):
                yield Group(cause.key, cause.finding, cause.cases)


def purposes(cells: Iterable[Cell]) -> dict[str, str]:
    """What the checks and the recorded surfaces of these cells are about, by name."""
    known = {name: check.purpose for name, check in checks.every().items()} | guests.PURPOSES | remote.PURPOSES
    named = {c.key.check: known[c.key.check] for c in cells if c.key.check in known}
    recorded = surfaces.every_recorded()
    named |= {k: recorded[k].summary for k in (c.key.kind for c in cells if c.key.check == STATIC) if k in recorded}
    return dict(sorted(named.items()))


def _entry(entry: Entry) -> dict[str, str]:
    return {
        "id": entry.id,
        "product": entry.product,
        "since": ".".join(map(str, entry.since)),
        "tier": entry.tier.label,
        "summary": entry.summary,
        "why": entry.why,
        "reference": entry.reference,
    }
