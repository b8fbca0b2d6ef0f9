"""Recording: a release's answers written into golden/, with the exact versions they were given under."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

import virtcompat
from virtcompat import checks, drivers, registry, surfaces
from virtcompat.engine import columns as columns_module
from virtcompat.engine import guests, remote, run, static
from virtcompat.engine.answers import probe_digest
from virtcompat.engine.columns import Columns
from virtcompat.errors import LabError, NotAsked, UsageError
from virtcompat.labs import build, open_lab, prober
from virtcompat.model import Answer, Column, NotHere
from virtcompat.store import covering, fixtures, golden, releases, streams
from virtcompat.store import records as store
from virtcompat.surfaces import RecordedSurface

BATCH = 200
#: The drivers whose capabilities are recorded: what they say does not depend on the machine that is asked.
DESCRIBED = ("qemu", "test")
#: What is recorded; every kind of document there is.
KINDS = tuple(surfaces.every())


Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Part:
    """What of a release is recorded: these recorded surfaces and the documents of these drivers, all where none is named.

    fresh: migration streams, too, are recorded anew.
    """

    surfaces: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    fresh: bool = False

    @property
    def whole(self) -> bool:
        return not self.surfaces and not self.drivers

    def flavours(self, release: releases.Release) -> tuple[str, ...]:
        """The labs that it is asked in. A release without flavours has one lab, with everything that it has."""
        if self.whole:
            return ("", *release.flavours)
        surface, every = registry.members("virtcompat.surfaces.recorded", "SURFACE"), drivers.every()
        wanted = {surface[name].flavour for name in self.surfaces}
        for name in self.drivers:
            wanted |= {"", "all"} if name == "qemu" else {setup.flavour for setup in every[name].kinds.values()}
        return tuple(sorted({flavour if flavour in release.flavours else "" for flavour in wanted}))


def record(name: str, part: Part | None = None, progress: Progress = lambda done, of: None) -> Path:
    """Ask a release every fixture, its capabilities and its surfaces and replace its folder in golden/. Returns it.

    What is not in the part stays as it is recorded.
    """
    part = part or Part()
    surfaces_chosen = registry.choose("virtcompat.surfaces.recorded", "SURFACE", part.surfaces, "recorded surface")
    _chosen(name, part.drivers)
    release = releases.find(name)
    before = golden.provenance(name)
    if not part.whole and before is None:
        raise UsageError(f"{name} has no golden records yet", f"record all of it first: virt-compat record {name}")
    found = Columns()
    kept = {} if part.whole or before is None else before.packages
    packages: dict[str, dict[str, str]] = {f: dict(p) for f, p in kept.items()}
    _open(release, part, found, packages, before)
    lab = next(iter(found.labs.values()))
    assert not isinstance(lab, NotHere)
    libvirt, qemu = columns_module.own_versions(lab)
    if part.drivers and before:
        libvirt, qemu = before.products["libvirt"], before.products["qemu"]
    found.columns.append(Column(name, libvirt, qemu, (), golden=False, live=True))
    other = _other(release, before, packages, tuple(f for _, f in found.labs)) if before else []
    if not part.whole and other:
        raise UsageError(f"the lab has other versions than {name} was recorded with: {other[0]}", "record all of it")
    recorder = golden.Recorder(name, keep=not part.whole)
    if part.whole or part.drivers:
        _documents(name, found, recorder, progress, part.drivers)
    if part.whole:
        recorder.keep_surface(covering.FOLDER)  # recorded by a command of its own
        for driver_name, driver in drivers.every().items():
            _capabilities(found, name, driver_name, driver, recorder)
        if name in (r.name for r in releases.shipped()):
            for file, text in remote.record(name).items():
                recorder.add_text(file, text)
    if part.whole or part.surfaces:
        _surfaces(found, name, surfaces_chosen, recorder, progress, part.fresh or bool(other))
    how = f"virt-compat {virtcompat.__version__}, lab built from suite {release.suite}" if release.suite else "own lab"
    known = dict(before.products) if before and not part.whole else {}
    products = known | {"libvirt": libvirt, "qemu": qemu} | _others(found, name)
    probe = before.probe if before and not part.whole and not part.drivers else probe_digest()
    return recorder.finish(golden.Provenance(name, products, packages, probe, how))


def _chosen(name: str, names: tuple[str, ...]) -> None:
    """UsageError for a driver that there is not, and one that is asked no document."""
    for driver in drivers.choose(names).values() if names else ():
        if not driver.kinds:
            raise UsageError(f"driver {driver.name} has no documents", f"virt-compat record {name} --surface drivers")


def _open(
    release: releases.Release,
    part: Part,
    found: Columns,
    packages: dict[str, dict[str, str]],
    before: golden.Provenance | None,
) -> None:
    """Open the labs that a part is asked in. LabError where one is missing that is not optional."""
    for flavour in part.flavours(release):
        variant = releases.find(f"{release.name}-{flavour}") if flavour else release
        lab = open_lab(variant)
        if not isinstance(lab, NotHere):
            found.labs[release.name, flavour] = lab
            packages[flavour] = lab.versions
        elif part.whole and flavour in drivers.OPTIONAL:
            if before and flavour in before.packages:
                packages[flavour] = dict(before.packages[flavour])
        else:
            raise LabError(f"{lab.reason}, so {release.name} cannot be recorded", lab.remedy)


def _other(
    release: releases.Release,
    before: golden.Provenance,
    packages: Mapping[str, Mapping[str, str]],
    flavours: tuple[str, ...],
) -> list[str]:
    """The packages that make the release what it is and have another version in one of these labs than was recorded."""
    found: set[str] = set()
    for flavour in flavours:
        was = before.packages.get(flavour) or before.packages.get("", {})
        now = packages[flavour]
        found |= {p for p in build.identity(release, was) if p in now and was[p] != now[p]}
    return sorted(found)


def _others(found: Columns, name: str) -> dict[str, str]:
    lab = static.lab_of(found, name)
    return {} if isinstance(lab, NotHere) else columns_module.other_versions(lab)


def _surfaces(
    found: Columns,
    name: str,
    chosen: Mapping[str, RecordedSurface],
    recorder: golden.Recorder,
    progress: Progress,
    fresh: bool,
) -> None:
    """Every recorded surface, read off the lab anew. A lab with all it needs must show every part."""
    for at, (surface, member) in enumerate(chosen.items(), 1):
        if member.flavour in drivers.OPTIONAL and (name, member.flavour) not in found.labs:
            recorder.keep_surface(surface)
            continue
        lab = static.lab_of(found, name, member.flavour)
        assert not isinstance(lab, NotHere)
        recorder.drop(surface)
        for part, facts in static.read(lab, member).items():
            if not isinstance(facts, NotHere):
                recorder.add_text(f"{surface}/{part}{store.SUFFIX}", store.written(facts))
            elif lab.release != name:
                raise NotAsked(f"{surface}: {facts.reason}, so {name} cannot be recorded", facts.remedy)
        progress(at, len(chosen))
    if guests.KIND in chosen:
        lab = static.lab_of(found, name)
        assert not isinstance(lab, NotHere)
        # No two runs of a guest stop at the same count: streams are recorded once, and again only where there are none.
        kept = streams.file_of(name)
        with guests.Moves(found, progress) as moves:
            file = recorder.aside / guests.KIND / streams.NAME
            if kept.is_file() and not fresh:
                file.write_bytes(kept.read_bytes())
            else:
                streams.write(file, moves.recorded(name, lab))


def _documents(
    name: str, found: Columns, recorder: golden.Recorder, progress: Progress, chosen: tuple[str, ...]
) -> None:
    """The answers of these drivers (all where none is named) to their fixtures; those of a lab that is not here stay."""
    every_driver, every_surface = drivers.choose(chosen), surfaces.every()
    for driver in list(every_driver.values()):
        if any(
            setup.flavour in drivers.OPTIONAL and (name, setup.flavour) not in found.labs
            for setup in driver.kinds.values()
        ):
            recorder.keep_driver(driver.name)
            del every_driver[driver.name]
        elif chosen:
            recorder.drop_driver(driver.name)
    cases = [
        checks.Case(
            fixture, driver, every_surface[fixture.kind], every_driver[driver].kinds[fixture.kind], found.products
        )
        for fixture in fixtures.load(KINDS, tuple(every_driver))
        for driver in fixture.drivers
        if driver in every_driver and fixture.kind in every_driver[driver].kinds
    ]
    with run.opened(found) as answers:
        for start in range(0, len(cases), BATCH):
            part = cases[start : start + BATCH]
            questions = [case.define(name, source="lab") for case in part]
            natives = [case.native(name, source="lab") if "argv" in case.setup.forms else None for case in part]
            given = answers.resolve([*questions, *filter(None, natives)])
            for question, converted in zip(questions, natives, strict=True):
                answer, native = given[question], given[converted] if converted else None
                if isinstance(answer, NotHere):
                    raise NotAsked(f"{question.driver}/{question.kind}: {answer.reason}", answer.remedy)
                recorder.add(question, native.merged_into(answer) if isinstance(native, Answer) else answer)
            progress(min(start + BATCH, len(cases)), len(cases))


def _capabilities(
    found: Columns, name: str, driver_name: str, driver: drivers.Driver, recorder: golden.Recorder
) -> None:
    """What a driver answers without an input: its capabilities and, per machine type, those of domains."""
    if driver_name not in DESCRIBED:
        return
    lab = found.labs[name, ""]
    assert not isinstance(lab, NotHere)
    for what in ("capabilities", "domcapabilities"):
        reply = prober.facts(lab, driver.kinds["domain"], what)
        for key, text in sorted((reply.get("texts") or {}).items()):
            file = f"capabilities/{driver_name}/{what}{'-' + key.replace('/', '-') if key != what else ''}.xml"
            recorder.add_text(file, _without_host(text))


def _without_host(text: str) -> str:
    """Capabilities without what they say of the machine that recorded them."""
    if not text.startswith("<"):
        return text + "\n"
    root = etree.fromstring(text.encode(), etree.XMLParser(remove_blank_text=True, resolve_entities=False))
    for element in root.findall("host") + root.findall("cpu/mode[@name='host-model']"):
        parent = element.getparent()
        if parent is not None:
            parent.remove(element)
    return etree.tostring(root, encoding="unicode", pretty_print=True)
