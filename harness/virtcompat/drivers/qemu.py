"""The QEMU driver, embedded in the probe: guests, their snapshots and checkpoints.

It reads and writes a configuration directory of its own, so that the files a release leaves there can be given to
another. What a host keeps beside its guests (networks, pools, secrets, filters) is the secondary drivers'.
"""

from __future__ import annotations

from dataclasses import replace

from virtcompat.drivers import QEMU_CONF, Driver, LibvirtDriver
from virtcompat.model import Setup

GUEST = Setup(uri="qemu:///embed?root={workdir}", files={"etc/qemu.conf": QEMU_CONF})
SNAPSHOT = replace(GUEST, disk="lib/qemu/snapshot/{domain}/{name}.xml", forms=("inactive", "disk"))
CHECKPOINT = replace(GUEST, disk="lib/qemu/checkpoint/{domain}/{name}.xml", forms=("inactive", "disk"))
DRIVER: Driver = LibvirtDriver(
    name="qemu",
    summary="QEMU guests (qemu:///embed)",
    uri="qemu:///system",
    native=("qemu-argv",),
    since="0.2.0",
    reference="https://libvirt.org/drvqemu.html",
    kinds={
        "domain": replace(
            GUEST, forms=("inactive", "secure", "migratable", "disk", "argv"), disk="etc/qemu/{name}.xml"
        ),
        "domainsnapshot": SNAPSHOT,
        "domaincheckpoint": CHECKPOINT,
    },
)
