"""Units sent to the workers of a dask scheduler, and what comes back stored.

This module needs dask.distributed; only :mod:`virtcompat.engine.fleet` imports it, when a scheduler is named.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from distributed import Client, Future, KilledWorker, wait

from virtcompat.engine import desk, units
from virtcompat.engine.columns import Columns
from virtcompat.engine.crew import About, FarLab, Result, Task, pack, resource, slot, unpack
from virtcompat.engine.fold import Cost
from virtcompat.engine.memory import LASTING, Memory, document
from virtcompat.engine.run import Progress
from virtcompat.engine.units import Unit
from virtcompat.errors import LabError, UsageError
from virtcompat.model import Verdict
from virtcompat.store import golden, paths, releases
from virtcompat.store.relay import Relay

SCHEMES = {"dask": "tcp", "dask+tls": "tls"}
#: Seconds until a scheduler must have answered, and for which a unit may find no worker with the labs it needs.
CONNECT, PATIENCE = 10.0, 60.0
#: Seconds between two looks at whether such a worker is there.
LOOK = 5.0
#: Units sent ahead for each worker, so that none waits for the next; how often a unit is tried again.
AHEAD, RETRIES = 3, 2


@dataclass(slots=True)
class Order:
    """A unit with its task and the resources that a worker must offer for it."""

    unit: Unit
    task: Task
    needs: dict[str, float]


def address(where: str) -> str:
    """``dask://HOST:PORT`` as dask writes it; UsageError for anything else."""
    scheme, _, place = where.partition("://")
    host, _, port = place.rpartition(":")
    if scheme not in SCHEMES or not host or not port.isdigit():
        raise UsageError(f"'{where}' is no executor", "write dask://HOST:PORT, or dask+tls://HOST:PORT")
    return f"{SCHEMES[scheme]}://{place}"


@contextmanager
def connected(where: str) -> Iterator[Client]:
    target = address(where)
    start = f"start one: 'dask scheduler', and on each machine 'dask worker {target} --nthreads 1'"
    try:
        client = Client(target, timeout=CONNECT, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError) as error:
        raise LabError(f"no dask scheduler answers at {where}", start) from error
    try:
        client.wait_for_workers(1, timeout=CONNECT)
    except TimeoutError as error:
        client.close()  # type: ignore[no-untyped-call]
        raise LabError(f"the scheduler at {where} has no worker", start) from error
    try:
        with client.as_current():
            yield client
    finally:
        client.close()  # type: ignore[no-untyped-call]


@contextmanager
def manned(client: Client, chosen: tuple[str, ...]) -> Iterator[tuple[str, Mapping[str, About]]]:
    """A desk at every worker, now and when one joins: (its name, address -> what the worker has).

    chosen: releases; all where none is named. LabError where a worker is no use.
    """
    name = f"virt-compat-{uuid.uuid4().hex[:8]}"
    names = chosen or tuple(release.name for release in releases.every())
    records = {release: units.provenance(release) for release in names}
    try:
        client.register_plugin(desk.Desk(name, names, units.tool(), records), name)
    except Exception as error:  # dask hands on what a worker raised as it likes
        with suppress(Exception):
            client.unregister_worker_plugin(name)  # type: ignore[no-untyped-call]
        raise LabError(f"a worker cannot run virt-compat: {error}", "install the same virt-compat there") from error
    try:
        abouts: dict[str, About] = client.run(desk.about, name)
        for worker, about in abouts.items():
            if about.refusal:
                raise LabError(f"the worker {worker} is no use: {about.refusal}", "install the same version there")
        yield name, abouts
    finally:
        client.unregister_worker_plugin(name)  # type: ignore[no-untyped-call]


@dataclass(slots=True)
class Judging:
    """Units on their way, and what has come back. now: the verdicts that are not remembered."""

    client: Client
    name: str
    memory: Memory
    found: Columns
    progress: Progress
    now: dict[bytes, list[Verdict]] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)

    def judge(self, planned: Sequence[Unit]) -> None:
        """Send every unit of which something is not known, and store what comes back."""
        store = Relay(paths.cache_dir() / "answers.sqlite")
        done, of = 0, sum(unit.cases for unit in planned)
        try:
            for unit, result in self._results(planned):
                if result is not None:
                    self._keep(unit, result, store)
                done += unit.cases
                self.progress(done, of)
        finally:
            store.close()

    def _keep(self, unit: Unit, result: Result, store: Relay) -> None:
        if result.error:
            raise LabError(*result.error)
        store.put_rows(result.answers)
        lasting = {k: v for k, v in result.verdicts.items() if all(verdict.outcome in LASTING for verdict in v)}
        self.memory.kept.put_many(lasting)
        self.memory.kept.see(document(fixture) for fixture in unit.documents)
        self.now |= {k: v for k, v in result.verdicts.items() if k not in lasting}
        self.cost.add(result.cost)

    def _results(self, planned: Sequence[Unit]) -> Iterator[tuple[Unit, Result | None]]:
        """Each unit with its result, as they come; None where everything was known."""
        waiting, running = iter(planned), dict["Future[bytes]", Order]()
        more = True
        try:
            while more or running:
                while more and len(running) < self._window():
                    unit = next(waiting, None)
                    more = unit is not None
                    if unit is None:
                        break
                    order = self._order(unit)
                    if order is None:
                        yield unit, None
                    else:
                        running[self._submit(order)] = order
                for future in self._done(running):
                    yield running.pop(future).unit, self._result(future)
        finally:
            self.client.cancel(list(running), force=True)  # type: ignore[no-untyped-call]

    def _window(self) -> int:
        return AHEAD * max(1, len(self._workers()))

    def _workers(self) -> dict[str, dict[str, dict[str, float]]]:
        workers: dict[str, dict[str, dict[str, float]]] = self.client.scheduler_info(n_workers=-1)["workers"]
        return workers

    def _order(self, unit: Unit) -> Order | None:
        """What of a unit is not known yet, if anything."""
        key, kept = self.memory.key, self.memory.kept
        if not unit.documents:
            pairs = [(cell, key(cell)) for cell in unit.cells]
            known = kept.get_many(k for _, k in pairs)
            self.cost.remembered += sum(map(len, known.values()))
            left = [pair for pair in pairs if pair[1] not in known]
            return Order(unit, Task(self.found.columns, recorded=left), self._needs(unit)) if left else None
        digests = [document(fixture) for fixture in unit.documents]
        keys = [[(cell, key(cell, digest)) for cell in unit.cells] for digest in digests]
        known = kept.get_many(k for row in keys for _, k in row)
        self.cost.remembered += len(known)
        rows = zip(unit.documents, ([pair for pair in row if pair[1] not in known] for row in keys), strict=True)
        waiting = [(fixture, unit.driver, row) for fixture, row in rows if row]
        return Order(unit, Task(self.found.columns, waiting), self._needs(unit)) if waiting else None

    def _needs(self, unit: Unit) -> dict[str, float]:
        """One turn of a worker of this version, and every lab of the unit's releases that is anywhere."""
        names = {name for cell in unit.cells for name in (cell.old, cell.new)}
        if not unit.documents:  # a record that is in golden/ is read there
            names = {name for name in names if golden.provenance(name) is None}
        labs = [
            resource(*at, lab.digest)
            for at, lab in self.found.labs.items()
            if at[0] in names and isinstance(lab, FarLab)
        ]
        return dict.fromkeys([slot(units.tool()), *labs], 1.0)

    def _submit(self, order: Order) -> Future[bytes]:
        return self.client.submit(
            desk.work, self.name, pack(order.task), key=f"{self.name}-{order.unit.number}", pure=False,
            resources=order.needs, retries=RETRIES,
        )  # fmt: skip

    def _done(self, running: Mapping[Future[bytes], Order]) -> list[Future[bytes]]:
        """Those that are done, waited for if need be; LabError where none can be any more."""
        if not running:
            return []
        alone = 0.0
        while True:
            started = time.monotonic()
            try:
                first = wait(list(running), LOOK, "FIRST_COMPLETED")  # type: ignore[no-untyped-call]
                return list(first.done)
            except TimeoutError:
                homeless = self._homeless(running.values())
                alone = alone + time.monotonic() - started if homeless else 0.0
                if alone > PATIENCE:
                    unit = homeless[0].unit
                    words = f"no worker is left that can judge {unit.cells[0]} and {len(homeless) - 1} more units"
                    raise LabError(words, "start one with these labs and run it again: what came is kept") from None

    def _homeless(self, orders: Iterable[Order]) -> list[Order]:
        offers = [set(worker["resources"]) for worker in self._workers().values()]
        return [order for order in orders if not any(order.needs.keys() <= offer for offer in offers)]

    def _result(self, future: Future[bytes]) -> Result:
        try:
            result = unpack(future.result())
        except KilledWorker as error:
            remedy = "see the workers' logs (memory?); what came is kept, run it again to go on"
            raise LabError(f"several workers died of one unit: {error}", remedy) from error
        except RuntimeError as error:
            if "deserialization" not in str(error):
                raise
            raise LabError("the scheduler cannot read a unit", "install the same virt-compat there") from error
        assert isinstance(result, Result)
        return result
