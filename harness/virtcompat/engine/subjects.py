"""A user's definitions put to labs: each as a stand-in, to the release that it comes from and the one that it goes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from virtcompat import checks, drivers, surfaces
from virtcompat.checks import Case
from virtcompat.documents import arch_of
from virtcompat.engine import corpora, standin
from virtcompat.engine import run as engine
from virtcompat.engine.answers import Answers
from virtcompat.engine.definitions import Definition
from virtcompat.engine.standin import StandIn
from virtcompat.model import Answer, CellKey, Fixture, NotHere, Outcome, Question, Verdict

Progress = Callable[[int, int], None]
CHUNK = 100
#: The driver that a domain of a type is for; the labs have no other hypervisor.
HYPERVISORS = {"qemu": "qemu", "test": "test"}
FORWARD = ("upgrade-disk", "upgrade-redefine")
HARDWARE = "same-hardware"


@dataclass(slots=True)
class Subject:
    """One definition on its way. first: what its origin answers; verdicts: by (check, release that reads last)."""

    number: int
    definition: Definition
    standin: StandIn
    driver: str
    origin: str = ""
    assumed: str = ""
    first: Answer | NotHere | None = None
    tried: list[str] = field(default_factory=list)
    verdicts: dict[tuple[str, str], Verdict] = field(default_factory=dict)
    built: Answer | NotHere | None = None

    @property
    def accepted(self) -> bool:
        return isinstance(self.first, Answer) and self.first.accepted

    def case(self, answers: Answers, text: str = "") -> Case:
        """The stand-in, or another text of the same, as a case for the checks."""
        kind, driver = self.definition.kind, self.driver
        other = driver == "qemu" and kind == "domain" and arch_of(self.standin.text) not in ("", "x86_64", "i686")
        fixture = Fixture(
            kind, f"own-{self.number}", text or self.standin.text, "", (driver,), context=self.standin.context,
            flavour="all" if other else "", file=self.definition.source, foreign=True,
        )  # fmt: skip
        setup = answers.drivers[driver].kinds[kind]
        return Case(fixture, driver, surfaces.every()[kind], setup, answers.columns.products)


def subject_of(number: int, definition: Definition) -> Subject:
    own = standin.exact(definition.text)
    every = drivers.every()
    if definition.kind == "domain":
        driver = HYPERVISORS.get("qemu" if own.kvm else definition.runs, "")
    else:
        driver = next((name for name in corpora.takers(definition.kind) if name != "test"), "test")
        driver = driver if definition.kind in every[driver].kinds else ""
    if definition.kind in ("domainsnapshot", "domaincheckpoint") and not own.context:
        driver = ""
    return Subject(number, definition, own, driver)


def put(
    answers: Answers, subjects: Sequence[Subject], origins: Sequence[str], to: str, progress: Progress, *, guessed: bool
) -> None:
    """Put definitions to where they come from and to where they go, a chunk at a time: what one was answered is kept."""
    progress(0, len(subjects))
    for start in range(0, len(subjects), CHUNK):
        chunk = subjects[start : start + CHUNK]
        _settle(answers, [s for s in chunk if s.driver], origins, guessed=guessed)
        _judge(answers, [s for s in chunk if s.accepted], to)
        progress(start + len(chunk), len(subjects))


def _settle(answers: Answers, subjects: Sequence[Subject], origins: Sequence[str], *, guessed: bool) -> None:
    """Find the oldest of these releases that accepts each definition, first as it is, then without what no lab takes."""
    for release in origins:
        for subject in subjects:
            subject.tried += [] if subject.accepted else [release]
        for reduced in (False, True):
            waiting = [s for s in subjects if not s.accepted]
            tried = [standin.reduced(s.standin) if reduced else s.standin for s in waiting]
            asked = [replace(s, standin=t).case(answers).define(release) for s, t in zip(waiting, tried, strict=True)]
            answered = answers.resolve(asked)
            for subject, other, question in zip(waiting, tried, asked, strict=True):
                subject.first, subject.origin = answered[question], release
                if subject.accepted:
                    subject.standin = other
                    subject.assumed = "the oldest release that accepts it" if guessed else ""


def _judge(answers: Answers, subjects: Sequence[Subject], to: str) -> None:
    """Every check on every definition, and why no command line can be made of a guest."""
    work = [(s, *one) for s in subjects for one in _cells(s, answers, to)]
    verdicts = _judged(answers, [(key, case) for _, key, case in work])
    for (subject, key, _), verdict in zip(work, verdicts, strict=True):
        subject.verdicts[key.check, key.new] = verdict
    guests = [s for s in subjects if _builds(s)]
    built = [_hardware(s, answers).native(s.origin) for s in guests]
    answered = answers.resolve(built)
    for subject, question in zip(guests, built, strict=True):
        subject.built = answered[question]


def _builds(subject: Subject) -> bool:
    return subject.definition.kind == "domain" and subject.driver == "qemu"


def _hardware(subject: Subject, answers: Answers) -> Case:
    return subject.case(answers, standin.hardware(subject.standin.text).text)


def _cells(subject: Subject, answers: Answers, to: str) -> Iterator[tuple[CellKey, Case]]:
    """The checks that a definition is put to, each with its cell."""
    case, origin = subject.case(answers), subject.origin

    def key(check: str, old: str, new: str) -> CellKey:
        return CellKey(check, case.fixture.kind, case.driver, old, new)

    for release in (origin, to):
        yield key("round-trip", release, release), case
    for check in FORWARD:
        yield key(check, origin, to), case
    yield key("downgrade", to, origin), case
    if _builds(subject):
        yield key(HARDWARE, origin, to), _hardware(subject, answers)


def _judged(answers: Answers, work: Sequence[tuple[CellKey, Case]]) -> list[Verdict]:
    """The verdict of each judge; all of them go forward together, so that each round is one batch of questions."""
    judges = [checks.every()[key.check].judge(case, key.old, key.new) for key, case in work]
    verdicts: dict[int, Verdict] = {}
    entries = {key: engine.crossed(key, answers.columns) for key in dict.fromkeys(key for key, _ in work)}
    waiting: dict[int, Question | None] = dict.fromkeys(range(len(work)))
    answered: dict[Question, Answer | NotHere] = {}
    while waiting:
        following: dict[int, Question | None] = {}
        for at, question in waiting.items():
            try:
                answer = answered[question] if question is not None else None
                following[at] = judges[at].send(answer)  # type: ignore[arg-type]  # None starts a generator
            except StopIteration as stop:
                verdicts[at] = engine.explained(stop.value, entries[work[at][0]])
            except Exception as error:  # noqa: BLE001 - a bug of ours is this definition's outcome, not the run's end
                words = f"{type(error).__name__}: {error}"
                verdicts[at] = Verdict(work[at][1].fixture.case, Outcome.BROKEN, reason=words)
        waiting = following
        answered |= answers.resolve(q for q in waiting.values() if q is not None and q not in answered)
    return [verdicts[at] for at in range(len(work))]
