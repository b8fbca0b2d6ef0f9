"""Machine type and processor of a guest between two releases: still there, deprecated, another meaning, other features."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from virtcompat.model import Finding, Outcome, Tier, Verdict, judged
from virtcompat.policy.preflight import Problem, difference, explained, short
from virtcompat.store.tables import version

Facts = Mapping[str, str]
Verdicts = Mapping[str, Verdict]
#: libvirt's architecture -> QEMU's target, -> folder of libvirt's CPU map, where they are called otherwise.
TARGETS = {"i686": "i386", "armv7l": "arm", "armv6l": "arm", "ppc64le": "ppc64", "parisc": "hppa"}
MAPS = {"x86_64": "x86", "i686": "x86", "aarch64": "arm", "armv7l": "arm", "ppc64le": "ppc64"}
#: A feature of libvirt's models -> the machine type version from which QEMU's own models are without it: a guest of such
#: a machine type has never had it, whatever libvirt's map said (the ledger entry libvirt-11.3-cpu-mpx-removed).
WITHOUT = {"mpx": "4.0"}
#: Facts of the processor that QEMU translates: KVM shows a guest the host's, and another model has others.
TRANSLATED = re.compile(r"(^|/)cpuid/")
#: What is recorded of a guest and it cannot see: QEMU's own properties, the layout of its stream.
UNSEEN = ("property", "vmstate")
OTHER = "the guest then sees other hardware"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two releases: names, their machine types, what became of machine types, CPU models and recorded hardware."""

    old: str
    new: str
    before: Facts
    after: Facts
    machines: Verdicts
    models: Verdicts
    hardware: Verdicts


@dataclass(frozen=True, slots=True)
class Processor:
    """A guest's ``<cpu>``. mode: as libvirt writes it, empty where there is none; features: those that it names."""

    mode: str = ""
    model: str = ""
    features: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.model if self.mode == "custom" else self.mode or "default"


def machine(pair: Pair, arch: str, written: str, asked: str) -> tuple[str, list[Problem]]:
    """(a word on the machine type, problems). written: as the old release writes it; asked: as the document says."""
    target = TARGETS.get(arch, arch)
    path = f"{target}/machine/{written}"
    problems = [*_alias(pair, target, written, asked)]
    if not any(fact.startswith(f"{target}/machine/") for fact in pair.after):
        return written, problems
    if path not in pair.after:
        gone = _findings(pair.machines, path)
        problems.append(_gone(pair, target, written, gone[0] if gone else None))
        return f"{written} (gone)", problems
    if f"{path}/deprecated" in pair.after:
        what = f"machine type {written} is deprecated in {pair.new}: a later QEMU removes it"
        newest = replacement(written, target, pair.after, pair.after)
        remedy = f"plan for a newer one, such as {newest} ({OTHER})" if newest else ""
        problems.append(Problem(Tier.RISK, what, remedy))
        return f"{written} (deprecated)", problems
    return written, problems


def _alias(pair: Pair, target: str, written: str, asked: str) -> Iterator[Problem]:
    """A document that leaves its machine type open is another guest wherever it is defined anew."""
    fact = f"{target}/alias/{asked}" if asked else f"{target}/default"
    here, there = (facts.get(fact, "") for facts in (pair.before, pair.after))
    if here and there and here != there:
        said = f"machine='{asked}' means" if asked else "no machine type is named: that is"
        what = f"{said} {here} in {pair.old} and {there} in {pair.new}"
        yield Problem(Tier.RISK, what, f"write machine='{written}' wherever this file is defined from")


def _gone(pair: Pair, target: str, name: str, finding: Finding | None) -> Problem:
    what = f"machine type {name} is gone in {pair.new}"
    newest = replacement(name, target, pair.before, pair.after)
    if newest:
        old = ", deprecated there too" if f"{target}/machine/{newest}/deprecated" in pair.after else ""
        remedy = f"write machine='{newest}', which both have{old}, before the upgrade ({OTHER})"
    else:
        newest = replacement(name, target, pair.after, pair.after)
        remedy = (
            f"write machine='{newest}' after the upgrade ({OTHER})" if newest else "move it to another machine type"
        )
    return explained(Tier.BREAK, what, remedy, finding) if finding else Problem(Tier.BREAK, what, remedy)


def replacement(name: str, target: str, before: Facts, after: Facts) -> str:
    """The newest machine type of a family that both have, one that is not deprecated if there is one; else empty."""
    family = re.sub(r"-[\d.]+$", "-", name)
    family = "pc-i440fx-" if family == "pc-" else family
    start = f"{target}/machine/{family}"
    common = [p for p in before.keys() & after.keys() if re.fullmatch(re.escape(start) + r"\d[\d.]*", p)]
    lasting = [p for p in common if f"{p}/deprecated" not in after]
    newest = max(lasting or common, key=lambda p: version(p.removeprefix(start)), default="")
    return newest.rpartition("/")[2]


def processor(pair: Pair, arch: str, cpu: Processor, written: str) -> tuple[str, list[Problem]]:
    """(a word on the processor, problems): its model's features, its name, the features that the guest names itself."""
    if cpu.mode in ("host-model", "host-passthrough", "maximum"):
        what = f"CPU {cpu.mode} is made anew at every start: {pair.new} may show the guest another processor"
        remedy = "name a model in <cpu mode='custom'> where the guest must keep its processor"
        return cpu.mode, [Problem(Tier.RISK, what, remedy)]
    above = MAPS.get(arch, arch)
    names = [f"{above}/model/{cpu.model}", f"{above}/qemu/{cpu.model}"] if cpu.model else []
    found = [f for name in names for f in _findings(pair.models, name)]
    found += [f for name in sorted(cpu.features) for f in _findings(pair.models, f"{above}/feature/{name}")]
    problems, changed = [], []
    for finding in found:
        feature = finding.path.partition("/feature/")[2] if "/model/" in finding.path else ""
        if feature and (feature in cpu.features or _never(feature, written)):
            continue
        changed += [feature] if feature else []
        problems.append(_model(pair, cpu.model, feature, finding))
    return f"{cpu} (other {', '.join(changed)})" if changed else str(cpu), problems


def _never(feature: str, machine: str) -> bool:
    """Whether QEMU's models of this machine type are without a feature anyway."""
    found = re.search(r"-(\d+(?:\.\d+)+)$", machine)
    return bool(found and feature in WITHOUT and version(found[1]) >= version(WITHOUT[feature]))


def _model(pair: Pair, model: str, feature: str, finding: Finding) -> Problem:
    if feature:
        says = f"{finding.old or 'absent'} in {pair.old}, {finding.new or 'absent'} in {pair.new}"
        remedy = (
            f"name the feature in <cpu>: <feature policy='require' name='{feature}'/>, or 'disable', as 'virsh dumpxml' "
            "of the running guest has it"
        )
        return explained(finding.tier, f"CPU model {model}: {feature} is {says}", remedy, finding)
    if finding.path.endswith("/deprecated"):
        return explained(finding.tier, f"CPU model {model} is deprecated in {pair.new}", "plan for another", finding)
    if not finding.new:
        what, remedy = f"CPU: {finding.path} is gone in {pair.new}", "choose another before the upgrade"
        return explained(finding.tier, what, remedy, finding)
    what = f"CPU: {finding.path} is {finding.old or 'not known'} in {pair.old}, {finding.new} in {pair.new}"
    return explained(finding.tier, what, "name another model, or its features", finding)


def hardware(
    pair: Pair, machine: str, sets: Sequence[str], translated: Sequence[str]
) -> tuple[list[Problem], list[str]]:
    """What recorded guests of this machine type and these device sets see otherwise: (problems, details that differ)."""
    details: set[str] = set()
    causes: dict[str, list[tuple[str, Finding]]] = {}
    for name in sets:
        for finding in _findings(pair.hardware, f"{machine}/{name}"):
            fact = finding.path.removeprefix(f"{machine}/{name}/")
            step = fact.partition("/")[0]
            if step in UNSEEN or (name not in translated and TRANSLATED.search(fact)):
                continue
            if finding.tier >= Tier.BREAK:
                causes.setdefault(finding.entry or fact, []).append((fact, finding))
            else:
                details.add(step)
    problems = []
    for found in causes.values():
        fact, finding = found[0]
        more = f", and {len(found) - 1} more of the kind" if len(found) > 1 else ""
        what = f"{machine} is other hardware in {pair.new}: {difference(replace(finding, path=fact))}{more}"
        remedy = f"virt-compat pin {pair.old} {machine} --on {pair.new} says how to keep it"
        problems.append(explained(finding.tier, what, remedy, finding))
    return problems, sorted(details)


def _findings(verdicts: Verdicts, case: str) -> list[Finding]:
    found = verdicts.get(case)
    return [f for f in found.findings if f.tier >= Tier.RISK] if found else []


def translated(cpu: Processor) -> tuple[str, ...]:
    """The device sets whose processor is that of a guest which QEMU translates: of its default model, or the one tried."""
    sets = {"": ("plain",), "qemu64": ("plain",), "Nehalem": ("processors",)}
    return sets.get(cpu.model, ()) if cpu.mode in ("", "custom") else ()


def moved(verdict: Verdict, *, translated: bool) -> Verdict:
    """What became of a guest that moved; without what is its processor's, where that is not this guest's."""
    if translated or verdict.outcome not in (Outcome.COMPATIBLE, Outcome.INCOMPATIBLE):
        return verdict
    return judged(verdict.case, [f for f in verdict.findings if not TRANSLATED.search(f.path)])


def stays(machine: str, verdicts: Sequence[Verdict], new: str, *, back: bool) -> Iterator[Problem]:
    """Why a guest does not arrive, a cause each; it can be shut down and started there. Going back is no part of the upgrade."""
    causes: dict[str, list[tuple[str, Finding]]] = {}
    for verdict in verdicts:
        finding = max(verdict.findings, key=lambda f: f.tier)
        causes.setdefault(finding.entry or verdict.case, []).append((verdict.case, finding))
    for found in causes.values():
        case, finding = found[0]
        fact = finding.path.removeprefix(f"{case}/")
        words = short(finding.new) if fact.startswith("(") else difference(replace(finding, path=fact))
        tried = ", ".join(case.rpartition("/")[2] for case, _ in found)
        what = f"does not migrate {'back ' if back else ''}to {new} (tried: {machine} with {tried}): {words}"
        remedy = "shut it down to go back" if back else "shut it down for the upgrade"
        yield explained(Tier.RISK if back else finding.tier, what, remedy, finding)
