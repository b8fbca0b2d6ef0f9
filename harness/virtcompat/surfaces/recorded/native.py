"""Configurations in the hypervisors' own formats: what a release makes of them, and what it writes again.

VMware's files are in the surface ``standins``, Xen's in ``xen-native``: those drivers want a hypervisor beside them.
"""

from __future__ import annotations

from collections.abc import Mapping

from virtcompat import drivers, surfaces
from virtcompat.conversions import told
from virtcompat.labs.visit import Visit
from virtcompat.model import Tier
from virtcompat.store import fixtures
from virtcompat.surfaces import RecordedSurface

LIMIT = 120.0


def converted(visit: Visit, uri: str, form: str, daemon: Mapping[str, str] | None) -> dict[str, str]:
    """The facts of every configuration of a format; Absent where the lab has no such driver."""
    request = {"op": "convert", "uri": uri, "format": form, "texts": fixtures.native(form)}
    reply = visit.ask("native_probe.py", request, LIMIT, daemon)
    read = surfaces.every()["domain"].facts
    return {p: v for name, answer in reply["answers"].items() for p, v in told(name, answer, read).items()}


def lxc_tools(visit: Visit) -> dict[str, str]:
    """Containers' configurations of LXC: ``minimal/domain/name = minimal``, ``minimal/back/[lxc.uts.name = …]``."""
    return converted(visit, "lxc:///system", "lxc-tools", drivers.host_files())


def qemu_argv(visit: Visit) -> dict[str, str]:
    """Command lines of QEMU, which libvirt no longer reads: how it says so."""
    return converted(visit, f"qemu:///embed?root={visit.workdir}/native", "qemu-argv", None)


SURFACE = RecordedSurface(
    name="native",
    summary="configurations in LXC's and QEMU's own formats: what a release makes of them and writes again",
    product="libvirt",
    parts={"lxc-tools": lxc_tools, "qemu-argv": qemu_argv},
    interface=r"^[^/]+",
    rules=(
        (r"^[^/]+/(back/)?refused$", Tier.RISK, Tier.BREAK, Tier.ADDITION),
        (r"^[^/]+/back/", Tier.RISK, Tier.ADDITION, Tier.RISK),
        (r"", Tier.BREAK, Tier.ADDITION, Tier.BREAK),
    ),
    flavour="sys",
)
