"""The VMware driver for Workstation and Player: libvirt's own code, over stand-ins for vmrun, vmware and vmplayer.

It writes a .vmx file for each definition. When it is opened it knows those machines only that run, so a machine's file is
given to another release as a machine that has been running all along.
"""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver, Means
from virtcompat.model import Setup

DRIVER: Driver = LibvirtDriver(
    name="vmware",
    summary="VMware Workstation and Player (vmwarews:///session)",
    kinds={
        "domain": Setup(
            uri="vmwarews:///session",
            root="/var/lib/vmware/Virtual Machines",
            forms=("inactive", "secure", "migratable", "disk"),
            disk="{name}.vmx",
            stage="vmware",
        )
    },
    means=Means.STAND_IN,
    uri="vmwarews:///session",
    native=("vmware-vmx",),
    since="0.8.7",
    needs="for real: VMware Workstation or Player, which are not free software",
    reference="https://libvirt.org/drvvmware.html",
)
