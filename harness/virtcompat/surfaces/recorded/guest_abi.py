"""The guest ABI: the hardware that a guest sees under a machine type and device set, and what its migration carries.

Recorded by a small guest under each release's real QEMU (TCG). What KVM adds is not seen here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from virtcompat import guestabi, guestdump
from virtcompat.errors import BadData, LabError
from virtcompat.labs.qemu import Failed
from virtcompat.labs.visit import Visit, monitor
from virtcompat.model import Change, Finding, Tier
from virtcompat.store import guests
from virtcompat.store.guests import DeviceSet
from virtcompat.surfaces import RecordedSurface

#: The machine types that every device set is tried with: those that two or more of the releases have, the aliases
#: (what an unversioned configuration gets), and microvm, which has no versions.
COMMON = (
    "pc-i440fx-5.2", "pc-i440fx-7.2", "pc-i440fx-10.0", "pc-i440fx-11.1", "pc-q35-5.2", "pc-q35-7.2", "pc-q35-10.0",
    "pc-q35-11.1", "microvm", "pc", "q35",
)  # fmt: skip
PLAIN = "plain"
WORKERS = 3
BREAK, RISK, ADDITION, IDENTICAL = Tier.GUEST_ABI_BREAK, Tier.RISK, Tier.ADDITION, Tier.IDENTICAL


def available(visit: Visit) -> tuple[str, ...]:
    """The versioned x86 machine types of a lab's QEMU, microvm and the aliases."""
    machines = monitor(visit, "qemu-system-x86_64", "query-machines")
    names = {m["name"] for m in machines} | {m["alias"] for m in machines if "alias" in m}
    return tuple(sorted(n for n in names if guests.family(n) and (n[-1].isdigit() or n in COMMON)))


def hardware(devices: DeviceSet, visit: Visit) -> dict[str, str]:
    """``MACHINE/SET/…``: every fact of a device set under each machine type; for a set with devices, what they change.

    ``MACHINE/SET = boots``, or how it does not. The plain set is recorded of every versioned machine type, in full for
    the common ones; a set with devices says only what differs from the plain one (``(gone)`` where a fact is not there).
    """
    there = available(visit)
    chosen = [m for m in there if devices.command(m) and (m in COMMON or devices.name == PLAIN)]
    with ThreadPoolExecutor(WORKERS) as pool:
        parts = list(pool.map(partial(_machine, visit, devices), chosen))
    return {path: value for part in parts for path, value in part.items()}


def _machine(visit: Visit, devices: DeviceSet, machine: str) -> dict[str, str]:
    above = f"{machine}/{devices.name}"
    facts = facts_of(visit, devices, machine)
    if isinstance(facts, str):
        return {above: facts}
    if devices.name != PLAIN:
        plain = facts_of(visit, guests.every()[PLAIN], machine)
        if isinstance(plain, str):
            raise BadData(machine, f"does not boot without devices: {plain}", "try it by hand in the lab")
        gone = dict.fromkeys(plain.keys() - facts.keys(), "(gone)")
        facts = {path: value for path, value in facts.items() if plain.get(path) != value} | gone
    return {above: "boots", **{f"{above}/{path}": value for path, value in facts.items()}}


def facts_of(visit: Visit, devices: DeviceSet, machine: str) -> dict[str, str] | str:
    """All facts of one guest, or why it does not boot."""
    argv = devices.command(machine)
    assert argv is not None
    recorded = visit.boot(argv, ("dump", "qtree", "cpu", "stream"))
    if isinstance(recorded, Failed) and recorded.status != "unstarted":
        # Not what this machine is: what went wrong with it this time.
        raise LabError(f"{visit.release}: {machine} was not recorded: {recorded.status}: {recorded.words}", "try again")
    if isinstance(recorded, Failed):
        words = " ".join(recorded.words.split())
        return f"{recorded.status}: {words[:200]}".replace("=", ":")
    facts = guestdump.facts(recorded.dump)
    facts |= guestabi.vmstate(recorded.vmdesc, fields=machine in COMMON)
    if machine not in COMMON:
        return facts
    return facts | guestabi.properties(recorded.qtree) | guestabi.processor(recorded.cpu)


def whole(facts: Mapping[str, str]) -> dict[str, str]:
    """All facts of every machine type and set: those of the plain set under what a set with devices changes."""
    by_machine: dict[str, dict[str, dict[str, str]]] = {}
    for path, value in facts.items():
        machine, _, rest = path.partition("/")
        name, _, inner = rest.partition("/")
        by_machine.setdefault(machine, {}).setdefault(name, {})[inner] = value
    found: dict[str, str] = {}
    for machine, sets in by_machine.items():
        plain = sets.get(PLAIN, {})
        for name, own in sets.items():
            every = {**plain, **own} if name != PLAIN and own.get("") == "boots" else own
            for inner, value in every.items():
                if value != "(gone)":
                    found[f"{machine}/{name}/{inner}" if inner else f"{machine}/{name}"] = value
    return found


def _layouts(old: Mapping[str, str], new: Mapping[str, str], _back: bool) -> Iterator[Finding]:
    """Fields of a section that both sides have, by size and order: names are not sent."""
    for path in sorted(old.keys() & new.keys()):
        if old[path] == new[path]:
            continue
        if path.endswith("/fields"):
            version = path.removesuffix("fields") + "version"
            raised = int(new.get(version, "0")) > int(old.get(version, "0"))
            was, now = ([int(w.rpartition(":")[2]) for w in of[path].split()] for of in (old, new))
            if was != now:
                # The same bytes under other names (a buffer divided up) are the same stream.
                # What became ``unused`` is kept for the stream's sake, an array of it said as one.
                same = sum(was) == sum(now) or "unused" in old[path] + new[path]
                yield _field_finding(path, old[path], new[path], RISK if raised or same else BREAK)
        elif path.endswith("/version") and "/vmstate/" in path:
            tier = BREAK if int(new[path]) < int(old[path]) else RISK
            yield Finding(path, Change.CHANGED, tier, old[path], new[path], "qemu")


def _field_finding(path: str, old: str, new: str, tier: Tier) -> Finding:
    was, now = old.split(), new.split()
    gone = " ".join(w for w in was if w not in now)
    come = " ".join(w for w in now if w not in was)
    return Finding(path, Change.CHANGED, tier, gone or "(in another order)", come or "(nothing)", "qemu")


#: What is compared across facts, or is the firmware's and not QEMU's.
RULES = (
    (r"^[^/]+(/[^/]+)?$", BREAK, IDENTICAL, IDENTICAL),  # whether a machine type is there: see machine-types
    (r"/vmstate/.*/(version|fields)$", IDENTICAL, IDENTICAL, IDENTICAL),
    # A side that does not list a subsection may know it and have no need to send it: only a move tells.
    (r"/vmstate/.*/subsection/", RISK, RISK, RISK),
    # Link status: what negotiating left, not what the device is.
    (r"/pci/.*/express/0x1[08]$", RISK, RISK, RISK),
    (r"/vmstate/", RISK, RISK, BREAK),
    (r"/property/", RISK, ADDITION, ADDITION),
    (r"/smbios/type0/", ADDITION, ADDITION, ADDITION),
    (r"/(acpi|smbios)/", RISK, RISK, RISK),
    (r"/fw-cfg/", RISK, ADDITION, RISK),
    # What the firmware, another one in each release, writes into the machine: addresses, the host bridge's shadow RAM.
    (r"/pci/.*/assigned/", RISK, RISK, RISK),
    (r"/pci/00:00\.0/config/", RISK, RISK, RISK),
    (r"/(cmos|port)/", RISK, RISK, RISK),
    (r"^[^/]+/[^/]+/", BREAK, BREAK, BREAK),
)

SURFACE = RecordedSurface(
    name="guest-abi",
    summary="The hardware that a guest sees under a machine type, and what its migration carries",
    product="qemu",
    parts={name: partial(hardware, devices) for name, devices in guests.every().items()},
    rules=RULES,
    interface=r"[^/]+/[^/]+",
    backward=RULES,
    special=_layouts,
    expand=whole,
)
