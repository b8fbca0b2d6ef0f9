"""A tree made smaller for as long as its document has what is looked for, one grammatical piece at a time.

Every document on the way is one of the grammar, which taking elements out of XML does not give.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from virtcompat.generate.derivation import Node, Writer, put, size, walk
from virtcompat.generate.growing import Nursery
from virtcompat.reduction import Interesting
from virtcompat.relaxng import Choice, Data, OneOrMore, Text, Value

#: How many documents are tried at once.
BATCH = 16
MOST = 400


def shrink(root: Node, interesting: Interesting, nursery: Nursery, most: int = MOST) -> Iterator[Node]:
    """Every smaller tree that is found and is still interesting, the last one the smallest; nothing where there is none.

    Ends where no single step is left or so many documents have been tried.
    """
    writer = Writer()
    tried = {writer.document(root)}
    found = True
    while found:
        found = False
        steps = list(_steps(root, nursery))
        while steps and len(tried) < most:
            batch, steps = steps[:BATCH], steps[BATCH:]
            new = [(tree, text) for tree in batch if (text := writer.document(tree)) not in tried]
            tried |= {text for _, text in new}
            answers = interesting([text for _, text in new]) if new else []
            good = next((tree for (tree, _), answer in zip(new, answers, strict=True) if answer), None)
            if good is not None:
                root, found = good, True
                yield root
                break


def _steps(root: Node, nursery: Nursery) -> Iterator[Node]:
    """The tree after each single step that makes it smaller, the largest steps first."""
    places = [(path, node) for path, node in walk(root)]
    for path, node in sorted(places, key=lambda place: -size(place[1])):
        for smaller in _smaller(node, nursery):
            yield put(root, path, smaller)


def _smaller(node: Node, nursery: Nursery) -> Iterator[Node]:
    match node.pattern:
        case OneOrMore() if len(node.parts) > 1:
            half = len(node.parts) // 2
            if half > 1:
                yield from (replace(node, parts=node.parts[:half]), replace(node, parts=node.parts[half:]))
            for index in range(len(node.parts)):
                yield replace(node, parts=(*node.parts[:index], *node.parts[index + 1 :]))
        case Choice():
            for index in nursery.ranked(node.pattern):
                other = nursery.alternative(node.pattern, index)
                if size(other) < size(node) or (
                    size(other) == size(node) and _rank(nursery, other) < _rank(nursery, node)
                ):
                    yield other
        case Text() | Data() | Value():
            simple = nursery.cheapest(node.pattern)
            if (len(simple.text), simple.text) < (len(node.text), node.text):
                yield simple


def _rank(nursery: Nursery, node: Node) -> int:
    assert isinstance(node.pattern, Choice)
    return nursery.ranked(node.pattern).index(node.taken)
