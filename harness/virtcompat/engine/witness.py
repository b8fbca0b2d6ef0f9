"""Witnesses: the smallest document found that is fine on the old release and broken on the new one in the same way.

    <cache>/witnesses/<fingerprint>.xml     the document
    <cache>/witnesses/<fingerprint>.json    for which binaries nothing more could be taken away

A witness that stands already is tried once and used again. Every answer on the way is kept like any other, so that a search
that was cut off goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lxml import etree

from virtcompat import checks, surfaces
from virtcompat.checks import DEATHS, Case, Steps
from virtcompat.documents import parse
from virtcompat.engine import run as engine
from virtcompat.engine.answers import Answers
from virtcompat.judgement import Witness, fingerprint
from virtcompat.labs import Lab
from virtcompat.model import (
    NO_DRIVER,
    Answer,
    CellKey,
    Change,
    Direction,
    Finding,
    Fixture,
    NotHere,
    Outcome,
    Question,
    Verdict,
)
from virtcompat.policy import changes
from virtcompat.reduction import reduce, written
from virtcompat.store import files, fixtures, paths

#: How many documents are tried for one witness.
MOST = 400
#: What libvirt draws at random, or takes from the clock, where a document does not say it.
DRAWN = frozenset("uuid mac genid creationTime".split())
#: The check whose other side is the record of one document: a smaller one has no record.
RECORDED = "reproduce"
WORDS = 300
DIED = frozenset(DEATHS.values())


def witness(
    key: CellKey,
    case: str | Fixture,
    finding: Finding,
    answers: Answers,
    deadline: float | None = None,
    baseline: str = "",
) -> Witness | None:
    """The witness of a finding of a case; None where there is no document, a lab is not here, or it is not found again.

    case: the name of a fixture, or somebody's document. finding: as a matrix shows it, with the change ledger applied.
    deadline: of :func:`time.monotonic`; after it the best so far. baseline: for a cell of one release, another one on
    which the same must be fine.
    """
    asking = _asking(key, case, finding, answers, baseline)
    if asking is None or (deadline is not None and time.monotonic() >= deadline):
        return None
    file = paths.cache_dir() / "witnesses" / f"{fingerprint(key, finding)}.xml"
    stored = _stored(file)
    if stored and not asking([stored])[0]:
        stored = ""
    if stored and asking.binaries() in _proven(file):
        return Witness(stored, str(file), 1, minimal=True, command=asking.command(file))
    return _search(asking, stored, file, deadline)


def _search(asking: Asking, stored: str, file: Path, deadline: float | None) -> Witness | None:
    """Reduce what is stored, else the fixture; every smaller document is stored as it is found."""
    best = None
    for best in reduce(stored or asking.case.fixture.text, asking, fixed=pinned, most=MOST, deadline=deadline):
        _store(file, best.text)
    if best is None:
        return None
    text, minimal = best.text, best.minimal and not asking.unsure
    if asking.loads and not asking.hold([text])[0]:
        # Smaller documents were tried under names of their own, and this one holds under none but such.
        text, minimal = written(parse(asking.case.fixture.text)), False
    _store(file, text, asking.binaries() if minimal else "")
    return Witness(text, str(file), best.tried, minimal, asking.command(file))


def pinned(element: etree._Element, attribute: str) -> bool:
    """Whether this stays for as long as its parent does: without it an answer is no function of the document."""
    above = element.getparent()
    if attribute:
        return str(element.tag) in DRAWN or (attribute == "name" and above is None)  # a network filter's name
    named = above is not None and (above.getparent() is None or str(above.tag) == "domain")
    return str(element.tag) in DRAWN or (str(element.tag) == "name" and named)


def _asking(key: CellKey, case: str | Fixture, finding: Finding, answers: Answers, baseline: str) -> Asking | None:
    """What judges documents in this cell, None where none can be judged."""
    if key.driver == NO_DRIVER or key.check not in checks.every() or key.check == RECORDED:
        return None
    if finding.change is Change.ACCEPTED:
        return None  # the old release refuses it: not fine there
    if finding.change is Change.REFUSED and key.old == key.new and not baseline:
        return None  # nobody says that what is refused should be accepted
    fixture = _fixture(key, case) if isinstance(case, str) else case
    setup = answers.drivers[key.driver].kinds.get(key.kind)
    if fixture is None or setup is None:
        return None
    subject = Case(fixture, key.driver, surfaces.every()[key.kind], setup, answers.columns.products)
    asking = Asking(key, subject, finding, answers, engine.crossed(key, answers.columns), baseline)
    return None if any(isinstance(lab, NotHere) for lab in asking.labs()) else asking


def _fixture(key: CellKey, case: str) -> Fixture | None:
    file = fixtures.folder() / key.kind / f"{case}.xml"
    return fixtures.read(file) if file.is_file() else None


@dataclass(slots=True)
class Asking:
    """Whether documents have the finding, a batch of texts at a time.

    unsure: something could not be asked on the way. loads: a driver is started on files of the documents.
    """

    key: CellKey
    case: Case
    finding: Finding
    answers: Answers
    crossed: changes.Crossed
    baseline: str = ""
    unsure: bool = False
    loads: bool = False
    count: int = 0
    wanted: Alike = field(init=False)

    def __post_init__(self) -> None:
        self.wanted = alike(self.finding, self.case.fixture.text)

    @property
    def releases(self) -> list[str]:
        return [release for release in dict.fromkeys((self.key.old, self.key.new, self.baseline)) if release]

    def labs(self) -> list[Lab | NotHere]:
        flavour = self.case.setup.flavour or (self.case.fixture.flavour if self.key.driver == "qemu" else "")
        return [self.answers.columns.lab(release, flavour) for release in self.releases]

    def binaries(self) -> str:
        """Digest of what answers."""
        body = [lab.fingerprint() for lab in self.labs() if not isinstance(lab, NotHere)]
        return hashlib.sha256(json.dumps([str(self.key), self.answers.probe, *body]).encode()).hexdigest()[:32]

    def command(self, file: Path) -> str:
        fixture = self.case.fixture
        cell = str(self.key) if fixture.foreign else f"{self.key}/{fixture.case}"
        return shlex.join(["virt-compat", "explain", cell, "--document", str(file)])

    def __call__(self, texts: Sequence[str]) -> list[bool]:
        """A directory holds a name once and a start takes long: what is loaded goes by names and UUIDs of its own."""
        if not self.loads:
            return self.hold(texts)
        first, self.count = self.count + 1, self.count + len(texts)
        return self.hold([renamed(text, number) for number, text in enumerate(texts, first)])

    def hold(self, texts: Sequence[str]) -> list[bool]:
        """In this cell each has the finding, and the control, where there is one, has it not."""
        judged = self._judge(texts, self.key.old, self.key.new)
        bad = [self._found(verdict, text) for verdict, text in zip(judged, texts, strict=True)]
        control = self._control()
        suspects = [text for text, is_bad in zip(texts, bad, strict=True) if is_bad]
        if not control or not suspects:
            return bad
        fine = {t: self._fine(v, t) for t, v in zip(suspects, self._judge(suspects, control, control), strict=True)}
        return [is_bad and fine[text] for text, is_bad in zip(texts, bad, strict=True)]

    def _control(self) -> str:
        """The release on which the check must find nothing of the kind; empty where it sees to that itself."""
        if self.key.old == self.key.new:
            return self.baseline
        return self.key.old if Direction.SELF in checks.every()[self.key.check].directions else ""

    def _found(self, verdict: Verdict, text: str) -> bool:
        least, entry = self.finding.tier, self.finding.entry
        same = [f for f in engine.explained(verdict, self.crossed).findings if alike(f, text) == self.wanted]
        return any(f.tier >= least and f.entry == entry for f in same)

    def _fine(self, verdict: Verdict, text: str) -> bool:
        judged = verdict.outcome in (Outcome.COMPATIBLE, Outcome.INCOMPATIBLE)
        return judged and all(alike(f, text) != self.wanted for f in verdict.findings)

    def _judge(self, texts: Sequence[str], old: str, new: str) -> list[Verdict]:
        """The verdicts of one pair of releases, all judges advanced together so that each round is one batch."""
        check = checks.every()[self.key.check]
        cases = [replace(self.case, fixture=replace(self.case.fixture, text=text)) for text in texts]
        verdicts: dict[int, Verdict] = {}
        waiting: dict[int, tuple[Steps, Answer | NotHere | None]] = {
            at: (check.judge(case, old, new), None) for at, case in enumerate(cases)
        }
        while waiting:
            asked: dict[int, Question] = {}
            for at, (steps, answer) in waiting.items():
                try:
                    asked[at] = steps.send(answer)  # type: ignore[arg-type]  # None starts a generator
                except StopIteration as stop:
                    verdicts[at] = stop.value
            self.loads |= any(question.op == "load" for question in asked.values())
            answered = self.answers.resolve(asked.values())
            waiting = {at: (waiting[at][0], answered[question]) for at, question in asked.items()}
        self.unsure |= any(v.outcome is Outcome.NOT_HERE for v in verdicts.values())
        return [verdicts[at] for at in range(len(texts))]


Alike = tuple[str, ...]


def alike(finding: Finding, text: str) -> Alike:
    """What two findings of one cause share, each in its own document: place, change, and the words up to names and numbers.

    Without the words any refusal would stand for any other, and without a place's identity one device for another.
    """
    place = numberless(re.sub(r"#\d+", "", finding.path))
    if finding.change in DIED:
        return place, finding.change
    if finding.path.startswith("("):
        return place, finding.change, plain(finding.new, text)
    if finding.change is Change.CHANGED:
        return place, finding.change, plain(finding.old, text), plain(finding.new, text)
    return place, finding.change


def plain(words: str, text: str) -> str:
    """Words without numbers, paths and what they quote of the document's own values."""
    root = parse(text)
    own = {str(v) for e in root.iter("*") for v in e.attrib.values()} | {(e.text or "").strip() for e in root.iter("*")}
    unquoted = re.sub(r"'([^']*)'", lambda m: "'…'" if m[1] in own else m[0], words)
    return " ".join("…" if "/" in w else numberless(w) for w in unquoted.split())[:WORDS]


def numberless(text: str) -> str:
    return re.sub(r"0x[0-9a-fA-F]+|\d+", "0", text)


def renamed(text: str, number: int) -> str:
    """The document under a name and a UUID of its own, where it has both as elements."""
    root = parse(text)
    name, uuid = root.find("name"), root.find("uuid")
    if name is None or uuid is None or not name.text or not uuid.text:
        return text
    name.text = f"{name.text}-{number}"
    uuid.text = f"{uuid.text.strip()[:-6]}{number:06x}"
    return written(root)


def _stored(file: Path) -> str:
    """The document that is stored there, empty where none is."""
    try:
        text = file.read_text(encoding="utf-8")
        parse(text)
    except (OSError, ValueError):  # NotWellFormed is one
        return ""
    return text


def _proven(file: Path) -> list[str]:
    """For which binaries the stored document is minimal."""
    try:
        record = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        return list(record["minimal"]) if record["document"] == _digest(_stored(file)) else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _store(file: Path, text: str, binaries: str = "") -> None:
    """Put a document in place whole; with ``binaries`` it is minimal for those, besides those it was minimal for."""
    file.parent.mkdir(parents=True, exist_ok=True)
    known = _proven(file) if _stored(file) == text else []
    minimal = sorted({*known, binaries} - {""})
    files.put(file, text)
    files.put(file.with_suffix(".json"), json.dumps({"document": _digest(text), "minimal": minimal}) + "\n")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
