"""Known defects, hunts for more, and what is kept out of the project."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from virtcompat import drivers
from virtcompat.cli import group
from virtcompat.engine import advisories, confidential, defects, hunting, shrinking
from virtcompat.engine.asking import GONE, Asking, patient
from virtcompat.engine.columns import Columns
from virtcompat.engine.defects import Report, Stand
from virtcompat.engine.generating import Generated
from virtcompat.engine.hunting import Batch, Hunt, Order
from virtcompat.engine.properties import Judged
from virtcompat.errors import BadData, NotAsked, UsageError
from virtcompat.labs import Lab, backtraces
from virtcompat.labs.backtraces import Trace
from virtcompat.labs.prober import Asked
from virtcompat.model import (
    Answer,
    CellKey,
    Change,
    Column,
    Finding,
    Fixture,
    Form,
    NotHere,
    Outcome,
    Question,
    Tier,
    Verdict,
)
from virtcompat.store import defects as store
from virtcompat.store import hunts, paths
from virtcompat.store.cache import Cache
from virtcompat.store.defects import Defect
from virtcompat.store.hunts import Find, Rules, Share, State

KNOWN = store.load()
CACHE = "XML error: Missing '…' attribute in cache element for NUMA node N"
TEXT = "<domain type='test'><name>a</name><memory>1024</memory><os><type>hvm</type></os></domain>"
NULL = Trace("SIGSEGV", 1, 0, ("?? (libc.so.6)", "virExpandN (libvirt.so.0)", "virDomainDefParseNode (libvirt.so.0)"))
WILD = replace(NULL, address=0x7FFF7FFFE0D0)


def defect(**fields: object) -> Defect:
    made = Defect(
        "a-defect",
        "domain",
        "test",
        "crash",
        "domain test dies: crashed: SIGSEGV in f < g",
        ("debian-14",),
        "It dies",
        "why",
        TEXT,
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def column(name: str) -> Column:
    return Column(name, "12.8.0", "11.1", ((12, 8),), golden=True, live=True)


# -- what is recorded --------------------------------------------------------------------------------------------------


def test_every_recorded_defect_is_small_and_says_where_it_shows() -> None:
    assert KNOWN
    for one in KNOWN:
        assert len(one.text) < 3000, one.name
        assert one.why != "not understood yet", one.name
        assert one.signature.startswith(f"{one.kind} {one.driver} "), one.name
        assert one.what != "changed" or "->" in one.shows[0]


def test_a_recorded_defect_reads_as_it_was_written(tmp_path: Path) -> None:
    made = defect(why='quotes " and \\ and ü', context=(("domain_name", "x"),), covers=(r"domain \w+ dies: '…'",))
    file = store.write(made, tmp_path)
    assert store.read(file) == replace(made, text=TEXT + "\n", file=str(file))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('what = "odd"', "use one of: crash"),
        ("shows = []", "name where it was seen"),
        ("colour = 1", "unknown key"),
        ('covers = ["("]', r"toml:8: '\(' is no regular expression"),
        ("covers = [3]", "toml:8: 'covers' must be a list of patterns"),
    ],
)
def test_a_wrong_record_is_refused_by_line(tmp_path: Path, line: str, words: str) -> None:
    meta = store.write(defect(), tmp_path).with_suffix(".toml")
    key = line.split(" ")[0]
    kept = [row for row in meta.read_text().splitlines() if not row.startswith(f"{key} ")]
    meta.write_text("\n".join([*kept, line]) + "\n")
    with pytest.raises(BadData, match=words):
        store.load(where=tmp_path)


def test_a_record_without_its_document_is_refused(tmp_path: Path) -> None:
    store.write(defect(), tmp_path).unlink()
    with pytest.raises(BadData, match="without a document"):
        store.load(where=tmp_path)


@pytest.mark.parametrize(
    ("signature", "fresh"),
    [
        (f"domain test round-trip: refused (define again): {CACHE}", False),
        (f"domain test upgrade-redefine: refused (define): {CACHE}", False),
        (f"domain qemu round-trip: unreadable (migratable): {CACHE}", False),
        (f"domainsnapshot test upgrade-redefine: refused (define): {CACHE}", False),
        ("domain qemu upgrade-redefine: refused (define): internal error: target port '…' already allocated", False),
        ("domain test upgrade-redefine: changed /domain/devices/disk/@type", False),
        ("domain test upgrade-redefine: removed /domain/devices/shmem/size", False),
        ("domain qemu round-trip: unstable /domain/devices/shmem/size", False),
        ("domain test round-trip: refused (define again): XML error: Invalid cache policy '…'", True),
        ("domain test upgrade-redefine: changed /domain/devices/disk/@type/more", True),
        ("domain test upgrade-redefine: removed /domain/devices/shmem", True),
        (f"network test round-trip: refused (define again): {CACHE}", True),
    ],
)  # fmt: skip
def test_a_recorded_defect_is_known_on_other_drivers_and_by_other_properties(signature: str, fresh: bool) -> None:
    kind, driver, check = signature.split(":")[0].split(" ")
    change = "refused" if "refused" in signature else "unreadable" if "unreadable" in signature else "changed"
    find = Find(signature, kind, driver, check, change, "/x", "", "", int(Tier.BREAK), "", TEXT, "debian-11", "")
    assert defects.new(find, KNOWN) == fresh
    assert defects.new(find, [])


# -- how it stands -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shows", "asked", "words", "code"),
    [
        (["debian-14"], ["debian-13", "debian-14"], "as recorded", 0),
        (["debian-13", "debian-14"], ["debian-13", "debian-14"], "also debian-13", 1),
        ([], ["debian-13", "debian-14"], "gone from debian-14", 1),
        ([], ["debian-13"], "not asked: debian-14", 3),
    ],
)
def test_a_defect_is_held_against_its_record(shows: list[str], asked: list[str], words: str, code: int) -> None:
    stand = Stand(defect(), shows=shows, asked=asked)
    report = Report((stand,), (column("debian-13"), column("debian-14")))
    assert stand.words == words
    assert report.exit_code == code
    assert words in advisories.render(report, "text", whole=False)
    assert words in advisories.render(report, "markdown", whole=False)
    assert json.loads(advisories.render(report, "json", whole=False))[0]["standing"] == words


def test_nothing_recorded_is_never_a_pass() -> None:
    assert Report((), ()).exit_code == 3


def test_a_text_for_upstream_has_all_that_a_maintainer_needs() -> None:
    stand = Stand(defect(), ["debian-14"], asked=["debian-13", "debian-14"], message="SIGSEGV", trace=NULL)
    report = Report((stand,), (column("debian-13"), column("debian-14")))
    for form in ("text", "markdown"):
        text = advisories.render(report, form, whole=True)
        for words in (
            "It dies",
            "libvirt 12.8.0",
            "virsh -c 'test:///default' define FILE",
            "<memory>1024</memory>",
            "virExpandN",
        ):
            assert words in text, (form, words)


def test_where_a_known_defect_newly_looks_like_a_security_matter_nothing_more_is_told() -> None:
    stand = Stand(
        defect(), ["debian-13", "debian-14"], asked=["debian-13", "debian-14"], secret="an address", trace=WILD
    )
    report = Report((stand,), (column("debian-13"), column("debian-14")))
    for form in advisories.FORMATS:
        text = advisories.render(report, form, whole=True)
        assert "withheld" in text
        assert "virExpandN" not in text


def test_a_recorded_crash_is_asked_of_a_lab_anew(lab: Lab) -> None:
    """debian-12 is not affected: said so, and no pass."""
    report = defects.known(("memorytune-node-id-too-large",), (lab.release,))
    (stand,) = report.stands
    assert stand.asked == [lab.release]
    assert stand.shows == []
    assert report.exit_code == 3


def test_an_unknown_name_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no defect 'nonsense'"):
        defects.known(("nonsense",))


# -- backtraces --------------------------------------------------------------------------------------------------------

PRINTED = """\
READY
Thread 1 "python3" received signal SIGSEGV, Segmentation fault.
0x00007ffff7de0080 in ?? () from /labs/root/lib/libc.so.6
FAULT 11 1 0x10
#0  0x00007ffff7de0080 in ?? () from /labs/root/lib/libc.so.6
#1  0x00007ffff62d7366 in virExpandN () from /labs/root/lib/libvirt.so.0
#2  0x00007ffff6348e5d in virResctrlAllocSetMemoryBandwidth () from /labs/root/lib/libvirt.so.0
#3  0x00007ffff6ec4fd8 in libvirt_virDomainDefineXML () from /labs/root/usr/lib/libvirtmod.so
#4  0x000000000058f09d in PyEval_EvalCode ()
=> 0x7ffff7de0080:\tmov    %al,(%rdi)
"""


def test_a_backtrace_is_read_without_the_interpreters_part() -> None:
    trace = backtraces.read(PRINTED.splitlines())
    assert isinstance(trace, Trace)
    assert (trace.signal, trace.code, trace.address) == ("SIGSEGV", 1, 16)
    assert trace.frames == (
        "?? (libc.so.6)",
        "virExpandN (libvirt.so.0)",
        "virResctrlAllocSetMemoryBandwidth (libvirt.so.0)",
    )
    assert trace.place == "virExpandN < virResctrlAllocSetMemoryBandwidth"


def test_a_probe_that_was_stopped_has_hung_and_one_that_answered_has_not() -> None:
    hung = backtraces.read(PRINTED.replace("SIGSEGV", "SIGINT").replace("FAULT 11", "FAULT 2").splitlines())
    assert isinstance(hung, Trace)
    assert hung.signal == ""
    assert isinstance(backtraces.read(["[Inferior 1 (process 7) detached]"]), NotHere)


def test_without_gdb_there_is_no_backtrace(monkeypatch: pytest.MonkeyPatch, lab: Lab) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    setup = drivers.every()["test"].kinds["domain"]
    question = Question(lab.release, "test", "domain", "define", TEXT)
    missing = backtraces.take(Asked(question, lab, setup))
    assert missing == NotHere("gdb is not installed", "apt-get install gdb")


def test_gdb_reads_the_libraries_of_the_lab_not_of_the_machine(lab: Lab) -> None:
    root = backtraces.sysroot(lab.command(daemon=False))
    assert root is not None
    assert root != Path("/")
    assert (root / "usr/lib/python3/dist-packages").is_dir()
    assert backtraces.sysroot(["ssh", "host"]) is None


# -- what is confidential ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trace", "said", "secret"),
    [
        (NULL, "SIGSEGV", False),
        (replace(NULL, address=0xFFFF), "SIGSEGV", False),
        (replace(NULL, address=0x10000), "SIGSEGV", True),
        (WILD, "SIGSEGV", True),
        (replace(NULL, code=128), "SIGSEGV", True),  # no address: freed memory followed as a pointer
        (Trace("SIGILL"), "SIGILL", True),
        (Trace("SIGABRT", words="free(): double free detected in tcache 2"), "SIGABRT", True),
        (Trace("SIGABRT"), "SIGABRT: malloc(): corrupted top size", True),
        (Trace("SIGABRT"), "SIGABRT: assertion failed", False),
        (Trace("SIGTRAP", words="failed to allocate 34359738368 bytes"), "SIGTRAP", False),
        (Trace(""), "no answer within 10 s", False),
        (None, "no answer within 10 s", False),
        (None, "SIGSEGV", True),  # nobody saw where
        (None, "the daemon died: End of file", True),
    ],
)
def test_what_looks_like_corrupted_memory_is_confidential(trace: Trace | None, said: str, secret: bool) -> None:
    assert bool(confidential.memory(trace, said)) == secret


@pytest.mark.parametrize(
    ("value", "written", "secret"),
    [
        ("a&lt;b", "<x>a&lt;b</x>", False),
        ("a&lt;b", "<x>a<b</x>", True),
        ("&amp;lt;", "<x>&lt;</x>", True),
        ("it's", "<x a='it's'/>", True),
        ("it's", "<x>it's</x>", False),
        ("plain", "<x>plain</x>", False),
        ("&lt;y/>", "<x><y/></x>", True),
    ],
)
def test_a_value_that_stands_unescaped_is_confidential(value: str, written: str, secret: bool) -> None:
    assert confidential.injected(f"<x>{value}</x>", written) == secret


def test_the_directory_for_confidential_finds_is_outside_the_project(tmp_path: Path) -> None:
    for inside in (paths.data_root(), paths.data_root() / "reports" / "x", paths.PACKAGE):
        with pytest.raises(UsageError, match="inside the project"):
            confidential.outside(inside)
    assert not (paths.data_root() / "reports" / "x").exists()
    assert confidential.outside(tmp_path / "mine").stat().st_mode & 0o777 == 0o700


def test_the_tools_own_checkout_is_the_project_wherever_the_data_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = paths.data_root()
    (tmp_path / "data" / "fixtures").mkdir(parents=True)
    monkeypatch.setenv("VIRT_COMPAT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(paths, "PACKAGE", checkout / "harness" / "virtcompat")
    for inside in (checkout, checkout / "mine", checkout / "reports" / "x", tmp_path / "data" / "x"):
        with pytest.raises(UsageError, match="inside the project"):
            confidential.outside(inside)
        assert inside == checkout or not inside.exists()
    assert confidential.outside(tmp_path / "mine").is_dir()


def test_a_directory_of_own_defects_is_held_to_what_a_hunts_is(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    for folder, words in (
        (tmp_path / "open", "can be read by others"),
        (store.folder(), "inside the project"),
        (tmp_path / "none", "no directory"),
    ):
        with pytest.raises(UsageError, match=words):
            defects.known(private=folder)
    assert not (tmp_path / "none").exists()


def hunt(trace: Trace | NotHere, aside: list[tuple[str, str]]) -> Hunt:
    """A hunt whose every death looks like this one."""

    class Looked(Hunt):
        def looked(self, judged: Judged) -> Trace | NotHere:
            return trace

    found = Columns([column("debian-14")])
    rules = Rules((), (), 1, 10)
    keep = lambda find, why: aside.append((find.signature, why))  # noqa: E731
    return Looked(Order(1), found, None, rules, State(), keep, machines={})  # type: ignore[arg-type]


def died(words: str) -> Judged:
    fixture = Fixture("domain", "c", TEXT, "", ("test",), foreign=True)
    finding = Finding("(define)", Change.CRASHED, Tier.BREAK, "an answer", words)
    key = CellKey("round-trip", "domain", "test", "debian-14", "debian-14")
    return Judged(key, fixture, Verdict("c", Outcome.INCOMPATIBLE, (finding,)))


EACH = Generated("c", TEXT, "", None)  # type: ignore[arg-type]
BATCH = Batch(Share("domain", "test", 1), "debian-14", 0, 1)


@pytest.mark.parametrize(("trace", "kept"), [(NULL, True), (WILD, False), (NotHere("no gdb", ""), False)])
def test_a_confidential_find_is_given_aside_and_otherwise_only_counted(trace: Trace | NotHere, kept: bool) -> None:
    aside: list[tuple[str, str]] = []
    one = hunt(trace, aside)
    one.take([died("SIGSEGV")], EACH, BATCH)
    assert bool(one.state.finds) == kept
    assert one.state.counts.get("confidential", 0) == (not kept)
    assert bool(aside) != kept
    if not kept:
        one.aside = None
        one.take([died("SIGSEGV")], EACH, BATCH)
        assert one.state.counts["confidential"] == 2
        assert TEXT not in json.dumps(one.state.counts)


def test_whatever_else_a_confidential_document_shows_is_confidential_too() -> None:
    aside: list[tuple[str, str]] = []
    one = hunt(WILD, aside)
    dead = died("SIGSEGV")
    finding = Finding("/domain/memory", Change.CHANGED, Tier.BREAK, "1024", "1")
    other = replace(
        dead, key=replace(dead.key, check="same-input"), verdict=Verdict("c", Outcome.INCOMPATIBLE, (finding,))
    )
    one.take([other, dead], EACH, BATCH)
    assert one.state.finds == {}
    assert one.state.counts["confidential"] == len(aside) == 2


@pytest.mark.parametrize(("form", "kept"), [("<name>a&lt;b</name>", True), ("<name>a<b</name>", False)])
def test_a_document_that_is_written_unescaped_is_confidential_whatever_it_was_found_for(form: str, kept: bool) -> None:
    one = hunt(NULL, [])
    text = TEXT.replace("<name>a</name>", "<name>a&lt;b</name>")
    wrote = Answer("accepted", {"inactive": Form(form)})
    setups = {"drivers": drivers.every(), "columns": one.found}
    one.asking = SimpleNamespace(resolve=lambda asked: dict.fromkeys(asked, wrote), **setups)  # type: ignore[assignment]
    found = died("SIGSEGV")
    finding = Finding("/domain/memory", Change.CHANGED, Tier.BREAK, "1024", "1")
    verdict = Verdict("c", Outcome.INCOMPATIBLE, (finding,))
    one.take([replace(found, fixture=replace(found.fixture, text=text), verdict=verdict)], EACH, BATCH)
    assert bool(one.state.finds) == kept


def test_nothing_recorded_in_the_project_is_confidential_by_its_words() -> None:
    for file in (*store.folder().glob("*"), paths.data_root() / "reports" / "defects.md"):
        assert not confidential.CHECKED.search(file.read_text(encoding="utf-8")), file


# -- hunting -----------------------------------------------------------------------------------------------------------


def test_a_plan_is_in_whole_batches_of_every_share_and_release() -> None:
    rules = Rules((Share("domain", "test", 3), Share("network", "test", 1)), (), 1, 10)
    batches = hunting.plan(Order(400), rules, ["a", "b"])
    assert sum(b.size for b in batches) == 400
    assert sum(b.size for b in batches if b.share.kind == "domain") == 300
    assert {b.release for b in batches} == {"a", "b"}
    assert max(b.size for b in batches) == 10
    with pytest.raises(UsageError):
        hunting.plan(Order(10, kinds=("secret",)), rules, ["a"])


@pytest.mark.parametrize("drivers", [(), ("test",), ("qemu",)])
def test_a_plan_is_of_as_many_documents_as_were_ordered(drivers: tuple[str, ...]) -> None:
    rules = hunts.rules()
    for count in (1, 2, 10, 11, 17, 100, 150, 300, 999):
        order = Order(count, drivers=drivers)
        assert sum(b.size for b in hunting.plan(order, rules, ["a", "b", "c", "d"])) == count


def test_the_published_hunt_is_planned_as_it_was() -> None:
    batches = hunting.plan(Order(100_000, 11), hunts.rules(), [f"debian-{n}" for n in range(11, 15)])
    digest = hashlib.sha256(repr(batches).encode()).hexdigest()
    assert (len(batches), digest[:16]) == (400, "e7326e6b2b2e73c8")


def test_the_rules_of_the_project_are_about_kinds_that_their_drivers_take() -> None:
    rules = hunts.rules()
    every = patient(drivers.every(), 1)
    for share in rules.shares:
        assert share.kind in every[share.driver].kinds
    assert {share.kind for share in rules.shares} >= {
        "domain",
        "network",
        "storagepool",
        "secret",
        "nwfilter",
        "nodedev",
    }
    assert len({share.kind for share in rules.shares}) == 12


def test_a_hunt_finds_the_same_again_goes_on_where_it_was_and_keeps_no_answer(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hunts, "file_of", lambda plan: tmp_path / "hunts" / f"{plan}.json")
    order = Order(40, 5, ("network",), ("test",), (lab.release,))
    rules = Rules((Share("network", "test", 1),), (), 10.0, 10)
    monkeypatch.setattr(hunts, "rules", lambda private=None: rules)
    monkeypatch.setattr(Cache, "put_many", lambda *_: pytest.fail("an answer is kept"))
    seen: list[int] = []

    def stop(done: int, of: int) -> None:
        seen.append(done)
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hunting.hunt(order, progress=stop)
    cut = hunting.hunt(order, progress=lambda done, of: seen.append(done))
    assert seen == [0, 1, 2, 2, 3, 4]
    for file in (tmp_path / "hunts").glob("*"):
        file.unlink()
    whole = hunting.hunt(order)
    assert cut == whole
    assert whole.counts["documents"] > 30
    assert whole.counts["findings"] == sum(f.count for f in whole.finds.values()) if whole.finds else True


def test_a_document_that_holds_what_is_known_is_stepped_around() -> None:
    one = hunt(NULL, [])
    one.rules = replace(one.rules, known=(hunts.Known(re.compile("x"), "why", ("memory[. > 1000]",), ("domain",)),))
    fixture = Fixture("domain", "c", TEXT, "", ("test",), foreign=True)
    assert one.around(fixture)
    assert not one.around(replace(fixture, text=TEXT.replace("1024", "1")))
    assert not one.around(replace(fixture, kind="network"))


@pytest.mark.parametrize(
    "words",
    ["internal error: client socket is closed", "End of file while reading data: Input/output error"],
)
def test_the_words_of_an_orphaned_client_are_known(words: str) -> None:
    assert GONE.search(words)
    assert not GONE.search("XML error: file not found")


def test_a_signature_without_a_debugger_is_that_of_the_cause() -> None:
    assert (
        shrinking.plain("domain qemu dies: crashed: SIGSEGV in virExpandN < f") == "domain qemu dies: crashed: SIGSEGV"
    )
    assert shrinking.plain("domain test same-input: changed /a in b") == "domain test same-input: changed /a in b"


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_refuses_what_does_not_go_together() -> None:
    for arguments in (["--kind", "domain"], ["--hunt", "5", "--show", "x"], ["--hunt", "5", "--format", "json"]):
        result = CliRunner().invoke(group, ["defects", *arguments])
        assert isinstance(result.exception, UsageError), arguments


def test_a_hunt_with_no_lab_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Columns([column("debian-14")], {("debian-14", ""): NotHere("no lab", "make one")})
    monkeypatch.setattr(hunting.columns, "find", lambda names=(): found)
    with pytest.raises(NotAsked):
        hunting.hunt(Order(10))


def test_asking_keeps_the_time_limit_it_was_given(lab: Lab) -> None:
    with Asking(hunting.columns.find((lab.release,)), 3.0) as asking:
        question = Question(lab.release, "test", "domain", "define", TEXT)
        assert asking.setup(question).time_limit == 3.0
        assert asking.resolve([question, question])[question].status == "accepted"  # type: ignore[union-attr]
        assert asking.counts["define"] == 1
