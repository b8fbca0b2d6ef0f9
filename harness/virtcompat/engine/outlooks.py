"""What awaits each definition: the verdicts of its checks, its machine type, processor and migrations put together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from virtcompat import surfaces
from virtcompat.documents import parse
from virtcompat.engine import migration, standin, static
from virtcompat.engine import run as engine
from virtcompat.engine.answers import Answers
from virtcompat.engine.subjects import FORWARD, HARDWARE, Progress, Subject
from virtcompat.errors import VirtCompatError
from virtcompat.model import NO_DRIVER, STATIC, Answer, CellKey, NotHere, Outcome, Tier, Verdict
from virtcompat.policy import drift, preflight, records
from virtcompat.policy.drift import Pair, Processor
from virtcompat.policy.preflight import Outlook, Problem, Standing

MACHINES, MODELS, GUESTS = "machine-types", "cpu-models", "guest-abi"


@dataclass(slots=True)
class Draft:
    """An :class:`Outlook` in the making."""

    subject: Subject
    problems: list[Problem] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    failed: bool = False
    machine: str = ""
    cpu: str = ""
    there: str = ""
    back: str = ""
    written: str = ""  # the machine type
    replaced: list[str] = field(default_factory=list)
    translated: tuple[str, ...] = ()  # the device sets whose processor is this guest's
    sets: tuple[str, ...] = ()  # the device sets that stand for its devices

    def done(self) -> Outlook:
        subject = self.subject
        problems = preflight.distinct(self.problems)
        unknown = tuple(dict.fromkeys(self.unknown))
        standing = preflight.standing(problems, unknown, failed=self.failed)
        replaced = (*subject.standin.replaced, *self.replaced)
        return Outlook(
            subject.definition.name, subject.definition.kind, subject.definition.source, standing, subject.origin,
            subject.assumed, self.machine, self.cpu, self.there, self.back, problems, unknown, replaced,
        )  # fmt: skip


@dataclass(slots=True)
class Prospects:
    """Everything that is known between the origins and the release that the definitions go to, each thing found once."""

    answers: Answers
    to: str
    cold: bool
    records: static.Records = field(init=False)
    pairs: dict[str, Pair] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)
    details: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # that differ, by (origin, machine type)
    moves: dict[tuple[str, str, str], Mapping[str, Verdict] | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.records = static.Records(self.answers.columns)

    def of(self, subjects: Sequence[Subject], progress: Progress) -> list[Outlook]:
        """The outlook of every definition; guests are moved once for each machine type, with all devices that any has."""
        outlooks = [unjudged(s) for s in subjects if not s.accepted]
        drafts = [self._draft(s) for s in subjects if s.accepted]
        guests = [d for d in drafts if d.written and not self.cold]
        self._move(guests, progress)
        for draft in guests:
            self._migrates(draft)
        return outlooks + [d.done() for d in drafts]

    @property
    def notes(self) -> list[str]:
        """What holds for every guest of a machine type."""
        return [
            f"guests of {machine} that start in {self.to} find details changed ({', '.join(sorted(details))}): virt-compat "
            f"explain {CellKey(STATIC, GUESTS, NO_DRIVER, origin, self.to)}/{machine}/plain"
            for (origin, machine), details in sorted(self.details.items())
            if details
        ]

    def _draft(self, subject: Subject) -> Draft:
        draft = Draft(subject)
        for (check, release), verdict in subject.verdicts.items():
            self._take(draft, check, release, verdict)
        if subject.definition.kind != "domain" or subject.driver != "qemu":
            return draft
        unbuilt = standin.hardware(subject.standin.text).replaced
        draft.replaced += [f"{word}: compared by definition alone (a lab makes no command line)" for word in unbuilt]
        self._drift(draft)
        return draft

    def _take(self, draft: Draft, check: str, release: str, verdict: Verdict) -> None:
        """Put one check's verdict into the draft. What the origin does of itself is not the upgrade's doing."""
        subject, origin = draft.subject, draft.subject.origin
        if verdict.outcome is Outcome.NOT_HERE:
            draft.unknown.append(f"{check}: {verdict.reason}")
        elif verdict.outcome is Outcome.BROKEN:
            draft.failed = True
            draft.unknown.append(f"{check}: the tool failed: {verdict.reason}")
        elif verdict.outcome is Outcome.NOT_APPLICABLE:
            self._not_applicable(draft, check, release, verdict)
        elif check != "round-trip" or release != origin:
            own = subject.verdicts.get(("round-trip", origin))
            before = {(f.path, f.change) for f in own.findings} if own and check == "round-trip" else set()
            for finding in verdict.findings:
                if finding.tier >= Tier.RISK and (finding.path, finding.change) not in before:
                    draft.problems.append(preflight.of_document(check, finding, origin, self.to))

    def _not_applicable(self, draft: Draft, check: str, release: str, verdict: Verdict) -> None:
        if check == HARDWARE:
            here = _unbuilt(draft.subject)
            if here or _taken(draft.subject):
                draft.unknown.append(f"hardware: {here or f'{verdict.reason}: it may not start in {self.to}'}")
        elif check == "upgrade-disk" and "does not find its own file" in verdict.reason:
            draft.unknown.append(f"upgrade-disk: {verdict.reason}")
        elif check == "round-trip" and release == self.to and _taken(draft.subject):
            what = f"{self.to} does not accept the document as it stands, only as {draft.subject.origin} writes it"
            draft.problems.append(Problem(Tier.RISK, what, "use 'virsh dumpxml --inactive' in its place"))

    def _drift(self, draft: Draft) -> None:
        """Machine type, processor and recorded hardware, by the records of both releases."""
        subject = draft.subject
        pair = self._pair(subject.origin)
        draft.unknown += self.missing[subject.origin]
        assert isinstance(subject.first, Answer)
        root, asked = parse(subject.first.form("inactive")), parse(subject.standin.text).find("os/type")
        kind = root.find("os/type")
        if kind is None or not kind.get("machine"):
            return
        arch, draft.written = kind.get("arch", ""), kind.get("machine", "")
        own = asked.get("machine", "") if asked is not None else ""
        draft.machine, found = drift.machine(pair, arch, draft.written, own)
        draft.problems += found
        cpu = root.find("cpu")
        if cpu is not None:
            features = frozenset(f.get("name", "") for f in cpu.iterfind("feature"))
            model = cpu.findtext("model", "").strip()
            processor = Processor(cpu.get("mode", "custom" if model else ""), model, features)
        else:
            processor = Processor()
        draft.cpu, found = drift.processor(pair, arch, processor, draft.written)
        draft.problems += found
        draft.sets, gaps = devices(subject.first.form("migratable") or subject.first.form("inactive"))
        draft.translated = () if subject.standin.kvm else drift.translated(processor)
        found, details = drift.hardware(pair, draft.written, draft.sets or ("plain",), draft.translated)
        draft.problems += found
        self.details.setdefault((subject.origin, draft.written), set()).update(details)
        if not self.cold:
            draft.unknown += [f"migration: {gap}" for gap in _gaps(gaps, processor, kvm=subject.standin.kvm)]

    def _pair(self, origin: str) -> Pair:
        if origin not in self.pairs:
            self.missing[origin] = []
            before, after = self._facts(origin, origin), self._facts(self.to, origin)
            compared = [self._compared(origin, surface) for surface in (MACHINES, MODELS, GUESTS)]
            self.pairs[origin] = Pair(origin, self.to, before, after, *compared)
        return self.pairs[origin]

    def _facts(self, release: str, origin: str) -> Mapping[str, str]:
        try:
            return self.records.facts(release, MACHINES)
        except VirtCompatError as error:
            self.missing[origin].append(f"machine types: {error.message}; {error.remedy}")
            return {}

    def _compared(self, origin: str, name: str) -> dict[str, Verdict]:
        """interface -> verdict of a recorded surface between an origin and the release that is gone to."""
        surface = surfaces.every_recorded()[name]
        key = CellKey(STATIC, name, NO_DRIVER, origin, self.to)
        sides = []
        for release in (origin, self.to):
            try:
                record = self.records.of(release, surface)
            except VirtCompatError as error:
                record = NotHere(error.message, error.remedy)
            if isinstance(record, NotHere):
                self.missing[origin].append(f"{name}: {record.reason}; {record.remedy}")
                return {}
            sides.append(record)
        entries = engine.crossed(key, self.answers.columns)
        verdicts = [engine.explained(v, entries) for v in records.compare(surface, sides[0], sides[1])]
        gaps = [v for v in verdicts if v.outcome is Outcome.NOT_HERE]
        self.missing[origin] += [f"{name}: {v.reason}" for v in gaps]
        return {v.case: v for v in verdicts}

    def _move(self, drafts: Sequence[Draft], progress: Progress) -> None:
        """Move a guest there and back for every machine type and the devices that any of its guests has."""
        wanted: dict[tuple[str, str, str], set[str]] = {}
        for draft in drafts:
            pair = self.pairs[draft.subject.origin]
            if draft.sets and any(f"{target}/machine/{draft.written}" in pair.after for target in ("x86_64", "i386")):
                for way in ((pair.old, pair.new), (pair.new, pair.old)):
                    wanted.setdefault((*way, draft.written), set()).update(draft.sets)
        for at, ((old, new, machine), sets) in enumerate(wanted.items(), 1):
            try:
                answer = migration.ask(old, new, machine, tuple(sorted(sets)))
                self.moves[old, new, machine] = {v.case: v for v in answer.verdicts}
            except VirtCompatError as error:
                self.moves[old, new, machine] = error.message
            progress(at, len(wanted))

    def _migrates(self, draft: Draft) -> None:
        """Whether a guest migrates there and back: libvirt's definition and QEMU's stream both have to arrive."""
        origin, verdicts = draft.subject.origin, draft.subject.verdicts
        if draft.machine.endswith("(gone)"):
            draft.there = draft.back = "no"
            return
        open_ones = [u for u in draft.unknown if u.startswith("migration: ")]
        for old, new in ((origin, self.to), (self.to, origin)):
            back = new == origin
            words = self._moved(draft, old, new, back=back)
            definition = verdicts.get(("downgrade", origin) if back else (FORWARD[1], self.to))
            refused = definition is not None and definition.outcome is Outcome.INCOMPATIBLE
            unsure = definition is None or definition.outcome is not Outcome.COMPATIBLE
            word = "no" if refused or "no" in words else "unknown" if unsure or open_ones or words != {"yes"} else "yes"
            if back:
                draft.back = word
            else:
                draft.there = word

    def _moved(self, draft: Draft, old: str, new: str, *, back: bool) -> set[str]:
        """``yes``, ``no`` and ``unknown`` of the device sets that stand for a guest's devices."""
        found = self.moves.get((old, new, draft.written), {})
        if isinstance(found, str):
            draft.unknown.append(f"migration: {found}")
            return {"unknown"}
        words, refused = set(), []
        for name in draft.sets:
            verdict = found.get(f"{draft.written}/{name}")
            if verdict is None:
                continue
            verdict = drift.moved(verdict, translated=name in draft.translated)
            if verdict.outcome is Outcome.INCOMPATIBLE:
                refused.append(verdict)
                words.add("no")
            elif verdict.outcome is Outcome.COMPATIBLE:
                words.add("yes")
            else:
                draft.unknown.append(f"migration: {verdict.case}: {verdict.reason}")
                words.add("unknown")
        draft.problems += drift.stays(draft.written, refused, new, back=back)
        if not words and draft.sets:
            draft.unknown.append(f"migration: {draft.written}: no guest of this machine type was moved")
        return words


def devices(text: str) -> tuple[tuple[str, ...], list[str]]:
    """(the device sets that stand for a domain's devices, what none stands for)."""
    _, sets, gaps = migration.of_domain(text)
    return sets, gaps


def _gaps(gaps: Sequence[str], cpu: Processor, *, kvm: bool) -> Iterator[str]:
    """What stays unknown of a migration: a named model is held against the CPU maps, a host's own is not known here."""
    for gap in gaps:
        if not gap.startswith("cpu:"):
            yield gap if gap.endswith("are tried") else f"{gap} is in no device set"
        elif cpu.mode not in ("", "custom"):
            yield f"CPU {cpu.mode}: depends on the processors of both hosts"
        elif not kvm and not drift.translated(cpu):
            yield f"CPU {cpu} as QEMU translates it is in no device set"


def _unbuilt(subject: Subject) -> str:
    """Why no command line could be made of a domain."""
    built = subject.built
    if isinstance(built, NotHere):
        return f"{built.reason}; {built.remedy}"
    if built is None:
        return ""
    words = built.forms["argv"].error if "argv" in built.forms else built.message or built.status
    return f"{subject.origin} makes no command line of it in a lab: {words}" if words else ""


def _taken(subject: Subject) -> bool:
    """Whether the newer release accepts what the origin writes."""
    return any(c == FORWARD[1] and v.outcome is Outcome.COMPATIBLE for (c, _), v in subject.verdicts.items())


def unjudged(subject: Subject) -> Outlook:
    """The outlook of a definition of which nothing is known, because its origin does not accept it or cannot be asked."""
    first, definition = subject.first, subject.definition
    standing = Standing.UNKNOWN
    if isinstance(first, NotHere):
        why = f"{first.reason}; {first.remedy}"
    elif first is None:
        why = f"no driver here asks a <domain type='{definition.runs}'>" if definition.runs else "names no hypervisor"
        if definition.kind != "domain":
            why = "the guest that it belongs to is not in the file"
    else:
        standing = Standing.SET_ASIDE
        how = ", asked without KVM," if subject.standin.kvm else ""
        words = " ".join((first.message or first.status).split())
        several = len(subject.tried) > 1
        refuses = f"none of which{how} accepts it" if several else f"which{how} does not accept it"
        why = f"not of {', '.join(subject.tried)}, {refuses}: {words}"
    return Outlook(
        definition.name, definition.kind, definition.source, standing, subject.origin, subject.assumed, unknown=(why,)
    )
