"""An attestation checked here: its inputs digested, its static cells computed, a sample asked of the labs, all anew."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from virtcompat import drivers, surfaces
from virtcompat.engine import attestation, guests, static
from virtcompat.engine import claims as engine
from virtcompat.engine import columns as columns_module
from virtcompat.engine.answers import Answered, Answers
from virtcompat.engine.attestation import Attested, Told
from virtcompat.engine.claims import Asker
from virtcompat.engine.columns import Columns
from virtcompat.engine.memory import Memory
from virtcompat.engine.run import Progress
from virtcompat.engine.schemas import Schemas
from virtcompat.errors import VirtCompatError
from virtcompat.labs.prober import Prober
from virtcompat.model import STATIC, CellKey, NotHere, Question
from virtcompat.policy import claims as policy
from virtcompat.policy.claims import Seen
from virtcompat.store import golden, releases
from virtcompat.store.cache import Cache
from virtcompat.store.verdicts import Verdicts


@dataclass(slots=True)
class Verification:
    """What came of checking an attestation.

    contradictions: where it says something else than what was found. differing: inputs that are others here, with the
    word. unasked: cells of the sample that could not be compared, with the reason. seed: draws the same sample again.
    """

    attested: Attested
    seed: int
    contradictions: list[str] = field(default_factory=list)
    same: int = 0
    differing: list[str] = field(default_factory=list)
    computed: list[CellKey] = field(default_factory=list)
    asked: list[CellKey] = field(default_factory=list)
    unasked: dict[CellKey, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """1 contradicted, 3 where something could not be compared or nothing was asked, 0 confirmed."""
        if self.contradictions:
            return 1
        return 3 if self.differing or self.unasked or not self.asked else 0

    @property
    def word(self) -> str:
        return {0: "confirmed", 1: "contradicted"}.get(self.exit_code, "not confirmed")


def verify(file: Path, sample: int, seed: int, progress: Progress = lambda done, of: None) -> Verification:
    """Check an attestation. BadData where it is cut off or is none; what it says is compared, never believed."""
    attested = attestation.read(file)
    for claim in attested.claims.values():
        engine.validate(claim)
    keys = sorted({key for of in attested.cells.values() for key in of}, key=str)
    own = {release.name for release in releases.every()}
    names = dict.fromkeys(name.partition("@")[0] for key in keys for name in (key.old, key.new))
    found = columns_module.find(tuple(n for n in names if n in own)) if own & names.keys() else Columns()
    checked = Verification(attested, seed, list(attested.faults))
    different = _inputs(checked, found)
    told = {key: _blocked(key, different, found) for key in keys}
    recorded = [k for k in keys if not told[k] and k.check == STATIC and _has_records(k)]
    with _fresh(found, progress) as asker:
        for key, seen in asker.seen(recorded).items():
            checked.computed.append(key)
            _compare(checked, key, seen, asker)
    worth = [k for k in keys if any(said.asked for said in _told(checked, k))]
    chosen = random.Random(seed).sample(worth, min(sample, len(worth)))  # noqa: S311 - a sample, no secret
    checked.unasked = {k: told[k] for k in chosen if told[k]}
    with _fresh(found, progress) as asker:
        for key in (k for k in chosen if not told[k]):
            _ask(checked, key, asker)
    return checked


def _inputs(checked: Verification, found: Columns) -> set[str]:
    """The names of the inputs that are others here than they are said to be."""
    attested = checked.attested
    names = sorted({name for of in attested.cells.values() for key in of for name in (key.old, key.new)})
    here = {name: digest for name, (digest, _) in attestation.inputs(found, names).items()}
    damaged = engine.damages({n for n in names if n in found.names})
    different = set()
    for name, digest in attested.inputs.items():
        if name == attestation.WAIVERS:
            continue  # no claim follows from a waiver
        own = here.get(name, "")
        if name.startswith("golden/") and name.split("/")[1] in damaged:
            own = f"damaged: {damaged[name.split('/')[1]]}"
        if own == digest:
            checked.same += 1
            continue
        different.add(name)
        words = own if own.startswith("damaged") else f"here {own[:12]}" if own else "not here"
        checked.differing.append(f"{name}: {words}, there {digest[:12]}")
    for name in sorted(here.keys() - attested.inputs.keys()):
        if not name.startswith("lab/") and name != attestation.WAIVERS:
            different.add(name)
            checked.differing.append(f"{name}: not named there")
    return different


def _blocked(key: CellKey, different: set[str], found: Columns) -> str:
    """Why a cell cannot be compared, empty where it can: something that it follows from is another here."""
    for release in (key.old, key.new):
        if release not in found.names:
            return f"no release {release} here: virt-compat lab add {release} …"
    others = sorted(name for name in different if _concerns(name, key))
    return f"its inputs are others here: {', '.join(others)}" if others else ""


def _concerns(name: str, key: CellKey) -> bool:
    """Whether a cell may follow from an input: from the tool and the common folders, and from what is its releases'."""
    own = tuple(
        f"{of}{release}{end}" for release in (key.old, key.new) for of, end in (("golden/", "/"), ("lab/", "-"))
    )
    return name in (attestation.TOOL, *attestation.FOLDERS) or f"{name}-".startswith(own)


def _has_records(key: CellKey) -> bool:
    return all(golden.provenance(release) is not None for release in (key.old, key.new))


def _ask(checked: Verification, key: CellKey, asker: Asker) -> None:
    """Ask one cell of the labs and compare it."""
    try:
        if key.check == STATIC:
            _read_off(key, asker)
        seen = asker.seen([key]).get(key)
    except VirtCompatError as error:
        checked.unasked[key] = f"{error.message}; {error.remedy}".removesuffix("; ")
        return
    if seen is None:
        checked.contradictions.append(f"{key}: there is no such cell")
        return
    missing = [v.reason for v in seen.verdicts if v.outcome in policy.UNKNOWN]
    if missing and seen.digest not in {said.digest for said in _told(checked, key)}:
        checked.unasked[key] = missing[0]
        return
    checked.asked.append(key)
    _compare(checked, key, seen, asker)


def _read_off(key: CellKey, asker: Asker) -> None:
    """Have the records of a static cell read off the labs, in place of the golden ones."""
    for release in (key.old, key.new):
        if (release, key.kind) not in asker.records.held:
            surface = surfaces.every_recorded()[key.kind]
            lab = static.lab_of(asker.found, release, surface.flavour)
            read = lab if isinstance(lab, NotHere) else static.read(lab, surface)
            asker.records.held[release, key.kind] = read


def _told(checked: Verification, key: CellKey) -> Iterator[Told]:
    return (of[key] for of in checked.attested.cells.values() if key in of)


def _compare(checked: Verification, key: CellKey, seen: Seen, asker: Asker) -> None:
    """Hold a cell against what is attested of it, claim by claim."""
    for name, cells in checked.attested.cells.items():
        if key not in cells:
            continue
        told = cells[key]
        shares, _ = engine.shared(checked.attested.claims[name], asker.found, {key: seen}, asker)
        own = Told(seen.digest, shares[0].asked, len(shares[0].refuting))
        if own != told:
            words = f"{told.refuting} of {told.asked} attested, {own.refuting} of {own.asked} found"
            same = "the same numbers, other findings" if replace(own, digest=told.digest) == told else words
            line = f"{key}: {name}: {same}"
            if line not in checked.contradictions:
                checked.contradictions.append(line)


class _OfLabs(Answers):
    """Answers of the labs alone: a golden record stands in only where the question is about the record itself."""

    def resolve(self, questions: Iterable[Question]) -> Answered:
        wanted = {q: q if q.source else replace(q, source="lab") for q in questions}
        answered = super().resolve(dict.fromkeys(wanted.values()))
        return {question: answered[other] for question, other in wanted.items()}


@contextmanager
def _fresh(found: Columns, progress: Progress) -> Iterator[Asker]:
    """Asks the labs, with nothing remembered from before and nothing kept for later."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="virt-compat-")))
        memory = Memory(found)
        memory.kept.close()
        memory.kept = Verdicts(folder / "verdicts.sqlite", memory.kept.tool)
        stack.callback(memory.kept.close)
        cache = Cache(folder / "answers.sqlite")
        stack.callback(cache.close)
        prober = stack.enter_context(Prober())
        moves = stack.enter_context(guests.Moves(found, progress))
        moves.cache.close()
        moves.cache = Cache(folder / "migrations.sqlite")
        answers = _OfLabs(found, drivers.every(), cache, prober, Schemas(found))
        yield stack.enter_context(Asker(found, progress, answers, memory, moves))
