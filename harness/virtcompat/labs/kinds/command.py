"""A build tree behind a command prefix, such as libvirt's ``build/run``: run from its own tree, nothing installed."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from virtcompat.labs import SCHEMAS, Lab, LabKind, bwrap, identify
from virtcompat.model import NotHere
from virtcompat.store.releases import Release

#: What libvirt takes from its tree while it runs: storage backends, and CPU models with their features.
LOADED = ("src/libvirt_storage_*.so", "src/cpu_map/*.xml")


@dataclass(frozen=True, slots=True)
class CommandLab:
    """The prefix runs inside a sandbox of this machine's root, in which the tree around the command stays visible."""

    release: str
    prefix: tuple[str, ...]
    shown: tuple[str, ...]
    interpreter: str = "/usr/bin/python3"
    workdir: str = bwrap.WORKDIR
    sandboxed: bool = True
    schemas: str = SCHEMAS
    versions: dict[str, str] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """The binaries that answer, the command and the files it names (a wrapper may change what they say), the tree's data.

        What a build tree loads or reads as it goes is not mapped when the binaries are asked what they are.
        """
        named = [file for word in self.prefix if (file := Path(word)).is_file()]
        build = named[0].parent
        loaded = [f for folder in (build, *map(Path, self.shown)) for p in LOADED for f in sorted(folder.glob(p))]
        digests = [[str(f), hashlib.sha256(f.read_bytes()).hexdigest()] for f in dict.fromkeys((*named, *loaded))]
        body = [identify.fingerprint(self), digests, *self.prefix[1:]]
        return hashlib.sha256(json.dumps(body).encode()).hexdigest()

    def command(self, daemon: bool) -> list[str]:
        return bwrap.python([*bwrap.command(Path("/"), daemon, None, self.shown), *self.prefix], self.interpreter)


@dataclass(frozen=True, slots=True)
class CommandLabKind:
    name: str = "command"
    summary: str = "a build tree behind a command prefix, for example libvirt's build/run"

    def open(self, release: Release) -> Lab | NotHere:
        prefix = shlex.split(release.lab.get("prefix", ""))
        if not bwrap.available():
            return NotHere("bubblewrap is not installed", "apt-get install bubblewrap")
        program = shutil.which(prefix[0]) if prefix else None
        if program is None:
            return NotHere(f"'{' '.join(prefix)}': no such command", f"virt-compat lab remove {release.name}")
        absolute = Path(program).resolve()
        tree = release.lab.get("tree") or str(absolute.parent.parent)
        # What the sandbox shows anyway (/usr, /opt …) needs no bind of its own.
        shown = () if tree == "/" or tree.startswith(("/usr", "/bin")) else (tree,)
        interpreter = release.lab.get("python", "/usr/bin/python3")
        schemas = next((d for d in ("src/conf/schemas", "docs/schemas") if Path(tree, d).is_dir()), "")
        pattern = f"{tree}/{schemas}/*.rng" if schemas else SCHEMAS
        return CommandLab(release.name, (str(absolute), *prefix[1:]), shown, interpreter, schemas=pattern)


LAB_KIND: LabKind = CommandLabKind()
