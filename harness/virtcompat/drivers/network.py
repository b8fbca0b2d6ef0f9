"""Virtual networks and their ports: a bridge, dnsmasq and firewall rules each."""

from __future__ import annotations

from dataclasses import replace

from virtcompat.drivers import HOST, Driver, LibvirtDriver, Role

DRIVER: Driver = LibvirtDriver(
    name="network",
    summary="virtual networks and their ports",
    role=Role.SECONDARY,
    kinds={
        "network": replace(HOST, disk="qemu/networks/{name}.xml"),
        "networkport": replace(HOST, forms=("inactive",)),
    },
    since="0.2.0",
    reference="https://libvirt.org/drvnetwork.html",
)
