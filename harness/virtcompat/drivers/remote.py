"""The remote driver: a client's library talking to a daemon of its own or of another version (virt-compat remote)."""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver

DRIVER: Driver = LibvirtDriver(
    name="remote",
    summary="a client of one release and a daemon of another, over unix, TCP and TLS sockets",
    uri="test+unix:///default",
    since="0.3.0",
    reference="https://libvirt.org/remote.html",
)
