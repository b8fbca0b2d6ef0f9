"""Containers that are started, and what is done with each: ``fixtures/containers/<scene>.toml``."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from virtcompat import documents
from virtcompat.errors import BadData
from virtcompat.store import paths, tables

KEYS = {"summary": str, "reference": str, "domain": str, "steps": str}
#: Stands for no path.
NOWHERE = "."
Step = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """A container and the steps that are taken with it: (verb, path, arguments...) as the container probe takes them."""

    name: str
    domain: str
    steps: tuple[Step, ...]


def folder() -> Path:
    return paths.data_root() / "fixtures" / "containers"


def every() -> list[Scene]:
    """All scenes, by name."""
    return [read(file) for file in sorted(folder().glob("*.toml"))]


def read(file: Path) -> Scene:
    """One scene: a line a step, quoted as a shell would; an argument that is JSON is that."""
    table = tables.read(file)
    tables.check_keys(file, table, KEYS, tuple(KEYS))
    try:
        documents.parse(table["domain"])
    except documents.NotWellFormed as error:
        at = tables.line_of(file, "domain")
        raise BadData(file, f"no document: {error}", "correct the document", at) from error
    first = tables.line_of(file, "steps")
    steps = []
    for number, line in enumerate(table["steps"].splitlines(), first + 1):
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise BadData(file, f"'{line}' is no step: {error}", "quote it as a shell would", number) from error
        if len(words) == 1:
            raise BadData(file, f"'{line}' is no step", "write: verb path arguments, '.' for no path", number)
        if words:
            verb, path, *arguments = words
            steps.append((verb, "" if path == NOWHERE else path, *map(_argument, arguments)))
    return Scene(file.stem, table["domain"].strip(), tuple(steps))


def _argument(word: str) -> object:
    try:
        return json.loads(word)
    except ValueError:
        return word
