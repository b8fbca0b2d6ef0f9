"""Checks: what must hold between what releases answered. Pure: a check yields the questions it needs answered.

A check's ``judge`` is a generator. It yields a :class:`Question` and is sent the :class:`Answer` (or :class:`NotHere`),
as often as it needs, and returns its :class:`Verdict`. It starts nothing and reads nothing; who answers, from which lab
or record, is the engine's business. That makes a lying lab one line of test.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from virtcompat import registry
from virtcompat.documents import NotWellFormed, canonical
from virtcompat.facts import Facts, differences
from virtcompat.model import (
    Answer,
    Change,
    Direction,
    Finding,
    Fixture,
    NotHere,
    Outcome,
    Question,
    Setup,
    Tier,
    Verdict,
    judged,
    unasked,
)
from virtcompat.store.tables import version
from virtcompat.surfaces import Surface

Steps = Generator[Question, Answer | NotHere, Verdict]
DEATHS = {"crashed": Change.CRASHED, "hung": Change.HUNG, "garbled": Change.GARBLED}


@dataclass(frozen=True, slots=True)
class Case:
    """One fixture as one driver is asked it.

    products: release -> {product: version}, oldest first; it decides where the fixture's behaviour exists at all.
    """

    fixture: Fixture
    driver: str
    surface: Surface
    setup: Setup
    products: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def define(self, release: str, text: str = "", source: str = "") -> Question:
        """Hand a document in; without a text the fixture's own."""
        question = self._question(release, "define", text or self.fixture.text)
        return question if text else replace(question, recorded=self.fixture.case, source=source)

    def native(self, release: str, text: str = "", source: str = "") -> Question:
        """Convert a document to the hypervisor's native form; without a text the fixture's own."""
        if text:
            return self._question(release, "native", text)
        return replace(self._question(release, "native", self.fixture.text), recorded=self.fixture.case, source=source)

    def load(self, release: str, written: Answer) -> Question:
        """Start the driver on the file that a release keeps of this object."""
        question = self._question(release, "load", written.form("disk"))
        return replace(question, name=written.name, uuid=written.uuid)

    def validate(self, release: str, text: str) -> Question:
        return self._question(release, "validate", text)

    def _question(self, release: str, op: str, text: str) -> Question:
        fixture = self.fixture
        flavour = self.setup.flavour or (fixture.flavour if self.driver == "qemu" else "")
        return Question(release, self.driver, fixture.kind, op, text, fixture.context, flavour=flavour)

    def knows(self, release: str) -> bool:
        """Whether the fixture's behaviour exists in this release: not before its ``since``, not from its ``until``."""
        return not self._reached(release, self.fixture.until) and self.born(release)

    def born(self, release: str) -> bool:
        """Whether the release is as new as every ``since`` of the fixture."""
        return not self.fixture.since or self._reached(release, self.fixture.since, every=True)

    def _reached(self, release: str, versions: Mapping[str, str], every: bool = False) -> bool:
        products = self.products.get(release, {})
        asked = ("libvirt", "qemu") if self.driver == "qemu" else ("libvirt",)
        named = [
            version(products[p]) >= version(versions[p])
            for p in asked
            if p in versions and version(products.get(p, ""))
        ]
        return all(named) if every else any(named)

    def unborn(self, *releases: str) -> Verdict | None:
        """Not applicable, where the behaviour is newer than one of these releases."""
        for release in releases:
            if not self.born(release):
                return self.not_applicable(f"the behaviour is newer than {release}")
        return None

    def older(self, one: str, other: str) -> bool:
        """Whether one release comes before the other (``products`` is in that order)."""
        names = list(self.products)
        return names.index(one) < names.index(other)

    @property
    def best(self) -> str:
        """The fullest form that this driver writes: with secrets where the kind has such a form."""
        return "secure" if "secure" in self.setup.forms else "inactive"

    @property
    def portable(self) -> str:
        """The form that is meant for another release."""
        return "migratable" if "migratable" in self.setup.forms else "inactive"

    def verdict(self, findings: list[Finding]) -> Verdict:
        return judged(self.fixture.case, findings)

    def not_here(self, answer: NotHere) -> Verdict:
        return unasked(self.fixture.case, answer)

    def not_applicable(self, reason: str) -> Verdict:
        return Verdict(self.fixture.case, Outcome.NOT_APPLICABLE, reason=reason)


class Check(Protocol):
    """A rule about what two releases answered, or one where the direction is ``self``.

    Called as ``judge(case, old, new)``. Going backward ``old`` is the newer release that wrote and ``new`` the
    older one that reads: old is always the side that comes first in time of use.
    """

    @property
    def name(self) -> str: ...
    @property
    def purpose(self) -> str: ...
    @property
    def directions(self) -> frozenset[Direction]: ...
    def judge(self, case: Case, old: str, new: str) -> Steps: ...


def every() -> dict[str, Check]:
    return registry.members(__name__, "CHECK")


def choose(names: tuple[str, ...]) -> dict[str, Check]:
    return registry.choose(__name__, "CHECK", names, "check")


def compare(surface: Surface, old: str, new: str) -> Iterator[Finding]:
    """The findings between two writings: nothing where they are the same tree, else one a difference."""
    try:
        if old == new or canonical(old) == canonical(new):
            return
        before, after = surface.facts(old), surface.facts(new)
    except NotWellFormed as error:
        yield Finding("(text)", Change.UNREADABLE, Tier.BREAK, "well-formed XML", str(error))
        return
    yield from compare_facts(surface, before, after)


def compare_facts(surface: Surface, before: Facts, after: Facts) -> Iterator[Finding]:
    for path, change, was, now in differences(before, after):
        yield Finding(path, change, surface.tier(path, change), was, now)


def refusal(step: str, answer: Answer, tier: Tier = Tier.BREAK) -> Finding:
    """The finding for an answer that is not ``accepted``; ``step`` says what was tried, as in ``(define)``."""
    if answer.status in DEATHS:
        return Finding(f"({step})", DEATHS[answer.status], max(tier, Tier.BREAK), "an answer", answer.message)
    change = Change.LOST if step == "load" else Change.REFUSED
    words = answer.message or "An error occurred, but the cause is unknown"
    return Finding(f"({step})", change, tier, "accepted", words)


def unwritten(answer: Answer, forms: tuple[str, ...]) -> Iterator[Finding]:
    """Forms that an accepted object could not be written in, or that are not well-formed XML."""
    for name in forms:
        form = answer.forms.get(name)
        if form is None:
            continue
        if form.error:
            yield Finding(f"({name})", Change.UNREADABLE, Tier.BREAK, "a document", form.error)
            continue
        try:
            canonical(form.text)
        except NotWellFormed as error:
            yield Finding(f"({name})", Change.UNREADABLE, Tier.BREAK, "well-formed XML", str(error))


def received(
    case: Case, writer: str, portable: str, read: Answer
) -> Generator[Question, Answer | NotHere, list[Finding]]:
    """What another release makes otherwise of a portable form that it took.

    The control: what the writer itself makes otherwise of its own form is not the reader's doing.
    """
    found = list(unwritten(read, (case.portable,)))
    found = found or list(compare(case.surface, portable, read.form(case.portable)))
    if found:
        own = yield case.define(writer, portable)
        if isinstance(own, Answer) and own.accepted:
            alike = list(compare(case.surface, portable, own.form(case.portable)))
            found = [f for f in found if f not in alike]
    return found


def rejected(case: Case, writer: str, portable: str, read: Answer) -> Generator[Question, Answer | NotHere, Verdict]:
    """The verdict on a refused portable form; what its writer does not take either is not the reader's doing."""
    own = yield case.define(writer, portable)
    if isinstance(own, Answer) and not own.accepted:
        return case.not_applicable("the release that wrote it does not accept its own portable form either")
    return case.verdict([refusal("define", read)])
