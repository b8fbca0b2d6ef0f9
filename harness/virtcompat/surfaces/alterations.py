"""Alterations of a guest's definition, one change each, as data: what a definition in a save image may not be replaced by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lxml import etree

from virtcompat.documents import parse
from virtcompat.errors import BadData
from virtcompat.store import paths, tables

#: The guest that is saved, and what stands in its place where something is asked that starts in no lab.
DEFINITION = "oracle"
SHELF = "shelf"
ALTERATION = {
    "name": str, "at": str, "text": str, "set": dict, "drop": str, "add": str, "replace": str, "remove": bool, "also": list, "of": str,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Alteration:
    """One change of a definition: where (XPath below ``domain``), and what is done there (keys of the data file)."""

    name: str
    at: str
    how: Mapping[str, Any]
    of: str = DEFINITION

    def apply(self, xml: str) -> str:
        """The altered definition; BadData where a place is not there."""
        root = parse(xml)
        for edit in ({"at": self.at, **self.how}, *self.how.get("also", ())):
            places = root.xpath(edit["at"])
            if not isinstance(places, list) or not places:
                raise BadData(file("alterations"), f"{self.name}: nothing at {edit['at']}", "correct 'at'")
            for place in places:
                assert isinstance(place, etree._Element)
                _edit(place, edit)
        return etree.tostring(root, encoding="unicode", pretty_print=True)


def _edit(element: etree._Element, edit: Mapping[str, Any]) -> None:
    if "text" in edit:
        element.text = edit["text"]
    for name, value in edit.get("set", {}).items():
        element.set(name, value)
    for child in element.findall(edit["drop"]) if "drop" in edit else ():
        element.remove(child)
    if "add" in edit:
        element.append(parse(edit["add"]))
    parent = element.getparent()
    if parent is not None and "replace" in edit:
        parent.replace(element, parse(edit["replace"]))
    elif parent is not None and "remove" in edit:
        parent.remove(element)


def file(name: str) -> Path:
    return paths.data_root() / "suites" / "oracle" / f"{name}.toml"


@cache
def alterations() -> tuple[Alteration, ...]:
    """The alterations, in their file's order."""
    source = file("alterations")
    found: list[Alteration] = []
    for entry in tables.read(source).get("alteration", []):
        tables.check_keys(source, entry, ALTERATION, ("name", "at"))
        how = {key: value for key, value in entry.items() if key not in ("name", "at", "of")}
        if not how or any(a.name == entry["name"] for a in found):
            raise BadData(source, f"'{entry['name']}' alters nothing, or is there twice", "correct it")
        found.append(Alteration(entry["name"], entry["at"], how, entry.get("of", DEFINITION)))
    return tuple(found)


def shelf() -> str:
    """The definition that is altered where something is asked that starts in no lab."""
    return file(SHELF).with_suffix(".xml").read_text(encoding="utf-8")
