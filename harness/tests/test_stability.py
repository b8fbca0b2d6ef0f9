"""The stability policy: which change which level allows in which release, and that nothing is assumed."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from virtcompat import surfaces
from virtcompat.engine import columns, static
from virtcompat.engine import stability as engine
from virtcompat.errors import BadData, UsageError
from virtcompat.model import Change, Finding, NotHere, Outcome, Tier, Verdict
from virtcompat.policy.records import merged
from virtcompat.policy.stability import RowVerdict, Standing, Step, judge
from virtcompat.store import ledger, releases
from virtcompat.store import stability as store
from virtcompat.store.stability import Exempt, Lifetime, Row, StabilityTable

COMMAND = [sys.executable, "-c", "from virtcompat.cli import main; main()"]
RELEASES = [r.name for r in releases.shipped()]
STEP = Step({"libvirt": "9.0.0", "qemu": "7.2"}, {"libvirt": "11.3.0", "qemu": "10.0.13"}, "minor")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=300)


def changed(path: str, tier: Tier, change: Change = Change.CHANGED) -> Verdict:
    outcome = Outcome.INCOMPATIBLE if tier >= Tier.BREAK else Outcome.COMPATIBLE
    return Verdict(path, outcome, (Finding(path, change, tier, "1", "2"),))


def table(*rows: Row, exceptions: tuple[Exempt, ...] = (), dates: dict[str, date] | None = None) -> StabilityTable:
    return StabilityTable("t", "a promise", "somewhere", "libvirt", rows, exceptions, dates or {})


def row(pattern: str = "**", level: str = "Committed", **fields: object) -> Row:
    return Row("row", "c-api", ledger.glob([pattern]), level, **fields)  # type: ignore[arg-type]


def one(of: StabilityTable, verdict: Verdict, step: Step = STEP) -> RowVerdict:
    rows, _ = judge(of, store.policy(), step, {"c-api": [verdict]})
    return rows[0]


#: (level, the smallest release that may break it); None: none may.
BREAKS_IN = {
    "Committed": "major", "Uncommitted": "minor", "Volatile": "micro", "Not-an-Interface": "patch", "Private": "patch",
}  # fmt: skip


@pytest.mark.parametrize(("level", "binding"), list(itertools.product(BREAKS_IN, ("major", "minor", "micro", "patch"))))
def test_a_break_is_allowed_in_the_releases_that_may_and_in_no_smaller_one(level: str, binding: str) -> None:
    bindings = store.policy().bindings
    may = bindings.index(binding) <= bindings.index(BREAKS_IN[level])
    step = Step(STEP.old, STEP.new, binding)
    found = one(table(row(level=level)), changed("libvirt/symbol/virFoo", Tier.BREAK), step)
    assert (found.standing is Standing.VIOLATED) is not may
    added = one(table(row(level=level)), changed("libvirt/symbol/virFoo", Tier.ADDITION, Change.ADDED), step)
    assert added.standing is Standing.KEPT


def test_never_is_stronger_than_a_major_release() -> None:
    step = Step(STEP.old, STEP.new, "major")
    broken = changed("libvirt/symbol/virFoo", Tier.BREAK, Change.REMOVED)
    assert one(table(row()), broken, step).standing is Standing.ALLOWED
    assert one(table(row(never=True)), broken, step).standing is Standing.VIOLATED


@pytest.mark.parametrize(
    ("since", "binding", "change", "standing"),
    [
        ("8.0.0", "minor", Change.REMOVED, Standing.ALLOWED),
        ("10.0.0", "minor", Change.REMOVED, Standing.VIOLATED),  # declared after the older release: no notice was given
        ("8.0.0", "patch", Change.REMOVED, Standing.VIOLATED),
        ("8.0.0", "minor", Change.CHANGED, Standing.VIOLATED),  # obsolete is leave to remove, not to change
    ],
)
def test_what_is_obsolete_may_go_after_notice(since: str, binding: str, change: Change, standing: Standing) -> None:
    step = Step(STEP.old, STEP.new, binding)
    assert (
        one(table(row(obsolete=since)), changed("libvirt/symbol/virFoo", Tier.BREAK, change), step).standing is standing
    )


def test_an_exception_excepts_only_what_it_names() -> None:
    exempt = Exempt(
        "c-api", ledger.glob(["libvirt/symbol/virFoo"]), frozenset({Change.REMOVED}), "security", "", "", ""
    )
    of = table(row(), exceptions=(exempt,))
    assert one(of, changed("libvirt/symbol/virFoo", Tier.BREAK, Change.REMOVED)).standing is Standing.EXCEPTED
    assert one(of, changed("libvirt/symbol/virFoo", Tier.BREAK, Change.CHANGED)).standing is Standing.VIOLATED
    assert one(of, changed("libvirt/symbol/virBar", Tier.BREAK, Change.REMOVED)).standing is Standing.VIOLATED


@pytest.mark.parametrize(
    ("path", "change", "standing"),
    [
        ("x86_64/machine/pc-1.0", Change.REMOVED, Standing.ALLOWED),
        ("x86_64/machine/pc-9.0", Change.REMOVED, Standing.VIOLATED),
        ("x86_64/machine/pc-9.0/deprecated", Change.ADDED, Standing.VIOLATED),
        ("x86_64/machine/pc-7.0/deprecated", Change.ADDED, Standing.KEPT),
        ("x86_64/machine/pc-8.8", Change.REMOVED, Standing.VIOLATED),  # of no known age: not assumed to be old
    ],
)
def test_a_lifetime_is_counted_from_the_release_that_introduced_it(
    path: str, change: Change, standing: Standing
) -> None:
    lifetime = Lifetime(re.compile(r"-(\d+\.\d+)(?:/|$)"), 3, 6)
    dates = {"1.0": date(2011, 12, 1), "7.0": date(2022, 4, 19), "9.0": date(2024, 4, 23), "10.0": date(2025, 4, 22)}
    of = StabilityTable("t", "t", "", "qemu", (row(never=True, lifetime=lifetime),), (), dates)
    tier = Tier.RISK if path.endswith("deprecated") else Tier.BREAK
    assert one(of, changed(path, tier, change)).standing is standing


def test_the_special_row_comes_before_the_general_one() -> None:
    of = table(row("libvirt/symbol/virOld", "Volatile"), row("**", "Committed"))
    rows, left = judge(of, store.policy(), STEP, {"c-api": [changed("libvirt/symbol/virOld", Tier.BREAK)]})
    assert [r.standing for r in rows] == [Standing.ALLOWED, Standing.ABSENT]
    assert not left


def test_what_nobody_classified_is_reported() -> None:
    of = table(row("libvirt/**"))
    other = changed("libvirt-new/symbol/virFoo", Tier.BREAK)
    rows, left = judge(of, store.policy(), STEP, {"c-api": [other], "rpc": [changed("remote/x", Tier.IDENTICAL)]})
    assert rows[0].standing is Standing.ABSENT
    assert left == {"c-api": [other], "rpc": [changed("remote/x", Tier.IDENTICAL)]}


def test_what_could_not_be_read_is_no_kept_promise() -> None:
    missing = Verdict("(symbols)", Outcome.NOT_HERE, reason="no libvirt.so.0")
    rows, _ = judge(table(row()), store.policy(), STEP, {"c-api": [missing, changed("libvirt/x", Tier.IDENTICAL)]})
    assert rows[0].standing is Standing.UNKNOWN
    assert rows[0].missing == ["c-api (symbols): no libvirt.so.0"]
    report = engine.Report("a", "b", "minor", [(table(row()), rows)])
    assert report.exit_code == 3


BAD_TABLE = """title = "t"
reference = "r"
[[interface]]
name = "x"
level = "Commited"
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BAD_TABLE, "no stability level 'Commited'"),
        (BAD_TABLE.replace("Commited", "Committed") + 'where = ["a"]\n', "only one of surface and where"),
        (BAD_TABLE.replace("level", "Level"), "unknown key 'Level'"),
        ("title = 1", "'title' must be a str"),
    ],
)
def test_a_wrong_table_is_named_with_its_line(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadData, match=words) as raised:
        store._read(file)
    assert re.match(rf"{file}:\d+: ", str(raised.value))


def test_every_row_of_every_table_is_about_something() -> None:
    """A pattern that matches no interface of any release is a mistake; what is obsolete may be gone."""
    records = static.Records(columns.find(tuple(RELEASES)))
    for of in store.every().values():
        for each in of.rows:
            if not each.surface or each.obsolete:
                continue
            surface = surfaces.every_recorded()[each.surface]
            shown = [records.of(release, surface) for release in RELEASES]
            facts = {path for record in shown if not isinstance(record, NotHere) for path in merged(record)}
            assert any(each.where.match(path) for path in facts), (of.name, each.name)


def test_every_exception_is_used_between_some_releases() -> None:
    for of in store.every().values():
        if not of.exceptions:
            continue
        used = set()
        for old, new in itertools.combinations(RELEASES, 2):
            for _, rows in engine.judge(old, new, "patch", (of.name,)).tables:
                used |= {j.exception.line for r in rows for j in r.changes if j.exception}
        assert {e.line for e in of.exceptions} == used


def test_every_interface_of_every_release_is_in_some_table() -> None:
    assert engine.judge(RELEASES[0], RELEASES[-1], "minor").unclassified == {}


def test_qemu_keeps_its_machine_types_as_long_as_it_said() -> None:
    done = run("stability", "debian-13", "debian-14", "--binding", "patch", "--table", "qemu", "--format", "json")
    report = json.loads(done.stdout)
    versioned = report["tables"][0]["rows"][0]
    assert versioned["verdict"] == "allowed"
    gone = {c["path"]: c["allowed"] for c in versioned["changes"] if c["change"] == "removed"}
    assert gone["x86_64/machine/pc-q35-5.1"] == "6.0 years old, 6 promised"


def test_the_command_says_what_is_wrong_with_its_arguments() -> None:
    assert run("stability", "debian-14", "debian-13").returncode == 2
    assert "major, minor, micro, patch" in run("stability", "debian-12", "debian-13", "--binding", "huge").stderr
    assert "libvirt" in run("stability", "debian-12", "debian-13", "--table", "nobody").stderr
    with pytest.raises(UsageError):
        engine.judge("debian-12", "debian-13", "minor", (), ("nothing",))
