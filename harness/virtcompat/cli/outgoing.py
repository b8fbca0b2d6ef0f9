"""The files that a command is told to write: looked at before any work, replaced as a whole, never somebody else's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from virtcompat.errors import UsageError, VirtCompatError
from virtcompat.outputs import json
from virtcompat.store import files

OTHER = "name another file with --verdict"


def checked(outputs: Iterable[Path]) -> None:
    """UsageError for a directory, one in a directory that is not there, or a file that two things would go into."""
    seen: set[Path] = set()
    for file in outputs:
        if not file.absolute().parent.is_dir():
            raise UsageError(f"{file}: no such directory", "make it first")
        if file.is_dir():
            raise UsageError(f"{file} is a directory", "name a file in it")
        if file.resolve() in seen and not _device(file):
            raise UsageError(f"{file}: two outputs would go into this file", "give each a file of its own")
        seen.add(file.resolve())


def outdate(file: Path) -> None:
    """Remove a verdict of an earlier run. UsageError for a file that is none; what is no regular file is left as it is."""
    checked([file])
    if _device(file) or not file.exists():
        return
    try:
        text = file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}", OTHER) from error
    # One that was cut off is a verdict as well.
    if text and not (text.startswith("{") and f'"{json.SCHEMA}"' in text[:99]):
        raise UsageError(f"{file} is there and is no verdict: it is not replaced", OTHER)
    file.unlink()


def put(file: Path, text: str) -> None:
    """Write a file whole or not at all; a device or pipe is written into. VirtCompatError where it cannot be."""
    try:
        if _device(file):
            file.write_text(text, encoding="utf-8")
        else:
            files.put(file, text)
    except OSError as error:
        raise VirtCompatError(f"{file}: cannot be written: {error.strerror}", "name another file") from error


@contextmanager
def unheard() -> Iterator[None]:
    """What is printed to somebody who has gone is dropped: the command's own exit code stands."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        mute()


def mute() -> None:
    """Drop what is still to be printed: nobody reads it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _device(file: Path) -> bool:
    return file.exists() and not file.is_file()
