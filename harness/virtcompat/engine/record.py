"""Recording: a release's answers written into golden/, with the exact versions they were given under."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lxml import etree

import virtcompat
from virtcompat import checks, drivers, surfaces
from virtcompat.engine import columns as columns_module
from virtcompat.engine import run
from virtcompat.engine.answers import probe_digest
from virtcompat.engine.columns import Columns
from virtcompat.errors import LabError, NotAsked
from virtcompat.labs import open_lab, prober
from virtcompat.model import Answer, Column, NotHere
from virtcompat.store import fixtures, golden, releases

BATCH = 200
#: What is recorded; every kind of document there is.
KINDS = tuple(surfaces.every())


def record(name: str, progress: Callable[[int, int], None] = lambda done, of: None) -> Path:
    """Ask a release every fixture and its capabilities and replace its folder in golden/. Returns the folder."""
    release = releases.find(name)
    found = Columns()
    packages: dict[str, dict[str, str]] = {}
    for flavour in ("", *release.flavours):
        variant = releases.find(f"{name}-{flavour}") if flavour else release
        lab = open_lab(variant)
        if isinstance(lab, NotHere):
            raise LabError(f"{lab.reason}, so {name} cannot be recorded", lab.remedy)
        found.labs[name, flavour] = lab
        packages[flavour] = lab.versions
    plain = found.labs[name, ""]
    assert not isinstance(plain, NotHere)
    libvirt, qemu = columns_module.own_versions(plain)
    found.columns.append(Column(name, libvirt, qemu, (), golden=False, live=True))
    recorder = golden.Recorder(name)
    _documents(name, found, recorder, progress)
    for driver_name, driver in drivers.every().items():
        _capabilities(found, name, driver_name, driver, recorder)
    how = f"virt-compat {virtcompat.__version__}, lab built from suite {release.suite}" if release.suite else "own lab"
    provenance = golden.Provenance(name, {"libvirt": libvirt, "qemu": qemu}, packages, probe_digest(), how)
    return recorder.finish(provenance)


def _documents(name: str, found: Columns, recorder: golden.Recorder, progress: Callable[[int, int], None]) -> None:
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
