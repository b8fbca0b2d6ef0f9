"""An ESX host on the network: the vSphere API, simulated."""

from __future__ import annotations

from virtcompat.labs.stages import StandIn

STAGE = StandIn(
    name="esx",
    summary="the vSphere API of an ESX host, in Python; nothing is compiled",
    arguments=("--ro-bind", "{folder}/auth.conf", "/etc/libvirt/auth.conf"),
    program="vsphere.py",
    # An address is added to the sandbox's own network.
    root=True,
)
