"""Node devices: what the host has; read-only on most drivers."""

from __future__ import annotations

from virtcompat.surfaces import DocumentSurface, Surface

SURFACE: Surface = DocumentSurface(
    name="nodedev",
    summary="Node devices",
    schema="nodedev.rng",
    keys={"capability": ("@type",), "domain": (".",)},
    rules=(),
)
