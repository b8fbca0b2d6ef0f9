"""The report page with 100,000 cells in headless Chromium: seconds until it can be used, and until a filter is applied.

    python harness/benchmarks/page.py [--cells 100000] [--releases 10] [--runs 5]

Usable is when the data is unpacked, the grids in view are made and every control listens. Each run is a new browser
profile, the page comes from a file. Exit 1 where the median is not under a second.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from statistics import median

import click
from playwright.sync_api import Browser, Page, expect, sync_playwright
from virtcompat import page, renderers
from virtcompat.model import Cell, CellKey, Change, Column, Finding, Matrix, Outcome, Tier, Verdict

WANTED = 1.0
CHECKS = ("round-trip", "reproduce", "same-input", "upgrade-disk", "upgrade-redefine", "same-hardware", "downgrade")
DRIVERS, KINDS = 22, 12


def cells(releases: list[str]) -> Iterator[Cell]:
    """Cells without end: every second one has findings, as many in all as there are cells."""
    number = 0
    while True:
        for check, kind, driver, old, new in product(CHECKS, range(KINDS), range(DRIVERS), releases, releases):
            key = CellKey(check, f"kind-{kind}", f"driver-{driver:02}", old, new)
            yield cell(key, number)
            number += 1


def cell(key: CellKey, number: int) -> Cell:
    if number % 2:
        return Cell(key, {Outcome.COMPATIBLE: 100}, Tier.IDENTICAL, 0, ())
    tier = Tier(1 + number // 2 % 4)
    path = f"/{key.kind}/devices/disk[vd{number % 97}]/driver/@option-{number % 1013}"
    findings = tuple(Finding(f"{path}/{at}", Change.CHANGED, tier, f"was {number % 389}", "now") for at in range(2))
    bad = tier >= Tier.BREAK
    verdict = Verdict(f"case-{number % 509}", Outcome.INCOMPATIBLE if bad else Outcome.COMPATIBLE, findings)
    return Cell(key, {Outcome.COMPATIBLE: 100 - bad, Outcome.INCOMPATIBLE: int(bad)}, tier, int(bad), (verdict,))


def matrix(count: int, releases: int) -> Matrix:
    """A synthetic matrix of this many cells."""
    names = [f"release-{at:02}" for at in range(releases)]
    columns = [Column(n, f"{at}.0", f"{at}.1", ((at,),), golden=True, live=False) for at, n in enumerate(names)]
    return Matrix(columns, list(islice(cells(names), count)), Tier.BREAK)


def opened(browser: Browser, file: Path) -> tuple[float, float, float]:
    """(first paint, usable, a filter applied) in seconds, the first two from when the page was asked for."""
    shown = browser.new_context().new_page()
    shown.goto(file.as_uri())
    shown.wait_for_selector("html[data-ready]")
    paint = mark(shown, "first-contentful-paint")
    ready = mark(shown, "ready")
    started = time.perf_counter()
    shown.select_option("select[name=driver]", "driver-07")
    expect(shown.locator("#status")).to_contain_text("driver-07")
    filtered = time.perf_counter() - started
    shown.context.close()
    return paint, ready, filtered


def mark(shown: Page, name: str) -> float:
    found = shown.evaluate("name => performance.getEntriesByName(name).map(entry => entry.startTime)", name)
    return float(found[0]) / 1000 if found else float("nan")


@click.command()
@click.option("--cells", "count", default=100_000)
@click.option("--releases", default=10)
@click.option("--runs", default=5)
def main(count: int, releases: int, runs: int) -> None:
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        raise SystemExit("no chromium here: install it")
    whole = matrix(count, releases)
    groups = [
        page.Group(cause.key, cause.finding, cause.cases)
        for grid in renderers.grids(whole).values()
        for square in grid.values()
        for cause in renderers.causes(square.cells, Tier.ADDITION)
    ]
    started = time.perf_counter()
    text = page.html(page.Contents(whole, groups))
    made = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "index.html"
        file.write_text(text, encoding="utf-8")
        times = []
        for _ in range(runs):
            browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
            times.append(opened(browser, file))
            browser.close()
    paint, ready, filtered = (median(column) for column in zip(*times, strict=True))
    findings = sum(len(v.findings) for c in whole.cells for v in c.verdicts)
    click.echo(f"{count:,} cells, {findings:,} findings: {len(text) / 1e6:.2f} MB, written in {made:.1f} s")
    click.echo(f"first paint {paint:.2f} s, usable {ready:.2f} s, a filter {filtered:.2f} s (medians of {runs})")
    click.echo(f"usable, each run: {', '.join(f'{run[1]:.2f}' for run in times)} s")
    sys.exit(0 if ready < WANTED else 1)


if __name__ == "__main__":
    main()
