"""The documents of a guest's life: given its identity, edited as an administrator would, put together for a new host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from lxml import etree

from virtcompat.documents import parse

#: The test driver's own elements within a domain of its configuration file (test:///path).
NAMESPACE = "http://libvirt.org/schemas/domain/test/1.0"
#: virDomainState of a guest in it.
STATES = {"running": 1, "paused": 3, "shutoff": 5}
NOTE = "http://virt-compat.example/life"
DISK = "<disk type='file' device='disk'><source file='/life.img'/><target dev='vdz' bus='virtio'/></disk>"
INTERFACE = "<interface type='user'><mac address='52:54:00:1f:e0:01'/></interface>"
ATTACHED = "<disk type='file' device='disk'><source file='/attached.img'/><target dev='vdy' bus='virtio'/></disk>"
TITLE = "a title"
MORE_KIB = 65536


def written(root: etree._Element) -> str:
    return etree.tostring(root, encoding="unicode", pretty_print=True)


def named(text: str, guest: str, uuid: str) -> str:
    """A document as that of a guest; where it says its UUID once more (SMBIOS), there too."""
    root = parse(text)
    own = (root.findtext("uuid") or "").strip()
    root = parse(text.replace(own, uuid)) if own else root
    for tag, value in (("uuid", uuid), ("name", guest)):
        element = root.find(tag)
        if element is None:
            element = etree.Element(tag)
            root.insert(0, element)
        element.text = value
    return written(root)


@lru_cache(maxsize=1024)
def editable(text: str, what: str) -> bool:
    """Whether a definition can be edited in this way without a further one that libvirt would make of it."""
    root = parse(text)
    if what == "memory":
        # With NUMA cells or memory devices the amount is their sum, whatever is written.
        tied = ("cpu/numa", "maxMemory", "devices/memory", "memoryBacking", "memtune")
        return not any(root.find(tag) is not None for tag in tied)
    if what == "drop-device":
        return _droppable(root) is not None
    added = {
        "add-disk": "devices/disk/target[@dev='vdz']",
        "add-interface": "devices/interface/mac[@address='52:54:00:1f:e0:01']",
    }
    return what not in added or (root.find("devices") is not None and root.find(added[what]) is None)


def edited(text: str, what: str) -> str:
    """A definition after an edit. what: one of the model's EDITS, ``attach`` or ``detach``."""
    root = parse(text)
    devices = root.find("devices")
    if what == "memory":
        _more_memory(root)
    elif what == "description":
        _text(root, "description", "edited, with <signs> & 'quotes'")
    elif what == "title":
        _text(root, "title", TITLE)
    elif what == "metadata":
        _note(root)
    elif what == "drop-device":
        dropped = _droppable(root)
        assert devices is not None
        assert dropped is not None
        devices.remove(dropped)
    elif what == "detach" and devices is not None:
        for disk in devices.findall("disk"):
            if disk.find("target[@dev='vdy']") is not None:
                devices.remove(disk)
    elif devices is not None:
        _insert(devices, parse({"add-disk": DISK, "add-interface": INTERFACE, "attach": ATTACHED}[what]))
    return written(root)


def _more_memory(root: etree._Element) -> None:
    for tag in ("memory", "currentMemory"):
        element = root.find(tag)
        if element is not None:
            element.text = str(int(element.text or "0") + MORE_KIB)


def _text(root: etree._Element, tag: str, value: str) -> None:
    element = root.find(tag)
    if element is None:
        element = etree.Element(tag)
        first = root.find("memory")
        root.insert(list(root).index(first) if first is not None else 0, element)
    element.text = value


def _note(root: etree._Element) -> None:
    metadata = root.find("metadata")
    if metadata is None:
        metadata = etree.Element("metadata")
        root.append(metadata)
    for old in metadata.findall(f"{{{NOTE}}}note"):
        metadata.remove(old)
    etree.SubElement(metadata, f"{{{NOTE}}}note", nsmap={"life": NOTE}, owner="operator")


def _insert(devices: etree._Element, device: etree._Element) -> None:
    """Among its likes, the last: libvirt writes devices in the order of their kinds."""
    likes = devices.findall(str(device.tag))
    emulator = devices.findall("emulator")
    before = likes or emulator
    devices.insert(list(devices).index(before[-1]) + 1 if before else 0, device)


def _droppable(root: etree._Element) -> etree._Element | None:
    """The last disk or network interface, if nothing else of the definition names it."""
    found = root.findall("devices/disk") + root.findall("devices/interface")
    return found[-1] if found else None


def inner(text: str) -> str:
    """The guest's definition in a snapshot or checkpoint, empty where there is none."""
    domain = parse(text).find("domain")
    return "" if domain is None else written(domain)


@lru_cache(maxsize=512)
def without_runtime(text: str) -> str:
    """A definition without what a guest has only while it runs: the number of its run, the names of its devices, how much
    of a memory device it uses."""
    root = parse(text)
    root.attrib.pop("id", "")
    for element in [e for e in root.iter("alias") if not e.get("name", "").startswith("ua-")]:
        _drop(element)
    for element in root.findall("devices/memory/target/current"):
        _drop(element)
    return written(root)


def _drop(element: etree._Element) -> None:
    above = element.getparent()
    if above is not None:
        above.remove(element)


def in_order(tree: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of snapshots or checkpoints, parents first."""
    left, found = dict(tree), list[str]()
    while left:
        ready = [name for name, one in left.items() if one["parent"] in found or one["parent"] not in left]
        for name in sorted(ready) or sorted(left):
            found.append(name)
            del left[name]
    return found


def node(guests: Sequence[Mapping[str, Any]]) -> bytes:
    """The test driver's configuration file with these guests, each as a host says it."""
    root = etree.Element("node")
    for seen in guests:
        root.append(_kept(seen))
    return etree.tostring(root, encoding="utf-8")


def _kept(seen: Mapping[str, Any]) -> etree._Element:
    """A guest as that file keeps it: its definition, its snapshots, how it was."""
    domain = parse(seen["live"] or seen["inactive"])
    domain.attrib.pop("id", "")
    spaces = {str(name): uri for name, uri in domain.nsmap.items() if name} | {"test": NAMESPACE}
    made = etree.Element("domain", {str(name): str(value) for name, value in domain.attrib.items()}, nsmap=spaces)
    made.extend(list(domain))
    for name in in_order(seen["snapshots"]):
        snapshot = parse(seen["snapshots"][name]["text"])
        snapshot.tag = f"{{{NAMESPACE}}}domainsnapshot"
        etree.SubElement(snapshot, "active").text = str(int(seen["snapshots"][name]["current"]))
        made.append(snapshot)
    if not seen["persistent"]:
        etree.SubElement(made, f"{{{NAMESPACE}}}transient")
    if seen["managed"]:
        etree.SubElement(made, f"{{{NAMESPACE}}}hasmanagedsave")
    etree.SubElement(made, f"{{{NAMESPACE}}}runstate").text = str(STATES.get(seen["state"], 1))
    return made
