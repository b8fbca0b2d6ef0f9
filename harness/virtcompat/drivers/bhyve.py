"""FreeBSD's bhyve: built on FreeBSD only."""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver, Means

DRIVER: Driver = LibvirtDriver(
    name="bhyve",
    summary="FreeBSD's hypervisor (bhyve:///system)",
    means=Means.ABSENT,
    uri="bhyve:///system",
    since="1.2.2",
    needs="a FreeBSD host with libvirt, as a lab over ssh",
    native=("bhyve-argv",),
    reference="https://libvirt.org/drvbhyve.html",
)
