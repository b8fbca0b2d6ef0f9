"""What the driver for VMware Workstation and Player asks of vmrun, and what it makes of machines that it did not make."""

from __future__ import annotations

from virtcompat.labs.visit import Visit
from virtcompat.surfaces.standins import Scene, Step, on, opening, told
from virtcompat.surfaces.standins._machines import from_native, vmx

URI = "vmwarews:///session"
FOLDER = "/var/lib/vmware/Virtual Machines"
GUEST = f"""<domain type='vmware'>
  <name>guest</name>
  <uuid>5f1c0de0-0006-4000-8000-000000000201</uuid>
  <memory unit='MiB'>256</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64'>hvm</type></os>
  <devices>
    <disk type='file' device='disk'><source file='{FOLDER}/guest.vmdk'/><target dev='sda' bus='scsi'/></disk>
    <graphics type='vnc' port='5901'/>
  </devices>
</domain>"""


def life(name: str, uri: str) -> Scene:
    return Scene(
        name,
        (
            opening(uri),
            Step("type", "getType"),
            Step("version", "getVersion"),
            Step("define", "defineXML", (GUEST,), keep="domain"),
            on("state", "state"),
            on("start", "create"),
            on("dump-running", "XMLDesc", 0),
            on("info-running", "info"),
            Step("list-running", "listDomainsID"),
            on("suspend", "suspend"),
            on("state-suspended", "state"),
            on("resume", "resume"),
            on("reboot", "reboot"),
            on("undefine-running", "undefine"),
            on("shutdown", "shutdown"),
            on("state-stopped", "state"),
            Step("list", "listAllDomains"),
            Step("create", "createXML", (GUEST, 0), keep="domain"),
            on("destroy", "destroy"),
            Step("list-again", "listAllDomains"),
        ),
    )


def found(name: str, uri: str, peculiarity: str) -> Scene:
    """A machine that runs already: opening finds it, or fails because of it."""
    return Scene(
        name,
        (
            opening(uri),
            Step("list", "listAllDomains"),
            Step("lookup", "lookupByName", ("machine",), keep="domain"),
            on("dump", "XMLDesc", 0),
            on("shutdown", "shutdown"),
        ),
        {f"{FOLDER}/machine.vmx": vmx(peculiarity)},
    )


SCENES = (
    life("life", URI),
    life("life-player", "vmwareplayer:///session"),
    found("found", URI, "plain"),
    found("found-instance-uuid", URI, "instance-uuid"),
    found("found-instance-uuid-legacy", f"{URI}?legacy_uuid=1", "instance-uuid"),
    found("found-bridged-without-name", URI, "bridged-without-name"),
    Scene("from-native", (opening(URI), *from_native())),
    Scene("elsewhere", (opening("vmwarews:///system"),)),
)


def vmware(visit: Visit) -> dict[str, str]:
    return told(visit, "vmware", SCENES)
