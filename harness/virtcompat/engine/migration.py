"""Can this guest go there: one question of an operator, answered from the cells of moving guests, asked where they are not known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lxml import etree

from virtcompat.documents import NotWellFormed, parse
from virtcompat.engine import columns, guests
from virtcompat.engine.guests import KIND, LIVE
from virtcompat.engine.run import crossed, explained
from virtcompat.errors import BadData, NotAsked, UsageError
from virtcompat.model import NO_DRIVER, CellKey, Change, NotHere, Outcome, Tier, Verdict
from virtcompat.policy import pins
from virtcompat.policy.moved import absent
from virtcompat.policy.moved import verdict as verdict_of
from virtcompat.store import guests as sets
from virtcompat.surfaces import every_recorded
from virtcompat.surfaces.recorded.guest_abi import COMMON

#: Device models of domain XML -> device types of QEMU: (element, model or type) -> covers-word of a device set.
MODELS = {
    ("interface", "virtio"): "virtio-net-pci",
    ("interface", "virtio-transitional"): "virtio-net-pci",
    ("interface", "e1000"): "e1000",
    ("interface", "e1000e"): "e1000e",
    ("interface", "rtl8139"): "rtl8139",
    ("disk", "virtio"): "virtio-blk-pci",
    ("disk", "scsi"): "scsi-hd",
    ("disk", "sata"): "ahci",
    ("disk", "usb"): "qemu-xhci",
    ("controller", "virtio-scsi"): "virtio-scsi-pci",
    ("controller", "qemu-xhci"): "qemu-xhci",
    ("controller", "nec-xhci"): "nec-usb-xhci",
    ("controller", "piix3-uhci"): "piix3-usb-uhci",
    ("controller", "pcie-root-port"): "pcie-root-port",
    ("controller", "pci-bridge"): "pci-bridge",
    ("controller", "virtio-serial"): "virtio-serial-pci",
    ("video", "vga"): "VGA",
    ("video", "cirrus"): "cirrus-vga",
    ("sound", "ich6"): "intel-hda",
    ("sound", "ich9"): "ich9-intel-hda",
    ("watchdog", "i6300esb"): "i6300esb",
    ("memballoon", "virtio"): "virtio-balloon-pci",
    ("rng", "virtio"): "virtio-rng-pci",
    ("panic", "isa"): "pvpanic",
    ("input", "tablet"): "usb-tablet",
    ("input", "keyboard"): "usb-kbd",
}
#: What a domain may have and no device set tries.
UNTRIED = {
    "os/loader": "firmware of its own (os/loader)",
    "os/nvram": "a store of firmware variables (os/nvram)",
    "devices/memory": "memory devices",
    "features/hyperv": "Hyper-V features",
    "features/smm": "system management mode",
    "launchSecurity": "launch security",
    "vcpus": "processors that are plugged in later",
}
DUMPED = "give the output of 'virsh dumpxml --migratable'"
#: Parts of every PC, which no device set needs to stand for.
BUILT_IN = {
    ("controller", "pci-root"), ("controller", "pcie-root"), ("controller", "fdc"), ("input", "mouse"), ("controller", "ide"),
    ("controller", "sata"), ("memballoon", "none"), ("watchdog", "itco"), ("controller", "none"),
}  # fmt: skip


@dataclass(slots=True)
class Answer:
    """Yes, no, or not known. verdicts: one a machine type and device set; unknown: what nothing here stands for."""

    old: str
    new: str
    verdicts: list[Verdict] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def word(self) -> str:
        if any(v.outcome is Outcome.INCOMPATIBLE for v in self.verdicts):
            return "no"
        good = any(v.outcome is Outcome.COMPATIBLE for v in self.verdicts)
        bad = self.unknown or any(v.outcome is not Outcome.COMPATIBLE for v in self.verdicts)
        return "yes" if good and not bad else "unknown"

    @property
    def exit_code(self) -> int:
        return {"yes": 0, "no": 1}.get(self.word, 3)


def ask(old: str, new: str, machine: str = "", devices: tuple[str, ...] = (), domain: Path | None = None) -> Answer:
    """Whether guests move live from one release to another: of a machine type, with device sets, or as a domain has it.

    Without a machine type every versioned one that both releases have. UsageError for names that do not exist.
    """
    answer = Answer(old, new)
    for name in devices:
        if name not in sets.every():
            raise UsageError(f"no device set '{name}'", f"use one of: {', '.join(sets.every())}")
    if domain is not None:
        if machine or devices:
            raise UsageError("--domain says machine type and devices itself", "leave out --machine and --device-set")
        machine, devices, answer.unknown = of_file(domain)
        if not machine:
            return answer
    found = columns.find((old, new) if old != new else (old,))
    with guests.Moves(found) as moves:
        machine = moves.meaning(old, machine)
        here, there = moves.machines(old), moves.machines(new)
        if machine and machine not in here:
            raise UsageError(f"{old} has no machine type '{machine}'", f"see golden/{old}/machine-types/machines.txt")
        if machine and machine not in there:
            answer.verdicts.append(absent(f"{machine}/plain", new))
            return answer
        common = [machine] if machine else [m for m in guests.VERSIONED if m in here & there]
        key = CellKey(LIVE, KIND, NO_DRIVER, old, new)
        wanted = [name for name in sets.every() if not devices or name in devices]
        for case, argv in _commands(common, wanted):
            verdict = verdict_of(case, moves.moved(old, new, argv))
            answer.verdicts.append(explained(verdict, crossed(key, found)))
    return answer


def _commands(machines: list[str], names: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """``MACHINE/SET`` and QEMU's arguments, for every set that is for a machine type's family."""
    for name in names:
        for machine in machines:
            argv = sets.every()[name].command(machine)
            if argv:
                yield f"{machine}/{name}", argv


def of_file(file: Path) -> tuple[str, tuple[str, ...], list[str]]:
    """The same of a domain document in a file."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(file, f"not a domain document: {error}", DUMPED) from error
    return of_domain(text, file)


def of_domain(text: str, file: Path | str = "(domain)") -> tuple[str, tuple[str, ...], list[str]]:
    """(machine type, device sets that stand for its devices, devices that none stands for) of a domain document."""
    try:
        root = parse(text)
    except NotWellFormed as error:
        raise BadData(file, f"not a domain document: {error}", DUMPED) from error
    kind = root.find("os/type")
    machine = (kind.get("machine") if kind is not None else "") or ""
    if root.tag != "domain" or kind is None or not machine:
        raise BadData(file, "no domain with a machine type", DUMPED)
    arch = kind.get("arch", "x86_64")
    if arch not in ("x86_64", "i686"):
        return "", (), [f"{arch}: only x86 guests are tried"]
    chosen, unknown = _covering(root)
    return machine, chosen, unknown + [what for path, what in UNTRIED.items() if root.find(path) is not None]


def _covering(root: etree._Element) -> tuple[tuple[str, ...], list[str]]:
    """(the device sets that stand for a domain's devices and processors, what none stands for)."""
    covering = {word: name for name, each in sets.every().items() for word in each.covers}
    chosen, unknown = {"plain"}, []
    for element, model in dict.fromkeys(_devices(root)):
        word = MODELS.get((element, model), "")
        if word in covering:
            chosen.add(covering[word])
        elif (element, model) not in BUILT_IN:
            unknown.append(f"{element} {model}".strip())
    if root.findtext("vcpu", "1").strip() != "1":
        chosen.add("processors")
    if root.find("cpu") is not None:
        chosen.add("processors")
        unknown.append("cpu: the model and the features of this guest (only one named model is tried)")
    return tuple(sorted(chosen)), unknown


def _devices(root: etree._Element) -> Iterator[tuple[str, str]]:
    """(element, model) of everything in a domain that the guest sees as a device."""
    devices = root.find("devices")
    for device in devices if devices is not None else ():
        if device.tag in ("emulator", "graphics", "serial", "console", "channel", "audio", "parallel"):
            continue
        model = device.find("model")
        target = device.find("target")
        named = (
            (target.get("bus") if device.tag == "disk" and target is not None else "")
            or (model.get("type") if model is not None and device.tag in ("interface", "video") else "")
            or device.get("model")
            or device.get("type")
            or ""
        )
        yield str(device.tag), str(named)


@dataclass(frozen=True, slots=True)
class Pinned:
    """A newer QEMU told to build an older machine. argv: what it is started with; pins: the properties among that.

    before, after: the facts of the guest's hardware that differ without the pins and with them.
    """

    argv: tuple[str, ...]
    pins: dict[str, str]
    before: list[str]
    after: list[str]


def pin(release: str, machine: str, on: str, base: str = "", devices: str = "plain") -> Pinned:
    """The properties that make ``base`` of release ``on`` the machine that ``machine`` is in ``release``, tried out."""
    found = columns.find((release, on))
    with guests.Moves(found) as moves:
        base = base or next((a for a in guests.ALIASES if sets.family(a) == sets.family(machine)), machine)
        wanted, here = moves.hardware(release, f"{machine}/{devices}"), moves.hardware(on, f"{base}/{devices}")
        for name, case, facts in ((release, machine, wanted), (on, base, here)):
            if not any(path.startswith("property/") for path in facts):
                known = ", ".join(COMMON)
                raise UsageError(f"{name} has no record of {case} with its properties", f"recorded are: {known}")
        lab = moves.lab(on)
        if isinstance(lab, NotHere):
            raise NotAsked(f"{on}: {lab.reason}", lab.remedy)
        argv = sets.every()[devices].command(base)
        assert argv is not None
        chosen = pins.pins(wanted, here)
        seen, left = moves.booted(lab, argv, chosen)
        return Pinned((*argv, *pins.arguments(left)), left, _differing(wanted, here), _differing(wanted, seen))


def _differing(wanted: dict[str, str], seen: dict[str, str]) -> list[str]:
    """What the guest would see otherwise: hardware facts at a tier that matters, without what is the firmware's."""
    surface = every_recorded()[KIND]
    lines = []
    for path in sorted(wanted.keys() | seen.keys()):
        if path.startswith(("property/", "vmstate/")) or wanted.get(path) == seen.get(path):
            continue
        if surface.tier(f"machine/set/{path}", Change.CHANGED) >= Tier.BREAK:
            lines.append(f"{path}: {wanted.get(path, '(none)')} -> {seen.get(path, '(none)')}")
    return lines
