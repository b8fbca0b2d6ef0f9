"""Documents judged: all their cells advanced together, so that each round is one batch of questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from virtcompat import checks, surfaces
from virtcompat.checks import Case, Steps
from virtcompat.engine.answers import Answers
from virtcompat.model import Answer, CellKey, Fixture, NotHere, Outcome, Question, Verdict

#: One document as one driver is asked it, and the cells that wait for its verdict, each with its key in the memory.
Waiting = tuple[Fixture, str, list[tuple[CellKey, bytes]]]


@dataclass(slots=True)
class Judge:
    """A check at work on one case of one cell. kept: under which key its verdict is remembered."""

    key: CellKey
    case: Case
    steps: Steps
    kept: bytes

    def advance(self, answer: Answer | NotHere | None) -> Question | Verdict:
        """Send the check its answer: its next question, or its verdict."""
        try:
            return self.steps.send(answer)  # type: ignore[arg-type]  # None starts a generator
        except StopIteration as stop:
            verdict: Verdict = stop.value
            return verdict
        except Exception as error:  # noqa: BLE001 - the one place where a bug of ours becomes an outcome
            return Verdict(self.case.fixture.case, Outcome.BROKEN, reason=f"{type(error).__name__}: {error}")


def judge(
    waiting: Sequence[Waiting], products: Mapping[str, Mapping[str, str]], answers: Answers
) -> Iterator[tuple[CellKey, bytes, Verdict]]:
    """The verdict of every cell that waits, with its key in the memory, as they are given.

    products: release -> {product: version}, oldest first.
    """
    asking: list[tuple[Judge, Question | None]] = [(j, None) for j in _judges(waiting, products, answers)]
    answered: dict[Question, Answer | NotHere] = {}
    while asking:
        following: list[tuple[Judge, Question | None]] = []
        for one, question in asking:
            said = one.advance(answered[question] if question else None)
            if isinstance(said, Verdict):
                yield one.key, one.kept, said
            else:
                following.append((one, said))
        asking = following
        answered |= answers.resolve(q for _, q in asking if q is not None and q not in answered)


def _judges(waiting: Sequence[Waiting], products: Mapping[str, Mapping[str, str]], answers: Answers) -> Iterator[Judge]:
    every_check, surface_of = checks.every(), surfaces.every()
    for fixture, driver, cells in waiting:
        setup = answers.drivers[driver].kinds[fixture.kind]
        case = Case(fixture, driver, surface_of[fixture.kind], setup, products)
        for key, kept in cells:
            yield Judge(key, case, every_check[key.check].judge(case, key.old, key.new), kept)
