"""Migration streams: recorded guests, many in one long-window zstd archive, in golden/ and in the user's cache."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard

from virtcompat.errors import BadData
from virtcompat.store import golden, paths

NAME = "streams.tar.zst"
#: Streams of one release differ in little: with a window over all of them most is said once. 2^28 bytes to read it.
WINDOW = 28
LEVEL = 9


@dataclass(frozen=True, slots=True)
class Stream:
    """A stopped guest on its way. variant: how its configuration was written (empty: with a versioned machine type).

    argv: what its QEMU was started with. counter: how far it had come. dump: what it saw of its hardware.
    """

    machine: str
    devices: str
    variant: str
    argv: tuple[str, ...]
    counter: int
    dump: str
    data: bytes

    @property
    def case(self) -> str:
        return f"{self.machine}/{self.devices}"


def file_of(release: str) -> Path:
    return golden.folder() / release / "guest-abi" / NAME


def kept(fingerprint: str) -> Path:
    """Where streams of a release without golden ones are kept, by the digest of its lab and of what recorded them."""
    folder = paths.cache_dir() / "streams"
    folder.mkdir(exist_ok=True)
    return folder / f"{fingerprint[:32]}.tar.zst"


def write(file: Path, streams: Iterable[Stream]) -> None:
    """Write an archive, the same bytes for the same streams; aside first and renamed when whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    parameters = zstandard.ZstdCompressionParameters.from_level(LEVEL, window_log=WINDOW, enable_ldm=True, threads=0)
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    try:
        _archive(aside, compressor, streams)
        aside.rename(file)
    finally:
        aside.unlink(missing_ok=True)


def _archive(aside: Path, compressor: zstandard.ZstdCompressor, streams: Iterable[Stream]) -> None:
    with aside.open("wb") as raw, compressor.stream_writer(raw) as out, tarfile.open(fileobj=out, mode="w|") as tar:
        for stream in streams:
            said = {"machine": stream.machine, "devices": stream.devices, "variant": stream.variant}
            meta = json.dumps({**said, "argv": stream.argv, "counter": stream.counter, "dump": stream.dump}).encode()
            name = "-".join(w for w in (stream.machine, stream.devices, stream.variant) if w)
            for suffix, data in (("json", meta), ("stream", stream.data)):
                member = tarfile.TarInfo(f"{name}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def read(file: Path) -> Iterator[Stream]:
    """The streams of an archive, one at a time; BadData where it is damaged."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << (WINDOW + 1))
    try:
        with (
            file.open("rb") as raw,
            decompressor.stream_reader(raw) as data,
            tarfile.open(fileobj=data, mode="r|") as tar,
        ):
            meta: dict[str, object] = {}
            for member in tar:
                body = tar.extractfile(member)
                content = body.read() if body else b""
                if member.name.endswith(".json"):
                    meta = json.loads(content)
                else:
                    argv = meta["argv"]
                    assert isinstance(argv, list)
                    yield Stream(
                        str(meta["machine"]), str(meta["devices"]), str(meta["variant"]), tuple(argv),
                        int(str(meta["counter"])), str(meta["dump"]), content,
                    )  # fmt: skip
    except (zstandard.ZstdError, tarfile.TarError, ValueError, KeyError, EOFError, OSError) as error:
        raise BadData(
            file, f"not a whole archive of streams: {error}", "git checkout golden/, or record again"
        ) from error
