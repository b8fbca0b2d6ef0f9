"""Generated documents put through what must hold of every one, and what they find grouped by its cause.

    round-trip         what a release writes it reads again, the same the second time, valid under its own schema
    upgrade-redefine   what an old release wrote is accepted by the newer one and means the same
    same-input         a document that an old release accepts is accepted by the newer one, and both make the same of it
    hop                written by A, read and written by B, read by C is the same as read by C at once
    says-why           a refusal has a message and a code
    schema-kept        a document that is valid under the old release's schema is valid under the newer one's

That nothing crashes or hangs is seen in all of them. Thousands of failing documents are a few dozen causes: findings are one
where check, kind of change, product's ledger entry and place are the same, identities and values of the place aside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from virtcompat import checks, documents, surfaces
from virtcompat.checks import DEATHS, Case, Steps, compare, refusal
from virtcompat.engine import columns, corpora
from virtcompat.engine import run as engine
from virtcompat.engine.asking import Asking
from virtcompat.engine.generating import Generated
from virtcompat.engine.run import Progress, Selection
from virtcompat.facts import Facts
from virtcompat.model import (
    Answer,
    CellKey,
    Change,
    Finding,
    Fixture,
    Matrix,
    NotHere,
    Outcome,
    Question,
    Tier,
    Verdict,
)
from virtcompat.surfaces import Surface

#: What must hold of every document a driver accepts.
CHECKS = ("round-trip", "upgrade-redefine")
#: The same and more, where documents are asked by the thousand.
PROPERTIES = ("round-trip", "upgrade-redefine", "same-input", "hop", "says-why", "schema-kept")
#: libvirt's words where it gave none, and the codes that are no error's (0) or not libvirt's (below).
NO_WORDS = re.compile(r"^\s*$|An error occurred, but the cause is unknown")


@dataclass(slots=True)
class Cause:
    """Findings that are one. count: how many; cells: where, as (old, new); example: the shortest document that has it."""

    signature: str
    entry: str
    tier: Tier
    finding: Finding
    example: Generated
    count: int = 0
    cells: set[tuple[str, str]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Suite:
    """What the checks said of documents. asked: verdicts; missing: why some could not be asked."""

    causes: list[Cause]
    asked: int
    missing: str = ""

    @property
    def unexplained(self) -> list[Cause]:
        """The breaks that no ledger entry knows."""
        return [cause for cause in self.causes if not cause.entry and cause.tier >= Tier.BREAK]

    @property
    def exit_code(self) -> int:
        return 1 if self.unexplained else 3 if self.missing or not self.asked else 0


def suite(
    kind: str,
    driver: str,
    releases: Sequence[str],
    generated: Sequence[Generated],
    progress: Progress = lambda done, of: None,
) -> Suite:
    """The checks over documents of a kind, on one driver of several releases.

    Names and whatever a release would draw at random are pinned first, so that an answer is a function of the document.
    """
    machines = corpora.machines()
    by_case: dict[str, Generated] = {}
    asked: list[Fixture] = []
    for each in generated:
        try:
            text, digest = documents.pin(each.text, machines)
        except documents.NotWellFormed:
            continue
        case = f"{each.name}-{digest[:8]}"
        by_case[case] = each
        asked.append(Fixture(kind, case, text, each.what, (driver,), foreign=True))
    selection = Selection(checks=CHECKS, kinds=(kind,), drivers=(driver,), releases=tuple(releases))
    matrix = engine.run(selection, asked, progress, columns.find(tuple(releases)))
    return Suite(_causes(matrix, by_case), sum(cell.asked for cell in matrix.cells), _missing(matrix))


def _causes(matrix: Matrix, by_case: dict[str, Generated]) -> list[Cause]:
    """The findings of a matrix by cause, the worst and most frequent first."""
    found: dict[tuple[str, str], Cause] = {}
    for cell in matrix.cells:
        for verdict in cell.verdicts:
            for finding in verdict.findings:
                example = by_case[verdict.case]
                words = signature(cell.key, finding)
                cause = found.setdefault(
                    (words, finding.entry), Cause(words, finding.entry, finding.tier, finding, example)
                )
                cause.count += 1
                cause.cells.add((cell.key.old, cell.key.new))
                if len(example.text) < len(cause.example.text):
                    cause.example, cause.finding = example, finding
    return sorted(found.values(), key=lambda cause: (-cause.tier, bool(cause.entry), -cause.count, cause.signature))


def signature(key: CellKey, finding: Finding) -> str:
    """What is the same in findings of one cause: check, change, place without identities, and an error with its values masked."""
    place = re.sub(r"\[[^\]]*\]", "", finding.path)
    words = (
        masked(finding.new) if finding.change.value in ("refused", "crashed", "hung", "invalid", "unreadable") else ""
    )
    return f"{key.check}: {finding.change} {place}{': ' + words if words else ''}"


def masked(message: str) -> str:
    """An error message without what it quotes and counts."""
    return re.sub(r"\b(0x)?\d[\w.:-]*", "N", re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", message))[:160]


def _missing(matrix: Matrix) -> str:
    """Why something could not be asked, the first reason of them."""
    reasons = (
        v.reason for cell in matrix.cells for v in cell.verdicts if v.outcome in (Outcome.NOT_HERE, Outcome.BROKEN)
    )
    return next(reasons, "")


# -- one document after another, by the thousand -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fleeting:
    """A kind of document of which nothing is remembered: nobody asks for the facts of a generated document twice."""

    surface: Surface

    @property
    def name(self) -> str:
        return self.surface.name

    @property
    def summary(self) -> str:
        return self.surface.summary

    @property
    def schema(self) -> str:
        return self.surface.schema

    def facts(self, text: str) -> Facts:
        own = self.surface
        return own.read(text) if isinstance(own, surfaces.DocumentSurface) else own.facts(text)

    def tier(self, path: str, change: Change) -> Tier:
        return self.surface.tier(path, change)


@dataclass(frozen=True, slots=True)
class OfLab(Case):
    """A case that labs alone are asked: there is no record of a generated document."""

    def define(self, release: str, text: str = "", source: str = "") -> Question:
        return Case.define(self, release, text, "lab")


@dataclass(frozen=True, slots=True)
class Judged:
    """One verdict. via: of a hop the release between; died: the questions on the way that killed or hung a release."""

    key: CellKey
    fixture: Fixture
    verdict: Verdict
    via: str = ""
    died: tuple[Question, ...] = ()


def case_of(fixture: Fixture, driver: str, asking: Asking) -> Case:
    setup = asking.drivers[driver].kinds[fixture.kind]
    surface = Fleeting(surfaces.every()[fixture.kind])
    return OfLab(fixture, driver, surface, setup, asking.columns.products)


def judge(
    asked: Sequence[Fixture],
    driver: str,
    asking: Asking,
    chosen: Sequence[str] = PROPERTIES,
    among: Sequence[str] = (),
) -> Iterator[Judged]:
    """Every property of every document, all advanced together: each round is one batch of questions.

    among: releases, the oldest first; all columns where none is named.
    """
    names = among or asking.columns.names
    going: list[tuple[Judged, Steps, Question | None]] = []
    for fixture in asked:
        case = case_of(fixture, driver, asking)
        for key, via in cells(fixture.kind, driver, names, chosen):
            nothing = Verdict(fixture.case, Outcome.NOT_APPLICABLE)
            going.append((Judged(key, fixture, nothing, via), _steps(case, key, via), None))
    answered: dict[Question, Answer | NotHere] = {}
    while going:
        following: list[tuple[Judged, Steps, Question | None]] = []
        for judged, steps, question in going:
            answer = answered[question] if question else None
            if question and isinstance(answer, Answer) and answer.status in DEATHS:
                judged = replace(judged, died=(*judged.died, question))
            try:
                following.append((judged, steps, steps.send(answer)))  # type: ignore[arg-type]
            except StopIteration as stop:
                yield replace(judged, verdict=stop.value)
        going = following
        answered |= asking.resolve([q for *_, q in going if q is not None and q not in answered])


def cells(kind: str, driver: str, names: Sequence[str], chosen: Sequence[str]) -> Iterator[tuple[CellKey, str]]:
    """Every cell of some properties over releases, the oldest first, with the release between of a hop."""
    for name in chosen:
        if name == "hop":
            yield from ((CellKey(name, kind, driver, a, c), b) for a, b, c in combinations(names, 3))
        elif name in ("round-trip", "says-why"):
            yield from ((CellKey(name, kind, driver, a, a), "") for a in names)
        else:
            yield from ((CellKey(name, kind, driver, a, b), "") for a, b in combinations(names, 2))


def _steps(case: Case, key: CellKey, via: str) -> Steps:
    match key.check:
        case "hop":
            return _hop(case, key.old, via, key.new)
        case "says-why":
            return _says_why(case, key.new)
        case "schema-kept":
            return _schema_kept(case, key.old, key.new)
    return checks.every()[key.check].judge(case, key.old, key.new)


def _hop(case: Case, old: str, via: str, new: str) -> Steps:
    """Over a release between or at once: the same, where each of them takes what it is handed."""
    written = yield case.define(old)
    if isinstance(written, NotHere):
        return case.not_here(written)
    if not (before := written.form(case.best)):
        return case.not_applicable("the old release does not accept it")
    middle = yield case.define(via, before)
    direct = yield case.define(new, before)
    if isinstance(middle, NotHere) or isinstance(direct, NotHere):
        return case.not_here(middle if isinstance(middle, NotHere) else NotHere("no lab", "virt-compat doctor"))
    if not middle.form(case.best) or not direct.form(case.best):
        return case.not_applicable("a release does not accept it")
    last = yield case.define(new, middle.form(case.best))
    if isinstance(last, NotHere):
        return case.not_here(last)
    if not last.accepted:
        return case.verdict([refusal("define", last)])
    return case.verdict(list(compare(case.surface, direct.form(case.best), last.form(case.best))))


def _says_why(case: Case, release: str) -> Steps:
    said = yield case.define(release)
    if isinstance(said, NotHere):
        return case.not_here(said)
    if said.status != "refused" or said.code < 0:
        return case.not_applicable("nothing is refused by libvirt")
    if said.code and not NO_WORDS.search(said.message):
        return case.verdict([])
    words = f"code {said.code}, '{said.message}'"
    return case.verdict([Finding("(message)", Change.UNREADABLE, Tier.RISK, "a message and a code", words)])


def _schema_kept(case: Case, old: str, new: str) -> Steps:
    before = yield case.validate(old, case.fixture.text)
    after = yield case.validate(new, case.fixture.text)
    if isinstance(before, NotHere) or isinstance(after, NotHere):
        return case.not_here(before if isinstance(before, NotHere) else NotHere("no schema", "virt-compat doctor"))
    if not before.accepted:
        return case.not_applicable("not valid under the old release's schema")
    if after.accepted:
        return case.verdict([])
    return case.verdict([Finding("(schema)", Change.INVALID, Tier.BREAK, "valid", after.message)])
