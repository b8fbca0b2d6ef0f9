"""Answers to questions: from golden, from the cache, else from a probe; every question asked once."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from virtcompat.drivers import Driver
from virtcompat.engine.columns import Columns
from virtcompat.engine.schemas import Schemas
from virtcompat.labs import Lab, bwrap, stages
from virtcompat.labs.prober import Asked, Prober
from virtcompat.labs.session import PROBE
from virtcompat.model import Answer, NotHere, Question, Setup
from virtcompat.store import golden
from virtcompat.store.cache import Cache

FLUSH = 64
Answered = dict[Question, Answer | NotHere]


def probe_digest() -> str:
    """Digest of what asks: the probe and the sandbox it runs in. Another one asks everything anew."""
    sandbox = Path(bwrap.__file__).read_bytes()
    return hashlib.sha256(PROBE.read_bytes() + sandbox).hexdigest()


@dataclass(slots=True)
class Answers:
    """Resolves questions and counts where the answers came from."""

    columns: Columns
    drivers: dict[str, Driver]
    cache: Cache
    prober: Prober
    schemas: Schemas
    asked: int = 0
    cached: int = 0
    replayed: int = 0
    probe: str = field(default_factory=probe_digest)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def resolve(self, questions: Iterable[Question]) -> Answered:
        """An answer, or the reason why there is none, for every question."""
        answered: Answered = {}
        open_ones: dict[str, list[Question]] = {}
        labs: dict[str, Lab] = {}
        for question in dict.fromkeys(questions):
            found = self._without_lab(question)
            if found is not None:
                answered[question] = found
                continue
            lab = self.columns.lab(question.release, question.flavour)
            if isinstance(lab, NotHere):
                answered[question] = lab
                continue
            if self._setup(question).daemon and not lab.sandboxed:
                remedy = "use a root or a built lab for this kind of document"
                answered[question] = NotHere(
                    "a system daemon is started in a sandbox only, never on a live host", remedy
                )
                continue
            stage = self._setup(question).stage
            if stage and isinstance(missing := stages.command(lab, stage), NotHere):
                answered[question] = missing
                continue
            key = self._key(lab, question)
            open_ones.setdefault(key, []).append(question)
            labs[key] = lab
        for key, answer in self.cache.get_many(open_ones):
            self.cached += 1
            for question in open_ones.pop(key):
                answered[question] = answer
        self._ask(open_ones, labs, answered)
        return answered

    def _without_lab(self, question: Question) -> Answer | NotHere | None:
        if question.op == "validate":
            return self.schemas.validate(question)
        if question.source != "lab" and question.recorded:
            answer = golden.answer(question)
            if answer is not None:
                self.replayed += 1
                return answer
            if question.source == "golden":
                return NotHere("no golden record of it", f"virt-compat record {question.release}")
        return None

    def _setup(self, question: Question) -> Setup:
        return self.drivers[question.driver].kinds[question.kind]

    def _key(self, lab: Lab, question: Question) -> str:
        setup = self._setup(question)
        how = [setup.uri, setup.root, sorted(setup.files.items()), setup.forms, setup.disk, setup.daemon]
        if setup.stage:
            how.append(stages.digest(setup.stage))
        body = json.dumps([lab.fingerprint(), self.probe, how, question.digest()])
        return hashlib.sha256(body.encode()).hexdigest()

    def _ask(self, open_ones: dict[str, list[Question]], labs: dict[str, Lab], answered: Answered) -> None:
        keys = {questions[0]: key for key, questions in open_ones.items()}
        waiting: dict[str, list[tuple[str, Answer]]] = {}

        def store(question: Question, answer: Answer) -> None:
            key = keys[question]
            with self._lock:
                for same in open_ones[key]:
                    answered[same] = answer
                self.asked += 1
                if answer.status == "no-connection":
                    return
                batch = waiting.setdefault(labs[key].fingerprint(), [])
                batch.append((key, answer))
                if len(batch) >= FLUSH:
                    self.cache.put_many(labs[key].fingerprint(), batch)
                    batch.clear()

        batch = [Asked(q, labs[key], self._setup(q)) for q, key in keys.items()]
        try:
            self.prober.ask(batch, store)
        finally:
            for lab, rest in waiting.items():
                self.cache.put_many(lab, rest)
        for question, answer in answered.items():
            if isinstance(answer, Answer) and answer.status == "no-connection":
                answered[question] = NotHere(f"the driver does not open: {answer.message}", "virt-compat doctor")
