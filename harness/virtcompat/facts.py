"""A document as a flat map of facts, {path: value}, and the differences between two such maps.

Paths name elements as upstream does, repeated elements by their identity: ``/domain/devices/disk[vda]/driver/@cache``.
The identity of an element is its first present key of the surface (``target/@dev`` of a disk); the second and later
elements of one label are numbered, ``#2``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from lxml import etree

from virtcompat.documents import parse
from virtcompat.model import Change

Keys = Mapping[str, tuple[str, ...]]
Normalise = Callable[[etree._Element], None]


class Facts(dict[str, str]):
    """{path: value}. ``parents`` has every path, of facts and of elements, with that of the element it is in."""

    __slots__ = ("parents",)

    def __init__(self) -> None:
        super().__init__()
        self.parents: dict[str, str] = {}

    def put(self, path: str, value: str, parent: str) -> None:
        self[path] = value
        self.parents[path] = parent

    def add(self, path: str, value: str) -> None:
        """Put a fact below the steps that its path names, which need not be facts of their own."""
        self[path] = value
        while path not in self.parents:
            above = parent(path)
            self.parents[path] = above
            if not above:
                return
            path = above


def parent(path: str) -> str:
    """The path one step up, empty for a first step; a slash within brackets parts no steps."""
    at = path.rfind("/")
    while at > 0 and path.count("[", 0, at) > path.count("]", 0, at):
        at = path.rfind("/", 0, at)
    return path[: max(at, 0)]


def facts(text: str, keys: Keys, normalise: Normalise | None = None, ordered: tuple[str, ...] = ()) -> Facts:
    """The facts of a document. Raises NotWellFormed.

    ordered: names of elements whose order counts although they have an identity: it becomes a fact of its own,
    ``/domain/devices/disk(order)``.
    """
    root = parse(text)
    if normalise:
        normalise(root)
    found = Facts()
    path = "/" + _tag(root)
    found.parents[path] = ""
    _walk(root, path, keys, found)
    for tag in ordered:
        _order(root, tag, keys.get(tag, ()), found)
    return found


def _order(root: etree._Element, tag: str, keys: tuple[str, ...], found: Facts) -> None:
    for parent in root:
        members = parent.findall(tag)
        if len(members) > 1:
            above = f"/{_tag(root)}/{_tag(parent)}"
            found.put(f"{above}/{tag}(order)", " ".join(_identity(e, keys) for e in members), above)


def _tag(element: etree._Element) -> str:
    name = str(element.tag)
    return name if name[0] != "{" else f"{{{etree.QName(element).namespace}}}{etree.QName(element).localname}"


def _walk(element: etree._Element, path: str, keys: Keys, found: Facts) -> None:
    for name, value in element.attrib.items():
        found.put(f"{path}/@{name!s}", str(value), path)
    text = str(element.text or "").strip()
    if text or (not len(element) and not element.attrib):
        found[path] = text
    seen: dict[str, int] = {}
    for child in element:
        tag = _tag(child)
        identity = _identity(child, keys.get(tag, ()))
        label = f"{tag}[{identity}]" if identity else tag
        seen[label] = seen.get(label, 0) + 1
        if seen[label] > 1:
            label = f"{label}#{seen[label]}"
        below = f"{path}/{label}"
        found.parents[below] = path
        _walk(child, below, keys, found)


def _identity(element: etree._Element, candidates: tuple[str, ...]) -> str:
    for candidate in candidates:
        values = [_value(element, part) for part in candidate.split(",")]
        if all(values):
            return ",".join(values)
    return ""


def _value(element: etree._Element, step: str) -> str:
    """``@name``, ``target/@dev``, ``.`` (own text) or ``name`` (text of a child)."""
    path, _, attribute = step.rpartition("@")
    holder = element.find(path.rstrip("/")) if path.rstrip("/") else element
    if attribute and "@" in step:
        return holder.get(attribute, "") if holder is not None else ""
    return (element.text or "").strip() if step == "." else element.findtext(step, "").strip()


def differences(old: Facts, new: Facts) -> Iterator[tuple[str, Change, str, str]]:
    """(path, change, old value, new value), sorted by path; a whole added or removed element is one difference.

    Set operations on flat maps: deepdiff gives the same keys in a hundred times the time, and this is the
    innermost loop of a matrix.
    """
    if old == new:
        return
    rows = [(p, Change.CHANGED, old[p], new[p]) for p in old.keys() & new.keys() if old[p] != new[p]]
    rows += [(p, Change.ADDED, "", v) for p, v in _folded(new.keys() - old.keys(), new, old)]
    rows += [(p, Change.REMOVED, v, "") for p, v in _folded(old.keys() - new.keys(), old, new)]
    yield from sorted(rows)


def _folded(paths: set[str], there: Facts, elsewhere: Facts) -> Iterator[tuple[str, str]]:
    """Fold the facts of an element that the other side lacks altogether into one, with the facts as its value."""
    groups: dict[str, list[str]] = {}
    for path in sorted(paths):
        # An element that is empty here and has content there is on both sides: the content is the difference.
        if there[path] or path not in elsewhere.parents:
            groups.setdefault(_top(path, there, elsewhere), []).append(path)
    for top, members in groups.items():
        if members == [top]:
            yield top, there[top]
        else:
            own = [there[top]] if there.get(top) else []
            below = [f"{m[len(top) :].lstrip('/')}={there[m]}" for m in members if m != top or not there[m]]
            yield top, " ".join(own + below)


def _top(path: str, there: Facts, elsewhere: Facts) -> str:
    """The outermost element on this path that the other side does not have."""
    while (parent := there.parents[path]) and parent not in elsewhere.parents:
        path = parent
    return path


def masked(path: str) -> str:
    """A path without identities and ordinals: what two findings of one cause share."""
    return re.sub(r"\[[^\]]*\]|#\d+", "", path)
