"""The host's devices, by their shape: kinds that can be asked for, and what is said of devices that the scene made itself.

Which devices a machine has is its own affair and never told.
"""

from __future__ import annotations

from virtcompat.labs.visit import Visit
from virtcompat.surfaces.behaviour import Scene, play, uuid

#: Kinds that lists can be narrowed to.
KINDS = (
    "SYSTEM", "PCI_DEV", "USB_DEV", "USB_INTERFACE", "NET", "SCSI_HOST", "SCSI_TARGET", "SCSI", "STORAGE", "FC_HOST", "VPORTS",
    "SCSI_GENERIC", "DRM", "MDEV_TYPES", "MDEV", "CCW_DEV", "CSS_DEV", "VDPA", "AP_CARD", "AP_QUEUE", "AP_MATRIX", "VPD", "CCWGROUP_DEV",
    "CCWGROUP_MEMBER",
)  # fmt: skip
STATES = ("PERSISTENT", "TRANSIENT", "INACTIVE", "ACTIVE")
DEVICES = (
    "ip link add own0 address 52:54:00:00:06:01 type veth peer name own1 address 52:54:00:00:06:02; "
    "ip link add own-br address 52:54:00:00:06:03 type bridge"
)
OWN = {
    "veth": "net_own0_52_54_00_00_06_01", "bridge": "net_own_br_52_54_00_00_06_03", "loopback": "net_lo_00_00_00_00_00_00",
    "system": "computer",
}  # fmt: skip
MDEV = "<device><parent>{parent}</parent><capability type='mdev'><type id='mtty-1'/><uuid>{uuid}</uuid></capability></device>"
VPORT = (
    "<device><parent>scsi_host99</parent><capability type='scsi_host'><capability type='fc_host'>"
    "<wwnn>20000000c9831b4b</wwnn><wwpn>10000000c9831b4b</wwpn></capability></capability></device>"
)


def node_device(visit: Visit) -> dict[str, str]:
    """``node_device/SCENE/…``."""
    return play(visit, "node_device", "nodedev", (kinds, own, refusals), sysfs=True)


def kinds(scene: Scene) -> None:
    """Whether lists can be narrowed to a kind or a state of devices."""
    for prefix, names in (("CAP_", KINDS), ("", STATES)):
        for name in names:
            scene.call(
                f"{name.lower()}", "listAllDevices", {"constant": f"VIR_CONNECT_LIST_NODE_DEVICES_{prefix}{name}"}
            )


def own(scene: Scene) -> None:
    """Devices that were made before the daemon started, and one that was made after."""
    scene.host.out("sh", "-c", DEVICES)
    scene.restart()
    for kind, name in OWN.items():
        with scene.within(kind):
            if scene.call("lookup", "nodeDeviceLookupByName", name, keep="d").outcome != "ok":
                continue
            scene.value("parent", "parent", on="d")
            scene.value("capabilities", "listCaps", on="d")
            # What hardware calls itself and what a driver can do are the machine's.
            leave = r"/hardware|/firmware|/feature|/product"
            scene.document("document", scene.must("XMLDesc", 0, on="d"), {}, leave)
            for question in ("isActive", "isPersistent", "autostart"):
                scene.value(question, question, on="d")
    scene.value("narrowed", "listDevices", "net", 0)


def refusals(scene: Scene) -> None:
    """What has to be refused, and as what."""
    scene.call("unknown", "nodeDeviceLookupByName", "nobody")
    scene.call("by-wwn", "nodeDeviceLookupSCSIHostByWWN", "20000000c9831b4b", "10000000c9831b4b", 0)
    scene.must("nodeDeviceLookupByName", OWN["veth"], keep="d")
    for method in ("dettach", "reAttach", "reset", "destroy", "undefine", "create"):
        scene.call(f"of-a-net-device/{method.lower()}", method, on="d")
    scene.call("of-a-net-device/autostart", "setAutostart", 1, on="d")
    mdev = MDEV.format(parent=OWN["veth"], uuid=uuid(1))
    for name, method, xml in (
        ("create-mdev", "nodeDeviceCreateXML", mdev), ("define-mdev", "nodeDeviceDefineXML", mdev),
        ("create-vport", "nodeDeviceCreateXML", VPORT), ("define-vport", "nodeDeviceDefineXML", VPORT),
        ("create-mdev-nowhere", "nodeDeviceCreateXML", mdev.replace(OWN["veth"], "nobody")),
        ("create-not-xml", "nodeDeviceCreateXML", "<device"),
    ):  # fmt: skip
        scene.call(name, method, xml, 0)
