"""Reading TOML tables with errors that name file, line and remedy."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from virtcompat.errors import BadData

Table = dict[str, Any]


def read(file: Path) -> Table:
    """Parse one TOML file; BadData where it is not UTF-8 or not TOML."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise BadData(file, f"not UTF-8 text: {error.reason}", "save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise BadData(file, f"not valid TOML: {error}", "correct the line", int(line[1]) if line else 1) from error
    except OSError as error:
        raise BadData(file, f"cannot be read: {error.strerror}", "check the path and its permissions") from error


def line_of(file: Path, key: str) -> int:
    """The line on which a key is set, 1 where it is not found."""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if re.match(rf"\s*(\[+\s*)?{re.escape(key)}\b", line):
            return number
    return 1


def check_keys(file: Path, table: Table, allowed: Mapping[str, type], required: tuple[str, ...] = ()) -> None:
    """Refuse unknown keys, wrong types and missing ones."""
    for key, value in table.items():
        if key not in allowed:
            raise BadData(file, f"unknown key '{key}'", f"use one of: {', '.join(allowed)}", line_of(file, key))
        if not isinstance(value, allowed[key]):
            wanted = allowed[key].__name__
            remedy = _written(key, allowed[key]) if allowed[key] in (list, dict) else "correct the value"
            raise BadData(file, f"'{key}' must be a {wanted}", remedy, line_of(file, key))
    for key in required:
        if key not in table:
            raise BadData(file, f"'{key}' is missing", _written(key, allowed[key]))


def _written(key: str, kind: type) -> str:
    """How a key of this type is written. A list may be one of tables or of words: which it is, its reader knows."""
    if kind is list:
        return f'begin one with [[{key}]], or write {key} = ["…"] where it is a list of words'
    return f"begin it with [{key}]" if kind is dict else f"add a line '{key} = …'"


@cache
def version(text: str) -> tuple[int, ...]:
    """A version as numbers that compare: ``11.3.0`` -> (11, 3), ``7.2`` -> (7, 2); what follows numbers is ignored.

    Zeros at the end are dropped, so that 7.2 and 7.2.0 are one version.
    """
    numbers = re.match(r"[0-9]+(\.[0-9]+)*", text)
    parts = [int(part) for part in numbers[0].split(".")] if numbers else []
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return tuple(parts)
