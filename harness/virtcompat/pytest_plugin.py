"""The pytest face of the suites: every ``suites/*.toml`` is a file of items, an item is a matrix cell with all its cases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from virtcompat.engine import columns
from virtcompat.engine import run as engine
from virtcompat.errors import VirtCompatError
from virtcompat.model import STATIC, Cell, CellKey, Fixture, Outcome, Tier
from virtcompat.renderers import causes, sentence
from virtcompat.store import tables

KEYS = {"name": str, "summary": str, "checks": list, "kinds": list, "drivers": list, "gate": str}


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix == ".toml" and file_path.parent.name == "suites":
        return SuiteFile.from_parent(parent, path=file_path)
    return None


class SuiteFile(pytest.File):
    """One suite. Its cells are judged together, in one run, when the first of its items is."""

    def collect(self) -> Iterator[pytest.Item]:
        try:
            table = tables.read(self.path)
            tables.check_keys(self.path, table, KEYS, ("name", "checks"))
            kinds, drivers = tuple(table.get("kinds", ())), tuple(table.get("drivers", ()))
            gate = Tier.named(table.get("gate", "break"))
            self.selection = engine.validated(engine.Selection(tuple(table["checks"]), kinds, drivers, gate=gate))
            self.found = columns.find()
            self.documents = engine.own_documents(self.selection)
        except VirtCompatError as error:
            raise self.CollectError(str(error)) from error
        self.cells: dict[CellKey, Cell] = {}
        there = {(d.kind, driver) for d in self.documents for driver in d.drivers}
        for key in engine.keys(self.found, self.selection):
            if key.check == STATIC or (key.kind, key.driver) in there:
                yield CellItem.from_parent(self, name=str(key), key=key)

    def cell(self, key: CellKey) -> Cell:
        """The cell, after one run over everything that this session selected of the suite."""
        if not self.cells:
            wanted = [i.key for i in self.session.items if isinstance(i, CellItem) and i.parent is self]
            checks = tuple(sorted({k.check for k in wanted}))
            kinds = tuple(sorted({k.kind for k in wanted}))
            drivers = tuple(sorted({k.driver for k in wanted}))
            olds, news = tuple(sorted({k.old for k in wanted})), tuple(sorted({k.new for k in wanted}))
            part = engine.Selection(checks, kinds, drivers, (), olds, news, gate=self.selection.gate)
            chosen: list[Fixture] = [d for d in self.documents if d.kind in kinds]
            self.cells = {cell.key: cell for cell in engine.run(part, chosen, found=self.found).cells}
        return self.cells[key]


class CellItem(pytest.Item):
    """One matrix cell as a test."""

    def __init__(self, key: CellKey, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]  # pytest's own keywords
        self.key = key

    def runtest(self) -> None:
        assert isinstance(self.parent, SuiteFile)
        cell = self.parent.cell(self.key)
        reasons = sorted({v.reason for v in cell.verdicts if v.reason})
        match cell.outcome:
            case Outcome.BROKEN:
                pytest.fail("broken: " + "; ".join(reasons), pytrace=False)
            case Outcome.NOT_HERE:
                pytest.skip("not here: " + "; ".join(reasons[:3]))
            case Outcome.NOT_APPLICABLE:
                pytest.skip("not applicable to any case")
        gate = self.parent.selection.gate
        found = causes([cell], gate)
        new = [c for c in found if not c.finding.explained]
        if cell.unexplained:
            shown = [f"{c.finding.tier.label}: {sentence(c.finding)} [{', '.join(c.cases[:3])}]" for c in new[:20]]
            shown.append(f"virt-compat explain {self.key}")
            pytest.fail("\n".join(shown), pytrace=False)
        missing = cell.counts.get(Outcome.NOT_HERE, 0)
        if missing:
            pytest.skip(f"not here: {missing} of its cases, the others hold; " + "; ".join(reasons[:3]))
        if found:
            pytest.xfail("known: " + ", ".join(sorted({c.finding.entry for c in found})))

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.name
