"""The schema surface: what it reads off real grammars, what altered ones do, and lxml's word on whether the record is true."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from schema_oracle import Record as Oracle
from virtcompat.documents import parse
from virtcompat.errors import Absent, BadData
from virtcompat.labs import Lab
from virtcompat.labs.visit import Ran, visiting
from virtcompat.model import Change, Finding, Tier
from virtcompat.policy.records import compare, merged
from virtcompat.store import paths, releases
from virtcompat.surfaces import Record
from virtcompat.surfaces import every as every_kind
from virtcompat.surfaces.recorded import schema
from virtcompat.surfaces.recorded.schema import FOLDER, SURFACE

RELEASES = tuple(r.name for r in releases.shipped())
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Schemas:
    """A visit to a release that has nothing but these schemas."""

    release: str
    files: Files = field(default_factory=dict)
    workdir: str = "/nowhere"

    def read(self, *patterns: str) -> dict[str, bytes]:
        return {path: data for path, data in self.files.items() for p in patterns if Path(path).match(p)}

    def library(self, soname: str) -> tuple[str, bytes]:
        raise NotImplementedError

    def run(self, *argv: str, **_: Any) -> Ran:
        raise NotImplementedError

    def ask(self, *_: Any, **__: Any) -> dict[str, Any]:
        raise NotImplementedError

    def having(self, file: str, data: bytes) -> Schemas:
        return replace(self, files={**self.files, FOLDER + file: data})


@pytest.fixture(scope="session")
def visit(abi: Callable[[str], Lab]) -> Callable[[str], Schemas]:
    """release -> a visit to what its lab really has."""

    @cache
    def taken(release: str) -> Schemas:
        with visiting(abi(release)) as there:
            return Schemas(release, there.read(FOLDER + "*.rng"))

    return taken


def recorded(visit: Schemas, *parts: str) -> Record:
    return {name: read(visit) for name, read in SURFACE.parts.items() if not parts or name in parts}


@pytest.fixture(scope="session")
def record(visit: Callable[[str], Schemas]) -> Callable[[str], Record]:
    return cache(lambda release: recorded(visit(release)))


def differences(old: Record, new: Record) -> dict[str, Finding]:
    """Findings by path, of the parts that both records have."""
    surface = replace(
        SURFACE, parts={name: read for name, read in SURFACE.parts.items() if name in old and name in new}
    )
    return {f.path: f for verdict in compare(surface, old, new) for f in verdict.findings}


# What is read


def test_a_release_is_recorded_in_time_and_twice_alike(
    visit: Callable[[str], Schemas], record: Callable[[str], Record]
) -> None:
    begun = time.process_time()
    first = recorded(visit("debian-14"))
    assert time.process_time() - begun < 15
    schema._permitted.cache_clear()
    assert {name: dict(part) for name, part in record("debian-14").items()} == first  # type: ignore[arg-type]


def test_a_record_is_of_a_size_to_be_read(record: Callable[[str], Record]) -> None:
    for release in RELEASES:
        assert 10_000 < len(merged(record(release))) < 17_000


def test_every_grammar_of_a_release_is_a_part(visit: Callable[[str], Schemas], record: Callable[[str], Record]) -> None:
    for release in RELEASES:
        grammars = {path.split("/")[1] for path in schema.files(visit(release))}
        assert grammars <= {f"{name}.rng" for name in SURFACE.parts}
        for name in schema.GRAMMARS:
            part = record(release)[name]
            assert (part == {f"files/{name}.rng": "no such grammar"}) == (f"{name}.rng" not in grammars)


def test_a_record_reads_like_this(record: Callable[[str], Record]) -> None:
    facts = merged(record("debian-12"))
    for path, value in {
        "domain/devices/disk": "any number",
        "domain/devices/disk/@device": "optional",
        "domain/devices/disk/@device/cdrom": "value",
        "domain/vcpu/(text)": "once",
        "domain/vcpu/(text)/(data)": 'unsignedShort minInclusive "1" pattern "[0-9]+"',
        "domain/devices/disk/source/@file/(data)": r'string pattern "(/|[a-zA-Z]:\\).+" or string pattern "\[[^\]]+\] .+"',
        "domain/devices/controller/@model/ehci/(only with)": "@type=usb",
        "domain/devices/disk/backingStore/backingStore": "optional; as 1 up",
        "domain/metadata/*/*": "any number; as 1 up",
        "inactiveDomain": "once; as domain",
        "domain/[{http://libvirt.org/schemas/domain/qemu/1.0}commandline]": "optional",
    }.items():
        assert facts[path] == value
    assert not any("privateData" in path for path in facts), "an element whose content is not allowed is not there"


def test_what_is_missing_or_damaged_is_never_an_empty_record(visit: Callable[[str], Schemas]) -> None:
    real = visit("debian-12")
    for read in SURFACE.parts.values():
        with pytest.raises(Absent, match="no RELAX NG schemas"):
            read(Schemas("debian-12"))
    domain = SURFACE.parts["domain"]
    whole = real.files[FOLDER + "domaincommon.rng"]
    for broken in (
        whole[: len(whole) // 2],
        b"",
        b"<domain/>",
        whole.replace(b'<define name="disk">', b'<define name="d">'),
    ):
        with pytest.raises(BadData):
            domain(real.having("domaincommon.rng", broken))
    without = replace(real, files={p: d for p, d in real.files.items() if not p.endswith("/basictypes.rng")})
    with pytest.raises(BadData, match=r"there is no file basictypes\.rng"):
        domain(without)


# What is compared

Edit = Callable[[etree._Element], None]
RNG = "{http://relaxng.org/ns/structure/1.0}"


def piece(text: str) -> etree._Element:
    """A piece of schema."""
    library = "http://www.w3.org/2001/XMLSchema-datatypes"
    return etree.fromstring(f'<div xmlns="{RNG[1:-1]}" datatypeLibrary="{library}">{text}</div>')[0]


def swap(old: etree._Element, new: etree._Element) -> None:
    parent = old.getparent()
    assert parent is not None
    parent.replace(old, new)


def find(root: etree._Element, path: str) -> etree._Element:
    """An element within the watchdog's definition, or, from ``/`` on, within the whole file."""
    where = path[1:] if path.startswith("/") else f"r:define[@name='watchdog']//{path}"
    found = root.xpath(where, namespaces={"r": RNG[1:-1]})
    assert found, path
    return found[0]


def replaced(path: str, text: str) -> Edit:
    return lambda root: swap(find(root, path), piece(text))


def removed(path: str) -> Edit:
    def edit(root: etree._Element) -> None:
        element = find(root, path)
        element.getparent().remove(element)  # type: ignore[union-attr]

    return edit


def unwrapped(path: str) -> Edit:
    return lambda root: swap(find(root, path), find(root, path)[0])


def retagged(path: str, tag: str) -> Edit:
    def edit(root: etree._Element) -> None:
        find(root, path).tag = RNG + tag

    return edit


def renamed(root: etree._Element) -> None:
    for element in root.iter(RNG + "define", RNG + "ref"):
        if element.get("name") == "watchdog":
            element.set("name", "dog")


def number(facets: str, kind: str = "unsignedShort", two: str = "") -> Edit:
    """How many virtual CPUs: a type with these facets beside its pattern, or two of them."""
    pattern = "<param name='pattern'>[0-9]+</param>"
    choice = "".join(f"<data type='{kind}'>{pattern}{each}</data>" for each in ([facets, two] if two else [facets]))
    return replaced("/r:define[@name='countCPU']/r:data", f"<choice>{choice}</choice>")


#: Where the type stands for how many virtual CPUs a guest has.
COUNTED = ("domain/vcpu/(text)/(data)", "domain/vcpu/@current/(data)")
MODEL, ACTION = "r:attribute[@name='model']", "r:attribute[@name='action']"
DOG = "domain/devices/watchdog"
MODELS = ("i6300esb", "ib700", "diag288")
#: What is done to debian-12's domain grammar -> every finding from risk on.
ALTERED: dict[str, tuple[Edit, dict[str, Tier]]] = {
    "a value removed": (removed("r:value[.='ib700']"), {f"{DOG}/@model/ib700": Tier.BREAK}),
    "an element removed": (removed("/r:define[@name='devices']//r:ref[@name='watchdog']/.."), {DOG: Tier.BREAK}),
    "an attribute removed": (removed("r:optional[r:attribute/@name='action']"), {f"{DOG}/@action": Tier.BREAK}),
    "an attribute made required": (unwrapped("r:optional[r:attribute]"), {f"{DOG}/@action": Tier.BREAK}),
    "a required attribute added": (
        replaced(MODEL, "<group><attribute name='model'/><attribute name='x'/></group>"), {f"{DOG}/@x": Tier.BREAK},
    ),
    "an attribute added that another one needs": (
        replaced(ACTION, "<group><attribute name='action'/><attribute name='x'/></group>"),
        {f"{DOG}/@action/(only with)": Tier.BREAK},
    ),
    "an optional attribute added": (
        replaced("r:optional[r:ref/@name='acpi']", "<optional><ref name='acpi'/><attribute name='x'/></optional>"),
        {f"{DOG}/acpi/(only with)": Tier.BREAK},
    ),
    "many made one": (
        retagged("/r:define[@name='devices']//r:zeroOrMore[r:ref/@name='panic']", "optional"),
        {"domain/devices/panic": Tier.BREAK},
    ),
    "one made many": (retagged("/r:define[@name='devices']//r:optional[r:ref/@name='watchdog']", "zeroOrMore"), {}),
    "a definition renamed": (renamed, {}),
    "values widened to text": (replaced(f"{MODEL}/r:choice", "<text/>"), {}),
    "values widened to a pattern": (
        replaced(f"{MODEL}/r:choice", "<data type='string'><param name='pattern'>[a-z0-9]{5,8}</param></data>"), {},
    ),
    "values narrowed to a pattern": (
        replaced(f"{MODEL}/r:choice", "<data type='string'><param name='pattern'>i[a-z0-9]*|x</param></data>"),
        {f"{DOG}/@model/diag288": Tier.BREAK},
    ),
    "values in another order and spelling": (
        replaced(f"{MODEL}/r:choice", f"<choice>{''.join(f'<value> {m} </value>' for m in reversed(MODELS))}<notAllowed/></choice>"),
        {},
    ),
    "any order made one order": (
        retagged("r:interleave", "group"),
        {f"{DOG}/acpi/(after)": Tier.BREAK, f"{DOG}/address/(after)": Tier.BREAK},
    ),
    "two made to exclude each other": (
        replaced("r:interleave", "<group><attribute name='model'/><optional><attribute name='action'/></optional><choice>"
                 "<ref name='alias'/><ref name='acpi'/><ref name='address'/><empty/></choice></group>"),
        {f"{DOG}/acpi/(never with)": Tier.BREAK, f"{DOG}/address/(never with)": Tier.BREAK},
    ),
    "a number narrowed": (number("<param name='minInclusive'>2</param>"), dict.fromkeys(COUNTED, Tier.BREAK)),
    "a number widened": (number("", "unsignedInt"), {}),
    "a number in two ranges, which nobody puts together": (
        number("<param name='maxInclusive'>9</param>", two="<param name='minInclusive'>10</param>"),
        dict.fromkeys(COUNTED, Tier.RISK),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def domain(record: Callable[[str], Record]) -> Record:
    return {"domain": record("debian-12")["domain"]}


@pytest.mark.parametrize("case", ALTERED)
def test_an_altered_grammar(case: str, visit: Callable[[str], Schemas], domain: Record) -> None:
    edit, expected = ALTERED[case]
    real = visit("debian-12")
    root = etree.fromstring(real.files[FOLDER + "domaincommon.rng"])
    edit(root)
    found = differences(domain, recorded(real.having("domaincommon.rng", etree.tostring(root)), "domain"))
    assert {path: f.tier for path, f in found.items() if f.tier > Tier.ADDITION} == expected
    assert all(f.product == "libvirt" for f in found.values())


def test_a_narrowed_number_is_told_with_an_example(visit: Callable[[str], Schemas], domain: Record) -> None:
    real = visit("debian-12")
    root = etree.fromstring(real.files[FOLDER + "domaincommon.rng"])
    number("<param name='minInclusive'>2</param>")(root)
    found = differences(domain, recorded(real.having("domaincommon.rng", etree.tostring(root)), "domain"))
    assert found[COUNTED[0]].new == 'unsignedShort minInclusive "2" pattern "[0-9]+"; not \'1\''


def test_a_grammar_that_comes_or_goes(record: Callable[[str], Record], visit: Callable[[str], Schemas]) -> None:
    with_it, without = record("debian-14"), record("debian-12")
    found = differences(without, with_it)
    assert (found["sysinfo"].change, found["sysinfo"].tier) == (Change.ADDED, Tier.ADDITION)
    assert found["files/sysinfo.rng"].tier == Tier.ADDITION
    assert not any(path.startswith("sysinfo/") for path in found)
    changed = {**without, "sysinfo": with_it["sysinfo"], "files": {**without["files"], "files/sysinfo.rng": "grammar"}}  # type: ignore[dict-item]
    gone = differences(changed, without)
    assert {path: f.tier for path, f in gone.items()} == {"sysinfo": Tier.BREAK, "files/sysinfo.rng": Tier.BREAK}


def test_what_libvirt_only_writes_is_judged_by_who_reads_it(visit: Callable[[str], Schemas]) -> None:
    real = visit("debian-12")
    before = recorded(real, "domaincaps")
    root = etree.fromstring(real.files[FOLDER + "domaincaps.rng"])
    element, around = find(root, "/r:define//r:element[@name='path']"), piece("<optional/>")
    swap(element, around)
    around.append(element)
    after = recorded(real.having("domaincaps.rng", etree.tostring(root)), "domaincaps")
    assert {p: f.tier for p, f in differences(before, after).items()} == {"domainCapabilities/path": Tier.RISK}
    assert {p: f.tier for p, f in differences(after, before).items()} == {"domainCapabilities/path": Tier.ADDITION}


def test_an_interface_is_an_element_or_an_attribute(record: Callable[[str], Record]) -> None:
    cases = {v.case for v in compare(SURFACE, record("debian-14"), record("debian-14"))}
    assert {"domain/@type", "domain/devices/disk", "domain/os/@firmware", "files/domain.rng", "cpu/@check"} <= cases
    assert "domain/[{http://libvirt.org/schemas/domain/qemu/1.0}commandline]" in cases
    assert not [case for case in cases if "(" in case or case.startswith("cpu/@check/")]


def test_pairs_are_compared_in_time_and_backwards_says_nothing(record: Callable[[str], Record]) -> None:
    assert not differences(record("debian-14"), record("debian-14"))
    for old, new in pairwise(RELEASES):
        begun = time.process_time()
        assert differences(record(old), record(new))
        assert time.process_time() - begun < 2
    assert not SURFACE.backward  # no cell goes back: what a grammar adds, an older one lacks


# Whether it is true


@pytest.fixture(scope="module")
def validators(
    visit: Callable[[str], Schemas], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], etree.RelaxNG]:
    """(release, kind of document) -> lxml's own reading of that schema."""
    folder = tmp_path_factory.mktemp("schemas")

    @cache
    def compiled(release: str, kind: str) -> etree.RelaxNG:
        for path, data in visit(release).files.items():
            file = folder / release / Path(path).name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(data)
        return etree.RelaxNG(etree.parse(folder / release / every_kind()[kind].schema))

    return compiled


def documents(release: str, number: int) -> Iterator[tuple[str, etree._Element]]:
    """(kind, document) of what a release wrote and of what it was given, so many of each kind."""
    for kind in every_kind():
        written = (paths.data_root() / "golden" / release / kind).glob("*/*.xml")
        # A driver's own format is kept under the same ending: VMware's writes no XML to disk.
        files = [file for file in written if file.read_text().startswith("<")]
        files += (paths.data_root() / "fixtures" / kind).glob("*.xml")
        for file in random.Random(kind).sample(sorted(files), min(number, len(files))):
            yield kind, parse(file.read_text())


@pytest.mark.parametrize("release", RELEASES)
def test_what_lxml_accepts_the_facts_permit(
    release: str, record: Callable[[str], Record], validators: Callable[[str, str], etree.RelaxNG]
) -> None:
    oracle = Oracle(merged(record(release)))
    valid = [(kind, root) for kind, root in documents(release, 25) if validators(release, kind).validate(root)]
    assert len(valid) > 200
    assert len({kind for kind, _ in valid}) == len(every_kind())
    for kind, root in valid:
        assert not oracle.objections(root), (kind, etree.tostring(root)[:300])


def test_what_lxml_refuses_the_facts_refuse(
    record: Callable[[str], Record], validators: Callable[[str, str], etree.RelaxNG]
) -> None:
    """One value altered at a time. What several declarations of one name permit together hides less than one in fifty."""
    oracle, chance = Oracle(merged(record("debian-14"))), random.Random(1)
    refused = unseen = 0
    for kind, root in documents("debian-14", 9):
        validator = validators("debian-14", kind)
        if not validator.validate(root):
            continue
        sites = [(e, str(name)) for e in root.iter() for name in e.attrib]
        sites += [(e, "") for e in root.iter() if str(e.text or "").strip()]
        for element, name in chance.sample(sites, min(6, len(sites))):
            old = element.get(name) if name else element.text
            for new in ("\N{SNOWMAN}", chance.choice(("", "no", "4294967296", "/a", "-1", "0x1"))):
                _put(element, name, new)
                objections = oracle.objections(root)
                if validator.validate(root):
                    assert not objections, (kind, element.tag, name, new, objections)
                else:
                    refused, unseen = refused + 1, unseen + (not objections)
            _put(element, name, str(old))
    assert refused > 300
    assert unseen < refused / 50


def _put(element: etree._Element, name: str, value: str) -> None:
    if name:
        element.set(name, value)
    else:
        element.text = value
