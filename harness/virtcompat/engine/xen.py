"""Who can talk to whom in Xen: clients compiled against one release, hypervisor and libraries of another."""

from __future__ import annotations

from virtcompat import surfaces
from virtcompat.engine import columns, static
from virtcompat.errors import NotAsked
from virtcompat.model import NotHere
from virtcompat.policy.records import merged
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
    surface = surfaces.every_recorded()["xen-abi"]
    facts = {}
    for name in found.names:
        record = records.of(name, surface)
        if not names and releases.find(name).lab:
            continue  # a release of the user's own need not have Xen: who wants it names it
        if isinstance(record, NotHere):
            raise NotAsked(f"{name}: {record.reason}", record.remedy)
        for part in record.values():
            if isinstance(part, NotHere):
                raise NotAsked(f"{name}: {part.reason}", part.remedy)
        facts[name] = merged(record)
    return {(a, b): xen_abi.clients(facts[a], facts[b]) for a in facts for b in facts}
