"""The fingerprint of a lab without a package list: digests of the binaries that answer, taken inside the lab."""

from __future__ import annotations

import hashlib
import json
from functools import cache

from virtcompat.labs import Lab, session


def fingerprint(lab: Lab) -> str:
    return str(identity(lab)["digest"])


def versions(lab: Lab) -> tuple[str, str]:
    """(libvirt, QEMU) as the lab's own binaries say, for example ``("9.0.0", "7.2.22")``; QEMU may be ``""``."""
    said = identity(lab)
    return str(said["libvirt"]), str(said["qemu"])


def identity(lab: Lab) -> dict[str, str]:
    """What the probe says of the binaries it runs on. LabError where the probe does not start."""
    return _identity(tuple(lab.command(daemon=False)), lab.workdir, lab.schemas)


@cache
def _identity(command: tuple[str, ...], workdir: str, schemas: str) -> dict[str, str]:
    opening: dict[str, object] = {"uri": None, "root": workdir, "files": {}}
    probe = session.Session(session.Start(command, opening))
    try:
        reply = next(reply for _, reply in probe.ask([{"op": "identify", "schemas": schemas}]))
    finally:
        probe.close()
    if reply["status"] != "accepted":
        raise session.OpenFailed(str(reply.get("message", reply["status"])), reply)
    number = int(reply["libvirt"])
    words = f"{number // 1000000}.{number // 1000 % 1000}.{number % 1000}"
    digest = hashlib.sha256(json.dumps([reply["digests"], words]).encode()).hexdigest()
    return {"digest": digest, "libvirt": words, "qemu": str(reply["qemu"])}
