"""Storage pools: directories, file systems, logical volumes, network storage."""

from __future__ import annotations

from dataclasses import replace

from virtcompat.drivers import HOST, Driver, LibvirtDriver, Role

DRIVER: Driver = LibvirtDriver(
    name="storage",
    summary="storage pools and volumes",
    role=Role.SECONDARY,
    kinds={"storagepool": replace(HOST, disk="storage/{name}.xml")},
    since="0.4.0",
    reference="https://libvirt.org/storage.html",
)
