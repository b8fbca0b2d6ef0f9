"""Interfaces of the host: what the machine has, so only how they are told of is asked (the surface host-behaviour)."""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver, Role

DRIVER: Driver = LibvirtDriver(
    name="interface",
    summary="interfaces of the host",
    role=Role.SECONDARY,
    flavour="sys",
    since="0.6.4",
    reference="https://libvirt.org/format.html",
)
