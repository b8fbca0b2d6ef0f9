"""Layers of a libvirt source tree: which driver's directory uses another driver's, and whether the rule allows it.

The rule is libvirt's own (``src/README``): hypervisor and secondary drivers can be modules, so none may depend on another;
allowed are the public API, util, conf and what is made for sharing. Which directory is what is data (``Rules``). A use is
an ``#include`` of another directory's header, or a build file (meson, automake) that names another directory's variable,
library, include path or source. ``sources`` gives the texts; this is pure.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from virtcompat import sources
from virtcompat.errors import BadData
from virtcompat.store import paths, tables

ROOT = "."  # src/ itself
CODE = re.compile(r"^src/.+\.(c|h|y|l)(\.in)?$")
BUILD = re.compile(r"^src/(.+/)?(meson\.build|Makefile\.am|Makefile\.inc\.am)$")
#: Whatever else a header can be generated from.
GENERATED = re.compile(r"^src/.+\.x$")
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
REMEDY = "name a libvirt source tree: a directory with src/libvirt.c, its tarball or its .dsc file"


@dataclass(frozen=True, slots=True)
class Allowance:
    """Uses that are accepted against the letter of the rule: patterns of who, whom and what, and the reason."""

    users: tuple[str, ...]
    used: tuple[str, ...]
    what: tuple[str, ...]
    reason: str

    def covers(self, use: Use) -> bool:
        named = ((self.users, use.user), (self.used, use.used), (self.what, use.what))
        return all(any(fnmatchcase(word, pattern) for pattern in patterns) for patterns, word in named)


@dataclass(frozen=True, slots=True)
class Rules:
    """What each directory is. flat: driver -> patterns of its files in trees without directories; modules: name of a
    library -> its driver's directory, where they differ.
    """

    hypervisor: tuple[str, ...]
    secondary: tuple[str, ...]
    shared: Mapping[str, str]
    flat: Mapping[str, tuple[str, ...]]
    modules: Mapping[str, str]
    allowances: tuple[Allowance, ...]

    @property
    def drivers(self) -> frozenset[str]:
        return frozenset((*self.hypervisor, *self.secondary))

    def owner(self, path: str) -> str:
        """The directory below src/ that a file belongs to, ``.`` for src/ itself."""
        folder, _, rest = path.removeprefix("src/").partition("/")
        if rest:
            return folder
        return next((d for d, names in self.flat.items() if any(fnmatchcase(folder, n) for n in names)), ROOT)


@dataclass(frozen=True, order=True, slots=True)
class Use:
    """One place where a directory uses another. kind: ``includes`` or ``builds with``; what: as it is written there."""

    user: str
    used: str
    kind: str
    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.user} {self.kind} {self.what} of {self.used}"


@dataclass(frozen=True, slots=True)
class Layers:
    """What a tree shows. uses: every use of a driver's directory by another directory, in order; unknown: directories
    with sources that the rules do not name; allowed: use -> the reason why it is no violation.
    """

    tree: str
    drivers: tuple[str, ...]
    uses: tuple[Use, ...]
    unknown: tuple[str, ...]
    allowed: Mapping[Use, str]

    @property
    def violations(self) -> tuple[Use, ...]:
        return tuple(use for use in self.uses if use not in self.allowed)

    @property
    def users(self) -> tuple[str, ...]:
        """The rows of the table: every driver, and whoever else uses one."""
        return tuple(sorted({*self.drivers, *(use.user for use in self.uses)}))

    def cell(self, user: str, used: str) -> tuple[Use, ...]:
        """The uses behind one cell of the driver x driver table."""
        return tuple(use for use in self.uses if (use.user, use.used) == (user, used))


def load(file: Path | None = None) -> Rules:
    """The rules of a file, of ``suites/layering/libvirt.toml`` if none is named; BadData where it is wrong."""
    file = file or paths.data_root() / "suites" / "layering" / "libvirt.toml"
    table = tables.read(file)
    wanted = {"hypervisor": list, "secondary": list, "shared": dict, "flat": dict, "modules": dict, "exceptions": list}
    tables.check_keys(file, table, wanted, ("hypervisor", "secondary", "shared"))
    lists = {"from": list, "to": list, "what": list, "reason": str}
    for each in table.get("exceptions", ()):
        tables.check_keys(file, each, lists, tuple(lists))
    if double := {*table["hypervisor"], *table["secondary"]} & set(table["shared"]):
        raise BadData(file, f"{', '.join(sorted(double))}: a driver and shared", "name each directory once")
    return Rules(
        tuple(table["hypervisor"]),
        tuple(table["secondary"]),
        table["shared"],
        {driver: tuple(names) for driver, names in table.get("flat", {}).items()},
        table.get("modules", {}),
        tuple(
            Allowance(tuple(e["from"]), tuple(e["to"]), tuple(e["what"]), e["reason"])
            for e in table.get("exceptions", ())
        ),
    )


def analyse(tree: Path, rules: Rules | None = None) -> Layers:
    """The layers of a directory, a tarball or a Debian source package."""
    texts = sources.texts(tree, lambda name: any(kind.search(name) for kind in (CODE, BUILD, GENERATED)))
    return layers(tree.name, texts, rules or load())


def layers(tree: str, texts: Mapping[str, str], rules: Rules) -> Layers:
    """The layers of texts by path. BadData where they are no libvirt tree, or one without a driver."""
    owners = {path: rules.owner(path) for path in texts}
    drivers = sorted(set(owners.values()) & rules.drivers)
    if not any(path.startswith("src/libvirt") for path in texts) or not drivers:
        raise BadData(tree, "not a libvirt source tree: no src/libvirt*.c, or no driver's sources", REMEDY)
    found = {
        use
        for use in (*_includes(texts, owners, rules), *_meson(texts, owners), *_automake(texts, owners, rules))
        if use.used in drivers and use.user != use.used
    }
    uses = tuple(sorted(found))
    unknown = sorted(set(owners.values()) - rules.drivers - rules.shared.keys())
    reasons = ((use, next((a.reason for a in rules.allowances if a.covers(use)), "")) for use in uses)
    return Layers(tree, tuple(drivers), uses, tuple(unknown), {use: reason for use, reason in reasons if reason})


def _includes(texts: Mapping[str, str], owners: Mapping[str, str], rules: Rules) -> Iterator[Use]:
    by_name: dict[str, set[str]] = {}
    for path, owner in owners.items():
        name = posixpath.basename(path).removesuffix(".in")
        by_name.setdefault(name, set()).add(owner)
        if GENERATED.search(path):
            by_name.setdefault(f"{name.removesuffix('.x')}.h", set()).add(owner)
    folders = set(owners.values())
    for path in texts:
        if CODE.search(path):
            for line, text in enumerate(texts[path].splitlines(), 1):
                if found := INCLUDE.match(text):
                    used = _included(found[1], path, owners[path], by_name, folders, rules)
                    if used:
                        yield Use(owners[path], used, "includes", path, line, found[1])


def _included(name: str, path: str, own: str, by_name: Mapping[str, set[str]], folders: set[str], rules: Rules) -> str:
    """The directory that an included file belongs to; empty where it is none of the tree's.

    As the compiler looks for it: with its directory from src/ on, else beside the file, else along the include
    paths, where shared directories come before a driver's.
    """
    if name.startswith("."):
        name = posixpath.normpath(posixpath.join(posixpath.dirname(path), name)).removeprefix("src/")
    if "/" in name:
        folder = name.partition("/")[0]
        return folder if folder in folders else ""
    candidates = by_name.get(name, set())
    if own in candidates:
        return own
    return min(candidates, key=lambda owner: (owner in rules.drivers, owner), default="")


def _meson(texts: Mapping[str, str], owners: Mapping[str, str]) -> Iterator[Use]:
    """Uses of variables that one other directory alone assigns, and of paths into another directory."""
    files = {path: _without_comments(text) for path, text in texts.items() if path.endswith("/meson.build")}
    assigned: dict[str, set[str]] = {}
    for path, text in files.items():
        for name in re.findall(r"^\s*([A-Za-z_]\w*)\s*\+?=(?!=)", text, re.MULTILINE):
            assigned.setdefault(name, set()).add(owners[path])
    for path, text in files.items():
        for line, words in enumerate(text.splitlines(), 1):
            for folder in re.findall(r"'(?:\.\.'\s*/\s*'|\.\./)(\w+)", words):
                yield Use(owners[path], folder, "builds with", path, line, f"../{folder}")
            for name in re.findall(r"\b([A-Za-z_]\w*)\b(?!\s*:)", re.sub(r"'[^']*'", "''", words)):
                makers = assigned.get(name, set())
                if len(makers) == 1 and owners[path] not in makers:
                    yield Use(owners[path], min(makers), "builds with", path, line, name)


def _automake(texts: Mapping[str, str], owners: Mapping[str, str], rules: Rules) -> Iterator[Use]:
    """Include paths, convenience libraries and sources of another directory in a driver's variables."""
    for path, text in texts.items():
        if not path.endswith(("/Makefile.am", "/Makefile.inc.am")):
            continue
        user, going_on = owners[path], False
        for line, words in enumerate(_without_comments(text).splitlines(), 1):
            if not going_on:
                assignment = re.match(r"\s*(\w+)\s*\+?=", words)
                user = _target(assignment[1], owners[path], rules) if assignment else ROOT
            going_on = words.endswith("\\")
            if user != ROOT:
                yield from (Use(user, used, "builds with", path, line, what) for used, what in _built(words, rules))


def _target(variable: str, own: str, rules: Rules) -> str:
    """Whose a variable is: of the library that it makes, or of the directory that the file is for."""
    library = re.match(r"(?:nodist_)?libvirt_(?:driver_)?(\w+?)(?:_impl)?_la_[A-Z]", variable)
    named = _module(library[1], rules) if library else ""
    sources_of = re.match(r"([A-Z_]+?)_DRIVER_(?:\w+_)?SOURCES$", variable)
    return named or (_module(sources_of[1].lower(), rules) if sources_of else "") or own


def _module(name: str, rules: Rules) -> str:
    """The driver's directory that a library's name stands for: vbox_network for vbox, qemu for qemu; empty for none."""
    known = {**{driver: driver for driver in rules.drivers}, **rules.modules}
    fitting = [word for word in known if name == word or name.startswith(f"{word}_")]
    return known[max(fitting, key=len)] if fitting else ""


def _built(words: str, rules: Rules) -> Iterable[tuple[str, str]]:
    for folder in re.findall(r"-I\s*[$@(]+(?:top_)?(?:src|build)dir[)@]/(?:src/)?(\w+)", words):
        yield folder, f"-I {folder}"
    for name in re.findall(r"\blibvirt_driver_(\w+?)(?:_impl)?\.la\b", words):
        yield _module(name, rules), f"libvirt_driver_{name}.la"
    for folder, file in re.findall(r"(?<![\w/.])(\w+)/(\w[\w.-]*\.[ch])\b", words):
        yield folder, f"{folder}/{file}"


def _without_comments(text: str) -> str:
    """The text with its lines kept: whole lines of comment are emptied."""
    return re.sub(r"(?m)^[ \t]*#.*$", "", text)
