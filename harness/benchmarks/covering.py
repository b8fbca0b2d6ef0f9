"""The covering corpora measured: documents and bytes a release, branches taken, seconds to judge them when everything is known.

    python harness/benchmarks/covering.py [--kind domain]

Judges twice, so that the second run finds everything remembered. Exit 1 where a bar is missed: every branch of every grammar taken, at
most 3 MB a release, 45 % of the domains accepted by the QEMU driver, and ten seconds for the second run.
"""

from __future__ import annotations

import sys
import time

import click
from virtcompat import surfaces
from virtcompat.engine import covering
from virtcompat.engine.run import Selection
from virtcompat.store import covering as store
from virtcompat.store import releases

BYTES, ACCEPTED, SECONDS = 3_000_000, 0.45, 10.0


def recorded(release: str) -> list[str]:
    """Print what is recorded of a release; which bars it misses."""
    told = [about for kind in surfaces.every() if (about := store.about(release, kind))]
    size, documents = sum(a.size for a in told), sum(a.documents for a in told)
    answers = sum(sum(counts.values()) for a in told for counts in a.statuses.values())
    print(f"{release}: {documents:,} documents of {len(told)} kinds, {answers:,} answers, {size:,} bytes")
    missed = [f"{a.kind}: {a.branches - a.taken} branches are left" for a in told if a.taken < a.branches]
    missed += [f"{kind} is not recorded" for kind in surfaces.every() if kind not in {a.kind for a in told}]
    missed += [f"{size:,} bytes"] if size > BYTES else []
    for a in told:
        if a.kind == "domain":
            share = a.statuses["qemu"].get("accepted", 0) / a.documents
            print(f"  the QEMU driver accepts {100 * share:.1f} % of the domains")
            missed += [f"{100 * share:.1f} % accepted"] if share < ACCEPTED else []
    return [f"{release}: {words}" for words in missed]


@click.command()
@click.option("--kind", "kinds", multiple=True, type=click.Choice(tuple(surfaces.every())))
def main(kinds: tuple[str, ...]) -> None:
    """Print the figures; exit 1 where a bar is missed."""
    missed = [words for release in releases.shipped() for words in recorded(release.name)]
    for word in ("first", "second"):
        started = time.perf_counter()
        found = covering.run(Selection(kinds=kinds))
        took = time.perf_counter() - started
        print(
            f"{word} run: {len(found.cells):,} cells in {took:.1f} s; {found.asked:,} asked, {found.cached:,} known, "
            f"{found.judged:,} judged, {found.remembered:,} remembered"
        )
    missed += [f"{took:.1f} s for a run that asks nothing"] if took > SECONDS else []
    missed += [f"{found.asked:,} asked again"] if found.asked else []
    for words in missed:
        print(f"MISSED {words}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
