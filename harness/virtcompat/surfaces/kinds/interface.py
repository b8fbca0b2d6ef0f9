"""Host network interfaces."""

from __future__ import annotations

from virtcompat.surfaces import DocumentSurface, Surface

SURFACE: Surface = DocumentSurface(
    name="interface",
    summary="Host interfaces",
    schema="interface.rng",
    keys={"protocol": ("@family",), "ip": ("@address",)},
    rules=(),
)
