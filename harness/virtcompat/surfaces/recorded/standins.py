"""Drivers on stand-ins: what the release's own openvz, vmware and esx drivers ask of a hypervisor, and make of its answers.

The stand-ins are this project's (``data/standins/``) and the same for every release, so that a difference is the driver's. What
a driver would meet at a real hypervisor beyond what they do is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from virtcompat.model import Change, Finding, Tier
from virtcompat.surfaces import RecordedSurface
from virtcompat.surfaces.standins.esx import esx
from virtcompat.surfaces.standins.openvz import openvz
from virtcompat.surfaces.standins.vmware import vmware

PRODUCT = "libvirt"


def outcomes(old: Mapping[str, str], new: Mapping[str, str], _back: bool) -> Iterator[Finding]:
    """What came of a step on both sides: what no longer works, what works now, what fails in another way."""
    for path in sorted(old.keys() & new.keys()):
        if path.endswith("/outcome") and old[path] != new[path]:
            worked = old[path] == "accepted", new[path] == "accepted"
            change = {(True, False): Change.REFUSED, (False, True): Change.ACCEPTED}.get(worked, Change.CHANGED)
            died = new[path].startswith(("crashed", "hung"))
            tier = {Change.REFUSED: Tier.BREAK, Change.ACCEPTED: Tier.ADDITION}.get(change, Tier.RISK)
            yield Finding(path, change, Tier.BREAK if died else tier, old[path], new[path], PRODUCT)


SURFACE = RecordedSurface(
    name="standins",
    summary="what the openvz, vmware and esx drivers ask of a hypervisor (stand-ins), and what they make of its answers",
    product=PRODUCT,
    parts={"openvz": openvz, "vmware": vmware, "esx": esx},
    interface=r"[^/]+/[^/]+/[^/]+",
    rules=(
        (r"/outcome$", Tier.IDENTICAL, Tier.IDENTICAL, Tier.IDENTICAL),
        # What is asked anew the hypervisor must have; in which order, and how often, is the driver's own business.
        (r"/asked(/|$)", Tier.ADDITION, Tier.RISK, Tier.ADDITION),
        (r"/order$|/words$", Tier.ADDITION, Tier.ADDITION, Tier.ADDITION),
        # Where a step begins or ceases to work, that is the finding; what it returns comes or goes with it.
        (r"^[^/]+/[^/]+/[^/]+$|/xml$|/value$", Tier.BREAK, Tier.ADDITION, Tier.ADDITION),
    ),
    # Going back: an older driver shows less and asks for less; what it calls by another name, or refuses, is a break.
    backward=(
        (r"/outcome$|/asked(/|$)|/order$|/words$", Tier.IDENTICAL, Tier.IDENTICAL, Tier.IDENTICAL),
        (r"", Tier.BREAK, Tier.ADDITION, Tier.ADDITION),
    ),
    special=outcomes,
)
