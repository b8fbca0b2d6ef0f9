"""Generated documents measured: branches covered, time, share that is valid under lxml, share that drivers accept.

    python harness/benchmarks/generate.py [--release debian-14] [--kind domain] [--count 10000] [--driver qemu]

Exit 1 where a bar is missed: every branch taken, fewer than 2,000 documents and 5 s for the domain grammar, 99.9 % valid, and of
domains 45 % of the covering and 50 % of the mutated documents accepted by the QEMU driver.
"""

from __future__ import annotations

import sys
import time

import click
from virtcompat import generate, surfaces
from virtcompat.engine import generating
from virtcompat.engine.generating import Garden, Generated, Report

VALID, COVERING, MUTATED = 0.999, 0.45, 0.5
#: The domain grammar's covering corpus: documents and seconds.
DOCUMENTS, SECONDS = 2000, 5.0
DOMAIN = "domain"


def covering(found: Garden) -> tuple[list[Generated], list[str]]:
    """The covering corpus, and which bars it misses."""
    started = time.perf_counter()
    documents = list(found.covering(based=False))
    took = time.perf_counter() - started
    branches = list(found.schema.branches())
    left = generate.uncovered(found.schema, (d.tree for d in documents))
    print(
        f"{found.release} {found.kind}: {len(branches):,} branches, {len(branches) - len(left):,} taken by "
        f"{len(documents):,} documents in {took:.2f} s"
    )
    missed = [f"{len(left)} branches are left"] if left else []
    if found.kind == DOMAIN and (len(documents) >= DOCUMENTS or took >= SECONDS):
        missed.append("the corpus is too large or too slow")
    return documents, missed


def told(word: str, report: Report, least: float) -> list[str]:
    """Print what became of documents; which bars they miss."""
    of = len(report.documents)
    share = 1 - len(report.invalid) / max(of, 1)
    print(f"  {word}: {of:,} documents, {100 * share:.2f} % valid", end="")
    missed = [f"{word}: {100 * share:.2f} % valid"] if share < VALID else []
    if report.statuses:
        counts = ", ".join(f"{count:,} {status}" for status, count in report.statuses.most_common())
        print(f"; {report.driver} accepts {100 * report.accepted:.1f} % ({counts})", end="")
        missed += [f"{word}: {100 * report.accepted:.1f} % accepted"] if report.accepted < least else []
    print(flush=True)
    return missed


@click.command()
@click.option("--release", "releases", multiple=True, default=("debian-11", "debian-12", "debian-13", "debian-14"))
@click.option("--kind", "kinds", multiple=True, default=tuple(surfaces.every()))
@click.option("--count", default=2000, help="How many random and how many mutated documents of each.")
@click.option("--driver", default="", help="Asked about domains, for example qemu.")
def main(releases: tuple[str, ...], kinds: tuple[str, ...], count: int, driver: str) -> None:
    """Print the figures; exit 1 where a bar is missed."""
    missed = []
    for release in releases:
        for kind in kinds:
            found = generating.garden(release, kind)
            asked = driver if kind == DOMAIN else ""
            documents, bad = covering(found)
            bad += told("covering", generating.judge(found, documents, asked), COVERING)
            if asked:
                bad += told("based", generating.judge(found, list(found.covering(based=True)), asked), COVERING)
            bad += told("random", generating.judge(found, list(found.random(count, 1))), 0)
            mutated = list(found.mutated(found.bases, count, 1))
            bad += told("mutated", generating.judge(found, mutated, asked), MUTATED)
            missed += [f"{release} {kind}: {words}" for words in bad]
    for words in missed:
        print(f"MISSED {words}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
