"""Domain XML: the definition of a guest. What the guest can see of it is of the highest tier."""

from __future__ import annotations

from lxml import etree

from virtcompat.model import Tier
from virtcompat.surfaces import DocumentSurface, Rule, Surface

A, R, B, G = Tier.ADDITION, Tier.RISK, Tier.BREAK, Tier.GUEST_ABI_BREAK

#: Elements whose text is an amount with a unit; libvirt writes all of them in KiB
#: (https://libvirt.org/formatdomain.html#memory-allocation).
AMOUNTS = frozenset(
    "memory currentMemory maxMemory hard_limit soft_limit swap_hard_limit min_guarantee tseg size block requested "
    "current node label pagesize alignsize cbitpos".split()
)
UNITS = {
    "b": 1, "bytes": 1, "kb": 1000, "k": 1024, "kib": 1024, "mb": 1000**2, "m": 1024**2, "mib": 1024**2,
    "gb": 1000**3, "g": 1024**3, "gib": 1024**3, "tb": 1000**4, "t": 1024**4, "tib": 1024**4,
}  # fmt: skip
#: memory-like elements without a unit are in KiB.
KIB = frozenset("memory currentMemory maxMemory hard_limit soft_limit swap_hard_limit min_guarantee size".split())


def normal(root: etree._Element) -> None:
    """Write one thing in one way: amounts in bytes, UUIDs with dashes, hardware addresses in lower case."""
    for mac in root.iter("mac"):
        mac.set("address", mac.get("address", "").lower())
    for element in root.iter(*AMOUNTS):
        text = (element.text or "").strip()
        unit = element.get("unit") or ("KiB" if element.tag in KIB else "")
        if text.isdigit() and unit.lower() in UNITS:
            element.text = str(int(text) * UNITS[unit.lower()])
            element.set("unit", "b")
    uuid = root.find("uuid")
    if uuid is not None and uuid.text:
        plain = uuid.text.strip().replace("-", "").lower()
        uuid.text = "-".join((plain[:8], plain[8:12], plain[12:16], plain[16:20], plain[20:]))


KEYS = {
    "disk": ("target/@dev",),
    "controller": ("@type,@index", "@type"),
    "interface": ("mac/@address",),
    "filesystem": ("target/@dir",),
    "graphics": ("@type",),
    "listen": ("@type",),
    "channel": ("target/@name", "@name", "@type"),
    "input": ("@type",),
    "audio": ("@id",),
    "timer": ("@name",),
    "feature": ("@name",),
    "cell": ("@id",),
    "sibling": ("@id",),
    "boot": ("@dev",),
    "vcpu": ("@id",),
    "vcpupin": ("@vcpu",),
    "iothreadpin": ("@iothread",),
    "iothread": ("@id",),
    "event": ("@name",),
    "entry": ("@name",),
    "seclabel": ("@model",),
    "memory": ("@model",),
    "tag": ("@id",),
    "throttlegroup": ("group_name",),
    "device": ("@alias", "path"),
    "secret": ("@type",),
    "hostdev": ("@type",),
    "redirdev": ("@bus",),
    "watchdog": ("@model",),
}

#: First match wins. Order: what a guest never sees, then how its devices behave, then what it sees.
RULES: tuple[Rule, ...] = (
    # The object itself and notes about it.
    (r"^/domain/(name|uuid)$", G, G, G),
    (r"^/domain/(title|description|metadata)\b", B, A, B),
    (r"^/domain/@type$", G, G, G),
    (r"^/domain/os/boot\(order\)$", G, G, G),
    # Without an explicit boot order firmware tries disks and network cards in the order of the document.
    (r"\(order\)$", R, A, A),
    # Where and how the host runs it: resources, labels, paths. A value lost or changed is the user's loss.
    (r"^/domain/(resource|memtune|blkiotune|cputune|numatune|seclabel|iothreads|iothreadids|defaultiothread)\b", B, A, B),
    (r"^/domain/(memoryBacking|perf|keywrap|throttlegroups|on_\w+|idmap|iommufd)\b", B, A, B),
    (r"^/domain/vcpu(/@placement|/@cpuset)", B, A, B),
    (r"^/domain/os/loader/@(secure|readonly|type)$", G, A, B),
    (r"^/domain/os/(kernel|initrd|cmdline|dtb|loader|nvram|varstore|init\w*|acpi)\b", B, A, B),
    (r"^/domain/os/firmware\b|^/domain/os/@firmware", B, A, B),
    (r"^/domain/devices/emulator", R, A, R),
    (r"/alias/@name$", R, A, R),
    (r"/seclabel\b", B, A, B),
    (r"^/domain/devices/(disk|filesystem|hostdev|lease)[^/]*/(source|backingStore|mirror|auth|encryption|reservations)\b", B, A, B),
    (r"^/domain/devices/[^/]+/(backend|backenddomain|log|protocol|bandwidth|script|downscript|iotune|throttlefilters)\b", B, A, B),
    (r"^/domain/devices/(serial|parallel|console|channel|redirdev|smartcard|rng|tpm|vsock|shmem)[^/]*/(source|cid|server)\b", B, A, B),
    (r"^/domain/devices/[^/]+/driver/@(name|cache|io|error_policy|rerror_policy|discard|detect_zeroes|iothread|copy_on_read)$", B, A, B),
    (r"^/domain/devices/[^/]+/driver/(metadata_cache|statistics|iothreads)\b", B, A, B),
    (r"^/domain/devices/interface[^/]*/(source|target|filterref|virtualport|vlan|portForward|ip|route|tune|port|coalesce)\b", B, A, B),
    (r"^/domain/devices/(graphics|audio)", B, A, B),
    # What the guest sees: the machine, its processor, memory, clock, firmware tables, devices and their addresses.
    (r"^/domain/(os|cpu|vcpu|vcpus|memory|currentMemory|maxMemory|features|clock|devices|sysinfo|genid|launchSecurity|pm)\b", G, G, G),
    # Passed straight to QEMU.
    (r"^/domain/\{http://libvirt.org/schemas/domain/qemu/1.0\}", G, G, G),
)  # fmt: skip


def _with_identities(pattern: str) -> str:
    """In a rule ``[^/]*`` and ``[^/]+`` stand for the rest of a step; an identity in brackets may hold slashes."""
    step = r"(?:\[[^\]]*\]|[^/\[])"
    return pattern.replace("[^/]*", step + "*").replace("[^/]+", step + "+")


SURFACE: Surface = DocumentSurface(
    name="domain",
    summary="Guest definitions",
    schema="domain.rng",
    keys=KEYS,
    rules=tuple((_with_identities(pattern), changed, added, removed) for pattern, changed, added, removed in RULES),
    normalise=normal,
    ordered=("disk", "interface", "boot"),
)
