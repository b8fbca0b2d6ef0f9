"""The Xen driver (libxl): the release's own hypervisor and libvirtd under TCG, asked over TCP.

The documents are asked in the flavour ``xen``, whose sandbox has such a host running when the probe opens its
connection (labs/xen.py). The client and the daemon are of the same release. The file that the daemon keeps of a guest
is out of the probe's reach: nothing is asked about a driver that starts on a file.
"""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver, Means
from virtcompat.model import Setup

GUEST = Setup(
    uri="xen+tcp://127.0.0.1/system", forms=("inactive", "secure", "migratable"), time_limit=60.0, flavour="xen"
)

DRIVER: Driver = LibvirtDriver(
    name="xen",
    summary="Xen with libxl (xen:///system of a host booted under TCG)",
    kinds={"domain": GUEST},
    means=Means.REAL,
    uri="xen:///system",
    flavour="xen",
    native=("xen-xl", "xen-xm"),
    since="0.0.1",
    needs="the lab's flavour xen, whose host is booted once when the lab is created; no root and no KVM",
    reference="https://libvirt.org/drvxen.html",
)
