"""XML documents read without trusting them: no entity, no DTD, no file and no network access, bounded size and depth."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from lxml import etree

from virtcompat.errors import BadData

LIMIT = 8 * 1024 * 1024
ROOTS = {
    "domain": "domain", "domainsnapshot": "domainsnapshot", "domaincheckpoint": "domaincheckpoint",
    "network": "network", "networkport": "networkport", "storagepool": "pool", "storagevol": "volume",
    "secret": "secret", "nwfilter": "filter", "nwfilterbinding": "filterbinding", "interface": "interface",
    "nodedev": "device",
}  # fmt: skip
#: Roots whose object has a <uuid> and a <name> of its own as an element.
WITH_UUID = frozenset(("domain", "network", "pool", "secret", "filter", "networkport"))
WITH_NAME = frozenset(("domain", "network", "pool", "volume", "domainsnapshot", "domaincheckpoint"))
#: Modes of forwarding in which a network has no bridge of libvirt's own: none is given an address, and one is refused.
UNBRIDGED = ("bridge", "private", "vepa", "passthrough", "hostdev")
#: Type of a virtual port of a guest's interface -> what libvirt draws for it.
PORTS = {"": ("instanceid", "interfaceid"), "802.1Qbg": ("instanceid",), "openvswitch": ("interfaceid",)}
KIND_OF_ROOT = {root: kind for kind, root in ROOTS.items()}


class NotWellFormed(ValueError):
    """A text that no XML parser accepts; the message is the parser's."""


def parser(blank: bool = False) -> etree.XMLParser:
    """A parser that expands nothing, fetches nothing and keeps libxml2's limits on size and depth."""
    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False,
        remove_comments=not blank, remove_pis=not blank, remove_blank_text=not blank,
    )  # fmt: skip


def parse(text: str) -> etree._Element:
    """The root element without comments and insignificant white space; NotWellFormed where there is none."""
    try:
        root = etree.fromstring(text.encode("utf-8"), parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        raise NotWellFormed(str(error)) from error
    if root is None:
        raise NotWellFormed("no element")
    return root


@lru_cache(maxsize=2048)
def canonical(text: str) -> bytes:
    """The bytes that two writings of the same tree share (C14N without comments and indentation)."""
    return bytes(etree.tostring(parse(text), method="c14n"))


def read_text(file: Path) -> str:
    """A document file as text, its XML declaration taken off; BadData for whatever is hostile or broken."""
    try:
        size = file.stat().st_size
        if size > LIMIT:
            raise BadData(file, f"{size} bytes: larger than {LIMIT}", "a fixture is small and about one behaviour")
        data = file.read_bytes()
    except OSError as error:
        raise BadData(file, f"cannot be read: {error.strerror}", "check the path and its permissions") from error
    if b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise BadData(file, "contains a NUL byte", "remove it: XML has no NUL character", line)
    try:
        root = etree.fromstring(data, parser(blank=True))
    except (etree.XMLSyntaxError, ValueError) as error:
        where = getattr(error, "lineno", None) or 1
        words = getattr(error, "msg", None) or error  # an XMLSyntaxError as text names a file "<string>"
        raise BadData(file, f"not well-formed XML: {words}", "correct the document", where) from error
    info = root.getroottree().docinfo
    if info.internalDTD is not None:
        raise BadData(file, "has a document type declaration (entities could be expanded)", "remove <!DOCTYPE …>")
    encoding = (info.encoding or "UTF-8").lower()
    text = data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    return re.sub(r"^\s*<\?xml[^>]*\?>\s*", "", text)


def root_tag(text: str) -> str:
    found = re.search(r"<([A-Za-z_][\w.-]*)", re.sub(r"<!--.*?-->|<\?.*?\?>", "", text, flags=re.DOTALL))
    return found[1] if found else ""


def check_root(file: Path, text: str, kind: str) -> None:
    """Refuse a document in the folder of another kind."""
    tag = root_tag(text)
    if kind not in ROOTS:
        raise BadData(file, f"'{kind}' is not a document kind", f"move it to one of: {', '.join(sorted(ROOTS))}")
    if tag != ROOTS[kind]:
        home = KIND_OF_ROOT.get(tag)
        remedy = f"move it to fixtures/{home}/" if home else f"the root element must be <{ROOTS[kind]}>"
        raise BadData(file, f"root element <{tag}> in the folder of {kind}", remedy)


def name_of(text: str) -> str:
    """The name a document gives its object, as an element or (network filters) as an attribute."""
    root = parse(text)
    return root.findtext("name") or root.get("name") or ""


def mac_of(digest: str, number: int) -> str:
    return f"52:54:{digest[:2]}:{digest[2:4]}:{digest[4:6]}:{number % 256:02x}"


def arch_of(text: str) -> str:
    """The architecture a domain asks for, empty where it leaves that open or is no domain."""
    kind = parse(text).find("os/type")
    return kind.get("arch", "") if kind is not None else ""


def pin(text: str, machines: Mapping[str, str] | None = None) -> tuple[str, str]:
    """A document of somebody else's with name and UUID made unique and whatever libvirt would draw at random fixed.

    machines: alias of a machine type -> the versioned type to write in its place, ``""`` for none at all; an
    alias means another machine to every release, which would drown every other difference. Only guests of type hvm have one.

    Returns the text and the digest of what was pinned *from*; two documents that differ only in comments,
    indentation, name or UUID have the same digest.
    """
    root = parse(text)
    _blank_identity(root)
    digest = hashlib.sha256(etree.tostring(root, method="c14n")).hexdigest()
    if root.tag == "device":
        return etree.tostring(parse(text), encoding="unicode"), digest
    if root.tag in WITH_UUID:
        _put_first(root, "uuid", str(uuid.UUID(digest[:32], version=4)))
    if root.tag in WITH_NAME:
        _put_first(root, "name", f"vc{digest[:12]}")
    _fix_random(root, digest)
    kind = root.find("os/type")
    hvm = kind is not None and kind.text == "hvm"
    if root.tag == "domain" and kind is not None and hvm and kind.get("arch", "x86_64") in ("x86_64", "i686"):
        versioned = (machines or {}).get(kind.get("machine", ""))
        if versioned:
            kind.set("machine", versioned)
    return etree.tostring(root, encoding="unicode", pretty_print=True), digest


def _blank_identity(root: etree._Element) -> None:
    """Empty the first name and UUID and drop any other."""
    for tag in ("name", "uuid"):
        for number, element in enumerate(root.findall(tag)):
            if number:
                root.remove(element)
            element.text = ""


def _fix_random(root: etree._Element, digest: str) -> None:
    """Write what libvirt would otherwise draw anew at each definition, also for the guest in a snapshot or checkpoint."""
    drawn = str(uuid.UUID(digest[32:64], version=4))
    for genid in root.iter("genid"):
        genid.text = genid.text or drawn
    for number, interface in enumerate(root.iterfind(".//devices/interface")):
        if interface.find("mac") is None:
            interface.insert(0, etree.Element("mac", address=mac_of(digest, number)))
        for port in interface.iterfind("virtualport"):
            _fix_port(port, drawn)
    if root.tag == "networkport":
        # Of a network's port only this type's is drawn; the others' are demanded.
        for port in root.iterfind("virtualport[@type='openvswitch']"):
            _fix_port(port, drawn)
    forward = root.find("forward")
    bridged = forward is None or forward.get("mode", "nat") not in UNBRIDGED
    if root.tag == "network" and bridged and root.find("mac") is None:
        root.append(etree.Element("mac", address=mac_of(digest, 255)))


def _fix_port(port: etree._Element, drawn: str) -> None:
    """Write the identities that libvirt draws for this type of virtual port where there are none."""
    missing = [a for a in PORTS.get(port.get("type", ""), ()) if all(p.get(a) is None for p in port.iter("parameters"))]
    if not missing:
        return
    parameters = port.find("parameters")
    if parameters is None:
        parameters = etree.SubElement(port, "parameters")
    for attribute in missing:
        parameters.set(attribute, drawn)


def _put_first(root: etree._Element, tag: str, text: str) -> None:
    element = root.find(tag)
    if element is None:
        root.insert(0, etree.Element(tag))
        root[0].text = text
    else:
        element.text = text


def words_of(element: etree._Element) -> str:
    """The text in an element and all below it, white space folded."""
    return " ".join("".join(str(part) for part in element.itertext()).split())
