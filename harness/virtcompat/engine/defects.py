"""The defects that are known, asked of every release's lab anew; and what a hunt found, brought down to small documents.

    as recorded   shows where it was recorded, and nowhere else
    also          shows somewhere else too
    gone          shows somewhere no more: said, never passed over
    not asked     a release of it is not here

Exit codes: 0 all as recorded; 1 a defect shows elsewhere or is gone, or a hunt found a new one; 3 something was not asked.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from virtcompat.checks import DEATHS
from virtcompat.engine import columns, confidential, generating, hunting, properties, shrinking
from virtcompat.engine.asking import Asking
from virtcompat.engine.generating import Garden
from virtcompat.engine.hunting import Order
from virtcompat.engine.properties import Judged
from virtcompat.errors import NotAsked, UsageError
from virtcompat.labs import backtraces
from virtcompat.labs.backtraces import Trace
from virtcompat.model import Answer, Column, Fixture, NotHere, Outcome, Tier
from virtcompat.store import defects as store
from virtcompat.store import hunts, paths
from virtcompat.store.defects import Defect
from virtcompat.store.hunts import Find, State

Progress = Callable[[int, int], None]
#: Finds that are brought down to small documents in one hunt, the worst and most frequent first.
MOST_SHRUNK = 40
#: What ends or blocks the process.
DEADLY = ("crash", "hang")
#: change of a finding -> what a defect does.
WHAT = {
    "crashed": "crash", "garbled": "crash", "hung": "hang", "lost": "lost", "unreadable": "unreadable",
    "unstable": "unstable", "invalid": "invalid", "refused": "refused",
}  # fmt: skip


@dataclass(slots=True)
class Stand:
    """How a defect stands. shows: places where it does now; unasked: place -> why nobody could tell; message: its error."""

    defect: Defect
    shows: list[str] = field(default_factory=list)
    unasked: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    message: str = ""
    trace: Trace | NotHere | None = None
    secret: str = ""

    @property
    def also(self) -> list[str]:
        return [place for place in self.shows if place not in self.defect.shows]

    @property
    def gone(self) -> list[str]:
        return [place for place in self.defect.shows if place in self.asked and place not in self.shows]

    @property
    def missing(self) -> list[str]:
        return [place for place in self.defect.shows if place not in self.asked]

    @property
    def withheld(self) -> bool:
        """Whether it looks like a security matter and is the project's own record, which may be published."""
        return bool(self.secret) and (not self.defect.file or Path(self.defect.file).parent == store.folder())

    @property
    def fine(self) -> list[str]:
        return [place for place in self.asked if place not in self.shows]

    @property
    def words(self) -> str:
        said = [f"also {', '.join(self.also)}"] if self.also else []
        said += [f"gone from {', '.join(self.gone)}"] if self.gone else []
        said += [f"not asked: {', '.join(self.missing)}"] if self.missing else []
        return "; ".join(said) or "as recorded"


@dataclass(frozen=True, slots=True)
class Report:
    """Every known defect as it stands, and the releases that were asked."""

    stands: tuple[Stand, ...]
    columns: tuple[Column, ...]

    @property
    def exit_code(self) -> int:
        if any(stand.also or stand.gone for stand in self.stands):
            return 1
        return 3 if not self.stands or any(stand.missing for stand in self.stands) else 0


def known(
    names: tuple[str, ...] = (), releases: tuple[str, ...] = (), private: Path | None = None, *,
    traces: bool = False, progress: Progress = lambda done, of: None,
) -> Report:  # fmt: skip
    """Ask every known defect of the labs of these releases, or of all. traces: look at the deaths with a debugger.

    private: a directory of confidential ones, which are asked as well. UsageError for a name that there is not.
    """
    if private:
        confidential.proper(private)
    if private and not private.is_dir():
        raise UsageError(f"no directory {private}", "name the one that your own defects are in: NAME.xml, NAME.toml")
    several = store.load() + (store.load(where=private) if private else [])
    strangers = set(names) - {defect.name for defect in several}
    if strangers:
        raise UsageError(f"no defect '{min(strangers)}'", "see 'virt-compat defects'")
    chosen = [d for d in several if not names or d.name in names]
    if not chosen:
        raise NotAsked("no defect is recorded", "virt-compat defects --hunt 10000")
    found = columns.find(releases)
    with Asking(found) as asking:
        stands = _stands(chosen, asking, progress)
        for stand in stands:
            if stand.defect.what in DEADLY and stand.shows and (traces or stand.also):
                stand.trace = _trace(stand, asking)
                trace = stand.trace if isinstance(stand.trace, Trace) else None
                stand.secret = confidential.memory(trace, stand.message)
    return Report(tuple(stands), tuple(found.columns))


def _stands(chosen: Sequence[Defect], asking: Asking, progress: Progress) -> list[Stand]:
    stands = {defect.name: Stand(defect) for defect in chosen}
    groups: dict[tuple[str, str, str], list[Defect]] = {}
    for defect in chosen:
        groups.setdefault((defect.kind, defect.driver, check_of(defect.signature)), []).append(defect)
    done = 0
    for (_, driver, check), group in groups.items():
        fixtures = [fixture_of(defect) for defect in group]
        for judged in properties.judge(fixtures, driver, asking, (check,)):
            _place(stands[judged.fixture.case], judged)
        done += len(group)
        progress(done, len(chosen))
    return list(stands.values())


def check_of(signature: str) -> str:
    """The property that shows a signature: of a death every one that asks does."""
    found = re.match(r"\S+ \S+ ([\w-]+): ", signature)
    return "round-trip" if not found or found[1] == "dies" else found[1]


def fixture_of(defect: Defect) -> Fixture:
    context = (
        defect.context or generating._context(defect.kind, defect.driver) or generating._context(defect.kind, "qemu")
    )
    return Fixture(defect.kind, defect.name, defect.text, "", (defect.driver,), context=context, foreign=True)


def place_of(judged: Judged) -> str:
    steps = [judged.key.old, judged.via, judged.key.new]
    return " -> ".join(dict.fromkeys(step for step in steps if step))


def _place(stand: Stand, judged: Judged) -> None:
    place = place_of(judged)
    if judged.verdict.outcome is Outcome.NOT_HERE:
        stand.unasked[place] = judged.verdict.reason
        return
    stand.asked.append(place)
    deadly = stand.defect.what in DEADLY
    for finding in judged.verdict.findings:
        # Whether it dies or hangs first may depend on how much memory there is: neither is fine.
        same = deadly and finding.change in hunting.DIED
        same = same or hunting.named(judged, finding, None) == shrinking.plain(stand.defect.signature)
        if same and place not in stand.shows:
            stand.shows.append(place)
            stand.message = finding.new


def _trace(stand: Stand, asking: Asking) -> Trace | NotHere:
    """The backtrace on the newest release that has it, of those where nobody had recorded it first."""
    defect = stand.defect
    case = properties.case_of(fixture_of(defect), defect.driver, asking)
    release = (stand.also or stand.shows)[-1]
    for question in (case.define(release), case.native(release, source="lab")):
        answer = asking.resolve([question])[question]
        if isinstance(answer, Answer) and answer.status in DEATHS:
            asked = asking.asked(question)
            return asked if isinstance(asked, NotHere) else backtraces.take(asked, asking.patience)
    return NotHere("it dies of a document on the way only", "see the message")


# -- hunting -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Hunted:
    """What a hunt found. fresh: causes that nobody knew, the worst first; confidential: how many findings are."""

    state: State
    fresh: list[Find]
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def confidential(self) -> int:
        return self.state.counts.get("confidential", 0)

    @property
    def exit_code(self) -> int:
        if self.fresh or self.confidential:
            return 1
        counts = self.state.counts
        return 3 if self.state.unasked or counts.get("findings beyond") or not counts.get("documents") else 0


def hunt(order: Order, *, minimise: bool = True, progress: Callable[[str], Progress]) -> Hunted:
    """Hunt, and write the smallest document of each new cause into the cache directory.

    Confidential finds go to ``order.private`` alone, which must be outside the project; without it they are counted.
    """
    aside = None
    if order.private:
        aside = partial(hunts.put_aside, confidential.outside(order.private))
    state = hunting.hunt(order, aside, progress("batches"))
    recorded = store.load()
    fresh = [f for f in state.finds.values() if new(f, recorded)]
    fresh.sort(key=lambda f: (-f.tier, -f.count, f.signature))
    hunted = Hunted(state, fresh)
    if minimise and fresh:
        _minimise(hunted, order, progress("smallest documents"))
    return hunted


def new(find: Find, recorded: Sequence[Defect]) -> bool:
    """Whether a find is a break that neither the ledger, nor a rule, nor a recorded defect knows.

    What an older release does not know it does not keep, and a newer one may object to it: a document of somebody's that is
    refused is no defect where what the older release made of it is taken (``upgrade-redefine``).
    """
    if find.check == "same-input" and find.change == "refused":
        return False
    serious = find.tier >= Tier.BREAK or (find.change in WHAT and find.change != "invalid")
    own = shrinking.plain(find.signature)
    known = any(own == shrinking.plain(defect.signature) or defect.covered(own) for defect in recorded)
    return serious and not find.entry and not find.known and not known


def _minimise(hunted: Hunted, order: Order, progress: Progress) -> None:
    gardens: dict[tuple[str, str], Garden] = {}
    chosen = hunted.fresh[:MOST_SHRUNK]
    folder = paths.cache_dir() / "defects"
    with Asking(columns.find(order.releases)) as asking:
        for at, find in enumerate(chosen, 1):
            file = folder / f"{name_of(find)}.xml"
            if not file.exists() and (text := shrinking.shrink(find, asking, gardens)):
                store.write(as_defect(find, text), folder)
            if file.exists():
                hunted.files[find.signature] = file
            progress(at, len(chosen))


def name_of(find: Find) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", f"{find.kind} {find.change} {find.path}".lower()).strip("-")[:60]
    return f"{words}-{hashlib.sha256(find.signature.encode()).hexdigest()[:8]}"


def as_defect(find: Find, text: str) -> Defect:
    """A find as it would be recorded, but for a name and what a person has to say of it."""
    shows = tuple(dict.fromkeys(" -> ".join(dict.fromkeys(cell)) for cell in sorted(find.cells)))
    what = "schema" if find.check == "schema-kept" else WHAT.get(find.change, "changed")
    if find.check == "says-why":
        what = "silent"
    return Defect(
        name_of(find),
        find.kind,
        find.driver,
        what,
        find.signature,
        shows,
        find.new[:200] or find.path,
        "not understood yet",
        text,
    )
