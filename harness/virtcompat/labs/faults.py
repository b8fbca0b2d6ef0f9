"""Faulted labs: a release's own packages with something wrong, so that it can be seen whether anybody notices.

A faulted lab delegates to the lab of whatever flavour it is made of and has a fingerprint of its own, so that nothing the
sound one answered is taken for its answer. Kinds of faults (``store/regressions.py`` reads them):

``answer``, ``question``  a line between a probe and its caller is changed (``probes/fault_filter.py``)
``file``     a file of the root (a pattern of paths) is changed by patterns, or its content is another one
``program``  a program is replaced by a script, in which ``{real}`` is the path of the real one
``symbol``   a copy of a library in which symbols are hidden or become public, or whose soname is another one
``vmstate``  a copy of a QEMU whose migration carries something else (``labs/faults_qemu.py``)
``place``    the same files copied elsewhere; ``clock``: another time of day and zone (nothing is wrong with these two)
``load``     processes that keep the machine busy for as long as the lab is used (see :func:`busy`)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from virtcompat.errors import BadData, LabError
from virtcompat.labs import BOOTSTRAP, Lab, within
from virtcompat.labs.faultfiles import altered, matching
from virtcompat.labs.kinds.built import BuiltLab
from virtcompat.labs.session import PROBE
from virtcompat.labs.xen import XenLab
from virtcompat.model import NotHere
from virtcompat.store import paths
from virtcompat.store.regressions import FILES, Fault

FILTER = PROBE.with_name("fault_filter.py")
#: Where the sandbox shows what a fault brings.
WHERE = "/run/virt-compat-fault"
#: What the filter does; the other kinds are in the files that the sandbox shows.
TALK = ("answer", "question")
CLOCK = """
#include <sys/syscall.h>
struct spec { long seconds, fraction; };
static long call(long number, long a, long b) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b) : "rcx", "r11", "memory");
    return result;
}
int clock_gettime(int clock, struct spec *now) {
    long failed = call(SYS_clock_gettime, clock, (long)now);
    if (failed) return -1;
    if (clock == 0 || clock == 5 || clock == 11) now->seconds += SHIFT;
    return 0;
}
int gettimeofday(struct spec *now, void *zone) {
    (void)zone;
    struct spec exact;
    call(SYS_clock_gettime, 0, (long)&exact);
    now->seconds = exact.seconds + SHIFT;
    now->fraction = exact.fraction / 1000;
    return 0;
}
long time(long *where) {
    struct spec exact;
    call(SYS_clock_gettime, 0, (long)&exact);
    if (where) *where = exact.seconds + SHIFT;
    return exact.seconds + SHIFT;
}
"""


@dataclass(frozen=True, slots=True)
class FaultedLab:
    """A lab with faults. release: its name; binds: arguments of bubblewrap; before: what the probe's command stands behind.

    moved: (what every path of the root starts with, what it starts with elsewhere). applied: which faults have something
    to change in this flavour. mark: grows with every line that the filter changed.
    """

    base: Lab
    release: str
    digest: str
    binds: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    filter: str = ""
    moved: tuple[str, str] = ("", "")
    applied: frozenset[str] = frozenset()
    mark: Path = Path()
    other_files: bool = False

    @property
    def workdir(self) -> str:
        return self.base.workdir

    @property
    def versions(self) -> dict[str, str]:
        return self.base.versions

    @property
    def sandboxed(self) -> bool:
        return self.base.sandboxed

    @property
    def schemas(self) -> str:
        return self.base.schemas

    def fingerprint(self) -> str:
        return self.digest

    def command(self, daemon: bool) -> list[str]:
        own = [word.replace(*self.moved) if self.moved[0] else word for word in self.base.command(daemon)]
        argv = within(self._cached(own, daemon), *self.binds)
        assert argv is not None, "a built lab is entered with bubblewrap"
        # [interpreter, "-u", "-c", BOOTSTRAP] ends every lab's command.
        at = argv.index(BOOTSTRAP) - 3
        argv[at:at] = [*self.before, *([argv[at], f"{WHERE}/filter.py", self.filter] if self.filter else [])]
        return argv

    def _cached(self, argv: list[str], daemon: bool) -> list[str]:
        """With a place of its own for what libvirt learns about QEMU, where that may be another QEMU."""
        if not self.other_files:
            return argv
        kept = paths.cache_dir() / "qemu-capabilities"
        own = kept / f"{self.digest[:16]}-{'system' if daemon else 'user'}"
        own.mkdir(parents=True, exist_ok=True)
        return [str(own) if word.startswith(f"{kept}/") else word for word in argv]


def root_of(lab: Lab) -> Path:
    """The directory that a lab of packages is; LabError for another lab."""
    if not isinstance(lab, BuiltLab):
        raise LabError(f"{lab.release}: faults are applied to labs of packages only", "name one of the tool's releases")
    return lab.folder / "root"


@dataclass(slots=True)
class Bench:
    """Where the files of one faulted lab are laid out, and what comes of it."""

    lab: Lab
    flavour: str
    folder: Path
    binds: list[str] = field(default_factory=list)
    applied: set[str] = field(default_factory=set)  # digests of faults

    def show(self, file: Path, inside: str) -> None:
        self.binds += ["--ro-bind", str(file), inside]

    def write(self, name: str, data: bytes, mode: int = 0o644) -> Path:
        """A file of the bench; whole or not there, whoever else writes it."""
        file = self.folder / name
        if not file.exists() or file.read_bytes() != data:
            file.parent.mkdir(parents=True, exist_ok=True)
            aside = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
            aside.write_bytes(data)
            aside.chmod(mode)
            aside.replace(file)
        return file

    def apply(self, fault: Fault) -> None:
        """Lay out one fault that is in files, where this flavour has them."""
        if fault.kind in FILES and (not fault.flavours or self.flavour in fault.flavours):
            wanted = fault.what["library"] if fault.kind == "symbol" else fault.what["path"]
            root = root_of(self.lab)
            for inside in matching(root, wanted):
                self.applied.add(fault.digest())
                if fault.kind == "program":
                    self._replace(inside, fault.what["script"])
                else:
                    data = altered(fault, inside, (root / inside.lstrip("/")).read_bytes())
                    self.show(self.write(f"files/{inside.strip('/')}", data, 0o755), inside)

    def _replace(self, inside: str, script: str) -> None:
        """The real program moves to a place from which it still finds its own data by relative paths."""
        name = Path(inside).name
        real = f"{WHERE}/bin/{name}"
        text = script.replace("{real}", real)
        self.show(root_of(self.lab) / inside.lstrip("/"), real)
        if f"{WHERE}/share" not in self.binds:
            self.binds += [
                word for d in ("share", "lib", "libexec") for word in ("--symlink", f"/usr/{d}", f"{WHERE}/{d}")
            ]
        self.show(self.write(f"files/{inside.strip('/')}", text.encode(), 0o755), inside)


def beside(lab: Lab, made: FaultedLab) -> Lab:
    """A faulted lab with what runs beside the sound one: its Xen host, where it has one."""
    return XenLab(made, lab.dom0) if isinstance(lab, XenLab) else made


def core(lab: Lab | NotHere) -> FaultedLab | None:
    """What of a lab has the faults; None of a lab without any."""
    inner = lab.inner if isinstance(lab, XenLab) else lab
    return inner if isinstance(inner, FaultedLab) else None


def faulted(lab: Lab, name: str, faults: Sequence[Fault], flavour: str = "") -> FaultedLab:
    """A lab with these faults, under another name; of a Xen host the lab that it stands beside (see :func:`beside`)."""
    lab = lab.inner if isinstance(lab, XenLab) else lab
    body = [lab.fingerprint(), [f.digest() for f in faults], hashlib.sha256(FILTER.read_bytes()).hexdigest()]
    # A mark says that a rule took effect on the probe as it is: of another probe it says nothing.
    named = {f.what.get("probe", "libvirt_probe") for f in faults if f.kind in TALK}
    body += sorted([name, of] for of, name in _programs().items() if name in named)
    digest = hashlib.sha256(json.dumps(body).encode()).hexdigest()
    bench = Bench(lab, flavour, paths.cache_dir() / "faults" / digest[:20])
    for fault in faults:
        try:
            bench.apply(fault)
        except BadData as error:
            if not fault.file:
                raise
            raise BadData(fault.file, error.message, error.remedy, fault.line) from error
    other_files = bool(bench.binds)
    before = _clock(bench, next((f for f in faults if f.kind == "clock"), None))
    talk = [rule(f) for f in faults if f.kind in TALK]
    marks = bench.folder / "marks"
    if talk:
        marks.mkdir(parents=True, exist_ok=True)
        bench.show(FILTER, f"{WHERE}/filter.py")
        bench.binds += ["--bind", str(marks), f"{WHERE}/marks"]
        bench.applied |= {f.digest() for f in faults if f.kind in TALK}
    moved = _elsewhere(lab, bench.folder) if any(f.kind == "place" for f in faults) else ("", "")
    config = {"probes": _programs(), "rules": talk, "mark": f"{WHERE}/marks/{flavour or 'plain'}"}
    return FaultedLab(
        lab, name, digest, tuple(bench.binds), before, json.dumps(config) if talk else "", moved,
        frozenset(bench.applied), marks / (flavour or "plain"), other_files or bool(moved[0]),
    )  # fmt: skip


def rule(fault: Fault) -> Mapping[str, object]:
    """A fault of the talk as the filter takes it."""
    table = {key: value for key, value in fault.what.items() if key != "kinds"}
    if "kinds" in fault.what:
        table["kind"] = fault.what["kinds"]
    return {"way": fault.kind, **table}


def _programs() -> dict[str, str]:
    """Digest of every probe's source -> its name."""
    return {hashlib.sha256(file.read_bytes()).hexdigest(): file.stem for file in sorted(FILTER.parent.glob("*.py"))}


def _clock(bench: Bench, fault: Fault | None) -> tuple[str, ...]:
    """The command that shifts the clock of what follows it: the calls for the time of day come to a library of ours."""
    if fault is None:
        return ()
    source = bench.write("clock.c", CLOCK.encode())
    library = source.with_suffix(".so")
    seconds = fault.what.get("seconds", 0)
    command = ["cc", "-shared", "-fPIC", "-nostdlib", "-O2", f"-DSHIFT={seconds}L", "-o", str(library), str(source)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LabError("no C compiler to make another time of day with", "apt-get install gcc") from error
    if done.returncode:
        raise LabError(f"the clock could not be compiled: {done.stderr.strip()[-300:]}", "see cc's words")
    bench.show(library, f"{WHERE}/clock.so")
    return ("env", f"TZ={fault.what.get('zone', 'UTC')}", f"LD_PRELOAD={WHERE}/clock.so")


def _elsewhere(lab: Lab, folder: Path) -> tuple[str, str]:
    """Copy a lab's root, once; what its paths start with here and there."""
    root, copy = root_of(lab), folder / "elsewhere"
    if not copy.exists():
        aside = folder / f".elsewhere.{os.getpid()}"
        try:
            shutil.copytree(root, aside, symlinks=True, ignore_dangling_symlinks=True, ignore=_devices)
            aside.rename(copy)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return f"{root}/", f"{copy}/"


def _devices(folder: str, names: list[str]) -> list[str]:
    """What cannot be copied as a file."""
    return [n for n in names if not (p := Path(folder, n)).is_symlink() and not p.is_file() and not p.is_dir()]


def tidy(lab: FaultedLab) -> None:
    """Remove the copy of a lab elsewhere, which is as large as the lab."""
    if lab.moved[0]:
        shutil.rmtree(lab.moved[1], ignore_errors=True)


@contextlib.contextmanager
def busy(faults: Sequence[Fault]) -> Iterator[None]:
    """Processes that do nothing but use the machine, as many as a fault says, while the block runs."""
    count = sum(f.what.get("processes", os.cpu_count() or 1) for f in faults if f.kind == "load")
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()
