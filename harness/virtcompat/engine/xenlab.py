"""Xen hosts of the releases: built and booted once, asked what no document tells, a guest started for real."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from virtcompat.errors import UsageError
from virtcompat.labs import Lab, build, open_lab, xen, xenhosts
from virtcompat.labs.kinds import built
from virtcompat.labs.xenhosts import Converted, Life
from virtcompat.model import Fixture, NotHere
from virtcompat.store import fixtures, releases
from virtcompat.store.releases import Release

DRIVER = "xen"
#: What libvirt converts to; it writes the old format, of xm, no longer in the way it reads it.
TO = ("xen-xl",)
#: A guest that starts on every host: kernel and initial file system are in its image (probes/xen_build.py).
GUEST = """<domain type='xen'>
  <name>{name}</name>
  <uuid>5f1c0de0-0000-4000-8000-0000000000a0</uuid>
  <memory unit='MiB'>160</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>{type}</type>
    <kernel>/virt-compat/guest.kernel</kernel>
    <initrd>/virt-compat/guest.img</initrd>
    <cmdline>console=hvc0 quiet</cmdline>
  </os>
  <devices>
    <console type='pty'>
      <target type='xen' port='0'/>
    </console>
  </devices>
</domain>
"""
#: Kinds of guests that are started: (machine, type of the operating system).
GUESTS = {"pv": ("xenpv", "linux"), "pvh": ("xenpvh", "xenpvh")}


@dataclass(slots=True)
class Told:
    """What a release's Xen host told. native: (case, format) -> the document in the hypervisor's own form; lives: by
    kind of guest."""

    release: str
    texts: dict[str, str] = field(default_factory=dict)
    native: dict[tuple[str, str], Converted] = field(default_factory=dict)
    back: dict[tuple[str, str], Converted] = field(default_factory=dict)
    lives: dict[str, Life] = field(default_factory=dict)


def is_host(release: Release) -> bool:
    """Whether a release's lab has a host that is booted after its root is made."""
    return release.flavour == xen.FLAVOUR


def create(release: Release, made: build.Made, progress: xen.Progress, *, refresh: bool = False) -> str:
    """Boot a lab's host once and write its checkpoint; returns a line that says how long it took, or that it stands."""
    standing = xen.seconds(made)
    if standing is not None and not refresh:
        return f"Xen host stands already (booted in {standing['boot']:.0f} s)"
    took = xen.create(built.plain(release, made), made, progress, refresh=refresh)
    return f"Xen host booted in {took['boot']:.0f} s, {sum(took.values()):.0f} s in all"


def guest(kind: str) -> str:
    """The document of a guest that is started: ``pv`` or ``pvh``."""
    machine, os_type = GUESTS[kind]
    return GUEST.format(name=f"virt-compat-{kind}", machine=machine, type=os_type)


def documents() -> list[Fixture]:
    return fixtures.load(("domain",), (DRIVER,))


def lab(name: str) -> Lab | NotHere:
    """The Xen host's lab of a release; NotHere with the remedy where there is none."""
    release = releases.find(name)
    if xen.FLAVOUR not in release.flavours:
        return NotHere(f"{name} has no Xen host", f"give it a flavour '{xen.FLAVOUR}' (data/releases)")
    return open_lab(releases.find(f"{name}-{xen.FLAVOUR}"))


def tell(
    names: Sequence[str],
    kinds: Sequence[str] = tuple(GUESTS),
    progress: Callable[[str], None] = lambda words: None,
) -> Iterator[Told | NotHere]:
    """One release after the other, one QEMU at a time: its texts, documents converted and back, guests."""
    if unknown := [kind for kind in kinds if kind not in GUESTS]:
        raise UsageError(f"no guest '{unknown[0]}'", f"use: {', '.join(GUESTS)}")
    for name in names:
        found = lab(name)
        if isinstance(found, NotHere):
            yield found
            continue
        with xenhosts.running(found) as host:
            told = Told(name, host.texts())
            for fixture in documents():
                _convert(host, fixture, told)
            for kind in kinds:
                progress(f"{name}: starting a guest ({kind})")
                told.lives[kind] = host.life(guest(kind))
        yield told


def _convert(host: xenhosts.XenHost, fixture: Fixture, told: Told) -> None:
    for form in TO:
        written = told.native[fixture.case, form] = host.to_native(form, fixture.text)
        if written.text:
            told.back[fixture.case, form] = host.from_native(form, written.text)
