"""CPUs: which a hypervisor can give a guest, and which is the largest that all hosts of a cluster can give it.

The same CPUs must get the same answer from every release. What is compared with *this* machine's CPU is its affair and
not told; TCG's CPU is QEMU's own and the same everywhere.
"""

from __future__ import annotations

import re

from virtcompat.labs.visit import Visit
from virtcompat.surfaces.behaviour import Scene, play

EMULATOR = "/usr/bin/qemu-system-x86_64"
ARCHES = ("x86_64", "ppc64le", "aarch64", "s390x", "riscv64", "loongarch64", "armv7l")


def features(names: str, policy: str = "") -> str:
    words = f" policy='{policy}'" if policy else ""
    return "".join(f"<feature name='{name}'{words}/>" for name in names.split())


#: Hosts, as their capabilities describe them: model, vendor, what they have beyond the model.
HOSTS = {
    "old-intel": ("core2duo", "Intel", "ds ss ht pbe vmx est tm2 xtpr"),
    "penryn": ("Penryn", "Intel", "xsave vmx ds tm pbe"),
    "nehalem": ("Nehalem", "Intel", "rdtscp vmx popcnt"),
    "sandybridge": ("SandyBridge", "Intel", "vmx pcid osxsave arat"),
    "haswell": ("Haswell-noTSX", "Intel", "vmx f16c rdrand arat xsaveopt abm"),
    "skylake-client": ("Skylake-Client-IBRS", "Intel", "vmx clflushopt xsavec xgetbv1 ssbd md-clear"),
    "skylake-server": ("Skylake-Server-noTSX-IBRS", "Intel", "vmx pku umip md-clear stibp ssbd arch-capabilities"),
    "cascadelake": ("Cascadelake-Server-noTSX", "Intel", "vmx pku umip md-clear arch-capabilities rdctl-no skip-l1dfl-vmentry"),
    "icelake": ("Icelake-Server-noTSX", "Intel", "vmx fsrm md-clear pku umip rdpid gfni"),
    "opteron": ("Opteron_G3", "AMD", "svm 3dnow 3dnowext cmp_legacy extapic"),
    "epyc": ("EPYC-IBPB", "AMD", "svm topoext virt-ssbd clwb"),
    "epyc-rome": ("EPYC-Rome", "AMD", "svm x2apic tsc-deadline stibp ssbd umip"),
    "epyc-milan": ("EPYC-Milan", "AMD", "svm fsrm invpcid pku vaes vpclmulqdq ssbd"),
    "minimal": ("qemu64", "AMD", ""),
}  # fmt: skip
#: Clusters: hosts whose guests are to run on each.
CLUSTERS = {
    "intel-old": "old-intel penryn", "intel-middle": "nehalem sandybridge haswell",
    "intel-new": "skylake-server cascadelake icelake", "intel-wide": "penryn haswell icelake",
    "intel-client": "haswell skylake-client skylake-server", "amd": "epyc epyc-rome", "amd-new": "epyc epyc-rome epyc-milan",
    "amd-wide": "opteron epyc-rome", "both-vendors": "haswell epyc", "with-minimal": "minimal icelake",
    "one": "skylake-client", "same-twice": "epyc-rome epyc-rome",
}  # fmt: skip
FLAGS = {
    "plain": 0, "expanded": {"constant": "VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES"},
    "migratable": {"constant": "VIR_CONNECT_BASELINE_CPU_MIGRATABLE"},
}  # fmt: skip
#: CPUs that a guest asks for.
GUESTS = {
    "model": "<model fallback='forbid'>Nehalem</model>", "minimal": "<model fallback='forbid'>qemu64</model>",
    "kvm64": "<model fallback='forbid'>kvm64</model>", "haswell": "<model fallback='forbid'>Haswell-noTSX</model>",
    "skylake": "<model fallback='forbid'>Skylake-Server-noTSX-IBRS</model>", "epyc": "<model fallback='forbid'>EPYC</model>",
    "with-feature": "<model fallback='forbid'>qemu64</model>" + features("sse4.2 popcnt", "require"),
    "with-vmx": "<model fallback='forbid'>Nehalem</model>" + features("vmx", "require"),
    "without-feature": "<model fallback='forbid'>Nehalem</model>" + features("sse4.2", "disable"),
    "forbidding": "<model fallback='forbid'>qemu64</model>" + features("avx512f", "forbid"),
    "forbidding-what-is": "<model fallback='forbid'>qemu64</model>" + features("sse2", "forbid"),
    "avx512": "<model fallback='forbid'>qemu64</model>" + features("avx512f", "require"),
    "unknown-feature": "<model fallback='forbid'>qemu64</model>" + features("teleport", "require"),
    "unknown-model": "<model fallback='forbid'>Pentium99</model>", "no-model": "",
}  # fmt: skip


def cpu(visit: Visit) -> dict[str, str]:
    """``cpu/SCENE/…``."""
    return play(
        visit, "cpu", "qemu", (models, baseline, hypervisor_baseline, comparison, refusals), users=True, sysfs=True
    )


def host(name: str) -> str:
    model, vendor, more = HOSTS[name]
    return f"<cpu><arch>x86_64</arch><model>{model}</model><vendor>{vendor}</vendor>{features(more)}</cpu>"


def summary(text: str) -> str:
    """A CPU on one line: model, vendor, features in the order of their names, each with its policy's sign."""
    model = re.search(r"<model[^>]*>([^<]*)<", text)
    vendor = re.search(r"<vendor>([^<]*)<", text)
    signs = {"require": "+", "disable": "-", "force": "!", "optional": "?", "forbid": "x", "": "+"}
    found = []
    for element in re.findall(r"<feature ([^>]*)/>", text):
        words = dict(re.findall(r"(\w+)='([^']*)'", element))
        found.append((words["name"], signs[words.get("policy", "")]))
    return " ".join(
        [model[1] if model else "no-model", vendor[1] if vendor else "any", *(s + n for n, s in sorted(found))]
    )


def told(scene: Scene, path: str, method: str, *args: object) -> None:
    said = scene.host.call(method, *args)
    scene.tell(path, said.text if said.outcome != "ok" else summary(said.value))


def models(scene: Scene) -> None:
    """The models that libvirt knows by name, by architecture: ``cpu/models/x86_64/Penryn``."""
    for arch in ARCHES:
        said = scene.host.call("getCPUModelNames", arch, 0)
        # An architecture without named models takes any name.
        scene.tell(f"{arch}", said.text if said.outcome != "ok" else "by name" if said.value else "any name")
        for name in said.value or ():
            scene.tell(f"{arch}/{name}", "known")


def baseline(scene: Scene) -> None:
    """The largest CPU that every host of a cluster has."""
    for cluster, names in CLUSTERS.items():
        for form, flags in FLAGS.items():
            told(scene, f"{cluster}/{form}", "baselineCPU", [host(name) for name in names.split()], flags)


def hypervisor_baseline(scene: Scene) -> None:
    """The same among what TCG can give a guest."""
    for cluster, names in CLUSTERS.items():
        where = (EMULATOR, "x86_64", "pc", "qemu")
        told(scene, cluster, "baselineHypervisorCPU", *where, [host(name) for name in names.split()], 0)


def comparison(scene: Scene) -> None:
    """What TCG could give a guest: less than it asks for, exactly that, or more."""
    words = ("incompatible", "identical", "superset")
    for name, body in GUESTS.items():
        xml = f"<cpu mode='custom' match='exact'>{body}</cpu>"
        for form, flags in (("plain", 0), ("validated", {"constant": "VIR_CONNECT_COMPARE_CPU_VALIDATE_XML"})):
            said = scene.host.call("compareHypervisorCPU", EMULATOR, "x86_64", "pc", "qemu", xml, flags)
            scene.tell(f"{name}/{form}", said.text if said.outcome != "ok" else words[said.value])


def refusals(scene: Scene) -> None:
    """What has to be refused, and as what."""
    scene.call("baseline-of-none", "baselineCPU", [], 0)
    scene.call("baseline-not-xml", "baselineCPU", ["<cpu"], 0)
    scene.call("baseline-unknown-model", "baselineCPU", [host("epyc").replace("EPYC-IBPB", "Pentium99")], 0)
    scene.call("baseline-unknown-feature", "baselineCPU", [host("epyc").replace("svm", "teleport")], 0)
    mixed = host("epyc").replace("x86_64", "ppc64le").replace("EPYC-IBPB", "POWER9")
    scene.call("baseline-other-architectures", "baselineCPU", [host("epyc"), mixed], 0)
    scene.call("compare-not-xml", "compareHypervisorCPU", EMULATOR, "x86_64", "pc", "qemu", "<cpu", 0)
    scene.call(
        "compare-no-emulator", "compareHypervisorCPU", "/usr/bin/nothing", "x86_64", "pc", "qemu", host("epyc"), 0
    )
    scene.call("compare-kvm", "compareHypervisorCPU", EMULATOR, "x86_64", "pc", "kvm", host("epyc"), 0)
    scene.call("compare-unknown-machine", "compareHypervisorCPU", EMULATOR, "x86_64", "pc-99", "qemu", host("epyc"), 0)
    scene.call("compare-other-architecture", "compareHypervisorCPU", EMULATOR, "s390x", None, "qemu", host("epyc"), 0)
    scene.call("models-unknown-architecture", "getCPUModelNames", "teleport", 0)
