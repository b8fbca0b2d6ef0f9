"""Claims: what somebody states of releases, with its scope; ``suites/claims/*.toml``, or any file of that shape.

A claim is about cells of the matrix: ``checks``, ``surfaces``, ``drivers``, and pairs of releases by ``from``, ``to``
and ``way``, narrowed by ``cases``, ``where``, ``machines`` and ``level``; or about rows of a stability table:
``table``, ``rows``.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from virtcompat.errors import BadData
from virtcompat.model import Tier
from virtcompat.store import paths, tables
from virtcompat.store.ledger import glob

KEYS = {
    "id": str, "statement": str, "who": str, "published": str, "quote": str, "note": str, "checks": list,
    "surfaces": list, "drivers": list, "from": list, "to": list, "way": str, "cases": list, "where": list,
    "machines": list, "level": str, "table": str, "rows": list, "binding": str, "refuted_at": str,
}  # fmt: skip
FILE = {"title": str, "who": str, "published": str, "note": str, "claim": list}
#: What only a claim about cells has, and what only one about rows of a table.
OF_CELLS, OF_ROWS = ("surfaces", "drivers", "cases", "where", "refuted_at"), ("rows", "binding")
#: What is told to people, in as many lines as it takes.
PROSE = ("statement", "quote", "note")
REQUIRED = ("id", "statement", "who", "published")
#: Which pairs of releases: any older and newer one, one and the next, back, either way, one with itself.
WAYS = ("forward", "next", "back", "either", "same")
OPERATORS: Mapping[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
CONDITION = re.compile(r"([a-z][a-z0-9-]*)\s*(>=|<=|==|>|<)\s*(\d+(?:\.\d+)*)")
NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
EVERYTHING = re.compile("")


@dataclass(frozen=True, slots=True)
class Condition:
    """``libvirt >= 7.0``. Versions are compared as far as the bound is written: 10.0.13 is no more than 10.0."""

    product: str
    operator: str
    version: tuple[int, ...]
    text: str

    def met(self, products: Mapping[str, str]) -> bool:
        """Whether a release with these product versions is meant."""
        own = self._cut(products.get(self.product, ""))
        return bool(own) and OPERATORS[self.operator](own, self.version)

    def on_bound(self, products: Mapping[str, str]) -> bool:
        """Whether a release is the very one that the bound names; true for what names none (``<`` and ``>``)."""
        return self.operator in "<>" or self._cut(products.get(self.product, "")) == self.version

    def _cut(self, text: str) -> tuple[int, ...]:
        own = tables.version(text)
        return (*own, *(0,) * len(self.version))[: len(self.version)] if own else ()


@dataclass(frozen=True, slots=True)
class Term:
    """Which releases: one by name, or those that meet every condition."""

    text: str
    conditions: tuple[Condition, ...] = ()

    def meant(self, name: str, products: Mapping[str, str]) -> bool:
        return all(c.met(products) for c in self.conditions) if self.conditions else name == self.text


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement with its scope. An empty tuple leaves that open; ``table`` is set where rows of one are claimed.

    refuted_at: the tier from which on a finding refutes it. raw: the table it was read from, with what its file says
    of all its claims. file and line: where it stands.
    """

    id: str
    statement: str
    who: str
    published: str
    quote: str
    note: str
    checks: tuple[str, ...]
    surfaces: tuple[str, ...]
    drivers: tuple[str, ...]
    old: tuple[Term, ...]
    new: tuple[Term, ...]
    way: str
    cases: tuple[str, ...]
    where: tuple[str, ...]
    machines: tuple[str, ...]
    level: str
    table: str
    rows: tuple[str, ...]
    binding: str
    refuted_at: Tier
    raw: Mapping[str, object]
    file: str
    line: int

    @property
    def patterns(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """(the paths that it is about, these and the cases that they are below); everything where it names none."""
        if not self.where:
            return EVERYTHING, EVERYTHING
        steps = [re.split(r"/(?![^\[]*\])", path) for path in self.where]
        above = ["/".join(of[:length]) for of in steps for length in range(1, len(of) + 1)]
        return glob(self.where), glob(above)


def folder() -> Path:
    return paths.data_root() / "suites" / "claims"


def load(files: Iterable[Path] = ()) -> list[Claim]:
    """The claims of these files, all in suites/claims/ where none is named. BadData for one that is there twice."""
    claims = [claim for file in list(files) or sorted(folder().glob("*.toml")) for claim in read(file)]
    seen: dict[str, Claim] = {}
    for claim in claims:
        if claim.id in seen:
            other = seen[claim.id]
            raise BadData(claim.file, f"claim '{claim.id}' is in {other.file} too", "rename one of them", claim.line)
        seen[claim.id] = claim
    return claims


def read(file: Path) -> list[Claim]:
    """The claims of one file. BadData names the line of the claim that is wrong."""
    table = tables.read(file)
    tables.check_keys(file, table, FILE, ("claim",))
    shared: dict[str, object] = {key: table[key] for key in ("who", "published", "note") if key in table}
    lines = [n for n, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1) if "[[claim]]" in text]
    found = []
    for number, own in enumerate(table["claim"]):
        line = lines[number] if number < len(lines) else 1
        if not isinstance(own, dict):
            raise BadData(file, "'claim' is no list of tables", "begin each with [[claim]]", line)
        found.append(parse({**shared, **own}, str(file), line))
    if not found:
        raise BadData(file, "no claim in it", "begin one with [[claim]]")
    return found


def parse(raw: Mapping[str, object], file: str, line: int) -> Claim:
    """A claim from its table. BadData where it is not one."""
    _checked(raw, file, line)
    texts = {key: str(raw.get(key, "")) for key, kind in KEYS.items() if kind is str}
    lists = {key: _strings(raw, key) for key, kind in KEYS.items() if kind is list and key not in ("from", "to")}
    return Claim(
        id=texts["id"], statement=texts["statement"], who=texts["who"], published=texts["published"],
        quote=texts["quote"], note=texts["note"], checks=lists["checks"], surfaces=lists["surfaces"],
        drivers=lists["drivers"], old=_terms(raw, "from", file, line), new=_terms(raw, "to", file, line),
        way=texts["way"] or "forward", cases=lists["cases"], where=lists["where"], machines=lists["machines"],
        level=texts["level"], table=texts["table"], rows=lists["rows"], binding=texts["binding"] or "minor",
        refuted_at=Tier.named(texts["refuted_at"] or "break"), raw=dict(raw), file=file, line=line,
    )  # fmt: skip


def _checked(raw: Mapping[str, object], file: str, line: int) -> None:
    for message, remedy in chain(_misshapen(raw), _misnamed(raw), _misplaced(raw)):
        raise BadData(file, f"claim {raw.get('id', '?')!r}: {message}", remedy, line)


#: What is wrong, and what to do about it.
Problems = Iterator[tuple[str, str]]


def _misshapen(raw: Mapping[str, object]) -> Problems:
    for key, value in raw.items():
        if key not in KEYS:
            yield f"unknown key {key!r}", f"use one of: {', '.join(KEYS)}"
        elif not isinstance(value, KEYS[key]) and not (key in ("from", "to") and isinstance(value, str)):
            remedy = f'write {key} = ["…"]' if KEYS[key] is list else f'write {key} = "…"'
            yield f"'{key}' must be a {KEYS[key].__name__}", remedy
        elif key not in PROSE and not _words(value):
            yield f"'{key}' is empty, or not in one line", "leave it out, or name something"
    for key in REQUIRED:
        if not raw.get(key):
            yield f"'{key}' is missing", f"add a line '{key} = …'"


def _words(value: object) -> bool:
    """Whether something is a word, or a list of words with at least one in it."""
    words = value if isinstance(value, list) else [value]
    return bool(words) and all(isinstance(word, str) and word and word.isprintable() for word in words)


def _misnamed(raw: Mapping[str, object]) -> Problems:
    if not NAME.fullmatch(str(raw["id"])):
        yield "its id is no name", "use small letters, digits, dots and dashes"
    if raw.get("way", "forward") not in WAYS:
        yield f"no way {raw['way']!r}", f"use one of: {', '.join(WAYS)}"
    tiers = [t.label for t in Tier if t > Tier.IDENTICAL]
    if raw.get("refuted_at", "break") not in tiers:
        yield f"no tier {raw['refuted_at']!r}", f"use one of: {', '.join(tiers)}"


def _misplaced(raw: Mapping[str, object]) -> Problems:
    if bool(raw.get("table")) == bool(raw.get("checks")):
        yield "it names both checks and a table, or neither", "claim cells (checks) or rows of a table (table)"
    strangers = OF_CELLS if raw.get("table") else OF_ROWS
    kind = "rows of a table" if raw.get("table") else "cells"
    for key in strangers:
        if key in raw:
            yield f"'{key}' says nothing of {kind}", "take it out"


def _strings(raw: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = raw.get(key, [])
    assert isinstance(value, list)
    return tuple(value)


def _terms(raw: Mapping[str, object], key: str, file: str, line: int) -> tuple[Term, ...]:
    value = raw.get(key, [])
    texts = [value] if isinstance(value, str) else value
    assert isinstance(texts, list)
    return tuple(_term(text.strip(), key, file, line) for text in texts)


def _term(text: str, key: str, file: str, line: int) -> Term:
    """``debian-12``, or ``libvirt >= 7.0, libvirt < 12``."""
    if not re.search(r"[<>=]", text):
        return Term(text)
    found = []
    for part in text.split(","):
        said = CONDITION.fullmatch(part.strip())
        if said is None:
            message = f"{key} = '{text}': '{part.strip()}' is no condition"
            raise BadData(file, message, "write a release's name, or for example 'libvirt >= 7.0, libvirt < 12'", line)
        version = tuple(int(n) for n in said[3].split("."))
        found.append(Condition(said[1], said[2], version, part.strip()))
    return Term(text, tuple(found))
