"""What the ESX driver asks of the vSphere API, and what it makes of a host's machines, networks and datastores."""

from __future__ import annotations

from virtcompat.labs.visit import Visit
from virtcompat.surfaces.standins import Scene, Step, on, opening, told
from virtcompat.surfaces.standins._machines import from_native, vmx

AT = "127.0.0.1:8989"
URI = f"esx://root@{AT}/?transport=http"
DATASTORE = "/run/virt-compat/datastore1"
#: Where the stand-in is told how its host is to differ.
HOST = "/run/virt-compat/host.xml"
GUEST = """<domain type='vmware'>
  <name>guest</name>
  <uuid>5f1c0de0-0006-4000-8000-000000000301</uuid>
  <memory unit='MiB'>256</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64'>hvm</type></os>
  <devices>
    <disk type='file' device='disk'><source file='[datastore1] guest/guest.vmdk'/><target dev='sda' bus='scsi'/></disk>
    <controller type='scsi' index='0' model='auto'/>
    <interface type='bridge'><mac address='00:50:56:11:22:33'/><source bridge='VM Network'/></interface>
  </devices>
</domain>"""
NETWORK = """<network>
  <name>vSwitch1</name>
  <forward mode='bridge'><interface dev='vmnic1'/></forward>
  <portgroup name='VM Network 2'/>
</network>"""
BIOS, INSTANCE = "564d0000-0000-0001-0000-000000000001", "521c0de0-0000-0001-0000-000000000001"
SECOND = """<host>
  <object type="Datastore" id="datastore-1">
    <summary.name is="xsd:string">datastore1</summary.name>
    <host is="ArrayOfDatastoreHostMount"><DatastoreHostMount>
      <key type="HostSystem">ha-host</key>
      <mountInfo>{path}<accessMode>readWrite</accessMode><accessible>false</accessible></mountInfo>
    </DatastoreHostMount></host>
  </object>
</host>"""


LIFE = Scene(
    "life",
    (
        opening(URI),
        Step("type", "getType"),
        Step("version", "getVersion"),
        Step("capabilities", "getCapabilities"),
        Step("hostname", "getHostname"),
        Step("node", "getInfo"),
        Step("free-memory", "getFreeMemory"),
        Step("most-vcpus", "getMaxVcpus", (None,)),
        Step("alive", "isAlive"),
        Step("list", "listAllDomains"),
        Step("define", "defineXML", (GUEST,), keep="domain"),
        on("dump", "XMLDesc", 0),
        on("state", "state"),
        on("most-memory", "maxMemory"),
        on("set-memory", "setMemory", 131072),
        on("set-most-memory", "setMaxMemory", 524288),
        on("set-vcpus", "setVcpus", 2),
        on("scheduler", "schedulerParameters"),
        on("autostart", "autostart"),
        on("start", "create"),
        on("state-running", "state"),
        on("info-running", "info"),
        Step("dump-running", "XMLDesc", (0,), on="domain", like="dump"),
        Step("list-running", "listDomainsID"),
        on("suspend", "suspend"),
        on("resume", "resume"),
        on("reboot", "reboot"),
        on("shutdown", "shutdown"),
        on("start-again", "create"),
        on("destroy", "destroy"),
        Step("define-again", "defineXML", (GUEST,)),
        on("undefine", "undefine"),
        Step("list-again", "listAllDomains"),
    ),
)
NETWORKS = Scene(
    "networks",
    (
        opening(URI),
        Step("list", "listNetworks"),
        Step("lookup", "networkLookupByName", ("vSwitch0",), keep="network"),
        Step("dump", "XMLDesc", (0,), on="network"),
        Step("define", "networkDefineXML", (NETWORK,), keep="second"),
        Step("dump-defined", "XMLDesc", (0,), on="second"),
        Step("list-more", "listNetworks"),
        Step("undefine", "undefine", on="second"),
        Step("list-less", "listNetworks"),
        Step("interfaces", "listInterfaces"),
        Step("interface-by-name", "interfaceLookupByName", ("vmnic0",)),
        Step("interface-by-address", "interfaceLookupByMACString", ("00:50:56:00:00:10",), keep="nic"),
        Step("interface-dump", "XMLDesc", (0,), on="nic"),
    ),
)
STORAGE = Scene(
    "storage",
    (
        opening(URI),
        Step("list", "listStoragePools"),
        Step("lookup", "storagePoolLookupByName", ("datastore1",), keep="pool"),
        Step("dump", "XMLDesc", (0,), on="pool"),
        Step("info", "info", on="pool"),
        Step("lookup-iscsi", "storagePoolLookupByName", ("iqn.2010-01.org.example:target",), keep="target"),
        Step("dump-iscsi", "XMLDesc", (0,), on="target"),
    ),
)


def found(name: str, uri: str, peculiarity: str, host: str = "", *more: Step) -> Scene:
    """A machine that is on the host already."""
    steps = (
        opening(uri),
        Step("list", "listAllDomains"),
        Step("lookup", "lookupByName", ("machine",), keep="domain"),
        on("dump", "XMLDesc", 0),
        *more,
    )
    return Scene(name, steps, {f"{DATASTORE}/machine/machine.vmx": vmx(peculiarity), **({HOST: host} if host else {})})


BY_UUID = (
    Step("lookup-bios", "lookupByUUIDString", (BIOS,)),
    Step("lookup-instance", "lookupByUUIDString", (INSTANCE,)),
)
SCENES = (
    LIFE,
    NETWORKS,
    STORAGE,
    found("found", URI, "plain"),
    found("found-instance-uuid", URI, "instance-uuid", "", *BY_UUID),
    found("found-instance-uuid-legacy", f"{URI}&legacy_uuid=1", "instance-uuid", "", *BY_UUID),
    found("found-subdirectory", URI, "subdirectory"),
    # One process and one host each: before libvirt 12.7 the driver died of this.
    found("found-unmounted", URI, "subdirectory", SECOND.format(path="")),
    Scene(
        "define-instance-uuid",
        (
            opening(URI),
            Step("define", "defineXML", (GUEST,), keep="domain"),
            on("dump", "XMLDesc", 0),
            on("start", "create"),
        ),
        # A host that gives each machine an instance UUID of its own, as VMware's documentation says.
        {HOST: "<host assigns='yes'/>"},
    ),
    Scene(
        "native",
        (
            opening(URI),
            Step("to-native", "domainXMLToNative", ("vmware-vmx", GUEST, 0)),
            *from_native(),
        ),
    ),
    Scene("wrong-user", (opening(f"esx://nobody@{AT}/?transport=http"),)),
    Scene("other-product", (opening(f"gsx://root@{AT}/?transport=http"),)),
    Scene("other-kind", (opening(f"vpx://root@{AT}/ha-datacenter/esx.example.org?transport=http"),)),
)


def esx(visit: Visit) -> dict[str, str]:
    return told(visit, "esx", SCENES)
