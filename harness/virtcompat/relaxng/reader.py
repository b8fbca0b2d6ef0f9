"""RELAX NG grammars read from XML into the pattern tree: includes, overrides, combined definitions, nested grammars."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from lxml import etree

from virtcompat.documents import parser
from virtcompat.errors import BadData
from virtcompat.relaxng.tree import (
    EMPTY,
    NOT_ALLOWED,
    REMEDY,
    START,
    TEXT,
    AnyName,
    Attribute,
    Choice,
    Data,
    Element,
    Grammar,
    Group,
    Interleave,
    Items,
    Name,
    NameClass,
    OneOrMore,
    Pattern,
    Ref,
    Value,
    children,
)

NAMESPACE = "http://relaxng.org/ns/structure/1.0"


def load(files: Mapping[str, bytes], start: str) -> Grammar:
    """The grammar of the file ``start`` among ``files``, which has all that it includes. Raises BadData.

    files: {path: content}; a reference to another file is relative to the path of the file that it stands in.
    """
    reader = _Reader(files)
    scope = reader.grammar(_Place(start, 0, None, ()), reader.root(start))
    grammar = Grammar(reader.defines[Ref(scope, START)], reader.defines)
    for where, ref in reader.refs:
        if ref not in reader.defines:
            raise BadData(where, f"'{ref.name}' is not defined", REMEDY)
    sound: set[Ref] = set()
    for ref in grammar.defines:
        _recursion(start, grammar, ref, (), sound)
    return grammar


def _recursion(file: str, grammar: Grammar, ref: Ref, above: tuple[Ref, ...], sound: set[Ref]) -> None:
    """A definition may lead to itself within an element only: anything else would stand for no document."""
    if ref in above:
        raise BadData(file, f"'{ref.name}' is defined as itself", REMEDY)
    waiting = [grammar.defines[ref]] if ref not in sound else []
    while waiting:
        pattern = waiting.pop()
        if isinstance(pattern, Ref):
            _recursion(file, grammar, pattern, (*above, ref), sound)
        elif not isinstance(pattern, Element):
            waiting += children(pattern)
    sound.add(ref)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a piece of schema stands: its file, scope, the scope around it and the files that led there."""

    file: str
    scope: int
    outer: int | None
    through: tuple[str, ...]


#: A definition as it is met: name, how it combines ("" where unsaid), pattern.
_Define = tuple[str, str, Pattern]


@dataclass(slots=True)
class _Reader:
    files: Mapping[str, bytes]
    defines: dict[Ref, Pattern] = field(default_factory=dict)
    refs: list[tuple[str, Ref]] = field(default_factory=list)
    scopes: int = 0

    def root(self, file: str, asked_by: str = "") -> etree._Element:
        if file not in self.files:
            raise BadData(asked_by or file, f"there is no file {file}", REMEDY)
        try:
            root = etree.fromstring(self.files[file], parser(blank=True))
        except etree.XMLSyntaxError as error:
            raise BadData(file, f"not well-formed: {error}", REMEDY, error.lineno or 1) from error
        if root.getroottree().docinfo.internalDTD is not None:
            raise BadData(file, "has a document type declaration (entities could be expanded)", REMEDY)
        return root

    def grammar(self, place: _Place, element: etree._Element) -> int:
        """Read a grammar into a new scope and give that scope."""
        if _tag(element) != "grammar":
            raise _wrong(place, element, "is no grammar")
        self.scopes += 1
        scope = self.scopes
        place = _Place(place.file, scope, place.scope or None, place.through)
        met: dict[str, list[_Define]] = {}
        for each in self.components(place, element):
            met.setdefault(each[0], []).append(each)
        if START not in met:
            raise _wrong(place, element, "has no start")
        self.defines.update({Ref(scope, name): _combined(place, several) for name, several in met.items()})
        return scope

    def components(self, place: _Place, element: etree._Element) -> Iterator[_Define]:
        """The definitions of a grammar, of the ones that it includes and of its divisions."""
        for child in _children(element):
            match _tag(child):
                case "start" | "define" as tag:
                    name = START if tag == "start" else _words(child.get("name"))
                    yield name, child.get("combine", ""), self.row(place, child)
                case "div":
                    yield from self.components(place, child)
                case "include":
                    yield from self.included(place, child)
                case tag:
                    raise _wrong(place, child, f"<{tag}> has no place in a grammar")

    def included(self, place: _Place, element: etree._Element) -> Iterator[_Define]:
        """What a file brings in: its definitions, those that the include itself gives in place of its own."""
        there = self.follow(place, element)
        root = self.root(there.file, place.file)
        if _tag(root) != "grammar":
            raise _wrong(there, root, "is no grammar")
        own = list(self.components(place, element))
        instead = {name for name, _, _ in own}
        brought = list(self.components(there, root))
        if missing := instead - {name for name, _, _ in brought}:
            raise _wrong(place, element, f"overrides what is not there: {', '.join(sorted(missing))}")
        yield from (each for each in brought if each[0] not in instead)
        yield from own

    def follow(self, place: _Place, element: etree._Element) -> _Place:
        file = posixpath.normpath(posixpath.join(posixpath.dirname(place.file), _words(element.get("href"))))
        through = (*place.through, place.file)
        if file in through:
            raise _wrong(place, element, f"{file} includes itself")
        return _Place(file, place.scope, place.outer, through)

    def row(self, place: _Place, element: etree._Element, names: bool = False) -> Pattern:
        """The patterns within an element one after the other; the first child is left out where it is a name class."""
        found = tuple(self.pattern(place, child) for child in _children(element)[1 if names else 0 :])
        if not found:
            raise _wrong(place, element, f"<{_tag(element)}> has no content")
        return found[0] if len(found) == 1 else Group(found)

    def pattern(self, place: _Place, element: etree._Element) -> Pattern:
        tag = _tag(element)
        if tag in LEAVES:
            return LEAVES[tag]
        if tag in SEVERAL:
            several = tuple(self.pattern(place, child) for child in _children(element))
            return several[0] if len(several) == 1 else SEVERAL[tag](several)
        if tag in AROUND:
            return AROUND[tag](self.row(place, element))
        if tag in OTHERS:
            return OTHERS[tag](self, place, element)
        raise _wrong(place, element, f"<{tag}> is no pattern")

    def value(self, place: _Place, element: etree._Element) -> Value:
        kind = _words(element.get("type")) or "token"
        return Value("".join(_strings(element)) if kind == "string" else _text(element), kind)

    def nested(self, place: _Place, element: etree._Element) -> Ref:
        return Ref(self.grammar(place, element), START)

    def external(self, place: _Place, element: etree._Element) -> Pattern:
        there = self.follow(place, element)
        root = self.root(there.file, place.file)
        # A file without a namespace of its own takes that of the place that asks for it.
        if root.get("ns") is None and _inherited(element, "ns"):
            root.set("ns", _inherited(element, "ns"))
        return self.pattern(there, root)

    def ref(self, place: _Place, element: etree._Element) -> Ref:
        scope = place.scope if _tag(element) == "ref" else place.outer
        if scope is None:
            raise _wrong(place, element, "there is no grammar around this one")
        ref = Ref(scope, _words(element.get("name")))
        self.refs.append((place.file, ref))
        return ref

    def holder(self, place: _Place, element: etree._Element) -> Element | Attribute:
        attribute = _tag(element) == "attribute"
        kind = Attribute if attribute else Element
        if (name := element.get("name")) is not None:
            ns = element.get("ns", "") if attribute else _inherited(element, "ns")
            names: tuple[NameClass, ...] = (_qualified(element, name, ns),)
        elif inner := _children(element):
            names = tuple(self.names(place, inner[0]))
        else:
            raise _wrong(place, element, f"<{_tag(element)}> has no name")
        bare = attribute and len(_children(element)) == (0 if name is not None else 1)
        return kind(names, TEXT if bare else self.row(place, element, names=name is None))

    def names(self, place: _Place, element: etree._Element) -> Iterator[NameClass]:
        match _tag(element):
            case "name":
                yield _qualified(element, _text(element), _inherited(element, "ns"))
            case "choice":
                for child in _children(element):
                    yield from self.names(place, child)
            case "anyName" | "nsName" as tag:
                excepted = (child for each in _children(element) for child in _children(each))
                without = tuple(name for child in excepted for name in self.names(place, child))
                yield AnyName(_inherited(element, "ns") if tag == "nsName" else None, without)
            case tag:
                raise _wrong(place, element, f"<{tag}> is no class of names")

    def data(self, place: _Place, element: etree._Element) -> Data:
        params, without = [], []
        for child in _children(element):
            if _tag(child) == "param":
                params.append((_words(child.get("name")), "".join(_strings(child))))
            elif _tag(child) == "except":
                without += [self.pattern(place, each) for each in _children(child)]
            else:
                raise _wrong(place, child, f"<{_tag(child)}> has no place in <data>")
        return Data(_words(element.get("type")), tuple(params), Choice(tuple(without)) if without else None)


LEAVES: dict[str, Pattern] = {"empty": EMPTY, "notAllowed": NOT_ALLOWED, "text": TEXT}
SEVERAL: dict[str, type[Group | Interleave | Choice]] = {"group": Group, "interleave": Interleave, "choice": Choice}
AROUND: dict[str, Callable[[Pattern], Pattern]] = {
    "optional": lambda pattern: Choice((pattern, EMPTY)),
    "oneOrMore": OneOrMore,
    "zeroOrMore": lambda pattern: Choice((OneOrMore(pattern), EMPTY)),
    "mixed": lambda pattern: Interleave((pattern, TEXT)),
    "list": Items,
}
OTHERS: dict[str, Callable[[_Reader, _Place, etree._Element], Pattern]] = {
    "element": _Reader.holder, "attribute": _Reader.holder, "ref": _Reader.ref, "parentRef": _Reader.ref,
    "value": _Reader.value, "data": _Reader.data, "grammar": _Reader.nested, "externalRef": _Reader.external,
}  # fmt: skip


def _combined(place: _Place, several: list[_Define]) -> Pattern:
    """One pattern of all definitions of a name."""
    patterns = tuple(pattern for _, _, pattern in several)
    if len(patterns) == 1:
        return patterns[0]
    how = {combine for _, combine, _ in several if combine}
    if how not in ({"choice"}, {"interleave"}) or sum(not combine for _, combine, _ in several) > 1:
        raise BadData(place.file, f"'{several[0][0] or 'start'}' is defined twice and does not say how", REMEDY)
    return Choice(patterns) if how == {"choice"} else Interleave(patterns)


def _children(element: etree._Element) -> list[etree._Element]:
    """The child elements that are RELAX NG's own; what else stands there annotates."""
    return list(element.iterchildren(f"{{{NAMESPACE}}}*"))


def _tag(element: etree._Element) -> str:
    name = etree.QName(element)
    return name.localname if name.namespace == NAMESPACE else str(element.tag)


def _strings(element: etree._Element) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        yield child.tail or ""


def _text(element: etree._Element) -> str:
    return " ".join("".join(_strings(element)).split())


def _words(text: str | None) -> str:
    return " ".join((text or "").split())


def _inherited(element: etree._Element, name: str) -> str:
    """The attribute of an element or of the nearest one around it, within its file."""
    holder: etree._Element | None = element
    while holder is not None:
        if (value := holder.get(name)) is not None:
            return value
        holder = holder.getparent()
    return ""


def _qualified(element: etree._Element, name: str, ns: str) -> Name:
    prefix, _, local = _words(name).rpartition(":")
    return Name(local, element.nsmap.get(prefix, "") if prefix else ns)


def _line(element: etree._Element) -> int:
    line: object = element.sourceline
    return line if isinstance(line, int) else 1


def _wrong(place: _Place, element: etree._Element, words: str) -> BadData:
    return BadData(place.file, words, REMEDY, _line(element))
