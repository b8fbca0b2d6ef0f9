"""Claims as an in-toto test-result statement, so that another can check them: what was asked, of what, what came out.

https://github.com/in-toto/attestation: Statement v1, predicate test-result v0.1. A subject is a claim: its annotations
are the claim, its standing and the digest of every cell behind it; its digest is that of the annotations. The
configuration names the tool, the inputs and the labs by digest. Nothing depends on when or where it was written.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import virtcompat
from virtcompat.engine import claims as engine
from virtcompat.engine.claims import Report
from virtcompat.engine.columns import Columns
from virtcompat.errors import BadData
from virtcompat.model import CellKey, NotHere
from virtcompat.policy.claims import Result, Standing
from virtcompat.policy.claims import standing as standing_of
from virtcompat.store import claims as store
from virtcompat.store import golden, paths
from virtcompat.store.claims import Claim

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
TOOL = "virt-compat"
#: Folders that every cell may follow from, below the data root.
FOLDERS = ("fixtures", "golden/changes", "suites/stability")
WAIVERS = "waivers.toml"
#: How a folder is digested: what ``find -type f | LC_ALL=C sort | xargs sha256sum | sha256sum`` in it says.
METHOD = "sha256 of the lines of sha256sum, a line a file, sorted by path"
REMEDY = "ask for it again, or write one with: virt-compat claims --format attestation"
#: A cell as its key is written.
CELL = re.compile(r"[\w@.+-]+(?:/[\w@.+-]+){4}", re.ASCII)
#: One input: its digest, and what else is known of it.
Inputs = dict[str, tuple[str, dict[str, object]]]
#: The test lists of the predicate, by the standing of the claims in them.
LISTS = {Standing.HOLDS: "passedTests", Standing.UNPROVEN: "warnedTests", Standing.REFUTED: "failedTests"}


@dataclass(frozen=True, slots=True)
class Told:
    """What an attestation says of one cell of a claim."""

    digest: str
    asked: int
    refuting: int


@dataclass(frozen=True, slots=True)
class Attested:
    """An attestation that was read. inputs: name -> digest; cells: claim -> cell -> what is said of it.

    faults: where it contradicts itself.
    """

    claims: Mapping[str, Claim]
    cells: Mapping[str, Mapping[CellKey, Told]]
    inputs: Mapping[str, str]
    faults: tuple[str, ...]


def text(report: Report, url: str = "") -> str:
    """The statement about these claims, as JSON."""
    by_standing: dict[str, list[str]] = {name: [] for name in LISTS.values()}
    for result in report.results:
        by_standing[LISTS[result.standing]].append(result.claim.id)
    names = sorted({name for r in report.results for name in engine.releases_of(r)})
    predicate: dict[str, object] = {
        "result": _word(r.standing for r in report.results),
        "configuration": [_descriptor(name, *of) for name, of in inputs(report.found, names, report.narrowed).items()],
        **({"url": url} if url else {}),
        **by_standing,
    }
    subjects = [_subject(result, report.found) for result in report.results]
    statement = {"_type": STATEMENT, "subject": subjects, "predicateType": PREDICATE, "predicate": predicate}
    return json.dumps(statement, indent=1, ensure_ascii=False) + "\n"


def _word(standings: Iterable[str]) -> str:
    found = set(standings)
    return "FAILED" if Standing.REFUTED in found else "WARNED" if Standing.UNPROVEN in found else "PASSED"


def _subject(result: Result, found: Columns) -> dict[str, object]:
    cells = {
        str(s.key): {"sha256": s.digest, "asked": s.asked, "refuting": len(s.refuting)}
        for s in sorted(result.shares, key=lambda s: str(s.key))
    }
    said = {
        "claim": dict(result.claim.raw),
        "standing": result.standing.value,
        "releases": {name: dict(sorted(found.products[name].items())) for name in engine.releases_of(result)},
        "cells": cells,
        "missing": [lack.what for lack in result.lacks],
    }
    return {"name": result.claim.id, "digest": {"sha256": _sha256(said)}, "annotations": said}


def _sha256(said: object) -> str:
    body = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()


def _descriptor(name: str, digest: str, more: dict[str, object]) -> dict[str, object]:
    return {"name": name, "digest": {"sha256": digest}, **({"annotations": more} if more else {})}


def inputs(found: Columns, names: Iterable[str], narrowed: tuple[str, ...] = ()) -> Inputs:
    """Everything that the results on these releases follow from: the tool, folders, golden records, labs."""
    known: dict[str, object] = {"version": virtcompat.__version__, "method": METHOD}
    said: Inputs = {TOOL: (_tool(), {**known, "releases": list(narrowed)} if narrowed else known)}
    root = paths.data_root()
    for folder in FOLDERS:
        said[folder] = (_tree(root / folder), {"method": METHOD})
    if (root / WAIVERS).is_file():
        said[WAIVERS] = (hashlib.sha256((root / WAIVERS).read_bytes()).hexdigest(), {})
    for name in names:
        file = golden.folder() / name / "PROVENANCE.toml"
        if file.is_file():
            said[f"golden/{name}/{file.name}"] = (hashlib.sha256(file.read_bytes()).hexdigest(), {})
    for (name, flavour), lab in sorted(found.labs.items()):
        if name in names and not isinstance(lab, NotHere):
            of: dict[str, object] = {"products": dict(sorted(found.products[name].items()))}
            said[f"lab/{name}-{flavour}".rstrip("-")] = (lab.fingerprint(), of)
    return said


@cache
def _tool() -> str:
    return _tree(paths.PACKAGE, ("__pycache__", "_data"))


def _tree(folder: Path, without: tuple[str, ...] = ()) -> str:
    """The digest of a folder's files, by METHOD."""
    files = (f.relative_to(folder) for f in folder.rglob("*") if f.is_file())
    kept = sorted(str(f).encode() for f in files if not set(without) & set(f.parts))
    body = hashlib.sha256()
    for name in kept:
        digest = hashlib.sha256((folder / name.decode()).read_bytes()).hexdigest()
        body.update(f"{digest}  ".encode() + name + b"\n")
    return body.hexdigest()


def read(file: Path) -> Attested:
    """An attestation of claims. BadData where the file is cut off, or is something else."""
    statement = _loaded(file)
    subjects = _mappings(file, statement, "subject")
    predicate = statement.get("predicate")
    if statement.get("_type") != STATEMENT or statement.get("predicateType") != PREDICATE or not subjects:
        raise BadData(file, f"no in-toto statement with the predicate {PREDICATE}", REMEDY)
    if not isinstance(predicate, dict):
        raise BadData(file, "its predicate is none", REMEDY)
    claims: dict[str, Claim] = {}
    cells: dict[str, dict[CellKey, Told]] = {}
    for subject in subjects:
        said = subject.get("annotations")
        if not isinstance(said, dict) or not isinstance(said.get("claim"), dict):
            raise BadData(file, "a subject that is no claim", REMEDY)
        claim = store.parse(said["claim"], str(file), 1)
        if subject.get("name") != claim.id or claim.id in claims:
            raise BadData(file, f"the subject of claim '{claim.id}' has another name, or is there twice", REMEDY)
        claims[claim.id], cells[claim.id] = claim, dict(_cells(file, said.get("cells")))
    given = {str(c.get("name")): _digest(c) for c in _mappings(file, predicate, "configuration")}
    if not all(name.isprintable() for name in given):
        raise BadData(file, "an input whose name is none", REMEDY)
    faults = tuple(_faults(subjects, predicate, cells))
    return Attested(claims, cells, given, faults)


def _loaded(file: Path) -> dict[str, object]:
    try:
        statement = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise BadData(file, f"not whole JSON: {error.msg}", REMEDY, error.lineno) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise BadData(file, f"not JSON: {type(error).__name__}", REMEDY) from error
    except OSError as error:
        raise BadData(file, f"cannot be read: {error.strerror}", "check the path and its permissions") from error
    if not isinstance(statement, dict):
        raise BadData(file, "no JSON object", REMEDY)
    return statement


def _mappings(file: Path, of: Mapping[str, object], key: str) -> list[dict[str, object]]:
    found = of.get(key)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise BadData(file, f"its '{key}' is no list of objects", REMEDY)
    return found


def _annotations(of: Mapping[str, object]) -> Mapping[str, object]:
    found = of.get("annotations")
    return found if isinstance(found, dict) else {}


def _digest(of: Mapping[str, object]) -> str:
    """The digest of a descriptor, empty where it has none that is one."""
    found = of.get("digest")
    digest = str(found.get("sha256")) if isinstance(found, dict) else ""
    return digest if re.fullmatch(r"[0-9a-f]{64}", digest) else ""


def _cells(file: Path, of: object) -> Iterator[tuple[CellKey, Told]]:
    for name, told in of.items() if isinstance(of, dict) else ():
        said = told if isinstance(told, dict) else {}
        asked, refuting = said.get("asked"), said.get("refuting")
        if not CELL.fullmatch(str(name)) or not isinstance(asked, int) or not isinstance(refuting, int):
            raise BadData(file, f"{str(name)!r} is no cell of a claim", REMEDY)
        yield CellKey(*str(name).split("/")), Told(str(said.get("sha256")), asked, refuting)


def _faults(
    subjects: list[dict[str, object]], predicate: Mapping[str, object], cells: Mapping[str, Mapping[CellKey, Told]]
) -> Iterator[str]:
    """Where a statement contradicts itself: a result that was altered shows here without asking anything."""
    standings = {}
    for subject in subjects:
        said = _annotations(subject)
        name, standing = str(subject.get("name")), str(said.get("standing"))
        standings[name] = standing
        if _digest(subject) != _sha256(said):
            yield f"{name}: its digest is not that of what is said of it"
        told = cells[name].values()
        follows = standing_of(((t.refuting, t.asked) for t in told), lacking=bool(said.get("missing")))
        if follows.value != standing:
            yield f"{name}: said to be {standing!r}, but from its cells follows '{follows}'"
    for standing, key in LISTS.items():
        listed = predicate.get(key)
        if listed != [name for name, own in standings.items() if own == standing]:
            yield f"{key} does not list the claims that are '{standing}'"
    if predicate.get("result") != _word(standings.values()):
        yield f"the result {predicate.get('result')!r} does not follow from the claims"
