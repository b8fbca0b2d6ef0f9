"""What the facts of a schema record say of a document: the proof of the record, asked where lxml says what is true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lxml import etree
from virtcompat.relaxng import permitted
from virtcompat.relaxng.datatypes import exactly
from virtcompat.relaxng.permitted import DATA, VALUE, Node, plain
from virtcompat.relaxng.shapes import TEXT_LABEL
from virtcompat.surfaces.recorded.schema import ONCE, SEVERAL, SIDE, Labels, Place, labels, resolved, times


class Record:
    """The facts of a release's schemas, asked about documents."""

    def __init__(self, facts: Mapping[str, str]) -> None:
        self.tree = permitted.tree(facts)
        self.known: dict[int, Labels] = {}

    def objections(self, root: etree._Element) -> list[str]:
        """Every fact that the document is against, empty where they permit it."""
        node = self.tree.below.get(permitted.step(str(root.tag)))
        return list(self._element(root, (node,))) if node else [f"no root {root.tag}"]

    def _labels(self, node: Node) -> Labels:
        if id(node) not in self.known:
            self.known[id(node)] = labels(node)
        return self.known[id(node)]

    def _element(self, element: etree._Element, place: Place) -> Iterator[str]:
        place = resolved(place)
        below = {plain(n) if n != TEXT_LABEL else n: each for n, each in place[-1].below.items() if n not in SIDE}
        text = "".join(element.xpath("text()"))
        seen = [_known(f"@{name}", below) for name in element.attrib]
        children = [_known(str(child.tag), below) for child in element]
        values = [f"@{name}={value}" for name, value in element.attrib.items()]
        seen += [*values, *([TEXT_LABEL] if text.strip() else []), *children]
        if None in seen:
            yield f"{element.tag}: a name is not permitted: {list(element.attrib)} {[c.tag for c in element]}"
            return
        yield from (f"{element.tag}/{n}: not once" for n in children if children.count(n) > 1 and _single(below[n]))
        for name, value in element.attrib.items():
            if not _takes(below[_known(f"@{name}", below) or ""], str(value)):
                yield f"{element.tag}/@{name}: value {value!r} is not permitted"
        if text.strip() and not (TEXT_LABEL in below and _takes(below[TEXT_LABEL], text)):
            yield f"{element.tag}: text {text!r} is not permitted"
        present = {*seen, *([TEXT_LABEL] if TEXT_LABEL in below and _takes(below[TEXT_LABEL], text) else [])}
        for name, each in below.items():
            if times(each.value) in (ONCE, SEVERAL) and name not in present:
                yield f"{element.tag}/{name}: is not there"
        yield from _relations(element, self._labels(place[-1]), [each for each in seen if each], present)
        for child, name in zip(element, children, strict=True):
            yield from self._element(child, (*place, below[name or ""]))


def _known(name: str, below: Mapping[str, Node]) -> str | None:
    wild = "@*" if name[0] == "@" else "*"
    return name if name in below else wild if wild in below else None


def _single(node: Node) -> bool:
    return times(node.value) in (ONCE, "optional")


def _takes(node: Node, text: str) -> bool:
    values = [exactly(plain(name)) for name, each in node.below.items() if each.value == VALUE]
    opened = permitted.open_texts(node.below[DATA].value).values() if DATA in node.below else ()
    return any(text in each for each in (*values, *opened))


def _relations(element: etree._Element, told: Labels, seen: list[str], present: set[str | None]) -> Iterator[str]:
    for number, one in enumerate(seen):
        for other in seen[number + 1 :]:
            if (one, other) in told.forbidden:
                yield f"{element.tag}: {other} after {one}"
        if missing := told.needs.get(one, set()) - present:
            yield f"{element.tag}: {one} without {sorted(missing)}"
