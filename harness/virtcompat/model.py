"""The nouns: frozen records that every other module speaks in. No behaviour beyond what follows from the fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum


class Tier(IntEnum):
    """How much a difference matters; a gate names one tier and fails at it and above."""

    IDENTICAL = 0
    ADDITION = 1
    RISK = 2
    BREAK = 3
    GUEST_ABI_BREAK = 4

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", "-")

    @classmethod
    def named(cls, label: str) -> Tier:
        return cls[label.upper().replace("-", "_")]


class Outcome(StrEnum):
    """What became of a question. Never merged: only ``compatible`` is a pass."""

    COMPATIBLE = "compatible"
    INCOMPATIBLE = "incompatible"
    NOT_APPLICABLE = "not-applicable"
    NOT_HERE = "not-here"
    BROKEN = "broken"


class Change(StrEnum):
    """The kind of a difference."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    REFUSED = "refused"  # the release does not accept the document
    LOST = "lost"  # the object is gone after a restart from disk
    DROPPED = "dropped"  # input that the release accepted and did not keep
    UNSTABLE = "unstable"  # the second writing differs from the first
    INVALID = "invalid"  # what was written is not valid under the release's own schema
    UNREADABLE = "unreadable"  # what was written is not well-formed, or could not be written at all
    CRASHED = "crashed"
    HUNG = "hung"
    GARBLED = "garbled"  # the probe answered something that is not an answer
    ACCEPTED = "accepted"  # now accepted where the older release refused


class Direction(StrEnum):
    """Which pairs of releases a check is about."""

    SELF = "self"  # old is new
    FORWARD = "forward"  # old before new
    BACKWARD = "backward"  # asked from the newer to the older


@dataclass(frozen=True, slots=True)
class Form:
    """One writing of an object: its text, or libvirt's error in place of it."""

    text: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a release answered to one question.

    status: accepted, refused, absent, crashed, hung or garbled. ``message`` is libvirt's own, with ``code``
    (virErrorNumber) and ``domain`` (virErrorDomain); for a crash it is the exit status and the last words.
    """

    status: str
    forms: Mapping[str, Form] = field(default_factory=dict)
    code: int = 0
    domain: int = 0
    message: str = ""
    name: str = ""
    uuid: str = ""

    @property
    def accepted(self) -> bool:
        return self.status == "accepted"

    def form(self, name: str) -> str:
        return self.forms[name].text if name in self.forms else ""

    def merged_into(self, other: Answer) -> Answer:
        """The other answer with this one's forms too; where there is none for a death, the form's error is that."""
        forms = self.forms if self.accepted else {"argv": Form(error=self.status)}
        return replace(other, forms={**other.forms, **forms}) if other.accepted else other

    def to_dict(self) -> dict[str, object]:
        forms = {k: {"text": f.text} if not f.error else {"error": f.error} for k, f in self.forms.items()}
        record = {"status": self.status, "forms": forms, "code": self.code, "domain": self.domain}
        return {**record, "message": self.message, "name": self.name, "uuid": self.uuid}

    @classmethod
    def from_dict(cls, record: Mapping[str, object]) -> Answer:
        def form(value: object) -> Form:
            assert isinstance(value, Mapping)
            error = value.get("error", "")
            words = str(error["message"]) if isinstance(error, Mapping) else str(error)
            return Form(text=str(value.get("text", "")), error=words or ("unknown error" if error else ""))

        forms = record.get("forms") or {}
        assert isinstance(forms, Mapping)
        return cls(
            status=str(record["status"]),
            forms={str(k): form(v) for k, v in forms.items()},
            code=int(str(record.get("code", 0))),
            domain=int(str(record.get("domain", 0))),
            message=str(record.get("message", "")),
            name=str(record.get("name", "")),
            uuid=str(record.get("uuid", "")),
        )


@dataclass(frozen=True, slots=True)
class NotHere:
    """This machine cannot ask; ``remedy`` says what to install or run."""

    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Setup:
    """How a driver is opened for a kind of document.

    uri: ``{workdir}`` stands for the lab's writable directory. files: what lies below ``root`` before the
    driver starts. daemon: the lab's own libvirtd is started in the sandbox first. forms: what is asked to be
    written. disk: where the release keeps the object's file, below ``root``, with ``{name}``, ``{uuid}`` and
    ``{domain}``; empty where the driver keeps none. flavour: the lab that has it, where the plain one
    has not. stage: the stand-in that it talks to (``labs/stages``).
    """

    uri: str
    forms: tuple[str, ...] = ("inactive",)
    root: str = "{workdir}"
    files: Mapping[str, str] = field(default_factory=dict)
    daemon: bool = False
    disk: str = ""
    time_limit: float = 30.0
    flavour: str = ""
    stage: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing asked of one driver of one release.

    op: ``define`` (hand the text in and read it back), ``native`` (hand it in and have it converted to the
    hypervisor's own form, which can crash where everything else works), ``load`` (start the driver on a configuration
    directory that holds the text as a file) or ``validate`` (is the text valid under the release's own schema).
    An answer is a pure function of the release's binaries and of this record without ``release``,
    ``recorded`` and ``source``. source: ``lab`` or ``golden`` accept that one alone; empty takes golden first.
    """

    release: str
    driver: str
    kind: str
    op: str
    text: str
    context: tuple[tuple[str, str], ...] = ()
    name: str = ""
    uuid: str = ""
    flavour: str = ""
    recorded: str = ""  # the fixture whose golden answer may stand in for asking
    source: str = ""

    @property
    def full(self) -> bool:
        """Whether every form is wanted (of a fixture's own text), the file on disk included."""
        return bool(self.recorded)

    def digest(self) -> str:
        body: list[object] = [self.driver, self.kind, self.op, self.text, self.context, self.full]
        if self.op == "load":
            body += [self.name, self.uuid]
        return hashlib.sha256(json.dumps(body).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference: where, what kind, how bad, and the two values."""

    path: str
    change: Change
    tier: Tier
    old: str = ""
    new: str = ""
    product: str = ""  # whose change it is, where that can be told
    entry: str = ""  # the change-ledger entry that explains it

    @property
    def explained(self) -> bool:
        return bool(self.entry)


@dataclass(frozen=True, slots=True)
class Fixture:
    """One input document and what is known about it beforehand."""

    kind: str
    case: str
    text: str
    summary: str
    drivers: tuple[str, ...]
    since: Mapping[str, str] = field(default_factory=dict)
    until: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    drops: Mapping[str, str] = field(default_factory=dict)
    context: tuple[tuple[str, str], ...] = ()
    flavour: str = ""
    stability: str = "committed"
    reference: str = ""
    provenance: str = ""
    file: str = ""
    foreign: bool = False  # somebody else's document: nothing is known beforehand, not even whether it is accepted


#: The check of recorded surfaces: record against record. Its cells have no driver: ``-``.
STATIC = "static"
#: In place of a driver, where a cell is about none.
NO_DRIVER = "-"


@dataclass(frozen=True, slots=True)
class CellKey:
    """The coordinates of one matrix cell."""

    check: str
    kind: str
    driver: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.check}/{self.kind}/{self.driver}/{self.old}/{self.new}"

    @property
    def subject(self) -> str:
        """What a grid of the matrix is about: a driver, or a surface that has none."""
        return self.kind if self.driver == NO_DRIVER else self.driver


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check says of one case in one cell."""

    case: str
    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    reason: str = ""

    @property
    def worst(self) -> Tier:
        return max((f.tier for f in self.findings), default=Tier.IDENTICAL)


def judged(case: str, findings: Sequence[Finding]) -> Verdict:
    """What findings come to: incompatible from the tier ``break`` on. The worst stand first."""
    worst = max((f.tier for f in findings), default=Tier.IDENTICAL)
    outcome = Outcome.INCOMPATIBLE if worst >= Tier.BREAK else Outcome.COMPATIBLE
    return Verdict(case, outcome, tuple(sorted(findings, key=lambda f: (-f.tier, f.path, f.change))))


def unasked(case: str, missing: NotHere) -> Verdict:
    """What is said of a case that this machine cannot ask."""
    return Verdict(case, Outcome.NOT_HERE, reason=f"{missing.reason}; {missing.remedy}")


def overall(counts: Mapping[Outcome, int]) -> Outcome:
    """What many verdicts come to: the worst that was seen, and only then what could not be asked."""
    order = (Outcome.BROKEN, Outcome.INCOMPATIBLE, Outcome.COMPATIBLE, Outcome.NOT_HERE)
    return next((o for o in order if counts.get(o)), Outcome.NOT_APPLICABLE)


@dataclass(frozen=True, slots=True)
class Cell:
    """One matrix cell: counts by outcome over all its cases, and the verdicts that are worth keeping."""

    key: CellKey
    counts: Mapping[Outcome, int]
    worst: Tier
    unexplained: int  # cases with a finding at the gate's tier that no ledger entry explains
    verdicts: tuple[Verdict, ...]  # those with findings, and those that could not be asked

    @property
    def asked(self) -> int:
        return self.counts.get(Outcome.COMPATIBLE, 0) + self.counts.get(Outcome.INCOMPATIBLE, 0)

    @property
    def outcome(self) -> Outcome:
        return overall(self.counts)


@dataclass(frozen=True, slots=True)
class Column:
    """One release as the matrix sees it: what golden records exist and what can be asked here and now."""

    name: str
    libvirt: str
    qemu: str
    order: tuple[tuple[int, ...], ...]
    golden: bool
    live: bool
    note: str = ""
    others: Mapping[str, str] = field(default_factory=dict)  # versions of further products: spice, xen, virt-manager


@dataclass(frozen=True, slots=True)
class Matrix:
    """All cells of one run, with what it took to fill them."""

    columns: Sequence[Column]
    cells: Sequence[Cell]
    gate: Tier
    asked: int = 0
    cached: int = 0
    replayed: int = 0
    judged: int = 0  # verdicts given in this run; remembered: those that stood already
    remembered: int = 0
    stale: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
