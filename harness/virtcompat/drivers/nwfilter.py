"""Network filters and their bindings to interfaces."""

from __future__ import annotations

from dataclasses import replace

from virtcompat.drivers import HOST, Driver, LibvirtDriver, Role

DRIVER: Driver = LibvirtDriver(
    name="nwfilter",
    summary="network filters and their bindings",
    role=Role.SECONDARY,
    kinds={
        "nwfilter": replace(HOST, disk="nwfilter/{name}.xml"),
        "nwfilterbinding": replace(HOST, forms=("inactive",)),
    },
    since="0.8.0",
    reference="https://libvirt.org/formatnwfilter.html",
)
