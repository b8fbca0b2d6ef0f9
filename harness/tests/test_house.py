"""The house rules that no linter knows."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest
from virtcompat import checks, drivers, outputs, renderers, surfaces
from virtcompat.labs import lab_kinds, stages
from virtcompat.model import STATIC
from virtcompat.store import paths

MODULES = sorted(paths.PACKAGE.rglob("*.py"))
FAMILIES = {
    "drivers": drivers.every, "surfaces/kinds": surfaces.every,
    "surfaces/recorded": surfaces.every_recorded, "checks": checks.every, "renderers": renderers.every,
    "labs/kinds": lab_kinds, "outputs": outputs.every, "labs/stages": stages.every,
}  # fmt: skip


@pytest.mark.parametrize("folder", sorted(FAMILIES))
def test_a_file_is_a_member_and_its_name_is_the_members(folder: str) -> None:
    files = {f.stem.replace("_", "-") for f in (paths.PACKAGE / folder).glob("*.py") if f.stem != "__init__"}
    assert set(FAMILIES[folder]()) == files


@pytest.mark.parametrize("file", MODULES, ids=lambda f: str(f.relative_to(paths.PACKAGE)))
def test_sizes(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= (500 if "probes" in file.parts else 400)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 50, node.name


def test_every_driver_kind_is_a_surface() -> None:
    for driver in drivers.every().values():
        assert set(driver.kinds) <= set(surfaces.every())


def test_suites_name_checks_that_exist() -> None:
    for file in (paths.data_root() / "suites").glob("*.toml"):
        table = tomllib.loads(file.read_text())
        assert set(table["checks"]) <= {*checks.every(), STATIC}


def test_no_host_and_no_path_of_a_machine_is_written_down() -> None:
    for file in MODULES + list((paths.PACKAGE / "data").rglob("*.toml")):
        text = file.read_text(encoding="utf-8")
        for word in ("deb.debian.org", "/root/", "/home/user", "pypi.org"):
            assert word not in text, (file, word)
