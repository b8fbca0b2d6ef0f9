"""What came of the museum, told: for the terminal, as JSON, and as the published page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from virtcompat.engine.museum import ENOUGH, Result, Seen, Tour
from virtcompat.store.regressions import Expected, Piece

CONTROLS = {Expected.HARMLESS: "harmless", Expected.SILENT: "control"}
#: A result's word, where it is told in another way.
TOLD = {"unasked": "not asked"}
WIDE = 160


def listing(pieces: Sequence[Piece]) -> str:
    """One line a piece: what it is about and what is asked."""
    lines = []
    for p in pieces:
        versions = f"{p.broken} -> {p.fixed}" if p.broken or p.fixed else CONTROLS.get(p.expected, "")
        asked = ", ".join((*p.surfaces, *p.drivers, *p.checks)) or "everything"
        lines.append(f"{p.name:<24} {p.product:<8} {versions:<28} {p.title}\n{'':<24} {p.release}: {asked}")
    return "".join(f"{line}\n" for line in lines)


def line(piece: Piece, result: Result) -> str:
    """What came of one piece, told as it is done."""
    words = [f"{piece.name}: {outcome(result)}"]
    if result.by:
        words.append("by " + ", ".join(f"{name} {n}" for name, n in sorted(result.by.items(), key=lambda i: -i[1])))
    words.append(f"({result.verdicts} verdicts, {result.seconds:.0f} s) {piece.title}")
    lines = [" ".join(words)]
    if result.first:
        lines.append(f"    {cut(said(result.first[0]))}")
    if result.why:
        lines.append(f"    not asked: {cut(result.why)}")
    return "\n".join(lines)


def outcome(result: Result) -> str:
    """What came of a piece in a word or two."""
    return TOLD.get(result.word, result.word)


def said(seen: Seen) -> str:
    """One finding in a line."""
    values = " -> ".join(filter(None, (seen.old, seen.new)))
    return f"{seen.tier}: {seen.path} {seen.change}{': ' + values if values else ''} [{seen.cell}/{seen.case}]"


def cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= WIDE else f"{flat[: WIDE - 1]}…"


def text(tour: Tour) -> str:
    return "".join(f"{each}\n" for each in ("", *_summary(tour), "", *_by_check(tour)))


def _summary(tour: Tour) -> Iterator[str]:
    if tour.rate is not None:
        seen, of = len(tour.of("detected")), len(tour.regressions)
        yield f"regressions: {seen} of {of} detected ({tour.rate:.1%}; at least {ENOUGH:.0%} is asked)"
    if controls := tour.of("silent", "alarm", control=True):
        yield f"controls and harmless changes: {len(controls)}, false alarms: {len(tour.of('alarm'))}"
    for word in ("missed", "alarm", "unasked"):
        if names := [p.name for p in tour.of(word)]:
            yield f"{TOLD.get(word, word)}: {', '.join(names)}"


def _by_check(tour: Tour) -> Iterator[str]:
    counts = tour.by_check()
    if counts:
        yield "detection rate of each check and surface, of the regressions that it was asked about"
    for name, (saw, of) in counts.items():
        yield f"  {name:<18} {saw:>3} of {of:>3}  {saw / of:>6.1%}"


def as_json(tour: Tour) -> str:
    rows = [
        {"title": p.title, "product": p.product, "expected": p.expected, **asdict(tour.results[p.name])}
        for p in tour.pieces
    ]
    whole = {
        "detected": len(tour.of("detected")), "regressions": len(tour.regressions),
        "rate": None if tour.rate is None else round(tour.rate, 4), "alarms": [p.name for p in tour.of("alarm")],
        "missed": [p.name for p in tour.of("missed")], "unasked": [p.name for p in tour.of("unasked")],
        "checks": {name: {"saw": saw, "of": of} for name, (saw, of) in tour.by_check().items()},
        "pieces": rows, "exit_code": tour.exit_code,
    }  # fmt: skip
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def markdown(tour: Tour) -> str:
    return "".join(f"{each}\n" for each in _page(tour))


def _page(tour: Tour) -> Iterator[str]:
    yield "# The museum of regressions"
    yield ""
    yield "Each piece really happened. Its effect is put into a candidate that is made of the same packages as the release it"
    yield "is judged against, and the gate, which knows of no museum, judges it. `virt-compat museum` does it anew."
    yield ""
    yield from (f"- {each}" for each in _summary(tour))
    yield ""
    if rates := _rates(tour):
        yield from _table(("check or surface", "saw", "was asked about", "rate"), rates)
    for product in sorted({p.product for p in tour.pieces if not p.control}):
        yield f"## {product}"
        yield ""
        mine = [p for p in tour.pieces if p.product == product and not p.control]
        yield from _table(
            ("piece", "broken → fixed", "what broke", "outcome", "seen by", "first finding"), _rows(tour, mine)
        )
    if controls := [p for p in tour.pieces if p.control]:
        yield "## Controls and harmless changes"
        yield ""
        rows = [
            (p.name, p.title, CONTROLS[p.expected], outcome(tour.results[p.name]), str(tour.results[p.name].verdicts))
            for p in controls
        ]
        yield from _table(("piece", "what is different", "kind", "outcome", "verdicts"), rows)
    yield "## How each is re-enacted"
    yield ""
    for p in tour.pieces:
        yield f"- **{p.name}** {p.title}. {p.what} *{p.reference}* Re-enacted on {p.release}: {p.enacted}" + (
            f" Only the nearest thing: {p.nearest}" if p.nearest else ""
        )


def _rates(tour: Tour) -> list[tuple[str, ...]]:
    return [(name, str(saw), str(of), f"{saw / of:.0%}") for name, (saw, of) in tour.by_check().items()]


def _rows(tour: Tour, pieces: Sequence[Piece]) -> Iterator[tuple[str, ...]]:
    for p in pieces:
        result = tour.results[p.name]
        by = ", ".join(f"{name} ({n})" for name, n in sorted(result.by.items(), key=lambda i: -i[1]))
        first = cut(said(result.first[0])) if result.first else result.why
        yield (
            p.name,
            f"{p.broken} → {p.fixed}",
            p.title,
            outcome(result),
            by,
            f"`{first.replace('`', '´')}`" if first else "",
        )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]] | Iterator[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


FORMATS: dict[str, Callable[[Tour], str]] = {"text": text, "json": as_json, "markdown": markdown}
