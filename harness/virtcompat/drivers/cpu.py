"""Comparing processors and computing a baseline: answers without a document (the surface host-behaviour)."""

from __future__ import annotations

from virtcompat.drivers import Driver, LibvirtDriver, Role

DRIVER: Driver = LibvirtDriver(
    name="cpu",
    summary="comparing processors, baselines",
    role=Role.SECONDARY,
    flavour="sys",
    since="0.7.5",
    reference="https://libvirt.org/formatdomain.html#cpu-model-and-topology",
)
