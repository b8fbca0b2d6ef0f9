"""Virtual networks: started, looked at, changed while they run, used by a guest's DHCP client, refused, and kept over a restart."""

from __future__ import annotations

import re

from virtcompat.labs.visit import Visit
from virtcompat.surfaces.behaviour import Scene, bracketed, firewall, play, uuid
from virtcompat.surfaces.behaviour.traces import devices, dnsmasq, look

#: Devices that networks use and do not make themselves.
DEVICES = (
    ("ip", "link", "add", "br-own", "type", "bridge"), ("ip", "link", "set", "br-own", "up"),
    ("ip", "link", "add", "own0", "type", "veth", "peer", "name", "own1"), ("ip", "link", "set", "own0", "up"),
)  # fmt: skip
NAT = "<forward mode='nat'/><ip address='192.168.122.1' netmask='255.255.255.0'>" \
    "<dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip>"  # fmt: skip
#: name -> what stands in it besides name, UUID, MAC and, where it makes one, the bridge.
NETWORKS = {
    "nat": NAT,
    "isolated": "<domain name='lab.example'/><ip address='192.168.123.1' prefix='24'><dhcp>"
    "<range start='192.168.123.100' end='192.168.123.200'><lease expiry='2' unit='hours'/></range>"
    "<host mac='52:54:00:00:01:01' name='one' ip='192.168.123.11'/><host mac='52:54:00:00:01:02' ip='192.168.123.12'/>"
    "<bootp file='/pxelinux.0' server='192.168.123.9'/></dhcp></ip>",
    "routed": "<forward mode='route' dev='own0'/><ip address='192.168.124.1' prefix='25'/>"
    "<route address='10.9.0.0' prefix='16' gateway='192.168.124.9' metric='4'/>",
    "open": "<forward mode='open'/><ip address='192.168.125.1' prefix='24'>"
    "<dhcp><range start='192.168.125.5' end='192.168.125.9'/></dhcp></ip>",
    "both-families": "<forward mode='nat'><nat ipv6='yes'><address start='192.0.2.10' end='192.0.2.20'/>"
    "<port start='2000' end='3000'/></nat></forward><ip address='192.168.126.1' prefix='24'/>"
    "<ip family='ipv6' address='2001:db8:7e::1' prefix='64'><dhcp><range start='2001:db8:7e::100' end='2001:db8:7e::1ff'/>"
    "<host id='0:4:7e:7d:f0:7d:a8:bc:c5:d2:13:32:11:ed:16:ea:84:63' name='six' ip='2001:db8:7e::66'/></dhcp></ip>",
    "names": "<domain name='names.example' localOnly='yes'/><dns><forwarder domain='far.example' addr='192.0.2.53'/>"
    "<forwarder addr='192.0.2.54'/><txt name='example' value='a text'/><srv service='ldap' protocol='tcp' domain='names.example'"
    " target='one.names.example' port='389' priority='1' weight='10'/><host ip='192.168.127.5'><hostname>one</hostname>"
    "<hostname>uno</hostname></host></dns><ip address='192.168.127.1' prefix='24'/>",
    "own-options": "<ip address='192.168.128.1' prefix='24' localPtr='yes'><tftp root='/var/lib/tftp'/></ip>"
    "<dnsmasq:options><dnsmasq:option value='log-queries'/><dnsmasq:option value='cname=a.example,b.example'/></dnsmasq:options>",
    "no-dns": "<dns enable='no'/><ip address='192.168.129.1' prefix='24'/>",
    "limited": "<bandwidth><inbound average='1000' peak='5000' burst='5120'/><outbound average='128' burst='256'/></bandwidth>"
    "<ip address='192.168.131.1' prefix='24'/>",
    "bare": "<mtu size='1400'/>",
    "host-bridge": "<forward mode='bridge'/><bridge name='br-own'/>",
    "macvtap": "<forward mode='bridge'><interface dev='own0'/></forward><portgroup name='all' default='yes'/>",
    "openvswitch": "<forward mode='bridge'/><bridge name='ovs0'/><virtualport type='openvswitch'/>"
    "<vlan trunk='yes'><tag id='42'/><tag id='47' nativeMode='untagged'/></vlan>",
    "passthrough": "<forward mode='hostdev' managed='yes'><pf dev='own0'/></forward>",
}  # fmt: skip
#: A stand-in for tc: it writes down what it is asked for. Not every kernel has each of tc's kinds of limit.
TC = '#!/bin/sh\necho "$*" >>/run/tc.asked\n'
FOLDER = "/run/guest"
#: What udhcpc runs: it writes down what it was given.
SCRIPT = "#!/bin/sh\nenv > /run/guest/lease.$1\n"
GUEST = (
    "ip netns add guest && ip link add veth0 type veth peer name eth0 netns guest && ip link set veth0 master virbr-t up && "
    "nsenter --net=/run/netns/guest ip link set eth0 address 52:54:00:00:02:01 up"
)


def network(visit: Visit) -> dict[str, str]:
    """``network/SCENE/NETWORK/…``; rules of the firewall by chain, ``…/firewall/ip4/filter/LIBVIRT_FWI/[RULE]`` = place."""
    plays = (start, update, lease, port, refusals, restart)
    files = {"/run/bin/tc": TC}
    facts = play(visit, "network", "network", plays, clear=clear, users=True, files=files)
    files |= {"/etc/libvirt/network.conf": 'firewall_backend = "nftables"\n'}
    return facts | play(visit, "network", "network", (nftables,), clear=clear, users=True, files=files)


def clear(scene: Scene) -> None:
    """Take down every network that a scene has left."""
    for name in sorted(scene.host.call("listAllNetworks").value or ()):
        scene.host.call("networkLookupByName", name, keep="left")
        scene.host.call("destroy", on="left")
        scene.host.call("undefine", on="left")


def document(name: str, body: str, number: int = 1, bridge: str = "virbr-t") -> str:
    own = (
        ""
        if "<bridge" in body or "dev='own0'/></forward>" in body or "hostdev" in body
        else f"<bridge name='{bridge}'/>"
    )
    mac = f"<mac address='52:54:00:00:00:{number & 255:02x}'/>" if own else ""
    return (
        f"<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'><name>{name}</name>"
        f"<uuid>{uuid(number)}</uuid>{own}{mac}{body}</network>"
    )


def start(scene: Scene) -> None:
    """Each kind of network from its definition to its end, and what it makes of the host meanwhile."""
    for command in (*DEVICES, ("mkdir", "-p", "/var/lib/tftp")):
        scene.host.out(*command)
    base = chains(scene)
    for path, place in firewall.added({}, base).items():
        scene.tell(f"(chains)/firewall/{path}", place)
    for number, (name, body) in enumerate(NETWORKS.items(), 1):
        with scene.within(name):
            one(scene, name, document(name, body, number), base)


def nftables(scene: Scene) -> None:
    """The networks with a firewall, where network.conf asks for nftables; a libvirt without that setting goes on as ever."""
    base = chains(scene)
    nft = any(chain.startswith("nft-") for chain in base)
    scene.tell("(chains)/backend", "nftables" if nft else "iptables")
    if not nft:
        return
    for path, place in firewall.added({}, base).items():
        scene.tell(f"(chains)/firewall/{path}", place)
    for name in ("nat", "isolated", "both-families"):
        with scene.within(name):
            scene.must("networkDefineXML", document(name, NETWORKS[name]), keep="n")
            scene.host.run("rm", "-f", "/run/tc.asked")
            scene.call("start", "create", on="n")
            for path, place in firewall.added(base, firewall.rules(scene.host)).items():
                scene.tell(f"firewall/{path}", place)
            limits(scene)
            scene.call("destroy", "destroy", on="n")
            scene.tell("left", ", ".join(firewall.added(base, firewall.rules(scene.host))) or "nothing")
            scene.call("undefine", "undefine", on="n")


def chains(scene: Scene) -> firewall.Rules:
    """The rules that stay once a first network has been there: chains, and how packets come to them."""
    scene.must("networkCreateXML", document("first", NAT), keep="n")
    scene.must("destroy", on="n")
    return firewall.rules(scene.host)


def limits(scene: Scene) -> None:
    """What tc was asked for since it was told last."""
    asked = scene.host.read("/run/tc.asked").get("/run/tc.asked", "").splitlines()
    scene.host.run("rm", "-f", "/run/tc.asked")
    for place, line in enumerate(asked, 1):
        scene.tell(f"tc/{bracketed(line)}", str(place))


def one(scene: Scene, name: str, xml: str, base: firewall.Rules) -> None:
    there = set(devices(scene))
    scene.must("networkDefineXML", xml, keep="n")
    scene.host.run("rm", "-f", "/run/tc.asked")
    scene.call("start", "create", on="n")
    active = scene.value("active", "isActive", on="n")
    if active:
        look(scene, name, there, base)
        limits(scene)
        scene.value("persistent", "isPersistent", on="n")
        scene.value("leases", "DHCPLeases", on="n")
        scene.call("destroy", "destroy", on="n")
        left = sorted(set(devices(scene)) - there) + list(firewall.added(base, firewall.rules(scene.host)))
        left += [" ".join(argv) for argv in scene.host.processes("dnsmasq")]
        scene.tell("left", ", ".join(left) or "nothing")
    scene.call("undefine", "undefine", on="n")
    scene.events("events", name, 4 if active else 2)


#: step -> (command, section, index, XML): what is changed on a running network.
UPDATES = {
    "add-host": ("ADD_LAST", "IP_DHCP_HOST", -1, "<host mac='52:54:00:00:02:01' name='guest' ip='192.168.122.77'/>"),
    "add-host-twice": ("ADD_LAST", "IP_DHCP_HOST", -1, "<host mac='52:54:00:00:02:01' name='guest' ip='192.168.122.77'/>"),
    "add-host-outside": ("ADD_LAST", "IP_DHCP_HOST", -1, "<host mac='52:54:00:00:02:09' ip='192.168.99.9'/>"),
    "modify-host": ("MODIFY", "IP_DHCP_HOST", -1, "<host mac='52:54:00:00:02:01' name='renamed' ip='192.168.122.78'/>"),
    "modify-host-unknown": ("MODIFY", "IP_DHCP_HOST", -1, "<host mac='52:54:00:00:02:0f' ip='192.168.122.79'/>"),
    "add-range": ("ADD_LAST", "IP_DHCP_RANGE", -1, "<range start='192.168.122.250' end='192.168.122.254'/>"),
    "delete-range": ("DELETE", "IP_DHCP_RANGE", -1, "<range start='192.168.122.2' end='192.168.122.254'/>"),
    "add-dns-host": ("ADD_LAST", "DNS_HOST", -1, "<host ip='192.168.122.5'><hostname>five</hostname></host>"),
    "add-dns-txt": ("ADD_LAST", "DNS_TXT", -1, "<txt name='note' value='hello'/>"),
    "add-dns-srv": ("ADD_LAST", "DNS_SRV", -1, "<srv service='sip' protocol='udp' target='five' port='5060'/>"),
    "add-portgroup": ("ADD_LAST", "PORTGROUP", -1, "<portgroup name='slow'/>"),
    "add-interface": ("ADD_LAST", "FORWARD_INTERFACE", -1, "<interface dev='own0'/>"),
    "add-ip": ("ADD_LAST", "IP", -1, "<ip address='192.168.130.1' prefix='24'/>"),
    "change-bridge": ("MODIFY", "BRIDGE", -1, "<bridge name='virbr9'/>"),
    "change-domain": ("MODIFY", "DOMAIN", -1, "<domain name='other.example'/>"),
    "delete-host": ("DELETE", "IP_DHCP_HOST", -1, "<host mac='52:54:00:00:02:01'/>"),
}  # fmt: skip


def update(scene: Scene) -> None:
    """Changes of a running network: each one's outcome, and what its servers were told in the end."""
    scene.must("networkDefineXML", document("changing", NAT), keep="n")
    scene.must("create", on="n")
    both = {"constant": "VIR_NETWORK_UPDATE_AFFECT_LIVE|VIR_NETWORK_UPDATE_AFFECT_CONFIG"}
    for step, (command, section, index, xml) in UPDATES.items():
        words = [{"constant": f"VIR_NETWORK_UPDATE_COMMAND_{command}"}, {"constant": f"VIR_NETWORK_SECTION_{section}"}]
        scene.call(step, "update", *words, index, xml, both, on="n")
        if step == "modify-host":
            with scene.within("after"):
                dnsmasq(scene, "changing")
    with scene.within("at-last"):
        dnsmasq(scene, "changing")
    _definition(scene, "kept", "changing")
    scene.call("set-autostart", "setAutostart", 1, on="n")
    scene.value("autostart", "autostart", on="n")
    scene.call("undefine-active", "undefine", on="n")
    scene.value("persistent", "isPersistent", on="n")
    scene.call("autostart-transient", "setAutostart", 1, on="n")
    scene.must("destroy", on="n")


def _definition(scene: Scene, path: str, name: str) -> None:
    """The elements of what a network is kept as, by how often they occur."""
    text = scene.host.read(f"/etc/libvirt/qemu/networks/{name}.xml").get(f"/etc/libvirt/qemu/networks/{name}.xml", "")
    names = re.findall(r"^\s*<(\w+)", text, re.MULTILINE)
    scene.tell(path, ", ".join(f"{n} {names.count(n)}" for n in sorted(set(names))) or "no file")


def lease(scene: Scene) -> None:
    """A guest in a network namespace of its own gets the address that is reserved for it, and its name is known."""
    host = "<host mac='52:54:00:00:02:01' name='guest' ip='192.168.122.77'/>"
    # Without the spanning tree protocol a port forwards as soon as it is up.
    body = "<bridge name='virbr-t' stp='off' delay='0'/><domain name='lease.example'/>" + NAT.replace(
        "</dhcp>", host + "</dhcp>"
    )
    scene.must("networkDefineXML", document("leasing", body), keep="n")
    scene.must("create", on="n")
    scene.host.out("sh", "-c", GUEST)
    scene.host.write(f"{FOLDER}/script", SCRIPT)
    scene.host.out("chmod", "755", f"{FOLDER}/script")
    client = "busybox udhcpc -i eth0 -f -n -q -t 8 -T 1 -F guest -s /run/guest/script"
    ran = scene.host.run("nsenter", "--net=/run/netns/guest", "sh", "-c", client)
    scene.tell("client", "has a lease" if ran.code == 0 else f"exit status {ran.code}")
    given = dict(
        line.partition("=")[::2]
        for text in scene.host.read(f"{FOLDER}/lease.bound").values()
        for line in text.splitlines()
    )
    for key in ("ip", "subnet", "router", "dns", "domain", "hostname", "lease", "serverid", "broadcast"):
        scene.tell(f"given/{key}", given.get(key, "none"))
    # dnsmasq has another program write it down, in its own time.
    for entry in scene.until("DHCPLeases", on="n"):
        for key, value in sorted(entry.items()):
            if key != "expirytime":
                scene.tell(f"lease/{key}", str(value))
    for name in ("guest", "guest.lease.example", "nobody.lease.example"):
        said = scene.host.run("busybox", "nslookup", name, "192.168.122.1")
        addresses = re.findall(r"Address(?: \d+)?:\s+(192\.168\.122\.\d+)\b(?!:53)", said.out)
        scene.tell(f"name/{name}", ", ".join(sorted(set(addresses) - {"192.168.122.1"})) or "unknown")
    scene.host.out("ip", "netns", "delete", "guest")
    scene.must("destroy", on="n")
    scene.must("undefine", on="n")


PORT = (
    "<networkport><uuid>{uuid}</uuid><owner><uuid>{owner}</uuid><name>guest</name></owner><mac address='52:54:00:00:03:01'/>"
    "<group>{group}</group><rxfilters trustGuest='no'/>{plug}</networkport>"
)
PLUGS = {
    "network": "<plug type='network' bridge='virbr-t'/>", "bridge": "<plug type='bridge' bridge='virbr-t'/>",
    "elsewhere": "<plug type='network' bridge='virbr9'/>", "direct": "<plug type='direct' dev='own0' mode='vepa'/>",
}  # fmt: skip


def port(scene: Scene) -> None:
    """Ports of a running network: made, taken back after a restart of its user, listed, refused, deleted."""
    scene.must("networkDefineXML", document("ports", NAT + "<portgroup name='slow'/>"), keep="n")
    text = PORT.format(uuid=uuid(900), owner=uuid(901), group="slow", plug="")
    scene.call("create-inactive", "portCreateXML", text, 0, on="n")
    scene.must("create", on="n")
    scene.call("create", "portCreateXML", text, 0, on="n", keep="p")
    scene.call("create-twice", "portCreateXML", text, 0, on="n")
    unknown = PORT.format(uuid=uuid(902), owner=uuid(901), group="none", plug="")
    scene.call("create-unknown-group", "portCreateXML", unknown, 0, on="n")
    for number, (name, plug) in enumerate(PLUGS.items(), 910):
        again = PORT.format(uuid=uuid(number), owner=uuid(number + 20), group="slow", plug=plug)
        scene.call(f"create-plugged/{name}", "portCreateXML", again, 0, on="n")
        reclaim = {"constant": "VIR_NETWORK_PORT_CREATE_RECLAIM"}
        scene.call(f"reclaim/{name}", "portCreateXML", again, reclaim, on="n")
    scene.value("list", "listAllPorts", 0, on="n")
    xml = scene.must("XMLDesc", 0, on="p")
    scene.tell("elements", ", ".join(sorted(set(re.findall(r"<(\w+)", xml)))))
    scene.tell("plug", " ".join(re.findall(r"<plug[^>]*>", xml)).replace("=", ":") or "none")
    scene.call("lookup", "portLookupByUUIDString", uuid(900), on="n")
    scene.call("delete", "delete", 0, on="p")
    scene.call("lookup-deleted", "portLookupByUUIDString", uuid(900), on="n")
    scene.value("list-at-last", "listAllPorts", 0, on="n")


def refusals(scene: Scene) -> None:
    """What has to be refused, and as what."""
    scene.must("networkDefineXML", document("first", NAT, 201, "virbr-1"), keep="n")
    scene.must("create", on="n")
    scene.call("start-twice", "create", on="n")
    scene.call("same-name", "networkDefineXML", document("first", NETWORKS["isolated"], 202, "virbr-2"))
    scene.call("same-uuid", "networkDefineXML", document("second", NETWORKS["isolated"], 201, "virbr-2"))
    scene.call("same-bridge", "networkDefineXML", document("second", NETWORKS["isolated"], 203, "virbr-1"))
    with scene.within("same-subnet"):
        scene.call("define", "networkDefineXML", document("clash", NAT, 204, "virbr-4"), keep="c")
        scene.call("start", "create", on="c")
        scene.tell("devices", ", ".join(sorted(d for d in devices(scene) if d.startswith("virbr"))))
        scene.must("undefine", on="c")
    texts = {
        "range-outside": NAT.replace("122.254", "99.254"), "range-reversed": NAT.replace("122.2'", "122.255'"),
        "no-such-device": "<forward mode='nat' dev='eth77'/><ip address='192.168.140.1' prefix='24'/>",
        "route-without-gateway": "<ip address='192.168.141.1' prefix='24'/><route address='10.9.0.0' prefix='16'/>",
        "two-dhcp": NAT + NAT.replace("<forward mode='nat'/>", "").replace("122.", "142."),
        "unknown-forward": "<forward mode='teleport'/>", "nat-without-ip": "<forward mode='nat'/>",
        "long-bridge": "<bridge name='a-name-too-long-for-linux'/><ip address='192.168.143.1' prefix='24'/>",
        "existing-bridge": "<bridge name='br-own'/><ip address='192.168.144.1' prefix='24'/>",
        "mac-multicast": "<bridge name='virbr-m'/><mac address='01:54:00:00:00:01'/><ip address='192.168.145.1' prefix='24'/>",
    }  # fmt: skip
    for number, (name, body) in enumerate(texts.items(), 210):
        with scene.within(name):
            said = scene.call("define", "networkDefineXML", document(name, body, number, f"virbr-{number}"), keep="r")
            if said.outcome == "ok":
                if scene.call("start", "create", on="r").outcome == "ok":
                    scene.must("destroy", on="r")
                scene.must("undefine", on="r")
    scene.must("destroy", on="n")
    scene.call("destroy-inactive", "destroy", on="n")
    scene.must("undefine", on="n")
    scene.call("undefine-twice", "undefine", on="n")
    scene.call("lookup-unknown", "networkLookupByName", "nobody")
    scene.call("not-xml", "networkDefineXML", "<network")


def restart(scene: Scene) -> None:
    """What of a running, a stopped, an autostarted and a transient network is there after the daemon or the host restarts."""
    for number, name in enumerate(("running", "stopped", "automatic"), 301):
        body = NAT.replace("122.", f"{number - 150}.")
        scene.must("networkDefineXML", document(name, body, number, f"virbr-{name[0]}"), keep=name)
    for name in ("running", "automatic"):
        scene.must("create", on=name)
    scene.must("setAutostart", 1, on="automatic")
    scene.must("networkCreateXML", document("transient", NAT.replace("122.", "155."), 305, "virbr-x"))
    base = firewall.added({}, firewall.rules(scene.host))
    ways = {
        "orderly": ((), False), "killed": ((), True),
        # A host that starts anew has neither devices nor processes nor what lay in /run.
        "host": (("sh", "-c", "busybox killall dnsmasq; for b in r a x; do ip link delete virbr-$b; done; rm -r /run/libvirt"), True),
    }  # fmt: skip
    for way, (between, hard) in ways.items():
        with scene.within(way):
            scene.restart(*between, hard=hard)
            for name in ("running", "stopped", "automatic", "transient"):
                if scene.call(f"{name}/lookup", "networkLookupByName", name, keep=name).outcome == "ok":
                    scene.value(f"{name}/active", "isActive", on=name)
                    scene.value(f"{name}/autostart", "autostart", on=name)
            names = sorted({argv[1].rpartition("/")[2] for argv in scene.host.processes("dnsmasq")})
            scene.tell("dnsmasq", ", ".join(names) or "none")
            now = firewall.added({}, firewall.rules(scene.host))
            scene.tell("firewall-lost", ", ".join(sorted(base.keys() - now.keys())) or "nothing")
            scene.tell("firewall-new", ", ".join(sorted(now.keys() - base.keys())) or "nothing")
