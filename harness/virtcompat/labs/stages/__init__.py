"""Stages: what a driver needs of its sandbox beside its release: a stand-in for the hypervisor that it talks to.

The release's own, unmodified driver runs; what it starts or calls is a program that the project carries
(``data/standins/``). Such a program writes down what it was asked, one line a call, in :data:`TRANSCRIPT`. A module is a
member; the folder is the list.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from virtcompat import registry
from virtcompat.labs import BOOTSTRAP, Lab, within
from virtcompat.model import NotHere
from virtcompat.store import paths

#: Where a sandbox shows the stand-in's own files, and where its calls are written down, fields parted by \x1f.
WHERE = "/run/virt-compat/standin"
TRANSCRIPT = "/run/virt-compat/transcript"


class Stage(Protocol):
    """A stand-in on its stage."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    def command(self, lab: Lab) -> list[str] | NotHere: ...
    def digest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class StandIn:
    """A stand-in given as data.

    arguments: of bubblewrap, ``{folder}`` in place of the stand-in's files. program: one of these files, which is started
    before the probe with the probe's command as its arguments, and becomes it. root: the sandbox's user is 0 with all
    capabilities in it. folder: where the files are; empty means ``data/standins/<name>``.
    """

    name: str
    summary: str
    arguments: tuple[str, ...] = ()
    program: str = ""
    root: bool = False
    folder: str = ""

    @property
    def files(self) -> Path:
        return Path(self.folder) if self.folder else paths.PACKAGE / "data" / "standins" / self.name

    def command(self, lab: Lab) -> list[str] | NotHere:
        """The command that starts a probe on this stage; NotHere where a lab is no sandbox of ours."""
        own = [argument.replace("{folder}", str(self.files)) for argument in self.arguments]
        argv = within(lab.command(self.root), "--ro-bind", str(self.files), WHERE, *own)
        if argv is None:
            remedy = "use a root or a built lab for this driver"
            return NotHere(f"the stand-in for {self.name} is put into a sandbox only", remedy)
        if self.program:
            # [interpreter, "-u", "-c", BOOTSTRAP] ends every lab's command.
            at = argv.index(BOOTSTRAP) - 3
            argv[at:at] = [argv[at], f"{WHERE}/{self.program}"]
        return argv

    def digest(self) -> str:
        """Digest of all that the stand-in is: another one may be answered otherwise."""
        body = hashlib.sha256(repr((self.name, self.arguments, self.program, self.root)).encode())
        for file in sorted(f for f in self.files.rglob("*") if f.is_file() and f.suffix != ".pyc"):
            body.update(f"{file.relative_to(self.files)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
        return body.hexdigest()


def every() -> dict[str, Stage]:
    return registry.members(__name__, "STAGE")


def command(lab: Lab, stage: str = "", *, daemon: bool = False) -> list[str] | NotHere:
    """The command that starts a probe in a lab, on a stage where one is named."""
    return every()[stage].command(lab) if stage else lab.command(daemon)


def digest(stage: str) -> str:
    """Digest of a stage, empty for none."""
    return every()[stage].digest() if stage else ""
