"""What is published together: the report page with the claims and the waivers of this checkout."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from virtcompat.engine import claims, page
from virtcompat.engine.claims import Report
from virtcompat.judgement import Waiver, fingerprint
from virtcompat.model import Matrix
from virtcompat.page import Row
from virtcompat.store import claims as claim_files
from virtcompat.store import paths, releases, waivers

#: Where a checkout keeps the waivers of its own findings, if it has any.
WAIVERS = "waivers.toml"


def report_of_claims() -> Report:
    """The published claims, judged over the releases that come with the tool."""
    return claims.judge(claim_files.load(), tuple(r.name for r in releases.shipped()))


def own_waivers() -> list[Waiver]:
    file = paths.data_root() / WAIVERS
    return waivers.read(file) if file.is_file() else []


def waiver_rows(found: list[Waiver], matrix: Matrix) -> list[Row]:
    """The waivers as the page shows them, each with how many findings it accepts."""
    prints = [
        fingerprint(cell.key, f)
        for cell in matrix.cells
        if found
        for verdict in cell.verdicts
        for f in verdict.findings
    ]
    return [
        {
            "fingerprint": w.fingerprint, "check": w.check, "where": ", ".join(f"{k} {v}" for k, v in w.where.items()),
            "reason": w.reason, "owner": w.owner, "issue": w.issue, "expires": w.expires,
            "items": prints.count(w.fingerprint),
        }
        for w in found
    ]  # fmt: skip


def write_page(
    file: Path,
    report: Report,
    matrix: Matrix | None = None,
    progress: page.Progress = lambda what, done, of: None,
    *,
    dry: bool = False,
) -> list[str]:
    """Write the page of a matrix (of everything where none is given); its name where it changes. dry: say it only."""
    whole = page.everything(progress) if matrix is None else matrix
    rows = [claims.row(r) for r in report.results]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / file.name if dry else file
        if dry and file.is_file():
            shutil.copy(file, target)
        return page.write(target, whole, rows, waiver_rows(own_waivers(), whole), progress)
