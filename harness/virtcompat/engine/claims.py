"""Claims over the cells: every cell that some claim is about is asked once, then each claim is held against its own."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from virtcompat import checks, documents, drivers, surfaces
from virtcompat.engine import columns as columns_module
from virtcompat.engine import guests, run, static
from virtcompat.engine.answers import Answers
from virtcompat.engine.columns import Columns
from virtcompat.engine.history import PRODUCTS
from virtcompat.engine.memory import Memory
from virtcompat.engine.run import Progress, Selection
from virtcompat.errors import BadData
from virtcompat.model import NO_DRIVER, STATIC, Cell, CellKey, Tier, Verdict
from virtcompat.policy import claims as policy
from virtcompat.policy.claims import Lack, Result, Seen, Share, Standing, Subject
from virtcompat.policy.stability import Step
from virtcompat.renderers import Cause, causes, sentence
from virtcompat.store import fixtures, golden, releases
from virtcompat.store import stability as tables
from virtcompat.store.claims import Claim

#: At most so many reasons are spelled out where a claim is told in a line.
FEW = 3


@dataclass(slots=True)
class Report:
    """Claims with what became of them. narrowed: the releases that alone were asked, empty for all that are known."""

    results: list[Result]
    found: Columns
    narrowed: tuple[str, ...] = ()
    asked: int = 0  # questions put now, and known from before
    known: int = 0

    @property
    def exit_code(self) -> int:
        """1 where a claim is refuted, 3 where one is unproven or there is none, 0 where all hold."""
        standings = {result.standing for result in self.results}
        if Standing.REFUTED in standings:
            return 1
        return 0 if standings == {Standing.HOLDS} else 3


@dataclass(slots=True)
class Asker:
    """Asks cells, each of them once. What it needs is opened when it is first needed, unless it was given before."""

    found: Columns
    progress: Progress = lambda done, of: None
    answers: Answers | None = None
    memory: Memory | None = None
    moves: guests.Moves | None = None
    records: static.Records = field(init=False)
    subjects: dict[tuple[str, str], Subject] = field(default_factory=dict)
    closing: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.records = static.Records(self.found)

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *reason: object) -> None:
        self.closing.close()

    def seen(self, keys: Sequence[CellKey]) -> dict[CellKey, Seen]:
        """Every one of these cells, asked."""
        still = [k for k in keys if k.check == STATIC]
        moving = [k for k in keys if k.check in guests.CHECKS]
        found = self._documents([k for k in keys if k not in {*still, *moving}])
        for at, key in enumerate(still, 1):
            found[key] = self._judged(key, self._static(key))
            self.progress(at, len(still))
        if moving:
            if self.moves is None:
                self.moves = self.closing.enter_context(guests.Moves(self.found, self.progress))
            found |= {k: self._judged(k, v) for k, v in guests.cells(self.moves, moving).items()}
        return found

    def remembered(self) -> Memory:
        if self.memory is None:
            self.memory = Memory(self.found)
            self.closing.callback(self.memory.kept.close)
        return self.memory

    def _judged(self, key: CellKey, verdicts: Sequence[Verdict]) -> Seen:
        entries = run.crossed(key, self.found)
        told = [run.explained(v, entries) for v in verdicts]
        return Seen(key, frozenset(v.case for v in told if v.outcome in policy.JUDGED), told)

    def _static(self, key: CellKey) -> list[Verdict]:
        memory = self.remembered()
        kept = memory.key(key)
        known = memory.kept.get_many([kept]).get(kept)
        if known is None:
            known = list(static.judge(key, self.records))
            memory.remember(kept, known)
            memory.flush()
        return known

    def _documents(self, keys: Sequence[CellKey]) -> dict[CellKey, Seen]:
        """The cells that are about documents, in one run."""
        if not keys:
            return {}
        if self.answers is None:
            self.answers = self.closing.enter_context(run.opened(self.found))
        selection = Selection(
            checks=tuple({k.check: 0 for k in keys}),
            kinds=tuple({k.kind: 0 for k in keys}),
            drivers=tuple({k.driver: 0 for k in keys}),
        )
        fixtures = run.own_documents(selection)
        for fixture in fixtures:
            machine = _machine(fixture.text) if fixture.kind == "domain" else ""
            self.subjects[fixture.kind, fixture.case] = Subject(fixture.stability, machine)
        wanted = frozenset(keys)
        runner = run.Runner(
            selection, self.found, self.answers, self.remembered(), self.progress, wanted=wanted.__contains__
        )
        runner.run(fixtures)
        return {key: Seen(key, frozenset(t.seen), tuple(t.kept)) for key, t in runner.tallies.items()}

    def subject(self, kind: str, case: str) -> Subject:
        return self.subjects.get((kind, case), Subject())


def judge(
    claims: Sequence[Claim], narrowed: tuple[str, ...] = (), progress: Progress = lambda done, of: None
) -> Report:
    """Hold claims against the cells of all known releases, or of these alone. UsageError for an unknown one."""
    for name in narrowed:
        releases.find(name)
    found = columns_module.find()
    for claim in claims:
        locate(claim, found)
    names = {n for n in found.names if not narrowed or n.partition("@")[0] in narrowed}
    wanted = {
        claim.id: [pair for pair in policy.pairs(claim, found.names, found.products) if not set(pair) - names]
        for claim in claims
    }
    keys = {claim.id: keys_of(claim, found, wanted[claim.id]) for claim in claims}
    damaged = damages({name for of in wanted.values() for pair in of for name in pair})
    askable = dict.fromkeys(k for of in keys.values() for k in of if not {k.old, k.new} & damaged.keys())
    with Asker(found, progress) as asker:
        seen = asker.seen(list(askable))
        results = [
            weighed(claim, found, wanted[claim.id], {k: seen[k] for k in keys[claim.id] if k in seen}, damaged, asker)
            for claim in claims
        ]
        counts = [(a.asked, a.cached + a.replayed) for a in [asker.answers] if a]
        counts += [(m.asked, m.known) for m in [asker.moves] if m]
    return Report(results, found, narrowed, sum(a for a, _ in counts), sum(k for _, k in counts))


def damages(names: set[str]) -> dict[str, str]:
    """release -> what is wrong with its golden records, of those where something is."""
    found = {}
    for name in sorted(names):
        if golden.provenance(name) is not None and (wrong := golden.damaged(name)):
            found[name] = "; ".join(wrong[:FEW]) + (f" and {len(wrong) - FEW} more" if len(wrong) > FEW else "")
    return found


def keys_of(claim: Claim, found: Columns, wanted: Sequence[tuple[str, str]]) -> list[CellKey]:
    """The cells that a claim is about. BadData for a name in it that is none, see :func:`validate`."""
    validate(claim)
    if claim.table:
        kinds = tuple({row.surface: None for row in policy.rows(claim, tables.every()[claim.table]) if row.surface})
        every = list(static.keys(found, kinds)) if kinds else []
    else:
        about_documents = tuple(c for c in claim.checks if c in checks.every())
        others = tuple(c for c in claim.checks if c not in about_documents)
        kinds = claim.surfaces
        every = run.keys(found, Selection(about_documents, kinds, claim.drivers)) if about_documents else []
        every = [key for key in every if key.check in about_documents]
        every += run.record_keys(found, Selection(others, kinds)) if others else []
    pairs = set(wanted)
    return [key for key in every if (key.old, key.new) in pairs]


def validate(claim: Claim) -> None:
    """BadData where a claim names a check, surface, driver, level, table, row or binding that does not exist."""
    every_check = [*checks.every(), STATIC, *guests.CHECKS]
    every_kind = [*surfaces.every(), *surfaces.every_recorded()]
    for word, names, known in (
        ("check", claim.checks, every_check),
        ("surface", claim.surfaces, every_kind),
        ("driver", [name for name in claim.drivers if name != NO_DRIVER], list(drivers.every())),
    ):
        for name in names:
            if name not in known:
                raise _wrong(claim, word, name, known)
    levels = [level.lower() for level in (tables.LEVELS if claim.table else fixtures.STABILITY)]
    if claim.level and claim.level.lower() not in levels:
        raise _wrong(claim, "stability level", claim.level, levels)
    if claim.table and claim.table not in tables.every():
        raise _wrong(claim, "stability table", claim.table, tables.every())
    if claim.table and claim.binding not in tables.policy().bindings:
        raise _wrong(claim, "release binding", claim.binding, tables.policy().bindings)
    if claim.table and not policy.rows(claim, tables.every()[claim.table]):
        known_rows = [row.name for row in tables.every()[claim.table].rows]
        raise _wrong(claim, "row of that name and level", ", ".join(claim.rows) or claim.level, known_rows)


def _wrong(claim: Claim, word: str, name: str, known: Iterable[str]) -> BadData:
    message = f"claim '{claim.id}': no {word} '{name}'"
    return BadData(claim.file, message, f"use one of: {', '.join(known)}", claim.line)


def locate(claim: Claim, found: Columns) -> None:
    """BadData where a claim names the version of a product that no release has.

    A release that is not here is no bad data: the claim is unproven. Apart from :func:`validate`: what is attested
    elsewhere may be of products that are not here.
    """
    products = {**dict.fromkeys(PRODUCTS), **{product: None for own in found.products.values() for product in own}}
    for term in (*claim.old, *claim.new):
        for condition in term.conditions:
            if condition.product not in products:
                raise _wrong(claim, "product", condition.product, products)


def weighed(
    claim: Claim,
    found: Columns,
    wanted: Sequence[tuple[str, str]],
    cells: Mapping[CellKey, Seen],
    damaged: Mapping[str, str],
    asker: Asker,
) -> Result:
    """What became of a claim whose pairs of releases are ``wanted`` and whose cells answered this."""
    shares, more = shared(claim, found, cells, asker)
    own = {release: what for release, what in damaged.items() if any(release in pair for pair in wanted)}
    seen = list(cells.values())
    lacks = [*policy.unmeasured(claim, found.products), *more, *policy.unmatched(claim, seen, asker.subject)]
    lacks += policy.lacks(claim, shares, wanted, own, seen)
    return Result(claim, tuple(shares), tuple(dict.fromkeys(lacks)))


def shared(claim: Claim, found: Columns, cells: Mapping[CellKey, Seen], asker: Asker) -> tuple[list[Share], list[Lack]]:
    """(what each cell says of a claim, what of a table's rows nobody asked)."""
    if not claim.table:
        return [policy.share(claim, seen, asker.subject) for seen in cells.values()], []
    table = tables.every()[claim.table]
    asked = dict.fromkeys(policy.rows(claim, table), 0)
    shares: list[Share] = []
    for old, new in dict.fromkeys((key.old, key.new) for key in cells):
        own = [seen for key, seen in cells.items() if (key.old, key.new) == (old, new)]
        step = Step(found.products[old], found.products[new], claim.binding)
        found_shares, judged = policy.row_shares(claim, table, tables.policy(), own, step, asker.subject)
        shares += found_shares
        for row in judged:
            asked[row.row] += row.interfaces + len(row.missing)
    more = [
        Lack(f"nothing here measures '{row.name}'" if not row.surface else f"no release has anything of '{row.name}'",
             "claim what is measured (virt-compat list surfaces)")
        for row, n in asked.items() if not n and (cells or not row.surface)
    ]  # fmt: skip
    return shares, more


def _machine(text: str) -> str:
    """The machine type that a domain asks for, empty where it leaves that open."""
    kind = documents.parse(text).find("os/type")
    return kind.get("machine", "") if kind is not None else ""


def counterexamples(result: Result) -> list[Cause]:
    """What refutes a claim, by cause, the worst and most frequent first."""
    cells = [Cell(s.key, {}, Tier.IDENTICAL, 0, s.refuting) for s in result.shares if s.refuting]
    return causes(cells, Tier.ADDITION)


def command(cause: Cause) -> str:
    """The line that shows a counterexample."""
    return f"virt-compat explain {shlex.quote(f'{cause.key}/{cause.cases[0]}')}"


def why(result: Result) -> str:
    """In a line what puts a claim in its standing."""
    found = counterexamples(result)
    if found:
        more = f", and {len(found) - 1} more causes" if len(found) > 1 else ""
        return f"{found[0].finding.tier.label}: {sentence(found[0].finding, 80)}{more}"
    if result.lacks:
        more = f", and {len(result.lacks) - FEW} more" if len(result.lacks) > FEW else ""
        return "; ".join(lack.what for lack in result.lacks[:FEW]) + more
    return f"{result.asked} asked, none against it"


def releases_of(result: Result) -> list[str]:
    """The releases that a claim was asked of, in the order of its cells."""
    return list(dict.fromkeys(name for share in result.shares for name in (share.key.old, share.key.new)))


def refuting(result: Result) -> int:
    """How many cases are against a claim, over all cells."""
    return sum(len(share.refuting) for share in result.shares)


def row(result: Result) -> dict[str, object]:
    """A claim as a report page shows it: id, statement, standing, why, command, by, url."""
    claim, found = result.claim, counterexamples(result)
    return {
        "id": claim.id,
        "statement": claim.statement,
        "standing": result.standing.value,
        "why": why(result),
        "command": command(found[0]) if found else "",
        "by": claim.who,
        "url": claim.published,
    }


def record(report: Report) -> dict[str, object]:
    """The claims as data, for other programs."""
    return {
        "schema": "virt-compat/claims/1",
        "exit_code": report.exit_code,
        "releases": list(report.narrowed or report.found.names),
        "claims": [row(result) | _more(result) for result in report.results],
    }


def _more(result: Result) -> dict[str, object]:
    cells = {str(s.key): {"sha256": s.digest, "asked": s.asked, "refuting": len(s.refuting)} for s in result.shares}
    return {
        "quote": result.claim.quote,
        "note": result.claim.note,
        "releases": releases_of(result),
        "asked": result.asked,
        "refuting": refuting(result),
        "cells": cells,
        "counterexamples": [_counterexample(cause) for cause in counterexamples(result)],
        "missing": [{"what": lack.what, "remedy": lack.remedy} for lack in result.lacks],
    }


def _counterexample(cause: Cause) -> dict[str, object]:
    finding = cause.finding
    said = {"cell": str(cause.key), "path": finding.path, "change": finding.change.value, "tier": finding.tier.label}
    values = {"old": finding.old, "new": finding.new, "entry": finding.entry}
    return {**said, **values, "cases": list(cause.cases), "command": command(cause)}
