"""The ESX driver: libvirt's own code, over a simulated vSphere API.

The host keeps a definition as a .vmx file in its datastore. libvirt cannot define a machine that is there already, so each
document is asked of a host of its own.
"""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver, Means
from virtcompat.model import Setup

DRIVER: Driver = LibvirtDriver(
    name="esx",
    summary="VMware ESX and vCenter (esx://host/)",
    kinds={
        "domain": Setup(
            uri="esx://root@127.0.0.1:8989/?transport=http",
            root="{workdir}/datastore1",
            forms=("inactive", "secure", "migratable", "disk"),
            disk="{name}/{name}.vmx",
            stage="esx",
        )
    },
    means=Means.SIMULATED,
    uri="esx://root@127.0.0.1:8989/?transport=http",
    native=("vmware-vmx",),
    since="0.7.0",
    needs="for real: an ESX host or a vCenter, which are not free software",
    reference="https://libvirt.org/drvesx.html",
)
