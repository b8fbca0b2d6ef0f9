"""Machines as VMware's own tools leave them behind: .vmx files that no libvirt has written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from virtcompat.surfaces.standins import Step

BASE = """.encoding = "UTF-8"
config.version = "8"
virtualHW.version = "10"
displayName = "machine"
guestOS = "debian8-64"
uuid.bios = "56 4d 00 00 00 00 00 01-00 00 00 00 00 00 00 01"
memsize = "512"
numvcpus = "2"
scsi0.present = "TRUE"
scsi0.virtualDev = "pvscsi"
scsi0:0.present = "TRUE"
scsi0:0.deviceType = "scsi-hardDisk"
scsi0:0.fileName = "machine.vmdk"
"""
INTERFACE = """ethernet0.present = "TRUE"
ethernet0.virtualDev = "vmxnet3"
ethernet0.addressType = "static"
ethernet0.address = "00:50:56:11:22:33"
"""
NAMED = f"""{INTERFACE}ethernet0.connectionType = "bridged"
ethernet0.networkName = "VM Network"
"""
#: What a machine has besides a name, identifiers and one disk, by what is peculiar about it; the first is like most.
PECULIAR = {
    "plain": NAMED,
    # The identifier of this machine among all that a vCenter knows is not the one that its guest sees.
    "instance-uuid": f'{NAMED}vc.uuid = "52 1c 0d e0 00 00 00 01-00 00 00 00 00 00 00 01"\n',
    "bridged-without-name": f'{INTERFACE}ethernet0.connectionType = "bridged"\n',
    "translated": f'{INTERFACE}ethernet0.connectionType = "nat"\n',
    "host-only": f'{INTERFACE}ethernet0.connectionType = "hostonly"\n',
    "unconnected": INTERFACE,
    "distributed-switch": f"""{INTERFACE}ethernet0.dvs.switchId = "50 34 26 b2 94 e9 3b 16-1d 68 87 bf ff 4a 54 40"
ethernet0.dvs.portId = "1285"
ethernet0.dvs.portgroupId = "dvportgroup-1357"
ethernet0.dvs.connectionId = "408217997"
""",
    "generation": 'vm.genid = "8536691797830587195"\nvm.genidX = "-1723453263670062919"\n',
    "nvme": """nvme0.present = "TRUE"
nvme0:0.present = "TRUE"
nvme0:0.fileName = "fast.vmdk"
""",
    "sata": """sata0.present = "TRUE"
sata0:0.present = "TRUE"
sata0:0.fileName = "slow.vmdk"
sata0:1.present = "TRUE"
sata0:1.deviceType = "cdrom-image"
sata0:1.fileName = "cd.iso"
""",
    "wide-scsi": """scsi0:20.present = "TRUE"
scsi0:20.deviceType = "scsi-hardDisk"
scsi0:20.fileName = "twenty.vmdk"
""",
    "widest-scsi": """scsi0:64.present = "TRUE"
scsi0:64.deviceType = "scsi-hardDisk"
scsi0:64.fileName = "last.vmdk"
""",
    "empty-cdrom": """ide1:0.present = "TRUE"
ide1:0.deviceType = "cdrom-image"
ide1:0.fileName = ""
""",
    "host-cdrom": """ide1:0.present = "TRUE"
ide1:0.deviceType = "atapi-cdrom"
ide1:0.fileName = "auto detect"
ide1:0.autodetect = "TRUE"
""",
    "subdirectory": """scsi0:1.present = "TRUE"
scsi0:1.deviceType = "scsi-hardDisk"
scsi0:1.fileName = "disks/data.vmdk"
""",
    "firmware": 'firmware = "efi"\nuefi.secureBoot.enabled = "TRUE"\n',
    "cores": 'cpuid.coresPerSocket = "2"\n',
    "affinity": 'sched.cpu.affinity = "0,1"\nsched.cpu.shares = "high"\n',
    "screen": 'RemoteDisplay.vnc.enabled = "TRUE"\nRemoteDisplay.vnc.port = "5907"\nsvga.vramSize = "8388608"\n',
    "annotation": 'annotation = "two lines|0Aand a |22quote|22"\n',
    "serial-listening": """serial0.present = "TRUE"
serial0.fileType = "network"
serial0.fileName = "telnet://:7002"
serial0.network.endPoint = "server"
""",
}


def vmx(peculiarity: str) -> str:
    """The .vmx file of a machine, which is called ``machine``."""
    return BASE + PECULIAR[peculiarity]


def from_native() -> Iterator[Step]:
    """Every machine converted; of all but the first only what differs from that is told."""
    first = next(iter(PECULIAR))
    for name in PECULIAR:
        step = Step(name, "domainXMLFromNative", ("vmware-vmx", vmx(name), 0))
        yield step if name == first else replace(step, like=first)
