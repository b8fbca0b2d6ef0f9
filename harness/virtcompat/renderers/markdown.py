"""The matrix as Markdown, for a repository or a merge request."""

from __future__ import annotations

from virtcompat.model import Matrix, Outcome, Tier
from virtcompat.renderers import Renderer, Square, causes, grids, sentence, totals

MARK = {
    Outcome.COMPATIBLE: "✅", Outcome.INCOMPATIBLE: "❌", Outcome.NOT_HERE: "⚪", Outcome.BROKEN: "💥",
    Outcome.NOT_APPLICABLE: "–",
}  # fmt: skip


class MarkdownRenderer:
    """A table a driver and check, then the causes of what is incompatible."""

    name = "markdown"
    suffix = "md"

    def render(self, matrix: Matrix) -> str:
        names = ", ".join(f"{c.name} (libvirt {c.libvirt}, QEMU {c.qemu})" for c in matrix.columns)
        counts = totals(matrix)
        lines = ["# Compatibility matrix", "", f"Releases: {names}.", ""]
        lines += [", ".join(f"{counts[o]} {o}" for o in Outcome if counts[o]) + f". Gate: {matrix.gate.label}.", ""]
        lines += [
            "`12 of 196` reads: 12 of the 196 documents or interfaces asked are incompatible; below it the worst tier.",
            "",
        ]
        for (driver, check), grid in grids(matrix).items():
            lines += [f"## {driver}: {check}", "", *_table(matrix, grid), ""]
            lines += _causes(grid)
        lines += [f"- note: {note}" for note in matrix.notes]
        lines += [f"- stale ledger entry: {entry}" for entry in matrix.stale]
        return "\n".join(lines).rstrip() + "\n"


def _table(matrix: Matrix, grid: dict[tuple[str, str], Square]) -> list[str]:
    olds = [c.name for c in matrix.columns if any(old == c.name for old, _ in grid)]
    news = [c.name for c in matrix.columns if any(new == c.name for _, new in grid)]
    if all(old == new for old, new in grid):
        cells = [_square(grid.get((n, n))) for n in news]
        return [f"| {' | '.join(news)} |", f"|{'---|' * len(news)}", f"| {' | '.join(cells)} |"]
    lines = [f"| from \\ to | {' | '.join(news)} |", f"|{'---|' * (len(news) + 1)}"]
    for old in olds:
        lines.append(f"| **{old}** | {' | '.join(_square(grid.get((old, new))) for new in news)} |")
    return lines


def _square(square: Square | None) -> str:
    if square is None:
        return ""
    parts = [f"{MARK[square.outcome]} {square.label}"]
    if square.worst > Tier.IDENTICAL:
        parts.append(square.worst.label)
    if square.unexplained:
        parts.append(f"{square.unexplained} unexplained")
    if square.counts[Outcome.NOT_HERE] and square.asked:
        parts.append(f"{square.counts[Outcome.NOT_HERE]} not here")
    return "<br>".join(parts)


def _causes(grid: dict[tuple[str, str], Square]) -> list[str]:
    found = causes((c for s in grid.values() for c in s.cells), Tier.BREAK)
    if not found:
        return []
    lines = ["<details><summary>What is incompatible, by cause</summary>", ""]
    lines += ["| tier | what | cases | ledger |", "|---|---|---|---|"]
    for cause in found:
        what = sentence(cause.finding, 120).replace("|", "\\|").replace("<", "&lt;")
        cases = f"{cause.key.kind}/{cause.cases[0]}" + (f" +{len(cause.cases) - 1}" if len(cause.cases) > 1 else "")
        entry = cause.finding.entry
        link = f"[{entry}](../golden/changes/{entry}.toml)" if entry else "**none**"
        lines.append(f"| {cause.finding.tier.label} | {what} | {cases} | {link} |")
    return [*lines, "", "</details>", ""]


RENDERER: Renderer = MarkdownRenderer()
