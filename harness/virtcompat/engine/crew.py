"""What passes between a run and the workers of a fleet: what a worker has, what it is given, what comes back."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import zstandard

from virtcompat.engine.columns import Columns
from virtcompat.engine.fold import Cost
from virtcompat.engine.judging import Waiting
from virtcompat.errors import LabError
from virtcompat.labs import SCHEMAS, Lab
from virtcompat.model import CellKey, Column, NotHere, Verdict
from virtcompat.store.relay import Row


@dataclass(frozen=True, slots=True)
class Task:
    """A unit on its way to a worker: the columns as the whole fleet has them, and what waits for a verdict.

    Each cell comes with the key under which the caller remembers its verdict.
    """

    columns: Sequence[Column]
    waiting: Sequence[Waiting] = ()
    recorded: Sequence[tuple[CellKey, bytes]] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a task: verdicts by key, the answers behind them; error: (message, remedy) where it failed."""

    verdicts: Mapping[bytes, list[Verdict]] = field(default_factory=dict)
    answers: Sequence[Row] = ()
    cost: Cost = field(default_factory=Cost)
    error: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class About:
    """What a worker has: its columns, the fingerprint of each lab or why there is none. refusal: why it is no use."""

    columns: Sequence[Column] = ()
    labs: Mapping[tuple[str, str], str | NotHere] = field(default_factory=dict)
    notes: Sequence[str] = ()
    refusal: str = ""


def slot(tool: str) -> str:
    """The resource that a worker has one of: one unit at a time, and only those of its own version."""
    return f"virt-compat {tool[:12]}"


def resource(column: str, flavour: str, fingerprint: str) -> str:
    """The resource that stands for one lab: ``debian-12-all 1a2b3c4d5e6f``."""
    return f"{f'{column}-{flavour}'.rstrip('-')} {fingerprint[:12]}"


def pack(record: Task | Result) -> bytes:
    """A record as it travels. dask's own wire is pickle: who may speak to a scheduler is trusted already."""
    return zstandard.compress(pickle.dumps(record), 1)


def unpack(body: bytes) -> object:
    return pickle.loads(zstandard.decompress(body))  # noqa: S301 - see pack


@dataclass(frozen=True, slots=True)
class FarLab:
    """A lab that a worker has: its fingerprint tells answers apart; nothing is started in it from here."""

    release: str
    digest: str
    workdir: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    sandboxed: bool = True
    schemas: str = SCHEMAS

    def fingerprint(self) -> str:
        return self.digest

    def command(self, daemon: bool) -> list[str]:
        raise LabError(f"the lab {self.release} is a worker's", "run it again: what is not judged yet is judged there")


def assembled(crew: Mapping[str, About]) -> tuple[Columns, list[frozenset[str]]]:
    """(the columns as one machine with every worker's labs would have them, the sets of releases that workers can ask).

    A set holds the releases that nobody has a lab of too: of them nothing can be asked anywhere.
    """
    columns: dict[str, Column] = {}
    labs: dict[tuple[str, str], Lab | NotHere] = {}
    owners: dict[tuple[str, str], str] = {}
    for worker, about in sorted(crew.items()):
        for column in about.columns:
            if column.name not in columns or column.live > columns[column.name].live:
                columns[column.name] = column
        for at, lab in about.labs.items():
            if isinstance(lab, NotHere):
                labs.setdefault(at, lab)
                continue
            before = labs.get(at)
            if isinstance(before, FarLab) and before.digest != lab:
                both = f"{owners[at]} and {worker}"
                raise LabError(f"{both} have different labs of {'-'.join(at).rstrip('-')}", "build them anew on one")
            labs[at], owners[at] = FarLab("-".join(at).rstrip("-"), lab), worker
    notes = dict.fromkeys(note for about in crew.values() for note in about.notes)
    found = Columns(sorted(columns.values(), key=lambda c: c.order), labs, list(notes))
    there = {at for at, lab in labs.items() if not isinstance(lab, NotHere)}
    able = {
        frozenset(n for n in columns if all(isinstance(about.labs.get(at), str) for at in there if at[0] == n))
        for about in crew.values()
    }
    return found, sorted((s for s in able if not any(s < other for other in able)), key=lambda s: (-len(s), sorted(s)))
