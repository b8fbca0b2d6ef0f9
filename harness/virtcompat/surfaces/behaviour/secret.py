"""Secrets: values that are kept, handed out or not, forgotten or not, looked up by what they are for."""

from __future__ import annotations

from virtcompat.labs.visit import Visit
from virtcompat.surfaces.behaviour import Scene, play, uuid

#: kind of use -> (element that names it, its name in this host's secrets, constant of the usage type)
USES = {
    "volume": ("volume", "/var/lib/libvirt/images/locked.img", "VOLUME"),
    "ceph": ("name", "client.libvirt secret", "CEPH"),
    "iscsi": ("target", "libvirtiscsi", "ISCSI"),
    "tls": ("name", "tls-key", "TLS"),
    "vtpm": ("name", "tpm-key", "VTPM"),
}
VALUES = {
    "text": b"a passphrase", "zero-bytes": b"\0one\0two\0", "every-byte": bytes(range(256)), "empty": b"", "one-byte": b"x",
    "64-kib": b"k" * 65536, "beyond": b"b" * 65537,
}  # fmt: skip
KEPT = "/etc/libvirt/secrets"


def secret(visit: Visit) -> dict[str, str]:
    """``secret/SCENE/…``: outcomes, whether a value is what was set, what lies on the disk."""
    scenes = (uses, values, flags, refusals, listing, restart)
    return play(visit, "secret", "secret", scenes, clear=clear)


def clear(scene: Scene) -> None:
    """Undefine every secret that a scene has left."""
    for each in sorted(scene.host.call("listSecrets").value or ()):
        scene.host.call("secretLookupByUUIDString", each, keep="left")
        scene.host.call("undefine", on="left")


def document(number: int, use: str = "", name: str = "", attributes: str = "") -> str:
    element, known, _ = USES.get(use, ("", "", ""))
    usage = f"<usage type='{use}'><{element}>{name or known}</{element}></usage>" if use else ""
    return f"<secret {attributes}><uuid>{uuid(number)}</uuid><description>of a test</description>{usage}</secret>"


def given(data: bytes) -> dict[str, str]:
    return {"hex": data.hex()}


def compared(scene: Scene, path: str, handle: str, data: bytes) -> None:
    """Whether the value that comes back is the one that was set."""
    said = scene.host.call("value", 0, on=handle)
    scene.tell(path, said.text if said.outcome != "ok" else "as set" if said.value == data.hex() else "other")


def uses(scene: Scene) -> None:
    """A secret for each use: found by its use, with its value, and the files that it leaves."""
    for number, (use, (_, name, constant)) in enumerate(USES.items(), 1):
        with scene.within(use):
            scene.call("define", "secretDefineXML", document(number, use), 0, keep="s")
            scene.call("value-unset", "value", 0, on="s")
            scene.call("set", "setValue", given(b"a passphrase"), 0, on="s")
            compared(scene, "value", "s", b"a passphrase")
            usage = {"constant": f"VIR_SECRET_USAGE_TYPE_{constant}"}
            scene.value("lookup", "secretLookupByUsage", usage, name)
            scene.value("usage-id", "usageID", on="s")
            scene.value("usage-type", "usageType", on="s")
            ran = scene.host.run("sh", "-c", f"stat -c '%n %a %u:%g' {KEPT}/*")
            scene.tell("files", ", ".join(sorted(line.rpartition("/")[2] for line in ran.out.splitlines())) or "none")
            scene.tell("plain-on-disk", "yes" if _plain(scene) else "no")
            scene.call("undefine", "undefine", on="s")
            scene.tell("files-left", ", ".join(scene.host.read(f"{KEPT}/*")) or "none")
            scene.call("lookup-undefined", "secretLookupByUsage", usage, name)
            scene.events("events", name, 3)
    scene.call("none/define", "secretDefineXML", document(9), 0, keep="s")
    scene.call("none/set", "setValue", given(b"a passphrase"), 0, on="s")
    compared(scene, "none/value", "s", b"a passphrase")


def _plain(scene: Scene) -> bool:
    """Whether the passphrase of these scenes lies on the disk as base64, which anybody can read back."""
    return any("YSBwYXNzcGhyYXNl" in text for text in scene.host.read(f"{KEPT}/*").values())


def values(scene: Scene) -> None:
    """Values of every kind come back as they were set; so do those that replace others."""
    scene.must("secretDefineXML", document(1, "ceph"), 0, keep="s")
    for name, data in VALUES.items():
        scene.call(f"{name}/set", "setValue", given(data), 0, on="s")
        compared(scene, f"{name}/value", "s", data)
    # A value that was refused leaves the one before.
    compared(scene, "at-last", "s", VALUES["64-kib"])


def flags(scene: Scene) -> None:
    """Private ones are handed out to nobody; ephemeral ones are never on the disk; either can be said anew, or not."""
    for number, (private, ephemeral) in enumerate((("no", "no"), ("yes", "no"), ("no", "yes"), ("yes", "yes")), 1):
        attributes = f"private='{private}' ephemeral='{ephemeral}'"
        with scene.within(f"private-{private}-ephemeral-{ephemeral}"):
            scene.call("define", "secretDefineXML", document(number, "tls", f"t{number}", attributes), 0, keep="s")
            scene.call("set", "setValue", given(b"a passphrase"), 0, on="s")
            compared(scene, "value", "s", b"a passphrase")
            scene.tell("files", str(len(scene.host.read(f"{KEPT}/{uuid(number)}*"))))
    for name, attributes in {
        "private-to-public": "private='no' ephemeral='no'", "kept-to-ephemeral": "private='no' ephemeral='yes'",
        "public-to-private": "private='yes' ephemeral='no'",
    }.items():  # fmt: skip
        number = 2 if name == "private-to-public" else 1
        scene.call(f"{name}/define", "secretDefineXML", document(number, "tls", f"t{number}", attributes), 0, keep="s")
        compared(scene, f"{name}/value", "s", b"a passphrase")
        scene.tell(f"{name}/files", str(len(scene.host.read(f"{KEPT}/{uuid(number)}*"))))


def refusals(scene: Scene) -> None:
    """What has to be refused, and as what."""
    scene.must("secretDefineXML", document(1, "ceph"), 0, keep="s")
    scene.call("same-use", "secretDefineXML", document(2, "ceph"), 0)
    scene.call("other-use", "secretDefineXML", document(1, "ceph", "another"), 0)
    scene.call("other-kind", "secretDefineXML", document(1, "iscsi"), 0)
    scene.call("again", "secretDefineXML", document(1, "ceph"), 0)
    no_overwrite = {"constant": "VIR_SECRET_DEFINE_VALIDATE"}
    scene.call("validated", "secretDefineXML", document(1, "ceph"), no_overwrite)
    scene.call("invalid", "secretDefineXML", document(1, "ceph").replace("<usage", "<nonsense/><usage"), no_overwrite)
    scene.call(
        "unknown-use", "secretDefineXML", document(3).replace("</secret>", "<usage type='teleport'/></secret>"), 0
    )
    scene.call("relative-volume", "secretDefineXML", document(4, "volume", "not/absolute"), 0)
    scene.call("no-name", "secretDefineXML", document(5, "ceph").replace(USES["ceph"][1], ""), 0)
    scene.call("bad-uuid", "secretDefineXML", document(6, "ceph", "c").replace(uuid(6), "no-uuid"), 0)
    scene.call("not-xml", "secretDefineXML", "<secret", 0)
    scene.call("lookup-unknown", "secretLookupByUUIDString", uuid(77))
    scene.call("undefine", "undefine", on="s")
    scene.call("undefine-again", "undefine", on="s")
    scene.call("set-undefined", "setValue", given(b"x"), 0, on="s")


def listing(scene: Scene) -> None:
    """Lists by whether a secret is private and whether it is kept."""
    for number, (private, ephemeral) in enumerate((("no", "no"), ("yes", "no"), ("no", "yes")), 1):
        attributes = f"private='{private}' ephemeral='{ephemeral}'"
        scene.must("secretDefineXML", document(number, "tls", f"t{number}", attributes), 0)
    scene.value("number", "numOfSecrets")
    for name in ("EPHEMERAL", "NO_EPHEMERAL", "PRIVATE", "NO_PRIVATE"):
        said = scene.host.call("listAllSecrets", {"constant": f"VIR_CONNECT_LIST_SECRETS_{name}"})
        scene.tell(name.lower().replace("_", "-"), " ".join(sorted(each[-1] for each in said.value or ())) or "none")


def restart(scene: Scene) -> None:
    """What of kept and ephemeral secrets and their values is there after the daemon or the host restarts."""
    for number, ephemeral in enumerate(("no", "yes"), 1):
        xml = document(number, "tls", f"t{number}", f"private='no' ephemeral='{ephemeral}'")
        scene.must("secretDefineXML", xml, 0, keep="s")
        scene.must("setValue", given(b"a passphrase"), 0, on="s")
    scene.must("secretDefineXML", document(3, "tls", "t3", "private='yes' ephemeral='no'"), 0, keep="s")
    for way, hard, between in (
        ("orderly", False, ()),
        ("killed", True, ()),
        ("host", True, ("rm", "-r", "/run/libvirt")),
    ):
        with scene.within(way):
            scene.restart(*between, hard=hard)
            for number, name in enumerate(("kept", "ephemeral", "unset"), 1):
                scene.call(f"{name}/lookup", "secretLookupByUUIDString", uuid(number), keep="s")
                compared(scene, f"{name}/value", "s", b"a passphrase")
