"""Fixtures: documents with their metadata beside them, and corpora without any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from virtcompat import documents
from virtcompat.errors import BadData
from virtcompat.model import Fixture
from virtcompat.store import paths, tables

KEYS = {
    "summary": str, "drivers": list, "stability": str, "reference": str, "provenance": str, "flavour": str,
    "since": dict, "until": dict, "refused": dict, "drops": dict, "context": dict, "reason": dict,
}  # fmt: skip
REQUIRED = ("summary", "drivers", "stability", "reference", "provenance")
STABILITY = ("committed", "uncommitted", "volatile", "not-an-interface")
CONTEXT_KINDS = {"domain": "domain", "pool": "storagepool", "network": "network", "filter": "nwfilter"}
PRODUCTS = ("libvirt", "qemu")


def folder() -> Path:
    return paths.data_root() / "fixtures"


def load(kinds: tuple[str, ...], drivers: tuple[str, ...], cases: tuple[str, ...] = ()) -> list[Fixture]:
    """Every fixture of these kinds that one of these drivers is asked, sorted by kind and case."""
    found = [read(file) for kind in kinds for file in sorted((folder() / kind).glob("*.xml"))]
    orphans = [t for kind in kinds for t in (folder() / kind).glob("*.toml") if not t.with_suffix(".xml").exists()]
    if orphans:
        raise BadData(orphans[0], "metadata without a document", f"write {orphans[0].stem}.xml or remove this file")
    chosen = [f for f in found if set(f.drivers) & set(drivers)]
    return [f for f in chosen if not cases or any(fnmatchcase(f.case, pattern) for pattern in cases)]


def read(file: Path) -> Fixture:
    """One fixture from its document; BadData where document or metadata are wrong or contradict each other."""
    meta = file.with_suffix(".toml")
    if not meta.exists():
        raise BadData(file, "document without metadata", f"write {meta.name} beside it (see CONTRIBUTING.md)")
    table = tables.read(meta)
    tables.check_keys(meta, table, KEYS, REQUIRED)
    _check_values(meta, table)
    kind = file.parent.name
    text = documents.read_text(file)
    documents.check_root(file, text, kind)
    return Fixture(
        kind=kind,
        case=file.stem,
        text=text,
        summary=table["summary"],
        drivers=tuple(table["drivers"]),
        since=table.get("since", {}),
        until=table.get("until", {}),
        refused=table.get("refused", {}),
        drops=table.get("drops", {}),
        context=_context(meta, table.get("context", {})),
        flavour=table.get("flavour", ""),
        stability=table["stability"],
        reference=table["reference"],
        provenance=table["provenance"],
        file=str(file),
    )


def _check_values(meta: Path, table: tables.Table) -> None:
    if table["stability"] not in STABILITY:
        at = tables.line_of(meta, "stability")
        raise BadData(meta, f"stability '{table['stability']}'", f"use one of: {', '.join(STABILITY)}", at)
    for key in ("since", "until"):
        for product, text in table.get(key, {}).items():
            if product not in PRODUCTS or not tables.version(str(text)):
                at = tables.line_of(meta, product)
                raise BadData(meta, f"[{key}] {product} = '{text}'", 'write for example libvirt = "9.0.0"', at)
    for product in PRODUCTS:
        since, until = (table.get(key, {}).get(product) for key in ("since", "until"))
        if since and until and tables.version(since) >= tables.version(until):
            at = tables.line_of(meta, "until")
            raise BadData(meta, f"until {until} is not after since {since}", "swap or correct them", at)
    strangers = set(table.get("refused", {})) - set(table["drivers"])
    if strangers or not table["drivers"]:
        at = tables.line_of(meta, "drivers")
        raise BadData(meta, "drivers is empty, or [refused] names a driver that is not asked", "correct 'drivers'", at)


def _context(meta: Path, table: tables.Table) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for word, case in sorted(table.items()):
        file = folder() / CONTEXT_KINDS.get(word, "") / f"{case}.xml"
        if word not in CONTEXT_KINDS or not file.is_file():
            at = tables.line_of(meta, word)
            raise BadData(meta, f"[context] {word} = '{case}': no such fixture", f"expected {file}", at)
        text = documents.read_text(file)
        pairs += [(f"{word}_name", documents.name_of(text)), (f"{word}_xml", text)]
    return tuple(pairs)


def native(form: str) -> dict[str, str]:
    """The configurations in one native format by name (``fixtures/native/FORMAT/NAME.*``)."""
    files = sorted(f for f in (folder() / "native" / form).iterdir() if f.is_file())
    return {f.stem: f.read_text(encoding="utf-8") for f in files}


def own_uuid(fixture: Fixture) -> list[str]:
    """The UUID that a fixture pins for its object, if it pins one."""
    found = documents.parse(fixture.text).findtext("uuid")
    return [found.strip().lower().replace("-", "")] if found else []


def corpus(
    root: Path, kinds: Mapping[str, str], machines: Mapping[str, str], skipped: list[str] | None = None
) -> Iterator[Fixture]:
    """Every document below a directory as a fixture: kind from the root element, duplicates folded, random parts pinned.

    kinds: root element -> kind. machines: see :func:`virtcompat.documents.pin`. Documents that cannot be
    read, are not well-formed or hostile are left out and named in ``skipped``; those of another root are nobody's.
    """
    seen: set[str] = set()
    for file in sorted(p for p in root.rglob("*.xml") if p.is_file()):
        try:
            text = documents.read_text(file)
            tag = documents.root_tag(text)
        except BadData as error:
            if skipped is not None:
                skipped.append(error.message)
            continue
        if tag not in kinds:
            continue
        pinned, digest = documents.pin(text, machines)
        if digest in seen:
            continue
        seen.add(digest)
        case = f"{file.stem}-{digest[:8]}"
        yield Fixture(
            kinds[tag],
            case,
            pinned,
            f"from {file}",
            ("test", "qemu"),
            flavour=_flavour(pinned),
            file=str(file),
            foreign=True,
        )


def _flavour(text: str) -> str:
    """A guest of another architecture needs the labs with every QEMU."""
    return "" if documents.arch_of(text) in ("", "x86_64", "i686") else "all"
