"""A host's packet filters as facts: the rules of iptables, ip6tables and ebtables, and libvirt's own tables of nftables."""

from __future__ import annotations

import re
from collections.abc import Mapping

from virtcompat.labs.hosts import Host
from virtcompat.surfaces.behaviour import bracketed, without_counters

#: family -> the command that prints all its tables. The programs that maintainer scripts would have linked.
SAVERS = {
    "ip4": ("xtables-nft-multi", "iptables-save"),
    "ip6": ("xtables-nft-multi", "ip6tables-save"),
    "eb": ("xtables-nft-multi", "ebtables-save"),
}
#: Chain (``ip4/filter/LIBVIRT_INP``) -> its rules in order.
Rules = Mapping[str, tuple[str, ...]]


def rules(host: Host) -> Rules:
    """Every chain of the host that has a rule."""
    found: dict[str, list[str]] = {}
    for family, command in SAVERS.items():
        _saved(family, host.out(*command), found)
    _listed(host.out("nft", "-n", "list", "ruleset"), found)
    return {chain: tuple(lines) for chain, lines in found.items() if lines}


def _saved(family: str, text: str, found: dict[str, list[str]]) -> None:
    """iptables-save: ``*table``, then ``-A CHAIN RULE``."""
    table = ""
    for line in without_counters(text).splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A "):
            # ebtables has come to write a negation as iptables does.
            _, chain, rule = line.split(maxsplit=2)
            rule = re.sub(r"(^| )(-\w+) ! ", r"\1! \2 ", rule)
            found.setdefault(f"{family}/{table}/{chain}", []).append(" ".join(rule.split()))


def _listed(text: str, found: dict[str, list[str]]) -> None:
    """nft: ``table FAMILY NAME {``, ``chain NAME {``, a rule a line; only the tables that libvirt names as its own."""
    table = chain = ""
    for line in map(str.strip, without_counters(text).splitlines()):
        if opened := re.match(r"table (\w+) (\w+) \{", line):
            table, chain = (f"nft-{opened[1]}/{opened[2]}" if opened[2].startswith("libvirt") else ""), ""
        elif opened := re.match(r"chain (\S+) \{", line):
            chain = opened[1]
        elif line == "}":
            table, chain = (table, "") if chain else ("", "")
        elif line and table and chain:
            found.setdefault(f"{table}/{chain}", []).append(" ".join(line.replace("counter", "").split()))


def added(before: Rules, after: Rules) -> dict[str, str]:
    """``CHAIN/[RULE]`` = its place in the chain, for every rule that was not there before; how often, if more than once."""
    found: dict[str, str] = {}
    for chain, lines in sorted(after.items()):
        known = list(before.get(chain, ()))
        for place, line in enumerate(lines, 1):
            if line in known:
                known.remove(line)
                continue
            path = f"{chain}/{bracketed(line)}"
            found[path] = f"{found[path]}, {place}" if path in found else str(place)
    return found
