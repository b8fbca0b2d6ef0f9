"""The matrix as one self-contained HTML page: no script, no network, light and dark, every incompatibility behind its square."""

from __future__ import annotations

from html import escape

from virtcompat.model import Matrix, Outcome, Tier
from virtcompat.renderers import Cause, Renderer, Square, causes, grids, sentence, totals

STYLE = """
:root { --fg: #1f2328; --bg: #ffffff; --soft: #f6f8fa; --line: #d0d7de; --ok: #1a7f37; --bad: #cf222e; --warn: #9a6700;
  --dim: #656d76; --broken: #8250df }
@media (prefers-color-scheme: dark) { :root { --fg: #e6edf3; --bg: #0d1117; --soft: #161b22; --line: #30363d;
  --ok: #3fb950; --bad: #f85149; --warn: #d29922; --dim: #8d96a0; --broken: #a371f7 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg); max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem }
h1 { margin-bottom: .2rem } h2 { margin-top: 2.2rem; border-bottom: 1px solid var(--line) }
table { border-collapse: collapse; margin: .8rem 0 } th, td { border: 1px solid var(--line); padding: .35rem .7rem;
  text-align: left; vertical-align: top } th { background: var(--soft); font-weight: 600 }
.compatible { color: var(--ok) } .incompatible { color: var(--bad); font-weight: 600 } .not-here { color: var(--warn) }
.not-applicable { color: var(--dim) } .broken { color: var(--broken); font-weight: 600 }
small { display: block; font-weight: 400; color: var(--dim) } .scroll { overflow-x: auto }
details { margin: .3rem 0 } summary { cursor: pointer; color: var(--dim) } code { font-size: .86em; overflow-wrap: anywhere }
.causes td { font-size: .9rem } .new { color: var(--bad); font-weight: 600 }
a { color: inherit } nav a { margin-right: 1rem; white-space: nowrap; display: inline-block }
@media print { details { display: block } }
"""


class HtmlRenderer:
    """Squares link to their causes; a cause names the cases, the ledger entry and the command that shows the evidence."""

    name = "html"
    suffix = "html"

    def render(self, matrix: Matrix) -> str:
        counts = totals(matrix)
        words = ", ".join(f"{counts[o]:,} {o}" for o in Outcome if counts[o])
        shown = grids(matrix)
        parts = [
            "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
            "<meta name='viewport' content='width=device-width, initial-scale=1'>",
            f"<title>virt-compat: compatibility matrix</title><style>{STYLE}</style></head><body>",
            "<h1>Compatibility matrix</h1>",
            f"<p>{escape(words)}. Gate: <b>{matrix.gate.label}</b>. «12 of 196» reads: 12 of the 196 documents or interfaces asked "
            "are incompatible; the small print is the worst tier.</p>",
            _columns(matrix),
            "<nav aria-label='Drivers and checks'>",
            *(f"<a href='#{d}-{c}'>{escape(d)} · {escape(c)}</a>" for d, c in shown),
            "</nav><main>",
        ]
        for (driver, check), grid in shown.items():
            parts += [f"<h2 id='{driver}-{check}'>{escape(driver)} · {escape(check)}</h2>", _table(matrix, grid)]
            parts += _details(grid)
        return "\n".join([*parts, "</main></body></html>"]) + "\n"


def _columns(matrix: Matrix) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{escape(c.name)}</th><td>libvirt {escape(c.libvirt)}</td><td>QEMU {escape(c.qemu)}</td>"
        f"<td>{'asked live' if c.live else 'replayed from golden' if c.golden else 'nothing recorded'}</td>"
        + (f"<td>{escape(c.note)}</td></tr>" if c.note else "</tr>")
        for c in matrix.columns
    )
    return f"<div class='scroll'><table>{rows}</table></div>"


def _table(matrix: Matrix, grid: dict[tuple[str, str], Square]) -> str:
    names = [c.name for c in matrix.columns]
    olds = [n for n in names if any(old == n for old, _ in grid)]
    news = [n for n in names if any(new == n for _, new in grid)]
    head = "".join(f"<th scope='col'>{escape(n)}</th>" for n in news)
    if all(old == new for old, new in grid):
        row = "".join(_square(grid.get((n, n))) for n in news)
        return f"<div class='scroll'><table><tr>{head}</tr><tr>{row}</tr></table></div>"
    rows = "".join(
        f"<tr><th scope='row'>{escape(old)}</th>{''.join(_square(grid.get((old, new))) for new in news)}</tr>"
        for old in olds
    )
    return f"<div class='scroll'><table><tr><th scope='col'>from \\ to</th>{head}</tr>{rows}</table></div>"


def _square(square: Square | None) -> str:
    if square is None:
        return "<td></td>"
    small = [square.worst.label] if square.worst > Tier.IDENTICAL else []
    if square.unexplained:
        small.append(f"{square.unexplained} unexplained")
    if square.counts[Outcome.NOT_HERE] and square.asked:
        small.append(f"{square.counts[Outcome.NOT_HERE]} not here")
    lines = "".join(f"<small>{escape(s)}</small>" for s in small)
    return f"<td class='{square.outcome}'>{escape(square.label)}{lines}</td>"


def _details(grid: dict[tuple[str, str], Square]) -> list[str]:
    """What is behind each red square."""
    parts = []
    for (old, new), square in grid.items():
        found = causes(square.cells, Tier.BREAK)
        if found:
            pair = old if old == new else f"{old} → {new}"
            parts.append(f"<details><summary>{escape(pair)}: {len(found)} causes</summary><div class='scroll'>")
            parts.append("<table class='causes'><tr><th>tier</th><th>what</th><th>cases</th><th>ledger</th></tr>")
            parts += [_cause(c) for c in found]
            parts.append("</table></div></details>")
    return parts


def _cause(cause: Cause) -> str:
    finding = cause.finding
    cases = ", ".join(cause.cases[:8]) + (f" and {len(cause.cases) - 8} more" if len(cause.cases) > 8 else "")
    ledger = escape(finding.entry) if finding.entry else "<span class='new'>none</span>"
    return (
        f"<tr><td>{finding.tier.label}</td><td><code>{escape(sentence(finding, 300))}</code>"
        f"<small><code>{escape(cause.command)}</code></small></td><td>{escape(cases)}</td><td>{ledger}</td></tr>"
    )


RENDERER: Renderer = HtmlRenderer()
