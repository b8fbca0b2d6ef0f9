"""Secrets: what a secret is for, never its value."""

from __future__ import annotations

from virtcompat.surfaces import DocumentSurface, Surface

SURFACE: Surface = DocumentSurface(
    name="secret",
    summary="Secrets",
    schema="secret.rng",
    keys={},
    rules=(),
)
