"""Lives drawn: a rule-based state machine lets guests live across upgrades, and what goes wrong is cut down to a short life."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from virtcompat import drivers, surfaces
from virtcompat.checks import Case
from virtcompat.engine.columns import Columns
from virtcompat.engine.life import BROKEN, DRIVER, Life, Stage, Trouble, stage
from virtcompat.engine.run import Selection, opened, own_documents
from virtcompat.errors import BadData, LabError, NotAsked
from virtcompat.model import Answer, NotHere
from virtcompat.policy import life
from virtcompat.policy.life import Step
from virtcompat.store import paths, tables

#: More kinds of trouble than this are not looked for: something general is wrong.
MOST = 12
KNOWN = {
    "name": str, "signatures": list, "cases": list, "old": list, "new": list, "life": list, "summary": str, "why": str, "reference": str,
}  # fmt: skip
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class KnownLife:
    """A life that is known to go wrong, and is left so. signatures: patterns (fnmatch) of the trouble.

    cases: patterns of the fixtures that it is about; old, new: releases that the trouble is between, or the one it is in; all
    where none is named. lines: a life that has it.
    """

    name: str
    signatures: tuple[str, ...]
    cases: tuple[str, ...]
    old: tuple[str, ...]
    new: tuple[str, ...]
    lines: tuple[str, ...]
    summary: str
    why: str
    reference: str

    def about(self, old: str, new: str) -> bool:
        """Whether it can be met where hosts run these two releases."""
        both = {old, new}
        return (not self.old or bool(both & {*self.old})) and (not self.new or bool(both & {*self.new}))

    def explains(self, trouble: Trouble) -> bool:
        named = (not self.old or trouble.old in self.old) and (not self.new or trouble.new in self.new)
        about = not self.cases or any(fnmatchcase(trouble.case, pattern) for pattern in self.cases)
        return named and about and any(fnmatchcase(trouble.signature, pattern) for pattern in self.signatures)


@dataclass(slots=True)
class Found:
    """A trouble with the shortest life that ends in it."""

    trouble: Trouble
    life: list[Step]


@dataclass(frozen=True, slots=True)
class Written:
    """A life as a file holds it: the two releases, then a step a line; ``#`` starts a comment."""

    old: str
    new: str
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "\n".join((f"old: {self.old}", f"new: {self.new}", *map(str, self.steps)))


def read(source: Path) -> Written:
    """A life from a file. BadData where a line is none of a life's."""
    names: dict[str, str] = {}
    steps = []
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise BadData(source, "not UTF-8", "write steps as 'virt-compat life' prints them") from error
    for number, line in enumerate(lines, 1):
        line = line.partition("#")[0].strip()
        word, _, rest = line.partition(":")
        try:
            if word in ("old", "new"):
                names[word] = rest.strip()
            elif line:
                steps.append(_step(line))
        except ValueError as error:
            remedy = "write 'old: RELEASE', 'new: RELEASE', then steps as 'virt-compat life' prints them"
            raise BadData(source, str(error), remedy, number) from error
    if not steps or not names.get("old"):
        raise BadData(
            source, "no life: 'old: RELEASE', 'new: RELEASE', then a step a line", "see 'virt-compat life --help'"
        )
    return Written(names["old"], names.get("new", names["old"]), tuple(steps))


def _step(line: str) -> Step:
    """The step that a line holds. Raises ValueError, which says what a line must be."""
    if len(line.split()) < 2:
        raise ValueError(f"'{line}' is no step: a line is VERB HOST and the verb's words, as in 'start north guest-1'")
    return life.read(line)


def pairs(found: Columns) -> list[tuple[str, str]]:
    """The pairs of releases that lives are tried on where none is named: neighbours, and the oldest with the newest."""
    names = [column.name for column in found.columns if column.live]
    near = list(pairwise(names))
    return [*near, (names[0], names[-1])] if len(names) > 2 else near


@dataclass(slots=True)
class Report:
    """What living came to. lives, steps: how many were tried; known: how often which known life was met; ledger: the same of
    entries of the change ledger; lost: verbs that the old release's driver knows and the new one's does not."""

    old: str
    new: str
    cases: int
    lives: int = 0
    steps: int = 0
    refusals: int = 0
    verbs: Counter[str] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)
    known: Counter[str] = field(default_factory=Counter)
    ledger: dict[str, int] = field(default_factory=dict)
    lacks: dict[str, list[str]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return 1 if self.found or self.lost else 0 if self.steps else 3


def file() -> Path:
    return paths.data_root() / "suites" / "life" / "known.toml"


@cache
def known_lives() -> tuple[KnownLife, ...]:
    """The known lives, in their file's order."""
    source = file()
    found = []
    for entry in tables.read(source).get("known", []) if source.exists() else []:
        tables.check_keys(source, entry, KNOWN, ("name", "signatures", "life", "summary", "why"))
        try:
            for line in entry["life"]:
                _step(line)
        except ValueError as error:
            raise BadData(
                source, f"{entry['name']}: {error}", "write steps as 'virt-compat life' prints them"
            ) from error
        old, new = tuple(entry.get("old", ())), tuple(entry.get("new", ()))
        words = (entry["summary"], entry["why"], entry.get("reference", ""))
        signatures, about = tuple(entry["signatures"]), tuple(entry.get("cases", ()))
        found.append(KnownLife(entry["name"], signatures, about, old, new, tuple(entry["life"]), *words))
    return tuple(found)


def cases(old: str, new: str, found: Columns) -> dict[str, str]:
    """The fixtures of guests that the old release's test driver accepts and whose behaviour both releases have, by case."""
    documents = own_documents(Selection(kinds=("domain",), drivers=(DRIVER,)))
    setup, surface = drivers.every()[DRIVER].kinds["domain"], surfaces.every()["domain"]
    with opened(found) as answers:
        made = (Case(d, DRIVER, surface, setup, found.products) for d in documents)
        asked = {case.fixture.case: case.define(old) for case in made if case.unborn(old, new) is None}
        answered = answers.resolve(asked.values())
    good = {c for c, question in asked.items() if isinstance(a := answered[question], Answer) and a.accepted}
    return {d.case: d.text for d in documents if d.case in good}


def ready(old: str, new: str, found: Columns) -> Stage:
    """The stage for two releases. LabError where a lab is missing, NotAsked where no document is accepted."""
    documents = cases(old, new, found)
    if not documents:
        raise NotAsked(f"the test driver of {old} accepts no fixture", "virt-compat doctor")
    made = stage(old, new, found, documents)
    if isinstance(made, NotHere):
        raise LabError(made.reason, made.remedy)
    return made


class Broken(Exception):
    """Something does not hold that nobody knows of."""


@dataclass(slots=True)
class Hunt:
    """One search: what is stepped around, what is aimed at once it was seen, and the last life that had it."""

    stage: Stage
    report: Report
    seen: set[str] = field(default_factory=set)
    aim: str = ""
    caught: Found | None = None

    def judge(self, troubles: Sequence[Trouble], steps: Sequence[Step]) -> None:
        """Raise for a trouble that is looked for; the first unknown one becomes it."""
        for trouble in troubles:
            known = next((k for k in known_lives() if k.explains(trouble)), None)
            if known:
                self.report.known[known.name] += 1
                if trouble.finding.path in BROKEN:
                    return  # what else there is comes of it
            elif trouble.signature not in self.seen and self.aim in ("", trouble.signature):
                self.aim = trouble.signature
                self.caught = Found(trouble, list(steps))
                raise Broken(self.aim)


class Living(RuleBasedStateMachine):
    """Guests that live. Subclassed for a hunt, with a rule for each kind of verb."""

    hunt: Hunt
    documents: Sequence[str]

    def __init__(self) -> None:
        super().__init__()
        self.hunt.report.lives += 1
        self.life = Life(self.hunt.stage)

    def offers(self, verb: str, *, refused: bool) -> list[Step]:
        """The steps of a verb that may be tried now."""
        if self.life.over:
            return []
        world = self.life.world
        return [
            s
            for s in life.possible(world, verb)
            if bool(life.refused(world, s)) == refused and self.life.makes_sense(s)
        ]

    def take(self, step: Step) -> None:
        self.hunt.report.verbs[step.verb] += 1
        self.hunt.judge(self.life.do(step), self.life.steps)

    def with_case(self, step: Step, data: Any) -> Step:
        """A step that defines a guest, with the document that it is defined by."""
        if step.verb != "define":
            return step
        return life.step("define", step.host, guest=step.guest, case=data.draw(st.sampled_from(self.documents)))

    @initialize(data=st.data())
    def begin(self, data: Any) -> None:
        """Without a guest there is nothing to see."""
        self.take(self.with_case(data.draw(st.sampled_from(self.offers("define", refused=False))), data))

    @rule(data=st.data())
    def forbidden(self, data: Any) -> None:
        """Try what has to be refused; nothing where there is nothing of that kind."""
        offered = [s for verb in life.VERBS for s in self.offers(verb, refused=True)]
        if offered:
            self.take(data.draw(st.sampled_from(offered)))


def _rule(kind: str) -> Any:
    def do(self: Living, data: Any) -> None:
        verbs = [verb for verb in life.KINDS[kind] if self.offers(verb, refused=False)]
        chosen = data.draw(st.sampled_from(self.offers(data.draw(st.sampled_from(verbs)), refused=False)))
        self.take(self.with_case(chosen, data))

    do.__name__ = f"rule_{kind}"
    ready = precondition(lambda self: any(self.offers(verb, refused=False) for verb in life.KINDS[kind]))
    return ready(rule(data=st.data())(do))


def machine(hunt: Hunt) -> type[Living]:
    """The state machine of a hunt."""
    # The smallest first: that is the one a failing life is cut down to.
    documents = sorted(hunt.stage.cases, key=lambda case: (len(hunt.stage.cases[case]), case))
    rules = {f"rule_{kind}": _rule(kind) for kind in life.KINDS}
    return type("Lives", (Living,), {"hunt": hunt, "documents": documents, **rules})


def live(
    found: Stage,
    steps: int = 30,
    examples: int = 50,
    number: int = 0,
    progress: Progress = lambda done, of: None,
    most: int = MOST,
) -> Report:
    """Let guests live, as often as told, until nothing is found or ``most`` troubles are. Each that is found is stepped around
    from then on. The same seed (``number``) draws the same lives."""
    report = Report(found.old, found.new, len(found.cases))
    hunt = Hunt(found, report)
    how = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None, verbosity=Verbosity.quiet,
        # A list of steps is cut down faster than the choices that it was drawn by: see shorter().
        phases=(Phase.generate,), report_multiple_bugs=False, suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    for turn in range(most):
        progress(turn, most)
        try:
            run_state_machine_as_test(seed(number * MOST + turn)(machine(hunt)), settings=how)
            break
        except (Broken, Flaky):
            # Flaky: the same life did not go wrong twice. It has gone wrong all the same.
            if hunt.caught is None:
                raise
        report.steps, report.refusals = found.steps, found.refusals
        report.found.append(Found(hunt.caught.trouble, shorter(found, hunt.caught)))
        found.steps, found.refusals = report.steps, report.refusals
        hunt.seen.add(hunt.aim)
        hunt.aim, hunt.caught = "", None
    report.steps, report.refusals, report.ledger = found.steps, found.refusals, dict(found.known)
    report.lacks = {release: sorted(verbs) for release, verbs in found.lacks.items()}
    report.lost = sorted(found.has.get(found.old, set()) & found.lacks.get(found.new, set()))
    progress(most, most)
    return report


def played(found: Stage, steps: Sequence[Step]) -> Iterator[tuple[Step, list[Trouble]]]:
    """A life once more, with what does not hold after each step. Raises ValueError where a step is about nothing."""
    going = Life(found)
    for step in steps:
        offered = life.possible(going.world, step.verb)
        like = life.step(step.verb, step.host, guest=step.guest) if step.verb == "define" else step
        if step["case"] and step["case"] not in found.cases:
            raise ValueError(f"{step}: {found.old} accepts no fixture '{step['case']}'")
        if going.over or like not in offered or not going.makes_sense(step):
            raise ValueError(f"{step}: not possible there")
        yield step, going.do(step)


def ends_in(found: Stage, steps: Sequence[Step], signature: str) -> bool:
    """Whether a life still has a trouble."""
    try:
        return any(t.signature == signature for _, troubles in played(found, steps) for t in troubles)
    except ValueError:
        return False


def shorter(found: Stage, caught: Found) -> list[Step]:
    """A life without the steps that its trouble does not need, and with the smallest documents."""
    steps, signature = list(caught.life), caught.trouble.signature
    size = len(steps) // 2
    while size:
        at, before = len(steps) - size, len(steps)
        while at > -size:
            fewer = steps[: max(at, 0)] + steps[at + size :]
            steps = fewer if ends_in(found, fewer, signature) else steps
            at -= size
        # Single steps are tried again as long as that helps: one may have needed another that is gone now.
        size = size // 2 if size > 1 or len(steps) == before else 1
    for case in sorted(found.cases, key=lambda case: (len(found.cases[case]), case))[:1]:
        for at, step in enumerate(steps):
            if step.verb == "define":
                other = [*steps[:at], life.step("define", step.host, guest=step.guest, case=case), *steps[at + 1 :]]
                steps = other if ends_in(found, other, signature) else steps
    return steps


def unused(found: Stage, lives: Sequence[KnownLife] | None = None) -> list[KnownLife]:
    """Known lives of these two releases that do not go wrong any more as they say."""
    left = []
    for known in known_lives() if lives is None else lives:
        if not known.about(found.old, found.new):
            continue
        steps = [life.read(line) for line in known.lines]
        try:
            met = any(known.explains(t) for _, troubles in played(found, steps) for t in troubles)
        except ValueError as error:
            raise BadData(file(), f"{known.name}: {error}", "correct the life, or remove the entry") from error
        if not met:
            left.append(known)
    return left
