"""Network filters: those that come with libvirt, those that are defined, and the rules that a binding of one makes on the host."""

from __future__ import annotations

import re

from virtcompat.labs.visit import Visit
from virtcompat.surfaces.behaviour import Scene, firewall, play, uuid

#: name -> what stands in a filter besides name and UUID.
FILTERS = {
    "plain": "<rule action='drop' direction='in' priority='100'><tcp dstportstart='25'/></rule>",
    "stateless": "<rule action='accept' direction='inout' priority='500' statematch='false'><udp/></rule>",
    "rejecting": "<rule action='reject' direction='out' priority='300'><icmp type='8'/></rule>",
    "returning": "<rule action='return' direction='in' priority='200'><tcp srcportstart='1' srcportend='9'/></rule>",
    "layer-2": "<rule action='drop' direction='out' priority='500'><mac match='no' srcmacaddr='$MAC'/></rule>",
    "arp": "<rule action='accept' direction='inout' priority='500'><arp opcode='1' arpsrcmacaddr='$MAC'/></rule>",
    "ipv6": "<rule action='accept' direction='in' priority='500'><tcp-ipv6 dstportstart='80'/></rule>",
    "variables": "<rule action='accept' direction='out' priority='500'><ip match='yes' srcipaddr='$IP'/></rule>"
    "<rule action='drop' direction='out' priority='1000'><all/></rule>",
    "list": "<rule action='accept' direction='in' priority='500'><tcp srcipaddr='$PEERS' dstportstart='$PORTS'/></rule>",
    "limited": "<rule action='drop' direction='in' priority='500'><tcp connlimit-above='2'/></rule>",
    "referring": "<filterref filter='plain'/><filterref filter='stateless'/>",
}
#: Filters that are asked for with a binding, and what the binding says of the guest.
BINDINGS = {
    **{name: "" for name in FILTERS if name not in ("stateless", "returning")},
    "list": "<parameter name='PEERS' value='192.0.2.1'/><parameter name='PEERS' value='192.0.2.2'/>"
    "<parameter name='PORTS' value='80'/><parameter name='PORTS' value='443'/>",
    "variables": "<parameter name='IP' value='192.0.2.9'/>",
    "clean-traffic": "<parameter name='IP' value='192.0.2.9'/>",
    "allow-dhcp-server": "<parameter name='DHCPSERVER' value='192.0.2.1'/>",
}
PORT = "vnet-a"


def nwfilter(visit: Visit) -> dict[str, str]:
    """``nwfilter/SCENE/…``; ``nwfilter/bind/FILTER/firewall/CHAIN/[RULE]`` = place."""
    return play(visit, "nwfilter", "nwfilter", (builtin, define, bind, refusals, restart), clear=clear)


def clear(scene: Scene) -> None:
    """Take down the bindings that a scene has left, and its filters."""
    for name in sorted(scene.host.call("listAllNWFilterBindings", 0).value or ()):
        scene.host.call("nwfilterBindingLookupByPortDev", name, keep="left")
        scene.host.call("delete", on="left")
    for name in ("referring", *FILTERS, "loop-a", "loop-b"):
        if scene.host.call("nwfilterLookupByName", name, keep="left").outcome == "ok":
            scene.host.call("undefine", on="left")


def document(name: str, body: str, number: int, chain: str = "root", priority: str = "") -> str:
    words = f" priority='{priority}'" if priority else ""
    return f"<filter name='{name}' chain='{chain}'{words}><uuid>{uuid(number)}</uuid>{body}</filter>"


def binding(name: str, parameters: str = "", port: str = PORT) -> str:
    return (
        f"<filterbinding><owner><name>guest</name><uuid>{uuid(700)}</uuid></owner><portdev name='{port}'/>"
        f"<mac address='52:54:00:00:04:01'/><filterref filter='{name}'>{parameters}</filterref></filterbinding>"
    )


def builtin(scene: Scene) -> None:
    """The filters that come with libvirt: the chain of each, its rules and the filters that it refers to."""
    scene.value("number", "numOfNWFilters")
    for name in sorted(scene.must("listNWFilters")):
        scene.host.call("nwfilterLookupByName", name, keep="f")
        xml = scene.host.call("XMLDesc", 0, on="f").value or ""
        head = re.search(r"<filter ([^>]*)>", xml)
        words = " ".join(re.findall(r"(?:chain|priority)='[^']*'", head[1] if head else "")).replace("=", " ")
        parts = re.findall(r"<rule ([^>]*)>|<filterref filter='([\w-]+)'", xml)
        told = [f"filter {ref}" if ref else " ".join(re.findall(r"'([^']*)'", rule)) for rule, ref in parts]
        scene.tell(name, f"{words}: {', '.join(told) or 'nothing'}".replace("=", " "))


def define(scene: Scene) -> None:
    """Filters of every kind of rule: defined, changed, kept, undefined."""
    for number, (name, body) in enumerate(FILTERS.items(), 1):
        scene.call(f"{name}/define", "nwfilterDefineXML", document(name, body, number), keep="f")
        scene.call(f"{name}/again", "nwfilterDefineXML", document(name, body, number), keep="f")
        scene.tell(f"{name}/file", "kept" if scene.host.read(f"/etc/libvirt/nwfilter/{name}.xml") else "not there")
    scene.call("undefine-referred-to", "undefine", on="f")
    scene.host.call("nwfilterLookupByName", "plain", keep="f")
    scene.call("undefine-plain", "undefine", on="f")
    for chain, priority in (
        ("mac", ""),
        ("arp", "-400"),
        ("vlan", ""),
        ("ipv4-own", "10"),
        ("stp-xyz", "-900"),
        ("teleport", ""),
    ):
        xml = document(f"in-{chain}", FILTERS["layer-2"], 30 + len(chain), chain, priority)
        if scene.call(f"chain/{chain}", "nwfilterDefineXML", xml, keep="f").outcome == "ok":
            scene.must("undefine", on="f")


def bind(scene: Scene) -> None:
    """What a binding makes of each filter on the host's firewall, and that all of it goes with the binding."""
    scene.host.out("ip", "link", "add", PORT, "type", "veth", "peer", "name", "vnet-peer")
    scene.host.out("ip", "link", "set", PORT, "up")
    for number, (name, body) in enumerate(FILTERS.items(), 1):
        scene.must("nwfilterDefineXML", document(name, body, number))
    for name in ("plain", "ipv6"):  # the chains that stay once there were rules of a family
        scene.must("nwfilterBindingCreateXML", binding(name), 0, keep="b")
        scene.must("delete", on="b")
    base = firewall.rules(scene.host)
    for path, place in firewall.added({}, base).items():
        scene.tell(f"(chains)/firewall/{path}", place)
    for name, parameters in BINDINGS.items():
        with scene.within(name):
            if scene.call("create", "nwfilterBindingCreateXML", binding(name, parameters), 0, keep="b").outcome == "ok":
                scene.value("port", "portDev", on="b")
                scene.value("filter", "filterName", on="b")
                for path, place in firewall.added(base, firewall.rules(scene.host)).items():
                    scene.tell(f"firewall/{path}", place)
                scene.call("delete", "delete", on="b")
            scene.tell("left", ", ".join(firewall.added(base, firewall.rules(scene.host))) or "nothing")
    scene.must("nwfilterBindingCreateXML", binding("plain"), 0)
    with scene.within("changed"):
        before = firewall.rules(scene.host)
        body = FILTERS["plain"].replace("25", "2525")
        scene.call("define", "nwfilterDefineXML", document("plain", body, 1))
        for path, place in firewall.added(before, firewall.rules(scene.host)).items():
            scene.tell(f"firewall/{path}", place)
        scene.host.call("nwfilterLookupByName", "plain", keep="f")
        scene.call("undefine-bound", "undefine", on="f")


def refusals(scene: Scene) -> None:
    """What has to be refused, and as what."""
    scene.must("nwfilterDefineXML", document("plain", FILTERS["plain"], 1), keep="f")
    scene.call("same-name", "nwfilterDefineXML", document("plain", FILTERS["plain"], 2))
    scene.call("same-uuid", "nwfilterDefineXML", document("other", FILTERS["plain"], 1))
    scene.call("missing-reference", "nwfilterDefineXML", document("loop-a", "<filterref filter='loop-b'/>", 3))
    scene.call("loop", "nwfilterDefineXML", document("loop-b", "<filterref filter='loop-a'/>", 4))
    scene.call("unknown-action", "nwfilterDefineXML", document("x", FILTERS["plain"].replace("drop", "teleport"), 5))
    scene.call(
        "unknown-protocol", "nwfilterDefineXML", document("x", "<rule action='drop' direction='in'><xyz/></rule>", 6)
    )
    scene.call("port-too-high", "nwfilterDefineXML", document("x", FILTERS["plain"].replace("25", "99999"), 7))
    scene.call("priority-too-high", "nwfilterDefineXML", document("x", FILTERS["plain"].replace("100", "9999"), 8))
    scene.call("name-with-slash", "nwfilterDefineXML", document("a/b", FILTERS["plain"], 9))
    scene.call("not-xml", "nwfilterDefineXML", "<filter")
    scene.call("lookup-unknown", "nwfilterLookupByName", "nobody")
    scene.call("bind-unknown-filter", "nwfilterBindingCreateXML", binding("nobody"), 0)
    scene.call("bind-unknown-port", "nwfilterBindingCreateXML", binding("plain", port="vnet-z"), 0)
    # Without an address the host learns it from the guest's packets.
    if (
        scene.call("bind-without-address", "nwfilterBindingCreateXML", binding("clean-traffic"), 0, keep="b").outcome
        == "ok"
    ):
        scene.call("unbind-without-address", "delete", on="b")
    scene.call("bind", "nwfilterBindingCreateXML", binding("plain"), 0)
    scene.call("bind-again", "nwfilterBindingCreateXML", binding("plain"), 0)
    scene.call("lookup-unbound", "nwfilterBindingLookupByPortDev", "vnet-y")


def restart(scene: Scene) -> None:
    """What of filters and bindings, and of their rules, is there after the daemon or the host restarts."""
    scene.must("nwfilterDefineXML", document("plain", FILTERS["plain"], 1), keep="f")
    base = firewall.rules(scene.host)
    scene.must("nwfilterBindingCreateXML", binding("plain"), 0)
    bound = firewall.added(base, firewall.rules(scene.host))
    for way, hard in (("orderly", False), ("killed", True)):
        with scene.within(way):
            scene.restart(hard=hard)
            scene.call("filter", "nwfilterLookupByName", "plain")
            scene.value("bindings", "listAllNWFilterBindings", 0)
            now = firewall.added(base, firewall.rules(scene.host))
            scene.tell(
                "firewall", "as before" if now == bound else ", ".join(sorted(now.keys() ^ bound.keys())) or "reordered"
            )
