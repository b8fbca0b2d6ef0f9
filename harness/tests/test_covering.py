"""The recorded covering corpora: whole, honest and reproducible, and every way in which a release may fail them is seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner
from virtcompat import documents, drivers, generate, surfaces
from virtcompat.cli.covering import covering as command
from virtcompat.cli.covering import markdown
from virtcompat.drivers import Driver
from virtcompat.engine import columns, covering, covering_record, covering_schemas
from virtcompat.engine.columns import Columns
from virtcompat.engine.covering_causes import causes
from virtcompat.engine.memory import Memory
from virtcompat.engine.run import Selection
from virtcompat.errors import BadData, NotAsked, UsageError
from virtcompat.labs import Lab
from virtcompat.model import (
    Answer,
    CellKey,
    Change,
    Column,
    Form,
    Matrix,
    NotHere,
    Outcome,
    Question,
    Tier,
)
from virtcompat.policy import changes
from virtcompat.store import covering as store
from virtcompat.store import golden, ledger, paths, releases
from virtcompat.store.covering import Corpus, Document

RELEASES = [r.name for r in releases.shipped()]
#: Of all that is recorded of a release.
MOST_BYTES = 3_000_000
SECRET = (
    "<secret ephemeral='no'><uuid>5f1c0de0-0001-4000-8000-0000000000{:02}</uuid><description>{}</description></secret>"
)


@cache
def corpus(release: str, kind: str) -> Corpus:
    found = store.read(release, kind)
    assert found is not None
    return found


# -- what is recorded --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", RELEASES)
def test_every_kind_of_every_release_is_recorded_and_takes_every_branch(release: str) -> None:
    assert store.kinds(release) == sorted(surfaces.every())
    told = [about for kind in surfaces.every() if (about := store.about(release, kind))]
    for about in told:
        assert (about.release, about.taken) == (release, about.branches), about.kind
        assert about.documents
        for driver, counts in about.statuses.items():
            assert sum(counts.values()) == about.documents, (about.kind, driver)
    assert sum(about.size for about in told) < MOST_BYTES


@pytest.mark.parametrize("kind", ["network", "nwfilterbinding", "secret", "storagepool", "nodedev"])
def test_a_recorded_document_is_what_was_given_and_its_name_is_its_digest(kind: str) -> None:
    found = corpus("debian-14", kind)
    assert len({d.case for d in found.documents}) == len(found.documents)
    for each in found.documents:
        _, digest = documents.pin(each.text)
        assert each.case.split("-")[1] == digest[: covering_record.DIGITS]
        assert documents.root_tag(each.given) == documents.ROOTS[kind]
        assert set(each.answers or {}) == set(found.drivers)
    assert any(a.accepted for d in found.documents for a in (d.answers or {}).values())


@pytest.mark.parametrize("kind", ["networkport", "secret"])
def test_what_a_file_tells_of_itself_is_what_is_in_it(kind: str) -> None:
    told = store.about("debian-12", kind)
    assert told is not None
    assert replace(told, size=0) == corpus("debian-12", kind).about()


@pytest.mark.parametrize("release", RELEASES)
def test_an_error_whose_message_is_no_text_is_a_refusal(release: str) -> None:
    """What libvirt says of a port plugged "direct" cannot be decoded by its binding: it lives on."""
    found = [d.answer("network") for d in corpus(release, "networkport").documents if d.what == "plugdirect"]
    assert {answer and answer.status for answer in found} == {"refused"}


# -- the file ----------------------------------------------------------------------------------------------------------


def small(kind: str = "secret", release: str = "debian-12") -> Corpus:
    """A corpus with every kind of answer."""
    forms = {"inactive": Form("<secret/>"), "disk": Form("<!-- auto --><secret/>"), "secure": Form("<secret/>")}
    answers = (
        Answer("accepted", forms, name="a", uuid="5f1c0de0-0001-4000-8000-000000000001"),
        Answer("accepted", {"inactive": Form(error="cannot write it")}),
        Answer("refused", code=27, domain=10, message="XML error: no\u2028name"),
        Answer("crashed"),
    )
    found = [
        Document(f"plain-{n}", "<secret/>", SECRET.format(n, "x"), "sécret", "", {"secret": answer})
        for n, answer in enumerate(answers)
    ]
    return Corpus(release, kind, 9, 8, {"secret": (("pool_name", "p"),)}, found)


def test_a_corpus_reads_back_as_it_was_written_and_has_the_same_bytes_again(tmp_path: Path) -> None:
    lines = store.written(small())
    file = tmp_path / "secret.jsonl.xz"
    file.write_bytes(store.packed(lines))
    assert store.lines_of(file) == lines
    assert store.parsed(file, lines) == small()
    assert store.packed(lines) == file.read_bytes()


def test_how_a_refusal_is_worded_is_no_other_recording_but_what_was_answered_is() -> None:
    one = small()

    def with_answer(**changed: object) -> bytes:
        last = one.documents[2]
        answer = replace(last.answers["secret"], **changed)  # type: ignore[index, arg-type]
        return store.written(
            replace(one, documents=[*one.documents[:2], replace(last, answers={"secret": answer}), one.documents[3]])
        )

    lines = store.written(one)
    assert store.same(lines, lines)
    assert store.same(lines, with_answer(message="XML err"))
    assert not store.same(lines, with_answer(code=28))
    assert not store.same(lines, with_answer(status="hung"))
    assert not store.same(lines, lines[: lines.rindex(b'{"case"')])


def test_the_first_line_says_what_is_in_it() -> None:
    about = small().about()
    assert about.statuses == {"secret": {"accepted": 2, "crashed": 1, "refused": 1}}
    assert about.deaths == (("secret", "plain-3", "sécret", "crashed"),)


@pytest.mark.parametrize(
    ("harm", "line"),
    [
        (lambda data: data[: len(data) // 2], 1),
        (lambda data: b"", 1),
        (lambda data: store.packed(b"{}\n"), 1),
        (lambda data: store.packed(store.written(small()) + b'{"case": "x"}\n'), 6),
        (lambda data: store.packed(store.written(small()) + b"garbage\n"), 6),
    ],
    ids=["cut off", "empty", "no corpus", "no document", "garbage"],
)
def test_a_damaged_file_is_bad_data_with_its_line(harm: Callable[[bytes], bytes], line: int, data_root: Path) -> None:
    file = store.file_of("debian-12", "secret")
    file.parent.mkdir(parents=True)
    file.write_bytes(harm(store.packed(store.written(small()))))
    with pytest.raises(BadData) as raised:
        store.read("debian-12", "secret")
    assert raised.value.line == line
    assert raised.value.file == file


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder of our own, with the project's fixtures and an empty golden/; caches empty too, labs shared."""
    (tmp_path / "fixtures").symlink_to(paths.data_root() / "fixtures")
    (tmp_path / "golden").mkdir()
    (tmp_path / "cache").mkdir()
    if (paths.cache_dir() / "labs").is_dir():
        (tmp_path / "cache" / "labs").symlink_to(paths.cache_dir() / "labs")
    monkeypatch.setenv("VIRT_COMPAT_DATA", str(tmp_path))
    monkeypatch.setenv("VIRT_COMPAT_CACHE", str(tmp_path / "cache"))
    golden.forget()
    ledger.entries.cache_clear()
    yield tmp_path
    golden.forget()
    ledger.entries.cache_clear()


# -- recording ---------------------------------------------------------------------------------------------------------


def test_recording_is_refused_where_ci_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(UsageError, match="CI is set"):
        covering_record.record("debian-12")


def test_recording_wants_a_recorded_release_and_a_kind_of_document(
    data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(UsageError, match="no golden records yet"):
        covering_record.record("debian-12")
    with pytest.raises(UsageError, match="no kind 'rpc'"):
        covering_record.record("debian-12", ("rpc",))
    with pytest.raises(UsageError, match="no release 'nope'") as caught:
        covering_record.record("nope")
    assert "debian-12" in caught.value.remedy


@pytest.mark.lab
def test_recording_again_with_an_empty_cache_gives_the_same_bytes(
    lab: Lab, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every answer is really given anew, and what was recorded beside it stays."""
    monkeypatch.delenv("CI", raising=False)
    source = paths.PACKAGE.parent.parent / "golden" / "debian-12"
    target = data_root / "golden" / "debian-12"
    (target / "capabilities").mkdir(parents=True)
    shutil.copy(source / "PROVENANCE.toml", target)
    shutil.copytree(source / "capabilities", target / "capabilities", dirs_exist_ok=True)
    for other in RELEASES:
        if other != "debian-12":
            (data_root / "golden" / other).symlink_to(source.with_name(other))
    kinds = ("secret", "storagevol", "nwfilterbinding")
    first = covering_record.record("debian-12", kinds)
    assert [r.changed for r in first] == [True] * 3
    for each in first:
        assert store.lines_of(each.file) == store.lines_of(source / store.FOLDER / each.file.name), each.file.name
    assert (target / "capabilities" / "qemu" / "capabilities.xml").is_file()
    assert golden.damaged("debian-12") == []
    before = {f.name: (f.stat().st_mtime_ns, f.read_bytes()) for f in (target / store.FOLDER).iterdir()}
    assert [r.changed for r in covering_record.record("debian-12", kinds)] == [False] * 3
    assert {f.name: (f.stat().st_mtime_ns, f.read_bytes()) for f in (target / store.FOLDER).iterdir()} == before


@pytest.mark.lab
def test_the_recorded_documents_are_those_of_the_releases_grammar(lab: Lab) -> None:
    """Made anew they are the same, and those alone take every branch: without the last ones some are left."""
    found, made = corpus("debian-12", "network"), covering_record._planted("debian-12", "network")
    assert [replace(d, answers=None) for d in found.documents] == list(made.documents)
    schema = covering_schemas._schema("debian-12", "network")
    assert all(generate.matched(schema, d.text) for d in found.documents)
    assert made.taken == made.branches == len(list(schema.branches()))


def test_a_network_without_a_bridge_of_libvirts_own_gets_no_address() -> None:
    for each in corpus("debian-12", "network").documents:
        forward = documents.parse(each.given).find("forward")
        if forward is not None and forward.get("mode") in documents.UNBRIDGED and "<mac " not in each.text:
            assert "<mac " not in each.given


# -- judging, with releases that lie -----------------------------------------------------------------------------------

Say = Callable[[Question], Answer | NotHere]


@dataclass
class Told:
    """Answers that a test makes up for every release but the writer, whose corpus is what it is."""

    say: Say
    corpora: dict[str, Corpus | None]
    drivers: Mapping[str, Driver] = field(default_factory=drivers.every)
    asked: int = 0
    cached: int = 0
    replayed: int = 0

    def take(self, kind: str) -> None: ...

    def resolve(self, questions: Iterable[Question]) -> dict[Question, Answer | NotHere]:
        return {question: self._one(question) for question in questions}

    def _one(self, question: Question) -> Answer | NotHere:
        own = self.corpora[question.release]
        for document in own.documents if own and question.recorded else ():
            if document.case == question.recorded:
                return (document.answers or {})[question.driver]
        self.asked += 1
        return self.say(question)


def keeping(question: Question) -> Answer:
    forms = {form: Form(question.text) for form in ("inactive", "disk")}
    return Answer("accepted", forms, name="n", uuid=question.uuid)


def found_columns() -> Columns:
    made = Columns()
    for name, libvirt in (("old", "9.0.0"), ("new", "11.3.0")):
        made.columns.append(Column(name, libvirt, "7.2", ((len(libvirt),),), golden=True, live=True))
    return made


def writer(words: str = "kept") -> Corpus:
    text = SECRET.format(1, words)
    refused = Answer("refused", code=27, message="no")
    return Corpus(
        "old", "secret", 2, 2, {"secret": ()},
        [
            Document("plain-a", text, text, "secret", "", {"secret": keeping(Question("old", "secret", "secret", "define", text))}),
            Document("plain-b", "<secret/>", "<secret/>", "secret", "", {"secret": refused}),
            Document("plain-c", "<secret/>", "<secret/>", "secret", "", {"secret": Answer("crashed")}),
        ],
    )  # fmt: skip


def run(say: Say, data_root: Path, own: Corpus | None = None) -> tuple[Matrix, covering.Run]:
    """Judge the corpus of the release ``old`` in itself and in ``new``."""
    own = own or writer()
    file = store.file_of("old", "secret")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(store.packed(store.written(own)))
    found = found_columns()
    memory = Memory(found)
    answers = Told(say, {"old": own, "new": None})
    one = covering.Run(found, Tier.BREAK, answers, memory, lambda done, of: None)  # type: ignore[arg-type]
    checks = ("upgrade-redefine", "upgrade-disk")
    one.run([CellKey(check, "secret", "secret", "old", new) for check in checks for new in ("old", "new")])
    memory.kept.close()
    return one.matrix(complete=False), one


def outcomes(found: Matrix, check: str = "upgrade-redefine") -> dict[str, int]:
    cell = next(c for c in found.cells if c.key.check == check and c.key.new == "new")
    return {o.value: n for o, n in cell.counts.items()}


def test_a_release_that_keeps_everything_is_compatible_and_is_not_judged_twice(data_root: Path) -> None:
    found, first = run(keeping, data_root)
    for check in ("upgrade-redefine", "upgrade-disk"):
        assert outcomes(found, check) == {"compatible": 1, "not-applicable": 2}
    assert first.judged == 12
    again, second = run(keeping, data_root)
    assert (second.judged, second.remembered, second.answers.asked) == (0, 12, 0)
    assert again.cells == found.cells


def test_another_corpus_is_judged_anew(data_root: Path) -> None:
    run(keeping, data_root)
    _, one = run(keeping, data_root, writer("other words"))
    assert one.judged == 12


@pytest.mark.parametrize(
    ("answer", "change"),
    [
        (lambda q: Answer("refused", code=1, message="no"), Change.REFUSED),
        (lambda q: Answer("crashed", message="SIGSEGV"), Change.CRASHED),
        (lambda q: Answer("hung", message="no answer"), Change.HUNG),
        (lambda q: replace(keeping(q), forms={"inactive": Form(q.text.replace("kept", "lost"))}), Change.CHANGED),
        (lambda q: replace(keeping(q), forms={"inactive": Form("<secret")}), Change.UNREADABLE),
    ],
    ids=["refuses", "crashes", "hangs", "forgets", "writes nonsense"],
)
def test_every_way_to_fail_is_seen_and_is_a_cause(answer: Say, change: Change, data_root: Path) -> None:
    found, _ = run(lambda q: answer(q) if q.release == "new" else keeping(q), data_root)
    assert outcomes(found) == {"incompatible": 1, "not-applicable": 2}
    own = next(c for c in found.cells if c.key.check == "upgrade-redefine" and c.key.new == "old")
    assert own.counts.get(Outcome.INCOMPATIBLE) is None
    cause = causes(c for c in found.cells if c.key.check == "upgrade-redefine")[0]
    assert (cause.finding.change, cause.entry, cause.documents, cause.pairs) == (
        change, "", {"plain-a"}, {("old", "new")},
    )  # fmt: skip
    assert any(cause.cell in line for line in markdown(found, []))


def test_a_file_that_the_newer_release_does_not_find_is_the_worst(data_root: Path) -> None:
    found, _ = run(lambda q: Answer("absent") if (q.op, q.release) == ("load", "new") else keeping(q), data_root)
    assert outcomes(found, "upgrade-disk") == {"incompatible": 1, "not-applicable": 2}
    assert max(c.worst for c in found.cells) is Tier.GUEST_ABI_BREAK


def test_what_is_not_here_is_said_and_asked_again(data_root: Path) -> None:
    found, _ = run(lambda q: NotHere("no lab", "make one") if q.release == "new" else keeping(q), data_root)
    assert outcomes(found) == {"not-here": 1, "not-applicable": 2}
    assert any("no lab; make one" in line for line in markdown(found, []))
    again, _ = run(keeping, data_root)
    assert outcomes(again) == {"compatible": 1, "not-applicable": 2}


def test_a_release_without_a_corpus_is_not_here(data_root: Path) -> None:
    found = found_columns()
    memory = Memory(found)
    one = covering.Run(found, Tier.BREAK, Told(keeping, {}), memory, lambda done, of: None)  # type: ignore[arg-type]
    one.run([CellKey("upgrade-redefine", "secret", "secret", "new", "new")])
    memory.kept.close()
    cell = one.matrix(complete=True).cells[0]
    assert cell.outcome is Outcome.NOT_HERE
    assert "virt-compat covering record new --kind secret" in cell.verdicts[0].reason


def test_an_entry_for_generated_documents_explains_no_cell_of_the_matrix() -> None:
    entry = replace(ledger.entries()[0], checks=frozenset((covering.AXIS,)), kinds=frozenset(("secret",)))
    entry = replace(entry, product="libvirt", since=(10,), drivers=frozenset())
    key = CellKey("upgrade-redefine", "secret", "secret", "old", "new")
    products = found_columns().products
    assert changes.crossed(key, products, [entry]) == []
    assert changes.crossed(replace(key, check=covering.AXIS), products, [entry]) == [(entry, False)]


# -- the real releases -------------------------------------------------------------------------------------------------


def test_cells_are_those_in_which_a_recorded_release_writes() -> None:
    found = columns.find(tuple(RELEASES))
    cells = covering.keys(found, Selection())
    assert len(set(cells)) == len(cells)
    forward = {(old, new) for at, old in enumerate(RELEASES) for new in RELEASES[at + 1 :]}
    for kind in surfaces.every():
        assert {(c.old, c.new) for c in cells if (c.check, c.kind) == (covering.INCLUSION, kind)} == forward
        redefined = {(c.old, c.new) for c in cells if (c.check, c.kind) == ("upgrade-redefine", kind)}
        assert redefined == forward | {(name, name) for name in RELEASES}
        assert {(c.new, c.old) for c in cells if (c.check, c.kind) == ("downgrade", kind)} == forward
    assert {c.driver for c in cells if (c.check, c.kind) == ("upgrade-disk", "domain")} == {"qemu"}
    only = covering.keys(found, Selection(drivers=("qemu",)))
    assert {c.driver for c in only} == {"qemu"}


@pytest.mark.lab
def test_what_a_newer_grammar_rejects_is_named_with_its_definition(lab: Lab) -> None:
    found = columns.find(("debian-11", "debian-12"))
    with covering.opened(found) as answers:
        verdicts = list(covering_schemas.judge(corpus("debian-11", "nodedev"), "debian-12", answers))
        (own,) = {v.outcome for v in covering_schemas.judge(corpus("debian-11", "nodedev"), "debian-11", answers)}
    assert own is Outcome.COMPATIBLE
    findings = {f for v in verdicts for f in v.findings}
    assert 0 < len([v for v in verdicts if v.findings]) < len(verdicts) / 2
    assert {(f.path, f.change, f.old) for f in findings} == {
        ("/device/capability/capability/@type", Change.INVALID, "@type=vports_ops")
    }
    assert all("allowed by 'capsvports'" in f.new for f in findings)


@pytest.mark.lab
def test_a_document_is_explained_with_what_was_written_and_read(lab: Lab) -> None:
    case = next(d.case for d in corpus("debian-12", "secret").documents if (a := d.answer("secret")) and a.accepted)
    done = CliRunner().invoke(command, ["explain", f"upgrade-redefine/secret/secret/debian-12/debian-12/{case}"])
    assert done.exit_code == 0, done.output
    assert "compatible" in done.output
    assert "<secret" in done.output
    assert done.output.rstrip().endswith(
        f"virt-compat covering explain upgrade-redefine/secret/secret/debian-12/debian-12/{case}"
    )


@pytest.mark.parametrize(
    "cell",
    [
        "x", "round-trip/secret/secret/debian-12/debian-12/x", "upgrade-redefine/rpc/secret/debian-12/debian-12/x",
        "upgrade-redefine/secret/secret/debian-12/debian-12/no-such", "upgrade-redefine/secret/secret/no/debian-12/x",
    ],
)  # fmt: skip
def test_a_document_that_there_is_not_is_a_usage_error(cell: str) -> None:
    with pytest.raises(UsageError):
        CliRunner().invoke(command, ["explain", cell], catch_exceptions=False)


@pytest.mark.parametrize(
    "arguments", [("matrix", "--kind", "nope"), ("explain", "inclusion/nope/-/debian-11/debian-12/x")]
)
def test_only_kinds_of_documents_are_recommended(arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="no kind of document 'nope'") as caught:
        CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert caught.value.remedy == f"use one of: {', '.join(surfaces.every())}"


def test_an_empty_selection_is_never_a_pass() -> None:
    with pytest.raises(NotAsked):
        covering.run(Selection(checks=("upgrade-disk",), kinds=("interface",)))


def test_the_published_report_has_every_pair_and_kind() -> None:
    text = (paths.data_root() / "reports" / "covering.md").read_text(encoding="utf-8")
    for at, old in enumerate(RELEASES):
        for new in RELEASES[at + 1 :]:
            for kind in surfaces.every():
                assert f"| {old} | {new} | {kind} | grammar |" in text
            for line in (f"| {old} | {new} | domain | qemu |", f"| {new} | {old} | domain | qemu |"):
                assert line in text
    assert "## Not asked" not in text


def test_a_matrix_of_covering_cells_is_machine_readable(data_root: Path) -> None:
    from virtcompat import renderers

    found, _ = run(keeping, data_root)
    record = json.loads(renderers.every()["json"].render(found))
    assert {cell["cell"] for cell in record["cells"]} == {str(cell.key) for cell in found.cells}
