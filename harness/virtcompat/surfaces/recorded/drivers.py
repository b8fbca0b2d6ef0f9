"""The drivers of a build: what opening each one answers, and which calls of the API each implements."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from lxml import etree

from virtcompat import drivers
from virtcompat.documents import words_of
from virtcompat.errors import BadData
from virtcompat.labs.visit import Visit, one
from virtcompat.model import Tier
from virtcompat.surfaces import RecordedSurface

TABLES = "/usr/share/doc/libvirt-doc/html/hvsupport.html"
#: What the table calls a driver, where that is not the driver's name.
NAMES = {"libxl": "xen", "bridge": "network", "udev": "node-device"}
LIMIT = 20
VERSION = re.compile(r"\d+\.\d+\.\d+")


def opening(visit: Visit) -> dict[str, str]:
    """What libvirt says to each driver's URI, the system daemon running beside it: a live host's own, where it has one.

    ``lxc/open = LXC``, what the connection calls itself, or ``hyperv/closed = refused: 67: …`` with the code
    (virErrorNumber) and the message, without its paths, addresses and numbers of processes.
    """
    uris = {name: driver.uri for name, driver in drivers.every().items() if driver.uri}
    daemon = drivers.host_files() if visit.lab.sandboxed else None
    reply = visit.ask("open_probe.py", {"op": "census", "uris": uris, "limit": LIMIT}, 60.0 + LIMIT * len(uris), daemon)
    return dict(_said(name, answer) for name, answer in reply["answers"].items())


def _said(name: str, answer: Mapping[str, object]) -> tuple[str, str]:
    if answer["status"] == "opened":
        return f"{name}/open", str(answer["type"])
    code = f"{answer['code']}: " if "code" in answer else ""
    words = re.sub(r"'[^']*[/:][^']*'|\b\d{2,}\b", "…", " ".join(str(answer.get("message", "")).split()))
    return f"{name}/closed", f"{answer['status']}: {code}{words}"


def support(visit: Visit) -> dict[str, str]:
    """``lxc/api/virDomainSuspend = 0.7.2``: libvirt's own table of calls by driver, with the version that has it.

    Read from hvsupport.html of libvirt's documentation; BadData where it holds no such table.
    """
    file, text = next(iter(one(visit, "table of calls by driver", "libvirt-doc", TABLES).items()))
    tree = etree.fromstring(text, etree.HTMLParser())
    facts = {path: version for table in tree.iter("table") for path, version in _calls(table)}
    if not facts:
        raise BadData(file, "holds no table of calls by driver", "install libvirt-doc of the release again")
    return facts


def _calls(table: etree._Element) -> Iterator[tuple[str, str]]:
    rows = [[words_of(cell) for cell in row] for row in table.iter("tr")]
    if not rows or rows[0][:1] != ["API"]:
        return
    for row in rows[1:]:
        for name, version in zip(rows[0][2:], row[2:], strict=False):
            if VERSION.search(version):
                yield f"{NAMES.get(name, name)}/api/{row[0]}", version


SURFACE = RecordedSurface(
    name="drivers",
    summary="libvirt's drivers: what opening each answers in this build, and which calls each implements",
    product="libvirt",
    parts={"opening": opening, "support": support},
    interface=r"^[^/]+/(open|closed|api/[^/]+)",
    rules=(
        # That a driver opens no longer is what breaks; how one that is not there is refused is worth a look.
        (r"/open$", Tier.RISK, Tier.ADDITION, Tier.BREAK),
        (r"/closed$", Tier.RISK, Tier.ADDITION, Tier.ADDITION),
        # A call that a driver had and has no longer.
        (r"/api/", Tier.ADDITION, Tier.ADDITION, Tier.BREAK),
    ),
    flavour="sys",
    passing=True,
)
