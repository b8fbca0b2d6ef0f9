"""VirtualBox: in the build, but no VirtualBox of a version that it takes can be had."""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver, Means

DRIVER: Driver = LibvirtDriver(
    name="vbox",
    summary="Oracle VirtualBox (vbox:///session)",
    means=Means.ABSENT,
    uri="vbox:///session",
    flavour="sys",
    since="0.6.3",
    needs="VirtualBox: 5.2 to 6.1 for libvirt 7.0 and 9.0, 7.0 for 11.3 and 12.8",
    reference="https://libvirt.org/drvvbox.html",
)
