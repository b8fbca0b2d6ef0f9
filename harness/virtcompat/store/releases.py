"""Releases as data: the four that come with the tool and those that a user added with ``lab add``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from virtcompat.errors import BadData, UsageError
from virtcompat.store import files, paths, tables

KEYS = {
    "name": str, "summary": str, "suite": str, "products": dict, "packages": list, "identity": list,
    "links": dict, "flavours": dict, "lab": dict,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Release:
    """A named set of product versions that run together, and how its lab is made or found.

    identity: glob patterns of the packages that *are* the release (the products and what parses their
    documents); a lab in which one of these has another version is another release.
    lab: how a user's own release is entered: ``{kind = "root", path = …}`` and the like.
    """

    name: str
    summary: str = ""
    suite: str = ""
    flavour: str = ""
    products: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    identity: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    lab: Mapping[str, str] = field(default_factory=dict)
    flavours: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def order(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tables.version(self.products.get(product, "")) for product in ("libvirt", "qemu"))


def _read(file: Path) -> Release:
    table = tables.read(file)
    tables.check_keys(file, table, KEYS, ("name",))
    if table["name"] != file.stem:
        remedy = f'rename the file or set name = "{file.stem}"'
        raise BadData(file, f"name '{table['name']}' differs from the file's", remedy, tables.line_of(file, "name"))
    for key, value in {**table.get("lab", {}), **table.get("products", {})}.items():
        if not isinstance(value, str):
            raise BadData(file, f"'{key}' must be a str", "put it in quotes", tables.line_of(file, key))
    flavours = {name: tuple(extra["packages"]) for name, extra in table.get("flavours", {}).items()}
    return Release(
        name=table["name"],
        summary=table.get("summary", ""),
        suite=table.get("suite", ""),
        products=table.get("products", {}),
        packages=tuple(table.get("packages", ())),
        identity=tuple(table.get("identity", ())),
        links=table.get("links", {}),
        lab=table.get("lab", {}),
        flavours=flavours,
    )


def shipped() -> list[Release]:
    return sorted((_read(f) for f in (paths.PACKAGE / "data" / "releases").glob("*.toml")), key=lambda r: r.order)


def added() -> list[Release]:
    return sorted((_read(f) for f in (paths.config_dir() / "releases").glob("*.toml")), key=lambda r: r.order)


#: The gate's last candidate that was given as a directory, a command or this machine: asked where it is named, and
#: a column of nothing else.
CANDIDATE = "candidate"
#: This process's own candidate, by directory of configuration: another gate may have put its own into the file since.
_own: dict[Path, Release] = {}


def keep(release: Release) -> None:
    """Write a release of the user's own, in place of one of its name."""
    file = paths.config_dir() / "releases" / f"{release.name}.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"name = {json.dumps(release.name)}"]
    for table, values in (("lab", release.lab), ("products", release.products)):
        lines += ["", f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    files.put(file, "\n".join(lines) + "\n")
    if release.name == CANDIDATE:
        _own[paths.config_dir()] = release


def every() -> list[Release]:
    return shipped() + [r for r in added() if r.name != CANDIDATE]


def find(name: str) -> Release:
    """A release by name; ``debian-12-all`` is the flavour ``all`` of ``debian-12``."""
    if name == CANDIDATE and (own := _own.get(paths.config_dir())):
        return own
    for release in shipped() + added():
        if release.name == name:
            return release
        for flavour, packages in release.flavours.items():
            if name == f"{release.name}-{flavour}":
                return replace(release, name=name, flavour=flavour, packages=release.packages + packages, flavours={})
    known = ", ".join(r.name for r in every())
    raise UsageError(f"no release '{name}'", f"use one of: {known}; or add one with 'virt-compat lab add'")
