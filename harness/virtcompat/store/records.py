"""Records as text: one fact a line, ``path = value``, sorted; in golden/ and, for releases without, in the user's cache."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from virtcompat.errors import BadData
from virtcompat.model import NotHere
from virtcompat.store import golden, paths

SUFFIX = ".txt"
MISSING = ".not-here"
Part = Mapping[str, str] | NotHere


def written(facts: Mapping[str, str]) -> str:
    """The text of a part. BadData where a fact cannot be read back as it is."""
    lines = []
    for path, value in sorted(facts.items()):
        if " =" in path or "\n" in path + value or path != path.strip() or value != value.strip():
            raise BadData(path[:60], "a fact that is no line of text", "this is a mistake in the surface's reader")
        lines.append(f"{path} = {value}".rstrip())
    return "\n".join(lines) + "\n" if lines else ""


def parsed(text: str, file: Path) -> dict[str, str]:
    """The facts of a part's text."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), 1):
        path, equals, value = line.partition(" =")
        if not equals or path in found:
            raise BadData(file, "not a fact 'path = value', or one twice", "git checkout golden/", number)
        found[path] = value.removeprefix(" ")
    if not found:
        raise BadData(file, "an empty record", "git checkout golden/, or record the release again")
    return found


def recorded(release: str, surface: str, parts: tuple[str, ...]) -> dict[str, Part] | None:
    """The golden record of a release's surface, None where it has none."""
    base = golden.folder() / release / surface
    if not base.is_dir():
        return None
    return _golden(base, parts, tuple(file.stat().st_mtime_ns for file in sorted(base.iterdir())))


@lru_cache(maxsize=128)
def _golden(base: Path, parts: tuple[str, ...], _written: tuple[int, ...]) -> dict[str, Part]:
    """A golden record takes part in many pairs: it is read once, for as long as its files stay as they are."""
    return _read(base, parts)


def cached(fingerprint: str, surface: str, parts: tuple[str, ...]) -> dict[str, Part] | None:
    """What this machine read off a lab before, None where it did not."""
    base = _cache(fingerprint, surface)
    return _read(base, parts) if base.is_dir() else None


def keep(fingerprint: str, surface: str, record: Mapping[str, Part]) -> None:
    """Keep what was read off a lab, made aside and renamed when whole."""
    base = _cache(fingerprint, surface)
    base.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{base.name}.", dir=base.parent))
    try:
        _fill(aside, record)
        if not base.is_dir():  # another process may have been first: it read the same
            aside.rename(base)
    except FileExistsError:
        pass
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _fill(aside: Path, record: Mapping[str, Part]) -> None:
    for part, facts in record.items():
        if isinstance(facts, NotHere):
            (aside / (part + MISSING)).write_text(f"{facts.reason}\n{facts.remedy}\n", encoding="utf-8")
        else:
            (aside / (part + SUFFIX)).write_text(written(facts), encoding="utf-8")


def _cache(fingerprint: str, surface: str) -> Path:
    return paths.cache_dir() / "records" / fingerprint[:32] / surface


def _read(base: Path, parts: tuple[str, ...]) -> dict[str, Part]:
    found: dict[str, Part] = {}
    for part in parts:
        file, missing = base / (part + SUFFIX), base / (part + MISSING)
        if file.is_file():
            found[part] = parsed(file.read_text(encoding="utf-8"), file)
        elif missing.is_file():
            reason, _, remedy = missing.read_text(encoding="utf-8").strip().partition("\n")
            found[part] = NotHere(reason, remedy)
    return found
