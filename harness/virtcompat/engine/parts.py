"""Shards of a run: each judged at a place of its own and written as a part file; the parts put together to the matrix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from virtcompat.engine import columns as columns_module
from virtcompat.engine import guests
from virtcompat.engine import run as engine
from virtcompat.engine.columns import Columns
from virtcompat.engine.fold import Cost, Sum, summed
from virtcompat.engine.memory import Memory
from virtcompat.engine.run import Progress, Runner, Selection
from virtcompat.engine.tally import Tally
from virtcompat.engine.units import Unit, inputs, ledger, plan, taken, tool
from virtcompat.errors import BadData, NotAsked, UsageError
from virtcompat.model import NO_DRIVER, CellKey, Change, Column, Finding, Fixture, Matrix, Outcome, Tier, Verdict
from virtcompat.store import parts as store


@dataclass(frozen=True, slots=True)
class Share:
    """Shard ``number`` of ``of``: the units whose number leaves the remainder number - 1."""

    number: int
    of: int

    @classmethod
    def parsed(cls, text: str) -> Share:
        """``2/5`` as a share; UsageError for anything else."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(f"'{text}' is no shard", "write 1/5 for the first of five")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, unit: Unit) -> bool:
        return unit.number % self.of == self.number - 1


def judge(
    share: Share,
    selection: Selection,
    documents: Iterable[Fixture] | None = None,
    progress: Progress = lambda done, of: None,
    left_out: Sequence[str] = (),
) -> tuple[dict[str, object], Sum]:
    """(header, what was found) of one shard. NotAsked where the whole run has nothing to judge."""
    selection, given = taken(selection, documents)
    found = columns_module.find(selection.releases)
    mine, count = [], 0
    for unit in plan(found, selection, given):
        count += 1
        if share.has(unit):
            mine.append(unit)
    if not count:
        raise NotAsked("nothing is selected, so there is nothing to judge", "see 'virt-compat list'")
    header: dict[str, object] = {
        "shard": [share.number, share.of],
        "units": [len(mine), count],
        "inputs": inputs(found, selection, given),
        "selection": {**asdict(selection), "gate": selection.gate.label},
        "columns": [asdict(column) for column in found.columns],
        "notes": found.notes,
        "left out": list(left_out),
    }
    return header, _judged(mine, found, selection, progress)


def _judged(units: Sequence[Unit], found: Columns, selection: Selection, progress: Progress) -> Sum:
    """Judge units, those of one kind and driver together: the more documents, the fewer starts."""
    groups: dict[tuple[str, str], list[Unit]] = {}
    for unit in units:
        groups.setdefault((unit.kind, unit.driver) if unit.documents else ("", NO_DRIVER), []).append(unit)
    whole, of, done = Sum(), sum(unit.cases for unit in units), 0
    memory = Memory(found)
    try:
        with engine.opened(found) as answers:
            for group in groups.values():
                cells = dict.fromkeys(key for unit in group for key in unit.cells)
                own = replace(answers, asked=0, cached=0, replayed=0)
                runner = Runner(selection, found, own, memory, _from(progress, done, of), cells.__contains__)
                runner.run([d for unit in group for d in unit.documents])
                done += sum(unit.cases for unit in group)
                whole.tallies |= {key: Tally() for key in cells}
                whole.add(summed(runner))
    finally:
        memory.kept.close()
    return whole


def _from(progress: Progress, base: int, of: int) -> Progress:
    return lambda done, _: progress(base + done, of)


def write(file: Path, header: Mapping[str, object], found: Sum) -> None:
    """Write what a shard found."""
    lines: list[dict[str, object]] = [_written(key, tally) for key, tally in found.tallies.items() if tally.counts]
    about = {"used": sorted(found.used), "foreign": sorted(found.foreign), "seen": sorted(found.seen & found.foreign)}
    store.write(file, header, [about, *lines], asdict(found.cost))


def sentence(found: Sum) -> str:
    """What a shard comes to, in a few words."""
    counts = _counts(found)
    words = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
    return f"{words or 'none of the units'}; {found.cost.asked} questions asked now"


def exit_code(found: Sum) -> int:
    """0 where a shard is judged, whatever its verdicts (the matrix of all decides); 4 where something is broken."""
    return 4 if _counts(found)[Outcome.BROKEN] else 0


def _counts(found: Sum) -> Counter[Outcome]:
    return sum((tally.counts for tally in found.tallies.values()), Counter())


@dataclass(frozen=True, slots=True)
class Merged:
    """A whole run out of its parts. left_out: documents that were not judged, and why."""

    matrix: Matrix
    left_out: tuple[str, ...]


def merge(files: Sequence[Path]) -> Merged:
    """The matrix of all parts. BadData for a file that is no whole part of the same run, NotAsked where one is missing."""
    read = [store.read(file) for file in files]
    try:
        parts = _together(read)
        header = parts[0].header
        selection = _selection(parts[0])
        found = Columns([_column(c) for c in _list(header["columns"])], notes=[str(n) for n in _list(header["notes"])])
        left_out = tuple(str(line) for line in _list(header["left out"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadData(read[0].file, f"not a part's first line: {error!r}", store.AGAIN) from error
    whole = Sum({key: Tally() for key in engine.keys(found, selection)})
    for part in parts:
        whole.add(_read(part, whole))
    matrix = whole.matrix(found, selection.gate, complete=selection.complete)
    return Merged(matrix, left_out)


def _together(parts: Sequence[store.Part]) -> list[store.Part]:
    """Every shard once, in order; an error that says which file is not of this run, or which shard is missing."""
    shards: dict[int, store.Part] = {}
    first = parts[0]
    _, of = _shard(first)
    for part in parts:
        number, its = _shard(part)
        if its != of:
            raise BadData(
                part.file, f"a shard of {its}, but {first.file} is one of {of}", "merge the shards of one run"
            )
        _same_inputs(first, part)
        before = shards.setdefault(number, part)
        if before.digest != part.digest:
            raise BadData(part.file, f"shard {number}/{of} found something else in {before.file}", store.AGAIN)
    if missing := [f"{n}/{of}" for n in range(1, of + 1) if n not in shards]:
        remedy = f"virt-compat matrix --shard {missing[0]} with the options of the others"
        raise NotAsked(f"{len(missing)} of {of} shards missing: {', '.join(missing[:20])}", remedy)
    return [shards[n] for n in sorted(shards)]


def _same_inputs(first: store.Part, part: store.Part) -> None:
    """BadData where two parts were judged of different things, or by another version than this one."""
    ours: Any = first.header["inputs"]
    theirs: Any = part.header["inputs"]
    if other := [name for name, digest in ours.items() if theirs.get(name) != digest]:
        words = f"judged with other {', '.join(other)} than {first.file}"
        raise BadData(part.file, words, "judge every shard of a run with the same of everything")
    if part is first and (theirs["tool"] != tool() or theirs["change ledger"] != ledger()):
        raise BadData(part.file, "judged by another version of virt-compat", "merge with the version that judged")


def _written(key: CellKey, tally: Tally) -> dict[str, object]:
    record: dict[str, object] = {
        "cell": [key.check, key.kind, key.driver, key.old, key.new],
        "counts": {outcome.value: n for outcome, n in sorted(tally.counts.items())},
        "worst": int(tally.worst),
        "unexplained": tally.unexplained,
        "kept": [_verdict_record(v) for v in tally.kept],
    }
    # Which cases were asked is compared for guests alone.
    return {**record, "seen": sorted(tally.seen)} if key.kind == guests.KIND else record


def _verdict_record(verdict: Verdict) -> list[object]:
    findings = [[f.path, f.change.value, int(f.tier), f.old, f.new, f.product, f.entry] for f in verdict.findings]
    return [verdict.case, verdict.outcome.value, verdict.reason, findings]


def _read(part: store.Part, whole: Sum) -> Sum:
    """What one part found; BadData with the line that is not what a part has there."""
    found = Sum()
    for number, record in part.lines():
        try:
            if "cell" not in record:
                found.used = {str(e) for e in _list(record["used"])}
                found.foreign = {(str(d), str(c)) for d, c in _list(record["foreign"])}
                found.seen = {(str(d), str(c)) for d, c in _list(record["seen"])}
                continue
            key = CellKey(*(str(word) for word in _list(record["cell"])))
            if key not in whole.tallies:
                raise ValueError(f"no cell of this run: {key}")
            found.tallies[key] = _tally(record)
        except (KeyError, TypeError, ValueError) as error:
            raise BadData(part.file, f"not a line of a part: {error}", store.AGAIN, number) from error
    found.cost = Cost(**{name: int(str(part.end[name])) for name in Cost.__dataclass_fields__})
    return found


def _tally(record: Mapping[str, Any]) -> Tally:
    def verdict(case: str, outcome: str, reason: str, findings: list[list[Any]]) -> Verdict:
        read = (Finding(p, Change(c), Tier(t), *rest) for p, c, t, *rest in findings)
        return Verdict(case, Outcome(outcome), tuple(read), reason)

    return Tally(
        Counter({Outcome(name): int(n) for name, n in record["counts"].items()}),
        Tier(record["worst"]),
        int(record["unexplained"]),
        [verdict(*kept) for kept in record["kept"]],
        set(record.get("seen", ())),
    )


def _shard(part: store.Part) -> tuple[int, int]:
    number, of = _list(part.header["shard"])
    return int(str(number)), int(str(of))


def _selection(part: store.Part) -> Selection:
    record: Any = part.header["selection"]
    names = {name: tuple(value) for name, value in record.items() if name != "gate"}
    return Selection(**names, gate=Tier.named(record["gate"]))


def _column(record: Any) -> Column:
    order = tuple(tuple(version) for version in record["order"])
    return Column(**{**record, "order": order})


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"not a list: {value!r}")
    return value
