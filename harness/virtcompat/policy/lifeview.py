"""What a host says of its guests, held against the model of their lives; documents are compared elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from virtcompat.model import Change, Finding, Tier
from virtcompat.policy.life import Guest, Host, Moment

#: Guest -> what its host says of it.
View = Mapping[str, Mapping[str, Any]]


def discrepancies(host: Host, view: View) -> Iterator[tuple[str, Finding]]:
    """(guest, finding) for what a host says otherwise than the model, its documents aside."""
    lost, more = sorted(host.guests.keys() - view.keys()), sorted(view.keys() - host.guests.keys())
    there = f"not there, but {', '.join(more)}" if more else "not there"
    for name in lost:
        yield name, Finding("(guest)", Change.LOST, Tier.GUEST_ABI_BREAK, "there", there)
    for name in more if not lost else ():
        yield name, Finding("(guest)", Change.ADDED, Tier.BREAK, "not there", "there")
    for name, guest in sorted(host.guests.items()):
        if name in view:
            yield from ((name, finding) for finding in _of(guest, view[name]))


def _of(guest: Guest, seen: Mapping[str, Any]) -> Iterator[Finding]:
    rows = [("uuid", guest.uuid), ("state", guest.state), ("active", guest.active), ("persistent", guest.persistent)]
    rows += [("managed", guest.managed), ("found", True)]
    if guest.persistent:
        rows.append(("autostart", guest.autostart))
    for name, value in rows:
        if seen[name] != value:
            yield Finding(f"({name})", Change.CHANGED, Tier.BREAK, str(value), str(seen[name]))
    for kind, tree in (("snapshot", guest.snapshots), ("checkpoint", guest.checkpoints)):
        there = seen[f"{kind}s"]
        for name in sorted(tree.keys() - there.keys()):
            yield Finding(f"({kind}[{name}])", Change.LOST, Tier.BREAK, "there", "not there")
        for name in sorted(there.keys() - tree.keys()):
            yield Finding(f"({kind}[{name}])", Change.ADDED, Tier.BREAK, "not there", "there")
        for name in sorted(tree.keys() & there.keys()):
            if there[name]["parent"] != tree[name].parent:
                values = (tree[name].parent or "none", there[name]["parent"] or "none")
                yield Finding(f"({kind}[{name}]/parent)", Change.CHANGED, Tier.BREAK, *values)
    current = next((name for name, one in seen["snapshots"].items() if one["current"]), "")
    if current != guest.current:
        yield Finding("(snapshot-current)", Change.CHANGED, Tier.BREAK, guest.current or "none", current or "none")


def adopt(host: Host, view: View) -> None:
    """Take what a host says for what is: the next step is judged by itself."""
    for name in list(host.guests):
        if name not in view:
            del host.guests[name]
    for name, seen in sorted(view.items()):
        if "uuid" not in seen:
            continue
        guest = host.guests.setdefault(name, Guest(seen["uuid"], "", ""))
        guest.uuid, guest.state, guest.persistent = seen["uuid"], seen["state"], seen["persistent"]
        guest.autostart, guest.managed = seen["autostart"], seen["managed"]
        guest.inactive, guest.live = seen["inactive"], seen["live"]
        guest.current = next((n for n, one in seen["snapshots"].items() if one["current"]), "")
        guest.snapshots = _adopted(guest.snapshots, seen["snapshots"], guest.state)
        guest.checkpoints = _adopted(guest.checkpoints, seen["checkpoints"], guest.state)


def _adopted(tree: Mapping[str, Moment], seen: Mapping[str, Mapping[str, Any]], state: str) -> dict[str, Moment]:
    found = {}
    for name, one in sorted(seen.items()):  # the API gives lists in no order
        was = tree.get(name, Moment("", state))
        found[name] = Moment(one["parent"], was.state, one["text"], was.guest)
    return found
