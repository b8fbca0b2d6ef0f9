"""What must hold of every generated document: each property passes on an honest release and fails on one that is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from types import SimpleNamespace

import pytest
from conftest import accepted, honest, make_fixture
from virtcompat import drivers
from virtcompat.engine import hunting, properties
from virtcompat.engine.asking import Asking, patient
from virtcompat.labs.prober import Asked, Prober
from virtcompat.model import Answer, CellKey, Change, Finding, NotHere, Outcome, Question, Tier

NAMES = ["a", "b", "c"]
PRODUCTS = {name: {"libvirt": f"{number}.0.0", "qemu": f"{number}.0"} for number, name in enumerate(NAMES, 9)}
TEXT = make_fixture().text
Oracle = Callable[[Question], Answer | NotHere]


class Told:
    """Releases that answer as an oracle does."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.drivers = drivers.every()
        self.columns = SimpleNamespace(names=NAMES, products=PRODUCTS)
        self.questions: list[Question] = []

    def resolve(self, questions: Iterable[Question]) -> dict[Question, Answer | NotHere]:
        asked = list(dict.fromkeys(questions))
        self.questions += asked
        return {question: self.oracle(question) for question in asked}


def found(oracle: Oracle, *chosen: str) -> list[tuple[str, str]]:
    """(cell, change) of every finding of a document."""
    fixture = make_fixture(foreign=True)
    several = properties.judge([fixture], "test", Told(oracle), chosen or properties.PROPERTIES)  # type: ignore[arg-type]
    return [
        (f"{j.key.check} {j.key.old} {j.via} {j.key.new}".replace("  ", " "), str(f.change))
        for j in several
        for f in j.verdict.findings
        if f.change is not Change.DROPPED
    ]


def told(question: Question, text: str = "") -> Answer:
    answer = honest(replace(question, text=text or question.text))
    assert isinstance(answer, Answer)
    return answer


def test_honest_releases_have_no_finding_and_are_asked_nothing_twice() -> None:
    releases = Told(honest)
    judged = list(properties.judge([make_fixture(foreign=True)], "test", releases))  # type: ignore[arg-type]
    assert {j.verdict.outcome for j in judged} <= {Outcome.COMPATIBLE, Outcome.NOT_APPLICABLE}
    assert len(judged) == 3 + 3 + 3 + 1 + 3 + 3
    assert len(releases.questions) == len(set(releases.questions))


def test_a_hop_over_a_release_that_loses_something_is_found() -> None:
    def forgets(question: Question) -> Answer | NotHere:
        """b drops the mac of what a wrote, and c writes what it is given."""
        return (
            told(question, question.text.replace("<model type='virtio'/>", ""))
            if question.release == "b"
            else honest(question)
        )

    assert ("hop a b c", "removed") in found(forgets, "hop")
    assert found(honest, "hop") == []


def test_a_release_between_that_refuses_is_no_finding_of_the_hop() -> None:
    def refuses(question: Question) -> Answer | NotHere:
        return Answer("refused", code=1, message="no") if question.release == "b" else honest(question)

    assert found(refuses, "hop") == []
    assert ("same-input a b", "refused") in found(refuses, "same-input")


def test_what_comes_over_a_release_between_and_is_then_refused_is_found() -> None:
    def refuses(question: Question) -> Answer | NotHere:
        if question.release == "b":
            return told(question, question.text.replace("65536", "65537"))
        if question.release == "c" and "65537" in question.text:
            return Answer("refused", code=1, message="no")
        return honest(question)

    assert ("hop a b c", "refused") in found(refuses, "hop")


@pytest.mark.parametrize(
    ("answer", "bad"),
    [
        (Answer("refused", code=27, message="XML error: bad"), False),
        (Answer("refused", code=1, message=""), True),
        (Answer("refused", code=0, message="words"), True),
        (Answer("refused", code=1, message="An error occurred, but the cause is unknown"), True),
        (Answer("refused", code=-1, message="LookupError: the probe's own"), False),
    ],
)
def test_a_refusal_has_a_message_and_a_code(answer: Answer, bad: bool) -> None:
    assert bool(found(lambda question: answer, "says-why")) == bad


def test_a_newer_schema_that_refuses_is_found_and_a_document_that_was_never_valid_is_not() -> None:
    def strict(*releases: str) -> Oracle:
        return lambda q: Answer("refused", message="no") if q.op == "validate" and q.release in releases else honest(q)

    assert [cell for cell, _ in found(strict("c"), "schema-kept")] == ["schema-kept a c", "schema-kept b c"]
    assert found(strict("a", "b", "c"), "schema-kept") == []


def test_a_death_is_told_with_the_question_that_it_is_the_answer_of() -> None:
    def dies(question: Question) -> Answer | NotHere:
        return Answer("crashed", message="SIGSEGV") if question.release == "c" else honest(question)

    several = properties.judge([make_fixture(foreign=True)], "test", Told(dies), ("round-trip",))  # type: ignore[arg-type]
    died = {judged.key.new: [q.release for q in judged.died] for judged in several}
    assert died == {"a": [], "b": [], "c": ["c"]}


def test_what_cannot_be_asked_is_no_pass() -> None:
    several = properties.judge(
        [make_fixture(foreign=True)], "test", Told(lambda q: NotHere("no lab", "make one")), properties.PROPERTIES  # type: ignore[arg-type]
    )  # fmt: skip
    assert Outcome.COMPATIBLE not in {judged.verdict.outcome for judged in several}


def test_a_generated_document_has_no_record_that_could_stand_in_for_asking() -> None:
    case = properties.case_of(make_fixture(foreign=True), "qemu", Told(honest))  # type: ignore[arg-type]
    assert case.define("a").source == "lab"
    assert case.define("a").full  # with the file on disk
    assert not case.define("a", TEXT).full


def test_findings_of_one_cause_have_one_signature() -> None:
    key = CellKey("same-input", "domain", "test", "a", "b")
    one, other = (Finding(f"/domain/devices/disk[{d}]/@x", Change.CHANGED, Tier.BREAK, "1", d) for d in ("vda", "vdb"))
    assert properties.signature(key, one) == properties.signature(key, other)
    refused = [Finding("(define)", Change.REFUSED, Tier.BREAK, "", f"no audio device with ID {n}") for n in (1, 104)]
    assert len({properties.signature(key, f) for f in refused}) == 1


def test_a_death_has_one_signature_whichever_property_met_it() -> None:
    fixture = make_fixture(foreign=True)
    finding = Finding("(define)", Change.CRASHED, Tier.BREAK, "an answer", "SIGSEGV")
    trace = hunting.Trace("SIGSEGV", 1, 0, ("virExpandN (libvirt.so.0)",))
    verdict = properties.Verdict("c", Outcome.INCOMPATIBLE, (finding,))
    named = {
        hunting.named(properties.Judged(CellKey(check, "domain", "test", "a", "b"), fixture, verdict), finding, trace)
        for check in ("same-input", "upgrade-redefine")
    }
    assert named == {"domain test dies: crashed: SIGSEGV in virExpandN"}


# -- a daemon that dies under its client -------------------------------------------------------------------------------


class Daemon(Prober):
    """A daemon that dies of one document, and answers nobody from then on until it is started anew."""

    def __init__(self, deadly: str) -> None:
        self.deadly, self.dead, self.starts = deadly, False, 0

    def ask(self, batch, store) -> None:  # type: ignore[no-untyped-def]
        for asked in batch:
            self.dead = self.dead or self.deadly in asked.question.text
            if self.dead:
                store(asked.question, Answer("refused", code=38, message="internal error: client socket is closed"))
            else:
                store(asked.question, accepted(asked.question.text))


def test_of_a_daemon_that_dies_the_document_is_found_and_the_others_are_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon = Daemon("deadly")
    asking = Asking.__new__(Asking)
    asking.prober, asking.drivers = daemon, patient(drivers.every(), 1)

    def restart(asked: object) -> None:
        daemon.dead, daemon.starts = False, daemon.starts + 1

    lab = SimpleNamespace(fingerprint=lambda: "x")
    setup = asking.drivers["lxc"].kinds["domain"]
    batch = [
        Asked(Question("a", "lxc", "domain", "define", text), lab, setup) for text in ("one", "deadly", "two", "three")
    ]
    answered: dict[Question, Answer | NotHere] = {}
    monkeypatch.setattr(Asking, "_restart", lambda self, asked: restart(asked))
    asking._ask(batch, answered)
    statuses = [getattr(answered[a.question], "status", "") for a in batch]
    assert statuses == ["accepted", "crashed", "accepted", "accepted"]
    assert daemon.starts == 2


def test_a_written_form_is_looked_at_for_what_stands_unescaped() -> None:
    assert hunting.wild("<a b='&lt;'/>")
    assert not hunting.wild(TEXT)
