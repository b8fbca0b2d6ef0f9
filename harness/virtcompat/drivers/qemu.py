"""The QEMU driver: embedded in the probe for guests, and with the lab's system libvirtd for what a host keeps beside them.

The embedded driver reads and writes a configuration directory of its own, so that the files a release leaves there can be
given to another. It offers guests only; networks, pools, secrets and filters of a QEMU host are served by libvirtd, which
runs in a user namespace of its own, as ``qemu:///system``.
"""

from __future__ import annotations

from dataclasses import replace

from virtcompat.drivers import Driver, LibvirtDriver
from virtcompat.model import Setup

# Without this QEMU's output goes to a virtlogd that is not there, and every conversion waits for it.
QEMU_CONF = 'stdio_handler = "file"\n'
GUEST = Setup(uri="qemu:///embed?root={workdir}", files={"etc/qemu.conf": QEMU_CONF})
SNAPSHOT = replace(GUEST, disk="lib/qemu/snapshot/{domain}/{name}.xml", forms=("inactive", "disk"))
CHECKPOINT = replace(GUEST, disk="lib/qemu/checkpoint/{domain}/{name}.xml", forms=("inactive", "disk"))
HOST = Setup(
    uri="qemu:///system",
    root="/etc/libvirt",
    daemon=True,
    forms=("inactive", "disk"),
    files={
        "libvirtd.conf": 'auth_unix_rw = "none"\nauth_unix_ro = "none"\nunix_sock_group = "root"\n'
        'host_uuid = "5f1c0de0-0000-4000-8000-000000000001"\n',
        "qemu.conf": 'user = "root"\ngroup = "root"\n' + QEMU_CONF,
    },
)
VOLATILE = replace(HOST, forms=("inactive",))

DRIVER: Driver = LibvirtDriver(
    name="qemu",
    summary="the QEMU driver (qemu:///embed; qemu:///system for networks, storage, secrets and filters)",
    kinds={
        "domain": replace(
            GUEST, forms=("inactive", "secure", "migratable", "disk", "argv"), disk="etc/qemu/{name}.xml"
        ),
        "domainsnapshot": SNAPSHOT,
        "domaincheckpoint": CHECKPOINT,
        "network": replace(HOST, disk="qemu/networks/{name}.xml"),
        "networkport": VOLATILE,
        "storagepool": replace(HOST, disk="storage/{name}.xml"),
        "storagevol": VOLATILE,
        "secret": replace(HOST, disk="secrets/{uuid}.xml"),
        "nwfilter": replace(HOST, disk="nwfilter/{name}.xml"),
        "nwfilterbinding": VOLATILE,
    },
)
