"""This machine's C compiler, put to a lab's headers: layouts by DWARF, values of macros. Says so where there is none."""

from __future__ import annotations

import ast
import posixpath
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from virtcompat.errors import Absent, LabError

MARK = "virt_compat_macro"
DEFINITION = re.compile(r"#define ([A-Za-z_]\w*)(\(?)")
MARKER = re.compile(r'# \d+ "([^"]*)"')
#: What C writes around a number and Python does not: suffixes and casts to integer types.
SUFFIX = re.compile(r"\b(0[xX][0-9a-fA-F]+|\d+)[uUlL]+\b")
OCTAL = re.compile(r"(?<![\w.])0([0-7]+)(?![\w.])")
CAST = re.compile(r"\(\s*(?:(?:unsigned|signed|long|int|short|char|u?int(?:8|16|32|64)_t|u?intptr_t|size_t)\s*)+\)")
NODES = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.Constant, ast.Add, ast.Sub, ast.Mult, ast.LShift, ast.RShift, ast.BitOr,
    ast.BitAnd, ast.BitXor, ast.Invert, ast.USub, ast.UAdd,
)  # fmt: skip


def layouts_of(files: Mapping[str, bytes], source: str, flags: Sequence[str] = ()) -> bytes:
    """``source`` compiled and linked, with every type of what it includes described (-g).

    files: the lab's headers by absolute path; they lie in the compiler's working directory by their path without
    the leading slash, so that a declaration's file is for example ``usr/include/libvirt/libvirt-domain.h``.
    """
    with _prepared(files, source) as folder:
        # Linked: to relocate an object file's debugging information takes Python longer than all the rest.
        link = ["-shared", "-nostdlib", "-fPIC", "-o", "unit.so"]
        _compile(folder, [*link, "-g", "-gdwarf-4", "-fno-eliminate-unused-debug-types", *flags])
        return (folder / "unit.so").read_bytes()


def macros_of(files: Mapping[str, bytes], source: str, flags: Sequence[str] = ()) -> dict[str, tuple[str, str]]:
    """name -> (file it is defined in, value) of every macro without parameters that these headers define.

    value: an integer in decimals where the expansion is one, else the expansion's text.
    """
    with _prepared(files, source) as folder:
        defined: dict[str, str] = {}
        current = ""
        for line in _compile(folder, ["-E", "-dD", *flags]).splitlines():
            if marker := MARKER.match(line):
                current = posixpath.normpath(marker[1])
            elif (found := DEFINITION.match(line)) and not found[2] and f"/{current}" in files:
                defined[found[1]] = current
        text = source + "".join(f'\n{MARK} "{name}" {name}' for name in defined)
        (folder / "unit.c").write_text(text, encoding="utf-8")
        expanded = _compile(folder, ["-E", "-P", *flags])
    values = {}
    for part in expanded.split(MARK + ' "')[1:]:
        name, _, value = part.partition('"')
        values[name] = (defined[name], integer(" ".join(value.split())))
    return values


def integer(text: str) -> str:
    """The decimal of a constant integer expression of C; any other text as it is."""
    plain = OCTAL.sub(r"0o\1", SUFFIX.sub(r"\1", CAST.sub("", text)))
    try:
        tree = ast.parse(plain.strip(), mode="eval")
        if not all(isinstance(node, NODES) for node in ast.walk(tree)):
            return text
        value = eval(compile(tree, "macro", "eval"), {"__builtins__": {}})  # noqa: S307 - only NODES above
    except (SyntaxError, ValueError, TypeError, OverflowError, MemoryError, RecursionError):
        return text
    return str(value) if isinstance(value, int) else text


@contextmanager
def _prepared(files: Mapping[str, bytes], source: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="virt-compat-") as name:
        folder = Path(name)
        for path, data in files.items():
            file = folder / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        (folder / "unit.c").write_text(source, encoding="utf-8")
        yield folder


def _compile(folder: Path, flags: Sequence[str]) -> str:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Absent("no C compiler on this machine", "apt-get install gcc libc6-dev")
    command = [compiler, "-w", "-Iusr/include", *flags, "unit.c"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired as error:
        raise LabError("the C compiler did not end within 120 s", "try again on an idle machine") from error
    if done.returncode:
        said = "\n".join(done.stderr.splitlines()[:6])
        raise LabError(f"these headers do not compile:\n{said}", "are all headers of their package in the lab?")
    return done.stdout
