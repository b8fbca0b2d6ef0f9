"""Storage pools; how full they are is state, not definition."""

from __future__ import annotations

from virtcompat.surfaces import DocumentSurface, Surface

SURFACE: Surface = DocumentSurface(
    name="storagepool",
    summary="Storage pools",
    schema="storagepool.rng",
    keys={"host": ("@name",), "device": ("@path",)},
    rules=(),
    ignored=(r"^/pool/(capacity|allocation|available)\b",),
)
