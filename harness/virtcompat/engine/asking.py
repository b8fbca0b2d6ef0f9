"""Questions put to labs by the thousand, of which nothing is kept: neither in the user's cache nor in memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from virtcompat import drivers
from virtcompat.drivers import Driver
from virtcompat.engine.columns import Columns
from virtcompat.engine.schemas import Schemas
from virtcompat.labs import stages
from virtcompat.labs.prober import Asked, Prober
from virtcompat.model import Answer, NotHere, Question, Setup

#: Seconds after which a question has hung. Most take a millisecond.
PATIENCE = 10.0
#: What a client says whose daemon has died under it: the daemon's death, not an answer.
GONE = re.compile(r"client socket is closed|End of file while reading data|Cannot (recv|write) data|Connection reset")
DIED = "the daemon died"
CLOSED = NotHere("a system daemon is started in a sandbox only, never on a live host", "use a root or a built lab")


#: Kinds whose objects have unique names and files of their own; of the others each would take a start of the daemon by itself.
RESTARTED = frozenset(("domain", "network", "storagepool"))


def patient(every: Mapping[str, Driver], seconds: float) -> dict[str, Driver]:
    """The drivers with another time limit for each question, and without a restart where one document takes one."""
    found: dict[str, Driver] = {}
    for name, driver in every.items():
        assert isinstance(driver, drivers.LibvirtDriver)
        kinds = {kind: _patient(kind, setup, seconds) for kind, setup in driver.kinds.items()}
        found[name] = replace(driver, kinds=kinds)
    return found


def _patient(kind: str, setup: Setup, seconds: float) -> Setup:
    if setup.daemon and kind not in RESTARTED:
        setup = replace(setup, forms=tuple(form for form in setup.forms if form != "disk"), disk="")
    return replace(setup, time_limit=seconds)


@dataclass(slots=True)
class Asking:
    """Probes of labs, kept open. counts: of questions by what was asked. Close it, or leave its ``with`` block."""

    columns: Columns
    patience: float = PATIENCE
    drivers: dict[str, Driver] = field(init=False)
    prober: Prober = field(default_factory=Prober)
    schemas: Schemas = field(init=False)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.drivers = patient(drivers.every(), self.patience)
        self.schemas = Schemas(self.columns)

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_: Any) -> None:
        self.prober.__exit__()

    def resolve(self, questions: Iterable[Question]) -> dict[Question, Answer | NotHere]:
        """An answer, or the reason why there is none, for every question."""
        answered: dict[Question, Answer | NotHere] = {}
        batch: list[Asked] = []
        for question in dict.fromkeys(questions):
            self.counts[question.op] += 1
            if question.op == "validate":
                answered[question] = self.schemas.validate(question)
                continue
            asked = self.asked(question)
            if isinstance(asked, NotHere):
                answered[question] = asked
            else:
                batch.append(asked)
        self._ask(batch, answered)
        return answered

    def setup(self, question: Question) -> Setup:
        return self.drivers[question.driver].kinds[question.kind]

    def asked(self, question: Question) -> Asked | NotHere:
        """A question with the lab that it goes to."""
        lab, setup = self.columns.lab(question.release, question.flavour), self.setup(question)
        if isinstance(lab, NotHere):
            return lab
        if setup.daemon and not lab.sandboxed:
            return CLOSED
        if setup.stage and isinstance(missing := stages.command(lab, setup.stage), NotHere):
            return missing
        return Asked(question, lab, setup)

    def _ask(self, batch: Sequence[Asked], answered: dict[Question, Answer | NotHere]) -> None:
        def store(question: Question, answer: Answer) -> None:
            answered[question] = answer

        self.prober.ask(batch, store)
        remote = [a for a in batch if a.setup.daemon and a.question.op != "load"]
        for lab in dict.fromkeys(a.lab.fingerprint() for a in remote):
            self._recover([a for a in remote if a.lab.fingerprint() == lab], answered)
        for question, answer in answered.items():
            if isinstance(answer, Answer) and answer.status == "no-connection":
                answered[question] = NotHere(f"the driver does not open: {answer.message}", "virt-compat doctor")

    def _recover(self, group: Sequence[Asked], answered: dict[Question, Answer | NotHere]) -> None:
        """A daemon that dies takes no probe with it: whoever came first is asked alone of a fresh one, then the others."""

        def store(question: Question, answer: Answer) -> None:
            answered[question] = answer

        while group := _orphaned(group, answered):
            first, *group = group
            self._restart(first)
            self.prober.ask([first], store)
            if _orphaned([first], answered):
                said = answered[first.question]
                answered[first.question] = Answer("crashed", message=f"{DIED}: {getattr(said, 'message', '')}")
                self._restart(first)
            self.prober.ask(group, store)

    def _restart(self, asked: Asked) -> None:
        session = self.prober.sessions.pop((asked.lab.fingerprint(), asked.setup.uri), None)
        if session is not None:
            session.close()


def _orphaned(group: Sequence[Asked], answered: Mapping[Question, Answer | NotHere]) -> list[Asked]:
    """From the first question on whose answer a dead daemon left behind."""
    for at, asked in enumerate(group):
        answer = answered.get(asked.question)
        if isinstance(answer, Answer) and (
            GONE.search(answer.message) or any(GONE.search(form.error) for form in answer.forms.values())
        ):
            return list(group[at:])
    return []
