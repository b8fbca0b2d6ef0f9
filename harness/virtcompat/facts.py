"""A document as a flat map of facts, {path: value}, and the differences between two such maps.

Paths name elements as upstream does, repeated elements by their identity: ``/domain/devices/disk[vda]/driver/@cache``.
The identity of an element is its first present key of the surface (``target/@dev`` of a disk); without one it is
its ordinal among its siblings of the same name that have none, ``#2``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from deepdiff import DeepDiff
from lxml import etree

from virtcompat.documents import parse
from virtcompat.model import Change

Facts = dict[str, str]
Keys = Mapping[str, tuple[str, ...]]
Normalise = Callable[[etree._Element], None]


def facts(text: str, keys: Keys, normalise: Normalise | None = None, ordered: tuple[str, ...] = ()) -> Facts:
    """The facts of a document. Raises NotWellFormed.

    ordered: names of elements whose order counts although they have an identity: it becomes a fact of its own,
    ``/domain/devices/disk(order)``.
    """
    root = parse(text)
    if normalise:
        normalise(root)
    found: Facts = {}
    _walk(root, "/" + _tag(root), keys, found)
    for tag in ordered:
        _order(root, tag, keys.get(tag, ()), found)
    return found


def _order(root: etree._Element, tag: str, keys: tuple[str, ...], found: Facts) -> None:
    for parent in root:
        members = parent.findall(tag)
        if len(members) > 1:
            found[f"/{_tag(root)}/{_tag(parent)}/{tag}(order)"] = " ".join(_identity(e, keys) for e in members)


def _tag(element: etree._Element) -> str:
    name = etree.QName(element)
    return f"{{{name.namespace}}}{name.localname}" if name.namespace else name.localname


def _walk(element: etree._Element, path: str, keys: Keys, found: Facts) -> None:
    for name, value in element.attrib.items():
        found[f"{path}/@{name!s}"] = str(value)
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
        _walk(child, f"{path}/{label}", keys, found)


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
    """(path, change, old value, new value), sorted by path; a whole added or removed element is one difference."""
    if old == new:
        return
    # Hand deepdiff only what differs: over whole maps it is twenty times slower than everything else here.
    same = old.items() & new.items()
    before, after = (dict(side.items() - same) for side in (old, new))
    delta = DeepDiff(before, after, view="tree", threshold_to_diff_deeper=0)
    added, removed, changed = (
        {item.path(output_format="list")[0] for item in delta.get(group, ())}
        for group in ("dictionary_item_added", "dictionary_item_removed", "values_changed")
    )
    rows = [(p, Change.CHANGED, old[p], new[p]) for p in changed]
    rows += [(p, Change.ADDED, "", v) for p, v in _folded(added, new, old)]
    rows += [(p, Change.REMOVED, v, "") for p, v in _folded(removed, old, new)]
    yield from sorted(rows)


def _folded(paths: set[str], there: Facts, elsewhere: Facts) -> Iterator[tuple[str, str]]:
    """Fold the facts of an element that the other side lacks altogether into one, with the facts as its value."""
    if not paths:
        return
    other = _elements(elsewhere)
    groups: dict[str, list[str]] = {}
    for path in sorted(paths):
        # An element that is empty here and has content there is on both sides: the content is the difference.
        if there[path] or path not in other:
            groups.setdefault(_top(path, other), []).append(path)
    for top, members in groups.items():
        if members == [top]:
            yield top, there[top]
        else:
            yield top, " ".join(f"{m[len(top) :].lstrip('/')}={there[m]}" for m in members)


def _elements(side: Facts) -> set[str]:
    found: set[str] = set()
    for path in side:
        while path and path not in found:
            found.add(path)
            path = path[: _last_slash(path)]
    return found


def _top(path: str, other: set[str]) -> str:
    """The outermost element on this path that the other side does not have."""
    top = path
    while True:
        parent = top[: _last_slash(top)]
        if not parent or parent in other:
            return top
        top = parent


def _last_slash(path: str) -> int:
    """The last slash that is not inside an identity."""
    if "]" not in path:
        return path.rfind("/")
    depth = 0
    for at in range(len(path) - 1, -1, -1):
        if path[at] == "]":
            depth += 1
        elif path[at] == "[":
            depth -= 1
        elif path[at] == "/" and depth == 0:
            return at
    return 0


def masked(path: str) -> str:
    """A path without identities and ordinals: what two findings of one cause share."""
    return re.sub(r"\[[^\]]*\]|#\d+", "", path)
