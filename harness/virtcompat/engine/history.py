"""History: how the answer to one document, or one interface, changed over the releases, and since when it is today's.

Every release is given the same document. Each answer is compared with that of the release before it, and every difference
carries the entry of the change ledger that explains it: whose change it was, and of which version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from virtcompat import checks, documents, drivers, surfaces
from virtcompat.checks import Case
from virtcompat.engine import columns as columns_module
from virtcompat.engine import run
from virtcompat.engine.answers import Answers
from virtcompat.engine.columns import Columns
from virtcompat.errors import BadData, UsageError
from virtcompat.model import Answer, CellKey, Change, Column, Finding, Fixture, NotHere, Tier, Verdict, judged
from virtcompat.store import fixtures, ledger, tables

#: What is compared: the fullest document that a driver writes, the one it sends along a migration, the file on disk,
#: the QEMU command line.
FORMS = ("document", "migratable", "disk", "argv")
CHUNK = 100
PRODUCTS = {"libvirt": "libvirt", "qemu": "QEMU", "spice": "SPICE", "xen": "Xen"}
NOT_HERE = "not-here"
#: How a status reads, where it is not a word for people.
WORDS = {"unwritten": "accepted and not written"}
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One release's answer, and how it differs from that of ``before``, the last release before it that answered.

    status: accepted, refused, crashed, hung, garbled, absent; unwritten (accepted, but without this form); of an
    interface ``there`` or ``absent``; not-here. words: libvirt's message, an interface's own facts, or why there is no
    answer. note: what is known beforehand of the document under this release. partly: why not all of it is known.
    crossed: what of the fixture's own metadata begins or ends between ``before`` and here. beside: of a command line,
    the ledger entries of the document that it is built of.
    """

    column: Column
    status: str
    words: str = ""
    note: str = ""
    before: str = ""
    findings: tuple[Finding, ...] = ()
    partly: str = ""
    crossed: str = ""
    beside: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        return self.status != NOT_HERE

    def why(self, finding: Finding) -> str:
        """What explains a difference: the entry with its product and version, or the fixture's metadata.

        Empty for a mere addition that nothing explains: nobody expects that of it.
        """
        if found := entry(finding.entry):
            return f"{origin(found)} <{found.id}>: {found.summary}"
        if self.crossed:
            return self.crossed
        known = [f"{origin(e)} <{e.id}>" for name in self.beside if (e := entry(name))]
        also = f"; the document that it is built of changed with {' and '.join(known)}" if known else ""
        return f"in no ledger entry{also}" if also or finding.tier > Tier.ADDITION else ""


@dataclass(frozen=True, slots=True)
class History:
    """One document under one driver, or one interface of a recorded surface (driver ``-``), release by release."""

    kind: str
    case: str
    driver: str
    form: str
    summary: str
    steps: tuple[Step, ...]
    product: str = ""  # whose interface it is; a document is libvirt's and QEMU's

    def products(self, column: Column) -> str:
        """``libvirt 9.0.0, QEMU 7.2``; of an interface its own product."""
        versions = {**column.others, "libvirt": column.libvirt, "qemu": column.qemu}
        wanted = (self.product,) if self.product else ("libvirt", "qemu")
        return ", ".join(f"{PRODUCTS.get(p, p)} {versions[p]}" for p in wanted if versions.get(p)) or "version unknown"

    @property
    def known(self) -> list[Step]:
        return [step for step in self.steps if step.known]

    @property
    def changes(self) -> list[Step]:
        return [step for step in self.known if step.findings]

    @property
    def reworded(self) -> bool:
        """Whether a release that answers no differently says so in other words: another message, another reason."""
        return not self.product and len({(step.status, step.words) for step in self.known}) > len(
            {step.status for step in self.known}
        )

    @property
    def since(self) -> Step | None:
        """The release since which it is what it is today: that of the last change, else the first that was asked."""
        return next(reversed(self.changes), None) or next(iter(self.known), None)


def exit_code(found: Sequence[History]) -> int:
    """3 where a release could not be asked, or not for all of it; 0 else."""
    return 3 if not found or any(not step.known or step.partly for one in found for step in one.steps) else 0


def entry(name: str) -> ledger.Entry | None:
    return next((e for e in ledger.entries() if e.id == name), None)


def origin(found: ledger.Entry) -> str:
    """Whose change an entry is: ``libvirt 9.0.0``, as the entry says it."""
    return f"{PRODUCTS.get(found.product, found.product)} {tables.read(Path(found.file))['since']}"


def sentence(history: History) -> str:
    """Since when it is what it is today, in one sentence."""
    since = history.since
    if since is None:
        return "Nothing is known: no release could be asked."
    known, first, last = history.known, history.known[0], history.known[-1]
    unknown = [step.column.name for step in history.steps if not step.known or step.partly]
    asked = f" Not known, or not all of it: {', '.join(unknown)}." if unknown else ""
    state = WORDS.get(last.status, last.status).capitalize()
    if not history.changes:
        where = f"in {first.column.name}" if first is last else f"from {first.column.name} to {last.column.name}"
        same = "not always in the same words," if history.reworded else "the same"
        return f"{state}, {same} in every release asked, {where}.{asked}"
    names = dict.fromkeys(f.entry for f in since.findings if f.entry)
    entries = [f"{origin(e)} <{e.id}>" for name in names if (e := entry(name))]
    loud = any(f.tier > Tier.ADDITION for f in since.findings)
    why = " and ".join(entries) or since.crossed or ("in no ledger entry" if loud else "")
    words = f"{state}, and what it is today since {since.column.name} ({history.products(since.column)})"
    arrival = next((s for s in known[1:] if s.status == "there"), None) if first.status == "absent" else None
    if last.status == "absent":
        words = f"Gone since {since.column.name} ({history.products(since.column)})"
    elif arrival is since:
        words = f"New in {since.column.name} ({history.products(since.column)}), the same since"
    count = len(history.changes)
    total = f"; {count} changes since {first.column.name}" if count > 1 else ""
    return f"{words}{f': {why}' if why else ''}{total}.{asked}"


@dataclass(frozen=True, slots=True)
class Subject:
    """A document as a driver is asked it, and in which form its answers are compared."""

    case: Case
    form: str
    found: Columns

    @property
    def written(self) -> str:
        """The name that the form has in an answer."""
        return self.case.best if self.form == "document" else self.form

    def step(self, column: Column, answer: Answer | NotHere, earlier: Sequence[tuple[Column, Answer]]) -> Step:
        """One release's step after the known ``earlier`` ones."""
        note = self._note(column)
        if isinstance(answer, NotHere):
            return Step(column, NOT_HERE, f"{answer.reason}; {answer.remedy}", note)
        status, words = self.standing(answer)
        if not earlier:
            return Step(column, status, words, note)
        before, previous = earlier[-1]
        findings = self.findings(before, previous, column, answer)
        if status == "accepted" and self.standing(previous)[0] != "accepted":
            # It came back: what it is now is told against what it was when it last was accepted.
            then = next(((c, a) for c, a in reversed(earlier) if self.standing(a)[0] == "accepted"), None)
            findings += self.findings(*then, column, answer) if then else ()
        beside: tuple[str, ...] = ()
        if self.form == "argv" and not all(f.explained for f in findings):
            document = replace(self, form="document").findings(before, previous, column, answer)
            beside = tuple(dict.fromkeys(f.entry for f in document if f.entry))
        crossed = (self._note(before) or note) if self._note(before) != note else ""
        return Step(column, status, words, note, before.name, findings, "", crossed, beside)

    def _note(self, column: Column) -> str:
        """Where the release is not one that the document's behaviour belongs to: when that came, or ended."""
        fixture = self.case.fixture
        if self.case.knows(column.name):
            return ""
        born = self.case.born(column.name)
        versions, verb = (fixture.until, "ended") if born else (fixture.since, "came")
        return (
            f"what the document is about {verb} with {' and '.join(f'{PRODUCTS[p]} {v}' for p, v in versions.items())}"
        )

    def standing(self, answer: Answer) -> tuple[str, str]:
        """(status, message) of an answer in this form."""
        if not answer.accepted:
            return answer.status, answer.message
        form = answer.forms.get(self.written)
        if form is None or form.error:
            return "unwritten", form.error if form else "not written in this form"
        return "accepted", ""

    def findings(self, before: Column, old: Answer, column: Column, new: Answer) -> tuple[Finding, ...]:
        """What differs, each explained by the ledger where an entry between the two releases accounts for it."""
        check = "same-hardware" if self.form == "argv" else "same-input"
        key = CellKey(check, self.case.fixture.kind, self.case.driver, before.name, column.name)
        verdict = judged(self.case.fixture.case, list(self._differences(before.name, old, column.name, new)))
        return run.explained(verdict, run.crossed(key, self.found)).findings

    def _differences(self, before: str, old: Answer, now: str, new: Answer) -> Iterator[Finding]:
        was, then = self.standing(old)[0], self.standing(new)
        if then[0] != "accepted":
            if was != then[0]:
                yield checks.refusal("define", new) if not new.accepted else self._unwritten(Change.REFUSED, then[1])
        elif was != "accepted":
            place = "(define)" if not old.accepted else f"({self.written})"
            yield Finding(place, Change.ACCEPTED, Tier.ADDITION, "refused", "accepted")
        elif self.form == "argv":
            yield from self._hardware({before: old, now: new})
        else:
            yield from checks.compare(self.case.surface, old.form(self.written), new.form(self.written))

    def _unwritten(self, change: Change, words: str) -> Finding:
        return Finding(f"({self.written})", change, Tier.BREAK, "written", words)

    def _hardware(self, answers: dict[str, Answer]) -> tuple[Finding, ...]:
        """What the check ``same-hardware`` says of two command lines, whatever the document is about."""
        old, new = answers
        case = replace(self.case, fixture=replace(self.case.fixture, since={}, until={}))
        steps = checks.every()["same-hardware"].judge(case, old, new)
        question = next(steps)
        while True:
            try:
                question = steps.send(answers[question.release])
            except StopIteration as stop:
                verdict: Verdict = stop.value
                return verdict.findings


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked. cases: patterns of names, ``KIND/`` before them or not; an empty tuple means all."""

    cases: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    form: str = "document"


def of_cases(wanted: Wanted, progress: Progress = lambda done, of: None) -> list[History]:
    """The histories of the project's fixtures that match. UsageError where none does."""
    run.validated(run.Selection((), wanted.kinds, wanted.drivers, wanted.releases))
    named = [c for c in wanted.cases if not any(True for _ in _files((c,), wanted.kinds))]
    if named:
        remedy = "see fixtures/; an interface is looked for with --surface, a file of your own with --document"
        raise UsageError(f"no fixture matches '{named[0]}'", remedy)
    return _asked([fixtures.read(file) for file in _files(wanted.cases, wanted.kinds)], wanted, progress)


def _files(cases: Sequence[str], kinds: Sequence[str]) -> Iterator[Path]:
    """The documents of these kinds, by kind and name, whose name (or ``kind/name``) matches."""
    for kind in surfaces.every():
        for file in sorted((fixtures.folder() / kind).glob("*.xml")) if not kinds or kind in kinds else ():
            if not cases or any(fnmatchcase(n, c) for n in (file.stem, f"{kind}/{file.stem}") for c in cases):
                yield file


def of_file(file: Path, wanted: Wanted, progress: Progress = lambda done, of: None) -> list[History]:
    """The histories of somebody's own document. Its name and UUID are made unique, random parts are fixed."""
    run.validated(run.Selection((), wanted.kinds, wanted.drivers, wanted.releases))
    text = documents.read_text(file)
    kind = documents.KIND_OF_ROOT.get(documents.root_tag(text))
    if kind is None:
        roots = ", ".join(sorted(documents.KIND_OF_ROOT))
        raise BadData(
            file, f"no document of a known kind: <{documents.root_tag(text)}>", f"its root is one of: {roots}"
        )
    # Machine aliases stay: what they mean to each release is part of the history.
    pinned, digest = documents.pin(text)
    flavour = "" if documents.arch_of(pinned) in ("", "x86_64", "i686") else "all"
    able = tuple(name for name, driver in drivers.every().items() if kind in driver.kinds)
    own = Fixture(kind, f"{file.stem}-{digest[:8]}", pinned, f"from {file}", able, flavour=flavour, foreign=True)
    return _asked([own], wanted, progress)


def _asked(chosen: Sequence[Fixture], wanted: Wanted, progress: Progress) -> list[History]:
    found = columns_module.find(wanted.releases)
    subjects = [
        Subject(Case(fixture, driver, surfaces.every()[fixture.kind], setup, found.products), wanted.form, found)
        for fixture in chosen
        for driver in fixture.drivers
        if (not wanted.drivers or driver in wanted.drivers)
        and (setup := drivers.every()[driver].kinds.get(fixture.kind)) is not None
    ]
    able = [s for s in subjects if s.written in s.case.setup.forms]
    if not able:
        what = "is asked of that driver" if not subjects else f"is written as {wanted.form} by its driver"
        raise UsageError(f"none of the {len(chosen)} documents {what}", "see the fixture's drivers; leave --form out")
    histories: list[History] = []
    with run.opened(found) as answers:
        waiting = iter(able)
        while chunk := list(islice(waiting, CHUNK)):
            histories += _histories(chunk, found, answers)
            progress(len(histories), len(able))
    return histories


def _histories(chunk: Sequence[Subject], found: Columns, answers: Answers) -> list[History]:
    """The histories of these subjects: every release is asked in one batch."""
    asked = [(subject, c, subject.case.define(c.name)) for subject in chunk for c in found.columns]
    given = answers.resolve(question for *_, question in asked)
    # Without a golden record the command line is a question of its own: converting can crash where defining does not.
    native = {
        question: subject.case.native(column.name)
        for subject, column, question in asked
        if subject.form == "argv" and isinstance(a := given[question], Answer) and a.accepted and "argv" not in a.forms
    }
    built = answers.resolve(native.values())
    steps: dict[int, tuple[list[Step], list[tuple[Column, Answer]]]] = {}
    for subject, column, question in asked:
        answer = given[question]
        if isinstance(answer, Answer) and question in native:
            conversion = built[native[question]]
            answer = conversion if isinstance(conversion, NotHere) else conversion.merged_into(answer)
        own, earlier = steps.setdefault(id(subject), ([], []))
        own.append(subject.step(column, answer, earlier))
        if isinstance(answer, Answer):
            earlier.append((column, answer))
    return [_history(subject, steps[id(subject)][0]) for subject in chunk]


def _history(subject: Subject, steps: Sequence[Step]) -> History:
    fixture = subject.case.fixture
    return History(fixture.kind, fixture.case, subject.case.driver, subject.form, fixture.summary, tuple(steps))
