"""Storage volumes; allocation and times belong to the file, not to the definition."""

from __future__ import annotations

from virtcompat.surfaces import DocumentSurface, Surface

SURFACE: Surface = DocumentSurface(
    name="storagevol",
    summary="Storage volumes",
    schema="storagevol.rng",
    keys={"feature": (".",)},
    rules=(),
    ignored=(
        r"^/volume/(target|backingStore)/timestamps\b",
        r"^/volume/physical\b",
    ),
)
