"""What help texts say of options: virsh's own form, and the usual ``-x | --long=VALUE`` of everything else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

#: A line of OPTIONS: ``[--domain] <string>``, ``--size <number>``, ``--live``, ``[--codes] <string>...`` and, in 10.2
#: and older, ``<domain>`` for an option whose value may be repeated.
LISTED = re.compile(
    r"^ {4}(?:\[?--(?P<name>[\w.-]+)\]?(?: <(?P<kind>\w+)>)?|<(?P<bare>[\w.-]+)>)(?:\.\.\.)?(?=\s|$)", re.M
)
#: One spelling of an option with what stands for its value: ``-c``, ``--connect=URI``, ``--version[=TYPE]``, ``-p DIR``.
SPELLING = re.compile(r"(?P<name>-\w|--[\w-]+)(?P<value>\[=\w+\]|=\S+| <\w+>| [A-Z]{2,}(?![\w-]))?(?:\||(?=\s|$))")


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a virsh command. kind: flag, string or number."""

    name: str
    kind: str
    required: bool
    repeated: bool


def commands(text: str) -> list[str]:
    """The names of the commands that ``help`` lists."""
    return re.findall(r"^ {4}(\S+)", text, re.MULTILINE)


def options(text: str) -> list[Option]:
    """The options of a virsh command in the order of its help; ValueError where that contradicts itself."""
    parts = re.split(r"^ {2}([A-Z]+)\n", text, flags=re.MULTILINE)
    by_heading = dict(zip(parts[1::2], parts[2::2], strict=True))
    usage = {name: traits for name, *traits in _usage(by_heading.get("SYNOPSIS", ""))}
    listed = list(LISTED.finditer(by_heading.get("OPTIONS", "")))
    names = [found["name"] or found["bare"] for found in listed]
    if set(names) != usage.keys() or "SYNOPSIS" not in by_heading:
        raise ValueError(f"SYNOPSIS and OPTIONS differ in {', '.join(sorted(set(names) ^ usage.keys())) or 'all'}")
    kinds = [found["kind"] or ("string" if found["bare"] else "flag") for found in listed]
    return [Option(name, kind, *usage[name]) for name, kind in zip(names, kinds, strict=True)]


def _usage(synopsis: str) -> Iterator[tuple[str, bool, bool]]:
    """(name, required, repeated) of each argument: ``<domain>``, ``[<file>]``, ``[--size <number>]``, ``--all``,
    ``--condition <string>``, ``[[--new-desc] <string>]...``, ``{[--codes] <string>}...``."""
    for word in _words(synopsis)[1:]:
        name = re.search(r"\w[\w.-]*", word)
        if name:
            yield name[0].rstrip("."), not word.startswith("["), word.endswith("...")


def _words(synopsis: str) -> list[str]:
    """The words of a synopsis; what stands in brackets is one, and so are a bare option and its value."""
    words, depth = [""], 0
    for character in synopsis.strip():
        depth += (character in "[{") - (character in "]}")
        if character == " " and not depth:
            words.append("")
        else:
            words[-1] += character
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].startswith("--") and word.startswith("<"):
            joined[-1] += f" {word}"
        else:
            joined.append(word)
    return joined


def spellings(text: str) -> dict[str, str]:
    """{spelling: flag, value or optional value} of all options that lines of a help text begin with."""
    found: dict[str, str] = {}
    for line in re.findall(r"^[ \t]+(-.*)$", text, re.MULTILINE):
        one = re.sub(r"\s*(?:\||,(?=\s+-))\s*", "|", line)
        names, at = [], 0
        while spelling := SPELLING.match(one, at):
            names.append((spelling["name"], spelling["value"] or ""))
            at = spelling.end()
            if one[at - 1] != "|":
                break
        values = "".join(value for _, value in names)
        kind = "optional value" if "[" in values else "value" if values else "flag"
        found |= dict.fromkeys((name for name, _ in names), kind)
    return found
