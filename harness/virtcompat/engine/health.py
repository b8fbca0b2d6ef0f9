"""What the tool needs and has here, and whether its data is in order."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from virtcompat import checks, drivers, surfaces
from virtcompat.engine import claims as claiming
from virtcompat.engine import columns
from virtcompat.errors import LabError, VirtCompatError
from virtcompat.labs import build, bwrap
from virtcompat.labs.prober import starts
from virtcompat.model import Fixture, NotHere
from virtcompat.store import claims, fixtures, golden, guests, ledger, paths, stability

ROOM = 2 << 30


def examine() -> Iterator[tuple[bool, str]]:
    """(good, line) for everything that a run depends on."""
    for program, package in (("bwrap", "bubblewrap"), ("mmdebstrap", "mmdebstrap"), ("nsenter", "util-linux")):
        there = shutil.which(program)
        yield bool(there), f"{program}: {there}" if there else f"{program}: apt-get install {package}"
    if os.geteuid() and not shutil.which("newuidmap"):
        yield False, "newuidmap, to build labs without root: apt-get install uidmap"
    try:
        yield True, f"Debian mirror: {build.mirror('')}"
    except LabError as error:
        yield False, f"Debian mirror: {error.message}; {error.remedy}"
    free = shutil.disk_usage(paths.cache_dir()).free
    yield (
        free > ROOM,
        f"cache {paths.cache_dir()}: {free >> 30} GiB free (four labs take 1.9 GiB, those with every QEMU 4.4 more)",
    )
    starting = bwrap.available() and bwrap.works()
    remedy = "does not start; allow them (sysctl kernel.unprivileged_userns_clone=1) or be root"
    yield starting, f"user namespaces: a sandbox {'starts' if starting else remedy}"
    found = columns.find()
    for column in found.columns:
        yield from _column(found, column.name)
    for note in found.notes:
        yield True, f"note: {note}"


def _column(found: columns.Columns, name: str) -> Iterator[tuple[bool, str]]:
    recorded = golden.provenance(name)
    yield (
        recorded is not None,
        f"{name}: golden records {'of libvirt ' + recorded.products['libvirt'] if recorded else 'none; virt-compat record ' + name}",
    )
    for (column, flavour), lab in found.labs.items():
        label = f"{name} lab{' ' + flavour if flavour else ''}"
        if column != name:
            continue
        if isinstance(lab, NotHere):
            yield bool(flavour), f"{label}: {lab.reason}; {lab.remedy}"
            continue
        asked = [d for d in drivers.every().values() if "domain" in d.kinds and _asked_in(d.flavour, flavour)]
        for driver in asked:
            said = starts(lab, driver.kinds["domain"])
            yield not said, f"{label}: the {driver.name} driver {'does not open: ' + said if said else 'opens'}"


def _asked_in(driver: str, lab: str) -> bool:
    """Whether a driver of this flavour is asked in a lab of that one; an optional lab has its own driver alone."""
    return driver == lab or (not driver and lab not in drivers.OPTIONAL)


def data_problems() -> list[str]:
    """Everything that is wrong with fixtures, golden records and the ledger, a line each."""
    problems: list[str] = []
    documents: list[Fixture] = []
    try:
        documents = fixtures.load(tuple(surfaces.every()), tuple(drivers.every()))
        ledger.entries()
        stability.policy()
        stability.every()
        guests.every()
        for claim in claims.load():
            claiming.validate(claim)
    except VirtCompatError as error:
        problems.append(str(error))
    for column in columns.find().columns:
        if golden.provenance(column.name) is not None:
            problems += [f"golden/{column.name}/{line}" for line in golden.damaged(column.name)]
    return problems + _clashes(documents) + _contradictions(documents)


def _clashes(documents: list[Fixture]) -> list[str]:
    """Two fixtures of one kind that pin the same UUID cannot be asked together."""
    seen: dict[tuple[str, str], Fixture] = {}
    problems = []
    for fixture in documents:
        for uuid in fixtures.own_uuid(fixture):
            other = seen.setdefault((fixture.kind, uuid), fixture)
            if other is not fixture:
                problems.append(f"{fixture.file}:1: same UUID as {other.case}\n  remedy: pin another one")
    return problems


def _contradictions(documents: list[Fixture]) -> list[str]:
    """Metadata that golden records belie: a fixture said to be accepted (or refused) that a release did not."""
    found = columns.find()
    problems = []
    for fixture in documents:
        for name in fixture.drivers:
            driver = drivers.every()[name]
            if fixture.kind not in driver.kinds:
                problems.append(f"{fixture.file}: the {name} driver has no {fixture.kind}\n  remedy: correct 'drivers'")
                continue
            surface = surfaces.every()[fixture.kind]
            case = checks.Case(fixture, name, surface, driver.kinds[fixture.kind], found.products)
            problems += _lies(case, found.names)
    return problems


def _lies(case: checks.Case, releases: list[str]) -> list[str]:
    """The first release that knows the behaviour decides; later refusals are findings, not lies."""
    fixture = case.fixture
    for release in releases:
        answer = golden.answer(case.define(release))
        if answer is None or not case.knows(release):
            continue
        wanted = "refused" if case.driver in fixture.refused else "accepted"
        if answer.status != wanted:
            said = answer.message or answer.status
            return [
                f"{fixture.file.removesuffix('.xml')}.toml:1: said to be {wanted} by {case.driver}, but {release} "
                f"answered: {said}\n  remedy: correct [since], [until] or [refused]"
            ]
        return []
    return []
