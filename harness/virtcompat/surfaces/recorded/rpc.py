"""The remote protocol: programs, procedures and their numbers, what messages are made of, and how long each part may be.

Read off libvirt's own Wireshark plugin (package libvirt-wireshark), which is generated from the protocol definitions of
the same release; ``wire`` and ``dissector`` say how. It holds the programs remote, qemu, lxc and keepalive whole, every
limit of a string or array included. What it does not hold, and what therefore is not compared: the version number
of a program (1 in every libvirt so far), the type of the few fields that are called ``type`` (the generator gives them all
that of the last one), which procedures need authentication or which permission, which open a
stream or pass file descriptors, their priority, what a flag or an enumeration's number in an ``int`` means, and the other
programs: admin (0x06900690), lock, log, LXC's monitor. Names and numbers in the header are the plugin's own copy.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping

from virtcompat import dissector, wire
from virtcompat.errors import BadData
from virtcompat.labs.visit import Visit, one
from virtcompat.model import Change, Finding, Tier
from virtcompat.surfaces import RecordedSurface

PLUGIN = "/usr/lib/*/wireshark/plugins/*/epan/libvirt.so"
UNREVEALED = {
    "versions of the programs": "the plugin skips the field",
    "admin, lock, log and lxc_monitor": "the plugin does not know these programs",
    "authentication, permissions, priority": "annotations of the definitions that the plugin leaves out",
    "streams and file descriptors": "annotations of the definitions that the plugin leaves out",
    "types of the fields called type": "the generator of the plugin mixes them up",
    "meaning of flags and of numbers in an int": "not part of the protocol definitions",
}


def _plugin(visit: Visit) -> tuple[bytes, dissector.Plugin]:
    found = one(visit, "Wireshark plugin of libvirt", "libvirt-wireshark", PLUGIN)
    if len(found) > 1:
        raise BadData(next(iter(found)), f"one of {len(found)} plugins: {', '.join(found)}", "leave the one in use")
    ((path, data),) = found.items()
    return data, dissector.plugin(data, path)


def procedures(visit: Visit) -> dict[str, str]:
    """Programs and procedures, from the plugin's tables."""
    facts = dissector.procedures(_plugin(visit)[1])
    return facts | {f"(not revealed)/{what}": why for what, why in UNREVEALED.items()}


def structures(visit: Visit) -> dict[str, str]:
    """What messages are made of, from the plugin's code, run in the lab."""
    data, plugin = _plugin(visit)
    expected = wire.messages(plugin)
    request = {
        "op": "run",
        "library": base64.b64encode(data).decode(),
        "anchor": plugin.anchor,
        "slots": plugin.slots,
        "fields": [addresses for _, *addresses in plugin.fields],
        "messages": list(expected),
    }
    return wire.structures(plugin, expected, visit.ask("dissector_probe.py", request)["messages"])


def judged(old: Mapping[str, str], new: Mapping[str, str], back: bool) -> Iterator[Finding]:
    """What single facts do not tell: whether a limit went up or down, whether a field was renamed or moved."""
    for path in old.keys() & new.keys():
        if old[path] == new[path]:
            continue
        if path.endswith("/limit"):
            yield Finding(path, Change.CHANGED, _limit(old[path], new[path], back), old[path], new[path], "libvirt")
        elif FIELD.search(path):
            yield Finding(path, Change.CHANGED, _field(path, old, new), old[path], new[path], "libvirt")


def _limit(old: str, new: str, back: bool) -> Tier:
    """A lower limit refuses what was sent before. Going back it refuses what only the newer release may send."""
    before, after = (float("inf") if limit == "none" else int(limit) for limit in (old, new))
    return Tier.ADDITION if after > before else Tier.RISK if back else Tier.BREAK


def _field(path: str, old: Mapping[str, str], new: Mapping[str, str]) -> Tier:
    """Names are not sent: a field of the same type may be a new name for the same thing, unless its name has moved."""
    (before, old_type), (_, new_type) = (facts[path].split(": ", 1) for facts in (old, new))
    structure = path.rpartition("/")[0]
    kept = [new[p].split(": ")[0] for p in new if p.startswith(f"{structure}/") and FIELD.search(p)]
    return Tier.BREAK if old_type != new_type or before in kept else Tier.RISK


#: A field of a structure by its place, or the case of a union by its value.
FIELD = re.compile(r"^[^/]+/(structure|union)/[^/]+/(case )?\d+$")
#: XDR has no optional fields at a structure's end: whatever changes in one breaks those who know the other.
#: A changed limit or field is judged by ``judged``.
WIRE = (
    (r"/limit$", Tier.IDENTICAL, Tier.BREAK, Tier.BREAK),
    (FIELD.pattern, Tier.IDENTICAL, Tier.BREAK, Tier.BREAK),
    (r"^[^/]+/(program$|(structure|union|procedure)/[^/]+/.)", Tier.BREAK, Tier.BREAK, Tier.BREAK),
)
#: A peer that does not know a value cannot read the message with it, and is not sent one unless it asked.
CASE, VALUE = r"/case \d+$", r"/value/[^/]+$"

SURFACE = RecordedSurface(
    name="rpc",
    summary="The remote protocol: procedure numbers, and what their messages are made of",
    product="libvirt",
    parts={"procedures": procedures, "structures": structures},
    rules=(
        (CASE, Tier.IDENTICAL, Tier.RISK, Tier.BREAK),
        (VALUE, Tier.BREAK, Tier.RISK, Tier.BREAK),
        *WIRE,
    ),
    ignored=(r"^\(not revealed\)/",),
    # The older side lacks what the newer has: it says so for a procedure (VIR_ERR_NO_SUPPORT), not for a value.
    backward=(
        (CASE, Tier.IDENTICAL, Tier.ADDITION, Tier.RISK),
        (VALUE, Tier.BREAK, Tier.ADDITION, Tier.RISK),
        *WIRE,
        (r"", Tier.BREAK, Tier.ADDITION, Tier.ADDITION),
    ),
    special=judged,
)
