"""Documents generated from RELAX NG grammars: from nothing, covering every branch, or by changing accepted ones.

    schema       a grammar prepared: costs, first names, branches
    derivation   the tree of a document: which pattern produced which piece; written, edited and counted
    values       texts of data types: the plainest, those at the edges, wild ones
    growing      trees grown from a pattern
    matching     a document matched back to its tree
    covering     few documents that take every branch
    mutating     one grammatical piece changed
    shrinking    a tree made smaller while its document stays of the grammar
    inclusion    what of a document another grammar rejects
    strategies   Hypothesis

Pure: nothing here reads a lab or asks a driver. A strategy of domains that are valid under a folder of schemas, and one of edits:

    @given(generate.strategy(Path("/usr/share/libvirt/schemas"), "domain"))
    @given(generate.edits(schema, [accepted, another]))
"""

from virtcompat.generate.covering import Aimed, Covering, corpus, uncovered
from virtcompat.generate.derivation import Node, Writer, render, size, taken
from virtcompat.generate.growing import Grower, Nursery, donors
from virtcompat.generate.inclusion import Rejection, rejection
from virtcompat.generate.matching import Matcher, matched
from virtcompat.generate.mutating import Mutation, Mutator
from virtcompat.generate.schema import AGAIN, Branch, Schema, read
from virtcompat.generate.shrinking import shrink
from virtcompat.generate.strategies import edits, strategy, trees

__all__ = [
    "AGAIN", "Aimed", "Branch", "Covering", "Grower", "Matcher", "Mutation", "Mutator", "Node", "Nursery", "Rejection", "Schema", "Writer",
    "corpus", "donors", "edits", "matched", "read", "rejection", "render", "shrink", "size", "strategy", "taken", "trees",
    "uncovered",
]  # fmt: skip
