"""libvirt drivers as data: where they are opened, which kinds of document they take, what they write, how real they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from virtcompat import registry
from virtcompat.model import Setup


class Role(StrEnum):
    """What a driver is for: guests, or what a host keeps beside them."""

    HYPERVISOR = "hypervisor"
    SECONDARY = "secondary"


class Means(StrEnum):
    """How a driver is asked here, where a release has it."""

    REAL = "real"  # the driver against the real thing
    STAND_IN = "stand-in"  # the release's own driver; what it talks to is a program of this project's
    SIMULATED = "simulated"  # the same against a simulator of somebody else's product
    ABSENT = "absent"  # in none of these builds: what open answers is all there is


class Driver(Protocol):
    """A driver: nothing but data. ``kinds`` maps a document kind to the set-up that serves it."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def kinds(self) -> Mapping[str, Setup]: ...
    @property
    def role(self) -> Role: ...
    @property
    def means(self) -> Means: ...
    @property
    def uri(self) -> str: ...
    @property
    def flavour(self) -> str: ...
    @property
    def native(self) -> tuple[str, ...]: ...
    @property
    def since(self) -> str: ...
    @property
    def until(self) -> str: ...
    @property
    def needs(self) -> str: ...
    @property
    def reference(self) -> str: ...


@dataclass(frozen=True, slots=True)
class LibvirtDriver:
    """A driver as a record of its data.

    uri: what is opened to see whether a build has it; a secondary driver is reached through a hypervisor's. flavour: the
    lab that has it. native: the formats that it converts from or to, as virConnectDomainXMLFromNative names
    them. since, until: libvirt versions, the first with it and the first without. needs: what asking it
    for real takes, in words. reference: where upstream says so.
    """

    name: str
    summary: str
    kinds: Mapping[str, Setup] = field(default_factory=dict)
    role: Role = Role.HYPERVISOR
    means: Means = Means.REAL
    uri: str = ""
    flavour: str = ""
    native: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    needs: str = ""
    reference: str = ""


#: What a secondary driver of a host is asked through: the lab's own system libvirtd, in a user namespace of its own.
QEMU_CONF = 'stdio_handler = "file"\n'
HOST = Setup(
    uri="qemu:///system",
    root="/etc/libvirt",
    daemon=True,
    forms=("inactive", "disk"),
    files={
        "libvirtd.conf": 'auth_unix_rw = "none"\nauth_unix_ro = "none"\nunix_sock_group = "root"\n'
        'host_uuid = "5f1c0de0-0000-4000-8000-000000000001"\n',
        # Without stdio_handler QEMU's output goes to a virtlogd that is not there, and every conversion waits for it.
        "qemu.conf": 'user = "root"\ngroup = "root"\n' + QEMU_CONF,
    },
)


def host_files() -> dict[str, str]:
    """The files of such a libvirtd by their place in the lab."""
    return {f"{HOST.root}/{name}": text for name, text in HOST.files.items()}


#: Labs that take minutes to make and much room. A driver that is asked in one is asked where it is named.
OPTIONAL = ("xen",)


def every() -> dict[str, Driver]:
    return registry.members(__name__, "DRIVER")


def choose(names: tuple[str, ...]) -> dict[str, Driver]:
    return registry.choose(__name__, "DRIVER", names, "driver")


def asked(names: tuple[str, ...]) -> dict[str, Driver]:
    """The drivers of these names; where none is named all but those of an optional lab."""
    return {n: d for n, d in every().items() if n in names or (not names and d.flavour not in OPTIONAL)}
