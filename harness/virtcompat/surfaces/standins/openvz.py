"""What the OpenVZ driver asks of vzctl and vzlist."""

from __future__ import annotations

from virtcompat.labs.visit import Visit
from virtcompat.surfaces.standins import Scene, Step, on, opening, told

URI = "openvz:///system"
FILESYSTEM = """<filesystem type='template'>
  <source name='debian-12-x86_64'/>
  <target dir='/'/>
  <space_hard_limit unit='MiB'>{limit}</space_hard_limit>
</filesystem>"""
GUEST = f"""<domain type='openvz'>
  <name>101</name>
  <uuid>5f1c0de0-0006-4000-8000-000000000101</uuid>
  <memory unit='MiB'>256</memory>
  <vcpu>2</vcpu>
  <os><type>exe</type></os>
  <devices>
    {FILESYSTEM.format(limit=2048)}
    <interface type='bridge'><mac address='00:18:51:5b:ea:01'/><source bridge='vzbr0'/></interface>
    <interface type='ethernet'>
      <mac address='00:18:51:5b:ea:02'/>
      <ip address='192.0.2.101' family='ipv4'/>
    </interface>
  </devices>
</domain>"""
OTHER = """<domain type='openvz'>
  <name>102</name>
  <uuid>5f1c0de0-0006-4000-8000-000000000102</uuid>
  <memory unit='MiB'>128</memory>
  <vcpu>1</vcpu>
  <os><type>exe</type></os>
  <devices><filesystem type='mount'><source dir='/vz/private/102'/><target dir='/'/></filesystem></devices>
</domain>"""
#: A container that somebody made with vzctl: libvirt has never seen it.
FOREIGN = """ONBOOT="yes"
VE_ROOT="/vz/mounted/$VEID"
VE_PRIVATE="/vz/private/$VEID"
OSTEMPLATE="debian-6.0-x86"
CPUS="3"
VMGUARPAGES="65536:9223372036854775807"
PRIVVMPAGES="131072:196608"
DISKSPACE="1048576:2097152"
IP_ADDRESS="192.0.2.7 2001:db8::7"
NETIF="ifname=eth0,bridge=vzbr0,mac=00:18:51:C1:05:EE,host_ifname=veth200.0,host_mac=00:18:51:8F:D9:F3"

#UUID: 5f1c0de0-0006-4000-8000-000000000200
"""


LIFE = Scene(
    "life",
    (
        opening(URI),
        Step("type", "getType"),
        Step("version", "getVersion"),
        Step("list", "listAllDomains"),
        Step("define", "defineXML", (GUEST,), keep="domain"),
        on("dump", "XMLDesc", 0),
        on("state", "state"),
        on("info", "info"),
        on("hostname", "hostname"),
        on("memory-parameters", "memoryParameters", 0),
        on("set-memory-parameters", "setMemoryParameters", {"hard_limit": 1048576, "min_guarantee": 262144}, 0),
        on("memory-parameters-again", "memoryParameters", 0),
        on("set-vcpus", "setVcpus", 1),
        on("set-autostart", "setAutostart", 1),
        on("autostart", "autostart"),
        on("update-quota", "updateDeviceFlags", FILESYSTEM.format(limit=4096), 2),
        on("start", "create"),
        on("state-running", "state"),
        on("info-running", "info"),
        Step("list-running", "listDomainsID"),
        on("suspend", "suspend"),
        on("state-suspended", "state"),
        on("resume", "resume"),
        on("reboot", "reboot"),
        Step("dump-running", "XMLDesc", (0,), on="domain", like="dump"),
        on("shutdown", "shutdown"),
        on("state-stopped", "state"),
        Step("list-stopped", "listDefinedDomains"),
        on("start-again", "create"),
        on("destroy", "destroy"),
        Step("create", "createXML", (OTHER, 0)),
        # A client that comes later: it has what is in the files, and no more.
        Step("open-again", "open", (URI,), on="", keep="later"),
        Step("list-again", "listAllDomains", on="later"),
        Step("lookup-again", "lookupByName", ("101",), on="later", keep="found"),
        Step("dump-again", "XMLDesc", (0,), on="found"),
        # vzctl is given two actions at once, of which it takes the first; the second it takes for a container.
        on("undefine", "undefine"),
    ),
)
FOUND = Scene(
    "found",
    (
        opening(URI),
        Step("list", "listAllDomains"),
        Step("lookup", "lookupByName", ("200",), keep="domain"),
        on("dump", "XMLDesc", 0),
        on("autostart", "autostart"),
        on("start", "create"),
        on("info", "info"),
    ),
    {"/etc/vz/conf/200.conf": FOREIGN},
)
ELSEWHERE = Scene("elsewhere", (opening("openvz:///session"),))


def plain(words: list[str]) -> list[str]:
    """Without a template's name, in whose place libvirt gives a pointer, and the address that it draws for the host."""
    for at, word in enumerate(words[:-1]):
        if word == "--ostemplate":
            words[at + 1] = "(a pointer)"
        if word == "--netif_add":
            parts = words[at + 1].split(",")
            words[at + 1] = ",".join([*parts[:3], "(drawn)", *parts[4:]])
    return words


def openvz(visit: Visit) -> dict[str, str]:
    return told(visit, "openvz", (LIFE, FOUND, ELSEWHERE), plain)
