"""Security labels: the models that the host has, what a guest and its disk are labelled with, and that it is taken back.

Asked without AppArmor and SELinux, which a machine has or has not: what is left, ``dac``, is on every host.
"""

from __future__ import annotations

import re

from virtcompat.labs.visit import Visit
from virtcompat.surfaces.behaviour import Scene, play, uuid

FOLDER = "/var/lib/disks"
DISK = f"{FOLDER}/disk.img"
#: Who owned a file before is kept in attributes that only the machine's root may write: here it is forgotten. A /dev of the
#: guest's own would be made of devices that the machine's root owns.
CONFIGURATION = 'stdio_handler = "file"\nsecurity_driver = "none"\nremember_owner = 0\nnamespaces = []\n'
SETTINGS = {
    "default": "", "other-user": 'user = "nobody"\ngroup = "nogroup"\n', "by-number": 'user = "+1234"\ngroup = "+5678"\n',
    "static": "dynamic_ownership = 0\n",
}  # fmt: skip
GUEST = (
    "<domain type='qemu'><name>guest</name><uuid>{uuid}</uuid><memory unit='MiB'>16</memory><vcpu>1</vcpu>"
    "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><emulator>/usr/bin/qemu-system-x86_64</emulator>"
    "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{disk}'>{source}</source>"
    "<target dev='vda' bus='virtio'/>{disk_more}</disk><memballoon model='none'/></devices>{more}</domain>"
)
#: name -> (label of the guest, label of its disk's source, what else the disk has)
GUESTS = {
    "plain": ("", "", ""),
    "static-label": ("<seclabel type='static' model='dac' relabel='yes'><label>+0:+0</label></seclabel>", "", ""),
    "static-kept": ("<seclabel type='static' model='dac' relabel='no'><label>+1234:+5678</label></seclabel>", "", ""),
    "no-label": ("<seclabel type='none' model='dac'/>", "", ""),
    "base-label": ("<seclabel type='dynamic' model='dac' relabel='yes'><baselabel>+1234:+5678</baselabel></seclabel>", "", ""),
    "disk-own": ("", "<seclabel model='dac' relabel='yes'><label>+4321:+8765</label></seclabel>", ""),
    "disk-kept": ("", "<seclabel model='dac' relabel='no'/>", ""),
    "shared-disk": ("", "", "<shareable/>"),
    "read-only-disk": ("", "", "<readonly/>"),
    "selinux": ("<seclabel type='dynamic' model='selinux' relabel='yes'/>", "", ""),
    "apparmor": ("<seclabel type='dynamic' model='apparmor' relabel='yes'/>", "", ""),
    "unknown-model": ("<seclabel type='dynamic' model='teleport' relabel='yes'/>", "", ""),
    "no-model": ("<seclabel type='static'><label>+0:+0</label></seclabel>", "", ""),
    "not-a-user": ("<seclabel type='static' model='dac'><label>nobody-at-all:none</label></seclabel>", "", ""),
}  # fmt: skip


def security(visit: Visit) -> dict[str, str]:
    """``security/models/…``, ``security/guests/GUEST/…`` and, for a plain guest, ``security/settings/SETTING/…``."""
    facts: dict[str, str] = {}
    for setting, text in SETTINGS.items():
        files = {"/etc/libvirt/qemu.conf": CONFIGURATION + text}
        scenes, above = ((guest,), "security/settings") if text else ((models, guests), "security")
        found = play(visit, above, "qemu", scenes, users=True, sysfs=True, files=files)
        facts |= {path.replace("/settings/guest/", f"/settings/{setting}/"): value for path, value in found.items()}
    return facts


def models(scene: Scene) -> None:
    """The models in the host's capabilities and the labels that guests get by default."""
    text = scene.must("getCapabilities")
    found = re.findall(r"<secmodel>\s*<model>(\w+)</model>\s*<doi>(\w+)</doi>(.*?)</secmodel>", text, re.DOTALL)
    scene.tell("names", " ".join(name for name, _, _ in found) or "none")
    for name, doi, body in found:
        labels = dict(re.findall(r"<baselabel type='(\w+)'>([^<]*)<", body))
        for kind in ("qemu", "kvm"):
            scene.tell(f"{name}/{kind}", f"doi {doi}, base label {labels.get(kind, 'none')}")
    said = scene.host.call("getSecurityModel")
    scene.tell("model", " ".join(map(str, said.value)) if said.outcome == "ok" else said.text)


def guests(scene: Scene) -> None:
    """Guests that are labelled in each way."""
    for name, (more, source, disk_more) in GUESTS.items():
        with scene.within(name):
            one(scene, more, source, disk_more)


def guest(scene: Scene) -> None:
    """A guest without a word on labels."""
    one(scene, "", "", "")


def one(scene: Scene, more: str, source: str, disk_more: str) -> None:
    """A guest from its definition to its end: its labels, its process's user, its disk's owner before, meanwhile and after."""
    scene.host.out(
        "sh",
        "-c",
        f"mkdir -p {FOLDER} && rm -f {DISK} && truncate -s 1M {DISK} && chown 42:43 {DISK} && chmod 640 {DISK}",
    )
    xml = GUEST.format(uuid=uuid(1), disk=DISK, more=more, source=source, disk_more=disk_more)
    if scene.call("define", "defineXML", xml, keep="d").outcome != "ok":
        return
    text = scene.must("XMLDesc", 0, on="d")
    scene.tell(
        "defined",
        " ".join(re.findall(r"<seclabel[^>]*>|<label>[^<]*|<baselabel>[^<]*", text)).replace("=", " ") or "none",
    )
    paused = {"constant": "VIR_DOMAIN_START_PAUSED"}
    if scene.call("start", "createWithFlags", paused, on="d").outcome == "ok":
        text = scene.must("XMLDesc", 0, on="d")
        labels = re.findall(r"<seclabel type='(\w+)' model='(\w+)' relabel='(\w+)'>\s*(?:<label>([^<]*)<)?", text)
        scene.tell("running", ", ".join(" ".join(each) for each in labels) or "none")
        scene.value("labels", "securityLabelList", on="d")
        scene.tell("process", process(scene))
        scene.tell("disk", owner(scene))
        scene.call("destroy", "destroy", on="d")
    scene.tell("disk-after", owner(scene))
    scene.must("undefine", on="d")


def owner(scene: Scene) -> str:
    return scene.host.run("stat", "-c", "%u:%g %a", DISK).out.strip()


def process(scene: Scene) -> str:
    """User, group and further groups of the emulator's process."""
    script = "for p in $(busybox pidof qemu-system-x86_64); do cat /proc/$p/status; done"
    status = dict(line.partition(":\t")[::2] for line in scene.host.out("sh", "-c", script).splitlines())
    user, group = (status.get(key, "?").split()[0] for key in ("Uid", "Gid"))
    return f"user {user}, group {group}, groups {status.get('Groups', '').strip() or 'none'}"
