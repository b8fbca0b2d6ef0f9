"""Who can talk to whom in Xen: clients compiled against one release, hypervisor and libraries of another."""

from __future__ import annotations

from virtcompat.engine import columns, static
from virtcompat.store import releases
from virtcompat.surfaces.recorded import xen_abi
from virtcompat.surfaces.recorded.xen_abi import Client

Talk = dict[tuple[str, str], tuple[Client, ...]]


def talk(names: tuple[str, ...] = ()) -> Talk:
    """(client's release, hypervisor's release) -> each interface's standing, for every pair of these releases.

    NotAsked where a release has no whole record: half a record would call what is unknown compatible.
    """
    found = columns.find(names)
    records = static.Records(found)
    # A release of the user's own need not have Xen: who wants it names it.
    wanted = [name for name in found.names if names or not releases.find(name.partition("@")[0]).lab]
    facts = {name: records.facts(name, "xen-abi") for name in wanted}
    return {(a, b): xen_abi.clients(facts[a], facts[b]) for a in facts for b in facts}
