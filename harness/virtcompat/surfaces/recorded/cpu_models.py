"""libvirt's CPU map and QEMU's names: what a named CPU model gives a guest. A changed model is another CPU in the guest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from lxml import etree

from virtcompat.documents import NotWellFormed, parse
from virtcompat.errors import BadData
from virtcompat.labs.visit import Visit, monitor, one
from virtcompat.model import Change, Finding, Tier
from virtcompat.surfaces import RecordedSurface

MAP = "/usr/share/libvirt/cpu_map/"
EMULATOR = "qemu-system-x86_64"
Facts = dict[str, str]
#: What a model has to do with a feature. Known late: QEMU's model had it all along, libvirt learnt of it, and the mark
#: lets guests come from and go to a libvirt that does not know it: their CPU is the same
#: (https://gitlab.com/libvirt/libvirt/-/commit/5fbfa5ab8a3bf914d2deacd0d281b16aafd593b5). Removed: libvirt turns it off
#: in every guest of the model that does not ask for it, whatever QEMU's model says: another CPU for whoever had it.
IN, ADDED, REMOVED = "in the model", "known late", "turned off unless asked for"


def cpu_map(visit: Visit) -> Facts:
    """Every architecture of the map: its vendors, features and models.

    ``x86/model/Haswell/features = aes apic …`` with ``…/added`` and ``…/removed`` (so marked in the map), ``…/vendor``,
    and what only detects a host: ``…/signature/6-60``, ``…/pvr/0xd03``, ``…/decode``, ``…/check``. A model made from
    another: ``x86/model/Haswell-v1/like = Haswell``. ``x86/feature/aes = cpuid eax_in=0x1 ecx=0x2000000``.
    """
    files = one(visit, "CPU map", "libvirt0", MAP + "*.xml")
    facts: Facts = {}
    for arch in _root(files, "index.xml").iter("arch"):
        for include in arch.iter("include"):
            for entry in _root(files, include.get("filename", "")).iterchildren("vendor", "feature", "model"):
                path = f"{arch.get('name')}/{entry.tag}/{entry.get('name')}"
                if any(known == path or known.startswith(f"{path}/") for known in facts):
                    raise BadData(MAP + "index.xml", f"{path} stands in the map twice", "install libvirt0 again")
                facts |= {f"{path}{step}": value for step, value in KINDS[str(entry.tag)](entry).items()}
    if not facts:
        raise BadData(MAP + "index.xml", "includes nothing", "install libvirt0 again")
    return facts


def _root(files: Mapping[str, bytes], name: str) -> etree._Element:
    if MAP + name not in files:
        raise BadData(MAP + name, "named in the CPU map and not there", "install libvirt0 again")
    try:
        return parse(files[MAP + name].decode("utf-8", "replace"))
    except NotWellFormed as error:
        raise BadData(MAP + name, f"not well-formed: {error}", "install libvirt0 again") from error


def _vendor(entry: etree._Element) -> Facts:
    return {"": entry.get("string") or "no string"}


def _feature(entry: etree._Element) -> Facts:
    """The bits of a feature; numbers without leading zeros, and registers without a bit left out."""
    bits = []
    for bit in entry.iterchildren("cpuid", "msr"):
        numbers = {str(name): int(str(value), 0) for name, value in bit.attrib.items()}
        bits.append(" ".join([str(bit.tag), *(f"{name}={n:#x}" for name, n in sorted(numbers.items()) if n)]))
    facts = {"": "; ".join(sorted(bits)) or "no bits"}
    facts |= {f"/alias/{a.get('name')}": a.get("source", "") or "no source" for a in entry.iterchildren("alias")}
    if entry.get("migratable"):
        facts["/migratable"] = entry.get("migratable", "")
    return facts


def _model(entry: etree._Element) -> Facts:
    """One model as it is written, made from another or not. libvirt does not inherit the two marks."""
    facts: Facts = {}
    features = list(entry.iterchildren("feature"))
    marked = {mark: [f for f in features if f.get(mark) == "yes"] for mark in ("added", "removed")}
    plain = [f for f in features if not any(f in several for several in marked.values())]
    for step, several in {"features": plain, **marked}.items():
        if several:
            facts[f"/{step}"] = " ".join(sorted({f.get("name", "") for f in several}))
    for child in entry.iterchildren("model", "vendor"):
        facts["/like" if child.tag == "model" else "/vendor"] = child.get("name", "")
    for child in entry.iterchildren("decode", "check"):
        facts[f"/{child.tag}"] = ", ".join(f"{name!s} {value!s}" for name, value in sorted(child.items()))
    for child in entry.iterchildren("signature"):
        path = f"/signature/{child.get('family')}-{child.get('model')}"
        facts[path] = " ".join(filter(None, (facts.get(path), child.get("stepping", "any stepping"))))
    for child in entry.iterchildren("pvr"):
        mask = child.get("mask")
        facts[f"/pvr/{int(child.get('value', '0'), 0):#x}"] = f"mask {int(mask, 0):#x}" if mask else "no mask"
    return facts or {"/features": "none"}


KINDS = {"vendor": _vendor, "feature": _feature, "model": _model}


def qemu_names(visit: Visit) -> Facts:
    """The x86 models that QEMU itself has: ``x86/qemu/Haswell = Haswell-v1`` (an alias), ``… = itself``."""
    models = monitor(visit, EMULATOR, "query-cpu-definitions")
    facts = {f"x86/qemu/{m['name']}": str(m.get("alias-of", "itself")) for m in models}
    return facts | {f"x86/qemu/{m['name']}/deprecated": "yes" for m in models if m.get("deprecated")}


def across(old: Mapping[str, str], new: Mapping[str, str], back: bool) -> Iterator[Finding]:
    """What changed in each model that both have, feature by feature, and in QEMU's names."""
    before, after = _models(old), _models(new)
    for model in sorted(before.keys() & after.keys()):
        yield from _features(model, _states(model, before), _states(model, after), back)
    for path in sorted(p for p in old.keys() | new.keys() if p.startswith("x86/qemu/")):
        was, now = old.get(path, ""), new.get(path, "")
        name = path.removesuffix("/deprecated")
        # A name that comes or goes takes along what is said of it.
        if was != now and (path == name or (name in old and name in new)):
            tiers = next(tiers for pattern, *tiers in (QEMU_BACK if back else QEMU) if re.search(pattern, path))
            change = _change(was, now)
            yield Finding(path, change, tiers[CHANGES.index(change)], was, now, "qemu")


def _features(model: str, was: Mapping[str, str], now: Mapping[str, str], back: bool) -> Iterator[Finding]:
    learnt = {True: "", False: ""}
    for feature in sorted(was.keys() | now.keys()):
        pair = (was.get(feature, ""), now.get(feature, ""))
        if pair in (("", ADDED), (ADDED, "")):
            learnt[pair[0] == ""] += f" {feature}"
        elif pair[0] != pair[1]:
            yield Finding(f"{model}/feature/{feature}", _change(*pair), Tier.GUEST_ABI_BREAK, *pair, "libvirt")
    for came, features in learnt.items():
        if features:
            tier = Tier.ADDITION if came != back else Tier.BREAK
            pair = ("", features.strip()) if came else (features.strip(), "")
            yield Finding(f"{model}/added", _change(*pair), tier, *pair, "libvirt")


def _change(was: str, now: str) -> Change:
    return Change.ADDED if not was else Change.CHANGED if now else Change.REMOVED


def _models(facts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """{path of the model: {step: value}} of the steps that say which features it has."""
    found: dict[str, dict[str, str]] = {}
    for path, value in facts.items():
        model, _, step = path.rpartition("/")
        if re.match(r"[^/]+/model/[^/]+$", model):
            found.setdefault(model, {})[step] = value
    return found


def _states(model: str, models: Mapping[str, Mapping[str, str]], depth: int = 0) -> dict[str, str]:
    """{feature: what the model has to do with it}, with what it inherits from the model that it is like."""
    own = models.get(model, {})
    states: dict[str, str] = {}
    if "like" in own and depth < 9:
        parent = f"{model.split('/')[0]}/model/{own['like']}"
        states = {f: state for f, state in _states(parent, models, depth + 1).items() if state == IN}
    for step, state in (("features", IN), ("added", ADDED), ("removed", REMOVED)):
        states |= dict.fromkeys(own.get(step, "").split(), state)
    return states


SAME, A, R, B, G = Tier.IDENTICAL, Tier.ADDITION, Tier.RISK, Tier.BREAK, Tier.GUEST_ABI_BREAK
CHANGES = (Change.CHANGED, Change.ADDED, Change.REMOVED)
#: An unversioned name that stands for another version is another CPU for whoever asked for it by that name.
QEMU = ((r"/deprecated$", A, R, A), (r"", G, A, B))
QEMU_BACK = ((r"/deprecated$", A, A, A), (r"", G, A, A))

SURFACE = RecordedSurface(
    name="cpu-models",
    summary="CPU models: the features that each named model gives a guest, and what each feature is",
    product="libvirt",
    parts={"map": cpu_map, "qemu": qemu_names},
    rules=(
        (r"^[^/]+/qemu(/|$)|/model/[^/]+/(features|added|removed|like)$", SAME, SAME, SAME),  # see across()
        (r"/model/[^/]+/vendor$", G, A, R),  # added: written down where it was inherited
        # How a host's model is found and how a guest is checked against it; the guest's CPU is named.
        (r"/model/[^/]+/(signature|pvr)/", R, A, R),
        (r"/model/[^/]+/check$", R, A, R),
        (r"/model/[^/]+/decode$", R, R, R),
        (r"/feature/[^/]+/alias/", R, A, R),
        (r"/feature/[^/]+/migratable$", R, R, A),
        (r"/(feature|vendor)/[^/]+$", G, A, B),
        (r"", B, A, B),
    ),
    # Going back: names that came since cannot be used there, which is what an addition is.
    backward=(
        (r"^[^/]+/qemu(/|$)|/model/[^/]+/(features|added|removed|like)$", SAME, SAME, SAME),
        (r"/model/[^/]+/vendor$|/(feature|vendor)/[^/]+$", G, A, A),
        (r"", A, A, A),
    ),
    special=across,
)
