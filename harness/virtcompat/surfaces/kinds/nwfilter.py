"""Network filters: rules and references, whose order has meaning."""

from __future__ import annotations

from virtcompat.surfaces import DocumentSurface, Surface

SURFACE: Surface = DocumentSurface(
    name="nwfilter",
    summary="Network filters",
    schema="nwfilter.rng",
    keys={"parameter": ("@name",)},
    rules=(),
)
