"""Generated documents through every property on all releases: throughput, and whether the harness leaks, hangs or loses a finding.

    nice -n 10 python harness/benchmarks/properties.py [--count 100000] [--seed 0] [--private DIR]

Interrupted, it goes on where it was. Exit 1 where a bar is missed: memory that grows by more than 150 MiB from the second tenth of
the batches to the last, a batch of more than 10 minutes, a finding that is under no cause.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from functools import partial
from pathlib import Path

import click
from virtcompat.engine import confidential, hunting
from virtcompat.engine.hunting import Order
from virtcompat.store import hunts
from virtcompat.store.hunts import State

GROWTH, SLOWEST = 150, 600.0


def resident() -> float:
    """MiB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / (1 << 20)


def probes() -> float:
    """CPU seconds of what this process started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Watch:
    """Memory and time, batch by batch."""

    def __init__(self) -> None:
        self.started = self.last = time.perf_counter()
        self.sizes: list[float] = []
        self.slowest = 0.0

    def __call__(self, done: int, of: int) -> None:
        now = time.perf_counter()
        self.sizes.append(resident())
        self.slowest = max(self.slowest, now - self.last)
        self.last = now
        line = f"\r{done:,} of {of:,} batches, {self.sizes[-1]:.0f} MiB, {now - self.started:.0f} s"
        print(line, end="" if sys.stderr.isatty() or done % 20 else "\n", file=sys.stderr, flush=True)


def lost(state: State) -> int:
    """Findings that are counted under no cause."""
    kept = sum(find.count for find in state.finds.values())
    return (
        state.counts.get("findings", 0)
        - kept
        - state.counts.get("confidential", 0)
        - state.counts.get("findings beyond", 0)
    )


def told(state: State, watch: Watch) -> list[str]:
    """Print the figures; which bars are missed."""
    took, own = time.perf_counter() - watch.started, time.process_time()
    counts = state.counts
    settled = watch.sizes[len(watch.sizes) // 10 :]
    print(f"\n{counts.get('documents', 0):,} documents, {counts.get('verdicts', 0):,} verdicts in {took:.0f} s here and now, "
          f"{own:.0f} s of it the harness's own CPU, on {os.cpu_count()} cores")  # fmt: skip
    print(
        f"memory of the harness: {settled[0]:.0f} MiB after a tenth, {settled[-1]:.0f} MiB at the end, at most {max(settled):.0f}"
    )
    print(f"longest batch: {watch.slowest:.0f} s; findings {counts.get('findings', 0):,} of {len(state.finds):,} causes, "
          f"{counts.get('confidential', 0)} confidential, {counts.get('stepped around', 0)} documents stepped around")  # fmt: skip
    for name in sorted(name for name in counts if "/" in name):
        print(f"  {counts[name]:8,}  {name}")
    for reason, count in sorted(state.unasked.items()):
        print(f"  not asked: {count:,} verdicts: {reason}")
    missed = []
    if settled[-1] - settled[0] > GROWTH:
        missed.append(f"the harness grew by {settled[-1] - settled[0]:.0f} MiB")
    if watch.slowest > SLOWEST:
        missed.append(f"a batch took {watch.slowest:.0f} s")
    if lost(state):
        missed.append(f"{lost(state)} findings are under no cause")
    return missed


@click.command()
@click.option("--count", default=100_000, help="Documents.")
@click.option("--seed", default=0)
@click.option("--private", type=click.Path(file_okay=False, path_type=Path), help="Where confidential finds go.")
def main(count: int, seed: int, private: Path | None) -> None:
    """Hunt and print the figures; exit 1 where a bar is missed."""
    watch = Watch()
    folder = confidential.outside(private) if private else None
    print(f"memory of the harness: {resident():.0f} MiB at the start")
    aside = partial(hunts.put_aside, folder) if folder else None
    state = hunting.hunt(Order(count, seed, private=folder), aside, watch)
    missed = told(state, watch)
    for words in missed:
        print(f"MISSED {words}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
