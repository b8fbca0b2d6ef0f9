"""What a cell costs, and from that the plan on paper for a fleet: machines, hours, bytes.

    python harness/benchmarks/fleet.py [--documents 64] [--releases 30] [--drivers 22] [--corpus 100000]

Everything is asked anew, of the real labs, in a cache directory of its own; then judged again with every answer known.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
import psutil  # type: ignore[import-untyped]
from virtcompat import drivers
from virtcompat.engine import columns, crew, desk, dispatch, judging, parts, units
from virtcompat.engine import run as engine
from virtcompat.engine.answers import Answers
from virtcompat.engine.columns import Columns
from virtcompat.engine.memory import Memory, document
from virtcompat.labs import session
from virtcompat.model import NO_DRIVER, Answer, Fixture, NotHere, Question, Verdict
from virtcompat.store import golden, paths, releases
from virtcompat.store.cache import Cache
from virtcompat.store.relay import Relay
from virtcompat.store.verdicts import Verdicts

#: (driver, kind): every way of opening a driver.
WAYS = (("test", "domain"), ("qemu", "domain"), ("qemu", "network"))
EMPTY = 200


@dataclass(slots=True)
class Measured:
    """One way of asking, over ``documents`` documents and ``cells`` cells each.

    cold: seconds of processor with nothing known, the probes' own included; warm: with every answer known. wall:
    seconds that went by. put: questions that checks put to labs; asked: those that are left when each is asked once.
    starts: how many probes were started.
    """

    name: str
    documents: int
    cells: int
    cold: float = 0.0
    warm: float = 0.0
    put: int = 0
    asked: int = 0
    wall: float = 0.0
    starts: int = 0

    @property
    def cases(self) -> int:
        return self.documents * self.cells


@dataclass(slots=True)
class Probes:
    """Every probe that is running, and the processor time of those that ended."""

    running: list[session.Process] = field(default_factory=list)
    ended: float = 0.0
    started: int = 0

    def seconds(self) -> float:
        return self.ended + sum(map(processor, self.running))


def processor(probe: session.Process) -> float:
    """Seconds of processor of a probe and everything below it (a libvirtd, QEMUs that are still there)."""
    total = 0.0
    try:
        top = psutil.Process(probe.popen.pid)
        for process in (top, *top.children(recursive=True)):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    except psutil.NoSuchProcess:
        pass
    return total


@contextmanager
def watching() -> Iterator[Probes]:
    """Know every probe from its start to its end."""
    probes, start, end = Probes(), session.Process.__post_init__, session.Process.close

    def started(self: session.Process) -> None:
        start(self)
        probes.running.append(self)
        probes.started += 1

    def closing(self: session.Process) -> None:
        if self in probes.running:
            probes.ended += processor(self)
            probes.running.remove(self)
        end(self)

    session.Process.__post_init__, session.Process.close = started, closing  # type: ignore[method-assign]
    try:
        yield probes
    finally:
        session.Process.__post_init__, session.Process.close = start, end  # type: ignore[method-assign]


@contextmanager
def counting(measured: Measured) -> Iterator[None]:
    """Count what checks put to labs."""
    advance = judging.Judge.advance

    def counted(self: judging.Judge, answer: Answer | NotHere | None) -> Question | Verdict:
        said = advance(self, answer)
        if (
            isinstance(said, Question)
            and said.op != "validate"
            and (said.source == "lab" or golden.answer(said) is None)
        ):
            measured.put += 1
        return said

    judging.Judge.advance = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        judging.Judge.advance = advance  # type: ignore[method-assign]


def waiting(found: Columns, driver: str, documents: list[Fixture]) -> list[judging.Waiting]:
    kind = documents[0].kind
    cells = [(key, b"") for key in engine.keys(found, engine.Selection(drivers=(driver,), kinds=(kind,)))]
    return [(document, driver, [c for c in cells if c[0].driver != NO_DRIVER]) for document in documents]


def measure(answers: Answers, driver: str, documents: list[Fixture], probes: Probes) -> Measured:
    """Judge a unit with nothing known, and once more with everything known."""
    unit = waiting(answers.columns, driver, documents)
    measured = Measured(f"{driver}/{documents[0].kind}", len(documents), len(unit[0][2]))
    asked, started = answers.asked, probes.started
    begun, own, theirs = time.perf_counter(), time.process_time(), probes.seconds()
    with counting(measured):
        list(judging.judge(unit, answers.columns.products, answers))
    measured.wall = time.perf_counter() - begun
    measured.cold = time.process_time() - own + probes.seconds() - theirs
    measured.asked, measured.starts = answers.asked - asked, probes.started - started
    own = time.process_time()
    list(judging.judge(unit, answers.columns.products, answers))
    measured.warm = time.process_time() - own
    return measured


def chosen(driver: str, kind: str, count: int) -> list[Fixture]:
    """As many documents as there are, up to a count, taken evenly from all of them."""
    selection = engine.Selection(drivers=(driver,), kinds=(kind,))
    every = [d for d in engine.own_documents(selection) if not d.flavour]
    return every[:: max(1, len(every) // count)][:count]


def dedupe(
    answers: Answers, names: list[str], documents: list[Fixture], probes: Probes
) -> Iterator[tuple[int, Measured]]:
    """For ever more releases: what is put to labs, and what is left when each question is asked once."""
    for n in range(1, len(names) + 1):
        found = columns.find(tuple(names[:n]))
        own = replace(answers, columns=found, asked=0, cached=0)
        measured = measure(own, "qemu", documents, probes)
        # The second time everything is known: half of these are what the first time took.
        yield n, replace(measured, asked=measured.asked + (own.cached - measured.asked) // 2)


@dataclass(slots=True)
class Wire:
    """Of one unit on its way: bytes of the task and of what comes back, and seconds that dask and the caller take."""

    cases: int
    task: int
    result: int
    dask: float
    stored: float


def wire(address: str, found: Columns, unit: list[judging.Waiting], answers: Answers) -> Wire:
    """Send units that are nothing to a worker; pack and store one that is something here."""
    with dispatch.connected(f"dask://{address}") as client, dispatch.manned(client, tuple(found.names)) as (name, _):
        needs = {crew.slot(units.tool()): 1.0}
        body = crew.pack(crew.Task(found.columns))
        begun = time.perf_counter()
        futures = [client.submit(desk.work, name, body, pure=False, resources=needs) for _ in range(EMPTY)]
        client.gather(futures)  # type: ignore[no-untyped-call]
        dask = (time.perf_counter() - begun) / EMPTY
    assert isinstance(answers.cache, Relay)
    answers.cache.taken()
    memory = Memory(found)
    keyed = [(d, driver, [(c, memory.key(c, document(d))) for c, _ in cells]) for d, driver, cells in unit]
    verdicts = {kept: [verdict] for _, kept, verdict in judging.judge(keyed, found.products, answers)}
    task = crew.pack(crew.Task(found.columns, keyed))
    result = crew.Result(verdicts, answers.cache.taken())
    packed = crew.pack(result)
    with tempfile.TemporaryDirectory() as folder:
        store, kept = Relay(Path(folder) / "a.sqlite"), Verdicts(Path(folder) / "v.sqlite", "tool")
        begun = time.process_time()
        crew.unpack(packed)
        store.put_rows(result.answers)
        kept.put_many(result.verdicts)
        stored = time.process_time() - begun
        store.close()
        kept.close()
    memory.kept.close()
    return Wire(len(verdicts), len(task), len(packed), dask, stored)


@contextmanager
def cluster(cache: Path) -> Iterator[str]:
    """A scheduler and a worker on loopback; HOST:PORT."""
    file = cache / "scheduler.json"
    environment = {**os.environ, "VIRT_COMPAT_CACHE": str(cache)}
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    worker = ["worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    running = []
    try:
        for argv in (scheduler, [*worker, "--local-directory", str(cache)]):
            command = [sys.executable, "-m", "dask", *argv]
            running.append(
                subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            while not file.exists():
                time.sleep(0.1)
        yield json.loads(file.read_text())["address"].removeprefix("tcp://")
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait()


@dataclass(slots=True)
class Sizes:
    """Bytes: an answer stored, a golden case of one release, a verdict remembered, one kept in a part; kept: their share."""

    answer: float
    golden: float
    verdict: float
    part: float
    kept: float


def stored(file: Path) -> tuple[int, float]:
    """(answers, bytes each) of a cache."""
    cache = Cache(file)
    count = cache.count()
    cache.close()
    return count, file.stat().st_size / max(1, count)


def sizes(found: Columns, folder: Path, home: Path) -> Sizes:
    """Of what is in golden/, and in the user's own cache where it has more answers than the benchmark's."""
    _, answer = max(stored(directory / "answers.sqlite") for directory in (home, folder))
    recorded, cases = 0, 0
    for release in found.names:
        for driver in drivers.every().values():
            for kind in driver.kinds:
                base = golden.folder() / release / kind / driver.name
                cases += len(golden.cases(release, kind, driver.name))
                recorded += sum(f.stat().st_size for f in base.glob("*")) if base.is_dir() else 0
                index = base.with_suffix(".jsonl")
                recorded += index.stat().st_size if index.exists() else 0
    selection = engine.Selection(drivers=("qemu",), kinds=("domain",), cases=("disk-*",), releases=tuple(found.names))
    header, total = parts.judge(parts.Share(1, 1), selection)
    parts.write(folder / "part.jsonl.zst", header, total)
    judged = sum(sum(tally.counts.values()) for tally in total.tallies.values())
    kept = sum(len(tally.kept) for tally in total.tallies.values())
    known = folder / "verdicts.sqlite"
    return Sizes(
        answer, recorded / max(1, cases), known.stat().st_size / max(1, judged),
        (folder / "part.jsonl.zst").stat().st_size / max(1, kept), kept / max(1, judged),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Paper:
    """The plan on paper: so many releases, drivers, and documents that are each given to every driver.

    question, case: seconds of processor a question asked, a case judged. fresh: questions a document that each further
    release takes, once texts that are equal byte for byte are asked once.
    """

    releases: int
    drivers: int
    documents: int
    question: float
    case: float
    fresh: float

    @property
    def pairs(self) -> int:
        """Documents as drivers are asked them."""
        return self.drivers * self.documents

    @property
    def cases(self) -> int:
        """Cells a document: four of each release, six of each two."""
        return 4 * self.releases + 6 * (self.releases * (self.releases - 1) // 2)

    def lines(self, wire: Wire, size: Sizes) -> Iterator[str]:
        cases, questions = self.pairs * self.cases, self.pairs * self.fresh * self.releases
        ask, judge = questions * self.question / 3600, cases * self.case / 3600
        more = self.pairs * (self.fresh * self.question + (4 + 6 * (self.releases - 1)) * self.case) / 3600
        yield f"{self.releases} releases, {self.drivers} drivers, {self.documents} documents:"
        yield f"  {cases:.2g} cases, {self.cases} a document and driver; {questions:.2g} questions"
        yield f"  asked {ask:,.0f}, judged {judge:,.0f} core-hours; one release more {more:,.0f} core-hours"
        recorded = self.pairs * self.releases * size.golden
        yield f"  answers {questions * size.answer / 1e9:,.0f} GB, golden {recorded / 1e9:,.0f} GB"
        yield f"  verdicts kept {cases * size.kept:.2g}, in parts {cases * size.kept * size.part / 1e9:,.1f} GB"
        units_of = self.pairs / units.LEAST
        back, storing = cases / wire.cases * wire.result / 1e9, cases / wire.cases * wire.stored / 3600
        yield f"  {units_of:,.0f} units, {units_of * wire.dask / 60:,.0f} min of dask"
        yield f"  through one caller {back:,.0f} GB and {storing:,.0f} h of storing"


@click.command()
@click.option("--documents", "count", default=64, help="Documents a unit that is measured.")
@click.option("--releases", "many", default=30, help="Of the plan on paper.")
@click.option("--drivers", "ways", default=22, help="Of the plan on paper.")
@click.option("--corpus", default=100_000, help="Documents of the plan on paper.")
def main(count: int, many: int, ways: int, corpus: int) -> None:
    """Print every cost that the plan on paper is made of, and the plan."""
    names = [r.name for r in releases.shipped()]
    labs = paths.cache_dir()
    with tempfile.TemporaryDirectory(dir=labs, prefix="benchmark-") as folder:
        for shared in ("labs", "qemu-capabilities", "schemas"):
            (Path(folder) / shared).symlink_to(labs / shared)
        os.environ["VIRT_COMPAT_CACHE"] = folder
        found = columns.find(tuple(names))
        with engine.opened(found) as opened:
            opened.cache.close()
            answers = replace(opened, cache=Relay(Path(folder) / "answers.sqlite"))
            sample = chosen("qemu", "domain", count)
            with watching() as probes:
                question, case = ways_of(answers, count, probes)
                fresh = grown(answers, names, sample, probes)
            with cluster(Path(folder)) as address:
                one = wire(address, found, waiting(found, "qemu", sample), answers)
            size = sizes(found, Path(folder), labs)
    click.echo(
        f"a unit of {one.cases} cases: {one.task} bytes out, {one.result} back, {1000 * one.dask:.1f} ms of dask, "
        f"{1000 * one.stored:.0f} ms to store"
    )
    click.echo(
        f"bytes: {size.answer:.0f} an answer, {size.golden:.0f} a golden case and release, {size.verdict:.0f} a verdict "
        f"remembered, {size.part:.0f} one kept in a part; {100 * size.kept:.1f} % of the cases are kept"
    )
    for line in Paper(many, ways, corpus, question, case, fresh).lines(one, size):
        click.echo(line)


def ways_of(answers: Answers, count: int, probes: Probes) -> tuple[float, float]:
    """Print what asking costs each way; seconds of processor a question and a case, of QEMU's guests."""
    click.echo(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; times are of the processor, the probes' included"
    )
    click.echo("               documents  cases  wall s   cpu s  starts  asked  ms a question  ms a case, known")
    question = case = 0.0
    for driver, kind in WAYS:
        documents = chosen(driver, kind, count)
        for part in (documents[::4], [d for at, d in enumerate(documents) if at % 4]):
            m = measure(answers, driver, part, probes)
            asked, judged = m.cold / max(1, m.asked), m.warm / m.cases
            click.echo(
                f"{m.name:14}{m.documents:>10}{m.cases:>7}{m.wall:>8.1f}{m.cold:>8.1f}{m.starts:>8}{m.asked:>7}"
                f"{1000 * asked:>15.1f}{1000 * judged:>18.3f}"
            )
            if (driver, kind) == ("qemu", "domain"):
                question, case = asked, judged
    return question, case


def grown(answers: Answers, names: list[str], sample: list[Fixture], probes: Probes) -> float:
    """Print how questions grow with releases; questions a document that the last release added."""
    click.echo(f"{len(sample)} qemu/domain documents, each:")
    before = fresh = 0.0
    for n, m in dedupe(answers, names, sample, probes):
        asked = m.asked / m.documents
        fresh, before = asked - before, asked
        put = m.put / m.documents
        click.echo(f"  {n} releases: {m.cells} cases, {put:.1f} questions, {asked:.1f} when each is asked once")
    return fresh


if __name__ == "__main__":
    main()
