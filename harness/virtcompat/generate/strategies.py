"""Hypothesis strategies over a schema: documents from nothing, and edits of documents that are known to be accepted.

Both draw small integers only, each of which makes the document smaller when it becomes smaller, and filter nothing: what
Hypothesis shrinks is a document of the grammar at every step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from virtcompat.errors import UsageError
from virtcompat.generate.covering import Aimed
from virtcompat.generate.derivation import Node, render
from virtcompat.generate.growing import Nursery, donors
from virtcompat.generate.matching import matched
from virtcompat.generate.mutating import Mutator
from virtcompat.generate.schema import Schema, read
from virtcompat.generate.values import Pick

#: A schema, or where its files are: a folder, or {name: content}.
Source = Schema | Path | Mapping[str, bytes]


@cache
def _below(limit: int) -> st.SearchStrategy[int]:
    return st.integers(0, limit - 1)


def _pick(draw: st.DrawFn) -> Pick:
    return lambda limit: draw(_below(limit)) if limit > 1 else 0


def _schema(source: Source, kind: str) -> Schema:
    return source if isinstance(source, Schema) else read(source, kind)


def strategy(source: Source, kind: str = "domain", bases: Sequence[str] = ()) -> st.SearchStrategy[str]:
    """Documents of a kind that are valid under a schema.

    bases: documents whose pieces are used where nothing is drawn; the first says what a document has at the least.
    """
    return trees(source, kind, bases).map(render)


def trees(source: Source, kind: str = "domain", bases: Sequence[str] = ()) -> st.SearchStrategy[Node]:
    """The same as derivation trees."""
    schema = _schema(source, kind)
    aimed = Aimed(Nursery(schema, donors(schema, _matched(schema, bases))))

    @st.composite
    def tree(draw: st.DrawFn) -> Node:
        return aimed.tree(_pick(draw))

    return tree()


def edits(source: Source, bases: Sequence[str], kind: str = "domain", most: int = 3) -> st.SearchStrategy[str]:
    """Documents that differ from one of ``bases`` by at most so many edits, all of them grammatical; shrinks to the first base.

    Raises UsageError where a base is not valid under the schema.
    """
    schema = _schema(source, kind)
    roots = _matched(schema, bases)
    nursery = Nursery(schema, donors(schema, roots))

    @st.composite
    def edited(draw: st.DrawFn) -> str:
        pick = _pick(draw)
        root = roots[pick(len(roots))]
        mutator = Mutator(nursery, pick)
        for _ in range(pick(most + 1)):
            root = mutator.mutate(root).tree
        return render(root)

    return edited()


def _matched(schema: Schema, texts: Sequence[str]) -> list[Node]:
    found = [matched(schema, text) for text in texts]
    if None in found:
        number = found.index(None) + 1
        raise UsageError(f"document {number} is not valid under the schema", "give documents of this schema")
    return [tree for tree in found if tree is not None]
