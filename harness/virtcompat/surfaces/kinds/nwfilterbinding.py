"""Network filter bindings: which filter is applied to which port."""

from __future__ import annotations

from virtcompat.surfaces import DocumentSurface, Surface

SURFACE: Surface = DocumentSurface(
    name="nwfilterbinding",
    summary="Network filter bindings",
    schema="nwfilterbinding.rng",
    keys={"parameter": ("@name",)},
    rules=(),
)
