"""One life played: each step done by the hosts of the labs, and what they say of it held against the model.

A host is a process of its own with the test driver's configuration file. To upgrade it, the process of one release
ends, and one of the other starts on what a host keeps: definitions, snapshots, saved guests, which guests run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from virtcompat import checks, surfaces
from virtcompat.engine import lifedocs, properties
from virtcompat.engine.columns import Columns
from virtcompat.engine.lifecalls import call
from virtcompat.engine.run import crossed, explained
from virtcompat.labs.lives import Rack, Said
from virtcompat.model import Answer, CellKey, Change, Finding, NotHere, Outcome, Tier, Verdict
from virtcompat.policy import life, lifeview
from virtcompat.policy.life import Step

DRIVER = "test"
URI = "test://{folder}/node.xml"
NODE = "node.xml"
EMPTY = {NODE: b"<node/>"}
DEAD = {"crashed": Change.CRASHED, "hung": Change.HUNG, "garbled": Change.GARBLED, "absent": Change.LOST}
SECURE, INACTIVE, MIGRATABLE = 1, 2, 8
REDEFINE, CURRENT, METADATA = 1, 2, 3
#: After these a host is not to be relied on: a guest that is not there, cannot be found, or is somebody else.
BROKEN = ("(guest)", "(found)", "(uuid)")
#: What libvirt says where it has nothing to say.
WORDLESS = ("", "An error occurred, but the cause is unknown")
#: What is compared as a fact of the life.
OWN = ("/domainsnapshot/parent", "/domaincheckpoint/parent")
Seen = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that does not hold after a step. kind: of the document, or of that which the guest's facts belong to.

    case: the fixture that the guest was defined by. check, old, new: as which check between which releases the change ledger was asked.
    """

    step: Step
    guest: str
    case: str
    kind: str
    check: str
    old: str
    new: str
    finding: Finding

    @property
    def signature(self) -> str:
        """What it has in common with the same trouble of another guest."""
        found = properties.signature(CellKey(self.step.verb, self.kind, DRIVER, self.old, self.new), self.finding)
        return f"{found}: {properties.masked(self.finding.new)}" if self.finding.path == "(load)" else found


@dataclass(slots=True)
class Stage:
    """What lives are played with: a rack for each of two releases, and documents by case. Close it."""

    old: str
    new: str
    found: Columns
    racks: dict[str, Rack]
    cases: Mapping[str, str]
    lacks: dict[str, set[str]] = field(default_factory=dict)  # release -> verbs that its driver does not know
    has: dict[str, set[str]] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)  # entries of the change ledger -> how often they explained
    refusals: int = 0
    steps: int = 0

    def close(self) -> None:
        for rack in self.racks.values():
            rack.close()


@dataclass(slots=True)
class Life:
    """One life as it goes. over: a host is gone, there is nothing to go on with."""

    stage: Stage
    world: life.World = field(init=False)
    views: dict[str, Mapping[str, Seen]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    over: bool = False
    begun: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.world = life.World(self.stage.old, self.stage.new)
        self.views = {name: {} for name in self.world.hosts}

    def _begun(self, host: str) -> None:
        """Start a host when it is first asked something, in place of an earlier life's."""
        if host not in self.begun:
            self.begun.add(host)
            self._rack(host).begin(host, URI, EMPTY)

    def _rack(self, host: str) -> Rack:
        return self.stage.racks[self.world.hosts[host].release]

    def makes_sense(self, step: Step) -> bool:
        """Whether the documents allow a step that the model does."""
        guests = self.world.hosts[step.host].guests
        guest = guests.get(step.guest)
        if step.verb in ("upgrade", "downgrade"):
            # The driver takes checkpoints of guests that run only.
            return all(each.active or not each.checkpoints for each in guests.values())
        if guest is None:
            return step.verb in ("define", "restore")
        there = "/attached.img" in guest.live
        match step.verb:
            case "edit":
                return lifedocs.editable(guest.inactive, step["what"])
            case "attach":
                return not there and "<devices>" in guest.live
            case "detach":
                return there
            case "snapshot":
                return "snapshot='external'" not in guest.inactive + guest.live  # no internal one, then
            case "checkpoint":
                return "<disk" in guest.live or not guest.active  # it is of disks
            case "revert":
                # The driver would keep the saved state of a guest that runs, which it refuses to read again.
                return not guest.managed
        return True

    def do(self, step: Step) -> list[Trouble]:
        """Do a step; what does not hold after it, known changes left out, the worst first."""
        self.steps.append(step)
        self.stage.steps += 1
        releases = {name: host.release for name, host in self.world.hosts.items()}
        found = list(self._troubles(step))
        for host in self.world.hosts:
            if not self.over:
                found += self._compared(step, host, releases)
                lifeview.adopt(self.world.hosts[host], self.views[host])
        self.over = self.over or any(t.finding.path in BROKEN for t in found)
        return sorted((t for t in found if not t.finding.explained), key=lambda t: (-t.finding.tier, t.signature))

    def _troubles(self, step: Step) -> Iterator[Trouble]:
        if step.verb in ("upgrade", "downgrade"):
            return self._moved(step)
        return self._migrated(step) if step.verb == "migrate" else self._called(step)

    def _called(self, step: Step) -> Iterator[Trouble]:
        """A step that is one call, and whether it ended as it has to."""
        host, rack = self.world.hosts[step.host], self._rack(step.host)
        self._begun(step.host)
        why, text = life.refused(self.world, step), self._text(step)
        said = self._ask(rack, step.host, *call(step, text))
        release, place = host.release, "(define)" if step.verb in ("define", "edit") else "(call)"
        if said.outcome in DEAD:
            self.over = True
            yield self._trouble(step, Finding(place, DEAD[said.outcome], Tier.GUEST_ABI_BREAK, "an answer", said.words))
        elif said.unsupported:
            self.stage.lacks.setdefault(release, set()).add(step.verb)
        elif said.outcome == "refused":
            self.stage.refusals += 1
            if why and said.words in WORDLESS:
                yield self._trouble(step, Finding("(message)", Change.REMOVED, Tier.BREAK, "why", "nothing"))
            if not why:
                yield self._trouble(step, Finding(place, Change.REFUSED, Tier.BREAK, "accepted", said.words))
        elif why:
            yield self._trouble(step, Finding("(call)", Change.ACCEPTED, Tier.BREAK, f"refused: {why}", "done"))
        else:
            self.stage.has.setdefault(release, set()).add(step.verb)
            life.apply(self.world, step, text)

    def _text(self, step: Step) -> str:
        """The document that a step hands in, or that has to be there after it."""
        guest = self.world.hosts[step.host].guests.get(step.guest)
        if step.verb == "define":
            return lifedocs.named(self.stage.cases[step["case"]], step.guest, life.uuid_of(step.guest))
        if guest is not None and step.verb == "rename":
            return lifedocs.named(guest.inactive, step["to"], guest.uuid)
        if guest is None or step.verb not in ("edit", "describe", "attach", "detach"):
            return ""
        base = guest.live if step.verb in ("attach", "detach") else guest.inactive
        return lifedocs.edited(base, {"edit": step["what"], "describe": "title"}.get(step.verb, step.verb))

    def _ask(self, rack: Rack, host: str, on: Sequence[str], method: str, *args: Any) -> Said:
        said = rack.call(host, on, method, *args)
        if said.view is not None:
            self.views[host] = said.view
        return said

    def _moved(self, step: Step) -> Iterator[Trouble]:
        """A host whose release changes: everything it has goes to a process of the other."""
        name = step.host
        self._begun(name)
        guests = list(self.views[name])
        documents = {guest: self._documents(name, guest, migratable=step.verb == "downgrade") for guest in guests}
        ended = self._rack(name).end(name)
        if ended.outcome != "ok":
            yield self._trouble(step, Finding("(end)", DEAD[ended.outcome], Tier.BREAK, "ends", ended.words))
        life.apply(self.world, step)
        kept = {file: data for file, data in ended.files.items() if file != NODE}
        if step["by"] == "disk":
            yield from self._loaded(step, documents, kept)
        else:
            begun = self._rack(name).begin(name, URI, {**kept, **EMPTY})
            self.views[name] = begun.view or {}
            for guest in guests:
                yield from self._handed(step, name, guest, documents[guest])

    def _loaded(self, step: Step, documents: Mapping[str, Seen], kept: Mapping[str, bytes]) -> Iterator[Trouble]:
        """A host that starts on its configuration file. A guest that it does not read, none of a real host's others minds."""
        rack, name, good = self._rack(step.host), step.host, dict(documents)
        begun = rack.begin(name, URI, {**kept, NODE: lifedocs.node(list(good.values()))})
        if begun.outcome != "ok":
            for guest, seen in documents.items():
                alone = rack.begin(name, URI, {**kept, NODE: lifedocs.node([seen])})
                if alone.outcome != "ok":
                    del good[guest]
                    self.world.hosts[name].guests.pop(guest, None)  # said once
                    yield self._refusal(step, "load", guest, alone)
            begun = rack.begin(name, URI, {**kept, NODE: lifedocs.node(list(good.values()))})
        if begun.outcome != "ok":
            self.over = True
            yield self._refusal(step, "load", "", begun)
            return
        self.views[name] = begun.view or {}
        for guest, seen in good.items():
            if seen["live"] and seen["persistent"]:
                yield from self._must(step, guest, "domain", (), "defineXML", seen["inactive"])
            if seen["autostart"]:
                yield from self._must(step, guest, "domain", (guest,), "setAutostart", 1)
            yield from self._moments(step, guest, seen, ("checkpoint",))

    def _documents(self, host: str, guest: str, *, migratable: bool) -> Seen:
        """What a host says of a guest; migratable: its documents as they are meant for another release."""
        seen = dict(self.views[host][guest])
        for form, flags in (("inactive", MIGRATABLE | SECURE | INACTIVE), ("live", MIGRATABLE | SECURE)):
            if migratable and seen[form]:
                said = self._ask(self._rack(host), host, (guest,), "XMLDesc", flags)
                seen[form] = said.value if said.outcome == "ok" else seen[form]
        return seen

    def _handed(self, step: Step, host: str, guest: str, seen: Seen) -> Iterator[Trouble]:
        """A guest given to a host by calls: created or defined, with its snapshots and flags."""
        calls: list[tuple[tuple[str, ...], str, tuple[Any, ...]]] = []
        if seen["live"]:
            calls.append(((), "createXML", (seen["live"], 0)))
        if seen["persistent"]:
            calls.append(((), "defineXML", (seen["inactive"],)))
        if seen["state"] == "paused":
            calls.append(((guest,), "suspend", ()))
        if seen["managed"]:
            calls += [((guest,), "create", ()), ((guest,), "managedSave", (0,))]
        if seen["autostart"]:
            calls.append(((guest,), "setAutostart", (1,)))
        for on, method, args in calls:
            refused = list(self._must(step, guest, "domain", on, method, *args, host=host))
            yield from refused
            if refused and not on:
                if step.verb != "migrate":
                    self.world.hosts[host].guests.pop(guest, None)  # said once
                return
        yield from self._moments(step, guest, seen, ("snapshot", "checkpoint"), host)

    def _moments(self, step: Step, guest: str, seen: Seen, kinds: Sequence[str], host: str = "") -> Iterator[Trouble]:
        for kind in kinds:
            tree = seen[f"{kind}s"]
            for name in lifedocs.in_order(tree):
                flags = REDEFINE | (CURRENT if tree[name]["current"] else 0)
                method, text = f"{kind}CreateXML", tree[name]["text"]
                yield from self._must(step, guest, f"domain{kind}", (guest,), method, text, flags, host=host)

    def _must(
        self, step: Step, guest: str, kind: str, on: Sequence[str], method: str, *args: Any, host: str = ""
    ) -> Iterator[Trouble]:
        """A call of a move that has to succeed."""
        host = host or step.host
        said = self._ask(self._rack(host), host, on, method, *args)
        if said.outcome != "ok":
            self.over = self.over or said.outcome in DEAD
            yield self._refusal(step, "define", guest, said, kind)

    def _migrated(self, step: Step) -> Iterator[Trouble]:
        """A guest that moves to the other host: the test driver migrates none, so it is created and defined there."""
        source, target = step.host, self.world.other(step.host)
        self._begun(target)
        seen = self._documents(source, step.guest, migratable=True)
        refused = list(self._handed(step, target, step.guest, seen))
        yield from refused
        if refused and step.guest not in self.views[target]:
            return  # it stays where it is
        before = self.world.hosts[source].release
        life.apply(self.world, step)
        calls = [("destroy", ())] if seen["live"] else []
        for method, args in [*calls, ("undefineFlags", (METADATA,))]:
            said = self._ask(self.stage.racks[before], source, (step.guest,), method, *args)
            if said.outcome != "ok":
                yield self._refusal(step, method, step.guest, said)

    def _refusal(self, step: Step, what: str, guest: str, said: Said, kind: str = "domain") -> Trouble:
        status = "refused" if said.outcome in ("refused", "no-binding") else said.outcome
        tier = Tier.GUEST_ABI_BREAK if what == "load" else Tier.BREAK
        return self._trouble(step, checks.refusal(what, Answer(status, message=said.words), tier), guest, kind)

    # What is held against the model.

    def _compared(self, step: Step, host: str, releases: Mapping[str, str]) -> Iterator[Trouble]:
        """What a host says otherwise than the model. releases: of the hosts before the step."""
        model, view = self.world.hosts[host], self.views[host]
        for name, finding in lifeview.discrepancies(model, view):
            yield self._trouble(step, finding, name, releases=releases)
        for name, guest in model.guests.items():
            if name in view:
                for kind, finding in _documents(
                    guest, view[name], defined=step.verb == "define" and step.guest == name
                ):
                    yield self._trouble(step, finding, name, kind, releases)

    def _trouble(
        self,
        step: Step,
        finding: Finding,
        guest: str = "",
        kind: str = "domain",
        releases: Mapping[str, str] | None = None,
    ) -> Trouble:
        """A trouble, explained where the change ledger knows it."""
        guest = guest or step.guest
        new = self.world.hosts[self.world.other(step.host) if step.verb == "migrate" else step.host].release
        old = self._before(step, new, releases)
        order = self.stage.found.names
        up, down = order.index(old) < order.index(new), order.index(old) > order.index(new)
        disk = "upgrade-disk" if step["by"] == "disk" else "upgrade-redefine"
        if step.verb == "define":
            old, disk, up = self.stage.old, "same-input", old == self.stage.new != self.stage.old
        check = disk if up else "downgrade" if down else "round-trip"
        case = step["case"] or next((h.guests[guest].case for h in self.world.hosts.values() if guest in h.guests), "")
        # The definition in a snapshot changes as any other does.
        inner = re.sub(r"^/domain(snapshot|checkpoint)(/domain/)", r"\2", finding.path)
        asked = replace(finding, path=inner)
        verdict = Verdict(case, Outcome.INCOMPATIBLE, (asked,))
        of = kind if inner == finding.path else "domain"
        (judged,) = explained(verdict, crossed(CellKey(check, of, DRIVER, old, new), self.stage.found)).findings
        if judged.entry:
            self.stage.known[judged.entry] = self.stage.known.get(judged.entry, 0) + 1
        return Trouble(step, guest, case, kind, check, old, new, replace(judged, path=finding.path))

    def _before(self, step: Step, new: str, releases: Mapping[str, str] | None) -> str:
        """The release that had written what is compared."""
        if step.verb in ("upgrade", "downgrade"):
            return self.stage.old if step.verb == "upgrade" else self.stage.new
        if step.verb == "restore" and step["file"] in self.world.hosts[step.host].files:
            return self.world.hosts[step.host].files[step["file"]].release
        return releases[step.host] if step.verb == "migrate" and releases else new


def _documents(guest: life.Guest, seen: Seen, *, defined: bool) -> Iterator[tuple[str, Finding]]:
    """(kind, finding) for what a guest's documents say otherwise. defined: it is new, and what it wrote is what it is."""
    pairs = [("domain", guest.live, seen["live"])]
    if guest.persistent and not defined:
        pairs.append(("domain", guest.inactive, seen["inactive"]))
    for kind, tree in (("snapshot", guest.snapshots), ("checkpoint", guest.checkpoints)):
        for name, moment in tree.items():
            text = seen[f"{kind}s"].get(name, {}).get("text", "")
            if text and moment.text:
                pairs.append((f"domain{kind}", moment.text, text))
            elif text:
                pairs.append(("domain", moment.guest, lifedocs.inner(text)))
    for kind, before, after in pairs:
        if before and after and before != after:
            if kind == "domain":
                before, after = lifedocs.without_runtime(before), lifedocs.without_runtime(after)
            found = checks.compare(surfaces.every()[kind], before, after)
            yield from (
                (kind, finding) for finding in found if not finding.path.startswith(OWN) and finding.tier >= Tier.BREAK
            )


def stage(old: str, new: str, found: Columns, cases: Mapping[str, str]) -> Stage | NotHere:
    """The racks of two releases, or why one of them is not here."""
    racks: dict[str, Rack] = {}
    for release in dict.fromkeys((old, new)):
        lab = found.lab(release, "")
        if isinstance(lab, NotHere):
            for rack in racks.values():
                rack.close()
            return lab
        racks[release] = Rack(lab)
    return Stage(old, new, found, racks, cases)
