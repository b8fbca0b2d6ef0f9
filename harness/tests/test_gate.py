"""The gate: what makes it fail, what it forgives, and that it never says pass of what it did not ask."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from virtcompat.engine import gate, labs, waiving
from virtcompat.engine.columns import Columns
from virtcompat.engine.tally import Tally
from virtcompat.errors import BadData, UsageError
from virtcompat.judgement import Item, Judgement, Standing, Unreached, Waiver, fingerprint
from virtcompat.labs import Lab
from virtcompat.model import CellKey, Change, Column, Finding, Outcome, Tier, Verdict
from virtcompat.policy import waivers as policy
from virtcompat.store import paths, releases, waivers

pytestmark = pytest.mark.lab
TODAY = datetime.date(2026, 11, 21)
WHERE = {"driver": "qemu", "path": "/domain/devices/disk[vda]", "new": "debian-14"}
KEY = CellKey("upgrade-disk", "domain", "qemu", "debian-13", "debian-14")
FINDING = Finding("/domain/devices/disk[vda]", Change.REMOVED, Tier.BREAK, "a disk", "")
PRODUCTS = {"debian-13": {"libvirt": "11.3.0"}, "debian-14": {"libvirt": "12.8.0"}}
WORDS = {"reason": "none of ours", "owner": "team", "issue": "https://example.org/1", "expires": "2027-01-31"}
#: A case that libvirt 12.8 loses though 11.3 wrote it, by itself and in no ledger entry.
RED = "graphics-rdp"


def waiver(**changes: Any) -> Waiver:
    words = {"fingerprint": fingerprint(KEY, FINDING), "check": "upgrade-disk", "where": WHERE, **WORDS, **changes}
    return Waiver(**words)


def written(folder: Path, **changes: Any) -> Path:
    file = folder / "waivers.toml"
    waivers.write(file, waiver(**changes))
    return file


def test_a_waiver_comes_back_as_it_was_written(tmp_path: Path) -> None:
    file = written(tmp_path, reason='a "quoted" reason\nof two lines', expires="libvirt 13.0.0")
    waivers.write(file, waiver(fingerprint="0123456789abcdef"), "what it is about")
    first, second = waivers.read(file, TODAY)
    assert (first.reason, first.expires, first.line) == ('a "quoted" reason\nof two lines', "libvirt 13.0.0", 1)
    assert (second.fingerprint, second.expires) == ("0123456789abcdef", "2027-01-31")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"where": {}}, "too broad"),
        ({"where": {"driver": "qemu", "path": "**", "new": "debian-14"}}, "wildcards accepts anything"),
        ({"where": {"driver": "*", "path": "/domain/name", "new": "debian-14"}}, "wildcards accepts anything"),
        ({"where": {"driver": "qemu", "path": "/domain/name"}}, "must name a release"),
        ({"where": {"driver": "qemu", "path": "/domain/name", "old": "*", "new": "*"}}, "must name a release"),
        ({"where": {**WHERE, "colour": "red"}}, "must be a table of"),
        ({"reason": " "}, "without 'reason'"),
        ({"fingerprint": "*"}, "16 hexadecimal digits"),
        ({"expires": "someday"}, "neither a date nor a version"),
        ({"expires": "2030-01-01"}, "more than a year ahead"),
    ],
)
def test_a_waiver_that_accepts_more_than_a_finding_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    file = tmp_path / "waivers.toml"
    waivers.write(file, waiver(fingerprint="0123456789abcdef"))
    waivers.write(file, waiver(**changes))
    with pytest.raises(BadData, match=said) as caught:
        waivers.read(file, TODAY)
    assert caught.value.line == 10


def item(key: CellKey = KEY, finding: Finding = FINDING, case: str = "disk-one") -> Item:
    return Item(fingerprint(key, finding), Standing.REGRESSION, key, finding, (case,), "")


def test_a_waiver_is_about_its_finding_alone() -> None:
    one, products = waiver(), PRODUCTS

    def accepted(key: CellKey = KEY, finding: Finding = FINDING, of: Waiver = one) -> bool:
        return policy.accepts(of, item(key, finding), products)

    assert accepted()
    assert not accepted(CellKey("upgrade-redefine", *str(KEY).split("/")[1:]))
    assert not accepted(CellKey("upgrade-disk", "domain", "test", "debian-13", "debian-14"))
    assert not accepted(CellKey("upgrade-disk", "domain", "qemu", "debian-13", "debian-12"))
    assert not accepted(finding=Finding(FINDING.path, Change.REMOVED, Tier.BREAK, "another disk", ""))
    assert accepted(of=waiver(where={**WHERE, "new": "libvirt >= 12.0"}))
    assert not accepted(of=waiver(where={**WHERE, "new": "libvirt < 12.0"}))
    assert accepted(of=waiver(where={**WHERE, "case": "disk-one"}))
    assert not accepted(of=waiver(where={**WHERE, "case": "disk-two"})), "the same words of another case"


def test_a_waiver_ends_by_day_or_by_version_and_must_match_something() -> None:
    new = {"libvirt": "12.8.0"}
    assert not policy.ended(waiver(), TODAY, new)
    assert policy.ended(waiver(expires="2026-11-20"), TODAY, new)
    assert policy.ended(waiver(expires="libvirt 12.8.0"), TODAY, new)
    assert not policy.ended(waiver(expires="libvirt 12.9"), TODAY, new)
    unused = policy.problems([waiver()], set(), [KEY], PRODUCTS, (TODAY, new))
    assert len(unused) == 1
    assert "matches nothing any more" in unused[0]
    assert policy.problems([waiver()], {0}, [KEY], PRODUCTS, (TODAY, new)) == []
    assert policy.problems([waiver()], set(), [], PRODUCTS, (TODAY, new)) == [], "its cell was not asked"


def ask(folder: Path, *arguments: str, **environment: str) -> tuple[int, dict[str, Any], str]:
    """(exit code, verdict.json, what was printed) of a gate run in a directory."""
    command = [sys.executable, "-c", "from virtcompat.cli import main; main()", "gate", *arguments]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=300
    )
    verdict = folder / "verdict.json"
    return done.returncode, json.loads(verdict.read_text()) if verdict.exists() else {}, done.stdout + done.stderr


PAIR = ("--baseline", "debian-13", "--candidate", "debian-14", "--no-witness")


def test_a_break_fails_a_waiver_accepts_it_and_an_idle_waiver_fails(tmp_path: Path, lab: Lab) -> None:
    narrow = (*PAIR, "--driver", "test", "--surface", "domain", "--case", RED, "--check", "upgrade-redefine")
    code, verdict, said = ask(tmp_path, *narrow)
    assert (code, verdict["word"], verdict["exit_code"]) == (1, "fail", 1), said
    [item] = [i for i in verdict["items"] if i["standing"] == "regression"]
    assert item["cases"] == [RED]
    cell = f"upgrade-redefine/domain/test/debian-13/debian-14/{RED}"
    made = waiving.waive(cell, tmp_path / "waivers.toml", "", {**WORDS, "expires": str(later(90))})
    assert made.fingerprint == item["fingerprint"]
    code, verdict, said = ask(tmp_path, *narrow)
    assert (code, verdict["word"]) == (0, "pass"), said
    assert [i["standing"] for i in verdict["items"]].count("waived") == 1
    assert "none of ours" in said, "a waived item is shown with its reason"
    waivers.write(tmp_path / "waivers.toml", waiver(fingerprint="0" * 16, check="upgrade-redefine", where={
        **made.where, "path": "/domain/devices/no-such"}, expires=str(later(90))))  # fmt: skip
    whole = narrow[: narrow.index("--case")] + narrow[narrow.index("--check") :]
    code, verdict, said = ask(tmp_path, *whole)
    assert code == 2, said
    assert "matches nothing any more" in said


def later(days: int) -> datetime.date:
    return datetime.date.today() + datetime.timedelta(days=days)


def test_an_expired_waiver_fails(tmp_path: Path, lab: Lab) -> None:
    cell = f"upgrade-redefine/domain/test/debian-13/debian-14/{RED}"
    file = tmp_path / "waivers.toml"
    waiving.waive(cell, file, "", {**WORDS, "expires": str(later(1))})
    file.write_text(file.read_text().replace(str(later(1)), str(later(-1))))
    narrow = (*PAIR, "--driver", "test", "--surface", "domain", "--case", RED, "--check", "upgrade-redefine")
    code, verdict, said = ask(tmp_path, *narrow)
    assert (code, verdict["codes"]) == (2, [2, 1]), said
    assert "expired" in said


def test_waive_writes_nothing_where_it_cannot_be_narrow(tmp_path: Path, lab: Lab) -> None:
    file = tmp_path / "waivers.toml"
    cell = "upgrade-redefine/domain/test/debian-13/debian-14"
    with pytest.raises(UsageError, match="is a whole cell"):
        waiving.waive(cell, file, "", WORDS)
    with pytest.raises(UsageError, match="nothing to waive"):
        waiving.waive(f"{cell}/disk-file-minimal", file, "", WORDS)
    with pytest.raises(UsageError, match="no such directory"):
        waiving.waive(f"{cell}/{RED}", tmp_path / "none/waivers.toml", "", WORDS)
    for ended in ("2020-01-01", "libvirt 12.0.0"):
        with pytest.raises(UsageError, match="has ended already"):
            waiving.waive(f"{cell}/{RED}", file, "", {**WORDS, "expires": ended})
    with pytest.raises(BadData, match="more than a year"):
        waiving.waive(f"{cell}/{RED}", file, "", {**WORDS, "expires": "2099-01-01"})
    with pytest.raises(UsageError, match="the change ledger explains it"):
        waiving.waive("upgrade-disk/domain/qemu/debian-13/debian-14/m68k-q800-default", file, "", WORDS)
    assert not file.exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--case", "no-such-fixture", "--surface", "domain"), 3),
        (("--surface", "guest-abi", "--time-budget", "0.001s"), 3),
        (("--driver", "qemu", "--surface", "domain", "--time-budget", "0.000001s"), 3),
        (("--driver", "test", "--surface", "domain", "--surface", "c-api"), 2),
        (("--driver", "no-such"), 2),
        (("--format", "no-such"), 2),
        (("--host",), 2),
        (("--waivers", "/no/such"), 2),
    ],
)
def test_what_was_not_asked_is_never_green(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    fresh = {"VIRT_COMPAT_CACHE": str(tmp_path / "cache")}
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "labs").symlink_to(paths.cache_dir() / "labs")
    (tmp_path / "verdict.json").write_text('{"schema": "virt-compat/verdict/1", "word": "pass"}')
    got, verdict, said = ask(tmp_path, *PAIR, *arguments, **fresh)
    assert got == code, said
    assert verdict.get("word") in (None, "inconclusive"), "the last run's verdict is gone"
    assert "Traceback" not in said


def test_a_missing_lab_is_inconclusive(tmp_path: Path) -> None:
    empty = {"VIRT_COMPAT_CACHE": str(tmp_path / "cache")}
    code, verdict, said = ask(tmp_path, *PAIR, "--driver", "test", "--surface", "domain", "--case", "disk-*", **empty)
    assert (code, verdict["word"]) == (3, "inconclusive"), said
    assert any("lab create debian-14" in u["why"] for u in verdict["unreached"]), said


def test_a_run_cut_off_leaves_no_verdict(tmp_path: Path, lab: Lab) -> None:
    (tmp_path / "verdict.json").write_text('{"schema": "virt-compat/verdict/1", "word": "pass"}')
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "labs").symlink_to(paths.cache_dir() / "labs")
    environment = {**os.environ, "VIRT_COMPAT_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", "from virtcompat.cli import main; main()", "gate", *PAIR]
    running = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 180
    while (tmp_path / "verdict.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    running.send_signal(2)
    assert running.wait(240) == 3
    assert running.stderr is not None
    with running.stderr:
        assert b"interrupted" in running.stderr.read()
    assert not (tmp_path / "verdict.json").exists()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A checkout's data of our own: some fixtures that may be edited, everything else as it is."""
    root = tmp_path / "data"
    (root / "fixtures" / "domain").mkdir(parents=True)
    for file in sorted((paths.data_root() / "fixtures" / "domain").glob("disk-*")):
        shutil.copy(file, root / "fixtures" / "domain")
    for name in ("golden", "suites"):
        (root / name).symlink_to(paths.data_root() / name)
    return root


def test_one_changed_fixture_is_asked_alone_and_a_new_one_is_pending(tmp_path: Path, data: Path, lab: Lab) -> None:
    narrow = (*PAIR, "--driver", "test", "--surface", "domain")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "labs").symlink_to(paths.cache_dir() / "labs")
    environment = {"VIRT_COMPAT_DATA": str(data), "VIRT_COMPAT_CACHE": str(tmp_path / "cache")}
    code, first, said = ask(tmp_path, *narrow, **environment)
    assert code == 0, said
    assert first["counts"]["judged"] > 300
    code, second, _ = ask(tmp_path, *narrow, **environment)
    assert (code, second["counts"]["judged"], second["counts"]["asked"]) == (0, 0, 0)
    file = data / "fixtures" / "domain" / "disk-identity-scsi.xml"
    file.write_text(file.read_text().replace("</domain>", "<title>edited</title></domain>"))
    code, third, said = ask(tmp_path, *narrow, **environment)
    cells = first["counts"]["judged"] / len(list((data / "fixtures" / "domain").glob("*.xml")))
    assert 0 < third["counts"]["judged"] <= cells + 1, "one fixture, in its cells"
    assert 0 < third["counts"]["asked"] < 15, said
    broken = data / "fixtures" / "domain" / "disk-new.xml"
    broken.write_text(file.read_text().replace("disk-identity-scsi", "disk-new").replace("<devices>", "<devices><wrong/>")
                      .replace("<name>", "<uuid>zz</uuid><name>"))  # fmt: skip
    shutil.copy(file.with_suffix(".toml"), broken.with_suffix(".toml"))
    code, fourth, said = ask(tmp_path, *narrow, **environment)
    assert code == 0, said
    assert {i["standing"] for i in fourth["items"] if "disk-new" in i["cases"]} == {"pending"}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """A candidate that is this machine's libvirt, its answers changed on their way out by a sed script."""
    if not Path("/usr/lib/python3/dist-packages/libvirt.py").exists():
        if os.environ.get("CI"):
            raise AssertionError("install python3-libvirt: this machine is a lab of the tests")
        pytest.skip("this machine has no libvirt binding; apt-get install python3-libvirt")
    monkeypatch.setenv("VIRT_COMPAT_CONFIG", str(tmp_path / "config"))
    tree = tmp_path / "tree"
    tree.mkdir()

    def make(script: str) -> str:
        run = tree / "run"
        run.write_text(f"#!/bin/sh\n\"$@\" | sed -u '{script}'\n")
        run.chmod(0o755)
        return labs.adopt("command", {"prefix": str(run), "tree": str(tree)})

    return make


def judged(candidate: str, **request: Any) -> Judgement:
    return gate.judge(gate.Request(("mine",), candidate, ("test",), ("domain",), cases=("disk-*",), **request))


def test_a_candidate_that_lies_is_caught_and_one_that_does_not_passes(own: Callable[[str], str]) -> None:
    labs.add("mine", "host", {})
    same = judged(own(""))
    assert (same.exit_code, same.word) == (0, "pass")
    assert not same.of(Standing.REGRESSION, Standing.PENDING)
    found = judged(own("s/<serial>[^<]*<\\/serial>//g"))
    assert found.exit_code == 1
    regressions = found.of(Standing.REGRESSION)
    assert any("/serial" in i.finding.path for i in regressions)
    witnessed = [i.witness for i in regressions if i.witness]
    assert witnessed
    assert all("<serial>" in w.text and w.text.count("<disk") == 1 for w in witnessed)


def test_another_gate_that_starts_meanwhile_changes_no_candidate(own: Callable[[str], str]) -> None:
    """Both keep theirs in the same file, for the lines that show a break again; each asks its own."""
    name = own("")
    mine = releases.find(name)
    code = "import sys; from virtcompat.engine import labs; labs.adopt('host', {})"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert 'kind = "host"' in (paths.config_dir() / "releases/candidate.toml").read_text()
    assert releases.find(name) == mine
    assert mine.lab["kind"] == "command"


def test_a_break_is_pending_only_where_a_baseline_was_asked(
    own: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("VIRT_COMPAT_CACHE", str(tmp_path / "cache"))
    labs.add("mine", "host", {})
    # None of these checks is about a release by itself, and this cache knows of no release that passed anything.
    found = judged(own("s/<serial>[^<]*<\\/serial>//g"), checks=("same-input",), minimise=False)
    assert (found.exit_code, found.of(Standing.PENDING)) == (1, [])
    assert {item.key.check for item in found.items} == {"same-input"}


def test_what_the_baseline_does_to_one_case_excuses_no_other() -> None:
    columns = Columns([Column("debian-13", "11.3.0", "", ((), ()), golden=True, live=True)])
    made = gate.Gate(gate.Request(("debian-13",), "debian-14"), columns, [])
    said = Finding("(define)", Change.REFUSED, Tier.BREAK, "accepted", "XML error: bad")
    alone = CellKey("upgrade-redefine", "domain", "qemu", "debian-13", "debian-13")
    tally = Tally()
    tally.add(Verdict("disk-one", Outcome.INCOMPATIBLE, (said,)), Tier.BREAK)
    made.learn(alone, tally)
    made.passed |= {("domain", "qemu", case) for case in ("disk-one", "disk-two")}
    key = CellKey("upgrade-redefine", "domain", "qemu", "debian-13", "debian-14")
    assert made.item(key, said, "disk-one").standing is Standing.BEFORE
    assert made.item(key, said, "disk-two").standing is Standing.REGRESSION


def test_missing_labs_are_forgiven_and_the_time_budget_is_not() -> None:
    column = Column("debian-14", "12.8.0", "", ((), ()), golden=True, live=True)

    def code(**how: Any) -> int:
        return Judgement(column, [column], Tier.BREAK, compatible=1, forgiven=True, **how).exit_code

    assert code(unreached=[Unreached(KEY, 3, "no lab")]) == 0
    assert code(unreached=[Unreached(KEY, 3, "the time budget ended first; give it more", late=True)]) == 3


def test_of_one_libvirt_the_candidate_is_the_newer() -> None:
    def column(name: str, libvirt: int, qemu: tuple[int, ...]) -> Column:
        return Column(name, "", "", ((libvirt,), qemu), golden=False, live=True)

    found = [column("mine", 12, ()), column("debian-13", 11, (10,)), column("debian-14", 12, (11,))]
    assert [c.name for c in gate.in_order(found, "mine")] == ["debian-13", "debian-14", "mine"]
    assert [c.name for c in gate.in_order(found, "debian-13")] == ["debian-13", "mine", "debian-14"]


def test_a_verdict_that_cannot_be_written_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    code, _, said = ask(tmp_path, *PAIR, "--verdict", "no-such/verdict.json")
    assert code == 2
    assert "no such directory" in said
