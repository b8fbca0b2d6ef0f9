"""Secrets: passphrases and keys that disks and volumes refer to."""

from __future__ import annotations

from dataclasses import replace

from virtcompat.drivers import HOST, Driver, LibvirtDriver, Role

DRIVER: Driver = LibvirtDriver(
    name="secret",
    summary="secrets",
    role=Role.SECONDARY,
    kinds={"secret": replace(HOST, disk="secrets/{uuid}.xml")},
    since="0.7.1",
    reference="https://libvirt.org/formatsecret.html",
)
