"""RELAX NG grammars (XML syntax) as an immutable pattern tree.

``load`` reads a grammar with whatever it includes into the specification's simple form: ``optional`` is a choice with
``EMPTY``, ``zeroOrMore`` a choice of ``OneOrMore`` and ``EMPTY``, ``mixed`` an interleave with ``TEXT``, several patterns in a
row a ``Group``; overriding and combining of definitions is done, every grammar within a grammar has a scope of its own.
A ``Ref`` stays a reference, which is how a grammar recurs: ``Grammar.resolve`` gives what it stands for. Patterns are
compared by identity: one is a *place* in a grammar, two places that read the same are two.

https://relaxng.org/spec-20011203.html
"""

from virtcompat.relaxng.reader import load
from virtcompat.relaxng.tree import (
    EMPTY,
    NOT_ALLOWED,
    START,
    TEXT,
    AnyName,
    Attribute,
    Choice,
    Data,
    Element,
    Empty,
    Grammar,
    Group,
    Interleave,
    Items,
    Name,
    NameClass,
    NotAllowed,
    OneOrMore,
    Pattern,
    Ref,
    Text,
    Value,
    children,
    named,
)

__all__ = [
    "EMPTY", "NOT_ALLOWED", "START", "TEXT", "AnyName", "Attribute", "Choice", "Data", "Element", "Empty", "Grammar", "Group",
    "Interleave", "Items", "Name", "NameClass", "NotAllowed", "OneOrMore", "Pattern", "Ref", "Text", "Value", "children",
    "load", "named",
]  # fmt: skip
