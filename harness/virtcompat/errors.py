"""The errors that a user can meet, each with the exit code of its kind and the way out.

    VirtCompatError            4  the tool or its surroundings failed
      UsageError               2  the command line asks for something that does not exist
      BadData                  2  a file that was given is wrong: names file, line and remedy
      LabError                 4  a lab could not be built or entered
      NotAsked                 3  nothing was asked, or something required could not be
      Absent                   3  a lab lacks what something is read from; becomes the outcome ``not-here``

Raise these for bad data and for a broken environment. What the world answers is an outcome, not an error.
"""

from __future__ import annotations

from pathlib import Path


class VirtCompatError(Exception):
    """A failure with a message for people, a remedy and an exit code."""

    exit_code = 4

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message


class UsageError(VirtCompatError):
    """The command line names something that does not exist."""

    exit_code = 2


class BadData(VirtCompatError):
    """A file is wrong; the message starts with ``file:line:`` as compilers write it."""

    exit_code = 2

    def __init__(self, file: Path | str, message: str, remedy: str, line: int = 1) -> None:
        super().__init__(f"{file}:{line}: {message}", remedy)
        self.file = Path(file)
        self.line = line


class LabError(VirtCompatError):
    """A lab could not be built or entered."""


class NotAsked(VirtCompatError):
    """Nothing was asked, so nothing can be said."""

    exit_code = 3


class Absent(VirtCompatError):
    """A lab lacks what something is read from: said as ``not-here``, never as an empty record."""

    exit_code = 3
