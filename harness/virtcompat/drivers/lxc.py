"""The LXC driver: containers, defined and kept by the lab's system libvirtd; what starting one takes is another matter.

Its module is not in every lab: the documents are asked in the flavour with all driver modules, where the daemon runs
in a user namespace of its own. That serves everything but starting a container, which wants this machine's real root.
"""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver, Means
from virtcompat.model import Setup

HOST = Setup(
    uri="lxc:///system",
    flavour="sys",
    root="/etc/libvirt",
    daemon=True,
    forms=("inactive", "disk"),
    disk="lxc/{name}.xml",
    files={
        "libvirtd.conf": 'auth_unix_rw = "none"\nauth_unix_ro = "none"\nunix_sock_group = "root"\n'
        'host_uuid = "5f1c0de0-0000-4000-8000-000000000001"\n',
        # The daemon holds every driver of the lab and does not start without QEMU's: it must find a user that exists.
        "qemu.conf": 'user = "root"\ngroup = "root"\nstdio_handler = "file"\n',
        "lxc.conf": 'security_driver = "none"\n',
    },
)

DRIVER: Driver = LibvirtDriver(
    name="lxc",
    summary="Linux containers (lxc:///system)",
    kinds={"domain": HOST},
    means=Means.REAL,
    uri="lxc:///system",
    flavour="sys",
    native=("lxc-tools",),
    since="0.4.4",
    needs="to start a container: real root and the cgroup controllers of version 1; nothing to define one",
    reference="https://libvirt.org/drvlxc.html",
)
