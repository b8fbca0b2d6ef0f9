"""The folder is the list: every module of a family's package is one member, found by its one typed constant."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import Any

from virtcompat.errors import UsageError


@cache
def members(package: str, constant: str) -> dict[str, Any]:
    """name -> member, in the order of their names. The file ``a_b.py`` holds the member called ``a-b``."""
    folder: ModuleType = importlib.import_module(package)
    names = sorted(info.name for info in pkgutil.iter_modules(folder.__path__) if not info.name.startswith("_"))
    found = {}
    for name in names:
        member = getattr(importlib.import_module(f"{package}.{name}"), constant)
        if member.name != name.replace("_", "-"):
            raise TypeError(f"{package}.{name}: its {constant} is called '{member.name}'")
        found[member.name] = member
    return found


def choose(package: str, constant: str, names: tuple[str, ...], word: str) -> dict[str, Any]:
    """The members of these names (all where none is named); UsageError for a name that is none of them."""
    every = members(package, constant)
    for name in names:
        if name not in every:
            raise UsageError(f"no {word} '{name}'", f"use one of: {', '.join(every)}")
    return {name: every[name] for name in every if not names or name in names}
