"""Source packages from the distribution's mirror, kept in the user's cache directory."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from virtcompat.errors import Absent
from virtcompat.labs import build
from virtcompat.store import paths
from virtcompat.store.releases import Release

LIMIT = 60.0  # s without a byte


def sources(release: Release, version: str, mirror: str = "") -> Path:
    """libvirt's source tarball of a release built from packages; Absent where the mirror does not have it.

    version: of the package libvirt0, as the lab has it.
    """
    if not release.suite:
        raise Absent(f"{release.name} is not built from packages", "name the path of its source tree instead")
    upstream = version.split(":")[-1].rsplit("-", 1)[0]
    name = f"libvirt_{upstream}.orig.tar.xz"
    kept = paths.cache_dir() / "sources" / name
    if kept.is_file():
        return kept
    uri = f"{(mirror or build.mirror(release.suite)).rstrip('/')}/pool/main/libv/libvirt/{name}"
    kept.parent.mkdir(exist_ok=True)
    aside = kept.with_name(f".{name}.{os.getpid()}")
    try:
        with urllib.request.urlopen(uri, timeout=LIMIT) as answer, aside.open("wb") as file:  # noqa: S310 - a mirror
            while data := answer.read(1 << 20):
                file.write(data)
            wanted = answer.headers.get("Content-Length")
            if wanted and int(wanted) != file.tell():
                raise OSError(f"{file.tell()} of {wanted} bytes came")
        aside.rename(kept)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        remedy = "fetch the source package elsewhere and name its path"
        raise Absent(f"the mirror does not give {name}: {error}", remedy) from error
    finally:
        aside.unlink(missing_ok=True)
    return kept
