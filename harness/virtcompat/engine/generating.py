"""Documents generated from a release's own schemas, and what became of them: valid, accepted, rejected by another grammar."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from virtcompat import drivers, generate, surfaces
from virtcompat.documents import ROOTS, NotWellFormed, read_text, root_tag
from virtcompat.engine import columns
from virtcompat.engine.answers import Answers
from virtcompat.engine.run import opened
from virtcompat.errors import BadData, LabError, NotAsked, UsageError
from virtcompat.generate import Node, Schema
from virtcompat.labs.prober import read_files
from virtcompat.model import Answer, NotHere, Question
from virtcompat.store import fixtures

#: The folder of documents written to be built upon; of a kind that has none there its own fixtures are.
BASES = "generate"
#: How many of a kind's fixtures are taken, and of a corpus for mutation.
FEW, MANY = 12, 500
CHUNK = 200
#: What a release answers that is worth more than a count.
DEATHS = ("crashed", "hung", "garbled")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Generated:
    """One generated document. what: the definition or element that it is about, and what was done to what."""

    name: str
    text: str
    what: str
    tree: Node


@dataclass(slots=True)
class Garden:
    """The schema of a kind in one release, with the documents that generated ones are built upon."""

    release: str
    kind: str
    schema: Schema
    bases: list[Node] = field(default_factory=list)
    nursery: generate.Nursery = field(init=False)

    def __post_init__(self) -> None:
        """Find the base documents: those written for it, the smallest first, else fixtures of the kind."""
        for folder in (BASES, self.kind):
            if not self.bases:
                files = (fixtures.folder() / folder).glob("*.xml")
                self.bases = list(self._matched(sorted(files, key=lambda file: (file.stat().st_size, file)), FEW))
        self.nursery = generate.Nursery(self.schema, generate.donors(self.schema, self.bases))

    def covering(self, *, based: bool) -> Iterator[Generated]:
        """Documents that together take every branch; based: each a base document with one piece put in, and those themselves."""
        writer = generate.Writer()
        if based:
            for number, base in enumerate(self.bases, 1):
                yield Generated(f"base-{number:02}", writer.document(base), "as it stands", base)
        for number, found in enumerate(generate.corpus(self.nursery, self.bases if based else ()), 1):
            what = self.schema.defines.get(found.branch[0], "")
            yield Generated(f"covering-{number:05}", writer.document(found.tree), what, found.tree)

    def random(self, count: int, seed: int) -> Iterator[Generated]:
        """Documents from nothing."""
        chance = random.Random(seed)  # noqa: S311 - the same documents for the same seed
        aimed = generate.Aimed(self.nursery)
        for number in range(1, count + 1):
            tree = aimed.tree(chance.randrange)
            yield Generated(f"random-{number:05}", generate.render(tree), "", tree)

    def mutated(self, trees: Sequence[Node], count: int, seed: int) -> Iterator[Generated]:
        """Documents of these with one piece changed, each of them in turn."""
        chance = random.Random(seed)  # noqa: S311
        mutator, writer = generate.Mutator(self.nursery, chance.randrange), generate.Writer()
        for number in range(1, count + 1):
            found = mutator.mutate(trees[(number - 1) % len(trees)])
            text = writer.document(found.tree)
            yield Generated(f"mutated-{number:05}", text, f"{found.kind} {found.what}", found.tree)

    def matched(self, folder: Path) -> list[Node]:
        """The documents below a directory that are of this kind and valid. Raises NotAsked where there is none."""
        found = list(self._matched(sorted(folder.rglob("*.xml"))))
        if not found:
            raise NotAsked(
                f"{folder}: no {self.kind} below it that is valid under the schema of {self.release}",
                "name a directory of documents that the release accepts",
            )
        return found

    def _matched(self, files: Sequence[Path], most: int = MANY) -> Iterator[Node]:
        for file in files:
            try:
                text = read_text(file)
                tree = generate.matched(self.schema, text) if root_tag(text) == ROOTS[self.kind] else None
            except (BadData, NotWellFormed):
                continue
            if tree is not None and most > 0:
                most -= 1
                yield tree


def garden(release: str, kind: str, driver: str = "") -> Garden:
    """The schema of a release's lab, prepared. driver: that is asked later. Raises UsageError, LabError and BadData."""
    if kind not in surfaces.every():
        raise UsageError(f"no kind '{kind}'", f"use one of: {', '.join(surfaces.every())}")
    if driver and kind not in drivers.choose((driver,))[driver].kinds:
        raise UsageError(f"the driver '{driver}' takes no {kind}", "see 'virt-compat list drivers'")
    lab = columns.find((release,)).lab(release, "")
    if isinstance(lab, NotHere):
        raise LabError(lab.reason, lab.remedy)
    files = {Path(path).name: text.encode() for path, text in read_files(lab, lab.schemas).items()}
    if not files:
        raise LabError(f"{release} has no schemas", "install the package with libvirt's schemas")
    return Garden(release, kind, generate.read(files, kind))


def accepted(found: Garden, trees: Sequence[Node], driver: str) -> list[Node]:
    """Those of some documents that a driver of the release accepts. Raises NotAsked where there is none."""
    documents = [Generated(str(number), generate.render(tree), "", tree) for number, tree in enumerate(trees)]
    with opened(columns.find((found.release,))) as answers:
        context = _context(found.kind, driver)
        asked = [_question(found, d, "define", driver, context) for d in documents]
        several = _resolved(answers, asked)
    good = [tree for tree, answer in zip(trees, several, strict=True) if isinstance(answer, Answer) and answer.accepted]
    if not good:
        raise NotAsked(f"{driver} of {found.release} accepts none of {len(trees)} documents", "name others")
    return good


# -- what became of them -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Report:
    """What was generated and what became of it.

    branches: of the grammar; left: those that no document takes. invalid: under the release's own schema. statuses: a driver's
    answers; dead: documents that killed or hung it. rejections: what another grammar does not take, with an example of each.
    """

    garden: Garden
    documents: list[Generated]
    branches: int = 0
    left: int = 0
    invalid: list[Generated] = field(default_factory=list)
    driver: str = ""
    statuses: Counter[str] = field(default_factory=Counter)
    dead: list[tuple[Generated, Answer]] = field(default_factory=list)
    missing: NotHere | None = None
    under: str = ""
    rejections: dict[str, tuple[int, Generated]] = field(default_factory=dict)

    @property
    def accepted(self) -> float:
        """Share of the asked documents that the driver accepts."""
        return self.statuses["accepted"] / max(sum(self.statuses.values()), 1)

    @property
    def exit_code(self) -> int:
        if self.invalid or self.dead or self.rejections:
            return 1
        return 3 if self.missing or not self.documents else 0


def judge(
    found: Garden,
    documents: Sequence[Generated],
    driver: str = "",
    under: str = "",
    progress: Progress = lambda done, of: None,
) -> Report:
    """Validate documents under the own schema; ask a driver and compare with another release's schema where one is named."""
    report = Report(found, list(documents), driver=driver, under=under)
    report.branches = sum(1 for _ in found.schema.branches())
    report.left = len(generate.uncovered(found.schema, (d.tree for d in documents)))
    names = tuple(dict.fromkeys((found.release, *([under] if under else []))))
    with opened(columns.find(names)) as answers:
        for at in range(0, len(documents), CHUNK):
            chunk = documents[at : at + CHUNK]
            _validate(report, chunk, answers)
            if driver:
                _ask(report, chunk, answers)
            progress(at + len(chunk), len(documents))
        if under:
            _include(report, answers)
    return report


def _validate(report: Report, chunk: Sequence[Generated], answers: Answers) -> None:
    asked = [_question(report.garden, d, "validate") for d in chunk]
    for document, answer in zip(chunk, _resolved(answers, asked), strict=True):
        if isinstance(answer, NotHere):
            report.missing = answer
        elif not answer.accepted:
            report.invalid.append(document)


def _ask(report: Report, chunk: Sequence[Generated], answers: Answers) -> None:
    context = _context(report.garden.kind, report.driver)
    asked = [_question(report.garden, d, "define", report.driver, context) for d in chunk]
    for document, answer in zip(chunk, _resolved(answers, asked), strict=True):
        if isinstance(answer, NotHere):
            report.missing = answer
            continue
        report.statuses[answer.status] += 1
        if answer.status in DEATHS:
            report.dead.append((document, answer))


def _include(report: Report, answers: Answers) -> None:
    """What the grammar of another release rejects, by what of it does."""
    other = generate.Matcher(garden(report.under, report.garden.kind).schema)
    asked = [Question(report.under, "", report.garden.kind, "validate", d.text) for d in report.documents]
    for document, answer in zip(report.documents, _resolved(answers, asked), strict=True):
        if isinstance(answer, NotHere):
            report.missing = answer
        elif not answer.accepted:
            found = generate.rejection(report.garden.schema, document.tree, other, document.text)
            other.known.clear()
            words = str(found) if found else f"libxml2 alone objects: {answer.message}"
            count, first = report.rejections.get(words, (0, document))
            report.rejections[words] = count + 1, first


def _question(
    found: Garden, document: Generated, op: str, driver: str = "", context: tuple[tuple[str, str], ...] = ()
) -> Question:
    return Question(found.release, driver, found.kind, op, document.text, context)


def _context(kind: str, driver: str) -> tuple[tuple[str, str], ...]:
    """What an object of a kind belongs to, as the fixtures of the kind have it."""
    return next((f.context for f in fixtures.load((kind,), (driver,)) if f.context), ())


def _resolved(answers: Answers, asked: Sequence[Question]) -> list[Answer | NotHere]:
    found = answers.resolve(asked)
    return [found[question] for question in asked]


def write(documents: Sequence[Generated], folder: Path) -> None:
    """One file a document."""
    folder.mkdir(parents=True, exist_ok=True)
    for document in documents:
        (folder / f"{document.name}.xml").write_text(document.text, encoding="utf-8", newline="")
