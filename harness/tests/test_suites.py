"""pytest's view of the suites is the matrix's, and the published matrix is what the releases answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from virtcompat.drivers import OPTIONAL
from virtcompat.engine import columns
from virtcompat.errors import VirtCompatError
from virtcompat.labs import build
from virtcompat.store import paths, releases

pytestmark = pytest.mark.lab
COMMAND = [sys.executable, "-c", "from virtcompat.cli import main; main()"]


@pytest.fixture(scope="module")
def labs() -> None:
    """All labs but the optional ones. Skipped with the remedy where they cannot be built; an error in CI."""
    for release in releases.shipped():
        asked = [flavour for flavour in release.flavours if flavour not in OPTIONAL]
        for name in (release.name, *(f"{release.name}-{flavour}" for flavour in asked)):
            try:
                build.create(releases.find(name))
            except VirtCompatError as error:
                if os.environ.get("CI"):
                    raise
                pytest.skip(str(error))


def run(*arguments: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=timeout)


@pytest.mark.usefixtures("labs")
def test_an_item_is_a_cell_and_says_what_the_matrix_says(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    run("run", "-k", "networkport or (storagevol and upgrade-redefine)", f"--junitxml={report}")
    selected = ["--kind", "networkport", "--kind", "storagevol", "--format", "json"]
    cells = json.loads(run("matrix", *selected).stdout)["cells"]
    wanted = {c["cell"]: c for c in cells if c["kind"] == "networkport" or c["check"] == "upgrade-redefine"}
    items = {case.get("name", ""): case for case in ET.parse(report).iter("testcase")}
    assert set(items) == set(wanted)
    assert len(items) > 30
    for name, case in items.items():
        cell = wanted[name]
        said = {child.tag: child for child in case}
        if cell["unexplained"]:
            assert "failure" in said, name
        elif cell["outcome"] == "incompatible" or cell["outcome"] == "not-applicable":
            assert "skipped" in said, name
        else:
            assert not said.keys() & {"failure", "error", "skipped"}, name


@pytest.mark.usefixtures("labs")
def test_the_published_matrix_is_what_the_releases_answer() -> None:
    found = columns.find(tuple(r.name for r in releases.shipped()))
    if found.notes:
        pytest.skip(f"the mirror has moved since the matrix was published: {found.notes[0]}")
    if not (paths.data_root() / "reports" / "matrix.json").exists():
        pytest.skip("reports/ is not part of a wheel")
    done = run("publish", "--check")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "would change" not in done.stderr
