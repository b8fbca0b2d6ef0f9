"""Finds brought down to their smallest documents: grammatical pieces are taken away for as long as the signature stays.

The document is shrunk as the tree it has in the schema of the release that it was made for, so that every document on the
way is one of the grammar; then piece by piece as XML, where the schema wants more than the defect needs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from virtcompat import documents, generate
from virtcompat.documents import NotWellFormed
from virtcompat.engine import corpora, generating, hunting, properties
from virtcompat.engine.asking import Asking
from virtcompat.engine.generating import Garden
from virtcompat.engine.witness import pinned
from virtcompat.model import Fixture
from virtcompat.reduction import reduce
from virtcompat.store.hunts import Find

#: Documents tried for one find, in the tree and after it.
MOST = 200
DIES = " dies: "


def plain(signature: str) -> str:
    """A signature without where in the code it happened, which takes a debugger to see."""
    return re.sub(r" in [\w<> ]+$", "", signature) if DIES in signature else signature


def places(find: Find) -> list[str]:
    """The releases of a find's first cell, the oldest first."""
    return list(dict.fromkeys(name for side in find.cells[0] for name in side.split(" -> ")))


@dataclass(slots=True)
class Same:
    """Whether documents have a find's signature, a batch at a time. deadline: of :func:`time.monotonic`."""

    find: Find
    asking: Asking
    deadline: float
    machines: dict[str, str] = field(default_factory=corpora.machines)

    def __call__(self, texts: Sequence[str]) -> list[bool]:
        if time.monotonic() > self.deadline:
            return [False] * len(texts)
        find, kind = self.find, self.find.kind
        context = generating._context(kind, find.driver) or generating._context(kind, "qemu")
        asked: list[Fixture] = []
        for number, text in enumerate(texts):
            try:
                own = documents.pin(text, self.machines)[0]
            except NotWellFormed:
                continue
            asked.append(Fixture(kind, str(number), own, "", (find.driver,), context=context, foreign=True))
        chosen = ("round-trip",) if DIES in find.signature and find.check != "hop" else (find.check,)
        good = {
            int(judged.fixture.case)
            for judged in properties.judge(asked, find.driver, self.asking, chosen, places(find))
            for finding in judged.verdict.findings
            if hunting.named(judged, finding, None) == plain(find.signature)
        }
        return [number in good for number in range(len(texts))]


def shrink(find: Find, asking: Asking, gardens: dict[tuple[str, str], Garden], seconds: float = 60.0) -> str:
    """The smallest document found for a find, name and UUID pinned; empty where it is not found again."""
    same = Same(find, asking, time.monotonic() + seconds)
    if not same([find.example])[0]:
        return ""
    best = find.example
    place = find.release, find.kind
    if place not in gardens:
        gardens[place] = generating.garden(*place)
    garden = gardens[place]
    tree = generate.matched(garden.schema, best)
    if tree is not None:
        for tree in generate.shrink(tree, same, garden.nursery, MOST):  # noqa: B020 - each is smaller
            best = generate.render(tree)
    best = documents.pin(best, same.machines)[0]
    # What is not of the grammar any more would not show that a schema has changed.
    if find.check != "schema-kept":
        for smaller in reduce(best, same, fixed=pinned, most=MOST, deadline=same.deadline):
            best = smaller.text
    return documents.pin(best, same.machines)[0]
