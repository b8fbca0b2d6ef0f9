"""Covering corpora recorded: every document of a release's own grammar given to its own drivers, and what they answered."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from virtcompat import documents, drivers, generate, surfaces
from virtcompat.engine import columns, corpora, generating
from virtcompat.engine import run as engine
from virtcompat.engine.columns import Columns
from virtcompat.engine.generating import Garden, Generated
from virtcompat.errors import LabError, NotAsked, UsageError
from virtcompat.model import Answer, NotHere, Question
from virtcompat.store import covering as store
from virtcompat.store import fixtures, golden, releases
from virtcompat.store.covering import Corpus, Document

CHUNK = 400
#: How far a document's name is its digest's.
DIGITS = 10
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A corpus as it was recorded just now. changed: whether its file has other content than before."""

    corpus: Corpus
    file: Path
    size: int
    changed: bool


def record(name: str, kinds: Sequence[str] = (), progress: Progress = lambda done, of: None) -> list[Recorded]:
    """Give a release the covering corpora of these kinds (all where none is named) and keep what it answers in golden/.

    UsageError where CI is set, or there is no such release, or it has no golden records yet; LabError where it has no lab.
    """
    if os.environ.get("CI"):
        raise UsageError("recording refuses to run where CI is set", "record on a workstation and commit the data")
    for kind in kinds:
        if kind not in surfaces.every():
            raise UsageError(f"no kind '{kind}'", f"use one of: {', '.join(surfaces.every())}")
    releases.find(name)
    if golden.provenance(name) is None:
        raise UsageError(f"{name} has no golden records yet", f"record all of it first: virt-compat record {name}")
    found = columns.find((name,))
    if isinstance(lab := found.lab(name, ""), NotHere):
        raise LabError(f"{lab.reason}, so {name} cannot be recorded", lab.remedy)
    made = [_planted(name, kind) for kind in surfaces.every() if not kinds or kind in kinds]
    total, done = sum(len(c.documents) * len(c.drivers) for c in made), 0
    filled = []
    for corpus in made:
        filled.append(_asked(corpus, found, lambda n, base=done: progress(base + n, total)))  # type: ignore[misc]
        done += len(corpus.documents) * len(corpus.drivers)
    return _kept(name, filled)


def _planted(name: str, kind: str) -> Corpus:
    """The corpus of a release's grammar of one kind: plain documents and based ones.

    Of those that differ in nothing but name and UUID the first is kept, and whatever takes a branch that none before it took.
    """
    garden = generating.garden(name, kind)
    machines = corpora.machines()
    found: list[Document] = []
    seen: Counter[str] = Counter()
    covered: set[generate.Branch] = set()
    for word, each in _made(garden):
        given, digest = documents.pin(each.text, machines)
        taken = generate.taken(each.tree)
        if seen[digest] and taken <= covered:
            continue
        covered |= taken
        seen[digest] += 1
        again = f"-{seen[digest]}" if seen[digest] > 1 else ""
        flavour = "" if documents.arch_of(given) in ("", "x86_64", "i686") else "all"
        found.append(Document(f"{word}-{digest[:DIGITS]}{again}", each.text, given, each.what, flavour))
    branches = set(garden.schema.branches())
    contexts = {driver: _context(kind, driver) for driver in corpora.takers(kind)}
    return Corpus(name, kind, len(branches), len(branches & covered), contexts, tuple(found))


def _context(kind: str, driver: str) -> store.Context:
    """What an object of a kind belongs to, as the fixtures of the kind have it."""
    return next((f.context for f in fixtures.load((kind,), (driver,)) if f.context), ())


def _made(garden: Garden) -> Iterator[tuple[str, Generated]]:
    for each in garden.covering(based=False):
        yield "plain", each
    for each in garden.covering(based=True):
        yield "base" if each.name.startswith("base") else "based", each


def _asked(corpus: Corpus, found: Columns, progress: Callable[[int], None]) -> Corpus:
    """The corpus with the answers of every driver that takes its kind."""
    whole: list[Document] = []
    with engine.opened(found) as answers:
        for at in range(0, len(corpus.documents), CHUNK):
            part = corpus.documents[at : at + CHUNK]
            asked = {(d.case, driver): question(corpus, d, driver) for d in part for driver in corpus.drivers}
            given = answers.resolve(asked.values())
            for each in part:
                own = {driver: given[asked[each.case, driver]] for driver in corpus.drivers}
                whole.append(replace(each, answers={driver: _answer(answer) for driver, answer in own.items()}))
            progress(len(whole) * len(corpus.drivers))
    return replace(corpus, documents=tuple(whole))


def question(corpus: Corpus, document: Document, driver: str) -> Question:
    """What a driver of the corpus's release is asked of a document; in a release of its own the case is recorded."""
    setup = drivers.every()[driver].kinds[corpus.kind]
    flavour = setup.flavour or (document.flavour if driver == "qemu" else "")
    return Question(
        corpus.release, driver, corpus.kind, "define", document.given, corpus.contexts[driver],
        flavour=flavour, recorded=document.case, source="lab",
    )  # fmt: skip


def _answer(answer: Answer | NotHere) -> Answer:
    if isinstance(answer, NotHere):
        raise NotAsked(f"a covering corpus is recorded whole: {answer.reason}", answer.remedy)
    return answer


def _kept(name: str, filled: Sequence[Corpus]) -> list[Recorded]:
    """Write what has changed, in one step with the digests in the provenance."""
    found: list[Recorded] = []
    new: dict[str, bytes] = {}
    for corpus in filled:
        file, lines = store.file_of(name, corpus.kind), store.written(corpus)
        if changed := not file.is_file() or not store.same(store.lines_of(file), lines):
            new[corpus.kind] = store.packed(lines)
        size = len(new[corpus.kind]) if changed else file.stat().st_size
        found.append(Recorded(corpus, file, size, changed))
    if new:
        # Late, because somebody else may have recorded something of the release in the meantime.
        golden.forget()
        before = golden.provenance(name)
        assert before is not None
        recorder = golden.Recorder(name, keep=True)
        folder = recorder.aside / store.FOLDER
        folder.mkdir(exist_ok=True)
        for kind, data in new.items():
            (folder / f"{kind}{store.SUFFIX}").write_bytes(data)
        recorder.finish(before)
    return found
