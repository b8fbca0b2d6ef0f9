"""The test driver: libvirt's parsers and formatters over objects that exist in memory only.

It neither validates like a hypervisor nor fills in a machine, and keeps nothing on disk: cheap, and blind to most of what
a guest sees. Node devices are read from its node file, the only way in (it implements no nodeDeviceDefineXML).
"""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver
from virtcompat.model import Setup

# A node file of our own: test:///default comes with objects whose names clash with documents.
URI = "test://{workdir}/node.xml"
FILES = {"node.xml": "<node/>"}
ONE = Setup(uri=URI, files=FILES)
DOMAIN = Setup(uri=URI, files=FILES, forms=("inactive", "secure", "migratable"))

DRIVER: Driver = LibvirtDriver(
    name="test",
    summary="libvirt's own in-memory driver (test:///)",
    uri="test:///default",
    since="0.1.1",
    reference="https://libvirt.org/drvtest.html",
    kinds={
        "domain": DOMAIN,
        "domainsnapshot": ONE,
        "domaincheckpoint": ONE,
        "network": ONE,
        "storagepool": ONE,
        "storagevol": ONE,
        "interface": ONE,
        "nodedev": ONE,
    },
)
