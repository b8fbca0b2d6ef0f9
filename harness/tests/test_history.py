"""History, ways and comparisons: of real records, of made answers, and against trying everything."""

from __future__ import annotations

import io
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from conftest import DOCUMENT, accepted, make_case
from hypothesis import given
from hypothesis import strategies as st
from virtcompat import renderers
from virtcompat.cli import main
from virtcompat.engine import comparison, history, hops, interfaces, published, static
from virtcompat.engine import run as engine
from virtcompat.engine.columns import Columns
from virtcompat.engine.comparison import Fate
from virtcompat.engine.history import History, Subject, Wanted
from virtcompat.engine.hops import Colour, Paths
from virtcompat.engine.run import Selection
from virtcompat.errors import BadData, NotAsked, UsageError
from virtcompat.judgement import Item, Judgement, Standing, Unreached, fingerprint
from virtcompat.model import (
    Answer,
    Cell,
    CellKey,
    Change,
    Column,
    Finding,
    Form,
    Matrix,
    NotHere,
    Outcome,
    Tier,
    Verdict,
    judged,
)
from virtcompat.outputs import json as verdict_json
from virtcompat.store import paths

RELEASES = ("debian-11", "debian-12", "debian-13", "debian-14")


@dataclass(frozen=True)
class Said:
    returncode: int
    stdout: str
    stderr: str


def said(*arguments: str, **environment: str) -> Said:
    """What a command prints and how it ends; of the releases that come with the tool, none that a user here added."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["virt-compat", *arguments])
        for name, value in {"VIRT_COMPAT_CONFIG": "/nonexistent", **environment}.items():
            patch.setenv(name, value)
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    return Said(int(str(ended.value.code)), out.getvalue(), err.getvalue())


def one(case: str, driver: str = "qemu", form: str = "document") -> History:
    (found,) = history.of_cases(Wanted((case,), drivers=(driver,), releases=RELEASES, form=form))
    return found


def entries(found: History) -> dict[str, list[str]]:
    return {s.column.name: [f.entry for f in s.findings if f.entry] for s in found.changes}


# History of documents


def test_each_change_has_its_release_and_its_entry() -> None:
    found = one("domain/disk-bus-usb-cdrom")
    assert [s.status for s in found.steps] == ["accepted"] * 4
    assert entries(found) == {
        "debian-12": ["libvirt-9.0-audio-none-written"],
        "debian-14": ["libvirt-11.5-usb-cdrom"],
    }
    (finding,) = found.steps[3].findings
    assert found.steps[3].why(finding).startswith("libvirt 11.5.0 <libvirt-11.5-usb-cdrom>: ")
    assert history.sentence(found).startswith(
        "Accepted, and what it is today since debian-14 (libvirt 12.8.0, QEMU 11.1"
    )


def test_what_never_changed_and_what_is_refused_since() -> None:
    same = one("disk-bus-usb-cdrom", "test")
    assert history.sentence(same) == "Accepted, the same in every release asked, from debian-11 to debian-14."
    refused = one("disk-network-vxhs")
    assert [s.status for s in refused.steps] == ["accepted"] * 3 + ["refused"]
    assert entries(refused)["debian-14"] == ["libvirt-12.8-vxhs-refused"]
    assert "vxhs" in refused.steps[3].words
    assert history.sentence(refused).startswith("Refused, and what it is today since debian-14")


def test_the_command_line_changes_with_the_document_that_it_is_built_of() -> None:
    found = one("machine-alias-pc", form="argv")
    step = found.steps[1]
    (machine,) = [f for f in step.findings if f.path == "/machine/type"]
    assert (machine.old, machine.new) == ("pc-i440fx-5.2", "pc-i440fx-7.2")
    assert "QEMU 7.2 <qemu-7.2-machine-alias>" in step.why(machine)


def test_a_step_says_what_the_check_of_the_same_input_says() -> None:
    """The check sees the same golden answers by another way."""
    found = history.of_cases(Wanted(kinds=("domain", "network"), drivers=("qemu",), releases=RELEASES))
    chosen = random.Random(7).sample([h for h in found if h.changes], 40)
    selection = Selection(
        ("same-input",), ("domain", "network"), ("qemu",), RELEASES, cases=tuple(h.case for h in chosen)
    )
    cells = {c.key: {v.case: v for v in c.verdicts} for c in engine.run(selection).cells}
    compared = 0
    for one_of in chosen:
        for before, step in pairwise(one_of.steps):
            key = CellKey("same-input", one_of.kind, "qemu", before.column.name, step.column.name)
            verdict = cells[key].get(one_of.case)
            if before.status == step.status == "accepted" and not before.note and not step.note:
                want = {(f.path, f.change, f.entry) for f in verdict.findings} if verdict else set()
                assert {(f.path, f.change, f.entry) for f in step.findings} == want, (key, one_of.case)
                compared += len(want)
    assert compared > 20


COLUMNS = [
    Column(n, v, "7.2", ((i,),), golden=True, live=False)
    for i, (n, v) in enumerate((("a", "9.0.0"), ("b", "11.3.0"), ("c", "12.8.0")))
]


def steps_of(*answers: Answer | NotHere, form: str = "document") -> list[history.Step]:
    """The steps of made answers, a release each."""
    found = Columns(COLUMNS[: len(answers)])
    case = replace(make_case(), products=found.products)
    subject, steps, earlier = Subject(case, form, found), [], []
    for column, answer in zip(found.columns, answers, strict=True):
        steps.append(subject.step(column, answer, earlier))
        if isinstance(answer, Answer):
            earlier.append((column, answer))
    return steps


REFUSED = Answer("refused", message="no such bus")
OTHER = accepted(DOCUMENT.replace("vda", "vdb"))


def test_a_release_that_drops_a_device_is_seen() -> None:
    changed = steps_of(accepted(DOCUMENT), OTHER)[1]
    assert {f.change for f in changed.findings} == {Change.ADDED, Change.REMOVED}
    assert {f.tier for f in changed.findings} == {Tier.GUEST_ABI_BREAK}
    assert changed.why(changed.findings[0]) == "in no ledger entry"
    assert steps_of(accepted(DOCUMENT), accepted(DOCUMENT))[1].findings == ()


def test_what_comes_back_is_held_against_what_it_was() -> None:
    steps = steps_of(accepted(DOCUMENT), REFUSED, OTHER)
    assert [f.change for f in steps[1].findings] == [Change.REFUSED]
    assert steps[2].findings[0].change is Change.ACCEPTED
    assert any("disk[vda]" in f.path for f in steps[2].findings)
    same = steps_of(accepted(DOCUMENT), REFUSED, accepted(DOCUMENT))[2]
    assert [f.change for f in same.findings] == [Change.ACCEPTED]


def test_a_release_that_cannot_be_asked_is_passed_over_and_said() -> None:
    steps = steps_of(accepted(DOCUMENT), NotHere("no lab b", "make one"), OTHER)
    assert (steps[1].status, steps[1].words) == ("not-here", "no lab b; make one")
    assert steps[2].before == "a"
    assert steps[2].findings
    whole = History("domain", "guest", "qemu", "document", "", tuple(steps))
    assert history.exit_code([whole]) == 3
    assert history.sentence(whole).endswith("Not known, or not all of it: b.")
    nothing = History("domain", "guest", "qemu", "document", "", (steps[1],))
    assert history.sentence(nothing) == "Nothing is known: no release could be asked."
    assert history.exit_code([]) == 3


def test_a_death_and_a_form_that_is_not_written_are_changes() -> None:
    died = steps_of(accepted(DOCUMENT), Answer("crashed", message="signal 11"))[1]
    assert [f.change for f in died.findings] == [Change.CRASHED]
    unbuilt = replace(accepted(DOCUMENT), forms={**accepted(DOCUMENT).forms, "argv": Form(error="no tun")})
    built = replace(unbuilt, forms={**unbuilt.forms, "argv": Form("qemu-system-x86_64 -machine pc-q35-5.2")})
    step = steps_of(built, unbuilt, form="argv")[1]
    assert (step.status, step.words) == ("unwritten", "no tun")
    assert [(f.path, f.change) for f in step.findings] == [("(argv)", Change.REFUSED)]


def test_a_refusal_in_other_words_is_not_called_the_same() -> None:
    steps = steps_of(REFUSED, Answer("refused", message="no such disk"))
    whole = History("domain", "guest", "qemu", "document", "", tuple(steps))
    assert whole.reworded
    assert "not always in the same words" in history.sentence(whole)


def test_every_document_under_every_form_has_a_sentence() -> None:
    for form in history.FORMS:
        found = history.of_cases(Wanted(form=form, releases=RELEASES, kinds=("domain",), cases=("[a-f]*",)))
        assert len(found) > 100
        assert all(history.sentence(h).endswith(".") for h in found)
        assert history.exit_code(found) == 0


def test_one_history_is_quick() -> None:
    one("disk-bus-usb-cdrom")
    start = time.process_time()
    one("disk-bus-usb-cdrom")
    assert time.process_time() - start < 0.8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nosuch-*",), "no fixture matches"),
        ((), "one of CASE and --document"),
        (("plain", "--document", "/dev/null"), "one of CASE and --document"),
        (("plain", "--driver", "no-such"), "no driver 'no-such'"),
        (("plain", "--kind", "c-api"), "no fixture matches"),
        (("plain", "--release", "debian-99"), "no release"),
        (("disk-bus-usb-cdrom", "--driver", "test", "--form", "argv"), "is written as argv"),
        (("*", "--surface", "domain"), "is a kind of document"),
        (("nosuch", "--surface", "c-api"), "no interface of c-api matches"),
        (("nosuch*", "--surface", "c-api"), "see golden/*/c-api/, or try '*nosuch*'\n"),
        (("*nosuch*", "--surface", "c-api"), "see golden/*/c-api/\n"),
    ],
)
def test_what_does_not_exist_is_named(arguments: tuple[str, ...], words: str) -> None:
    got = said("history", *arguments)
    assert got.returncode == 2
    assert words in got.stderr


def test_a_document_of_ones_own_without_labs_is_inconclusive(tmp_path: Path) -> None:
    file = tmp_path / "mine.xml"
    file.write_text(DOCUMENT)
    got = said("history", "--document", str(file), "--driver", "qemu", VIRT_COMPAT_CACHE=str(tmp_path / "cache"))
    assert got.returncode == 3
    assert "Nothing is known" in got.stdout
    file.write_text("<nothing/>")
    assert said("history", "--document", str(file)).returncode == 2
    file.write_text(DOCUMENT[:100])
    cut = said("history", "--document", str(file))
    assert cut.returncode == 2
    assert f"{file}:" in cut.stderr
    assert "<string>" not in cut.stderr


@pytest.mark.lab
def test_a_document_of_ones_own_is_asked(lab: object, tmp_path: Path) -> None:
    file = tmp_path / "mine.xml"
    file.write_text(DOCUMENT)
    got = said("history", "--document", str(file), "--driver", "qemu", "--release", "debian-12", "--format", "json")
    assert got.returncode == 0
    (found,) = json.loads(got.stdout)["histories"]
    assert [(r["release"], r["status"]) for r in found["releases"]] == [("debian-12", "accepted")]


def test_the_json_has_what_the_text_has() -> None:
    found = json.loads(said("history", "disk-bus-usb-cdrom", "--driver", "qemu", "--format", "json").stdout)
    assert found["schema"] == "virt-compat/history/1"
    (record,) = found["histories"]
    assert record["since"] == "debian-14"
    assert record["releases"][3]["differences"][0]["entry"] == "libvirt-11.5-usb-cdrom"
    text = said("history", "disk-bus-usb-cdrom", "--driver", "qemu").stdout
    assert text.splitlines()[-1] == record["sentence"]


# History of interfaces


def test_an_interface_comes_and_goes() -> None:
    (new,) = interfaces.of_interfaces("libvirt/symbol/virDomainAbortJobFlags", ("c-api",), RELEASES)
    assert [s.status for s in new.steps] == ["absent", "there", "there", "there"]
    assert history.sentence(new) == "New in debian-12 (libvirt 9.0.0), the same since."
    (gone,) = interfaces.of_interfaces("x86_64/machine/pc-i440fx-2.3", ("machine-types",), RELEASES)
    assert [s.status for s in gone.steps] == ["there", "there", "absent", "absent"]
    assert entries(gone) == {"debian-13": ["qemu-9.1-pc-i440fx-2.0-2.3-removed"]}
    assert history.sentence(gone).startswith("Gone since debian-13 (QEMU 10.0")


def test_interfaces_are_found_by_their_last_step() -> None:
    found = interfaces.of_interfaces("virDomainAbortJobFlags", ("c-api",), RELEASES)
    assert [h.case for h in found] == [
        "libvirt/function/virDomainAbortJobFlags",
        "libvirt/symbol/virDomainAbortJobFlags",
    ]


def test_half_a_record_is_not_taken_for_a_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """debian-13 shows no symbols: whether it has one is not known, and debian-14 is held against debian-12."""
    real = static.Records.of
    gone = NotHere("debian-13: no library", "install it")

    def lacking(self: static.Records, release: str, surface: object) -> object:
        record = real(self, release, surface)  # type: ignore[arg-type]
        return {**record, "symbols": gone} if release == "debian-13" else record  # type: ignore[dict-item]

    monkeypatch.setattr(static.Records, "of", lacking)
    (found,) = interfaces.of_interfaces("libvirt/symbol/virDomainAbortJobFlags", ("c-api",), RELEASES)
    assert [s.status for s in found.steps] == ["absent", "there", "not-here", "there"]
    assert found.steps[3].before == "debian-12"
    assert history.exit_code([found]) == 3
    (function,) = interfaces.of_interfaces("libvirt/function/virDomainAbortJobFlags", ("c-api",), RELEASES)
    assert function.steps[2].partly
    assert history.exit_code([function]) == 3


# Ways

NAMES = ["a", "b", "c", "d", "e"]
PAIRS = list(combinations(NAMES, 2))
COLOURS = st.lists(st.sampled_from(list(Colour)), min_size=len(PAIRS), max_size=len(PAIRS))


def every_way(green: set[tuple[str, str]]) -> Iterator[tuple[str, ...]]:
    for count in range(len(NAMES) - 1):
        for between in combinations(NAMES[1:-1], count):
            way = (NAMES[0], *between, NAMES[-1])
            if all(pair in green for pair in pairwise(way)):
                yield way


def cell(old: str, new: str, outcome: Outcome = Outcome.COMPATIBLE, entry: str = "", **fields: object) -> Cell:
    """A cell of one document; incompatible it has a break."""
    finding = Finding("/domain/title", Change.REMOVED, Tier.BREAK, "a title", "", entry=entry)
    bad = outcome is Outcome.INCOMPATIBLE
    unknown = outcome in (Outcome.NOT_HERE, Outcome.BROKEN)
    verdict = Verdict("guest", outcome, (finding,) if bad else (), "no lab; make one" if unknown else "")
    key = CellKey("upgrade-disk", "domain", "qemu", old, new)
    made = Cell(key, {outcome: 1}, finding.tier if bad else Tier.IDENTICAL, int(bad and not entry), (verdict,))
    return replace(made, **fields)  # type: ignore[arg-type]


OUTCOMES = {Colour.GREEN: Outcome.COMPATIBLE, Colour.RED: Outcome.INCOMPATIBLE, Colour.UNKNOWN: Outcome.NOT_HERE}


def paths_of(cells: list[Cell], names: list[str] = NAMES, gate: Tier = Tier.BREAK, **how: bool) -> Paths:
    flags = {"strict": False, "partly": False, "back": False, **how}
    return hops.judged(cells, names, list(combinations(names, 2)), gate, (), **flags)


@given(COLOURS)
def test_ways_and_cuts_against_trying_everything(colours: list[Colour]) -> None:
    coloured = dict(zip(PAIRS, colours, strict=True))
    cells = [cell(*pair, OUTCOMES[colour]) for pair, colour in coloured.items()]
    if Colour.GREEN not in colours and Colour.RED not in colours:
        with pytest.raises(NotAsked):
            paths_of(cells)
        return
    found = paths_of(cells)
    green = {pair for pair, colour in coloured.items() if colour is Colour.GREEN}
    ways = sorted(every_way(green), key=lambda way: (len(way), [NAMES.index(n) for n in way]))
    assert list(found.ways) == ways
    if ways:
        assert found.exit_code == 0
        assert found.cut == ()
        return
    cut = {(hop.old, hop.new) for hop in found.cut}
    assert not cut & green
    assert not list(every_way(set(PAIRS) - cut))
    bad = [pair for pair in PAIRS if pair not in green]
    assert not any(not list(every_way(set(PAIRS) - set(fewer))) for fewer in combinations(bad, len(cut) - 1))
    hopeful = [*every_way({pair for pair, colour in coloured.items() if colour is not Colour.RED})]
    assert found.exit_code == (3 if hopeful else 1)
    against = [sum(pair not in green for pair in pairwise(way)) for way in every_way(set(PAIRS))]
    assert sum(pair not in green for pair in pairwise(found.repair)) == min(against)


def test_many_releases_are_no_matter() -> None:
    """40 releases, every hop but the last ones green: more ways than can be counted, and a cut of 39 hops."""
    names = [f"r{n:02}" for n in range(40)]
    pairs = list(combinations(names, 2))
    start = time.process_time()
    green = [cell(*pair) for pair in pairs]
    assert len(paths_of(green, names).ways) == hops.WAYS
    found = paths_of([cell(*p, Outcome.INCOMPATIBLE if p[1] == "r39" else Outcome.COMPATIBLE) for p in pairs], names)
    assert (found.exit_code, len(found.cut)) == (1, 39)
    assert time.process_time() - start < 5


def test_what_makes_a_hop_red_unknown_or_green() -> None:
    names = ["a", "b"]
    known = [cell("a", "b", Outcome.INCOMPATIBLE, "an-entry")]
    assert paths_of(known, names).ways == (("a", "b"),)
    strict = paths_of(known, names, strict=True)
    assert strict.exit_code == 1
    (hop,) = strict.cut
    assert hop.cause is not None
    assert hop.command == "virt-compat explain upgrade-disk/domain/qemu/a/b/guest"
    some = cell("a", "b", counts={Outcome.COMPATIBLE: 1, Outcome.NOT_HERE: 1})
    assert paths_of([some], names).exit_code == 3
    assert paths_of([some], names, partly=True).exit_code == 0
    broken = replace(cell("a", "b", Outcome.BROKEN), counts={Outcome.BROKEN: 1, Outcome.COMPATIBLE: 1})
    assert paths_of([broken], names, partly=True).exit_code == 4
    assert paths_of([cell("a", "b", Outcome.INCOMPATIBLE), cell("a", "b", Outcome.BROKEN)], names).exit_code == 1


def test_back_wants_the_way_back_too() -> None:
    names = ["a", "b"]
    cells = [cell("a", "b"), cell("b", "a", Outcome.INCOMPATIBLE)]
    assert paths_of(cells, names).exit_code == 0
    assert paths_of(cells, names, back=True).exit_code == 1


def test_a_real_way_over_the_recorded_interfaces() -> None:
    selection = engine.validated(Selection(kinds=("machine-types", "rpc")))
    found = hops.find("debian-11", "debian-14", selection, via=("debian-12", "debian-13"))
    assert found.ways[0] == ("debian-11", "debian-14")
    assert len(found.ways) == 4
    strict = hops.find("debian-11", "debian-14", selection, via=("debian-12", "debian-13"), strict=True)
    assert strict.exit_code == 1
    assert all(hop.cause is not None and hop.cause.finding.entry for hop in strict.cut)
    with pytest.raises(NotAsked):  # that an older release's API has less says nothing
        hops.find("debian-14", "debian-11", replace(selection, kinds=("c-api",)))


def test_the_way_of_a_matrix_that_was_written_down(tmp_path: Path) -> None:
    names = ["one", "two", "three"]
    columns = [Column(n, f"{at}.0.0", "7.2", ((at,),), golden=True, live=False) for at, n in enumerate(names, 9)]
    cells = [cell("one", "two"), cell("two", "three"), cell("one", "three", Outcome.INCOMPATIBLE)]
    file = tmp_path / "matrix.json"
    file.write_text(renderers.every()["json"].render(Matrix(columns, cells, Tier.BREAK)))
    got = said("path", "one", "three", "--matrix", str(file), "--format", "json")
    assert (got.returncode, json.loads(got.stdout)["ways"]) == (0, [["one", "two", "three"]])
    got = said("path", "one", "three", "--matrix", str(file), "--fail-on", "risk")
    assert got.returncode == 2
    assert "--fail-on break" in got.stderr
    assert said("path", "one", "four", "--matrix", str(file)).returncode == 2
    assert said("path", "one", "one", "--matrix", str(file)).returncode == 2
    assert said("path", "one", "three", "--matrix", str(file), "--check", "same-input").returncode == 3
    file.write_text(file.read_text()[:-200])
    assert said("path", "one", "three", "--matrix", str(file)).returncode == 2


# Comparing runs

NEW = Finding("/domain/cpu", Change.CHANGED, Tier.GUEST_ABI_BREAK, "one", "two")
RISK = Finding("/domain/os", Change.CHANGED, Tier.RISK, "one", "two")
KEY = CellKey("upgrade-disk", "domain", "qemu", "one", "two")
TWO = [
    Column("one", "9.0.0", "7.2", ((9,),), golden=True, live=True),
    Column("two", "11.3.0", "10.0", ((11, 3),), golden=True, live=True),
]


def run_of(*verdicts: Verdict, key: CellKey = KEY, gate: Tier = Tier.BREAK) -> Matrix:
    counts: dict[Outcome, int] = {}
    for verdict in verdicts:
        counts[verdict.outcome] = counts.get(verdict.outcome, 0) + 1
    new = sum(any(f.tier >= gate and not f.explained for f in v.findings) for v in verdicts)
    worst = max((v.worst for v in verdicts), default=Tier.IDENTICAL)
    return Matrix(TWO, [Cell(key, counts, worst, new, tuple(v for v in verdicts if v.findings or v.reason))], gate)


GREEN = judged("guest", [])
NEEDS = Verdict("guest", Outcome.NOT_HERE, reason="no lab; make one")
TORN = Verdict("guest", Outcome.BROKEN, reason="ValueError: x")
Compare = Callable[[Matrix, Matrix], comparison.Comparison]


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    def compared(a: Matrix, b: Matrix) -> comparison.Comparison:
        for name, matrix in (("a", a), ("b", b)):
            (tmp_path / name).write_text(renderers.every()["json"].render(matrix))
        return comparison.compare(tmp_path / "a", tmp_path / "b")

    return compared


def fates(found: comparison.Comparison) -> set[Fate]:
    return {one_of.fate for one_of in found.every}


@pytest.mark.parametrize(
    ("a", "b", "expected", "code"),
    [
        ([GREEN], [GREEN], set(), 0),
        ([GREEN], [judged("guest", [NEW])], {Fate.NEW, Fate.WORSE}, 1),
        ([GREEN], [judged("guest", [RISK])], {Fate.NEW, Fate.CHANGED}, 0),
        ([judged("guest", [NEW])], [GREEN], {Fate.GONE, Fate.BETTER}, 0),
        ([judged("guest", [replace(NEW, tier=Tier.RISK)])], [judged("guest", [NEW])], {Fate.RAISED, Fate.WORSE}, 1),
        ([judged("guest", [NEW])], [judged("guest", [replace(NEW, tier=Tier.RISK)])], {Fate.LOWERED, Fate.BETTER}, 0),
        ([judged("guest", [replace(NEW, entry="e")])], [judged("guest", [NEW])], {Fate.UNEXPLAINED, Fate.WORSE}, 1),
        ([judged("guest", [NEW])], [judged("guest", [replace(NEW, entry="e")])], {Fate.EXPLAINED, Fate.BETTER}, 0),
        ([judged("guest", [NEW]), judged("b", [])], [judged("guest", [NEW]), judged("b", [NEW])], {Fate.SPREAD, Fate.WORSE}, 1),
        ([judged("guest", [NEW]), judged("b", [NEW])], [judged("guest", [NEW]), judged("b", [])], {Fate.RECEDED, Fate.BETTER}, 0),
        # One case is mended and another breaks: the counts are what they were.
        ([judged("guest", [NEW]), judged("b", [])], [judged("guest", []), judged("b", [NEW])], {Fate.SPREAD, Fate.RECEDED}, 1),
        ([GREEN], [NEEDS], {Fate.UNASKED}, 1),
        ([GREEN], [TORN], {Fate.UNASKED}, 1),
        ([judged("guest", [NEW])], [NEEDS], {Fate.UNASKED, Fate.UNKNOWN}, 1),
        ([NEEDS, judged("b", [])], [GREEN, judged("b", [])], {Fate.BETTER}, 0),
    ],
)  # fmt: skip
def test_what_is_worse_and_what_is_not(
    compare: Compare, a: list[Verdict], b: list[Verdict], expected: set[Fate], code: int
) -> None:
    found = compare(run_of(*a), run_of(*b))
    assert fates(found) == expected
    assert found.exit_code == code
    assert found.word == (
        "worse" if code else "better" if expected & set(comparison.GOOD) else "changed" if expected else "the same"
    )


def test_a_cell_that_is_lost_and_one_that_appears(compare: Compare) -> None:
    other = run_of(GREEN, key=replace(KEY, kind="network"))
    both = replace(run_of(GREEN), cells=[*run_of(GREEN).cells, *other.cells])
    assert (fates(compare(both, run_of(GREEN))), compare(both, run_of(GREEN)).exit_code) == ({Fate.LOST}, 1)
    assert (fates(compare(run_of(GREEN), both)), compare(run_of(GREEN), both).exit_code) == ({Fate.APPEARED}, 0)
    # A release more brings what is known of others: no new finding.
    known = judged("guest", [NEW])
    more = replace(run_of(known), cells=[*run_of(known).cells, *run_of(known, key=replace(KEY, new="three")).cells])
    assert compare(run_of(known), more).exit_code == 0


def test_a_file_that_holds_only_the_worst_findings_is_not_believed_further(compare: Compare) -> None:
    """Thirty findings are kept; when one of them is mended, one that was there before takes its place."""
    key = CellKey("static", "c-api", "-", "one", "two")
    every = [Finding(f"libvirt/struct/s/f{n:02}", Change.REMOVED, Tier.BREAK, "1", "") for n in range(32)]

    def kept(findings: list[Finding], more: int) -> Matrix:
        verdict = replace(judged("libvirt/struct/s", findings), reason=f"{more} more findings: virt-compat explain")
        return run_of(verdict, key=key)

    found = compare(kept(every[:30], 2), kept(every[1:31], 1))
    assert fates(found) == {Fate.UNSURE, Fate.UNKNOWN}
    assert found.exit_code == 0
    grown = compare(kept(every[:30], 2), kept(every[1:31], 2 + 1))
    assert Fate.NEW in fates(grown)
    assert grown.exit_code == 1


def test_nothing_to_compare_with_is_no_pass(compare: Compare) -> None:
    with pytest.raises(NotAsked):
        compare(Matrix(TWO, [], Tier.BREAK), run_of(GREEN))
    with pytest.raises(NotAsked):
        compare(run_of(NEEDS), run_of(NEEDS))
    assert compare(run_of(GREEN), Matrix(TWO, [], Tier.BREAK)).exit_code == 1


def test_versions_and_gates_that_differ_are_said(compare: Compare) -> None:
    later = [TWO[0], replace(TWO[1], qemu="10.1"), Column("three", "12", "", (), golden=False, live=True)]
    notes = compare(run_of(GREEN), replace(run_of(GREEN, gate=Tier.RISK), columns=later)).notes
    assert notes == ("the gates differ: break and risk", "two: qemu 10.0 -> 10.1", "three: only in B")


def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    text = renderers.every()["json"].render(run_of(judged("guest", [NEW])))
    file = tmp_path / "matrix.json"
    file.write_text(text)
    assert published.read(file).cells
    for at in range(0, len(text) - 2, 7):
        file.write_text(text[:at])
        with pytest.raises(BadData, match=f"^{file}:"):
            published.read(file)
    file.write_text(text[:600])
    got = said("report", "compare", str(file), str(file))
    assert got.returncode == 2
    assert f"{file}:{text[:600].count(chr(10)) + 1}: cut off" in got.stderr


@pytest.mark.parametrize(
    "change",
    [
        ('"outcome": "incompatible"', '"outcome": "compatible"'),
        ('"incompatible": 1', '"incompatible": -1'),
        ('"incompatible": 1', '"incompatible": "1"'),
        ('"tier": "guest-abi-break"', '"tier": "fine"'),
        ('"change": "changed"', '"change": "improved"'),
        ('"unexplained": 1,', ""),
        ('"driver": "qemu"', '"driver": "test"'),
        ('"gate": "break"', '"gate": "never"'),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_with_its_line(tmp_path: Path, change: tuple[str, str]) -> None:
    text = renderers.every()["json"].render(run_of(judged("guest", [NEW])))
    assert change[0] in text
    file = tmp_path / "matrix.json"
    file.write_text(text.replace(*change, 1))
    with pytest.raises(BadData) as error:
        published.read(file)
    where = text.split('"cell"')[0].count("\n") + 1 if "gate" not in change[0] else 1
    assert str(error.value).startswith(f"{file}:{where}: ")


def test_foreign_files_and_empty_folders_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "package.json"
    for text in ("{}", "[]", '{"schema": "virt-compat/stability/1"}', "\xff"):
        file.write_text(text, encoding="latin-1")
        with pytest.raises(BadData):
            published.read(file)
    with pytest.raises(UsageError):
        published.read(tmp_path)
    assert said("report", "compare", str(tmp_path / "none"), str(tmp_path)).returncode == 2


def item(standing: Standing, finding: Finding = NEW, cases: tuple[str, ...] = ("guest",)) -> Item:
    return Item(fingerprint(KEY, finding), standing, KEY, finding, cases, "virt-compat explain …")


def judgement(*items: Item, unreached: tuple[Unreached, ...] = ()) -> Judgement:
    return Judgement(TWO[1], TWO[:1], Tier.BREAK, items, unreached, compatible=1)


@pytest.mark.parametrize(
    ("a", "b", "expected", "code"),
    [
        (judgement(), judgement(), set(), 0),
        (judgement(), judgement(item(Standing.REGRESSION)), {Fate.NEW}, 1),
        (judgement(), judgement(item(Standing.REGRESSION, RISK)), {Fate.NEW}, 1),
        (judgement(), judgement(item(Standing.KNOWN, RISK)), {Fate.NEW}, 0),
        (judgement(item(Standing.REGRESSION)), judgement(), {Fate.GONE}, 0),
        (judgement(item(Standing.PENDING)), judgement(item(Standing.REGRESSION)), {Fate.REGRESSION}, 1),
        (judgement(item(Standing.REGRESSION)), judgement(item(Standing.REGRESSION, cases=("guest", "b"))), {Fate.SPREAD}, 1),
        (judgement(), judgement(unreached=(Unreached(KEY, 3, "the time was over"),)), {Fate.UNASKED}, 1),
    ],
)  # fmt: skip
def test_two_gates_are_compared(tmp_path: Path, a: Judgement, b: Judgement, expected: set[Fate], code: int) -> None:
    for name, judged_so in (("a", a), ("b", b)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "verdict.json").write_text(verdict_json.OUTPUT.render(judged_so))
    found = comparison.compare(tmp_path / "a", tmp_path / "b")
    assert (fates(found), found.exit_code) == (expected, code)


def test_a_gate_that_asked_nothing_has_mended_nothing(tmp_path: Path) -> None:
    bad, nothing = tmp_path / "a.json", tmp_path / "b.json"
    bad.write_text(verdict_json.OUTPUT.render(judgement(item(Standing.REGRESSION))))
    nothing.write_text(verdict_json.OUTPUT.render(replace(judgement(), compatible=0)))
    found = comparison.compare(bad, nothing)
    assert (fates(found), found.exit_code) == ({Fate.UNKNOWN}, 1)
    assert "the gate's exit codes: 1 -> 3" in found.notes
    with pytest.raises(NotAsked):
        comparison.compare(nothing, bad)


def test_two_builds_of_other_names_are_the_same_place(tmp_path: Path) -> None:
    other = replace(KEY, new="branch")
    branch = replace(judgement(replace(item(Standing.REGRESSION), key=other)), candidate=replace(TWO[1], name="branch"))
    for name, judged_so in (("a", judgement(item(Standing.REGRESSION))), ("b", branch)):
        (tmp_path / name).write_text(verdict_json.OUTPUT.render(judged_so))
    assert comparison.compare(tmp_path / "a", tmp_path / "b").word == "the same"


def test_a_gate_is_not_compared_with_a_matrix_nor_one_without_its_footer(tmp_path: Path) -> None:
    verdict, matrix = tmp_path / "verdict.json", tmp_path / "m.json"
    verdict.write_text(verdict_json.OUTPUT.render(judgement()))
    matrix.write_text(renderers.every()["json"].render(run_of(GREEN)))
    with pytest.raises(UsageError, match="two kinds"):
        comparison.compare(verdict, matrix)
    verdict.write_text(verdict.read_text().replace('"complete": true', '"complete": false'))
    with pytest.raises(BadData):
        published.read(verdict)


HOSTILE = Finding("/domain/title", Change.CHANGED, Tier.BREAK, "a|b<script>", "`]]>\n</td>")


def test_every_format_tells_the_same(tmp_path: Path) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    a.write_text(renderers.every()["json"].render(run_of(GREEN)))
    b.write_text(renderers.every()["json"].render(run_of(judged("guest", [HOSTILE]))))
    name = fingerprint(KEY, HOSTILE)
    record = json.loads(said("report", "compare", str(a), str(b), "--format", "json").stdout)
    assert (record["schema"], record["word"], record["exit_code"]) == ("virt-compat/comparison/1", "worse", 1)
    assert [f["fingerprint"] for f in record["findings"]] == [name]
    markdown = said("report", "compare", str(a), str(b), "--format", "markdown")
    assert markdown.returncode == 1
    assert name in markdown.stdout
    assert "<script>" not in markdown.stdout
    rows = [line for line in markdown.stdout.splitlines() if line.startswith("| **new**")]
    assert len(rows) == 1
    text = said("report", "compare", str(a), str(b), "--all").stdout
    assert name in text
    assert "virt-compat explain upgrade-disk/domain/qemu/one/two/guest" in text


def test_the_published_reports_are_as_they_are() -> None:
    folder = paths.data_root() / "reports"
    found = comparison.compare(folder, folder)
    assert found.word == "the same"
    assert len(found.a.cells) > 900
    whole = published.matrix(folder / "matrix.json")
    assert renderers.every()["json"].render(whole) == (folder / "matrix.json").read_text(encoding="utf-8")


def test_a_page_of_a_matrix_that_was_written_down(tmp_path: Path) -> None:
    file, target = tmp_path / "m.json", tmp_path / "index.html"
    # With the claims that golden records alone can settle: the others ask every release and are asked elsewhere.
    for name in ("fixtures", "golden", "suites/stability", "suites/claims/spice.toml"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).symlink_to(paths.data_root() / name)
    here = {"VIRT_COMPAT_DATA": str(tmp_path / "data")}
    known = run_of(Verdict("plain", Outcome.COMPATIBLE), key=replace(KEY, old="debian-12", new="debian-13"))
    columns = [replace(column, name=name) for column, name in zip(TWO, ("debian-12", "debian-13"), strict=True)]
    file.write_text(renderers.every()["json"].render(replace(known, columns=columns)))
    got = said("report", "page", "--matrix", str(file), "--to", str(target), **here)
    assert (got.returncode, got.stderr) == (0, f"wrote: {target}\n")
    assert target.read_text(encoding="utf-8").startswith("<!")
    file.write_text(renderers.every()["json"].render(Matrix(TWO, [], Tier.BREAK)))
    assert said("report", "page", "--matrix", str(file), "--to", str(target), **here).returncode == 3
