"""Configurations in the hypervisors' own formats: what a release makes of them, and what it writes again.

VMware's files are in the surface ``standins``, Xen's in ``xen-native``, whose driver wants a hypervisor beside it.
"""

from __future__ import annotations

from collections.abc import Mapping

from virtcompat import drivers, surfaces
from virtcompat.conversions import told
from virtcompat.labs.visit import Visit
from virtcompat.model import Tier
from virtcompat.store import fixtures
from virtcompat.surfaces import RecordedSurface, standins

LIMIT = 120.0
OPENVZ = "openvz:///system"
#: The container that a configuration of OpenVZ's is of: the file is called by its number.
CONTAINER = "101"


def converted(visit: Visit, uri: str, form: str, daemon: Mapping[str, str] | None) -> dict[str, str]:
    """The facts of every configuration of a format; Absent where the lab has no such driver."""
    request = {"op": "convert", "uri": uri, "format": form, "texts": fixtures.native(form)}
    reply = visit.ask("open_probe.py", request, LIMIT, daemon)
    read = surfaces.every()["domain"].facts
    return {p: v for case, answer in reply["answers"].items() for p, v in told(f"{form}/{case}", answer, read).items()}


def lxc_tools(visit: Visit) -> dict[str, str]:
    """Containers of LXC: ``lxc-tools/minimal/domain/name = minimal``, and whether it writes them again."""
    return converted(visit, "lxc:///system", "lxc-tools", drivers.host_files())


def qemu_argv(visit: Visit) -> dict[str, str]:
    """Command lines of QEMU, which libvirt no longer reads: how it says so."""
    return converted(visit, f"qemu:///embed?root={visit.workdir}/native", "qemu-argv", None)


def openvz(visit: Visit) -> dict[str, str]:
    """Containers of OpenVZ, which the driver finds when it is opened: ``openvz/plain/domain/vcpu = 1``.

    It has no conversion: a file that it cannot read keeps it from opening, ``openvz/nonsense/refused``.
    """
    scenes = [
        standins.Scene(
            case,
            (
                standins.opening(OPENVZ),
                standins.Step("lookup", "lookupByName", (CONTAINER,), keep="domain"),
                standins.Step("dump", "XMLDesc", (0,), on="domain"),
            ),
            {f"/etc/vz/conf/{CONTAINER}.conf": text},
        )
        for case, text in fixtures.native("openvz").items()
    ]
    found: dict[str, str] = {}
    for path, value in standins.told(visit, "openvz", scenes).items():
        form, case, step, *rest = path.split("/", 3)
        what = rest[0] if rest else ""
        if what == "words":
            found[f"{form}/{case}/refused"] = value
        elif step == "dump" and what.startswith("xml/"):
            found[f"{form}/{case}/{what.removeprefix('xml/')}"] = value
    return found


RULES = (
    (r"^[^/]+/[^/]+/(back/)?refused$", Tier.RISK, Tier.BREAK, Tier.ADDITION),
    (r"^[^/]+/[^/]+/back/", Tier.RISK, Tier.ADDITION, Tier.RISK),
    (r"", Tier.BREAK, Tier.ADDITION, Tier.BREAK),
)

SURFACE = RecordedSurface(
    name="native",
    summary="configurations in the formats of LXC, QEMU and OpenVZ: what a release makes of them and writes again",
    product="libvirt",
    parts={"lxc-tools": lxc_tools, "qemu-argv": qemu_argv, "openvz": openvz},
    interface=r"^[^/]+/[^/]+",
    rules=RULES,
    # A configuration is as old as a guest: what is read of it must not depend on which way a host is changed.
    backward=RULES,
    flavour="sys",
)
