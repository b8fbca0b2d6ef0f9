"""Recording: a release's answers written into golden/, with the exact versions they were given under."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from lxml import etree

import virtcompat
from virtcompat import checks, drivers, registry, surfaces
from virtcompat.engine import columns as columns_module
from virtcompat.engine import guests, run, static
from virtcompat.engine.answers import probe_digest
from virtcompat.engine.columns import Columns
from virtcompat.errors import LabError, NotAsked, UsageError
from virtcompat.labs import build, open_lab, prober
from virtcompat.model import Answer, Column, NotHere
from virtcompat.store import fixtures, golden, releases, streams
from virtcompat.store import records as store
from virtcompat.surfaces import RecordedSurface

BATCH = 200
#: What is recorded; every kind of document there is.
KINDS = tuple(surfaces.every())


Progress = Callable[[int, int], None]


def record(
    name: str, chosen: tuple[str, ...] = (), progress: Progress = lambda done, of: None, *, fresh: bool = False
) -> Path:
    """Ask a release every fixture, its capabilities and its surfaces and replace its folder in golden/. Returns it.

    chosen: only these recorded surfaces; everything else that is recorded stays as it is. fresh: migration streams, too,
    are recorded anew.
    """
    surfaces_chosen = registry.choose("virtcompat.surfaces.recorded", "SURFACE", chosen, "recorded surface")
    release = releases.find(name)
    before = golden.provenance(name)
    if chosen and before is None:
        raise UsageError(f"{name} has no golden records yet", f"record all of it first: virt-compat record {name}")
    found = Columns()
    packages: dict[str, dict[str, str]] = {f: dict(p) for f, p in before.packages.items()} if chosen and before else {}
    # A release without flavours has one lab, with everything that it has.
    only = static.FLAVOUR if static.FLAVOUR in release.flavours else ""
    for flavour in (only,) if chosen else ("", *release.flavours):
        variant = releases.find(f"{name}-{flavour}") if flavour else release
        lab = open_lab(variant)
        if isinstance(lab, NotHere):
            raise LabError(f"{lab.reason}, so {name} cannot be recorded", lab.remedy)
        found.labs[name, flavour] = lab
        packages[flavour] = lab.versions
    lab = next(iter(found.labs.values()))
    assert not isinstance(lab, NotHere)
    libvirt, qemu = columns_module.own_versions(lab)
    found.columns.append(Column(name, libvirt, qemu, (), golden=False, live=True))
    was = before.packages.get(static.FLAVOUR, {}) if before else {}
    now = packages.get(static.FLAVOUR, {})
    other = sorted(p for p in build.identity(release, was) if p in now and was[p] != now[p])
    if chosen and other:
        raise UsageError(f"the lab has other versions than {name} was recorded with: {other[0]}", "record all of it")
    recorder = golden.Recorder(name, keep=bool(chosen))
    if not chosen:
        _documents(name, found, recorder, progress)
        for driver_name, driver in drivers.every().items():
            _capabilities(found, name, driver_name, driver, recorder)
    _surfaces(found, name, surfaces_chosen, recorder, progress, fresh or bool(other))
    how = f"virt-compat {virtcompat.__version__}, lab built from suite {release.suite}" if release.suite else "own lab"
    products = {"libvirt": libvirt, "qemu": qemu} | _others(found, name)
    probe = before.probe if chosen and before else probe_digest()
    return recorder.finish(golden.Provenance(name, products, packages, probe, how))


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
    lab = static.lab_of(found, name)
    assert not isinstance(lab, NotHere)
    for at, (surface, member) in enumerate(chosen.items(), 1):
        recorder.drop(surface)
        for part, facts in static.read(lab, member).items():
            if not isinstance(facts, NotHere):
                recorder.add_text(f"{surface}/{part}{store.SUFFIX}", store.written(facts))
            elif lab.release != name:
                raise NotAsked(f"{surface}: {facts.reason}, so {name} cannot be recorded", facts.remedy)
        progress(at, len(chosen))
    if guests.KIND in chosen:
        # No two runs of a guest stop at the same count: streams are recorded once, and again only where there are none.
        kept = streams.file_of(name)
        with guests.Moves(found, progress) as moves:
            file = recorder.aside / guests.KIND / streams.NAME
            if kept.is_file() and not fresh:
                file.write_bytes(kept.read_bytes())
            else:
                streams.write(file, moves.recorded(name, lab))


def _documents(name: str, found: Columns, recorder: golden.Recorder, progress: Progress) -> None:
    every_driver, every_surface = drivers.every(), surfaces.every()
    cases = [
        checks.Case(
            fixture, driver, every_surface[fixture.kind], every_driver[driver].kinds[fixture.kind], found.products
        )
        for fixture in fixtures.load(KINDS, tuple(every_driver))
        for driver in fixture.drivers
        if fixture.kind in every_driver[driver].kinds
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
