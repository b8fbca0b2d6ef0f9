"""Domain checkpoints: metadata with the guest's definition of that moment inside."""

from __future__ import annotations

from virtcompat.model import Tier
from virtcompat.surfaces import DocumentSurface, Surface

SURFACE: Surface = DocumentSurface(
    name="domaincheckpoint",
    summary="Domain checkpoints",
    schema="domaincheckpoint.rng",
    keys={"disk": ("@name", "target/@dev"), "controller": ("@type,@index",), "interface": ("mac/@address",)},
    rules=((r"^/domaincheckpoint/(inactiveDomain|domain)/", Tier.GUEST_ABI_BREAK, Tier.RISK, Tier.GUEST_ABI_BREAK),),
)
