"""Defects that are known: ``fixtures/defects/<name>.xml``, the smallest document found, and what it does beside it.

``<name>.toml`` says what is recorded; whether it is still so is asked of every release's lab each time. What looks like a
security matter is never kept here (:mod:`virtcompat.engine.confidential` has the rule).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from virtcompat import documents
from virtcompat.errors import BadData
from virtcompat.store import paths, tables

KEYS = {
    "kind": str, "driver": str, "what": str, "signature": str, "covers": list, "shows": list, "summary": str, "why": str,
    "reference": str, "context": dict,
}  # fmt: skip
REQUIRED = ("kind", "driver", "what", "signature", "shows", "summary", "why")
#: What a document does, the worst first.
WHATS = {
    "crash": "the process dies", "hang": "no answer comes", "lost": "the object is gone after a restart",
    "unreadable": "what is written cannot be read again", "unstable": "what is written changes each time",
    "invalid": "what is written is not valid under the release's own schema",
    "refused": "the newer release refuses what the older one took", "changed": "the newer release makes something else of it",
    "schema": "the newer schema refuses what the older one permits", "silent": "a refusal says nothing",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Defect:
    """One cause. what: one of :data:`WHATS`; signature: of its findings; shows: where it was seen when it was recorded.

    A place is a release, or releases on the way: ``debian-11 -> debian-14``. covers: patterns of the signatures that the same
    cause has on other drivers, in other kinds of document and by other properties; each is of a whole signature.
    """

    name: str
    kind: str
    driver: str
    what: str
    signature: str
    shows: tuple[str, ...]
    summary: str
    why: str
    text: str
    reference: str = ""
    context: tuple[tuple[str, str], ...] = ()
    file: str = ""
    covers: tuple[str, ...] = ()

    def covered(self, signature: str) -> bool:
        """Whether findings of a signature, one that is not its own, are this defect's."""
        return any(re.fullmatch(pattern, signature) for pattern in self.covers)


def folder() -> Path:
    return paths.data_root() / "fixtures" / "defects"


def load(names: tuple[str, ...] = (), where: Path | None = None) -> list[Defect]:
    """Every recorded defect, or those of these names, the worst first. Raises BadData."""
    found = [read(file) for file in sorted((where or folder()).glob("*.xml"))]
    orphans = [
        t for t in (where or folder()).glob("*.toml") if not t.with_suffix(".xml").exists() and t.stem != "known"
    ]
    if orphans:
        raise BadData(orphans[0], "a defect without a document", f"write {orphans[0].stem}.xml or remove this file")
    order = list(WHATS)
    return sorted((d for d in found if not names or d.name in names), key=lambda d: (order.index(d.what), d.name))


def read(file: Path) -> Defect:
    """One defect. BadData where document or metadata are wrong."""
    meta = file.with_suffix(".toml")
    if not meta.exists():
        raise BadData(file, "document without metadata", f"write {meta.name} beside it")
    table = tables.read(meta)
    tables.check_keys(meta, table, KEYS, REQUIRED)
    if table["what"] not in WHATS:
        at = tables.line_of(meta, "what")
        raise BadData(meta, f"what = '{table['what']}'", f"use one of: {', '.join(WHATS)}", at)
    if not table["shows"]:
        raise BadData(meta, "'shows' is empty", "name where it was seen", tables.line_of(meta, "shows"))
    covers = _patterns(meta, table.pop("covers", []))
    text = documents.read_text(file)
    documents.check_root(file, text, table["kind"])
    context = tuple(sorted((str(k), str(v)) for k, v in table.pop("context", {}).items()))
    fields = {**table, "shows": tuple(table["shows"])}
    return Defect(name=file.stem, text=text, context=context, file=str(file), covers=covers, **fields)


def _patterns(meta: Path, patterns: list[object]) -> tuple[str, ...]:
    """What else a defect covers; BadData where that is no regular expression."""
    at = tables.line_of(meta, "covers")
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise BadData(meta, "'covers' must be a list of patterns", "correct it", at)
        try:
            re.compile(pattern)
        except re.error as error:
            raise BadData(meta, f"'{pattern}' is no regular expression: {error}", "correct it", at) from error
    return tuple(map(str, patterns))


def write(defect: Defect, where: Path) -> Path:
    """A defect as its two files; the document's."""
    where.mkdir(parents=True, exist_ok=True)
    file = where / f"{defect.name}.xml"
    file.write_text(defect.text.rstrip() + "\n", encoding="utf-8", newline="")
    keys = ("kind", "driver", "what", "signature", "covers", "shows", "summary", "why", "reference")
    # A JSON string or list of strings is a TOML one.
    lines = [
        f"{key} = {json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)}"
        for key in keys
        if (value := getattr(defect, key))
    ]
    if defect.context:
        lines += ["[context]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in defect.context)]
    file.with_suffix(".toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file
