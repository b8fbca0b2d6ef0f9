"""Schema inclusion: the documents of an older grammar's covering corpus under a newer one, and the pattern that rejects.

That a document is valid is libxml2's word; what of it is not allowed, and which definition of its own grammar allows it, is found on the
derivation. Pins are left out: the documents are as the grammar made them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from virtcompat import generate
from virtcompat.engine import generating
from virtcompat.engine.answers import Answers
from virtcompat.generate import Matcher, Rejection, Schema
from virtcompat.model import Answer, Change, Finding, NotHere, Outcome, Question, Tier, Verdict, judged, unasked
from virtcompat.store.covering import Corpus, Document


def judge(corpus: Corpus, new: str, answers: Answers) -> Iterator[Verdict]:
    """The verdict of each document of a corpus under the grammar of a newer release."""
    own = answers.resolve(_validate(corpus, d, corpus.release) for d in corpus.documents)
    given = answers.resolve(_validate(corpus, d, new) for d in corpus.documents)
    for document in corpus.documents:
        before, after = own[_validate(corpus, document, corpus.release)], given[_validate(corpus, document, new)]
        if isinstance(after, NotHere):
            yield unasked(document.case, after)
        elif isinstance(before, Answer) and not before.accepted:
            reason = "the grammar that it was made of does not allow it either"
            yield Verdict(document.case, Outcome.NOT_APPLICABLE, reason=reason)
        elif after.accepted:
            yield judged(document.case, [])
        else:
            yield judged(document.case, [_finding(corpus, document, new, after.message)])


def _validate(corpus: Corpus, document: Document, release: str) -> Question:
    return Question(release, "", corpus.kind, "validate", document.text)


def _finding(corpus: Corpus, document: Document, new: str, message: str) -> Finding:
    """What of a document a newer grammar does not allow. new: the definition that allowed it, or libxml2's words."""
    schema = _schema(corpus.release, corpus.kind)
    tree = generate.matched(schema, document.text)
    found = generate.rejection(schema, tree, _matcher(new, corpus.kind), document.text) if tree else None
    if found is None:
        return Finding("(text)", Change.INVALID, Tier.BREAK, "allowed", f"libxml2 alone objects: {message}")
    return Finding(_path(found), Change.INVALID, Tier.BREAK, found.piece or "allowed", f"not allowed: {found}")


def _path(found: Rejection) -> str:
    """Where a rejected piece is, without its value: ``/domain/devices/graphics/@fullscreen``."""
    names = " with ".join(piece.partition("=")[0] for piece in found.piece.split(" with "))
    return f"/{found.where}/{names}".rstrip("/")


@cache
def _schema(release: str, kind: str) -> Schema:
    return generating.garden(release, kind).schema


@cache
def _matcher(release: str, kind: str) -> Matcher:
    return Matcher(_schema(release, kind))
