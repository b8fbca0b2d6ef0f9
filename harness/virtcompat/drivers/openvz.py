"""The OpenVZ driver: libvirt's own code, over stand-ins for vzctl and vzlist that keep configuration files as OpenVZ does.

A container is called by its number. What is written down of a definition is little: the driver keeps the rest in memory
and has lost it when it is opened again. libvirt cannot undefine what it has defined here (see ``standins``), so that a
document that is asked for twice is defined over itself.
"""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver, Means
from virtcompat.model import Setup

DRIVER: Driver = LibvirtDriver(
    name="openvz",
    summary="OpenVZ containers (openvz:///system)",
    kinds={
        "domain": Setup(
            uri="openvz:///system",
            root="/etc/vz",
            forms=("inactive", "secure", "migratable", "disk"),
            disk="conf/{name}.conf",
            stage="openvz",
        )
    },
    means=Means.STAND_IN,
    uri="openvz:///system",
    native=(),
    since="0.3.1",
    needs="for real: a kernel with OpenVZ, which no distribution has any more",
    reference="https://libvirt.org/drvopenvz.html",
)
