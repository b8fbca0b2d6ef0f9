"""Documents per second: one probe against one virsh process and one virt-xml-validate process a document.

    python harness/benchmarks/documents.py [--release debian-12] [--documents 1000] [--driver test]

All three get the same documents in the same lab, one after the other, in the same run. The probe does more for each
(every form written, the definition removed again); it still has to be at least 20 times faster than either.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import click
from virtcompat import checks, drivers, surfaces
from virtcompat.engine import columns
from virtcompat.labs import build, bwrap, open_lab
from virtcompat.labs.prober import Asked, Prober
from virtcompat.model import Answer, Fixture, NotHere, Question
from virtcompat.store import fixtures, paths, releases

WANTED = 20


def probe_rate(release: str, driver: str, documents: list[Fixture]) -> float:
    """Documents a second through one probe, its start included."""
    lab = open_lab(releases.find(release))
    if isinstance(lab, NotHere):
        raise SystemExit(f"{lab.reason}; {lab.remedy}")
    setup = drivers.every()[driver].kinds["domain"]
    found = columns.find((release,))
    cases = [checks.Case(d, driver, surfaces.every()["domain"], setup, found.products) for d in documents]
    answers: list[Answer] = []

    def store(question: Question, answer: Answer) -> None:
        del question
        answers.append(answer)

    started = time.perf_counter()
    with Prober() as prober:
        prober.ask([Asked(case.define(release, case.fixture.text), lab, setup) for case in cases], store)
    took = time.perf_counter() - started
    assert len(answers) == len(documents)
    return len(documents) / took


def process_rate(release: str, command: str, folder: Path, count: int) -> float:
    """Documents a second with one process each, all started by one shell inside one sandbox."""
    made = build.find(releases.find(release))
    assert made is not None
    script = f"ok=0; for file in {folder}/*.xml; do {command} >/dev/null 2>&1 && ok=$((ok + 1)); done; echo $ok"
    argv = [*bwrap.command(made.folder / "root", daemon=False, cache=None, shown=(str(folder),)), "sh", "-c", script]
    started = time.perf_counter()
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    took = time.perf_counter() - started
    # A peer that fails fast would look fast.
    assert int(done.stdout) > count / 2, f"{command}: only {done.stdout.strip()} of {count} succeeded"
    return count / took


@click.command()
@click.option("--release", default="debian-12", help="The lab to run in.")
@click.option("--driver", default="test", type=click.Choice(("test", "qemu")), help="What the probe opens.")
@click.option("--documents", "count", default=1000, help="How many, the fixtures taken round and round.")
def main(release: str, driver: str, count: int) -> None:
    """Print the three rates and the two ratios; exit 1 where the probe is not 20 times faster."""
    documents = [d for d in fixtures.load(("domain",), (driver,)) if not d.flavour]
    documents = list(islice(cycle(documents), count))
    with tempfile.TemporaryDirectory(dir=paths.cache_dir()) as name:
        folder = Path(name)
        for number, document in enumerate(documents):
            (folder / f"{number}-{document.case}.xml").write_text(document.text, encoding="utf-8")
        folder.chmod(0o755)
        peers = {
            "virsh define": process_rate(release, 'virsh -c test:///default define "$file"', folder, len(documents)),
            "virt-xml-validate": process_rate(release, 'virt-xml-validate "$file" domain', folder, len(documents)),
        }
    probe = probe_rate(release, driver, documents)
    click.echo(f"{len(documents)} domain documents on {release}")
    click.echo(f"probe ({driver} driver, every form): {probe:8.1f} documents/s")
    for peer, rate in peers.items():
        click.echo(
            f"{peer + ', one process each':36}{rate:8.1f} documents/s; the probe is {probe / rate:.0f} times faster"
        )
    sys.exit(0 if all(probe / rate >= WANTED for rate in peers.values()) else 1)


if __name__ == "__main__":
    main()
