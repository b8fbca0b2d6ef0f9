"""Security labels of guests (none and DAC here: a lab has neither SELinux nor AppArmor; the surface host-behaviour)."""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver, Role

DRIVER: Driver = LibvirtDriver(
    name="security",
    summary="security labels",
    role=Role.SECONDARY,
    flavour="sys",
    since="0.6.1",
    reference="https://libvirt.org/formatdomain.html#security-label",
)
