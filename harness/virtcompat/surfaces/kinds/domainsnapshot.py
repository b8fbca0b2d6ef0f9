"""Domain snapshots: metadata with the guest's definition of that moment inside."""

from __future__ import annotations

from virtcompat.model import Tier
from virtcompat.surfaces import DocumentSurface, Surface

SURFACE: Surface = DocumentSurface(
    name="domainsnapshot",
    summary="Domain snapshots",
    schema="domainsnapshot.rng",
    keys={"disk": ("@name", "target/@dev"), "controller": ("@type,@index",), "interface": ("mac/@address",)},
    rules=((r"^/domainsnapshot/(inactiveDomain|domain)/", Tier.GUEST_ABI_BREAK, Tier.RISK, Tier.GUEST_ABI_BREAK),),
)
