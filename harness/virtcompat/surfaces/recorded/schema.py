"""libvirt's RELAX NG schemas: which documents they permit. What a newer one refuses, tools that validate refuse as well."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from virtcompat import relaxng
from virtcompat.errors import BadData
from virtcompat.labs.visit import Visit, one
from virtcompat.model import Change, Finding, Tier
from virtcompat.relaxng import permitted
from virtcompat.relaxng.datatypes import Texts, Unknown, exactly, uncovered
from virtcompat.relaxng.permitted import AFTER, DATA, NEVER, ONLY, VALUE, Node, plain, said, step
from virtcompat.relaxng.shapes import TEXT_LABEL, is_value, of_attribute
from virtcompat.surfaces import Reader, RecordedSurface

FOLDER = "/usr/share/libvirt/schemas/"
#: What libvirt has a grammar for; that a release lacks one is said among the files.
GRAMMARS = (
    "capability", "cpu", "domain", "domainbackup", "domaincaps", "domaincheckpoint", "domainsnapshot", "inactiveDomain",
    "interface", "network", "networkport", "nodedev", "nwfilter", "nwfilterbinding", "secret", "storagepool",
    "storagepoolcaps", "storagevol", "sysinfo",
)  # fmt: skip
#: Grammars that hold a whole domain within: what that permits the domain's own record tells.
WITH_DOMAIN = ("domaincheckpoint", "domainsnapshot", "inactiveDomain")
LIKE = {"domain": "domain", "inactiveDomain": "domain"}
#: Root elements of documents that libvirt only ever writes.
WRITTEN = ("capabilities", "domainCapabilities", "storagepoolCapabilities")
FILES, GRAMMAR, ABSENT = "files", "grammar", "no such grammar"
Facts = Mapping[str, str]


def schemas(visit: Visit) -> dict[str, bytes]:
    """The schemas of a release by file name."""
    found = one(visit, "RELAX NG schemas", "libvirt0 or libvirt-common", FOLDER + "*.rng")
    return {path.removeprefix(FOLDER): data for path, data in found.items()}


def files(visit: Visit) -> dict[str, str]:
    """``files/domain.rng = grammar``: the files to validate against; those they are made of are libvirt's own affair."""
    return {f"{FILES}/{name}": GRAMMAR for name, data in schemas(visit).items() if re.search(rb"<start\b", data)}


def grammar(name: str) -> Reader:
    """The reader of what one grammar permits; see relaxng/permitted.py for the facts."""

    def read(visit: Visit) -> Facts:
        found = schemas(visit)
        if f"{name}.rng" not in found:
            return {f"{FILES}/{name}.rng": ABSENT}
        facts = _permitted(tuple(found.items()), f"{name}.rng")
        if name not in WITH_DOMAIN:
            return facts
        return permitted.folded(facts, _permitted(tuple(found.items()), "domain.rng"), LIKE)

    return read


@lru_cache(maxsize=4)
def _permitted(found: tuple[tuple[str, bytes], ...], start: str) -> Facts:
    """The facts of one grammar; that of the domain is asked for by every grammar that holds a domain."""
    try:
        return permitted.facts(relaxng.load(dict(found), start))
    except Unknown as error:
        raise BadData(f"{FOLDER}{start}", str(error), "extend harness/virtcompat/relaxng") from error


#: An element in a record: the nodes above it and its own.
Place = tuple[Node, ...]


def resolved(place: Place) -> Place:
    """Where the content of an element is told: at the place itself or, within its like, further up."""
    up = re.search(r"; as (\d+) up$", place[-1].value)
    return place[: -int(up[1])] if up else place


def across(old: Facts, new: Facts, back: bool) -> Iterator[Finding]:
    """What the newer schemas refuse or newly permit. Backwards says nothing: what a release adds, an older one lacks."""
    if back:
        return
    before, after = permitted.tree(old).below, permitted.tree(new).below
    olds, news = (side.pop(FILES, Node()).below for side in (before, after))
    for name in sorted(olds.keys() | news.keys()):
        was, now = (side[name].value if name in side else "" for side in (olds, news))
        if was != now:
            yield finding(f"{FILES}/{name}", was, now, Tier.BREAK if was == GRAMMAR else Tier.ADDITION)
    for root in sorted(before.keys() - after.keys()):
        yield finding(root, before[root].value, "", Tier.BREAK)
    for root in sorted(after.keys() - before.keys()):
        yield finding(root, "", after[root].value, Tier.ADDITION)
    comparison = Comparison()
    # The domain first: what other grammars share with it is its own.
    for root in sorted(before.keys() & after.keys(), key=lambda name: (name != "domain", name)):
        found = comparison.element(root, (before[root],), (after[root],))
        yield from map(_as_read, found) if root in WRITTEN else found


def _as_read(found: Finding) -> Finding:
    """A difference for those who read what libvirt writes: a new demand is on libvirt, what is no longer certain may be missed."""
    if found.tier == Tier.BREAK and found.change != Change.REMOVED:
        return replace(found, tier=Tier.ADDITION)
    missed = found.old in (ONCE, SEVERAL) and found.new not in (ONCE, SEVERAL, "")
    return replace(found, tier=Tier.RISK) if missed else found


def finding(path: str, was: str, now: str, tier: Tier) -> Finding:
    change = Change.ADDED if not was else Change.CHANGED if now else Change.REMOVED
    return Finding(path, change, tier, was, now, "libvirt")


@dataclass(slots=True)
class Comparison:
    """Elements of two records side by side; a pair of contents that several paths lead to is compared once."""

    seen: set[tuple[int, int]] = field(default_factory=set)

    def element(self, path: str, was: Place, now: Place) -> Iterator[Finding]:
        was, now = resolved(was), resolved(now)
        pair = (id(was[-1].below), id(now[-1].below))
        if pair in self.seen:
            return
        self.seen.add(pair)
        olds, news = was[-1].below, now[-1].below
        for name in sorted((olds.keys() | news.keys()) - SIDE):
            at = f"{path}/{name}"
            before, after = olds.get(name), news.get(name)
            if before and after:
                yield from _often(at, before.value, after.value)
                if name[0] in "@(":
                    yield from _texts(at, before, after)
                else:
                    yield from self.element(at, (*was, before), (*now, after))
            elif before and not _anything(name, now[-1]):
                yield finding(at, times(before.value), "", Tier.BREAK)
            elif after:
                needed = times(after.value) in (ONCE, SEVERAL)
                yield finding(at, "", times(after.value), Tier.BREAK if needed else Tier.ADDITION)
        yield from _relations(path, labels(was[-1]), labels(now[-1]))


#: What stands below an element and is neither in it nor an attribute: how it goes with its siblings.
SIDE = {AFTER, NEVER, ONLY}
ONCE, SEVERAL = permitted.TIMES[True, False], permitted.TIMES[True, True]
NUMBERS = {word: number for number, word in permitted.TIMES.items()}


def times(value: str) -> str:
    return value.split(";", 1)[0]


def _anything(name: str, node: Node) -> bool:
    """Whether a node takes any name of this kind, of any namespace or of the name's own."""
    kind, label = ("@", plain(name)[1:]) if plain(name).startswith("@") else ("", plain(name))
    space = f"{kind}{label[: label.find('}') + 1]}*"
    return name[0] != "(" and any(step(each) in node.below for each in (f"{kind}*", space))


def _often(path: str, was: str, now: str) -> Iterator[Finding]:
    (must, many), (needed, more) = NUMBERS[times(was)], NUMBERS[times(now)]
    if (must, many) != (needed, more):
        stricter = (needed and not must) or (many and not more)
        yield finding(path, times(was), times(now), Tier.BREAK if stricter else Tier.ADDITION)


def _texts(path: str, was: Node, now: Node) -> Iterator[Finding]:
    """The texts of an attribute or element: a value that is gone but covered by what is open now is permitted still."""
    values = [{plain(name) for name, each in side.below.items() if each.value == VALUE} for side in (was, now)]
    opened = [permitted.open_texts(side.below[DATA].value) if DATA in side.below else {} for side in (was, now)]
    covering = [[*map(exactly, values[i]), *opened[i].values()] for i in (0, 1)]
    for text in sorted(values[0] ^ values[1]):
        gone = text in values[0]
        if not any(text in each for each in covering[1 if gone else 0]):
            pair = (VALUE, "") if gone else ("", VALUE)
            yield finding(f"{path}/{step(text)}", *pair, Tier.BREAK if gone else Tier.ADDITION)
    written = [side.below[DATA].value if DATA in side.below else "" for side in (was, now)]
    refused = [_refused(opened[i], opened[1 - i], covering[1 - i]) for i in (0, 1)]
    if refused[0] is not None:
        example = f"{written[1] or 'values alone'}; not {refused[0]}" if refused[0] else written[1]
        yield finding(f"{path}/{DATA}", written[0], example, Tier.BREAK if refused[0] else Tier.RISK)
    elif refused[1] is not None:
        yield finding(f"{path}/{DATA}", written[0], written[1], Tier.ADDITION)


def _refused(these: Mapping[str, Texts], those: Mapping[str, Texts], covering: Iterable[Texts]) -> str | None:
    """A text of these, quoted, that nothing on the other side takes; None where there is none, empty where nobody can tell."""
    unsure = None
    for spelling, texts in these.items():
        if spelling not in those:
            try:
                if (example := uncovered(texts, covering)) is not None:
                    return repr(example)
            except Unknown:
                unsure = ""
    return unsure


@dataclass(slots=True)
class Labels:
    """What a node says of how its names and values depend on each other.

    steps: label -> its path. forbidden: (a, b) where b may not come after a. needs: what is always there with a label.
    must: what is always there.
    """

    steps: dict[str, str] = field(default_factory=dict)
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    needs: dict[str, set[str]] = field(default_factory=dict)
    must: set[str] = field(default_factory=set)

    def add(self, label: str, path: str, node: Node) -> None:
        told = {kind: said(node.below[kind].value) if kind in node.below else [] for kind in (AFTER, NEVER, ONLY)}
        self.steps[label] = path
        self.forbidden |= {(label, other) for other in (*told[AFTER], *told[NEVER])}
        self.forbidden |= {(other, label) for other in told[NEVER]}
        self.needs[label] = set(told[ONLY])

    def inherit(self) -> None:
        """Hold of a value what holds of its attribute, and of all what holds always."""
        values = {each: of_attribute(each) for each in self.steps if is_value(each)}
        for each, attribute in values.items():
            self.needs[each] |= self.needs[attribute]
            apart = {b for a, b in self.forbidden if a == attribute and (b, a) in self.forbidden and not is_value(b)}
            self.forbidden |= {pair for other in apart for pair in ((each, other), (other, each))}
        for needed in self.needs.values():
            needed |= self.must | {of_attribute(each) for each in needed}

    def stricter(self, than: Labels) -> Iterator[tuple[str, str, str]]:
        """(path, relation, labels) of all that is demanded here and not there, of what both have."""
        found: dict[tuple[str, str], set[str]] = {}
        for a, b in self.forbidden - than.forbidden:
            attributes = (of_attribute(a), of_attribute(b))
            known = all(each in side.steps for each in (a, b) for side in (self, than))
            if known and (attributes == (a, b) or attributes not in self.forbidden):
                apart = (b, a) in self.forbidden
                first = not apart or is_value(a) or (a < b and not is_value(b))
                found.setdefault((a if first else b, NEVER if apart else AFTER), set()).add(b if first else a)
        for label in self.steps.keys() & than.steps.keys():
            if needed := self.needs[label] - than.needs[label] - self.must - self._plainly(label):
                found[label, ONLY] = needed - {of_attribute(each) for each in needed if is_value(each)}
        for (label, relation), labels in sorted(found.items()):
            yield self.steps[label], relation, " ".join(sorted(labels))

    def _plainly(self, label: str) -> set[str]:
        """What a label needs that goes without saying: itself, and what its attribute needs whatever the value."""
        attribute = of_attribute(label)
        return {label, attribute} | (self.needs[attribute] if attribute != label else set())


def labels(node: Node) -> Labels:
    found = Labels()
    for name, child in ((name, child) for name, child in node.below.items() if name not in SIDE):
        label = name if name == TEXT_LABEL else plain(name)
        found.add(label, name, child)
        values = {f"{label}={plain(each)}": each for each, inner in child.below.items() if inner.value == VALUE}
        if label[0] == "@":
            for value, each in values.items():
                found.add(value, f"{name}/{each}", child.below[each])
        if times(child.value) in (ONCE, SEVERAL):
            found.must |= {label, *(values if len(values) == 1 and DATA not in child.below else ())}
    found.inherit()
    return found


def _relations(path: str, was: Labels, now: Labels) -> Iterator[Finding]:
    """What may no longer, or now may, stand together, apart or in another order."""
    for at, relation, others in now.stricter(was):
        yield finding(f"{path}/{at}/{relation}", "", others, Tier.BREAK)
    for at, relation, others in was.stricter(now):
        yield finding(f"{path}/{at}/{relation}", others, "", Tier.ADDITION)


ELEMENT, ATTRIBUTE = r"(?:[^/\[@(][^/]*|\[[^@\]][^\]]*\])", r"(?:@[^/]+|\[@[^\]]*\])"
SURFACE = RecordedSurface(
    name="schema",
    summary="RELAX NG schemas: the elements, attributes and values that each grammar permits",
    product="libvirt",
    parts={FILES: files, **{name: grammar(name) for name in GRAMMARS}},
    rules=((r"", Tier.IDENTICAL, Tier.IDENTICAL, Tier.IDENTICAL),),
    # An attribute near the root, else what is two elements below it.
    interface=f"{ELEMENT}(?:/{ATTRIBUTE}|/{ELEMENT}(?:/{ATTRIBUTE}|/{ELEMENT})?)?",
    special=across,
)
