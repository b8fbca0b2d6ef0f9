"""The matrix as a picture: one small grid of releases per driver and check, for a README."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from virtcompat.model import Matrix, Outcome, Tier
from virtcompat.renderers import Renderer, Square, grids

SIDE, GAP, LEFT, TOP, PER_ROW = 62, 3, 92, 58, 3
FILL = {
    Outcome.COMPATIBLE: "#2da44e", Outcome.INCOMPATIBLE: "#cf222e", Outcome.NOT_APPLICABLE: "#d0d7de",
    Outcome.NOT_HERE: "#d4a72c", Outcome.BROKEN: "#8250df",
}  # fmt: skip


class SvgRenderer:
    """Text in system fonts on a background of its own, so that it reads on light and dark pages."""

    name = "svg"
    suffix = "svg"

    def render(self, matrix: Matrix) -> str:
        names = [c.name for c in matrix.columns]
        shown = {k: g for k, g in grids(matrix).items() if any(old != new for old, new in g)}
        wide = LEFT + len(names) * (SIDE + GAP) + 24
        high = TOP + len(names) * (26 + GAP) + 16
        rows = (len(shown) + PER_ROW - 1) // PER_ROW
        width, height = PER_ROW * wide + 16, rows * high + 52
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'role="img" aria-label="Compatibility of the releases by driver and check" '
            'font-family="system-ui, sans-serif">',
            f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff" stroke="#d0d7de"/>',
        ]
        for at, ((driver, check), grid) in enumerate(shown.items()):
            x, y = 8 + at % PER_ROW * wide, 6 + at // PER_ROW * high
            parts += _grid(f"{driver} · {check}", names, grid, x, y)
        legend = "rows: from, columns: to; numbers: incompatible of asked (red), all compatible (green)"
        parts.append(f'<text x="16" y="{height - 18}" font-size="11" fill="#57606a">{legend}</text></svg>')
        return "\n".join(parts) + "\n"


def _grid(title: str, names: list[str], grid: dict[tuple[str, str], Square], x: int, y: int) -> list[str]:
    parts = [f'<text x="{x + 8}" y="{y + 24}" font-size="14" font-weight="600" fill="#1f2328">{escape(title)}</text>']
    for i, name in enumerate(names):
        label = escape(name if len(name) <= 14 else name[:13] + "…")
        at = x + LEFT + i * (SIDE + GAP) + SIDE // 2
        parts.append(f'<text x="{at}" y="{y + 48}" font-size="10" text-anchor="middle" fill="#57606a">{label}</text>')
        at = y + TOP + i * (26 + GAP) + 17
        parts.append(
            f'<text x="{x + LEFT - 8}" y="{at}" font-size="10" text-anchor="end" fill="#57606a">{label}</text>'
        )
        for j, other in enumerate(names):
            square = grid.get((name, other))
            left, top = x + LEFT + j * (SIDE + GAP), y + TOP + i * (26 + GAP)
            parts += _square(square, f"{name} -> {other}", left, top)
    return parts


def _square(square: Square | None, pair: str, left: int, top: int) -> list[str]:
    if square is None:
        return [f'<rect x="{left}" y="{top}" width="{SIDE}" height="26" rx="3" fill="#f6f8fa"/>']
    tip = f"{pair}: {square.label}" + (f", {square.worst.label}" if square.worst > Tier.IDENTICAL else "")
    color = "#1f2328" if square.outcome in (Outcome.NOT_APPLICABLE, Outcome.NOT_HERE) else "#ffffff"
    return [
        f"<g aria-label={quoteattr(tip)}><title>{escape(tip)}</title>",
        f'<rect x="{left}" y="{top}" width="{SIDE}" height="26" rx="3" fill="{FILL[square.outcome]}"/>',
        f'<text x="{left + SIDE // 2}" y="{top + 17}" font-size="10" text-anchor="middle" fill="{color}">'
        f"{escape(square.label)}</text></g>",
    ]


RENDERER: Renderer = SvgRenderer()
