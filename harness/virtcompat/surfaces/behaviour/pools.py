"""Pools on devices and servers that this host has not: what can be defined all the same, and what libvirt says it supports."""

from __future__ import annotations

import re

from virtcompat.surfaces.behaviour import Scene, uuid

#: type -> a pool of that type, none of which this host can have started.
POOLS = {
    "fs": "<source><device path='/dev/nowhere'/><format type='ext4'/></source><target><path>/mnt/a</path></target>",
    "netfs": "<source><host name='127.0.0.1'/><dir path='/export'/><format type='nfs'/></source>"
    "<target><path>/mnt/b</path></target>",
    "logical": "<source><device path='/dev/nowhere'/><name>nowhere</name></source><target><path>/dev/nowhere</path></target>",
    "disk": "<source><device path='/dev/nowhere'/><format type='gpt'/></source><target><path>/dev</path></target>",
    "iscsi": "<source><host name='127.0.0.1'/><device path='iqn.2026-01.example:a'/></source>"
    "<target><path>/dev/disk/by-path</path></target>",
    "iscsi-direct": "<source><host name='127.0.0.1'/><device path='iqn.2026-01.example:a'/><initiator><iqn name='iqn.2026-01.example:b'/>"
    "</initiator></source>",
    "scsi": "<source><adapter type='scsi_host' name='scsi_host99'/></source><target><path>/dev/disk/by-path</path></target>",
    "mpath": "<target><path>/dev/mapper</path></target>",
    "rbd": "<source><name>pool</name><host name='127.0.0.1' port='1'/></source>",
    "gluster": "<source><name>volume</name><host name='127.0.0.1'/><dir path='/'/></source>",
    "zfs": "<source><name>nowhere</name></source>",
    "sheepdog": "<source><name>pool</name><host name='127.0.0.1' port='7000'/></source>",
    "vstorage": "<source><name>cluster</name></source><target><path>/mnt/c</path></target>",
    "dir": "<target><path>/nowhere/at/all</path></target>",
    "teleport": "<target><path>/mnt/d</path></target>",
}  # fmt: skip
#: How rbd waits for a host that is not there: longer than anybody should. It is only defined.
UNSTARTED = ("rbd",)
SOURCES = {
    "netfs": "<source><host name='127.0.0.1'/></source>", "logical": "", "iscsi": "<source><host name='127.0.0.1'/></source>",
    "gluster": "<source><host name='127.0.0.1'/></source>", "dir": "", "disk": "",
}  # fmt: skip


def other_pools(scene: Scene) -> None:
    """Pools on devices and servers that are not there: defined all the same, refused when they start."""
    for number, (kind, body) in enumerate(POOLS.items(), 50):
        with scene.within(kind):
            xml = f"<pool type='{kind}'><name>{kind}</name><uuid>{uuid(number)}</uuid>{body}</pool>"
            if scene.call("define", "storagePoolDefineXML", xml, keep="o").outcome == "ok" and kind not in UNSTARTED:
                scene.call("start", "create", on="o")
                scene.value("active", "isActive", on="o")


def sources(scene: Scene) -> None:
    """Looking for pools that could be."""
    for kind, text in SOURCES.items():
        scene.call(kind, "findStoragePoolSources", kind, text or None, 0)


def capabilities(scene: Scene) -> None:
    """The kinds of pool this libvirt says it has, and the formats of each."""
    xml = scene.must("getStoragePoolCapabilities", 0)
    for kind, supported, body in re.findall(r"<pool type='([\w-]+)' supported='(\w+)'>(.*?)</pool>", xml, re.DOTALL):
        scene.tell(kind, "supported" if supported == "yes" else supported)
        for options, inner in re.findall(r"<(\w+Options)>(.*?)</\1>", body, re.DOTALL):
            default = re.findall(r"<defaultFormat type='(\w+)'", inner)
            scene.tell(f"{kind}/{options}", " ".join(re.findall(r"<value>([^<]+)<", inner)) or "none")
            scene.tell(f"{kind}/{options}/default", " ".join(default) or "none")
