"""Virtual networks: bridges, NAT, DHCP, DNS and port groups."""

from __future__ import annotations

from virtcompat.surfaces import DocumentSurface, Surface

SURFACE: Surface = DocumentSurface(
    name="network",
    summary="Virtual networks",
    schema="network.rng",
    keys={
        "ip": ("@address",),
        "host": ("@name", "@mac", "@ip"),
        "portgroup": ("@name",),
        "route": ("@address",),
        "tag": ("@id",),
        "srv": ("@service",),
        "txt": ("@name",),
    },
    rules=(),
)
