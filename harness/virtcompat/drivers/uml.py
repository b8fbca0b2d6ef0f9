"""User Mode Linux: removed."""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver, Means

DRIVER: Driver = LibvirtDriver(
    name="uml",
    summary="User Mode Linux (uml:///system)",
    means=Means.ABSENT,
    uri="uml:///system",
    since="0.5.0",
    until="5.0.0",
    needs="a libvirt older than 5.0.0",
    reference="https://libvirt.org/news.html#v5-0-0-2019-01-15",
)
