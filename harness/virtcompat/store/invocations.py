"""Sample command lines: ``fixtures/command-line/<program>.toml``, run on the test driver of every release."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from virtcompat.errors import BadData
from virtcompat.store import paths, tables

KEYS = {"program": str, "options": str, "texts": dict, "invocations": dict}


@dataclass(frozen=True, slots=True)
class Invocation:
    """One command line with what it reads on standard input."""

    name: str
    argv: tuple[str, ...]
    stdin: str


def every() -> list[Invocation]:
    """All sample command lines, sorted by program and name."""
    files = sorted((paths.data_root() / "fixtures" / "command-line").glob("*.toml"))
    return [invocation for file in files for invocation in read(file)]


def read(file: Path) -> list[Invocation]:
    """The command lines of one program: ``name = "arguments"``, where ``< text`` at the end names standard input."""
    table = tables.read(file)
    tables.check_keys(file, table, KEYS, ("program", "invocations"))
    opening = [table["program"], *shlex.split(table.get("options", ""))]
    found = []
    for name, line in sorted(table["invocations"].items()):
        try:
            words = shlex.split(line)
            text = table.get("texts", {})[words.pop()] if words[-2:-1] == ["<"] else ""
        except (AttributeError, KeyError, ValueError) as error:
            at = tables.line_of(file, name)
            raise BadData(file, f"'{name}' is no command line: {error}", "quote it as a shell would", at) from error
        found.append(Invocation(name, (*opening, *(word for word in words if word != "<")), text))
    return found
