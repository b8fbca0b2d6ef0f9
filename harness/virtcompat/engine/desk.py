"""A worker of a fleet: it says which labs it has, judges units, and hands back verdicts and answers.

This module needs dask.distributed; only a worker imports it, and a run that is given to one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence

from distributed import Worker, WorkerPlugin, get_worker
from tornado.ioloop import PeriodicCallback

from virtcompat import drivers
from virtcompat.engine import columns as columns_module
from virtcompat.engine import static, units
from virtcompat.engine.answers import Answers
from virtcompat.engine.columns import Columns, Labs
from virtcompat.engine.crew import About, Result, Task, pack, resource, slot, unpack
from virtcompat.engine.fold import Cost
from virtcompat.engine.judging import judge
from virtcompat.engine.schemas import Schemas
from virtcompat.errors import UsageError, VirtCompatError
from virtcompat.labs.prober import Prober
from virtcompat.model import NotHere
from virtcompat.store import paths
from virtcompat.store.relay import Relay

#: Seconds without a unit after which a worker ends its probes: the run may be gone without a word.
IDLE = 120.0


class Desk(WorkerPlugin):
    """One worker's labs, answers and probes, kept open from unit to unit.

    names: the releases wanted. tool, records: digests of the caller's tool and of each release's golden records.
    """

    def __init__(self, name: str, names: Sequence[str], tool: str, records: Mapping[str, str]) -> None:
        self.name = name
        self.names = names
        self.tool = tool
        self.records = records

    async def setup(self, worker: Worker) -> None:
        self.lock = threading.Lock()
        self.answers: Answers | None = None
        self.gone = False
        self.used = time.monotonic()
        self.labs: Labs = {}
        self.about = await asyncio.to_thread(self._look)
        self.rest = PeriodicCallback(self._rest, IDLE * 500)
        self.rest.start()
        if not self.about.refusal:
            own = {resource(*at, lab): 1.0 for at, lab in self.about.labs.items() if isinstance(lab, str)}
            await worker.set_resources(**{slot(self.tool): 1.0, **own})

    async def teardown(self, worker: Worker) -> None:
        self.rest.stop()
        self.gone = True
        if self.answers is not None:
            self.answers.prober.stopped = True  # a unit that is at work ends after the answer it waits for
        await asyncio.to_thread(self._close)

    def _look(self) -> About:
        if units.tool() != self.tool:
            return About(refusal="it has another version of virt-compat")
        found = Columns()
        for name in self.names:
            try:
                own = columns_module.find((name,))
            except UsageError:
                continue  # a release that only others know
            found.columns += own.columns
            found.labs |= own.labs
            found.notes += own.notes
        for name in found.names:
            if units.provenance(name) != self.records.get(name, units.provenance(name)):
                return About(refusal=f"it has other golden records of {name}")
        self.labs = found.labs
        labs = {at: lab if isinstance(lab, NotHere) else lab.fingerprint() for at, lab in found.labs.items()}
        return About(found.columns, labs, found.notes)

    def _rest(self) -> None:
        if time.monotonic() - self.used > IDLE and self.lock.acquire(blocking=False):
            try:
                self._shut()
            finally:
                self.lock.release()

    def _close(self) -> None:
        with self.lock:
            self._shut()

    def _shut(self) -> None:
        """End the probes; the next unit starts them anew."""
        if self.answers is not None:
            self.answers.prober.__exit__()
            self.answers.cache.close()
            self.answers = None

    def judge(self, task: Task) -> Result:
        """Judge what waits. Errors that have a remedy come back as such."""
        with self.lock:
            if self.gone:
                return Result(error=("the run is over", "start another"))
            try:
                return self._judge(task)
            except BaseException as error:
                self._shut()  # a prober that failed asks nothing more
                if not isinstance(error, VirtCompatError):
                    raise
                return Result(error=(error.message, error.remedy))
            finally:
                self.used = time.monotonic()

    def _judge(self, task: Task) -> Result:
        found = Columns(list(task.columns), self.labs)
        if self.answers is None:
            relay = Relay(paths.cache_dir() / "answers.sqlite")
            self.answers = Answers(found, drivers.every(), relay, Prober(), Schemas(found))
        answers = self.answers
        assert isinstance(answers.cache, Relay)
        before = answers.asked, answers.cached, answers.replayed
        verdicts = {kept: [verdict] for _, kept, verdict in judge(task.waiting, found.products, answers)}
        records = static.Records(found)
        for cell, kept in task.recorded:
            verdicts[kept] = list(static.judge(cell, records))
        after = answers.asked, answers.cached, answers.replayed
        asked, cached, replayed = (now - then for now, then in zip(after, before, strict=True))
        cost = Cost(asked, cached, replayed, sum(len(given) for given in verdicts.values()))
        return Result(verdicts, answers.cache.taken(), cost)


def work(name: str, body: bytes) -> bytes:
    """Judge one packed task at this worker's desk."""
    desk = get_worker().plugins[name]
    task = unpack(body)
    assert isinstance(desk, Desk)
    assert isinstance(task, Task)
    return pack(desk.judge(task))


def about(name: str, dask_worker: Worker) -> About:
    """What a worker has (run on each of them)."""
    desk = dask_worker.plugins[name]
    assert isinstance(desk, Desk)
    return desk.about
