"""Storage: directories of volumes that are made, resized, cloned, wiped, filled and deleted, and what is refused of other pools."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from virtcompat.labs.visit import Visit
from virtcompat.surfaces.behaviour import Scene, play, pools, uuid

FOLDER = "/var/lib/pools"
MIB = 1 << 20
#: Bytes that are written to a volume: not a whole number of anything's blocks.
LENGTH = 3 * MIB + 512 * 7
#: name -> (capacity, allocation, format, further elements of the target, flags of virStorageVolCreateXML)
VOLUMES = {
    "raw": (8 * MIB, 0, "raw", "", ""),
    "raw-full": (2 * MIB, 2 * MIB, "raw", "", ""),
    "raw-permissions": (MIB, 0, "raw", "<permissions><mode>0640</mode><owner>0</owner><group>0</group></permissions>", ""),
    "qcow2": (8 * MIB, 0, "qcow2", "", ""),
    "qcow2-old": (8 * MIB, 0, "qcow2", "<compat>0.10</compat>", ""),
    "qcow2-lazy": (8 * MIB, 0, "qcow2", "<compat>1.1</compat><features><lazy_refcounts/></features>", ""),
    "qcow2-extended-l2": (8 * MIB, 0, "qcow2", "<compat>1.1</compat><features><extended_l2/></features>", ""),
    "qcow2-clusters": (8 * MIB, 0, "qcow2", "<clusterSize unit='KiB'>128</clusterSize>", ""),
    "qcow2-preallocated": (2 * MIB, 0, "qcow2", "", "VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA"),
    "vmdk": (8 * MIB, 0, "vmdk", "", ""), "vdi": (8 * MIB, 0, "vdi", "", ""), "qed": (8 * MIB, 0, "qed", "", ""),
    "vpc": (8 * MIB, 0, "vpc", "", ""), "cow": (8 * MIB, 0, "cow", "", ""), "bochs": (8 * MIB, 0, "bochs", "", ""),
    "dir": (0, 0, "dir", "", ""), "unknown-format": (MIB, 0, "floppy9", "", ""), "no-space": (1 << 60, 1 << 60, "raw", "", ""),
    "odd-size": (1000001, 0, "raw", "", ""), "empty": (0, 0, "raw", "", ""),
}  # fmt: skip
#: What of qemu-img's word is drawn at random or the file system's.
UNTOLD = ("actual-size", "filename", "full-backing-filename", "children", "cid", "parent-cid", "extents")
#: A stand-in for scrub, which overwrites files in patterns: it writes down what it was asked for.
SCRUB = '#!/bin/sh\necho "$*" >>/run/scrub.asked\n'
#: Algorithms of virStorageVolWipePattern.
WIPES = ("ZERO", "NNSA", "DOD", "BSI", "GUTMANN", "SCHNEIER", "PFITZNER7", "PFITZNER33", "RANDOM", "TRIM")


def storage(visit: Visit) -> dict[str, str]:
    """``storage/SCENE/…``: outcomes, what became of files, and what qemu-img says of them."""
    scenes = (
        pool,
        create,
        resize,
        content,
        clone,
        wipe,
        backing,
        refusals,
        pools.other_pools,
        pools.sources,
        pools.capabilities,
        restart,
    )
    return play(visit, "storage", "storage", scenes, clear=clear, files={"/run/bin/scrub": SCRUB})


def clear(scene: Scene) -> None:
    """Take down every pool that a scene has left, with its files."""
    for name in sorted(scene.host.call("listAllStoragePools").value or ()):
        scene.host.call("storagePoolLookupByName", name, keep="left")
        scene.host.call("destroy", on="left")
        scene.host.call("undefine", on="left")
    scene.host.out("rm", "-rf", FOLDER)


def directory(name: str, number: int = 1, path: str = "", permissions: str = "") -> str:
    where = path or f"{FOLDER}/{name}"
    return (
        f"<pool type='dir'><name>{name}</name><uuid>{uuid(number)}</uuid>"
        f"<target><path>{where}</path>{permissions}</target></pool>"
    )


def volume(
    name: str, capacity: int = MIB, allocation: int = 0, form: str = "raw", target: str = "", more: str = ""
) -> str:
    return (
        f"<volume><name>{name}</name><capacity>{capacity}</capacity><allocation>{allocation}</allocation>"
        f"<target><format type='{form}'/>{target}</target>{more}</volume>"
    )


def started(scene: Scene, name: str = "pool") -> None:
    """A directory of volumes that runs, kept as ``p``."""
    scene.host.out("mkdir", "-p", f"{FOLDER}/{name}")
    scene.must("storagePoolDefineXML", directory(name), keep="p")
    scene.must("create", on="p")


def look(scene: Scene, path: str, handle: str) -> None:
    """What libvirt says of a volume, and what its file is: kind, size, allocation, permissions, qemu-img's word."""
    info = scene.host.call("info", on=handle)
    # Not the allocation, which is the file system's.
    for key, value in zip(("type", "capacity"), info.value or (), strict=False):
        scene.tell(f"info/{key}", str(value))
    xml = scene.host.call("XMLDesc", 0, on=handle).value or ""
    scene.tell("format", " ".join(re.findall(r"<format type='(\w+)'", xml)) or "none")
    ran = scene.host.run("stat", "-c", "%F, %s bytes, %a %u:%g", path)
    scene.tell("file", ran.out.strip() or "not there")
    if ran.out.startswith("regular"):
        scene.tell("allocated", _share(scene, path))
        for key, value in image(scene, path).items():
            scene.tell(f"qemu-img/{key}", value)


def _share(scene: Scene, path: str) -> str:
    """How much of a file is on the disk: how a file system rounds it is its own."""
    found = scene.host.ask("digest", path=path, length=1)
    if found["allocated"] == 0:
        return "nothing"
    return "all" if found["allocated"] >= found["size"] else "some"


def image(scene: Scene, path: str) -> dict[str, str]:
    """What qemu-img says of an image, as facts; the actual size on disk is the file system's."""
    ran = scene.host.run("qemu-img", "info", "--output=json", path)
    if ran.code:
        return {"(error)": "exit status " + str(ran.code)}
    found: dict[str, str] = {}

    def walk(value: Any, above: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key not in UNTOLD:
                    walk(inner, f"{above}/{key}" if above else key)
        else:
            found[above] = value if isinstance(value, str) else json.dumps(value)

    walk(json.loads(ran.out), "")
    return found


def pool(scene: Scene) -> None:
    """A directory from its definition to its deletion."""
    scene.call("define", "storagePoolDefineXML", directory("pool"), keep="p")
    scene.value("active", "isActive", on="p")
    scene.call("start-unbuilt", "create", on="p")
    scene.call("build", "build", 0, on="p")
    scene.call("build-again", "build", 0, on="p")
    for flag in ("OVERWRITE", "NO_OVERWRITE"):
        scene.call(f"build-{flag.lower()}", "build", {"constant": f"VIR_STORAGE_POOL_BUILD_{flag}"}, on="p")
    scene.tell("folder", scene.host.run("stat", "-c", "%F %a %u:%g", f"{FOLDER}/pool").out.strip() or "not there")
    scene.call("start", "create", on="p")
    scene.call("start-again", "create", on="p")
    scene.value("active-started", "isActive", on="p")
    scene.value("volumes", "numOfVolumes", on="p")
    scene.host.write(f"{FOLDER}/pool/dropped.img", b"\0" * 4096)
    scene.host.out("qemu-img", "create", "-q", "-f", "qcow2", f"{FOLDER}/pool/dropped.qcow2", "1M")
    scene.host.out("mkdir", f"{FOLDER}/pool/folder")
    scene.host.out("ln", "-s", "/nowhere", f"{FOLDER}/pool/dangling")
    scene.host.out("mkfifo", f"{FOLDER}/pool/pipe")
    scene.value("volumes-before-refresh", "listVolumes", on="p")
    scene.call("refresh", "refresh", 0, on="p")
    scene.value("volumes-refreshed", "listVolumes", on="p")
    info = scene.must("info", on="p")
    # Capacity is that of the file system: only that it adds up is the pool's.
    scene.tell("info", f"state {info[0]}, {'adds up' if info[1] == info[2] + info[3] else 'does not add up'}")
    scene.call("autostart", "setAutostart", 1, on="p")
    scene.tell("autostart-link", ", ".join(scene.host.read("/etc/libvirt/storage/autostart/*")) or "none")
    scene.call("delete-active", "delete", 0, on="p")
    scene.call("undefine-active", "undefine", on="p")
    scene.call("destroy", "destroy", on="p")
    scene.call("destroy-again", "destroy", on="p")
    scene.call("delete-filled", "delete", 0, on="p")
    scene.host.out("sh", "-c", f"rm -r {FOLDER}/pool/*")
    scene.call("delete", "delete", 0, on="p")
    scene.tell("folder-deleted", scene.host.run("stat", "-c", "%F", f"{FOLDER}/pool").out.strip() or "not there")
    scene.call("undefine", "undefine", on="p")
    scene.tell(
        "files", ", ".join(scene.host.read("/etc/libvirt/storage/*.xml", "/etc/libvirt/storage/autostart/*")) or "none"
    )
    scene.events("events", "pool", 8)


def create(scene: Scene) -> None:
    """A volume of each kind from its creation to its deletion."""
    started(scene)
    for name, (capacity, allocation, form, target, flags) in VOLUMES.items():
        with scene.within(name):
            xml = volume(name, capacity, allocation, form, target)
            said = scene.call("create", "createXML", xml, {"constant": flags} if flags else 0, on="p", keep="v")
            path = f"{FOLDER}/pool/{name}"
            if said.outcome == "ok":
                look(scene, path, "v")
                scene.call("delete", "delete", 0, on="v")
            scene.tell("left", scene.host.run("stat", "-c", "%F", path).out.strip() or "nothing")


def resize(scene: Scene) -> None:
    """Volumes made larger and smaller: what is allowed, and the size of the file and of the disk in it."""
    started(scene)
    steps: Mapping[str, tuple[int, str]] = {
        "up": (8 * MIB, ""), "up-by": (MIB, "VIR_STORAGE_VOL_RESIZE_DELTA"), "up-odd": (9 * MIB + 700, ""),
        "up-allocated": (10 * MIB, "VIR_STORAGE_VOL_RESIZE_ALLOCATE"), "down": (5 * MIB, ""),
        "down-allowed": (5 * MIB, "VIR_STORAGE_VOL_RESIZE_SHRINK"),
        "down-by": (MIB, "VIR_STORAGE_VOL_RESIZE_SHRINK|VIR_STORAGE_VOL_RESIZE_DELTA"),
        "down-to-nothing": (0, "VIR_STORAGE_VOL_RESIZE_SHRINK"), "below-allocation": (512, "VIR_STORAGE_VOL_RESIZE_SHRINK"),
    }  # fmt: skip
    for form in ("raw", "qcow2"):
        scene.must("createXML", volume(form, 4 * MIB, 0, form), 0, on="p", keep="v")
        for step, (size, flags) in steps.items():
            with scene.within(f"{form}/{step}"):
                scene.call("outcome", "resize", size, {"constant": flags} if flags else 0, on="v")
                said = image(scene, f"{FOLDER}/pool/{form}")
                scene.tell(
                    "size", f"{said.get('virtual-size', '?')} in the image, {scene.must('info', on='v')[1]} by libvirt"
                )
                scene.tell("allocated", _share(scene, f"{FOLDER}/pool/{form}"))


def transfer(scene: Scene, path: str, handle: str, way: str, length: int, offset: int = 0) -> str:
    """Bytes sent or fetched through a stream: told as the outcome, and their digest returned."""
    reply = scene.host.ask("transfer", on=handle, way=way, length=length, offset=offset)
    refused = f"refused: {reply.get('code', '').removeprefix('VIR_ERR_')}"
    scene.tell(path, f"{reply['length']} bytes" if reply["outcome"] == "ok" else refused)
    return str(reply.get("sha256", ""))


def fill(scene: Scene, length: int) -> str:
    """Send bytes into the volume ``v``; returns their digest. Asked for its size, libvirt sees at once what it has now."""
    sent = scene.host.ask("transfer", on="v", way="upload", length=length)
    scene.must("info", on="v")
    return str(sent["sha256"])


def content(scene: Scene) -> None:
    """What is uploaded is in the file and comes back, byte for byte; a range of it as well."""
    started(scene)
    scene.must("createXML", volume("raw", 4 * MIB), 0, on="p", keep="v")
    sent = transfer(scene, "upload", "v", "upload", LENGTH - LENGTH % 16)
    found = scene.host.ask("digest", path=f"{FOLDER}/pool/raw", length=LENGTH - LENGTH % 16)
    scene.tell("file", "as sent" if found["sha256"] == sent else "not as sent")
    scene.tell("file-size", str(found["size"]))
    back = transfer(scene, "download", "v", "download", LENGTH - LENGTH % 16)
    scene.tell("fetched", "as sent" if back == sent else "not as sent")
    transfer(scene, "download-all", "v", "download", 0)
    part = transfer(scene, "upload-into", "v", "upload", MIB, 2 * MIB)
    again = transfer(scene, "download-from", "v", "download", MIB, 2 * MIB)
    scene.tell("part", "as sent" if part == again else "not as sent")
    transfer(scene, "upload-beyond", "v", "upload", MIB, 4 * MIB)
    transfer(scene, "download-beyond", "v", "download", MIB, 4 * MIB)
    scene.tell("file-size-at-last", str(scene.host.ask("digest", path=f"{FOLDER}/pool/raw", length=1)["size"]))
    scene.value("path", "path", on="v")
    scene.value("key", "key", on="v")
    scene.call("lookup-path", "storageVolLookupByPath", f"{FOLDER}/pool/raw")
    scene.call("lookup-elsewhere", "storageVolLookupByPath", "/etc/passwd")


def clone(scene: Scene) -> None:
    """Copies into the same and into other formats have the same content; a copy may be larger."""
    started(scene)
    scene.must("createXML", volume("source", 4 * MIB), 0, on="p", keep="v")
    fill(scene, 2 * MIB)
    plain = scene.host.ask("digest", path=f"{FOLDER}/pool/source", length=4 * MIB)["sha256"]
    for form, capacity in (("raw", 4 * MIB), ("qcow2", 4 * MIB), ("vmdk", 4 * MIB), ("raw", 6 * MIB), ("raw", MIB)):
        name = f"{form}-{capacity // MIB}"
        with scene.within(name):
            xml = volume(name, capacity, 0, form)
            if scene.call("clone", "createXMLFrom", xml, {"handle": "v"}, 0, on="p", keep="c").outcome != "ok":
                continue
            look(scene, f"{FOLDER}/pool/{name}", "c")
            scene.host.out("qemu-img", "convert", "-O", "raw", f"{FOLDER}/pool/{name}", f"{FOLDER}/plain")
            same = scene.host.ask("digest", path=f"{FOLDER}/plain", length=4 * MIB)["sha256"] == plain
            scene.tell("content", "the same" if same else "other")
            back = volume(f"{name}-back", 4 * MIB)
            if scene.call("clone-back", "createXMLFrom", back, {"handle": "c"}, 0, on="p").outcome == "ok":
                found = scene.host.ask("digest", path=f"{FOLDER}/pool/{name}-back", length=4 * MIB)["sha256"]
                scene.tell("content-back", "the same" if found == plain else "other")
    scene.call("clone-onto-itself", "createXMLFrom", volume("source", 4 * MIB), {"handle": "v"}, 0, on="p")
    reflink = {"constant": "VIR_STORAGE_VOL_CREATE_REFLINK"}
    # Only some file systems can; that it is not taken for a copy is what counts.
    said = scene.host.call("createXMLFrom", volume("linked", 4 * MIB), {"handle": "v"}, reflink, on="p")
    scene.tell("clone-linked", "refused" if said.outcome == "refused" else said.outcome)


def wipe(scene: Scene) -> None:
    """A wiped volume is as long as before and holds nothing of what it held; patterns are left to scrub."""
    started(scene)
    for algorithm in WIPES:
        with scene.within(algorithm.lower()):
            scene.must("createXML", volume(algorithm, MIB), 0, on="p", keep="v")
            sent = fill(scene, MIB)
            pattern = {"constant": f"VIR_STORAGE_VOL_WIPE_ALG_{algorithm}"}
            scene.call("wipe", "wipePattern", pattern, 0, on="v")
            found = scene.host.ask("digest", path=f"{FOLDER}/pool/{algorithm}", length=MIB)
            scene.tell("size", str(found["size"]))
            asked = scene.host.read("/run/scrub.asked").get("/run/scrub.asked", "").strip()
            scene.host.run("rm", "-f", "/run/scrub.asked")
            if asked:
                scene.tell("scrub", asked)
            else:
                scene.tell("content", "still there" if found["sha256"] == sent else "gone")
    scene.must("createXML", volume("zeroed", MIB), 0, on="p", keep="v")
    fill(scene, MIB)
    scene.call("wipe", "wipe", 0, on="v")
    found = scene.host.ask("digest", path=f"{FOLDER}/pool/zeroed", length=MIB)
    scene.tell("content", "zeros" if found["sha256"] == hashlib.sha256(bytes(MIB)).hexdigest() else "no zeros")
    # What libvirt has not seen come into an empty volume is as long as the volume was then: nothing.
    scene.must("createXML", volume("unseen", MIB), 0, on="p", keep="v")
    scene.host.write(f"{FOLDER}/pool/unseen", b"x" * MIB)
    scene.call("wipe-unseen", "wipe", 0, on="v")
    found = scene.host.ask("digest", path=f"{FOLDER}/pool/unseen", length=MIB)
    scene.tell("content-unseen", "still there" if found["sha256"] == hashlib.sha256(b"x" * MIB).hexdigest() else "gone")
    scene.must("createXML", volume("image", MIB, 0, "qcow2"), 0, on="p", keep="v")
    scene.call("wipe-qcow2", "wipe", 0, on="v")
    scene.tell("format-wiped", image(scene, f"{FOLDER}/pool/image").get("format", "unreadable"))


def backing(scene: Scene) -> None:
    """Images on top of others: what is written of them, and chains that lead nowhere."""
    started(scene)
    scene.must("createXML", volume("base", 4 * MIB, 0, "raw"), 0, on="p")
    forms = {
        "on-raw": ("base", "raw"), "on-unnamed": ("base", ""), "on-nothing": ("nowhere", "raw"), "on-wrong": ("base", "qcow2"),
    }  # fmt: skip
    for name, (base, form) in forms.items():
        with scene.within(name):
            kind = f"<format type='{form}'/>" if form else ""
            more = f"<backingStore><path>{FOLDER}/pool/{base}</path>{kind}</backingStore>"
            xml = volume(name, 8 * MIB, 0, "qcow2", "", more)
            if scene.call("create", "createXML", xml, 0, on="p", keep="v").outcome == "ok":
                look(scene, f"{FOLDER}/pool/{name}", "v")
    scene.host.out("rm", f"{FOLDER}/pool/base")
    scene.call("refresh-without-base", "refresh", 0, on="p")
    scene.value("volumes", "listVolumes", on="p")
    scene.host.write(f"{FOLDER}/pool/damaged", b"QFI\xfb\0\0\0\3" + b"\xff" * 120)
    scene.call("refresh-damaged", "refresh", 0, on="p")
    scene.value("volumes-damaged", "listVolumes", on="p")


def refusals(scene: Scene) -> None:
    """What has to be refused, and as what."""
    started(scene)
    scene.call("same-name", "storagePoolDefineXML", directory("pool", 2, f"{FOLDER}/other"))
    scene.call("same-uuid", "storagePoolDefineXML", directory("other", 1, f"{FOLDER}/other"))
    scene.call("same-folder", "storagePoolDefineXML", directory("other", 3, f"{FOLDER}/pool"))
    scene.call("no-target", "storagePoolDefineXML", f"<pool type='dir'><name>x</name><uuid>{uuid(4)}</uuid></pool>")
    scene.call("slash-in-name", "storagePoolDefineXML", directory("a/b", 5, f"{FOLDER}/other"))
    scene.call("relative-folder", "storagePoolDefineXML", directory("relative", 6, "not/absolute"))
    scene.call("not-xml", "storagePoolDefineXML", "<pool")
    scene.call("lookup-unknown", "storagePoolLookupByName", "nobody")
    scene.must("createXML", volume("there"), 0, on="p", keep="v")
    texts = {
        "volume-again": volume("there"), "volume-slash": volume("a/b"), "volume-up": volume("../up"), "volume-unnamed": volume(""),
        "volume-negative": volume("negative").replace(f">{MIB}<", ">-5<"), "volume-not-xml": "<volume",
        "volume-huge-number": volume("huge").replace(f">{MIB}<", ">99999999999999999999999<"),
        "volume-encrypted": volume("locked", target="<encryption format='luks'/>"),
    }  # fmt: skip
    for name, xml in texts.items():
        scene.call(name, "createXML", xml, 0, on="p")
    scene.call("volume-unknown", "storageVolLookupByName", "nobody", on="p")
    scene.host.out("rm", f"{FOLDER}/pool/there")
    scene.call("delete-vanished", "delete", 0, on="v")
    scene.call("info-vanished", "info", on="v")
    scene.must("destroy", on="p")
    scene.call("create-inactive", "createXML", volume("late"), 0, on="p")
    scene.call("refresh-inactive", "refresh", 0, on="p")


def restart(scene: Scene) -> None:
    """What of pools and their volumes is there after the daemon or the host restarts."""
    for number, name in enumerate(("running", "automatic", "stopped"), 1):
        scene.host.out("mkdir", "-p", f"{FOLDER}/{name}")
        scene.must("storagePoolDefineXML", directory(name, number), keep=name)
    for name in ("running", "automatic"):
        scene.must("create", on=name)
        scene.must("createXML", volume("kept", MIB, 0, "qcow2"), 0, on=name)
    scene.must("setAutostart", 1, on="automatic")
    scene.host.out("mkdir", "-p", f"{FOLDER}/transient")
    scene.must("storagePoolCreateXML", directory("transient", 4), 0)
    for way, hard, between in (
        ("orderly", False, ()),
        ("killed", True, ()),
        ("host", True, ("rm", "-r", "/run/libvirt")),
    ):
        with scene.within(way):
            scene.restart(*between, hard=hard)
            for name in ("running", "automatic", "stopped", "transient"):
                found = scene.call(f"{name}/lookup", "storagePoolLookupByName", name, keep=name).outcome == "ok"
                if found and scene.value(f"{name}/active", "isActive", on=name):
                    scene.value(f"{name}/volumes", "listVolumes", on=name)
