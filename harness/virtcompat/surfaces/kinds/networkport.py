"""Network ports: what connects a guest's interface to a virtual network."""

from __future__ import annotations

from virtcompat.surfaces import DocumentSurface, Surface

SURFACE: Surface = DocumentSurface(
    name="networkport",
    summary="Network ports",
    schema="networkport.rng",
    keys={"tag": ("@id",)},
    rules=(),
)
