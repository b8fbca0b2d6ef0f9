"""Devices of the host: what the machine has, so only the shape of what is told is asked (the surface host-behaviour)."""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver, Role

DRIVER: Driver = LibvirtDriver(
    name="node-device",
    summary="devices of the host",
    role=Role.SECONDARY,
    flavour="sys",
    since="0.5.0",
    reference="https://libvirt.org/drvnodedev.html",
)
