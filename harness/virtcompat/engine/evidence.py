"""The evidence behind a cell: the documents, the differences, the ledger entry, the command that shows it alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import unified_diff

from virtcompat import checks, drivers, surfaces
from virtcompat.engine import columns as columns_module
from virtcompat.engine import guests, stability, static
from virtcompat.engine import run as engine
from virtcompat.engine.answers import Answers
from virtcompat.errors import UsageError
from virtcompat.model import STATIC, Answer, Cell, CellKey, NotHere, Question, Verdict
from virtcompat.policy.records import merged
from virtcompat.store import ledger
from virtcompat.store.records import written

PARTS = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a judge with its answer."""

    question: Question
    answer: Answer | NotHere


@dataclass(slots=True)
class Evidence:
    """What one check asked about one case, and what it made of it. records: (release, its facts) of an interface."""

    key: CellKey
    verdict: Verdict
    asked: list[Asked] = field(default_factory=list)
    records: list[tuple[str, str]] = field(default_factory=list)


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


def case(key: CellKey, name: str) -> Evidence:
    """One case of a cell with everything that was asked for it."""
    if key.check == STATIC:
        return interface(key, name)
    if key.check in guests.CHECKS:
        return moved(key, name)
    selection = engine.Selection((key.check,), (key.kind,), (key.driver,), (), (key.old,), (key.new,), (name,))
    documents = [d for d in engine.own_documents(selection) if d.case == name and key.driver in d.drivers]
    if not documents:
        raise UsageError(f"no fixture {key.kind}/{name} for the {key.driver} driver", "see the cell without a case")
    driver = drivers.every()[key.driver]
    if key.kind not in driver.kinds:
        raise UsageError(f"the {key.driver} driver has no {key.kind}", "see 'virt-compat list drivers'")
    with engine.opened(columns_module.find(())) as answers:
        columns = answers.columns
        subject = checks.Case(
            documents[0], key.driver, surfaces.every()[key.kind], driver.kinds[key.kind], columns.products
        )
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
    verdict, key = evidence.verdict, evidence.key
    yield f"{key}/{verdict.case}: {verdict.outcome}" + (f" ({verdict.worst.label})" if verdict.findings else "")
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
    yield f"reproduce: virt-compat explain {key}/{verdict.case}"


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
