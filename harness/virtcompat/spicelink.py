"""The SPICE link handshake: what a client may say first, well or badly, and what became of it in words.

Numbers and names are those of the wire (spice-protocol's ``protocol.h`` and ``enums.h``), which never change their meaning.
A client says a SpiceLinkHeader (magic, major, minor, size), a SpiceLinkMess (connection id, channel type and id, counts
and offset of capability words) and the words; then which authentication it takes, and its ticket.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MESS = struct.Struct("<IBBIII")
MAIN, DISPLAY = 1, 2
CHANNELS = {
    1: "main", 2: "display", 3: "inputs", 4: "cursor", 5: "playback", 6: "record", 7: "tunnel", 8: "smartcard",
    9: "usbredir", 10: "port", 11: "webdav",
}  # fmt: skip
ERRORS = (
    "OK", "ERROR", "INVALID_MAGIC", "INVALID_DATA", "VERSION_MISMATCH", "NEED_SECURED", "NEED_UNSECURED", "PERMISSION_DENIED",
    "BAD_CONNECTION_ID", "CHANNEL_NOT_AVAILABLE",
)  # fmt: skip
COMMON_CAPABILITIES = ("AUTH_SELECTION", "AUTH_SPICE", "AUTH_SASL", "MINI_HEADER")
#: Channel -> names of its capabilities, bit by bit.
CAPABILITIES = {
    "main": ("SEMI_SEAMLESS_MIGRATE", "NAME_AND_UUID", "AGENT_CONNECTED_TOKENS", "SEAMLESS_MIGRATE"),
    "display": (
        "SIZED_STREAM", "MONITORS_CONFIG", "COMPOSITE", "A8_SURFACE", "STREAM_REPORT", "LZ4_COMPRESSION", "PREF_COMPRESSION",
        "GL_SCANOUT", "MULTI_CODEC", "CODEC_MJPEG", "CODEC_VP8", "CODEC_H264", "PREF_VIDEO_CODEC_TYPE", "CODEC_VP9",
        "CODEC_H265", "GL_SCANOUT2",
    ),
    "inputs": ("KEY_SCANCODE",),
    "playback": ("CELT_0_5_1", "VOLUME", "LATENCY", "OPUS"),
    "record": ("CELT_0_5_1", "VOLUME", "OPUS"),
    "usbredir": ("DATA_COMPRESS_LZ4",),
    "port": ("DATA_COMPRESS_LZ4",),
    "webdav": ("DATA_COMPRESS_LZ4",),
}  # fmt: skip
#: Messages of the main channel that a server sends on its own behalf at the start of a session.
MESSAGES = {
    103: "INIT", 104: "CHANNELS_LIST", 107: "AGENT_CONNECTED", 113: "NAME", 114: "UUID", 115: "AGENT_CONNECTED_TOKENS",
}  # fmt: skip
#: What the first message of a session says of the guest, by position; the others are random or times.
INIT = {1: "display-channels", 2: "mouse-modes", 3: "mouse-mode", 4: "agent", 5: "agent-tokens"}
#: Bits of the common word of a client as they are today: AUTH_SELECTION, AUTH_SPICE, MINI_HEADER.
TODAY, TODAY_MAIN = 0b1011, 0b1111
MINI_HEADER, AUTH_SPICE = 1 << 3, 1
#: What the probe is told of a handshake beside what is said: see there.
FLAGS = ("held", "then", "end", "session", "hold")
#: A message with mini header that a server waits for on a display channel: SPICE_MSGC_DISPLAY_INIT, no caches.
DISPLAY_INIT = struct.pack("<HIBqBi", 101, 14, 1, 0, 1, 0).hex()


def hello(
    *, magic: bytes = b"REDQ", major: int = 2, minor: int = 2, size: int | None = None, connection: int = 0,
    channel: int = MAIN, number: int = 0, common: Sequence[int] = (TODAY,), words: Sequence[int] = (TODAY_MAIN,),
    counts: tuple[int, int] | None = None, offset: int = MESS.size, tail: bytes = b"", cut: int | None = None,
) -> str:  # fmt: skip
    """Hex of what a client says first; every field can be belied.

    words: capabilities of the channel; counts: said to be there, in place of how many there are; tail: behind the
    words; cut: only so many bytes of the whole are said.
    """
    num_common, num_words = counts or (len(common), len(words))
    mess = MESS.pack(connection, channel, number, num_common, num_words, offset)
    body = mess + struct.pack(f"<{len(common) + len(words)}I", *common, *words) + tail
    header = magic + struct.pack("<III", major, minor, len(body) if size is None else size)
    return (header + body)[:cut].hex()


def step(name: str, *, ticket: Any = "", mechanism: int | None = AUTH_SPICE, **said: Any) -> dict[str, Any]:
    """A handshake for the probe. Of ``said`` the probe takes what ``FLAGS`` names, ``hello`` the rest."""
    flags: dict[str, Any] = {flag: said.pop(flag) for flag in FLAGS if flag in said}
    common = said.get("common", (TODAY,))
    flags["mini"] = bool(common and common[0] & MINI_HEADER)
    return {"name": name, "hello": hello(**said), "ticket": ticket, "mechanism": mechanism, **flags}


def outcome(result: Mapping[str, Any]) -> str:
    """What became of a handshake, as a class: ``link ok, auth ok``, ``link error VERSION_MISMATCH``, ``closed`` …"""
    reply, end = result["reply"], str(result["end"])
    if end.startswith("died") or end == "hung":
        return f"server {end}"
    if result.get("line"):
        return "".join(letter if letter.isprintable() else "?" for letter in str(result["line"]))
    if reply is None:
        return end or "an empty line"
    if reply["error"]:
        return f"link error {error(reply['error'])}"
    if "refused" in result:
        return f"link ok, then link error {error(result['refused'])}"
    if result["result"] is None:
        return f"link ok, then {end}"
    if result["result"]:
        return f"link ok, auth error {error(result['result'])}"
    return f"link ok, auth ok, then {end}" if end else "link ok, auth ok"


def error(number: int) -> str:
    return ERRORS[number] if number < len(ERRORS) else str(number)


def capabilities(words: Sequence[int], names: Sequence[str]) -> list[str]:
    """The names of the bits that are set, ``bit 17`` where none is known."""
    bits = [32 * at + bit for at, word in enumerate(words) for bit in range(32) if word >> bit & 1]
    return [names[bit] if bit < len(names) else f"bit {bit}" for bit in bits]


def announced(channel: str, result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The capabilities that the server names in its reply on a channel, as facts."""
    reply = result["reply"]
    if reply is None or reply["error"]:
        return
    for name in capabilities(reply["common"], COMMON_CAPABILITIES):
        yield f"link/channel/{channel}/common/{name}", "announced"
    for name in capabilities(reply["channel"], CAPABILITIES.get(channel, ())):
        yield f"link/channel/{channel}/capability/{name}", "announced"


def session(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the server says of itself and of the guest once a session is open, as facts: nothing that is drawn at random."""
    if result["reply"] is not None:
        yield "link/server/major", str(result["reply"]["major"])
        yield "link/server/minor", str(result["reply"]["minor"])
    for at, name in INIT.items():
        if result["init"]:
            yield f"link/server/{name}", str(result["init"][at])
    for channel, number in result["channels"]:
        yield f"link/channel/{CHANNELS.get(channel, channel)}/listed/{number}", "yes"


def messages(result: Mapping[str, Any]) -> list[str]:
    """The messages of a session that do not depend on time, each once."""
    return sorted({MESSAGES[kind] for kind in result["messages"] if kind in MESSAGES})


def open_steps() -> Iterator[dict[str, Any]]:
    """Handshakes with a server that wants no ticket."""
    yield step("connection/no-session", channel=DISPLAY, connection=1, words=())
    for major, minor in ((0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2), (2, 3), (2, 99), (3, 0), (3, 2), (99, 99)):
        yield step(f"version/{major}.{minor}", major=major, minor=minor)
    yield step("client/usual", session=True)
    yield step("client/no-capabilities", common=(), words=(), mechanism=None, session=True)
    yield step("client/no-auth-selection", common=(0b1010,), mechanism=None, session=True)
    yield step("client/no-mini-header", common=(0b0011,), session=True)
    yield step("client/no-name-and-uuid", words=(0b1101,), session=True)
    yield step("client/every-capability", common=(2**32 - 1,), words=(2**32 - 1,), session=True)
    yield step("client/more-words", common=(11, 0, 1), words=(15, 2**32 - 1, 0, 1), session=True)
    yield step("client/many-words", common=(11,) * 300, words=(15,) * 300, session=True)
    yield step("client/trailing-bytes", tail=b"future", session=True)
    for name, mechanism in (("none", 0), ("sasl", 2), ("unknown", 77)):
        yield step(f"client/mechanism-{name}", mechanism=mechanism)
    yield from _malformed()
    yield {"name": "client/websocket", "hello": _websocket()}
    yield step("connection/main-of-a-migration", connection=7)
    yield step("connection/main", session=True, hold=True)
    yield step("connection/second-main", session=True, hold=True)
    yield step("connection/wrong-id", channel=DISPLAY, connection=0, words=())
    yield step("connection/unknown-number", channel=DISPLAY, number=9, held=True, words=())
    # These stay open to the end: QEMU dies where a client of a display goes away while that channel still starts.
    for number, name in [*CHANNELS.items(), (12, "12"), (99, "99"), (255, "255")]:
        if number != MAIN:
            then = DISPLAY_INIT if number == DISPLAY else ""
            yield step(f"channel/{name}", channel=number, held=True, hold=True, then=then, words=())


def _malformed() -> Iterator[dict[str, Any]]:
    """Handshakes that a server must see through."""
    yield step("malformed/nothing", cut=0, end=True)
    yield step("malformed/half-magic", cut=2, end=True)
    yield step("malformed/half-header", cut=10, end=True)
    yield step("malformed/header-alone", cut=16, end=True)
    yield step("malformed/half-message", cut=25, end=True)
    yield step("malformed/no-words", cut=34, end=True)
    for name, magic in (("other", b"WXYZ"), ("lower-case", b"redq"), ("reversed", b"QDER"), ("vnc", b"RFB ")):
        yield step(f"malformed/magic-{name}", magic=magic)
    for size in (0, 1, 17, 4097, 2**31, 2**32 - 1):
        yield step(f"malformed/size-{size}", size=size)
    yield step("malformed/size-too-large", size=200, end=True)
    for offset in (0, 17, 19, 26, 1000, 2**32 - 1):
        yield step(f"malformed/offset-{offset}", offset=offset)
    for name, counts in (("1025", (1025, 0)), ("too-many", (2, 1)), ("most", (2**32 - 1, 2**32 - 1))):
        yield step(f"malformed/words-{name}", counts=counts)


def _websocket() -> str:
    """Hex of the request of a client in a browser."""
    lines = (
        "GET / HTTP/1.1", "Host: a", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Protocol: binary",
        "Sec-WebSocket-Key: dmlydC1jb21wYXQgc3BpY2U=", "Sec-WebSocket-Version: 13",
    )  # fmt: skip
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode().hex()


def ticket_steps() -> Iterator[dict[str, Any]]:
    """Handshakes with a server that wants a ticket, which it is given on the way."""
    yield step("ticket/none-set", ticket="")
    for name, password in (("first", "secret"), ("second", "Other-1")):
        arguments = {"protocol": "spice", "password": password}
        yield {"name": f"ticket/set-{name}", "qmp": {"execute": "set_password", "arguments": arguments}}
        yield step(f"ticket/{name}-right", ticket=password)
    false = {"wrong": "wrong", "empty": "", "shorter": "Other-", "longer": "Other-12", "former": "secret"}
    for name, ticket in false.items():
        yield step(f"ticket/{name}", ticket=ticket)
    yield step("ticket/not-encrypted", ticket={"raw": b"Other-1".ljust(128, b"\0").hex()})
    yield step("ticket/right-without-auth-selection", ticket="Other-1", common=(8,), mechanism=None)
    arguments = {"protocol": "spice", "time": "1"}
    yield {"name": "ticket/expire", "qmp": {"execute": "expire_password", "arguments": arguments}}
    yield step("ticket/expired", ticket="Other-1")
