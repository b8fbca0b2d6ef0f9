"""The copy of a user's document that a lab can be asked: what a lab cannot have is replaced, and what was is said.

The user's own document is read and never written. Labs have no KVM, no host devices, no network and no secrets; what
libvirt would draw at random is fixed, and a password is overwritten with as many letters, so that no answer holds it.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

from lxml import etree

from virtcompat.documents import WITH_UUID, mac_of, parse

#: Named by libvirt for guests that KVM runs; without it they are asked as guests that QEMU translates.
ACCELERATED = ("kvm", "hvf")
#: What libvirt refuses in a lab whatever the release, and what is asked in its place.
LIMITS = {
    "devices/tpm/backend[@type='emulator']": "TPM: asked as one of the host's (a lab has no swtpm_setup)",
    "devices/filesystem/driver[@type='virtiofs']": "virtiofs: left out (a lab's libvirt is not the system's)",
    "launchSecurity": "launch security: left out (a lab has no such processor)",
    "cputune/cachetune": "cache allocation: left out (KVM only)",
    "cputune/memorytune": "memory bandwidth: left out (KVM only)",
    "features/kvm/dirty-ring": "the dirty ring: left out (KVM only)",
    "devices/graphics[@tlsPort]": "TLS of a display: left out (a lab's qemu.conf has none)",
}
#: What of a definition is the host's and unseen by the guest: no part of its hardware.
HOST_SIDE = "memoryBacking/hugepages cputune numatune blkiotune memtune resource seclabel cpu/vendor".split()
#: What a command line cannot be made of in a lab: it is compared by its definition alone. A card of any kind becomes a
#: tap device in the command line that libvirt makes, and no lab has /dev/net/tun.
UNBUILT = {
    "devices/interface": "network cards",
    "devices/hostdev": "host devices", "devices/tpm": "the TPM", "launchSecurity": "launch security",
    "devices/disk[@type='vhostuser']": "a vhost-user disk", "devices/disk[@type='vhostvdpa']": "a vDPA disk",
    "devices/disk[@type='nvme']": "a passed-through NVMe disk", "os/smbios[@mode='host']": "the host's SMBIOS tables",
    "devices/filesystem/driver[@type='virtiofs']": "a virtiofs directory",
}  # fmt: skip
#: What goes of a disk whose image becomes a plain file, what stays of the host's own processor.
IMAGE = ("auth", "encryption", "backingStore", "mirror")
SHAPE = ("topology", "numa")


@dataclass(frozen=True, slots=True)
class StandIn:
    """A document for a lab. replaced: what it has otherwise than the user's, in words. kvm: KVM runs this guest."""

    text: str
    replaced: tuple[str, ...] = ()
    kvm: bool = False
    context: tuple[tuple[str, str], ...] = ()


def exact(text: str) -> StandIn:
    """The document as it is but for what no lab has or nobody else should keep: KVM, chance, passwords."""
    root = parse(text)
    digest = hashlib.sha256(etree.tostring(root, method="c14n")).hexdigest()
    kvm = [domain for domain in root.iter("domain") if domain.get("type") in ACCELERATED]
    for domain in kvm:
        domain.set("type", "qemu")
    for element in root.iter("graphics", "listen"):
        if element.get("passwd"):
            element.set("passwd", "x" * len(element.get("passwd", "")))
    _without_chance(root, digest)
    return StandIn(_written(root), (), bool(kvm), _context(root))


def reduced(standin: StandIn) -> StandIn:
    """The same without what libvirt refuses in every lab; the same object where there is nothing of that kind."""
    root = parse(standin.text)
    words = []
    for path, word in LIMITS.items():
        places = [place for domain in _domains(root) for place in domain.findall(path)]
        for place in places:
            _limit(place)
        words += [word] if places else []
    return StandIn(_written(root), tuple(words), standin.kvm, _context(root)) if words else standin


def hardware(text: str) -> StandIn:
    """A domain whose command line can be made in a lab. replaced: which of its devices that is without."""
    root = parse(text)
    gone = []
    for path, word in UNBUILT.items():
        gone += [word] * bool(_remove(root, path))
    for path in (*HOST_SIDE, "devices/graphics[@type='egl-headless']", "devices/graphics/gl"):
        _remove(root, path)
    _processor(root)
    for number, disk in enumerate(root.iterfind("devices/disk")):
        _image(disk, number)
    for listen in root.iterfind("devices/graphics/listen[@type='network']"):
        listen.attrib.clear()
        listen.set("type", "address")
    return StandIn(_written(root), tuple(gone))


def _written(root: etree._Element) -> str:
    return etree.tostring(root, encoding="unicode", pretty_print=True)


def _domains(root: etree._Element) -> list[etree._Element]:
    return [root] if root.tag == "domain" else list(root.iter("domain", "inactiveDomain"))


def _context(root: etree._Element) -> tuple[tuple[str, str], ...]:
    """The guest that a snapshot or checkpoint has in it, which it is put to."""
    domain = root.find("domain")
    if root.tag not in ("domainsnapshot", "domaincheckpoint") or domain is None or domain.find("os") is None:
        return ()
    return (("domain_name", domain.findtext("name", "")), ("domain_xml", _written(domain)))


def _without_chance(root: etree._Element, digest: str) -> None:
    """Write what libvirt would otherwise draw anew each time, from the document's digest."""
    if root.tag in WITH_UUID and not root.findtext("uuid", "").strip():
        _remove(root, "uuid")
        etree.SubElement(root, "uuid").text = str(uuid.UUID(digest[:32], version=4))
    genid = root.find("genid")
    if genid is not None and not genid.text:
        genid.text = str(uuid.UUID(digest[32:], version=4))
    for number, interface in enumerate(root.iterfind("devices/interface")):
        if interface.find("mac") is None:
            interface.insert(0, etree.Element("mac", address=mac_of(digest, number)))
    if root.tag == "network" and root.find("mac") is None:
        etree.SubElement(root, "mac", address=mac_of(digest, 255))


def _limit(place: etree._Element) -> None:
    """Replace one thing that no lab takes, else remove it."""
    if place.tag == "backend":
        place.attrib.clear()
        place.set("type", "passthrough")
        _remove(place, "*")
    elif place.tag == "graphics":
        del place.attrib["tlsPort"]
        _remove(place, "channel")
    else:
        _drop(place)


def _drop(element: etree._Element) -> None:
    """Remove an element; of what is known by its driver the whole device."""
    parent = element.getparent()
    if parent is not None and element.tag == "driver":
        _drop(parent)
    elif parent is not None:
        parent.remove(element)


def _remove(root: etree._Element, path: str) -> int:
    """Remove what a path finds; how many that were."""
    found = root.findall(path)
    for element in found:
        _drop(element)
    return len(found)


def _keep(element: etree._Element, tags: tuple[str, ...]) -> None:
    for child in [c for c in element if c.tag not in tags]:
        element.remove(child)


def _processor(root: etree._Element) -> None:
    """A named model as it is, but not held against the lab's processor; the host's own model becomes the default one."""
    cpu = root.find("cpu")
    if cpu is None:
        return
    if cpu.get("mode", "custom") == "custom":
        cpu.set("check", "none")
        return
    cpu.attrib.clear()
    _keep(cpu, SHAPE)
    if not len(cpu):
        root.remove(cpu)


def _image(disk: etree._Element, number: int) -> None:
    """A disk on a plain file, which nothing opens."""
    whole = disk.get("device") == "lun"
    for tag in IMAGE:
        _remove(disk, tag)
    source = disk.find("source")
    disk.set("type", "block" if whole else "file")
    if source is not None:
        _remove(source, "*")
        source.attrib.clear()
        source.set("dev" if whole else "file", f"/stand-in/{number}")
