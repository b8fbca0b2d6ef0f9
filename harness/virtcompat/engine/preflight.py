"""Preflight: a user's own definitions held against the release that they are going to. Nothing of them is changed or kept.

Labs are asked a stand-in (:mod:`virtcompat.engine.standin`); only the answers cache of the user remembers what it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from virtcompat.engine import columns as columns_module
from virtcompat.engine import definitions, subjects
from virtcompat.engine import run as engine
from virtcompat.engine.definitions import Read
from virtcompat.engine.outlooks import Prospects
from virtcompat.engine.subjects import Progress, Subject
from virtcompat.errors import UsageError
from virtcompat.labs.definitions import Virsh, host
from virtcompat.model import Column, Tier
from virtcompat.policy import preflight as policy
from virtcompat.policy.preflight import Report
from virtcompat.store import paths
from virtcompat.store.tables import version

Versions = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. origin: the release that the definitions come from; cold: guests are shut down for the upgrade.

    gate: the tier from which on the exit code is 1, None for no gate. host: (libvirt, QEMU) of this machine, if any.
    """

    to: str
    origin: str = ""
    paths: tuple[Path, ...] = ()
    virsh: Virsh | None = None
    cold: bool = False
    gate: Tier | None = Tier.BREAK
    host: Callable[[], Versions | None] = host


@dataclass(frozen=True, slots=True)
class Origins:
    """The releases that definitions may come from, the oldest first. guessed: nobody said which; note: what was assumed."""

    names: tuple[str, ...]
    note: str = ""
    guessed: bool = False


def run(request: Request, progress: Progress = lambda done, of: None) -> Report:
    """Read, find out where each definition comes from, ask, and say what awaits it. UsageError where there is nothing."""
    began = time.monotonic()
    origins = _origins(request)
    read = Read()
    definitions.of_files(request.paths, read)
    if request.virsh is not None:
        definitions.of_libvirt(request.virsh, read, progress)
    if not read.definitions and not any(left.code for left in read.left_out):
        why = f" ({read.left_out[0].source}: {read.left_out[0].why})" if read.left_out else ""
        raise UsageError(
            f"no definition to judge{why}", "name libvirt XML files, a directory of them, or --connect URI"
        )
    found = columns_module.find((*origins.names, request.to))
    judged = [subjects.subject_of(number, definition) for number, definition in enumerate(read.definitions)]
    with engine.opened(found) as answers:
        subjects.put(answers, judged, origins.names, request.to, progress, guessed=origins.guessed)
        prospects = Prospects(answers, request.to, request.cold)
        outlooks = prospects.of(judged, progress)
    return Report(
        to=request.to,
        columns={c.name: c for c in found.columns},
        outlooks=policy.in_order(outlooks),
        left_out=[(left.source, left.why, left.code) for left in read.left_out],
        notes=[*found.notes, *_notes(judged, read, origins), *prospects.notes],
        gate=request.gate,
        asked=answers.asked,
        known=answers.cached,
        seconds=time.monotonic() - began,
    )


def _origins(request: Request) -> Origins:
    """Where the definitions come from: as the user says, else what this host or the URI runs, else any older release."""
    if request.origin:
        both = columns_module.find((request.origin, request.to)).names
        if request.origin == request.to or both.index(request.origin) > both.index(request.to):
            words = f"--from {request.origin} is not older than --to {request.to}"
            raise UsageError(words, "for the way back see 'virt-compat can-migrate'")
        return Origins((request.origin,))
    columns_module.find((request.to,))  # says so where there is no such release
    every = columns_module.find(()).columns
    names = [c.name for c in every]
    older = [c for c in every[: names.index(request.to)] if c.live or c.golden]
    if not older:
        raise UsageError(f"no release here is older than {request.to}", "name another --to")
    here = request.virsh.versions() if request.virsh is not None else request.host()
    place = request.virsh.uri if request.virsh is not None else "this host"
    candidates = tuple(c.name for c in older)
    guess = f"each definition is taken to come from the oldest of {', '.join(candidates)} that accepts it"
    if here is None or not here[0]:
        return Origins(candidates, f"no --from, and {place} runs no libvirt daemon: {guess}", guessed=True)
    runs = f"{place} runs libvirt {here[0]}" + (f" and QEMU {here[1]}" if here[1] else "")
    own = next((c for c in [*older, *every] if _same(c, here)), None)
    if own is not None and own.name in candidates:
        return Origins((own.name,), f"--from {own.name} was assumed: {runs}")
    if own is not None:
        return Origins(candidates, f"{runs}, as {own.name} does, no older release: {guess}", guessed=True)
    remedy = "to ask that one: virt-compat lab add this-host --host, then --from this-host"
    return Origins(candidates, f"{runs}, which is no release here ({remedy}): {guess}", guessed=True)


def _same(column: Column, here: Versions) -> bool:
    """Whether a column has these versions of libvirt and QEMU, by their first two numbers."""

    def short(text: str) -> tuple[int, ...]:
        return (*version(text), 0, 0)[:2]

    return short(column.libvirt) == short(here[0]) and (not here[1] or short(column.qemu) == short(here[1]))


def _notes(judged: Sequence[Subject], read: Read, origins: Origins) -> list[str]:
    notes = [origins.note] if origins.note else []
    if any(s.standin.kvm for s in judged):
        notes.append(
            "labs have no KVM: guests of KVM are asked as guests of QEMU's translation, their processors held against the "
            "CPU maps"
        )
    if read.passed:
        notes.append(f"passed over: {read.passed} files that are not called *.xml")
    if judged:
        notes.append(f"answers about these definitions are kept in {paths.cache_dir()} and nowhere else")
    return notes
