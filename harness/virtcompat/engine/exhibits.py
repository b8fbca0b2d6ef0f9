"""Exhibits: of cases that are incompatible, the two documents that were compared, from records and from what was answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from virtcompat import checks, guestdump, surfaces
from virtcompat.checks import Case
from virtcompat.commandline import hardware
from virtcompat.engine import guests, remote, static
from virtcompat.engine import run as engine
from virtcompat.engine.answers import Answers
from virtcompat.engine.columns import Columns
from virtcompat.model import STATIC, Answer, CellKey, NotHere, Question
from virtcompat.page import Exhibit
from virtcompat.policy.records import merged

Chosen = tuple[CellKey, str]
Asked = tuple[Question, Answer | NotHere]
#: Title and text.
Side = tuple[str, str]
Pair = tuple[Side, Side]
#: Called with (exhibits made, of how many).
Progress = Callable[[int, int], None]


def collect(found: Columns, chosen: Iterable[Chosen], progress: Progress = lambda done, of: None) -> list[Exhibit]:
    """The exhibits of these cases, in their order. A case of which nothing can be shown here has none."""
    wanted = list(dict.fromkeys(chosen))
    moving = [c for c in wanted if c[0].check in guests.CHECKS]
    still = [c for c in wanted if c[0].check == STATIC]
    rest = [c for c in wanted if c[0].check not in (STATIC, *guests.CHECKS, *remote.CHECKS)]
    made: dict[Chosen, Exhibit] = {}
    for part in (_documents(found, rest), _records(found, still), _moved(found, moving)):
        for exhibit in part:
            made[exhibit.cell, exhibit.case] = exhibit
            progress(len(made), len(wanted))
    return [made[c] for c in wanted if c in made]


def _documents(found: Columns, chosen: list[Chosen]) -> Iterator[Exhibit]:
    """What the checks of documents asked, from golden records and from the cache."""
    if not chosen:
        return
    fixtures = {(f.kind, f.case): f for f in engine.own_documents(engine.Selection())}
    with engine.opened(found) as answers:
        for key, name in chosen:
            fixture = fixtures.get((key.kind, name))
            if fixture is None:
                continue
            setup = answers.drivers[key.driver].kinds[key.kind]
            case = checks.Case(fixture, key.driver, surfaces.every()[key.kind], setup, found.products)
            asked = _asked(key, case, answers)
            pair = PAIRS.get(key.check, _Told.handed)(_Told(key, case, asked))
            if pair is not None:
                left, right = pair
                yield Exhibit(key, name, left[0], right[0], left[1], right[1], tuple(_step(*one) for one in asked))


def _asked(key: CellKey, case: Case, answers: Answers) -> list[Asked]:
    """The questions of a check about one case, with their answers."""
    steps = checks.every()[key.check].judge(case, key.old, key.new)
    asked: list[Asked] = []
    answer: Answer | NotHere | None = None
    while True:
        try:
            question = steps.send(answer)  # type: ignore[arg-type]  # None starts a generator
        except StopIteration:
            return asked
        answer = answers.resolve([question])[question]
        asked.append((question, answer))


def _step(question: Question, answer: Answer | NotHere) -> str:
    what = f"{question.op} on {question.release}"
    if isinstance(answer, NotHere):
        return f"{what}: not here: {answer.reason}"
    return f"{what}: {answer.status}" + (f": {answer.message}" if answer.message else "")


def _side(release: str, verb: str, answer: Answer, form: str) -> Side:
    """What a release wrote; of what it did not, what became of it as the title."""
    text = answer.form(form)
    return (f"{release} {verb}" if text else f"{release}: {answer.status}"), text


@dataclass(frozen=True, slots=True)
class _Told:
    """One case with all that was asked of it, and the two documents in it that its check compared."""

    key: CellKey
    case: Case
    asked: list[Asked]

    def of(self, op: str, release: str) -> list[tuple[Question, Answer]]:
        return [(q, a) for q, a in self.asked if q.op == op and q.release == release and isinstance(a, Answer)]

    def handed(self) -> Pair | None:
        """What the old release wrote was handed to the new one."""
        key, case, given = self.key, self.case, self.of("define", self.key.new)
        if not given:
            return None
        question, answer = given[-1]
        form = case.portable if key.check == "downgrade" else case.best
        return (f"{key.old} wrote", question.text), _side(key.new, "made of it", answer, form)

    def left(self) -> Pair | None:
        """What the old release left on disk, as it reads it itself, and as the new one does."""
        old, new, form = self.key.old, self.key.new, self.case.best
        own, found = [*self.of("define", old)[:1], *self.of("load", old)[:1]], self.of("load", new)
        return (_side(old, "has", own[-1][1], form), _side(new, "found", found[-1][1], form)) if own and found else None

    def same(self) -> Pair | None:
        """One document given to both: told from the older release to the newer, whichever way the cell goes."""
        old, new = self.key.old, self.key.new
        if self.case.older(new, old):
            old, new = new, old
        olds, news, form = self.of("define", old), self.of("define", new), self.case.best
        return (
            (_side(old, "wrote", olds[0][1], form), _side(new, "wrote", news[-1][1], form)) if olds and news else None
        )

    def tripped(self) -> Pair | None:
        """The document as it was given, and as it was written."""
        written = self.of("define", self.key.new)
        given = "the document as given", self.case.fixture.text
        return (given, _side(self.key.new, "wrote", written[0][1], self.case.best)) if written else None

    def again(self) -> Pair | None:
        """The first form that is not as it was recorded."""
        new, writings = self.key.new, self.of("define", self.key.new)
        if len(writings) < 2:
            return None
        recorded, given = writings[0][1], writings[1][1]
        for _, converted in self.of("native", new):
            given = converted.merged_into(given)
        form = next((f for f in FORMS if recorded.form(f) != given.form(f)), self.case.best)
        return _side(new, f"as recorded ({form})", recorded, form), _side(new, f"now ({form})", given, form)

    def built(self) -> Pair | None:
        """The hardware that both command lines ask for."""
        olds, news = self.of("native", self.key.old), self.of("native", self.key.new)
        if not olds or not news:
            return None
        return _hardware(self.key.old, olds[0][1]), _hardware(self.key.new, news[-1][1])


def _hardware(release: str, answer: Answer) -> Side:
    line = answer.form("argv")
    return f"hardware that {release}'s command line asks for", _lines(hardware(line)) if line else ""


FORMS = ("secure", "inactive", "migratable", "disk", "argv")
#: How the two documents of a check are found among what it asked; of any other check: what was handed over.
PAIRS: dict[str, Callable[[_Told], Pair | None]] = {
    "reproduce": _Told.again,
    "round-trip": _Told.tripped,
    "same-hardware": _Told.built,
    "same-input": _Told.same,
    "upgrade-disk": _Told.left,
}


def _lines(facts: Mapping[str, str]) -> str:
    return "\n".join(f"{path} = {value}" for path, value in sorted(facts.items()))


@dataclass(slots=True)
class _Shelf:
    """The facts of whole records, each merged once."""

    records: static.Records
    held: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)

    def own(self, release: str, kind: str, name: str) -> str:
        """What a release's record says of one interface."""
        if (release, kind) not in self.held:
            surface = surfaces.every_recorded()[kind]
            record = self.records.of(release, surface)
            facts = {} if isinstance(record, NotHere) else merged(record)
            self.held[release, kind] = surface.expand(facts) if surface.expand and facts else facts
        every = self.held[release, kind]
        return _lines({p: v for p, v in every.items() if p == name or p.startswith(f"{name}/")})


def _records(found: Columns, chosen: list[Chosen]) -> Iterator[Exhibit]:
    """What both records say of an interface."""
    shelf, known = _Shelf(static.Records(found)), surfaces.every_recorded()
    for key, name in chosen:
        if key.kind not in known:
            continue
        old, new = (shelf.own(release, key.kind, name) for release in (key.old, key.new))
        if old or new:
            yield Exhibit(key, name, f"{key.old}'s record", f"{key.new}'s record", old, new)


def _moved(found: Columns, chosen: list[Chosen]) -> Iterator[Exhibit]:
    """What a guest saw before it moved and after; of one that did not arrive, its QEMU's arguments."""
    if not chosen:
        return
    with guests.Moves(found) as moves:
        for key, case, argv, answer in (*_replayed(moves, chosen), *_live(moves, chosen)):
            if isinstance(answer, NotHere):
                continue
            words = f"{answer.status}: {' '.join(answer.message.split())}".removesuffix(": ")
            step = (f"moved from {key.old} to {key.new}: {words}",)
            before, after = answer.form("before"), answer.form("after")
            if before and after:
                old, new = (_lines(guestdump.facts(text)) for text in (before, after))
                yield Exhibit(key, case, f"seen under {key.old}", f"seen under {key.new}", old, new, step)
            else:
                yield Exhibit(
                    key, case, f"{key.old} started it with", f"{key.new}: {answer.status}", _options(argv), "", step
                )


Answered = tuple[CellKey, str, tuple[str, ...], Answer | NotHere]


def _replayed(moves: guests.Moves, chosen: list[Chosen]) -> Iterator[Answered]:
    """(cell, case, arguments, answer) of guests that were loaded from a recorded stream; known from the run before."""
    wanted: dict[str, dict[tuple[str, str], list[CellKey]]] = {}
    for key, case in chosen:
        if key.check != guests.LIVE:
            variant = guests.REMEDIES.get(key.check, "")
            wanted.setdefault(key.old, {}).setdefault((case, variant), []).append(key)
    for release, cases in wanted.items():
        given = moves.streams(release)
        for stream in () if isinstance(given, NotHere) else given:
            for key in cases.get((stream.case, stream.variant), ()):
                if stream.machine in moves.machines(key.new):
                    hints = key.check == "remedy-4-hints"
                    answer = moves.pinned(stream, key) if hints else moves.replayed(stream, key.new, stream.argv)
                    yield key, stream.case, stream.argv, answer


def _live(moves: guests.Moves, chosen: list[Chosen]) -> Iterator[Answered]:
    for key, case in chosen:
        if key.check == guests.LIVE:
            common = tuple(moves.machines(key.old) & moves.machines(key.new))
            for machine, name, variant, argv in guests.configurations(common):
                if f"{machine}/{name}" == case and not variant:
                    yield key, case, argv, moves.moved(key.old, key.new, argv)


def _options(argv: tuple[str, ...]) -> str:
    """A command line, an option a line."""
    return re.sub(r"\n(?!-)", " ", "\n".join(argv))
