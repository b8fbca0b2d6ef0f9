"""Cloud Hypervisor: built by no Debian release yet."""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver, Means

DRIVER: Driver = LibvirtDriver(
    name="ch",
    summary="Cloud Hypervisor (ch:///system)",
    means=Means.ABSENT,
    uri="ch:///system",
    since="7.5.0",
    needs="a libvirt built with the ch driver, cloud-hypervisor and KVM, as a lab over ssh",
    reference="https://libvirt.org/drvch.html",
)
