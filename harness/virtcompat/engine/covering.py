"""The covering corpora of releases in upgrade and downgrade: the matrix's own checks over what each release wrote of its corpus.

Every document of a release's recorded corpus stands in the cells in which that release writes: it is handed to each newer
release (``upgrade-redefine``), found by it on disk (``upgrade-disk``), and handed back to each older one (``downgrade``);
``inclusion`` is about the grammars alone. A ledger entry whose ``checks`` has ``covering`` is about a difference that only
these documents show.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from virtcompat import checks, drivers, surfaces
from virtcompat.engine import columns, covering_schemas, evidence
from virtcompat.engine import run as engine
from virtcompat.engine.answers import Answers
from virtcompat.engine.columns import Columns
from virtcompat.engine.corpora import takers
from virtcompat.engine.evidence import Evidence
from virtcompat.engine.judging import Waiting, judge
from virtcompat.engine.memory import Memory
from virtcompat.engine.run import Progress, Selection
from virtcompat.engine.tally import Tally, shortened
from virtcompat.errors import NotAsked, UsageError
from virtcompat.model import (
    NO_DRIVER,
    Answer,
    CellKey,
    Fixture,
    Matrix,
    NotHere,
    Outcome,
    Question,
    Tier,
    Verdict,
    unasked,
)
from virtcompat.store import covering as store
from virtcompat.store import ledger
from virtcompat.store.covering import About, Corpus, Document

CHECKS = ("upgrade-redefine", "upgrade-disk", "downgrade")
INCLUSION = "inclusion"
#: What stands in a ledger entry's ``checks`` where only generated documents show the difference.
AXIS = "covering"
#: Two starts of a driver with 200 files each.
CHUNK = 400
Corpora = dict[str, Corpus | None]


@dataclass(slots=True)
class Replaying(Answers):
    """Answers that take what a release said of its own corpus from golden/.

    corpora: release -> its corpus of the kind that is at hand.
    """

    corpora: Corpora = field(default_factory=dict)
    documents: dict[str, dict[str, Document]] = field(default_factory=dict)

    def take(self, kind: str) -> None:
        """Have the corpora of another kind at hand."""
        self.corpora = {name: store.read(name, kind) for name in self.columns.names}
        self.documents = {name: {d.case: d for d in c.documents} for name, c in self.corpora.items() if c}

    def _without_lab(self, question: Question) -> Answer | NotHere | None:
        if question.op == "define" and question.recorded:
            document = self.documents.get(question.release, {}).get(question.recorded)
            corpus = self.corpora.get(question.release)
            if document and corpus and corpus.contexts.get(question.driver) == question.context:
                answer = document.answer(question.driver) if document.given == question.text else None
                if answer is not None:
                    self.replayed += 1
                    return answer
        return Answers._without_lab(self, question)


@contextmanager
def opened(found: Columns) -> Iterator[Replaying]:
    """Answers over the user's cache and the recorded corpora."""
    with engine.opened(found) as plain:
        yield Replaying(plain.columns, plain.drivers, plain.cache, plain.prober, plain.schemas)


def fixture(corpus: Corpus, document: Document, driver: str) -> Fixture:
    """A document of a corpus as the checks know documents."""
    return Fixture(
        corpus.kind, document.case, document.given, document.what, (driver,),
        context=corpus.contexts[driver], flavour=document.flavour, foreign=True,
    )  # fmt: skip


def keys(found: Columns, selection: Selection) -> list[CellKey]:
    """The cells of a selection: those in which a release writes that has recorded corpora, and those of its grammars."""
    writers = {c.name for c in found.columns if c.golden}
    every = {**checks.every(), INCLUSION: None}
    cells = []
    for name in (*CHECKS, INCLUSION):
        if selection.checks and name not in selection.checks:
            continue
        check = every[name]
        own = engine.pairs(found, check, selection) if check else _forward(found, selection)
        pairs = [pair for pair in own if pair[0] in writers]
        for kind in surfaces.every():
            if selection.kinds and kind not in selection.kinds:
                continue
            for driver in _drivers(kind, selection) if check else (NO_DRIVER,):
                cells += [CellKey(name, kind, driver, *pair) for pair in pairs if not _idle(name, kind, driver)]
    return cells


def _drivers(kind: str, selection: Selection) -> list[str]:
    return [d for d in takers(kind) if not selection.drivers or d in selection.drivers]


def _idle(check: str, kind: str, driver: str) -> bool:
    """Whether a driver keeps no file of a kind, so that there is nothing to find on disk."""
    return check == "upgrade-disk" and not drivers.every()[driver].kinds[kind].disk


def _forward(found: Columns, selection: Selection) -> Iterator[tuple[str, str]]:
    """The pairs of an older and a newer release; no driver is asked, so none must be selected."""
    names = found.names if not selection.drivers or NO_DRIVER in selection.drivers else []
    for at, old in enumerate(names):
        for new in names[at + 1 :]:
            if (not selection.old or old in selection.old) and (not selection.new or new in selection.new):
                yield old, new


# -- one run -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Run:
    """Everything a run holds open. done, total: judgements of a document in a cell, of those that are not remembered."""

    found: Columns
    gate: Tier
    answers: Replaying
    memory: Memory
    progress: Progress
    tallies: dict[CellKey, Tally] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    judged: int = 0
    remembered: int = 0
    done: int = 0
    total: int = 0

    def run(self, cells: Sequence[CellKey]) -> None:
        """Recall the cells that are known, judge the others, kind by kind and writer by writer."""
        known = {key: self._kept(key) for key in cells}
        verdicts = self.memory.kept.get_many(kept for kept in known.values() if kept)
        groups: dict[tuple[str, str], list[CellKey]] = {}
        for key, kept in known.items():
            self.tallies[key] = Tally()
            if not kept:
                remedy = f"virt-compat covering record {key.old} --kind {key.kind}"
                self._collect(
                    key, [unasked("(corpus)", NotHere(f"no covering corpus of {key.old} is recorded", remedy))]
                )
            elif kept in verdicts:
                self.remembered += len(verdicts[kept])
                self._collect(key, verdicts.pop(kept))
            else:
                groups.setdefault((key.kind, key.old), []).append(key)
        told = {group: store.about(group[1], group[0]) for group in groups}
        self.total = sum(about.documents * len(groups[group]) for group, about in told.items() if about)
        at_hand = ""
        for (kind, old), own in sorted(groups.items(), key=lambda item: item[0]):
            if kind != at_hand:
                self.answers.take(at_hand := kind)
            self._group(old, own, known)

    def _kept(self, key: CellKey) -> bytes:
        """The key of a whole cell in the memory: what its verdicts follow from, digested. Empty where nothing is recorded."""
        recorded = [store.digest_of(name, key.kind) for name in (key.old, key.new)]
        if not recorded[0]:
            return b""
        labs = {
            f"{column} {flavour}": "" if isinstance(lab, NotHere) else lab.fingerprint()
            for (column, flavour), lab in sorted(self.found.labs.items())
            if column in (key.old, key.new)
        }
        products = [dict(sorted(self.found.products[name].items())) for name in (key.old, key.new)]
        body = json.dumps([AXIS, str(key), recorded, labs, products, self.memory.kept.tool])
        return hashlib.sha256(body.encode()).digest()[:20]

    def _group(self, old: str, own: Sequence[CellKey], known: Mapping[CellKey, bytes]) -> None:
        """The cells of one kind in which one release writes."""
        corpus = self.answers.corpora[old]
        assert corpus is not None
        given: dict[CellKey, list[Verdict]] = {key: [] for key in own}
        for key in own:
            if key.check == INCLUSION:
                given[key] = list(covering_schemas.judge(corpus, key.new, self.answers))
                self._advance(len(corpus.documents))
        asked = [key for key in own if key.check != INCLUSION]
        for at in range(0, len(corpus.documents), CHUNK) if asked else ():
            part = corpus.documents[at : at + CHUNK]
            for key, _, verdict in judge(list(_waiting(corpus, part, asked)), self.found.products, self.answers):
                given[key].append(verdict)
            self._advance(len(part) * len(asked))
        order = {document.case: at for at, document in enumerate(corpus.documents)}
        for key, verdicts in given.items():
            verdicts.sort(key=lambda v: order.get(v.case, -1))
            verdicts = [replace(v, findings=tuple(shortened(f) for f in v.findings)) for v in verdicts]
            self.judged += len(verdicts)
            self.memory.remember(known[key], verdicts)
            self._collect(key, verdicts)
        self.memory.flush()

    def _advance(self, steps: int) -> None:
        self.done += steps
        self.progress(self.done, self.total)

    def _collect(self, key: CellKey, verdicts: Sequence[Verdict]) -> None:
        entries = crossed(key, self.found)
        for verdict in verdicts:
            explained = engine.explained(verdict, entries)
            self.used |= {f.entry for f in explained.findings if f.entry}
            self.tallies[key].add(explained, self.gate, Tier.BREAK)

    def matrix(self, *, complete: bool) -> Matrix:
        """The cells. complete: nothing was left out, so that an entry about these documents alone that is unused is stale."""
        own = {e.id for e in ledger.entries() if e.checks & {AXIS, INCLUSION}}
        cells = [tally.cell(key) for key, tally in self.tallies.items()]
        missing = any(c.counts.get(Outcome.NOT_HERE) or c.counts.get(Outcome.BROKEN) for c in cells)
        return Matrix(
            columns=self.found.columns,
            cells=cells,
            gate=self.gate,
            asked=self.answers.asked,
            cached=self.answers.cached,
            replayed=self.answers.replayed,
            judged=self.judged,
            remembered=self.remembered,
            stale=tuple(sorted(own - self.used)) if complete and not missing else (),
            notes=tuple(self.found.notes),
        )


def _waiting(corpus: Corpus, part: Sequence[Document], cells: Sequence[CellKey]) -> Iterator[Waiting]:
    for driver in dict.fromkeys(key.driver for key in cells):
        own = [(key, b"") for key in cells if key.driver == driver]
        yield from ((fixture(corpus, document, driver), driver, own) for document in part)


def crossed(key: CellKey, found: Columns) -> list[tuple[ledger.Entry, bool]]:
    """The ledger entries that may explain a finding: those of the cell's check, and those of generated documents alone."""
    return [*engine.crossed(key, found), *engine.crossed(replace(key, check=AXIS), found)]


def run(selection: Selection, progress: Progress = lambda done, of: None) -> Matrix:
    """Judge the recorded corpora of a selection. NotAsked where none of it is about them."""
    found = columns.find(selection.releases)
    cells = keys(found, selection)
    if not cells:
        raise NotAsked("nothing of this selection has a covering corpus", "see 'virt-compat covering --help'")
    with opened(found) as answers:
        memory = Memory(found)
        try:
            one = Run(found, selection.gate, answers, memory, progress)
            one.run(cells)
        finally:
            memory.kept.close()
        return one.matrix(complete=selection.complete)


def validated(selection: Selection) -> Selection:
    """The selection, once every name in it is known to exist; the one check that is no member is asked of grammars."""
    for kind in selection.kinds:
        if kind not in surfaces.every():
            raise UsageError(f"no kind of document '{kind}'", f"use one of: {', '.join(surfaces.every())}")
    engine.validated(replace(selection, checks=tuple(c for c in selection.checks if c != INCLUSION)))
    return selection


def recorded(found: Matrix) -> list[About]:
    """What the recorded corpora of a matrix's releases say of themselves."""
    every = (store.about(c.name, kind) for c in found.columns if c.golden for kind in store.kinds(c.name))
    return [about for about in every if about is not None]


def explain(key: CellKey, case: str) -> Evidence:
    """One document of a cell, judged anew, with everything that was asked for it. UsageError where it is not in the corpus."""
    found = columns.find(())
    with opened(found) as answers:
        answers.take(key.kind)
        corpus = answers.corpora.get(key.old)
        document = answers.documents.get(key.old, {}).get(case)
        if corpus is None or document is None:
            remedy = f"see virt-compat covering matrix --old {key.old} --kind {key.kind}"
            raise UsageError(f"no document '{case}' in the {key.kind} corpus of {key.old}", remedy)
        if key.check == INCLUSION:
            only = replace(corpus, documents=(document,))
            verdict = next(covering_schemas.judge(only, key.new, answers))
            shown = Evidence(key, verdict, records=[(key.old, document.text)])
        else:
            if key.driver not in corpus.contexts:
                raise UsageError(f"{key.driver} was not given the corpus of {key.kind}", "name one that was")
            setup = drivers.every()[key.driver].kinds[key.kind]
            own = fixture(corpus, document, key.driver)
            subject = checks.Case(own, key.driver, surfaces.every()[key.kind], setup, found.products)
            shown = evidence._replay(key, subject, answers)
        shown.verdict = engine.explained(shown.verdict, crossed(key, found))
        return shown
