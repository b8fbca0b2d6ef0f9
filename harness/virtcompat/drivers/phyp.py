"""IBM PowerVM: removed."""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver, Means

DRIVER: Driver = LibvirtDriver(
    name="phyp",
    summary="IBM PowerVM, by ssh to its console (phyp://HOST)",
    means=Means.ABSENT,
    uri="phyp://127.0.0.1/",
    since="0.7.0",
    until="6.0.0",
    needs="a libvirt older than 6.0.0, and a PowerVM console",
    reference="https://libvirt.org/news.html#v6-0-0-2020-01-15",
)
