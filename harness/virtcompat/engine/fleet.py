"""A run on many machines: units judged by the workers of a dask scheduler, verdicts and answers stored here.

The result is made as a local run makes it, of verdicts that are all known by then: a fleet only fills the memory. So a
run that was cut off goes on where it was, and what two machines find is one matrix, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec

from virtcompat.engine import run as engine
from virtcompat.engine import units
from virtcompat.engine.columns import Columns
from virtcompat.engine.crew import assembled
from virtcompat.engine.fold import Cost
from virtcompat.engine.memory import Memory
from virtcompat.engine.run import Progress, Runner, Selection
from virtcompat.errors import LabError, UsageError
from virtcompat.model import NO_DRIVER, STATIC, Fixture, Matrix, Verdict
from virtcompat.store import paths
from virtcompat.store.verdicts import Verdicts


class Known(Verdicts):
    """The verdicts of earlier runs, and for this run alone what is not remembered: what broke or could not be asked."""

    now: Mapping[bytes, list[Verdict]]

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, list[Verdict]]:
        wanted = list(keys)
        return super().get_many(wanted) | {key: self.now[key] for key in wanted if key in self.now}


def run(
    where: str,
    selection: Selection,
    documents: Iterable[Fixture] | None = None,
    progress: Progress = lambda done, of: None,
    size: int = 0,
) -> Matrix:
    """The matrix of :func:`virtcompat.engine.run.run`, judged by the workers of ``dask://HOST:PORT``.

    size: documents a unit, where that is not reckoned. LabError where no scheduler or no worker answers, or the last
    worker with a lab is gone.
    """
    if find_spec("distributed") is None:
        raise UsageError("dask.distributed is not installed", "pip install 'virt-compat[distributed]'")
    from virtcompat.engine import dispatch

    selection, given = units.taken(selection, documents)
    with dispatch.connected(where) as client, dispatch.manned(client, selection.releases) as (name, crew):
        found, sets = assembled(crew)
        _check(found, selection, sets)
        memory = Memory(found)
        try:
            judging = dispatch.Judging(client, name, memory, found, progress)
            judging.judge(list(units.plan(found, selection, given, sets, size)))
            return _folded(memory, found, selection, given, judging.now, judging.cost)
        finally:
            memory.kept.close()


def _check(found: Columns, selection: Selection, sets: Sequence[frozenset[str]]) -> None:
    """UsageError where something is selected that no fleet judges, LabError where no worker has both labs of a cell."""
    for key in engine.keys(found, selection):
        if key.driver == NO_DRIVER:
            if key.check != STATIC:
                raise UsageError(f"{key.check}: guests are not moved by a fleet", "use --shard, or run it here")
        elif not any({key.old, key.new} <= names for names in sets):
            raise LabError(f"no worker has the labs of {key.old} and {key.new} together", "build both on one machine")


def _folded(
    memory: Memory,
    found: Columns,
    selection: Selection,
    documents: Sequence[Fixture],
    now: Mapping[bytes, list[Verdict]],
    cost: Cost,
) -> Matrix:
    """The run as a local one does it, of verdicts that are all there."""
    memory.kept.close()
    memory.kept = Known(paths.cache_dir() / "verdicts.sqlite", memory.kept.tool)
    memory.kept.now = now
    with engine.opened(found) as answers:
        runner = Runner(selection, found, answers, memory)
        runner.run(documents)
        matrix = runner.matrix()
    asked, cached, replayed = cost.asked, cost.cached, cost.replayed
    return replace(
        matrix, asked=asked, cached=cached, replayed=replayed, judged=cost.judged, remembered=cost.remembered
    )
