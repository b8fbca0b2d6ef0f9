"""Claims judged: which cells a claim is about, what each says of it, and whether it holds, is refuted or is unproven.

Pure: cells go in, a result comes out. Nothing that was not asked ever counts for a claim.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TypeVar

from virtcompat.judgement import fingerprint
from virtcompat.model import NO_DRIVER, CellKey, Outcome, Verdict
from virtcompat.policy import stability
from virtcompat.policy.stability import RowVerdict, Step
from virtcompat.store.claims import Claim, Term
from virtcompat.store.stability import Policy, Row, StabilityTable

UNKNOWN = (Outcome.NOT_HERE, Outcome.BROKEN)
JUDGED = (Outcome.COMPATIBLE, Outcome.INCOMPATIBLE)
Products = Mapping[str, Mapping[str, str]]


class Standing(StrEnum):
    """What became of a claim."""

    HOLDS = "holds"
    REFUTED = "refuted"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known of a case beforehand: a document's stability level and its machine type."""

    level: str = ""
    machine: str = ""


Subjects = Callable[[str, str], Subject]  # of (kind, case)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen:
    """One cell as claims need it. asked: its cases with an answer.

    verdicts: at least those with a finding, and those without an answer.
    """

    key: CellKey
    asked: frozenset[str]
    verdicts: Sequence[Verdict]

    @property
    def cases(self) -> frozenset[str]:
        """Its cases that are known by name, answered or not: a document is one whether or not anybody answers."""
        put = (v.case for v in self.verdicts if v.outcome in UNKNOWN and self.key.driver != NO_DRIVER)
        return self.asked.union(put)

    @property
    def digest(self) -> str:
        """Of everything in it that is a result. What names addresses or process ids counts without them."""
        told = [v for v in self.verdicts if v.findings or v.outcome in UNKNOWN]
        lines = sorted(
            [v.case, v.outcome.value, sorted([fingerprint(self.key, f), f.tier.label] for f in v.findings)]
            for v in told
        )
        body = json.dumps([str(self.key), sorted(self.asked), lines])
        return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Share:
    """What one cell says of a claim.

    refuting: its verdicts with the refuting findings alone; missing: those without an answer.
    """

    key: CellKey
    digest: str
    asked: int
    refuting: tuple[Verdict, ...] = ()
    missing: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class Lack:
    """Why a claim is unproven: what was not asked or is in no cell, and the way out."""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Result:
    """A claim with what every cell of its scope says."""

    claim: Claim
    shares: tuple[Share, ...]
    lacks: tuple[Lack, ...]

    @property
    def asked(self) -> int:
        return sum(share.asked for share in self.shares)

    @property
    def standing(self) -> Standing:
        return standing(((len(s.refuting), s.asked) for s in self.shares), lacking=bool(self.lacks))


def standing(shares: Iterable[tuple[int, int]], *, lacking: bool = False) -> Standing:
    """From (refuting, asked) of every share: one counterexample refutes, and only what was asked can hold."""
    known = list(shares)
    if any(refuting for refuting, _ in known):
        return Standing.REFUTED
    return Standing.UNPROVEN if lacking or not any(asked for _, asked in known) else Standing.HOLDS


def pairs(claim: Claim, names: Sequence[str], products: Products) -> list[tuple[str, str]]:
    """The (old, new) pairs of releases that a claim is about; names from the oldest to the newest."""
    meant = {side: [n for n in names if _meant(terms, n, products)] for side, terms in _sides(claim)}
    found = []
    for a in meant["from"]:
        for b in meant["to"]:
            way = names.index(b) - names.index(a)
            fits = {"forward": way > 0, "next": way == 1, "back": way < 0, "either": way != 0, "same": way == 0}
            if fits[claim.way]:
                found.append((a, b))
    return found


def _sides(claim: Claim) -> tuple[tuple[str, tuple[Term, ...]], ...]:
    return ("from", claim.old), ("to", claim.new)


def _meant(terms: Sequence[Term], name: str, products: Products) -> bool:
    return not terms or any(t.meant(name, products.get(name, {})) for t in terms)


def unmeasured(claim: Claim, products: Products) -> Iterator[Lack]:
    """What of a claim's releases is not among those that are known: a name, or the version that a bound names."""
    for side, terms in _sides(claim):
        for term in terms:
            there = [own for name, own in products.items() if term.meant(name, own)]
            if not there:
                yield Lack(f"{side} = '{term.text}': no such release is known here", "virt-compat lab add NAME …")
                continue
            for bound in term.conditions:
                if not any(bound.on_bound(own) for own in there):
                    words = f"{side} = '{term.text}': no release with the very version of '{bound.text}' is known here"
                    yield Lack(words, "virt-compat lab add NAME …, or claim what was asked")


def about(claim: Claim, seen: Seen, subjects: Subjects) -> tuple[frozenset[str], list[Verdict]]:
    """(the asked cases of a cell that a claim is about, its verdicts with the findings that the claim is about)."""
    whole, reach = claim.patterns
    verdicts = []
    for verdict in seen.verdicts:
        if verdict.outcome in UNKNOWN or whole.match(verdict.case):
            verdicts.append(verdict)
        elif reach.match(verdict.case):
            verdicts.append(replace(verdict, findings=tuple(f for f in verdict.findings if whole.match(f.path))))
    kind = seen.key.kind
    asked = frozenset(c for c in seen.asked if reach.match(c) and _chosen(claim, kind, c, subjects))
    return asked, [v for v in verdicts if v.outcome in UNKNOWN or _chosen(claim, kind, v.case, subjects)]


def _chosen(claim: Claim, kind: str, case: str, subjects: Subjects) -> bool:
    """Whether a claim's cases, machine types and level include a case."""
    if claim.cases and not any(fnmatchcase(case, p) for p in claim.cases):
        return False
    if claim.machines and not any(fnmatchcase(machine(kind, case, subjects), p) for p in claim.machines):
        return False
    return not claim.level or bool(claim.table) or subjects(kind, case).level.lower() == claim.level.lower()


def machine(kind: str, case: str, subjects: Subjects) -> str:
    """The machine type that a case is about, empty where it is about none."""
    steps = case.split("/")
    if kind == "guest-abi":
        return steps[0]
    if kind == "machine-types":
        return steps[2] if len(steps) > 2 and steps[1] == "machine" else ""
    return subjects(kind, case).machine


def share(claim: Claim, seen: Seen, subjects: Subjects) -> Share:
    """What a cell says of a claim about cells."""
    asked, verdicts = about(claim, seen, subjects)
    refuting = []
    for verdict in verdicts:
        findings = tuple(f for f in verdict.findings if f.tier >= claim.refuted_at)
        if findings and verdict.outcome in JUDGED:
            refuting.append(replace(verdict, findings=findings))
    missing = tuple(v for v in verdicts if v.outcome in UNKNOWN)
    return Share(seen.key, seen.digest, len(asked), tuple(refuting), missing)


def rows(claim: Claim, table: StabilityTable) -> tuple[Row, ...]:
    """The rows of a table that a claim is about."""
    return tuple(
        row
        for row in table.rows
        if (not claim.rows or any(fnmatchcase(row.name, p) for p in claim.rows))
        and (not claim.level or row.level.lower() == claim.level.lower())
    )


def row_shares(
    claim: Claim, table: StabilityTable, policy: Policy, cells: Sequence[Seen], step: Step, subjects: Subjects
) -> tuple[list[Share], list[RowVerdict]]:
    """(what the cells of one pair of releases say of a claim about rows, those rows judged)."""
    verdicts = {seen.key.kind: about(claim, seen, subjects)[1] for seen in cells}
    judged, _ = stability.judge(table, policy, step, verdicts)
    wanted = set(rows(claim, table))
    own = [r for r in judged if r.row in wanted]
    shares = []
    for seen in cells:
        mine = [r for r in own if r.row.surface == seen.key.kind]
        violating = Counter(j.finding for r in mine for j in r.changes if j.violates)
        refuting = []
        for verdict in verdicts[seen.key.kind]:
            if findings := tuple(f for f in verdict.findings if f in violating):
                refuting.append(replace(verdict, findings=findings))
        missing = tuple(v for v in verdicts[seen.key.kind] if v.outcome in UNKNOWN)
        shares.append(Share(seen.key, seen.digest, sum(r.interfaces for r in mine), tuple(refuting), missing))
    return shares, own


def lacks(
    claim: Claim,
    shares: Sequence[Share],
    wanted: Sequence[tuple[str, str]],
    damaged: Mapping[str, str],
    cells: Sequence[Seen] = (),
) -> list[Lack]:
    """Why a claim whose cells say this may be unproven: what has no answer, which name of its scope no cell covers.

    What a cell has that the claim's own patterns leave out is not called unasked; :func:`unmatched` says it.
    """
    found = [Lack(f"{release}: its golden records are damaged ({what})", "git checkout golden/")
             for release, what in damaged.items()]  # fmt: skip
    reasons = Counter(_reason(v) for s in shares for v in s.missing)
    found += [
        Lack(f"{n} answer{'s are' if n > 1 else ' is'} missing: {why}", remedy)
        for (why, remedy), n in sorted(reasons.items())
    ]
    if not wanted:
        return [*found, Lack(f"no pair of releases is in its scope ({claim.way})", "virt-compat lab add NAME …")]
    keys = [s.key for s in shares if s.asked or s.missing]
    every = [] if claim.table else [s.key for s in cells if s.asked or any(v.outcome in UNKNOWN for v in s.verdicts)]
    pairs_told = [{(k.old, k.new) for k in of} for of in (keys, every)]
    for old, new in wanted:
        if not {old, new} & damaged.keys():
            remedy = "see 'virt-compat list checks' for the directions"
            found += _uncovered(claim, f"nothing was asked from {old} to {new}", remedy, (old, new), *pairs_told)
    for word, names, told in (
        ("check", claim.checks, [{k.check for k in of} for of in (keys, every)]),
        ("surface", claim.surfaces, [{k.kind for k in of} for of in (keys, every)]),
        ("driver", claim.drivers, [{k.driver for k in of} for of in (keys, every)]),
    ):
        for name in names:
            what, remedy = f"no cell covers the {word} '{name}'", f"see 'virt-compat list {word}s'"
            found += _uncovered(claim, what, remedy, name, *told)
    return found


def _uncovered(
    claim: Claim, what: str, remedy: str, of: T, told: Collection[T], every: Collection[T]
) -> Iterator[Lack]:
    """What is said of a name, or a pair of releases, that is not ``told`` of; every: those of whole cells.

    Where a claim's patterns leave nothing at all, what is wrong with the patterns is said in its place.
    """
    if of in told or (of in every and not told):
        return
    yield Lack(f"{what} within its {_narrowing(claim)}", "widen it") if of in every else Lack(what, remedy)


def unmatched(claim: Claim, cells: Sequence[Seen], subjects: Subjects) -> Iterator[Lack]:
    """The patterns of a claim's scope that no asked case matches; else, where no case matches all of it, its keys."""
    asked = {(seen.key.kind, case) for seen in cells for case in seen.cases}
    if not asked:
        return
    machines = {machine(kind, case, subjects) for kind, case in asked} if claim.machines else set()
    wrong = [
        f"{word} = '{pattern}'"
        for word, patterns, names in (
            ("cases", claim.cases, {case for _, case in asked}),
            ("machines", claim.machines, machines),
        )
        for pattern in patterns
        if not any(fnmatchcase(name, pattern) for name in names)
    ]
    for path in claim.where:
        alone = replace(claim, where=(path,), cases=(), machines=(), level="")
        if not any(any(about(alone, seen, subjects)) for seen in cells):
            wrong.append(f"where = '{path}'")
    yield from (Lack(f"{pattern} matches nothing that was asked", "correct the pattern") for pattern in wrong)
    shares = [share(claim, seen, subjects) for seen in cells] if not wrong and not claim.table else []
    if shares and not any(one.asked or one.missing for one in shares):
        yield Lack(f"nothing that was asked is within its {_narrowing(claim)}", "widen it")


def _narrowing(claim: Claim) -> str:
    """The keys by which a claim is about some cases of its cells alone."""
    return " and ".join(key for key in ("cases", "machines", "where", "level") if getattr(claim, key))


def _reason(verdict: Verdict) -> tuple[str, str]:
    reason, _, remedy = verdict.reason.partition("; ")
    return reason, remedy or "virt-compat doctor"
