"""Source trees: their texts by path, from a directory, a tarball or a Debian source package, without unpacking any."""

from __future__ import annotations

import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from virtcompat.errors import BadData, UsageError

#: Called with a path below the tree's root: whether its text is wanted.
Wanted = Callable[[str], bool]
LARGEST = 16 << 20  # bytes of one text; libvirt's largest have about one million
TARBALL = re.compile(r"\.tar(\.(xz|gz|bz2))?$|\.tgz$")
REMEDY = "name an unpacked source tree, its tarball (….orig.tar.xz) or its .dsc file"


def texts(path: Path, wanted: Wanted) -> dict[str, str]:
    """Path below the tree's root -> text, in the order of the paths.

    UsageError where there is no such file, BadData where it is damaged. Bytes that are no UTF-8 are replaced.
    """
    if path.is_dir():
        return dict(sorted(_folder(path, wanted)))
    if not path.exists():
        raise UsageError(f"{path}: no such directory or file", REMEDY)
    if path.suffix == ".dsc":
        path = _tarball_of(path)
    if not TARBALL.search(path.name):
        raise UsageError(f"{path}: neither a directory nor a tarball", REMEDY)
    try:
        return dict(sorted(_members(path, wanted)))
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise BadData(path, f"not a whole tarball: {error}", "download it again") from error


def _folder(root: Path, wanted: Wanted) -> Iterator[tuple[str, str]]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in (Path(folder, name) for name in files):
            name = file.relative_to(root).as_posix()
            if wanted(name) and file.is_file():
                yield name, _text(file, file.read_bytes())


def _members(path: Path, wanted: Wanted) -> Iterator[tuple[str, str]]:
    """The files below the one directory that a source tarball holds."""
    with tarfile.open(path) as tar:
        for member in tar:
            name = member.name.removeprefix("./").partition("/")[2]
            if member.isfile() and wanted(name):
                if member.size > LARGEST:
                    raise BadData(path, f"{name} has {member.size} bytes", REMEDY)
                file = tar.extractfile(member)
                assert file is not None
                yield name, _text(path, file.read())


def _tarball_of(dsc: Path) -> Path:
    """The upstream tarball beside a Debian source package's description."""
    text = dsc.read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^ [0-9a-f]{32,} \d+ ([^/\s]+\.orig\.tar\.\w+)$", text, re.MULTILINE)
    if found is None:
        raise BadData(dsc, "names no ….orig.tar.… file", REMEDY)
    if not (tarball := dsc.parent / found[1]).is_file():
        raise UsageError(f"{dsc}: {found[1]} does not lie beside it", f"download it, or {REMEDY}")
    return tarball


def _text(path: Path, data: bytes) -> str:
    if len(data) > LARGEST:
        raise BadData(path, f"has {len(data)} bytes", REMEDY)
    return data.decode("utf-8", "replace")
