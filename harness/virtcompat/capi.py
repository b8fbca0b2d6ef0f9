"""libvirt's own description of its C API (``libvirt-api.xml`` and its like) as facts, in words that no re-spelling changes.

Types are resolved to what they are: ``virDomainPtr`` to ``struct _virDomain *``, ``uint32_t`` to ``unsigned int``,
``char ** *`` to ``char ***``. Names of parameters are nobody's interface and left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from lxml import etree

from virtcompat.documents import NotWellFormed, parse
from virtcompat.errors import BadData

REMEDY = "the file is damaged or cut off: reinstall its package, or build the lab anew"
TOKENS = re.compile(r"\w+|\*|\[[^\]]*\]|\S")
QUALIFIERS = frozenset(("const", "volatile", "restrict"))
FIXED = {"8": "char", "16": "short", "32": "int", "64": "long long"}
FIXED_TYPE = re.compile(r"^(u?)int(8|16|32|64)_t$")
DEEP = 16


@dataclass(frozen=True, slots=True)
class Type:
    """A base type and its pointers; ``const`` and each of ``pointers`` say whether that level may not be written."""

    base: str
    const: bool = False
    pointers: tuple[bool, ...] = ()

    def sealed(self) -> Type:
        """This type, const at its outermost level."""
        if self.pointers:
            return replace(self, pointers=(*self.pointers[:-1], True))
        return replace(self, const=True)

    def unsealed(self) -> Type:
        """This type without const at its outermost level: what a value of a parameter or result is."""
        if self.pointers:
            return replace(self, pointers=(*self.pointers[:-1], False))
        return replace(self, const=False)

    def __str__(self) -> str:
        base = f"const {self.base}" if self.const else self.base
        stars = "".join("* const " if sealed else "*" for sealed in self.pointers).strip()
        return f"{base} {stars}".strip()


def resolved(text: str, aliases: Mapping[str, str], deep: int = 0) -> Type:
    """The type that a spelling means. aliases: typedef name -> what it stands for; an unknown name stands for itself."""
    tokens = TOKENS.findall(text)
    if "(" in tokens or deep > DEEP:
        return Type(" ".join(tokens))
    at = next((i for i, t in enumerate(tokens) if t == "*" or t.startswith("[")), len(tokens))
    words = [t for t in tokens[:at] if t not in QUALIFIERS]
    found = _base(words, aliases, deep)
    if "const" in tokens[:at]:
        found = found.sealed()
    for word in tokens[at:]:
        if word == "*" or word.startswith("["):
            found = replace(found, pointers=(*found.pointers, False))
        elif word == "const":
            found = found.sealed()
    return found


def _base(words: list[str], aliases: Mapping[str, str], deep: int) -> Type:
    if len(words) == 1:
        name = words[0]
        if name in aliases:
            return resolved(aliases[name], aliases, deep + 1)
        if fixed := FIXED_TYPE.match(name):
            words = [*(["unsigned"] if fixed[1] or fixed[2] == "8" else []), FIXED[fixed[2]]]
            return Type("signed char" if name == "int8_t" else " ".join(words))
    if "unsigned" not in words and "signed" not in words and not {"long", "short"} & set(words):
        return Type(" ".join(words))
    core = [w for w in words if w not in ("signed", "unsigned")]
    if "long" in core or "short" in core:
        core = [w for w in core if w != "int"]
    elif "char" in core and "signed" in words:
        core = ["signed", "char"]
    return Type(" ".join((["unsigned"] if "unsigned" in words else []) + sorted(core or ["int"], reverse=True)))


def plain(signature: str) -> str:
    """A signature or type as machine code sees it: without const."""
    return re.sub(r"\* (?=\*)", "*", re.sub(r"\bconst\b ?", "", signature)).strip()


def described(files: Mapping[str, bytes]) -> dict[str, str]:
    """Facts of these descriptions. files: library (``libvirt-qemu``) -> its XML; one may use another's types.

        LIBRARY/function/NAME = int (struct _virDomain *, unsigned int)     (callback alike)
        LIBRARY/typedef/NAME = struct _virDomain *                          (variable alike)
        LIBRARY/enum/TYPE/NAME = 3                                          (LIBRARY/constant/NAME without a type)
        LIBRARY/macro/NAME/parameters = 2     LIBRARY/macro/NAME/text = …   (of those with parameters)
        …/since = 0.9.0

    BadData where a description is no XML or describes no function.
    """
    trees = {library: _symbols(library, data) for library, data in files.items()}
    everything = [element for tree in trees.values() for element in tree]
    aliases = {str(e.get("name")): str(e.get("type")) for e in everything if e.tag in ("typedef", "struct")}
    aliases = {name: f"enum {name}" if target == "enum" else target for name, target in aliases.items()}
    values = {str(e.get("name")): e.get("value", "") for e in everything if e.tag == "enum"}
    return {
        f"{library}/{path}": value
        for library, tree in trees.items()
        for element in tree
        for path, value in _facts(element, aliases, values)
    }


def _symbols(library: str, data: bytes) -> etree._Element:
    name = f"{library}-api.xml"
    try:
        root = parse(data.decode("utf-8"))
    except (NotWellFormed, UnicodeDecodeError) as error:
        raise BadData(name, f"not well-formed XML: {error}", REMEDY) from error
    symbols = root.find("symbols")
    if symbols is None or symbols.find("function") is None:
        raise BadData(name, "describes no function", REMEDY)
    return symbols


def _facts(element: etree._Element, aliases: Mapping[str, str], values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The facts of one symbol, their paths below the library."""
    name, kind, target = element.get("name", ""), str(element.tag), element.get("type", "")
    if kind == "function" or kind == "functype":
        path, value = f"{'function' if kind == 'function' else 'callback'}/{name}", _signature(element, aliases)
    elif kind == "enum":
        path = f"enum/{target}/{name}" if target else f"constant/{name}"
        value = _number(name, values)
    elif kind == "macro":
        path, parameters = f"macro/{name}", element.get("params")
        if parameters is not None:
            yield f"{path}/parameters", str(len([p for p in parameters.split(",") if p.strip()]))
            if text := " ".join(element.get("raw", "").split()):
                yield f"{path}/text", text
        value = ""
    elif target == "enum":  # its values say that it is there
        return
    else:
        path, value = f"{'variable' if kind == 'variable' else 'typedef'}/{name}", str(resolved(target, aliases))
    if value:
        yield path, value
    if since := element.get("version"):
        yield f"{path}/since", since


def _signature(element: etree._Element, aliases: Mapping[str, str]) -> str:
    result = element.find("return")
    returned = resolved(result.get("type", "void") if result is not None else "void", aliases).unsealed()
    given = ", ".join(str(resolved(a.get("type", ""), aliases).unsealed()) for a in element.findall("arg"))
    return f"{returned} ({given or 'void'})"


def _number(name: str, values: Mapping[str, str]) -> str:
    """A value of an enumeration; where it is given as the name of another one, that one's."""
    value, deep = values[name], 0
    while value in values and deep < DEEP:
        value, deep = values[value], deep + 1
    return value
