"""Runs that were written down, read back: ``matrix.json`` and ``verdict.json``. What is cut off or foreign is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virtcompat.errors import BadData, UsageError
from virtcompat.judgement import Standing, fingerprint
from virtcompat.model import Cell, CellKey, Change, Column, Finding, Matrix, Outcome, Tier, Verdict
from virtcompat.outputs import json as verdicts
from virtcompat.store.tables import version

MATRIX = "virt-compat/matrix/1"
VERDICT = "virt-compat/verdict/1"
#: What a directory of a run holds, each if it is there.
NAMES = ("matrix.json", "guest-abi.json", "verdict.json")
WRITE = "write it anew: virt-compat matrix --format json, or virt-compat gate"


@dataclass(slots=True)
class Sighting:
    """One finding wherever a run saw it: ``finding`` as it is at its worst, places as (cell, case).

    key: the first cell that has it. unexplained: somewhere no ledger entry accounts for it. standing: a gate's, of an item.
    """

    fingerprint: str
    key: CellKey
    finding: Finding
    places: set[tuple[CellKey, str]]
    unexplained: bool
    standing: Standing | None = None


@dataclass(slots=True)
class Run:
    """One run as its files tell it.

    hidden: of a (cell, case), how many findings its file does not hold. unasked: (cell, case) that could not be asked; an
    empty case is the whole cell. asked: verdicts. codes: a gate's exit codes. candidate: what a gate judged.
    """

    source: str
    gates: set[str] = field(default_factory=set)
    columns: dict[str, Column] = field(default_factory=dict)
    cells: dict[CellKey, Cell] = field(default_factory=dict)
    sightings: dict[str, Sighting] = field(default_factory=dict)
    hidden: dict[tuple[CellKey, str], int] = field(default_factory=dict)
    unasked: set[tuple[CellKey, str]] = field(default_factory=set)
    codes: tuple[int, ...] = ()
    kinds: set[str] = field(default_factory=set)
    asked: int = 0
    candidate: str = ""


def read(path: Path) -> Run:
    """A run from its file, or from every file of one that a directory holds.

    BadData, with the line, for a file that is cut off, of another program or contradicts itself.
    """
    files = [path / name for name in NAMES if (path / name).is_file()] if path.is_dir() else [path]
    if not files:
        raise UsageError(f"{path}: holds no run", f"a run's directory has one of: {', '.join(NAMES)}")
    run = Run(str(path))
    for file in files:
        text, record = _loaded(file)
        if record["schema"] == MATRIX:
            _add_matrix(run, file, _matrix(file, text, record))
        else:
            _add_verdict(run, file, text)
    return run


def matrix(file: Path) -> Matrix:
    """A matrix from its file."""
    text, record = _loaded(file)
    if record["schema"] != MATRIX:
        raise BadData(
            file, f"a {record['schema']}, no matrix", "name a file that 'virt-compat matrix --format json' wrote"
        )
    return _matrix(file, text, record)


def _loaded(file: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(
            file, f"cannot be read: {error}", "check the path, its permissions and that it is UTF-8"
        ) from error
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise BadData(file, f"cut off, or no JSON: {error}", WRITE, line) from error
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema not in (MATRIX, VERDICT):
        raise BadData(file, f"no run of virt-compat: its schema is {schema!r}", f"expected {MATRIX} or {VERDICT}")
    return text, record


def _matrix(file: Path, text: str, record: Mapping[str, Any]) -> Matrix:
    cells: dict[CellKey, Cell] = {}
    at = ""
    try:
        columns = [_column(c) for c in record["columns"]]
        gate = Tier.named(record["gate"])
        for one in record["cells"]:
            at = str(one["cell"])
            cell = _cell(one)
            if str(cell.key) != at or cell.outcome != one["outcome"]:
                raise ValueError("the cell contradicts its own parts")
            if cell.key in cells:
                raise ValueError("the cell is there twice")
            cells[cell.key] = cell
        notes = {name: tuple(str(line) for line in record[name]) for name in ("stale", "notes")}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"missing {error}" if isinstance(error, KeyError) else str(error)
        raise BadData(file, f"not a matrix as it was written: {at}: {what}", WRITE, _line(text, at)) from error
    return Matrix(columns, tuple(cells.values()), gate, stale=notes["stale"], notes=notes["notes"])


def _line(text: str, named: str) -> int:
    """The line that names a cell or an item."""
    found = text.find(f": {json.dumps(named, ensure_ascii=False)}") if named else -1
    return text.count("\n", 0, found) + 1 if found >= 0 else 1


def _column(record: Mapping[str, Any]) -> Column:
    name, libvirt, qemu = (str(record[key]) for key in ("name", "libvirt", "qemu"))
    others = {str(p): str(v) for p, v in record.get("others", {}).items()}
    order = (version(libvirt), version(qemu))
    return Column(name, libvirt, qemu, order, bool(record["golden"]), bool(record["live"]), str(record["note"]), others)


def _cell(record: Mapping[str, Any]) -> Cell:
    counts = {Outcome(name): _count(n) for name, n in record["counts"].items()}
    verdicts = tuple(_verdict(v) for v in record["cases"])
    return Cell(_key(record), counts, Tier.named(record["worst"]), _count(record["unexplained"]), verdicts)


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _verdict(record: Mapping[str, Any]) -> Verdict:
    findings = tuple(_finding(f) for f in record.get("findings", ()))
    return Verdict(str(record["case"]), Outcome(record["outcome"]), findings, str(record.get("reason", "")))


def _finding(record: Mapping[str, Any]) -> Finding:
    words = {name: str(record.get(name, "")) for name in ("old", "new", "product", "entry")}
    return Finding(str(record["path"]), Change(record["change"]), Tier.named(record["tier"]), **words)


def _add_matrix(run: Run, file: Path, matrix: Matrix) -> None:
    run.kinds.add(MATRIX)
    run.gates.add(matrix.gate.label)
    run.columns |= {c.name: c for c in matrix.columns}
    for cell in matrix.cells:
        if run.cells.get(cell.key, cell) != cell:
            raise BadData(file, f"{cell.key} is another in another file of this run", "name one of the files")
        run.cells[cell.key] = cell
        run.asked += cell.asked
        if not cell.asked:
            run.unasked.add((cell.key, ""))
        for verdict in cell.verdicts:
            place = cell.key, verdict.case
            if verdict.outcome in (Outcome.NOT_HERE, Outcome.BROKEN):
                run.unasked.add(place)
            words = verdict.reason.split()
            if verdict.findings and words[1:3] == ["more", "findings:"]:
                run.hidden[place] = int(words[0])
            for finding in verdict.findings:
                _see(run, fingerprint(cell.key, finding), place, finding)


def _see(run: Run, name: str, place: tuple[CellKey, str], finding: Finding, standing: Standing | None = None) -> None:
    seen = run.sightings.setdefault(name, Sighting(name, place[0], finding, set(), unexplained=False))
    seen.places.add(place)
    seen.unexplained |= not finding.explained
    if finding.tier > seen.finding.tier:
        seen.finding = finding
    if standing and (seen.standing is None or _LOUD.index(standing) < _LOUD.index(seen.standing)):
        seen.standing = standing


#: What an item means for the gate, the worst first.
_LOUD = (Standing.REGRESSION, Standing.PENDING, Standing.BEFORE, Standing.WAIVED, Standing.KNOWN)


def _add_verdict(run: Run, file: Path, text: str) -> None:
    """A gate's judgement. Its reader says what is cut off; what contradicts itself is said here."""
    record: Mapping[str, Any] = verdicts.read(text, file)
    at = ""
    try:
        run.kinds.add(VERDICT)
        run.gates.add(Tier.named(record["gate"]).label)
        run.codes = tuple(_count(code) for code in record["codes"])
        run.asked += sum(_count(record["counts"][name]) for name in ("compatible", "incompatible"))
        run.candidate = str(record["candidate"]["name"])
        for column in (record["candidate"], *record["baselines"]):
            run.columns[str(column["name"])] = _column(column)
        for item in record["items"]:
            at = str(item["fingerprint"])
            words = {"old": item["was"], "new": item["now"], "product": item["product"], "entry": item["entry"]}
            finding = _finding({**item, **words})
            for case in item["cases"]:
                _see(run, at, (_key(item), str(case)), finding, Standing(item["standing"]))
        for one in (*record["unreached"], *record["broken"]):
            at = str(one["cell"])
            run.unasked.add((_key(one), ""))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"missing {error}" if isinstance(error, KeyError) else str(error)
        raise BadData(file, f"not a verdict as it was written: {at}: {what}", WRITE, _line(text, at)) from error


def _key(record: Mapping[str, Any]) -> CellKey:
    return CellKey(*(str(record[name]) for name in ("check", "kind", "driver", "old", "new")))
