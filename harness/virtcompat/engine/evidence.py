"""The evidence behind a cell: the documents, the differences, the ledger entry, the command that shows it alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from difflib import unified_diff
from pathlib import Path

from virtcompat import checks, documents, drivers, surfaces
from virtcompat.engine import columns as columns_module
from virtcompat.engine import guests, remote, stability, standin, static
from virtcompat.engine import run as engine
from virtcompat.engine.answers import Answers
from virtcompat.engine.standin import StandIn
from virtcompat.errors import BadData, UsageError
from virtcompat.model import STATIC, Answer, Cell, CellKey, Fixture, NotHere, Question, Verdict
from virtcompat.policy.records import merged
from virtcompat.store import ledger
from virtcompat.store.records import written

PARTS = 5
WITHOUT_KVM = "asked as a guest that QEMU translates: no lab has KVM"
#: Kinds of document that belong to another object, which a fixture names.
OWNED = frozenset("domainsnapshot domaincheckpoint networkport nwfilterbinding storagevol".split())


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a judge with its answer."""

    question: Question
    answer: Answer | NotHere


@dataclass(slots=True)
class Evidence:
    """What one check asked about one case, and what it made of it.

    records: (release, its facts) of an interface. document: the file that was judged in place of a fixture's text.
    """

    key: CellKey
    verdict: Verdict
    asked: list[Asked] = field(default_factory=list)
    records: list[tuple[str, str]] = field(default_factory=list)
    document: str = ""
    foreign: bool = False
    note: str = ""

    @property
    def name(self) -> str:
        """The cell with its case, where the case is one of the project's."""
        return str(self.key) if self.foreign else f"{self.key}/{self.verdict.case}"

    @property
    def command(self) -> str:
        words = ["virt-compat", "explain", self.name]
        return shlex.join([*words, "--document", self.document] if self.document else words)


def parse_cell(text: str) -> tuple[CellKey, str]:
    """``check/kind/driver/old/new[/case]`` as a key and a case; UsageError says what is wrong."""
    parts = text.split("/", PARTS)
    if len(parts) < PARTS:
        raise UsageError(f"'{text}' is not a cell", "write check/kind/driver/old/new or …/case, as the matrix does")
    key = CellKey(*parts[:PARTS])
    engine.validated(engine.Selection((key.check,), (key.kind,), (key.driver,), (), (key.old,), (key.new,)))
    return key, parts[PARTS] if len(parts) > PARTS else ""


def cell(key: CellKey) -> Cell:
    """One cell, judged anew (from the cache where it has been asked)."""
    matrix = engine.run(engine.Selection((key.check,), (key.kind,), (key.driver,), (), (key.old,), (key.new,)))
    for found in matrix.cells:
        if found.key == key:
            return found
    raise UsageError(f"no such cell: {key}", "the check is not about this pair (see 'virt-compat list checks')")


def interface(key: CellKey, name: str) -> Evidence:
    """One interface of a recorded surface: its verdict and what both records say of it."""
    found = columns_module.find((key.old, key.new))
    stability.either_way(found, key.old, key.new, (key.kind,))
    records = static.Records(found)
    verdict = next((v for v in static.judge(key, records) if v.case == name), None)
    if verdict is None:
        raise UsageError(f"no interface '{name}' in {key.kind} of either release", "see the cell without it")
    surface = surfaces.every_recorded()[key.kind]
    evidence = Evidence(key, engine.explained(verdict, engine.crossed(key, found)))
    for release in (key.old, key.new):
        record = records.of(release, surface)
        facts = {} if isinstance(record, NotHere) else merged(record)
        own = {p: v for p, v in facts.items() if p == name or p.startswith(f"{name}/")}
        evidence.records.append((release, written(own)))
    return evidence


def moved(key: CellKey, name: str) -> Evidence:
    """One guest that moved: its verdict, and what the source's record says of it."""
    found = columns_module.find((key.old, key.new))
    with guests.Moves(found) as moves:
        verdicts = guests.cells(moves, [key], (name,))[key]
        if not verdicts:
            raise UsageError(f"no guest '{name}' in {key}", "name a MACHINE/SET (see 'virt-compat list device-sets')")
        evidence = Evidence(key, engine.explained(verdicts[0], engine.crossed(key, found)))
        for release in dict.fromkeys((key.old, key.new)):
            evidence.records.append((release, written(moves.hardware(release, name))))
    return evidence


def talked(key: CellKey, name: str) -> Evidence:
    """One call of a client: its verdict."""
    found = columns_module.find((key.old, key.new))
    with remote.Talks(found) as talks:
        verdicts = remote.cells(talks, [key], (name,))[key]
    if not verdicts:
        raise UsageError(f"no call '{name}' in {key}", "name a TRANSPORT/TOPIC/CALL (see 'virt-compat remote')")
    return Evidence(key, engine.explained(verdicts[0], engine.crossed(key, found)))


def case(key: CellKey, name: str) -> Evidence:
    """One case of a cell with everything that was asked for it."""
    if key.check == STATIC:
        return interface(key, name)
    if key.check in guests.CHECKS:
        return moved(key, name)
    if key.check == remote.CHECK:
        return talked(key, name)
    return _judged(key, _fixture(key, name))


def document(key: CellKey, name: str, file: Path) -> Evidence:
    """A document of the user's, judged in a cell: on its own, or in place of the text of a case, with all that is known of it.

    On its own what libvirt would draw at random (UUID, hardware addresses) is fixed first, and KVM left out.
    Raises BadData.
    """
    if key.check not in checks.every():
        raise UsageError(f"{key.check}/{key.kind} is not about documents", "name a cell of a check that is")
    text = documents.read_text(file)
    tag = documents.root_tag(text)
    if tag != documents.ROOTS[key.kind]:
        kind = documents.KIND_OF_ROOT.get(tag)
        remedy = f"write {key.check}/{kind}/…" if kind else f"the root element must be <{documents.ROOTS[key.kind]}>"
        raise BadData(file, f"root element <{tag}>, but the cell is about a {key.kind}", remedy)
    stand_in = standin.exact(text)
    if name:
        fixture = replace(_fixture(key, name), text=text)
    elif key.kind in OWNED and not stand_in.context:
        remedy = f"name a case that has one: {key}/CASE --document {file} (fixtures/{key.kind}/)"
        raise UsageError(f"a {key.kind} belongs to another object, which the document does not give", remedy)
    else:
        fixture = _foreign(key, stand_in, file)
    evidence = _judged(key, fixture)
    evidence.document, evidence.foreign = str(file), fixture.foreign
    evidence.note = WITHOUT_KVM if fixture.foreign and stand_in.kvm else ""
    return evidence


def _foreign(key: CellKey, own: StandIn, file: Path) -> Fixture:
    flavour = "" if documents.arch_of(own.text) in ("", "x86_64", "i686") else "all"
    return Fixture(
        key.kind, file.stem, own.text, f"from {file}", (key.driver,), context=own.context, flavour=flavour, foreign=True
    )


def _fixture(key: CellKey, name: str) -> Fixture:
    """The project's fixture of a case; UsageError where this driver is asked none of that name."""
    selection = engine.Selection((key.check,), (key.kind,), (key.driver,), (), (key.old,), (key.new,), (name,))
    found = [d for d in engine.own_documents(selection) if d.case == name and key.driver in d.drivers]
    if not found:
        raise UsageError(f"no fixture {key.kind}/{name} for the {key.driver} driver", "see the cell without a case")
    return found[0]


def _judged(key: CellKey, fixture: Fixture) -> Evidence:
    driver = drivers.every()[key.driver]
    if key.kind not in driver.kinds:
        raise UsageError(f"the {key.driver} driver has no {key.kind}", "see 'virt-compat list drivers'")
    with engine.opened(columns_module.find(())) as answers:
        columns = answers.columns
        setup = driver.kinds[key.kind]
        subject = checks.Case(fixture, key.driver, surfaces.every()[key.kind], setup, columns.products)
        return _replay(key, subject, answers)


def _replay(key: CellKey, subject: checks.Case, answers: Answers) -> Evidence:
    steps = checks.every()[key.check].judge(subject, key.old, key.new)
    asked: list[Asked] = []
    answer: Answer | NotHere | None = None
    while True:
        try:
            question = steps.send(answer)  # type: ignore[arg-type]  # None starts a generator
        except StopIteration as stop:
            verdict = engine.explained(stop.value, engine.crossed(key, answers.columns))
            return Evidence(key, verdict, asked)
        answer = answers.resolve([question])[question]
        asked.append(Asked(question, answer))


def lines(evidence: Evidence) -> Iterator[str]:
    """The evidence as a person reads it."""
    verdict = evidence.verdict
    yield f"{evidence.name}: {verdict.outcome}" + (f" ({verdict.worst.label})" if verdict.findings else "")
    if evidence.document:
        yield f"  of the document {evidence.document}{evidence.note and f' ({evidence.note})'}"
    if verdict.reason:
        yield f"  because {verdict.reason}"
    for finding in verdict.findings:
        yield ""
        yield f"  {finding.tier.label}: {finding.path} {finding.change}"
        yield from (f"    was: {line}" for line in finding.old.splitlines()[:6])
        yield from (f"    now: {line}" for line in finding.new.splitlines()[:6])
        entry = next((e for e in ledger.entries() if e.id == finding.entry), None)
        if entry:
            yield f"    ledger {entry.id}: {entry.summary}"
            yield f"      why: {entry.why}"
            yield f"      see: {entry.reference}"
        else:
            yield "    in no ledger entry"
    yield from _documents(evidence)
    yield ""
    yield f"reproduce: {evidence.command}"


def _documents(evidence: Evidence) -> Iterator[str]:
    shown = list(evidence.records)
    for number, item in enumerate(evidence.asked, 1):
        question, answer = item.question, item.answer
        yield ""
        yield f"question {number}: {question.op} on {question.release} ({question.driver}, {question.kind})"
        if isinstance(answer, NotHere):
            yield f"  not here: {answer.reason}; {answer.remedy}"
            continue
        yield f"  {answer.status}{': ' + answer.message if answer.message else ''}"
        text = answer.form("secure") or answer.form("inactive")
        if text:
            shown.append((f"question {number}: {question.release}", text))
    if not shown:
        return
    (first, old), (last, new) = shown[0], shown[-1]
    changed = list(unified_diff(old.splitlines(), new.splitlines(), first, last, lineterm="", n=2))
    yield ""
    yield from changed or [f"{first} wrote:", *(f"  {line}" for line in old.splitlines())]
