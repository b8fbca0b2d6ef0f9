"""Part files: what one shard of a run found, lines of JSON with a digest at the end; written as zstd where the name ends in .zst.

{"schema": "virt-compat/part/1", "shard": [2, 5], "inputs": {…}, …}     what was judged, and of what it is a part
{"cell": […], "counts": {…}, …}                                         one line a cell
{"end": {"lines": 980, "digest": "…", …}}                               without it the file is cut off
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from virtcompat.errors import BadData

SCHEMA = "virt-compat/part/1"
AGAIN = "judge this shard again"
#: The first bytes of a zstd frame (RFC 8878, 3.1.1): a part is read whatever it has been named since.
ZSTD = b"\x28\xb5\x2f\xfd"
Record = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Part:
    """A whole part file. digest: of its header and lines, not of what they cost. end: what they cost."""

    file: Path
    header: Record
    digest: str
    end: Record

    def lines(self) -> Iterator[tuple[int, Record]]:
        """(line number, record) of every line between header and end."""
        with _opened(self.file) as raw:
            for number, line in enumerate(raw, 1):
                record = _record(self.file, number, line)
                if number > 1 and "end" not in record:
                    yield number, record


def write(file: Path, header: Record, lines: Iterable[Record], end: Record) -> None:
    """Write a part aside and rename it when whole. end: what it took, which is no part of the digest."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with aside.open("wb") as raw:
            if file.suffix == ".zst":
                with zstandard.ZstdCompressor(level=6).stream_writer(raw) as out:
                    _write(cast("BinaryIO", out), header, lines, end)
            else:
                _write(raw, header, lines, end)
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)


def _write(out: BinaryIO, header: Record, lines: Iterable[Record], end: Record) -> None:
    digest, count = hashlib.sha256(), 0
    for record in ({"schema": SCHEMA, **header}, *lines):
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        digest.update(line)
        out.write(line)
        count += 1
    out.write(json.dumps({"end": {"lines": count, "digest": digest.hexdigest(), **end}}).encode() + b"\n")


def read(file: Path) -> Part:
    """A part, once its end and digest are seen to be right; BadData where it is cut off, altered or something else."""
    digest, number = hashlib.sha256(), 0
    header: Record = {}
    end: object = None
    with _opened(file) as raw:
        for number, line in enumerate(raw, 1):
            if end is not None:
                raise BadData(file, "lines after the end of the part", AGAIN, number)
            record = _record(file, number, line)
            if "end" in record:
                end = record["end"]
                continue
            digest.update(line)
            header = header or record
            if header.get("schema") != SCHEMA:
                raise BadData(file, f"not a part of a matrix ({SCHEMA})", "name files that 'matrix --shard' wrote")
    if not isinstance(end, dict):
        raise BadData(file, "cut off: a part ends with a line that says so", AGAIN, max(number, 1))
    if end.get("digest") != digest.hexdigest() or end.get("lines") != number - 1:
        raise BadData(file, "altered: its digest is another than its last line says", AGAIN, number)
    return Part(file, header, digest.hexdigest(), end)


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    """The bytes of a part, unpacked; a damaged or unreadable file is BadData."""
    try:
        with file.open("rb") as raw:
            if raw.peek(len(ZSTD)).startswith(ZSTD):
                with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as unpacked:
                    yield cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", unpacked)))
            else:
                yield raw
    except (zstandard.ZstdError, OSError) as error:
        raise BadData(file, f"cannot be read: {error}", AGAIN) from error


def _record(file: Path, number: int, line: bytes) -> dict[str, object]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise BadData(file, f"cut off, or not a part: {error}", AGAIN, number) from error
    if not isinstance(record, dict):
        raise BadData(file, "not a part: a line that is no object", "name files that 'matrix --shard' wrote", number)
    return record
