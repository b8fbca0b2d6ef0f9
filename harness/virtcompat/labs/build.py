"""Building labs: a root of extracted packages, made aside and renamed when whole, addressed by its definition."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import unquote

from virtcompat.errors import LabError
from virtcompat.store import paths
from virtcompat.store.releases import Release

MANIFEST = "lab.json"


@dataclass(frozen=True, slots=True)
class Made:
    """A lab on disk: ``folder/root`` and the versions of the packages extracted into it."""

    folder: Path
    versions: dict[str, str]
    digest: str


def definition(release: Release) -> str:
    """Digest of what a lab is made from; another definition is another directory."""
    body = [release.name, release.suite, sorted(release.packages), sorted(release.links.items())]
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()


def labs_dir() -> Path:
    return paths.cache_dir() / "labs"


def folder_of(release: Release) -> Path:
    return labs_dir() / f"{release.name}-{definition(release)[:12]}"


def find(release: Release) -> Made | None:
    """The finished lab of exactly this definition."""
    folder = folder_of(release)
    try:
        record = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    versions = {str(k): str(v) for k, v in record["packages"].items()}
    return Made(folder, versions, fingerprint(release, versions))


def fingerprint(release: Release, versions: Mapping[str, str]) -> str:
    """Package list and versions: what an answer of this lab depends on."""
    body = [sorted(versions.items()), sorted(release.links.items())]
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()


def identity(release: Release, versions: Mapping[str, str]) -> dict[str, str]:
    """The packages that make the release what it is."""
    return {p: v for p, v in sorted(versions.items()) if any(fnmatch(p, g) for g in release.identity)}


def mirror(suite: str) -> str:
    """The Debian mirror of this machine's apt configuration."""
    try:
        done = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"],
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
    except OSError as error:
        raise LabError("apt-get is not here, so no mirror is known", "pass --mirror URL") from error
    for line in done.stdout.splitlines():
        label, _, uri = line.partition(" ")
        if label == "Debian":
            return uri
    remedy = "run 'apt-get update' once, or pass --mirror URL"
    raise LabError(f"no Debian mirror in the apt configuration to fetch {suite} from", remedy)


def remove(release: Release) -> list[Path]:
    """Remove every lab of this release, of older definitions too."""
    gone = _folders(release)
    for folder in gone:
        _delete(folder)
    return gone


def _folders(release: Release) -> list[Path]:
    """The finished labs of a release, of every definition it has had."""
    digest = "[0-9a-f]" * 12
    return sorted(labs_dir().glob(f"{release.name}-{digest}"))


def _delete(folder: Path) -> None:
    aside = folder.with_name(f".removing-{folder.name}-{os.getpid()}")
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
    if aside.exists():
        raise LabError(f"{aside} could not be removed", f"rm -rf {aside}, as root if need be")


def create(release: Release, from_mirror: str = "", refresh: bool = False) -> Made:
    """Build a lab (about 20 s), or return the one that stands. LabError says what failed and the way out."""
    made = find(release)
    if made and not refresh:
        return made
    if not shutil.which("mmdebstrap"):
        raise LabError("mmdebstrap is not installed", "apt-get install mmdebstrap")
    labs_dir().mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".building-{release.name}-", dir=labs_dir()))
    try:
        aside.chmod(0o755)
        versions = _extract(release, aside, from_mirror or mirror(release.suite))
        _link(aside / "root", release.links)
        record = {"release": release.name, "definition": definition(release), "packages": versions}
        (aside / MANIFEST).write_text(json.dumps(record, indent=1) + "\n")
        target = folder_of(release)
        if target.exists():
            _delete(target)
        aside.rename(target)
        for older in set(_folders(release)) - {target}:
            _delete(older)
    except BaseException:
        if aside.exists():
            _delete(aside)
        raise
    made = find(release)
    assert made is not None
    return made


def _extract(release: Release, aside: Path, uri: str) -> dict[str, str]:
    """Download and unpack the packages into ``aside/root``; returns package -> version."""
    root, archive = aside / "root", aside / "root.tar"
    own = os.geteuid() == 0
    command = [
        "mmdebstrap", "--quiet", f"--mode={'root' if own else 'unshare'}", "--variant=extract",
        '--aptopt=APT::Install-Recommends "false"',
        # A rolling suite's Release file can be past its validity date.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--extract-hook=ls "$1/var/cache/apt/archives" >&2',
        # Without root a directory would belong to other (subordinate) ids: a tar archive belongs to who unpacks it.
        f"--format={'directory' if own else 'tar'}",
        f"--include={','.join(release.packages)}", release.suite, str(root) if own else "-",
        f"deb {uri} {release.suite} main",
    ]  # fmt: skip
    with archive.open("wb") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, check=False)
    words = done.stderr.decode("utf-8", "replace").splitlines()
    if done.returncode:
        remedy = "check the mirror (--mirror) and the network; nothing half-made was left behind"
        said = "\n".join([line for line in words if not line.endswith(".deb")][-12:])
        raise LabError(f"mmdebstrap could not build {release.name} from {release.suite}:\n{said}", remedy)
    if not own:
        _unpack(archive, root)
    archive.unlink()
    names = [line.strip().removesuffix(".deb").split("_") for line in words if line.endswith(".deb")]
    return {name: unquote(version) for name, version, _ in sorted(names)}


def _unpack(archive: Path, root: Path) -> None:
    root.mkdir()
    unpack = ["tar", "-x", "-f", str(archive), "-C", str(root), "--no-same-owner", "--exclude=./dev/*"]
    done = subprocess.run(unpack, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"the lab could not be unpacked: {done.stderr.strip()[-300:]}", "check the disk's free space")


def _link(root: Path, links: Mapping[str, str]) -> None:
    """Make the links that maintainer scripts (alternatives) would have made; no script runs in ``extract``."""
    for link, target in links.items():
        path = root / link.lstrip("/")
        if not path.is_symlink() and not path.exists():
            path.symlink_to(target)
