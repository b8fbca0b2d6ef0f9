"""The host's own network interfaces: listed, described, defined where the backend can (netcf), refused where it cannot (udev)."""

from __future__ import annotations

from virtcompat.labs.visit import Visit
from virtcompat.surfaces.behaviour import Scene, play

#: The configuration of a host of Debian's, which netcf reads and udev does not.
CONFIGURATION = """auto lo
iface lo inet loopback

auto own0
iface own0 inet static
    address 192.0.2.6
    netmask 255.255.255.0

iface br0 inet static
    address 192.0.2.5
    netmask 255.255.255.0
    bridge_ports own2
"""
DEVICES = (
    "ip link add own0 type veth peer name own1 && ip link add own2 type veth peer name own3 && ip link add br0 type bridge && "
    "ip link set own0 address 52:54:00:00:05:01 && ip link set own1 address 52:54:00:00:05:02 && "
    "ip link set own2 address 52:54:00:00:05:03 && ip link set own3 address 52:54:00:00:05:04 && "
    "ip link set br0 address 52:54:00:00:05:05 && ip link set own2 master br0 && ip addr add 192.0.2.6/24 dev own0 && "
    "ip addr add 192.0.2.5/24 dev br0 && for i in own0 own1 own2 own3 br0; do ip link set $i up; done"
)
NAMES = ("lo", "own0", "own1", "own2", "br0")
KEYS = {"protocol": ("@family",), "ip": ("@address",), "interface": ("@name",)}
#: name -> an interface that somebody may want to have.
WANTED = {
    "ethernet": "<interface type='ethernet' name='own1'><start mode='onboot'/><protocol family='ipv4'><dhcp/></protocol></interface>",
    "bridge": "<interface type='bridge' name='br7'><start mode='onboot'/><bridge>"
    "<interface type='ethernet' name='own3'/></bridge></interface>",
    "bond": "<interface type='bond' name='bond0'><start mode='onboot'/><bond mode='active-backup'><miimon freq='100'/>"
    "<interface type='ethernet' name='own3'/></bond></interface>",
    "vlan": "<interface type='vlan' name='own1.42'><start mode='onboot'/><vlan tag='42'><interface name='own1'/></vlan></interface>",
    "static": "<interface type='ethernet' name='own3'><start mode='none'/><protocol family='ipv4'><ip address='192.0.2.9' prefix='24'/>"
    "<route gateway='192.0.2.1'/></protocol></interface>",
    "not-xml": "<interface",
    "unknown-type": "<interface type='teleport' name='own1'/>",
}  # fmt: skip


def interface(visit: Visit) -> dict[str, str]:
    """``interface/SCENE/…``: names, what is said of each, outcomes."""
    files = {"/etc/network/interfaces": CONFIGURATION}
    return play(visit, "interface", "interface", (devices, wanted, transaction), sysfs=True, files=files)


def devices(scene: Scene) -> None:
    """The interfaces that this host has, as the API lists and describes them."""
    scene.host.out("sh", "-c", DEVICES)
    # A bridge's port comes up a moment after it was told to.
    scene.host.out(
        "sh", "-c", "for n in $(seq 100); do ip link show br0 | busybox grep -q LOWER_UP && break; sleep 0.05; done"
    )
    scene.value("running", "listInterfaces")
    scene.value("defined", "listDefinedInterfaces")
    scene.value("number", "numOfInterfaces")
    for name in NAMES:
        with scene.within(name):
            if scene.call("lookup", "interfaceLookupByName", name, keep="i").outcome != "ok":
                continue
            scene.value("active", "isActive", on="i")
            scene.value("mac", "MACString", on="i")
            for form, flag in (("live", 0), ("inactive", {"constant": "VIR_INTERFACE_XML_INACTIVE"})):
                said = scene.host.call("XMLDesc", flag, on="i")
                if said.outcome == "ok":
                    # The kernel gives IPv6 addresses when it comes to it.
                    scene.document(form, said.value, KEYS, r"protocol\[ipv6\]")
                else:
                    scene.tell(form, said.text)
    scene.value("by-mac", "interfaceLookupByMACString", "52:54:00:00:05:01")
    scene.call("by-unknown-mac", "interfaceLookupByMACString", "52:54:00:00:05:ff")
    scene.call("unknown", "interfaceLookupByName", "nobody")


def wanted(scene: Scene) -> None:
    """Interfaces that are to be made: whether they can be, what is written down of them, and that it can be taken back."""
    file = "/etc/network/interfaces"
    for name, xml in WANTED.items():
        with scene.within(name):
            before = scene.host.read(file)[file]
            if scene.call("define", "interfaceDefineXML", xml, 0, keep="i").outcome == "ok":
                text = scene.host.read(file)[file].removeprefix(before)
                scene.tell("written", " | ".join(" ".join(line.split()) for line in text.splitlines() if line.strip()))
                scene.call("undefine", "undefine", on="i")
            scene.host.write(file, CONFIGURATION)
    scene.host.call("interfaceLookupByName", "br0", keep="i")
    scene.call("undefine-bridge", "undefine", on="i")


def transaction(scene: Scene) -> None:
    """Changes that can be taken back together."""
    scene.call("begin", "changeBegin", 0)
    scene.call("rollback", "changeRollback", 0)
    scene.call("commit", "changeCommit", 0)
