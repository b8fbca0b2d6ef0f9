"""The fixtures as a whole: enough of them, unique, and touching the schema they are about."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from lxml import etree
from virtcompat import drivers
from virtcompat.documents import ROOTS
from virtcompat.labs import Lab, build, open_lab
from virtcompat.labs.prober import read_files
from virtcompat.model import NotHere
from virtcompat.store import fixtures, releases

RNG = "{http://relaxng.org/ns/structure/1.0}"
EVERY = fixtures.load(tuple(ROOTS), tuple(drivers.every()))
Pair = tuple[str, str]


def test_there_are_enough_of_every_kind() -> None:
    counts = Counter(f.kind for f in EVERY)
    assert counts["domain"] >= 150
    assert {kind: counts[kind] for kind in ROOTS if counts[kind] < 6} == {}
    assert sum(f.flavour == "all" for f in EVERY) >= 20


def test_each_is_small_and_says_where_its_rule_stands() -> None:
    for fixture in EVERY:
        assert len(fixture.text) < 12_000, fixture.case
        assert fixture.reference.startswith("https://"), fixture.case
        assert len(fixture.summary) > 10, fixture.case


def schema_pairs(folder: Path) -> set[Pair]:  # noqa: C901 - a schema walk is one thing
    """(parent, element) of every element pattern that the domain schema lets occur below its parent."""
    defines: dict[str, list[etree._Element]] = {}
    starts: list[etree._Element] = []

    def load(name: str) -> None:
        for child in etree.parse(folder / name).getroot().iter(RNG + "include", RNG + "define", RNG + "start"):
            if child.tag == RNG + "include":
                load(child.get("href", ""))
            elif child.tag == RNG + "define":
                defines.setdefault(child.get("name", ""), []).append(child)
            elif name == "domain.rng":
                starts.append(child)

    load("domain.rng")
    pairs: set[Pair] = set()
    seen: set[tuple[object, ...]] = set()

    def visit(node: etree._Element, parent: str, namespace: str) -> None:
        for child in node.iterchildren(tag=etree.Element):
            space = child.get("ns", namespace)
            if child.tag == RNG + "ref":
                if (child.get("name"), parent) not in seen:
                    seen.add((child.get("name"), parent))
                    for define in defines.get(child.get("name", ""), []):
                        visit(define, parent, define.getroottree().getroot().get("ns", ""))
            elif child.tag == RNG + "element" and child.get("name"):
                name = f"{{{space}}}{child.get('name')}" if space else child.get("name", "")
                pairs.add((parent, name))
                place = (child.getroottree().docinfo.URL, child.getroottree().getpath(child))
                if place not in seen:
                    seen.add(place)
                    visit(child, name, space)
            elif child.find(RNG + "notAllowed") is None:
                visit(child, parent, space)

    for start in starts:
        visit(start, "", "")
    return {p for p in pairs if p[0]}


@pytest.mark.lab
def test_ninety_percent_of_the_newest_domain_schema_is_touched(lab: Lab, tmp_path: Path) -> None:
    newest = releases.shipped()[-1]
    build.create(newest)
    found = open_lab(newest)
    assert not isinstance(found, NotHere)
    for path, text in read_files(found, found.schemas).items():
        (tmp_path / Path(path).name).write_text(text, encoding="utf-8")
    wanted = schema_pairs(tmp_path)
    touched: set[Pair] = set()
    for fixture in EVERY:
        if fixture.kind == "domain":
            for element in etree.fromstring(fixture.text.encode()).iter(etree.Element):
                parent = element.getparent()
                touched.add((str(parent.tag) if parent is not None else "", str(element.tag)))
    share = len(wanted & touched) / len(wanted)
    print(f"{len(wanted & touched)} of {len(wanted)} element pairs: {share:.1%}; not: {sorted(wanted - touched)}")
    assert share >= 0.9
