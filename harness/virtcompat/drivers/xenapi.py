"""XenServer by XenAPI: removed."""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver, Means

DRIVER: Driver = LibvirtDriver(
    name="xenapi",
    summary="Citrix XenServer (xenapi://HOST)",
    means=Means.ABSENT,
    uri="xenapi://127.0.0.1/",
    since="0.8.0",
    until="5.8.0",
    needs="a libvirt older than 5.8.0, and a XenServer",
    reference="https://libvirt.org/news.html#v5-8-0-2019-10-05",
)
