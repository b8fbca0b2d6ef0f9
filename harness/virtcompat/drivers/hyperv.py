"""Microsoft Hyper-V over WS-Management: not built in Debian."""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver, Means

DRIVER: Driver = LibvirtDriver(
    name="hyperv",
    summary="Microsoft Hyper-V (hyperv://HOST)",
    means=Means.ABSENT,
    uri="hyperv://127.0.0.1/",
    since="0.9.5",
    needs="a libvirt built with the hyperv driver, and a Hyper-V host",
    reference="https://libvirt.org/drvhyperv.html",
)
