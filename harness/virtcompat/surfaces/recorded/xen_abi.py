"""Xen's interfaces: which client, compiled against one release, a hypervisor of another refuses, understands, misreads.

The toolstack's interfaces (domctl, sysctl, platform-op and a few more) carry a version in every call: a hypervisor of
another version refuses the call and nothing is misread (-EACCES; -ENOSYS of FLASK). What is changed below a raised
version is a consequence of that one refusal. Where the version is the same, or where there is none because the
interface is meant to be stable, a changed layout or number is misread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from virtcompat import dwarf, elf, xen
from virtcompat.errors import Absent
from virtcompat.labs.compiler import layouts_of, macros_of
from virtcompat.labs.visit import Visit, one
from virtcompat.layouts import Depth, Layout, Step, Uses, differences, layouts, uses
from virtcompat.model import Change, Finding, Tier
from virtcompat.surfaces import RecordedSurface, Rule, tier_of

PRODUCT = "xen"
HEADERS = f"/{xen.ROOT}**"
#: Without these there is no record: every release has them.
REQUIRED = ("xen.h", "domctl.h", "sysctl.h", "platform.h", "memory.h", "grant_table.h", "event_channel.h")
LIBRARIES = ("libxenctrl", "libxenlight", "libxencall")


def _headers(visit: Visit) -> tuple[tuple[str, bytes], ...]:
    files = one(visit, "Xen headers", "libxen-dev", HEADERS)
    for name in REQUIRED:
        if f"/{xen.ROOT}{name}" not in files:
            raise Absent(
                f"{visit.release}: Xen's headers are not all there: no {name}", "install libxen-dev in the lab"
            )
    return tuple(sorted(files.items()))


@lru_cache(maxsize=2)
def _compiled(headers: tuple[tuple[str, bytes], ...]) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """The macros of these headers and their types, read once for both parts.

    Among the types, ``computed/enum/…/value_of_NAME`` are the macros whose value only the compiler can work out.
    """
    files, names = dict(headers), xen.headers(name for name, _ in headers)
    macros = macros_of(files, xen.source(names), xen.FLAGS)
    hard = "".join(f"value_of_{name} = {name},\n" for name in xen.computed(macros))
    unit = layouts_of(files, xen.source(names, f"enum computed {{ {hard} none_more }};\n"), xen.FLAGS)
    return macros, dwarf.layouts(
        unit, "xen headers", lambda file: "computed" if file.endswith("unit.c") else xen.group(file)
    )


def interface(visit: Visit) -> dict[str, str]:
    """Interface versions, numbers of hypercalls and of their operations, constants and enumerations."""
    macros, types = _compiled(_headers(visit))
    known = {p.partition("/value_of_")[2]: v for p, v in types.items() if p.startswith("computed/")}
    numbers = {p: v for p, v in types.items() if re.match(r"(?!computed)[^/]+/(?:enum|constant)/", p)}
    return numbers | xen.constants(macros, known)


def structures(visit: Visit) -> dict[str, str]:
    """Every structure and union of the public headers, with offset and size of every field."""
    return xen.structures(_compiled(_headers(visit))[1])


def libraries(visit: Visit) -> dict[str, str]:
    """soname and public symbols of every Xen library; what libxl's headers say of themselves."""
    files = visit.read("/usr/lib/*/libxen*.so", "/usr/lib/*/libxl*.so", "/usr/lib64/libxen*.so", "/usr/lib64/libxl*.so")
    found: dict[str, str] = {}
    for path, data in files.items():
        name = path.rpartition("/")[2].removesuffix(".so")
        if f"{name}/soname" not in found:
            found |= xen.library(name, elf.library(data, path))
    for name in LIBRARIES:
        if f"{name}/soname" not in found:
            raise Absent(f"{visit.release}: no {name}", "install libxen-dev in the lab")
    return found | _libxl(visit)


def _libxl(visit: Visit) -> dict[str, str]:
    files = one(visit, "libxl headers", "libxen-dev", "/usr/include/libxl.h")
    files |= visit.read("/usr/include/libxl*.h", "/usr/include/_libxl*.h", "/usr/include/xen*.h")
    unit = "#include <libxl.h>\n#include <libxl_utils.h>\n"
    label = "libxenlight"
    types = dwarf.layouts(
        layouts_of(files, unit), "libxl headers", lambda f: label if "include/libxl" in f or "/_libxl" in f else ""
    )
    numbers = {p: v for p, v in types.items() if re.match(rf"{label}/(?:enum|constant)/", p)}
    return numbers | xen.libxl(label, macros_of(files, unit))


#: Groups with a version of their own in each call (or record), or a soname: judged by ``special`` alone.
KEYED = r"^(?:domctl|sysctl|platform|flask|vm-event|xen-mca|hvm-altp2m|hvm-save|lib[^/]+)/"
#: Stable operations within a versioned interface: its version does not cover them (xen/include/public/domctl.h).
EXEMPT = re.compile(r"xen_domctl_get_domain_state|XEN_DOMCTL_(?:get_domain_state|GETDOMSTATE_)")
SAID = (Tier.ADDITION, Tier.ADDITION, Tier.ADDITION)
QUIET = (Tier.IDENTICAL, Tier.ADDITION, Tier.IDENTICAL)
NUMBERS: tuple[Rule, ...] = (
    (r"/have/", Tier.RISK, Tier.ADDITION, Tier.RISK),
    # A guest that was told of a CPU feature goes on using it wherever it migrates to.
    (r"^cpufeatureset/constant/", Tier.BREAK, Tier.ADDITION, Tier.BREAK),
    (r"/(?:operation|hypercall|symbol|record)/", Tier.BREAK, Tier.ADDITION, Tier.BREAK),
    # How far a list goes, which bits are known by now, which version of a protocol is the newest.
    (r"(?:_MAX|_COUNT|_LAST|_MASK|_mask|_PROTOCOL_VERSION(?:_INT)?)$", Tier.ADDITION, Tier.ADDITION, Tier.RISK),
    (r"/[^/]*(?:MAX|NR)_[^/]*$", Tier.RISK, Tier.ADDITION, Tier.RISK),
    (r"/(?:constant|enum)/", Tier.BREAK, Tier.ADDITION, Tier.RISK),
)
RULES: tuple[Rule, ...] = (
    (r"/(?:interface-version|soname)$", Tier.BREAK, Tier.ADDITION, Tier.BREAK),
    (r"^[^/]+$", Tier.BREAK, Tier.ADDITION, Tier.BREAK),  # a whole interface
    (r"^xen-compat/", *SAID),
    (r"/(?:struct|union)/[^/]+$", Tier.ADDITION, Tier.ADDITION, Tier.RISK),
    # Each field as it is now and was; ``special`` says what becomes of the structure.
    (r"/(?:struct|union)/", *SAID),
    (KEYED, *QUIET),
    *NUMBERS,
)
#: A newer client and an older hypervisor or library: what that lacks it answers with -ENOSYS, which clients expect.
BACKWARD = tuple((pattern, changed, Tier.ADDITION, Tier.ADDITION) for pattern, changed, _, _ in RULES)


#: A changed or removed number: its path, what became of it, how bad that is.
Number = tuple[str, Change, Tier]


@dataclass(frozen=True, slots=True)
class Client:
    """How a client compiled against one release fares with the hypervisor (the libraries) of another.

    standing: ``same``, ``compatible``, ``refused`` (cleanly, by version or soname) or ``misread``. misread: what is
    understood as something else; missing: operations, or symbols, that the other side does not know.
    """

    interface: str
    standing: str
    misread: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """A structure that changed, and what that is for an interface group that uses it: its tier, and in a word."""

    group: str
    layout: Layout
    tier: Tier
    word: str
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        return _name(self.layout.path)


def clients(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Client, ...]:
    """Each interface of ``old`` (the client's release) against ``new`` (the hypervisor's): facts of whole records."""
    misread: dict[str, set[str]] = {}
    refused = set()
    for judged in _judged(old, new):
        if judged.word == "misread":
            misread.setdefault(judged.group, set()).add(judged.name)
        elif judged.word == "refused":
            refused.add(judged.group)
    for path, change, tier in _numbers(old, new):
        if tier >= Tier.BREAK and change is Change.CHANGED:
            misread.setdefault(_group(path), set()).add(_name(path))
    there = _by_group(new)
    found = []
    for group, own in sorted(_by_group(old).items()):
        other = there.get(group, {})
        gone = tuple(sorted(_name(p) for p in own.keys() - other.keys() if re.search("/(?:operation|symbol)/", p)))
        wrong = tuple(sorted(misread.get(group, ())))
        if not other or group in refused or _refused(group, old, new) or (f"{group}/soname" in own and (gone or wrong)):
            standing = "refused"
        else:
            standing = "misread" if wrong else "same" if own == other else "compatible"
        found.append(Client(group, standing, wrong, gone))
    return tuple(found)


def special(old: Mapping[str, str], new: Mapping[str, str], back: bool) -> Iterable[Finding]:
    """What becomes of changed structures and of numbers in versioned interfaces; versions that were not raised."""
    unraised: dict[str, list[str]] = {}
    for judged in _judged(old, new):
        if judged.word == "fewer" and back:
            continue  # an operation that the older one does not know yet
        path = f"{judged.group}/{judged.layout.path.split('/')[1]}/{judged.name}/({judged.word})"
        was, now = _said(s.old for s in judged.steps), _said(s.new for s in judged.steps)
        yield Finding(path, Change.CHANGED, judged.tier, was, now, PRODUCT)
        if judged.word == "misread":
            unraised.setdefault(judged.group, []).append(judged.name)
    for path, change, tier in _backward(_numbers(old, new)) if back else _forward(_numbers(old, new), old, new):
        keyed = re.match(KEYED, path) is not None
        if keyed or tier > tier_of(RULES, path, change):
            yield Finding(path if keyed else f"{path}/(misread)", change, tier, old[path], new.get(path, ""), PRODUCT)
        if tier >= Tier.BREAK and change is Change.CHANGED:
            unraised.setdefault(_group(path), []).append(_name(path))
    for group, names in sorted(unraised.items()):
        version = new.get(f"{group}/interface-version")
        if version and not _refused(group, old, new):
            said = f"{version}: {', '.join(sorted(names))}"
            yield Finding(f"{group}/(version not raised)", Change.CHANGED, Tier.BREAK, version, said, PRODUCT)


def _backward(numbers: Iterable[Number]) -> Iterator[Number]:
    """What is gone on the way back came with the newer release: clients expect to be without it."""
    for path, change, tier in numbers:
        yield path, change, Tier.ADDITION if change is Change.REMOVED else tier


def _forward(numbers: Iterable[Number], old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Number]:
    """A limit that is lower than it was: what an older client asks for, or a guest was given, lies beyond it."""
    for path, change, tier in numbers:
        limit = re.search(r"/(?:constant|enum)/(?:.*(?:_MAX|_COUNT)$|(?:.*/)?[^/]*(?:MAX|NR)_[^/]*$)", path)
        values = [old[path], new.get(path, '"')]
        if limit and '"' not in "".join(values) and int(values[1], 0) < int(values[0], 0):
            tier = tier if _refused(_group(path), old, new) else Tier.BREAK
        yield path, change, tier


def _numbers(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Number]:
    """Changed and removed operations, constants and symbols, a consequence where the interface is refused anyway."""
    there = {_group(path) for path in new}
    for path in sorted(p for p, value in old.items() if new.get(p) != value):
        if re.search(r"/(?:struct|union)/|/(?:interface-version|soname|latest)$", path) or _group(path) not in there:
            continue
        change = Change.CHANGED if path in new else Change.REMOVED
        tier = tier_of(NUMBERS, path, change)
        if path in new and re.search(r"_(?:MASK|mask)$", path) and not _nested(old[path], new[path]):
            tier = Tier.BREAK  # not more or fewer bits but others: what it cuts out lies elsewhere
        yield path, change, Tier.ADDITION if _refused(_group(path), old, new, _name(path)) else tier


def _judged(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Judged]:
    """Every structure whose layout changed, for every interface that uses it and does not refuse by version."""
    before, after = layouts(old), layouts(new)
    users = uses([*before.values(), *after.values()])
    for name in sorted(before.keys() & after.keys()):
        was, now = before[name], after[name]
        if was.size == now.size and was.fields == now.fields:
            continue
        steps = tuple(differences(was, now))
        for group in sorted(_groups(now, users, new)) if steps else ():
            if not _refused(group, old, new, name):
                word = _word(group, was, now, steps[0].depth, users.get(name, set()))
                yield Judged(group, now, Tier.BREAK if word in ("misread", "refused") else Tier.RISK, word, steps)


def _word(group: str, was: Layout, now: Layout, depth: Depth, users: set[tuple[str, str]]) -> str:
    """What a changed structure comes to: ``misread``, ``refused``, ``fewer`` (alternatives), ``longer`` or ``layout``."""
    if depth is not Depth.TAIL:
        return {Depth.MOVED: "misread", Depth.FEWER: "fewer"}.get(depth, "layout")
    if any(how != "within" for _, how in users):
        return "misread"  # the next element lies elsewhere, or the other side copies another length
    if users or group.startswith("io-"):
        return "longer"  # what it lies in says itself whether that moves anything; a page is a page
    if group == "hvm-save":  # Xen extends a record that is too short with zeros and refuses one that is too long
        return "longer" if now.size > was.size else "refused"
    return "misread"


def _groups(layout: Layout, users: Uses, facts: Mapping[str, str]) -> set[str]:
    """The interfaces that use a structure, within others or by handle.

    What is defined beside them (xen_arch_domainconfig) and travels within a versioned call is that interface's alone.
    """
    own = _group(layout.path)
    every, embedding, todo = {own}, set(), [(_name(layout.path), True)]
    seen = set(todo)
    while todo:
        name, embedded = todo.pop()
        for path, how in users.get(name, set()):
            group = _group(path)
            every.add(group)
            if step_embedded := embedded and how != "handle":
                embedding.add(group)
            step = (_name(path), step_embedded)
            if step not in seen:
                seen.add(step)
                todo.append(step)
    versioned = any(f"{g}/interface-version" in facts for g in embedding)
    return every - {own} if versioned and f"{own}/interface-version" not in facts else every


def _refused(group: str, old: Mapping[str, str], new: Mapping[str, str], name: str = "") -> bool:
    keys = (f"{group}/interface-version", f"{group}/soname")
    return not EXEMPT.match(name) and any(key in old and key in new and old[key] != new[key] for key in keys)


def _nested(one: str, other: str) -> bool:
    """Whether one mask is part of the other."""
    if '"' in one + other:
        return False
    first, second = int(one, 0), int(other, 0)
    return first & second in (first, second)


def _group(path: str) -> str:
    return path.partition("/")[0]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _by_group(facts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for path, value in facts.items():
        found.setdefault(_group(path), {})[path] = value
    return found


def _said(words: Iterable[str]) -> str:
    told = [w for w in words if w]
    return "; ".join(told[:4]) + ("; …" if len(told) > 4 else "")


SURFACE = RecordedSurface(
    name="xen-abi",
    summary="Xen: which client a hypervisor of another release refuses, understands, misreads; its libraries",
    product=PRODUCT,
    parts={"interface": interface, "layouts": structures, "libraries": libraries},
    rules=RULES,
    backward=BACKWARD,
    special=special,
)
