"""Claims: what makes one hold, refuted or unproven, and that a result which was altered is found out."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import TestResult as ResultOfTests
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from virtcompat.engine import attestation, columns
from virtcompat.engine import claims as engine
from virtcompat.errors import BadData
from virtcompat.labs import Lab
from virtcompat.model import NO_DRIVER, STATIC, CellKey, Change, Finding, Outcome, Tier, Verdict, judged
from virtcompat.policy import claims as policy
from virtcompat.policy.claims import Seen, Share, Standing, Subject
from virtcompat.store import claims as store
from virtcompat.store import paths
from virtcompat.store.claims import Claim

COMMAND = [sys.executable, "-c", "from virtcompat.cli import main; main()"]
NAMES = ["a-1", "b-2", "c-3"]
PRODUCTS = {"a-1": {"libvirt": "7.0.0"}, "b-2": {"libvirt": "9.0.0"}, "c-3": {"libvirt": "11.3.0"}}
SUITE = paths.data_root() / "suites" / "claims"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    everything = {**os.environ, "VIRT_COMPAT_CONFIG": "/nonexistent", **environment}  # nobody's own releases
    command = [*COMMAND, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=everything)


def claim(**keys: Any) -> Claim:
    """A claim about cells, unless it names a table."""
    shared = {"id": "x", "statement": "it holds", "who": "somebody", "published": "nowhere"}
    about = {} if "table" in keys else {"checks": ["upgrade-disk"]}
    return store.parse({**shared, **about, **{k.removesuffix("_"): v for k, v in keys.items()}}, "x.toml", 1)


def known(kind: str, case: str) -> Subject:
    return Subject("committed" if case != "odd" else "volatile", "pc-q35-5.2" if "q35" in case else "")


def cell(*verdicts: Verdict, kind: str = "domain", old: str = "a-1", new: str = "b-2") -> Seen:
    asked = frozenset(v.case for v in verdicts if v.outcome in policy.JUDGED)
    return Seen(CellKey("upgrade-disk", kind, "qemu", old, new), asked, verdicts)


def good(case: str) -> Verdict:
    return Verdict(case, Outcome.COMPATIBLE)


def broken(case: str, tier: Tier = Tier.BREAK, path: str = "/a") -> Verdict:
    return judged(case, [Finding(path, Change.CHANGED, tier, "1", "2")])


MISSING = Verdict("gone", Outcome.NOT_HERE, reason="no lab b-2; virt-compat lab create b-2")


def result(of: Claim, *cells: Seen) -> policy.Result:
    shares = [policy.share(of, seen, known) for seen in cells]
    lacks = policy.lacks(of, shares, policy.pairs(of, NAMES[:2], PRODUCTS), {})
    return policy.Result(of, tuple(shares), (*lacks, *policy.unmatched(of, cells, known)))


def test_a_claim_holds_where_everything_was_asked_and_nothing_is_against_it() -> None:
    found = result(claim(), cell(good("one"), broken("two", Tier.RISK)))
    assert (found.standing, found.asked) == (Standing.HOLDS, 2)


@pytest.mark.parametrize(
    ("least", "tier", "standing"),
    [
        ("break", Tier.RISK, Standing.HOLDS),
        ("break", Tier.BREAK, Standing.REFUTED),
        ("guest-abi-break", Tier.BREAK, Standing.HOLDS),
        ("risk", Tier.RISK, Standing.REFUTED),
        ("addition", Tier.ADDITION, Standing.REFUTED),
    ],
)
def test_a_claim_is_refuted_from_its_tier_on(least: str, tier: Tier, standing: Standing) -> None:
    assert result(claim(refuted_at=least), cell(good("one"), broken("two", tier))).standing is standing


def test_what_could_not_be_asked_leaves_a_claim_unproven_and_says_what_to_do() -> None:
    found = result(claim(), cell(good("one"), MISSING))
    assert found.standing is Standing.UNPROVEN
    assert [(lack.what, lack.remedy) for lack in found.lacks] == [
        ("1 answer is missing: no lab b-2", "virt-compat lab create b-2")
    ]


def test_a_counterexample_refutes_whatever_else_is_missing() -> None:
    found = result(claim(), cell(broken("one"), MISSING))
    assert found.standing is Standing.REFUTED
    assert found.lacks


def test_what_broke_in_the_tool_neither_refutes_nor_proves() -> None:
    assert (
        result(claim(), cell(good("one"), Verdict("two", Outcome.BROKEN, reason="bug"))).standing is Standing.UNPROVEN
    )


def test_nothing_asked_is_nothing_proven() -> None:
    assert result(claim()).standing is Standing.UNPROVEN
    assert result(claim(), cell(Verdict("one", Outcome.NOT_APPLICABLE))).standing is Standing.UNPROVEN
    nowhere = result(claim(from_="a-9"), cell(good("one")))
    assert nowhere.standing is Standing.UNPROVEN
    assert "no pair of releases" in nowhere.lacks[0].what


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ({"drivers": ["qemu", "uml"]}, "no cell covers the driver 'uml'"),
        ({"surfaces": ["domain", "network"]}, "no cell covers the surface 'network'"),
        ({"checks": ["upgrade-disk", "downgrade"]}, "no cell covers the check 'downgrade'"),
        ({"cases": ["one", "nvdimm-*"]}, "cases = 'nvdimm-*' matches nothing"),
        ({"machines": ["pc-i440fx-*", "pc-q35-*"]}, "machines = 'pc-i440fx-*' matches nothing"),
        ({"where": ["one", "/b/**"]}, "where = '/b/**' matches nothing"),
    ],
)
def test_a_name_in_the_scope_that_no_cell_covers_leaves_the_claim_unproven(scope: dict[str, Any], words: str) -> None:
    found = result(claim(**scope), cell(good("one"), good("q35-guest")))
    assert found.standing is Standing.UNPROVEN
    assert any(words in lack.what for lack in found.lacks), found.lacks


@pytest.mark.parametrize(
    ("scope", "asked", "standing"),
    [
        ({"cases": ["one"]}, 1, Standing.HOLDS),
        ({"cases": ["q35-*"]}, 1, Standing.REFUTED),
        ({"machines": ["pc-q35-*"]}, 1, Standing.REFUTED),
        ({"level": "volatile"}, 1, Standing.HOLDS),
        ({"level": "Committed"}, 2, Standing.REFUTED),
    ],
)
def test_a_narrower_claim_is_about_fewer_cases(scope: dict[str, Any], asked: int, standing: Standing) -> None:
    found = result(claim(**scope), cell(good("one"), broken("q35-guest"), good("odd")))
    assert (found.asked, found.standing) == (asked, standing)


def test_a_path_narrows_to_the_findings_below_it_and_to_the_cases_above_it() -> None:
    """``virsh/command/*/positional`` is about every command, and about that one line of each."""
    one, two = broken("virsh/command/x", path="virsh/command/x/option/--a"), good("virsh/command/y")
    other = broken("virt-admin/command/x", path="virt-admin/command/x/positional")
    of = claim(checks=[STATIC], where=["virsh/command/*/positional"])
    assert (result(of, cell(one, two, other)).asked, len(policy.share(of, cell(one, two), known).refuting)) == (2, 0)
    changed = broken("virsh/command/x", path="virsh/command/x/positional")
    assert result(of, cell(changed, two, other)).standing is Standing.REFUTED
    whole = claim(checks=[STATIC], where=["virsh/**"])
    assert result(whole, cell(one, two, other)).standing is Standing.REFUTED


def test_a_pair_that_nobody_asked_is_named() -> None:
    of = claim()
    lacks = policy.lacks(of, [policy.share(of, cell(good("one")), known)], [("a-1", "b-2"), ("b-2", "c-3")], {})
    assert [lack.what for lack in lacks] == ["nothing was asked from b-2 to c-3"]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({}, ["a-1 b-2", "a-1 c-3", "b-2 c-3"]),
        ({"way": "next"}, ["a-1 b-2", "b-2 c-3"]),
        ({"way": "back"}, ["b-2 a-1", "c-3 a-1", "c-3 b-2"]),
        ({"way": "same"}, ["a-1 a-1", "b-2 b-2", "c-3 c-3"]),
        ({"way": "either", "from_": "b-2"}, ["b-2 a-1", "b-2 c-3"]),
        ({"from_": ["a-1", "b-2"], "to": "c-3"}, ["a-1 c-3", "b-2 c-3"]),
        ({"from_": "libvirt >= 9.0"}, ["b-2 c-3"]),
        ({"to": "libvirt < 11"}, ["a-1 b-2"]),
        ({"to": "libvirt <= 11"}, ["a-1 b-2", "a-1 c-3", "b-2 c-3"]),  # as far as the bound is written
        ({"from_": "libvirt >= 7.0, libvirt < 9"}, ["a-1 b-2", "a-1 c-3"]),
        ({"from_": "xen >= 4"}, []),
    ],
)
def test_the_pairs_of_a_claim(scope: dict[str, Any], expected: list[str]) -> None:
    assert [f"{old} {new}" for old, new in policy.pairs(claim(**scope), NAMES, PRODUCTS)] == expected


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ({"from_": "debian-10"}, "from = 'debian-10': no such release"),
        ({"from_": "libvirt >= 6.0"}, "no release with the very version of 'libvirt >= 6.0'"),
        ({"to": "libvirt <= 12.0"}, "no release with the very version of 'libvirt <= 12.0'"),
        ({"to": "libvirt > 12"}, "to = 'libvirt > 12': no such release"),
        ({"from_": "libvirt >= 7.0", "to": "libvirt < 12"}, ""),
    ],
)
def test_a_claim_reaches_no_further_than_what_is_measured(scope: dict[str, Any], words: str) -> None:
    found = [lack.what for lack in policy.unmeasured(claim(**scope), PRODUCTS)]
    assert words in "".join(found) if words else not found


def test_the_digest_of_a_cell_is_of_its_results_and_not_of_addresses() -> None:
    def dead(words: str) -> Seen:
        return cell(judged("one", [Finding("(define)", Change.CRASHED, Tier.BREAK, "", words)]))

    assert dead("SIGSEGV at 0x7fffab12 in pid 311").digest == dead("SIGSEGV at 0x7fffcd34 in pid 12").digest
    assert dead("SIGSEGV at 0x7fffab12").digest != dead("SIGABRT at 0x7fffab12").digest
    assert cell(good("one")).digest != cell(good("one"), good("two")).digest
    assert cell(broken("one", Tier.RISK)).digest != cell(broken("one", Tier.BREAK)).digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[claim]]\nid = "x"\n', "'statement' is missing"),
        ('[[claim]]\nid = "X y"\nstatement = "s"\nchecks = ["static"]\n', "its id is no name"),
        ('[[claim]]\nid = "x"\nstatement = "s"\n', "both checks and a table, or neither"),
        ('[[claim]]\nid = "x"\nstatement = "s"\nchecks = []\n', "'checks' is empty, or not in one line"),
        ('[[claim]]\nid = "x"\nstatement = "s"\nchecks = ["static"]\nway = "up"\n', "no way 'up'"),
        ('[[claim]]\nid = "x"\nstatement = "s"\nchecks = ["static"]\nfrom = "libvirt => 7"\n', "no condition"),
        ('[[claim]]\nid = "x"\nstatement = "s"\nchecks = ["static"]\nfrom = 7\n', "'from' must be a list"),
        ('[[claim]]\nid = "x"\nstatement = "s"\nchecks = ["static"]\nrefuted_at = "bad"\n', "no tier 'bad'"),
        ('[[claim]]\nid = "x"\nstatement = "s"\nchecks = ["static"]\nrows = ["r"]\n', "'rows' says nothing of cells"),
        ('[[claim]]\nid = "x"\nstatement = "s"\ntable = "qemu"\nwhere = ["r"]\n', "'where' says nothing of rows"),
        ('[[claim]]\nid = "x"\nstatement = "s"\nsurface = ["c-api"]\n', "unknown key 'surface'"),
        ('[[claim]]\nstatement = "s"\nchecks = ["static"]\n', "'id' is missing"),
        ('[[claim]]\nid = "x"\nstatement = "s"\nchecks = ["a\\u001b[31mb"]\n', "'checks' is empty, or not in one line"),
        ("claim = []\n", "no claim in it"),
    ],
)
def test_a_wrong_claim_is_named_with_its_line(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(f'who = "w"\npublished = "p"\n\n{text}', encoding="utf-8")
    with pytest.raises(BadData, match=re.escape(words)) as raised:
        store.read(file)
    assert str(raised.value).startswith(f"{file}:{4 if '[[claim]]' in text else 1}: ")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"checks": ["upgrade"]}, "no check 'upgrade'"),
        ({"surfaces": ["capi"]}, "no surface 'capi'"),
        ({"table": "kvm"}, "no stability table 'kvm'"),
        ({"table": "qemu", "rows": ["nothing"]}, "no row of that name and level 'nothing'"),
        ({"table": "qemu", "binding": "huge"}, "no release binding 'huge'"),
    ],
)
def test_a_claim_about_what_does_not_exist_is_wrong(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(BadData, match=words):
        engine.validate(claim(**keys))


MINE = """who = "me"
published = "nowhere"
[[claim]]
id = "mine"
statement = "it survives"
checks = ["upgrade-redefine"]
"""


@pytest.mark.parametrize(
    ("lines", "words", "known"),
    [
        ('drivers = ["vmwrae"]', "no driver 'vmwrae'", "vmware"),
        ('drivers = ["test"]\nlevel = "commited"', "no stability level 'commited'", "committed, uncommitted"),
        ('drivers = ["test"]\nfrom = "libvrit >= 7.0"', "no product 'libvrit'", "libvirt, qemu"),
        ('drivers = "test"', "'drivers' must be a list", 'write drivers = ["…"]'),
    ],
)
def test_a_misspelt_name_in_a_claims_scope_is_bad_data(lines: str, words: str, known: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f"{MINE}{lines}\n", encoding="utf-8")
    done = run("claims", str(file), VIRT_COMPAT_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 2, done.stdout
    assert f"{file}:3: claim 'mine': {words}" in done.stderr
    assert known in done.stderr.partition("remedy: ")[2]


def said_of(of: Claim, *cells: Seen) -> set[str]:
    """What is lacking of a claim about a-1 and b-2, as the engine puts it together."""
    shares = [policy.share(of, seen, known) for seen in cells]
    lacks = policy.lacks(of, shares, policy.pairs(of, NAMES[:2], PRODUCTS), {}, cells)
    return {lack.what for lack in (*policy.unmatched(of, cells, known), *lacks)}


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ({"cases": ["zzz-*"]}, {"cases = 'zzz-*' matches nothing that was asked"}),
        ({"machines": ["zzz-*"]}, {"machines = 'zzz-*' matches nothing that was asked"}),
        ({"where": ["/zzz"]}, {"where = '/zzz' matches nothing that was asked"}),
        ({"level": "private"}, {"nothing that was asked is within its level"}),
        ({"cases": ["one"], "level": "volatile"}, {"nothing that was asked is within its cases and level"}),
        (
            {"cases": ["zzz-*"], "drivers": ["qemu", "uml"]},
            {"cases = 'zzz-*' matches nothing that was asked", "no cell covers the driver 'uml'"},
        ),
        (
            {"cases": ["one"], "surfaces": ["domain", "network"]},
            {"no cell covers the surface 'network' within its cases"},
        ),
        ({"cases": ["one"]}, set()),
    ],
)
def test_a_pattern_that_matches_nothing_is_all_that_is_said_of_what_it_leaves_out(
    scope: dict[str, Any], words: set[str]
) -> None:
    of = claim(**{"checks": ["upgrade-disk"], "drivers": ["qemu"], **scope})
    assert said_of(of, cell(good("one"), good("odd")), cell(good("net"), kind="network")) == words


def test_where_nothing_was_answered_no_pattern_is_blamed() -> None:
    """A document is a case whoever answers; of an interface nobody knows before a record is read."""
    key, of = CellKey(STATIC, "c-api", NO_DRIVER, "a-1", "b-2"), claim(checks=[STATIC], cases=["one"])
    assert said_of(of, Seen(key, frozenset(), [MISSING])) == {"1 answer is missing: no lab b-2"}
    assert said_of(claim(cases=["gone"]), cell(MISSING)) == {"1 answer is missing: no lab b-2"}
    unknown = {"1 answer is missing: no lab b-2", "cases = 'one' matches nothing that was asked"}
    assert said_of(claim(cases=["one"]), cell(MISSING)) == unknown


def test_a_claim_whose_only_pattern_matches_nothing_says_that_first_and_nothing_false(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    scope = 'drivers = ["test"]\nfrom = "debian-13"\nto = "debian-14"\ncases = ["zzz-*"]\n'
    file.write_text(MINE + scope, encoding="utf-8")
    done = run("claims", str(file), "--format", "json", VIRT_COMPAT_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 3, done.stderr
    (found,) = json.loads(done.stdout)["claims"]
    first, *more = found["missing"]
    assert first == {"what": "cases = 'zzz-*' matches nothing that was asked", "remedy": "correct the pattern"}
    assert all("answers are missing: the lab of" in lack["what"] for lack in more)  # no lab is in an empty cache


def test_two_claims_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.toml", "b.toml"):
        shutil.copy(SUITE / "spice.toml", tmp_path / name)
    done = run("claims", str(tmp_path / "a.toml"), str(tmp_path / "b.toml"))
    assert done.returncode == 2
    assert "claim 'spice-previous-major' is in" in done.stderr


def test_every_published_claim_is_about_cells_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRT_COMPAT_CONFIG", "/nonexistent")
    found = columns.find()
    claims = store.load()
    assert {c.id.partition("-")[0] for c in claims} == {"libvirt", "qemu", "spice", "debian"}
    for of in claims:
        pairs = policy.pairs(of, found.names, found.products)
        assert {(k.old, k.new) for k in engine.keys_of(of, found, pairs)} == set(pairs)
        assert of.published.startswith("https://")
        assert not list(policy.unmeasured(of, found.products))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command says of the claims that golden records alone can settle."""
    names = ("libvirt-api", "libvirt-rpc", "libvirt-virsh", "spice-previous-major", "qemu-machine-lifetime")
    chosen = [word for name in names for word in ("--claim", name)]
    file = tmp_path_factory.mktemp("claims") / "claims.json"
    done = run("claims", *chosen, "--format", "json", VIRT_COMPAT_CACHE=str(file.parent))
    assert done.returncode == 1, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return {c["id"]: c for c in report["claims"]}


def test_what_is_published_is_held_against_golden_records(published: dict[str, Any]) -> None:
    standings = {name: c["standing"] for name, c in published.items()}
    assert standings == {
        "libvirt-api": "holds", "libvirt-rpc": "holds", "libvirt-virsh": "refuted", "spice-previous-major": "holds",
        "qemu-machine-lifetime": "holds",
    }  # fmt: skip
    assert all(c["asked"] > 300 and len(c["cells"]) == 6 for c in published.values())
    assert all(c["by"] and c["url"] and c["why"] for c in published.values())


def test_a_refuted_claim_has_a_counterexample_and_the_command_that_shows_it(published: dict[str, Any]) -> None:
    first = published["libvirt-virsh"]["counterexamples"][0]
    assert first["entry"] == "libvirt-11.3-virsh-positional"
    assert published["libvirt-virsh"]["command"] == first["command"]
    shown = run(*shlex.split(first["command"])[1:])
    assert shown.returncode == 0
    assert "virsh/command/attach-disk/positional changed" in shown.stdout


def test_the_command_that_shows_it_is_quoted_for_a_shell() -> None:
    odd = judged("domain/@type 'x'", [Finding("domain/@type 'x'", Change.CHANGED, Tier.BREAK)])
    share = Share(CellKey(STATIC, "schema", NO_DRIVER, "a-1", "b-2"), "", 1, (odd,))
    cause = engine.counterexamples(policy.Result(claim(), (share,), ()))[0]
    assert shlex.split(engine.command(cause))[2] == "static/schema/-/a-1/b-2/domain/@type 'x'"


def test_the_report_is_written_for_people_and_for_a_repository(tmp_path: Path) -> None:
    cache = {"VIRT_COMPAT_CACHE": str(tmp_path)}
    shown = run("claims", "--claim", "libvirt-virsh", "--claim", "spice-link", **cache)
    assert "libvirt-11.3-virsh-positional" in shown.stdout
    assert "1 holds, 1 refuted" in shown.stdout
    text = run("claims", "--claim", "libvirt-virsh", "--format", "markdown", **cache).stdout
    assert "| **refuted** |" in text
    assert "(../golden/changes/libvirt-11.3-virsh-positional.toml)" in text


def test_a_claim_of_my_own_about_what_no_lab_here_can_answer_is_unproven(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        """who = "me"
published = "nowhere"
[[claim]]
id = "networks"
statement = "networks survive"
checks = ["upgrade-redefine"]
surfaces = ["network"]
from = "debian-12"
to = "debian-13"
[[claim]]
id = "output"
statement = "what virsh prints stays"
table = "psarc-2009-212"
rows = ["usr/bin/virsh output"]
[[claim]]
id = "older"
statement = "debian-10 too"
table = "spice"
from = "debian-10"
""",
        encoding="utf-8",
    )
    done = run("claims", str(file), "--format", "json", VIRT_COMPAT_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 3
    found = {c["id"]: c for c in json.loads(done.stdout)["claims"]}
    assert {c["standing"] for c in found.values()} == {"unproven"}
    assert found["networks"]["missing"][0]["remedy"] == "virt-compat lab create debian-13"
    assert "nothing here measures 'usr/bin/virsh output'" in found["output"]["missing"][0]["what"]
    assert "debian-10" in found["older"]["why"]


def test_releases_can_be_narrowed_and_a_scope_that_is_empty_then_is_unproven() -> None:
    done = run("claims", "--claim", "spice-previous-major", "--release", "debian-12", "--release", "debian-13")
    assert done.returncode == 0
    assert "between debian-12, debian-13 alone" in done.stdout
    assert run("claims", "--claim", "spice-previous-major", "--release", "debian-12").returncode == 3
    assert run("claims", "--release", "debian-99").returncode == 2
    assert run("claims", "--claim", "nothing").returncode == 2


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A data root of its own: what may be altered is linked, the rest is the checkout's."""
    root = tmp_path / "data"
    (root / "golden").mkdir(parents=True)
    for name in ("fixtures", "suites"):
        (root / name).symlink_to(paths.data_root() / name)
    for folder in (paths.data_root() / "golden").iterdir():
        if folder.name == "debian-12":
            shutil.copytree(folder, root / "golden" / folder.name, copy_function=os.link)
        else:
            (root / "golden" / folder.name).symlink_to(folder)
    return root


def altered(file: Path, alter: Callable[[str], str]) -> None:
    """Write a file anew: it is a link to the real one."""
    text = file.read_text(encoding="utf-8")
    file.unlink()
    file.write_text(alter(text), encoding="utf-8")


def at_home(root: Path) -> dict[str, str]:
    return {"VIRT_COMPAT_DATA": str(root), "VIRT_COMPAT_CACHE": str(root.parent / "cache")}


def test_an_edited_golden_file_makes_a_claim_unproven_again(elsewhere: Path) -> None:
    wanted = ("claims", "--claim", "spice-previous-major", "--format", "json")
    assert run(*wanted, **at_home(elsewhere)).returncode == 0
    altered(elsewhere / "golden" / "debian-12" / "cpu-models" / "map.txt", lambda text: text + "x = y\n")
    done = run(*wanted, **at_home(elsewhere))
    assert done.returncode == 3, done.stdout
    (found,) = json.loads(done.stdout)["claims"]
    assert found["standing"] == "unproven"
    assert found["missing"][0] == {
        "what": "debian-12: its golden records are damaged (cpu-models/map.txt: edited)",
        "remedy": "git checkout golden/",
    }
    assert not any("debian-12" in key for key in found["cells"])


def attest(file: Path, *names: str, **environment: str) -> dict[str, Any]:
    chosen = [word for name in names for word in ("--claim", name)]
    done = run("claims", *chosen, "--format", "attestation", **environment)
    assert done.returncode in (0, 1, 3), done.stderr
    file.write_text(done.stdout, encoding="utf-8")
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def statement(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """An attestation of two claims, one of them refuted, that golden records alone can settle."""
    file = tmp_path_factory.mktemp("attested") / "claims.intoto.json"
    return file, attest(file, "spice-previous-major", "libvirt-virsh", VIRT_COMPAT_CACHE=str(file.parent))


def test_an_attestation_is_an_in_toto_statement(statement: tuple[Path, dict[str, Any]]) -> None:
    """Read strictly by in-toto's own definitions: a field that they do not have is an error."""
    file, said = statement
    message = json_format.Parse(file.read_text(), StatementMessage())
    Statement.copy_from_pb(message).validate()
    result = json_format.ParseDict(said["predicate"], ResultOfTests())
    assert message.predicate_type == "https://in-toto.io/attestation/test-result/v0.1"
    assert (result.result, list(result.passed_tests)) == ("FAILED", ["spice-previous-major"])
    assert (list(result.failed_tests), list(result.warned_tests)) == (["libvirt-virsh"], [])
    names = {c.name for c in result.configuration}
    assert {"virt-compat", "fixtures", "golden/changes", "golden/debian-11/PROVENANCE.toml"} <= names
    assert all(re.fullmatch(r"[0-9a-f]{64}", c.digest["sha256"]) for c in (*result.configuration, *message.subject))
    with pytest.raises(json_format.ParseError):
        json_format.ParseDict({**said["predicate"], "passed": 1}, ResultOfTests())


def test_an_attestation_is_the_same_whenever_it_is_written(
    statement: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    attest(tmp_path / "again.json", "spice-previous-major", "libvirt-virsh", VIRT_COMPAT_CACHE=str(tmp_path))
    assert (tmp_path / "again.json").read_bytes() == statement[0].read_bytes()


def test_the_digest_of_a_folder_is_what_sha256sum_says(statement: tuple[Path, dict[str, Any]]) -> None:
    root = paths.data_root() / "golden" / "changes"
    lines = "".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in sorted(root.iterdir()))
    here = hashlib.sha256(lines.encode()).hexdigest()
    (said,) = [c for c in statement[1]["predicate"]["configuration"] if c["name"] == "golden/changes"]
    assert said["digest"]["sha256"] == here


def forged(statement: dict[str, Any], alter: Callable[[dict[str, Any]], None], file: Path) -> Path:
    """The statement altered, with the digests of its subjects made to fit again."""
    copy = json.loads(json.dumps(statement))
    alter(copy)
    for subject in copy["subject"]:
        subject["digest"]["sha256"] = attestation._sha256(subject["annotations"])
    file.write_text(json.dumps(copy), encoding="utf-8")
    return file


def virsh(statement: dict[str, Any]) -> dict[str, Any]:
    (subject,) = [s for s in statement["subject"] if s["name"] == "libvirt-virsh"]
    return subject["annotations"]  # type: ignore[no-any-return]


def say_it_holds(said: dict[str, Any]) -> None:
    virsh(said)["standing"] = "holds"


def say_nothing_was_against_it(said: dict[str, Any]) -> None:
    """A careful forger: the cells, the standing and the lists fit each other."""
    virsh(said)["standing"] = "holds"
    for told in virsh(said)["cells"].values():
        told["refuting"] = 0
    said["predicate"] |= {
        "result": "PASSED",
        "passedTests": ["libvirt-virsh", "spice-previous-major"],
        "failedTests": [],
    }
    said["predicate"]["passedTests"] = [s["name"] for s in said["subject"]]


def alter_a_digest(said: dict[str, Any]) -> None:
    next(iter(virsh(said)["cells"].values()))["sha256"] = "0" * 64


def pass_it(said: dict[str, Any]) -> None:
    said["predicate"]["result"] = "PASSED"


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (say_it_holds, "from its cells follows 'refuted'"),
        (say_nothing_was_against_it, "0 of 522 attested, "),
        (alter_a_digest, "the same numbers, other findings"),
        (pass_it, "the result 'PASSED' does not follow"),
    ],
)
def test_an_altered_result_is_contradicted(
    statement: tuple[Path, dict[str, Any]], alter: Callable[[dict[str, Any]], None], words: str, tmp_path: Path
) -> None:
    file = forged(statement[1], alter, tmp_path / "forged.json")
    done = run("verify", str(file), "--sample", "1", VIRT_COMPAT_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert words in done.stdout


def test_a_result_altered_without_its_digest_is_contradicted(
    statement: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    file = tmp_path / "altered.json"
    file.write_text(statement[0].read_text().replace('"refuting": 0', '"refuting": 1', 1))
    done = run("verify", str(file), "--sample", "1", VIRT_COMPAT_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 1
    assert "its digest is not that of what is said of it" in done.stdout


@pytest.mark.parametrize("length", [0, 1, 200, 4000, -3])
def test_an_attestation_that_is_cut_off_is_refused(
    statement: tuple[Path, dict[str, Any]], length: int, tmp_path: Path
) -> None:
    file = tmp_path / "cut.json"
    file.write_bytes(statement[0].read_bytes()[:length])
    done = run("verify", str(file))
    assert done.returncode == 2
    assert re.search(rf"{file}:\d+: not whole JSON", done.stderr)


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"_type": "https://in-toto.io/Statement/v1", "subject": [], "predicate": {}}', "[" * 100000, "\x00"],
)
def test_something_else_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadData, match="remedy"):
        attestation.read(file)


def test_without_labs_an_attestation_is_not_confirmed(statement: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Its static cells are computed anew from golden records all the same."""
    done = run("verify", str(statement[0]), "--seed", "1", VIRT_COMPAT_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "computed anew from golden records: 12 cells" in done.stdout
    assert "not confirmed" in done.stdout


def test_other_inputs_are_named_and_nothing_is_confirmed(
    statement: tuple[Path, dict[str, Any]], elsewhere: Path
) -> None:
    altered(elsewhere / "golden" / "debian-12" / "cpu-models" / "map.txt", lambda text: text + "x = y\n")
    done = run("verify", str(statement[0]), "--seed", "1", **at_home(elsewhere))
    assert done.returncode == 3
    assert "golden/debian-12/PROVENANCE.toml: damaged: cpu-models/map.txt: edited" in done.stdout
    assert "computed anew from golden records: 6 cells" in done.stdout


NETWORKS = """who = "me"
published = "nowhere"
[[claim]]
id = "networks"
statement = "a network survives"
checks = ["upgrade-redefine"]
surfaces = ["network"]
drivers = ["test"]
from = "debian-12"
to = "debian-13"
"""


def forget_a_network(line: str) -> str:
    """A golden record that says of one network that it was refused."""
    first, _, rest = line.partition("\n")
    return json.dumps({**json.loads(first), "status": "refused", "forms": {}}) + "\n" + rest


@pytest.mark.lab
def test_a_sample_is_asked_of_the_labs_and_not_of_golden_records(lab: Lab, elsewhere: Path, tmp_path: Path) -> None:
    """A golden record that lies, its provenance made to fit, gives a claim; the labs contradict it."""
    (tmp_path / "mine.toml").write_text(NETWORKS, encoding="utf-8")
    file = tmp_path / "claims.json"
    data = {"VIRT_COMPAT_DATA": str(elsewhere)}

    def attested() -> int:
        done = run("claims", str(tmp_path / "mine.toml"), "--format", "attestation", **data)
        if done.returncode == 3:
            pytest.skip("no lab of debian-13")
        file.write_text(done.stdout, encoding="utf-8")
        return run("verify", str(file), **data).returncode

    assert attested() == 0
    release = elsewhere / "golden" / "debian-12"
    index = release / "network" / "test.jsonl"
    before = hashlib.sha256(index.read_bytes()).hexdigest()
    altered(index, forget_a_network)
    now = hashlib.sha256(index.read_bytes()).hexdigest()
    altered(release / "PROVENANCE.toml", lambda text: text.replace(before, now))
    assert attested() == 1
