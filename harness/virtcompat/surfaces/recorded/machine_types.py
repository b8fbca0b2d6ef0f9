"""QEMU's machine types: the names that guests are pinned to. A guest whose machine type is gone does not start."""

from __future__ import annotations

import re

from virtcompat.errors import Absent
from virtcompat.labs.visit import Visit, monitor
from virtcompat.model import Tier
from virtcompat.surfaces import RecordedSurface

#: The emulators of a lab; a symbolic link is another name of one.
LIST = 'for file in /usr/bin/qemu-system-*; do [ -L "$file" ] || echo "$file"; done'
EMULATOR = re.compile(r"qemu-system-(\w+)$")


def machine_types(visit: Visit) -> dict[str, str]:
    """What every emulator in the lab says of itself over QMP.

    ``x86_64/machine/pc-q35-7.2 = 7.2`` with ``…/deprecated`` and ``…/cpus`` (the most it takes) below it;
    ``x86_64/alias/q35 = pc-q35-7.2``; ``x86_64/default = pc-i440fx-7.2``. ``none`` is left out.
    """
    found: dict[str, str] = {}
    for path in sorted(p for p in visit.run("sh", "-c", LIST).out.split() if EMULATOR.search(p)):
        target = EMULATOR.search(path)
        assert target is not None
        for machine in monitor(visit, path, "query-machines"):
            if machine["name"] != "none":
                found |= _facts(target[1], machine)
    if not found:
        raise Absent(f"{visit.release}: no QEMU", "install qemu-system-x86 in the lab")
    return found


def _facts(target: str, machine: dict[str, object]) -> dict[str, str]:
    name = str(machine["name"])
    path = f"{target}/machine/{name}"
    version = re.search(r"-(\d+(?:\.\d+)+)$", name)
    facts = {path: version[1] if version else "without a version", f"{path}/cpus": str(machine["cpu-max"])}
    if machine.get("deprecated"):
        facts[f"{path}/deprecated"] = "yes"
    if "alias" in machine:
        facts[f"{target}/alias/{machine['alias']}"] = name
    if machine.get("is-default"):
        facts[f"{target}/default"] = name
    return facts


SURFACE = RecordedSurface(
    name="machine-types",
    summary="QEMU machine types: which names a guest can be pinned to, which are deprecated, what the aliases mean",
    product="qemu",
    parts={"machines": machine_types},
    rules=(
        # libvirt writes the machine type that an alias meant when the guest was defined: the alias may move.
        (r"^[^/]+/alias/", Tier.ADDITION, Tier.ADDITION, Tier.BREAK),
        (r"^[^/]+/default$", Tier.ADDITION, Tier.ADDITION, Tier.RISK),
        (r"/deprecated$", Tier.RISK, Tier.RISK, Tier.ADDITION),
        (r"/cpus$", Tier.RISK, Tier.ADDITION, Tier.ADDITION),
        (r"^[^/]+/machine/[^/]+$", Tier.BREAK, Tier.ADDITION, Tier.BREAK),
    ),
    # Going back: a guest pinned to a machine type that the older QEMU does not have cannot start or migrate there.
    backward=(
        (r"/machine/[^/]+$", Tier.BREAK, Tier.ADDITION, Tier.ADDITION),
        (r"", Tier.ADDITION, Tier.ADDITION, Tier.ADDITION),
    ),
)
