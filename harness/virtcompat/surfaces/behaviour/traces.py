"""What a running virtual network has made of its host: devices, addresses, routes, kernel settings, servers, firewall rules."""

from __future__ import annotations

import json
from collections.abc import Mapping

from virtcompat.surfaces.behaviour import Scene, firewall

SYSCTLS = {
    "ip4-forwarding": "/proc/sys/net/ipv4/ip_forward", "ip6-forwarding": "/proc/sys/net/ipv6/conf/all/forwarding",
    "ip6-disabled": "/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6", "accept-ra": "/proc/sys/net/ipv6/conf/{bridge}/accept_ra",
    "autoconf": "/proc/sys/net/ipv6/conf/{bridge}/autoconf",
}  # fmt: skip
LINK = ("mtu", "address", "link_type")
BRIDGE = ("forward_delay", "stp_state", "vlan_filtering", "ageing_time", "group_fwd_mask", "mcast_snooping", "priority")


def devices(scene: Scene) -> dict[str, dict[str, object]]:
    """The host's network devices by name, in iproute2's words."""
    return {link["ifname"]: link for link in json.loads(scene.host.out("ip", "-d", "-j", "link", "show"))}


def look(scene: Scene, name: str, there: set[str], base: firewall.Rules) -> None:
    """What a running network has made: devices, addresses, routes, kernel settings, a DNS and DHCP server, firewall rules."""
    now = devices(scene)
    scene.tell("devices", ", ".join(sorted(now.keys() - there)) or "none")
    for device in sorted(now.keys() - there):
        _device(scene, device, now[device])
    for path, place in firewall.added(base, firewall.rules(scene.host)).items():
        scene.tell(f"firewall/{path}", place)
    dnsmasq(scene, name)


def _device(scene: Scene, device: str, link: Mapping[str, object]) -> None:
    info = link.get("linkinfo")
    data = info.get("info_data", {}) if isinstance(info, dict) else {}
    facts = {key: link.get(key) for key in LINK} | {key: data.get(key) for key in BRIDGE}
    facts["kind"] = info.get("info_kind") if isinstance(info, dict) else None
    for key, value in sorted(facts.items()):
        if value is not None:
            scene.tell(f"link/{key.replace('_', '-')}", str(value))
    for entry in json.loads(scene.host.out("ip", "-j", "addr", "show", "dev", device)):
        for address in entry["addr_info"]:
            if address["scope"] == "global":
                scene.tell(
                    f"address/[{address['local']}/{address['prefixlen']}]", address.get("broadcast", "no broadcast")
                )
    for route in json.loads(scene.host.out("ip", "-j", "-4", "route", "show", "dev", device)):
        scene.tell(f"route/[{route['dst']}]", f"{route.get('gateway', 'direct')} metric {route.get('metric', 'none')}")
    for key, file in SYSCTLS.items():
        text = scene.host.read(file.format(bridge=device))
        scene.tell(f"sysctl/{key}", next(iter(text.values()), "none").strip())


def dnsmasq(scene: Scene, name: str) -> None:
    found = scene.host.processes("dnsmasq")
    # The second process is the first one's, as root, for the lease script.
    scene.tell("dnsmasq/processes", str(len(found)))
    for argv in found[:1]:
        scene.tell("dnsmasq/command", " ".join(argv))
    folder = "/var/lib/libvirt/dnsmasq"
    texts = scene.host.read(f"{folder}/{name}.conf", f"{folder}/{name}.hostsfile", f"{folder}/{name}.addnhosts")
    keys: dict[str, list[str]] = {}
    for line in texts.pop(f"{folder}/{name}.conf", "").splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            keys.setdefault(key, []).append(value or "on")
    for key, values in keys.items():
        scene.tell(f"dnsmasq/{key}", " | ".join(values))
    for path, text in texts.items():
        lines = [" ".join(line.split()) for line in text.splitlines()]
        scene.tell(f"dnsmasq/({path.rpartition('.')[2]})", " | ".join(lines) or "empty")
