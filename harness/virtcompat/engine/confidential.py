"""What looks like a security matter, and is kept out of the project: reports/, golden/ and fixtures/ never hold it.

The rule. A finding is confidential where

- a process died of SIGSEGV or SIGBUS at an address that is not near null (64 KiB), or at one that is no address at all (the
  kernel then names none: freed or overwritten memory was followed as a pointer), or of SIGILL;
- it died of SIGABRT and the C library's checks said why: double free, corrupted heap, smashed stack, overflowed buffer;
- it died of one of these signals, and nobody could look at where (no debugger): what is not known to be harmless is not told;
- a value of the document stands unescaped in what was written of it: markup in a value became markup (injection).

Not confidential are a null pointer, an assertion, a failed allocation, a hang. Who is given a confidential finding is the
user's choice (``--private DIR``, a directory outside the project); without it such findings are counted.
"""

from __future__ import annotations

import re
from pathlib import Path

from lxml import etree

from virtcompat.documents import NotWellFormed, parse
from virtcompat.errors import UsageError
from virtcompat.labs.backtraces import Trace
from virtcompat.store import paths

NEAR = 64 * 1024
#: si_code of a signal that names no address: SI_KERNEL.
NO_ADDRESS = 128
CHECKED = re.compile(
    r"double free|corrupted|invalid (pointer|size|next size)|munmap_chunk|stack smashing|buffer overflow detected|"
    r"(malloc|free|realloc|calloc)\(\):"
)
MEMORY = ("SIGSEGV", "SIGBUS")
SIGNALS = re.compile(r"SIG(SEGV|BUS|ILL)\b")


def memory(trace: Trace | None, said: str) -> str:
    """Why a death is confidential, empty where it is not. trace: None where there is none; said: its answer's message."""
    if CHECKED.search(said) or (trace and CHECKED.search(trace.words)):
        return "the C library found its memory corrupted"
    if trace is None or not trace.signal:
        return "a process died and nobody saw where" if SIGNALS.search(said) or "daemon died" in said else ""
    if trace.signal == "SIGILL":
        return "what was run is no instruction"
    if trace.signal in MEMORY and trace.code == NO_ADDRESS:
        return "a pointer was followed that is no address: memory freed or overwritten"
    if trace.signal in MEMORY and trace.address >= NEAR:
        return f"an address that is not near null: {trace.address:#x}"
    return ""


def injected(text: str, written: str) -> bool:
    """Whether a value of a document stands unescaped in what was written of it."""
    try:
        root = parse(text)
    except NotWellFormed:
        return False
    values = [value for value in _values(root) if re.search(r"[<&'\"]", value)]
    if any(re.search("[<&]", value) and value in written for value in values):
        return True
    if not any(value in written for value in values):
        return False
    try:
        parse(written)
    except NotWellFormed:
        return True
    return False


def _values(root: etree._Element) -> list[str]:
    """Every text and attribute of a document, as meant."""
    found: list[str] = []
    for element in root.iter("*"):
        found += [str(value) for value in element.attrib.values()]
        found += [element.text.strip()] if element.text and element.text.strip() else []
    return found


def proper(folder: Path) -> None:
    """UsageError where a directory for confidential findings is inside the project, or can be read by others."""
    here = folder.resolve()
    for project in _projects():
        if here == project or project in here.parents:
            raise UsageError(f"{folder} is inside the project", "name a directory outside of it")
    if here.is_dir() and here.stat().st_mode & 0o077:
        raise UsageError(
            f"{folder} can be read by others", f"name a directory of your own: chmod 700 {folder}, or a new one"
        )


def _projects() -> list[Path]:
    """What may be published: the data, the package, and the checkout that it runs from, wherever the data are."""
    checkout = paths.PACKAGE.parent.parent
    own = [checkout] if (checkout / "fixtures").is_dir() else []
    return [project.resolve() for project in (paths.data_root(), paths.PACKAGE.parent, *own)]


def outside(folder: Path) -> Path:
    """A directory for confidential findings, made where it is not there. UsageError where it is not :func:`proper`."""
    proper(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
