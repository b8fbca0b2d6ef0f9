"""What libvirt's secondary drivers do on a host: each called through the system daemon, and its deeds looked at.

The host is a lab in namespaces of its own: networks really start, volumes are really made, guests really run under TCG.
The scenes are in ``surfaces/behaviour``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from virtcompat.facts import parent
from virtcompat.model import Change, Finding, Tier
from virtcompat.surfaces import RecordedSurface
from virtcompat.surfaces.behaviour.cpu import cpu
from virtcompat.surfaces.behaviour.interface import interface
from virtcompat.surfaces.behaviour.network import network
from virtcompat.surfaces.behaviour.node_device import node_device
from virtcompat.surfaces.behaviour.nwfilter import nwfilter
from virtcompat.surfaces.behaviour.secret import secret
from virtcompat.surfaces.behaviour.security import security
from virtcompat.surfaces.behaviour.storage import storage

ADDITION, RISK, BREAK, SILENT = Tier.ADDITION, Tier.RISK, Tier.BREAK, Tier.IDENTICAL
#: Rules and commands, whose value is their place in a list.
PLACED = re.compile(r"/(?:firewall|tc)/.*\[.*\]$")
#: What is told where all is well.
KEPT = ("as sent", "as set", "the same", "nothing", "zeros", "gone", "has a lease", "as before", "adds up")
#: Where a value is what was asked for: the size of a volume, whether something runs, the address that a guest got.
EXACT = re.compile(
    r"^network/.*/(?:active|address/.*)$|^network/lease/(?:given/(?:ip|subnet|router)|name/.*)$"
    r"|^storage/.*/(?:active|size|virtual-size|capacity)$"
)


def _tier(path: str, was: str, now: str, back: bool) -> Tier:
    """The tier of a fact that has another value: by what was allowed and is refused, and what was right and is not."""
    if was == "no-binding" or (_refused(was) and not _refused(now) and not _ended(now)):
        return ADDITION
    if now == "no-binding":
        return ADDITION if back else BREAK
    if _ended(now) or (_refused(now) and not _refused(was)):
        # What a newer release has come to allow an older one may still refuse.
        return RISK if back and not _ended(now) else BREAK
    if was in KEPT or (EXACT.search(path) and not _refused(was)):
        return BREAK
    return RISK


def _refused(value: str) -> bool:
    return value.startswith("refused") or value == "garbled"


def _ended(value: str) -> bool:
    return value in ("crashed", "hung")


def _changed(old: Mapping[str, str], new: Mapping[str, str], back: bool) -> Iterator[Finding]:
    lists: dict[str, list[str]] = {}
    for path in sorted(old.keys() & new.keys()):
        if PLACED.search(path) and old[path][:1].isdigit() and new[path][:1].isdigit():
            lists.setdefault(parent(path), []).append(path)
        elif old[path] != new[path]:
            tier = _tier(path, old[path], new[path], back)
            yield Finding(path, Change.CHANGED, tier, old[path], new[path], "libvirt")
    # A rule's place in its chain counts by the rules that both have: what comes or goes before it moves it in no way.
    for above, paths in lists.items():
        orders = [
            " ".join(path[len(above) + 1 :] for path in sorted(paths, key=lambda p: _place(of[p]))) for of in (old, new)
        ]
        if orders[0] != orders[1]:
            yield Finding(f"{above}/(order)", Change.CHANGED, RISK, orders[0], orders[1], "libvirt")


def _place(value: str) -> int:
    return int(value.split(",")[0])


#: What differs in value is judged by ``_changed``.
COMMON = (
    (r"/(?:firewall|tc|dnsmasq)/", SILENT, RISK, RISK),
    # What could not go on tells less; why it could not is told beside it.
    (r"/\(stopped\)", SILENT, BREAK, ADDITION),
)

SURFACE = RecordedSurface(
    name="host-behaviour",
    summary="What the secondary drivers do: networks, storage, secrets, filters, interfaces, devices, CPUs, security labels",
    product="libvirt",
    parts={
        "network": network, "storage": storage, "secret": secret, "nwfilter": nwfilter, "interface": interface,
        "node_device": node_device, "cpu": cpu, "security": security,
    },
    rules=(
        *COMMON,
        (r"^cpu/models/", SILENT, ADDITION, BREAK),
        (r"", SILENT, ADDITION, RISK),
    ),
    backward=(*COMMON, (r"", SILENT, ADDITION, ADDITION)),
    special=_changed,
    flavour="sys",
)  # fmt: skip
