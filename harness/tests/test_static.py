"""Recorded surfaces in general: what holds for every one of them, the text of records, and what is missing or broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from conftest import _standing as standing
from hypothesis import given
from hypothesis import strategies as st
from virtcompat import drivers, surfaces
from virtcompat.engine import columns, static
from virtcompat.engine import run as engine
from virtcompat.engine.memory import Memory
from virtcompat.engine.tally import MANY, Tally
from virtcompat.errors import Absent, BadData, UsageError
from virtcompat.facts import parent
from virtcompat.labs import Lab
from virtcompat.labs.visit import Visit, one, visiting
from virtcompat.model import NO_DRIVER, STATIC, CellKey, Change, Finding, NotHere, Outcome, Tier, Verdict
from virtcompat.policy import records
from virtcompat.store import golden, releases
from virtcompat.store import records as store
from virtcompat.surfaces import RecordedSurface

SURFACES = surfaces.every_recorded()
RELEASES = [r.name for r in releases.shipped()]
COMMAND = [sys.executable, "-c", "from virtcompat.cli import main; main()"]
STEP = st.text(st.characters(codec="utf-8", exclude_characters="/[]=\n\r", exclude_categories=("C", "Z")), min_size=1)
PATHS = st.lists(STEP, min_size=1, max_size=5).map("/".join)
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=20)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=300)


def made(facts: Mapping[str, str] | None = None, **fields: object) -> RecordedSurface:
    """A surface of a test's own, whose reader gives these facts."""
    return RecordedSurface("made", "made", "libvirt", {"part": lambda visit: dict(facts or {})}, **fields)  # type: ignore[arg-type]


@given(st.dictionaries(PATHS, VALUES, min_size=1))
def test_a_record_is_read_back_as_it_was_written(facts: dict[str, str]) -> None:
    text = store.written(facts)
    assert store.parsed(text, Path("record.txt")) == facts
    assert text.splitlines() == sorted(text.splitlines(), key=lambda line: line.partition(" =")[0])


@pytest.mark.parametrize("text", ["", "libvirt/symbol/virFoo\n", "a = 1\na = 2\n", "\n"])
def test_a_damaged_record_is_bad_data_and_never_an_empty_one(text: str) -> None:
    with pytest.raises(BadData, match=r"record\.txt:\d+: "):
        store.parsed(text, Path("record.txt"))


@pytest.mark.parametrize("facts", [{"a = b": "c"}, {"a": "two\nlines"}, {" a": "b"}, {"a": "b "}])
def test_a_fact_that_would_not_be_read_back_is_refused(facts: dict[str, str]) -> None:
    with pytest.raises(BadData):
        store.written(facts)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", SURFACES)
def test_every_release_has_a_record_that_is_silent_against_itself(name: str, release: str) -> None:
    surface = SURFACES[name]
    record = store.recorded(release, name, tuple(surface.parts))
    assert record is not None, f"virt-compat record {release} --surface {name}"
    for back in (False, True):
        verdicts = records.compare(surface, record, record, back=back)
        known = [v for v in verdicts if v.outcome is not Outcome.NOT_HERE]
        assert known
        assert {v.outcome for v in known} == {Outcome.COMPATIBLE}
        assert not [f for v in known for f in v.findings]


@pytest.mark.parametrize("name", SURFACES)
def test_what_is_taken_from_a_record_is_seen(name: str) -> None:
    """A check that cannot fail is none: every fourth interface is taken away in turn."""
    surface = SURFACES[name]
    record = store.recorded("debian-13", name, tuple(surface.parts))
    assert record is not None
    facts = records.merged(record)
    cases = [v.case for v in records.compare(surface, record, record) if v.outcome is not Outcome.NOT_HERE]
    for case in cases[:: max(1, len(cases) // 4)]:
        left = {
            part: of if isinstance(of, NotHere) else {p: v for p, v in of.items() if not _in(p, case)}
            for part, of in record.items()
        }
        assert any(_in(path, case) for path in facts)
        changed = [v for v in records.compare(surface, record, left) if v.findings]
        if name == "guest-abi" and case.endswith("/plain"):
            assert changed, case  # the other device sets are written down as what they change of it
            continue
        if name == "guest-abi":
            # That a machine type is gone is for the surface machine-types to say; what it is made of is this one's.
            assert not changed, case
            bare = {p: of if isinstance(of, NotHere) else _without(of, f"{case}/pci") for p, of in record.items()}
            changed = [v for v in records.compare(surface, record, bare) if v.findings]
            assert changed or not any(p.startswith(f"{case}/pci") for p in facts), case
            continue
        assert changed, case


def _without(facts: Mapping[str, str], above: str) -> dict[str, str]:
    return {path: value for path, value in facts.items() if not path.startswith(above)}


def _in(path: str, case: str) -> bool:
    return path == case or path.startswith(f"{case}/")


#: Read of one release here: a minute, or what tests of their own read as well.
SLOW = ("containers", "guest-abi", "rpc-daemon", "standins", "command-line")


@pytest.mark.lab
@pytest.mark.parametrize("release", ["debian-12", "debian-14"])
@pytest.mark.parametrize("name", SURFACES)
def test_a_lab_is_read_as_it_was_recorded(name: str, release: str) -> None:
    """Recording again gives the same bytes."""
    surface = SURFACES[name]
    if surface.flavour in drivers.OPTIONAL and not os.environ.get("VIRT_COMPAT_XEN"):
        pytest.skip("boots a Xen host: tox -e xen")
    if name == "host-behaviour":
        pytest.skip("test_host_behaviour reads every part of it")
    if name in SLOW and release != "debian-14":
        pytest.skip("one release here, others in its own tests")
    lab = standing(f"{release}-{surface.flavour}" if surface.flavour else release)
    provenance = golden.provenance(release)
    assert provenance is not None
    if provenance.packages.get(surface.flavour, lab.versions) != lab.versions:
        pytest.skip("the mirror has moved since this was recorded")
    record = store.recorded(release, name, tuple(surface.parts)) or {}
    for part, facts in static.read(lab, surface).items():
        kept = record[part]
        if isinstance(facts, NotHere) and name == "containers":  # wants real root and control groups of version 1
            pytest.skip(f"{facts.reason}; {facts.remedy}")
        if isinstance(facts, NotHere) or isinstance(kept, NotHere):
            assert type(facts) is type(kept), (part, facts, kept)
        else:
            assert store.written(facts) == store.written(kept), part


def test_a_part_that_is_not_known_is_never_equal() -> None:
    surface = made()
    gone = NotHere("no headers", "install libvirt-dev")
    for old, new in (({"part": gone}, {"part": {"a/b/c": "1"}}), ({"part": {"a/b/c": "1"}}, {}), ({}, {})):
        verdicts = records.compare(surface, old, new)
        assert [v.outcome for v in verdicts] == [Outcome.NOT_HERE]
        assert verdicts[0].case == "(part)"
        assert verdicts[0].reason


def test_interfaces_are_counted_folded_and_graded() -> None:
    surface = made(rules=(("/loud/", Tier.GUEST_ABI_BREAK, Tier.RISK, Tier.BREAK),))
    old = {"a/b/kept": "1", "a/b/gone": "1", "a/b/gone/field": "2", "a/loud/x": "1", "other/thing": "1"}
    new = {"a/b/kept": "1", "a/b/fresh": "1", "a/loud/x": "2", "other/thing": "1"}
    verdicts = {v.case: v for v in records.compare(surface, {"part": old}, {"part": new})}
    assert set(verdicts) == {"a/b/kept", "a/b/gone", "a/b/fresh", "a/loud/x", "other/thing"}
    gone = verdicts["a/b/gone"].findings
    assert [(f.path, f.change, f.old) for f in gone] == [("a/b/gone", Change.REMOVED, "1 field=2")]
    assert verdicts["a/b/fresh"].worst is Tier.ADDITION
    assert verdicts["a/loud/x"].worst is Tier.GUEST_ABI_BREAK
    assert verdicts["a/b/kept"].outcome is Outcome.COMPATIBLE


@pytest.mark.parametrize(
    ("path", "above"), [("a/b/c", "a/b"), ("a/[b/c]", "a"), ("a/[b/c]/d", "a/[b/c]"), ("a", ""), ("a/[x/[y]/z]", "a")]
)
def test_a_slash_within_brackets_parts_no_steps(path: str, above: str) -> None:
    assert parent(path) == above


def _judged(monkeypatch: pytest.MonkeyPatch, reader: Callable[[Visit], Mapping[str, str]], lab: Lab) -> list[object]:
    surface = RecordedSurface("made", "made", "libvirt", {"part": reader})
    monkeypatch.setattr(surfaces, "every_recorded", lambda: {"made": surface})
    found = columns.Columns()
    for name in ("old", "new"):
        found.columns.append(columns.Column(name, "1", "1", (), golden=False, live=True))
        found.labs[name, ""] = lab
    return list(static.judge(CellKey(STATIC, "made", "-", "old", "new"), static.Records(found)))


@pytest.mark.lab
def test_what_a_lab_lacks_is_not_here_and_a_damaged_file_is_broken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lab: Lab
) -> None:
    monkeypatch.setenv("VIRT_COMPAT_CACHE", str(tmp_path))

    def lacking(visit: Visit) -> Mapping[str, str]:
        return dict.fromkeys(one(visit, "crystal ball", "crystal-ball", "/usr/lib/no-such-*"), "there")

    def damaged(visit: Visit) -> Mapping[str, str]:
        raise BadData("/usr/lib/libvirt.so.0", "not a whole ELF file", "build the lab anew")

    monkeypatch.setattr(static, "reader_digest", lambda: "lacking")
    (verdict,) = _judged(monkeypatch, lacking, lab)
    assert verdict.outcome is Outcome.NOT_HERE  # type: ignore[attr-defined]
    assert "crystal-ball" in verdict.reason  # type: ignore[attr-defined]
    monkeypatch.setattr(static, "reader_digest", lambda: "empty")
    (verdict,) = _judged(monkeypatch, lambda visit: {}, lab)
    assert verdict.outcome is Outcome.NOT_HERE  # type: ignore[attr-defined]
    monkeypatch.setattr(static, "reader_digest", lambda: "damaged")
    (verdict,) = _judged(monkeypatch, damaged, lab)
    assert verdict.outcome is Outcome.BROKEN  # type: ignore[attr-defined]
    assert "not a whole ELF file" in verdict.reason  # type: ignore[attr-defined]


@pytest.mark.lab
def test_a_record_of_a_lab_is_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lab: Lab) -> None:
    monkeypatch.setenv("VIRT_COMPAT_CACHE", str(tmp_path))
    read: list[str] = []

    def reader(visit: Visit) -> Mapping[str, str]:
        read.append(visit.release)
        return {"a/b/c": "1"}

    for _ in range(2):
        (verdict,) = _judged(monkeypatch, reader, lab)
        assert verdict.outcome is Outcome.COMPATIBLE  # type: ignore[attr-defined]
    assert len(read) == 1


@pytest.mark.lab
def test_a_visit_reads_runs_and_says_what_is_not_there(lab: Lab) -> None:
    with visiting(lab) as visit:
        assert visit.read("/etc/hostname") == {"/etc/hostname": b"virt-compat\n"}
        assert visit.read("/no/such/*") == {}
        assert visit.run("sh", "-c", "cat; exit 3", stdin="words").code == 3
        assert visit.run("sh", "-c", "kill -9 $$").code == -9
        path, data = visit.library("libvirt.so.0")
        assert path.startswith("/usr/lib/")
        assert data[:4] == b"\x7fELF"
        with pytest.raises(Absent, match="no program"):
            visit.run("no-such-program")
        with pytest.raises(Absent, match="libnothing"):
            visit.library("libnothing.so.7")


@pytest.mark.lab
def test_a_command_that_does_not_end_is_ended(lab: Lab) -> None:
    from virtcompat.errors import LabError

    with visiting(lab) as visit, pytest.raises(LabError, match="no end within"):
        visit.run("sleep", "60", limit=0.3)


def test_what_is_cut_from_a_published_cell_still_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cell keeps the worst findings of a case; its tier and what is unexplained come from all of them."""
    monkeypatch.setenv("VIRT_COMPAT_CACHE", str(tmp_path))
    many = tuple(Finding(f"made/x/{n:03}", Change.CHANGED, Tier.BREAK, "1", "2", entry="known") for n in range(MANY))
    last = Finding("made/x/999", Change.REMOVED, Tier.GUEST_ABI_BREAK, "1", "")
    key = CellKey(STATIC, "machine-types", NO_DRIVER, "debian-12", "debian-13")
    found = columns.find(("debian-12", "debian-13"))
    with engine.opened(found) as answers:
        memory = Memory(found)
        tallies: dict[CellKey, Tally] = {key: Tally()}
        runner = engine.Runner(engine.Selection(), found, answers, memory, tallies=tallies, crossed={key: []})
        runner._collect(key, Verdict("made/x", Outcome.INCOMPATIBLE, (*many, last)))
        cell = runner.tallies[key].cell(key)
    assert cell.worst is Tier.GUEST_ABI_BREAK
    assert cell.unexplained == 1
    assert len(cell.verdicts[0].findings) == MANY
    assert last in cell.verdicts[0].findings
    assert cell.verdicts[0].reason == "1 more findings: virt-compat explain"


def test_machine_types_that_go_are_breaks_and_new_ones_are_additions() -> None:
    cell = json.loads(run("matrix", "--surface", "machine-types", "--format", "json").stdout)
    cells = {c["cell"]: c for c in cell["cells"]}
    step = cells["static/machine-types/-/debian-13/debian-14"]
    gone = {c["case"] for c in step["cases"] if c["outcome"] == "incompatible"}
    assert "x86_64/machine/pc-q35-5.1" in gone
    assert "x86_64/machine/pc-q35-5.2" not in gone
    assert step["unexplained"] == 0
    assert cells["static/machine-types/-/debian-14/debian-13"]["worst"] == "addition"


def test_explain_and_diff_show_an_interface() -> None:
    shown = run("explain", "static/machine-types/-/debian-13/debian-14/x86_64/machine/pc-q35-5.1").stdout
    assert "x86_64/machine/pc-q35-5.1 removed" in shown
    assert "ledger qemu-10.1-machine-type-lifetime" in shown
    assert "-x86_64/machine/pc-q35-5.1 = 5.1" in shown
    listed = run("diff", "debian-13", "debian-14", "x86_64/machine/pc-q35-*", "--surface", "machine-types").stdout
    assert "break: x86_64/machine/pc-q35-5.1 removed" in listed
    assert "i440fx" not in listed


def test_names_that_do_not_exist_are_usage_errors() -> None:
    for arguments in (("diff", "debian-13", "debian-14", "--surface", "nothing"), ("matrix", "--surface", "nothing")):
        done = run(*arguments)
        assert done.returncode == 2
        assert "c-api" in done.stderr
    with pytest.raises(UsageError):
        releases.find("debian-99")


def test_a_corpus_is_asked_about_documents_only(tmp_path: Path) -> None:
    (tmp_path / "net.xml").write_text("<network><name>n</name><bridge name='b0'/></network>", encoding="utf-8")
    done = run("matrix", "--corpus", str(tmp_path), "--driver", "test", "--format", "json")
    assert {c["check"] for c in json.loads(done.stdout)["cells"]}.isdisjoint({STATIC})
