"""What libvirtd does with messages that no client sends: wrong, cut, oversized, out of order, with files, garbage for arguments.

A peer of another version is such a client: it calls procedures, sets flags and passes descriptors that this daemon has never
heard of. Whatever comes, the connection must go on or be closed, and the daemon must live; how it says no must not change.
The release's own session libvirtd is spoken to byte by byte (``probes/wire_probe.py``), its test driver behind it. Every
procedure that the release's Wireshark plugin names is called with arguments that are none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from virtcompat import dissector
from virtcompat.labs.visit import Visit, one
from virtcompat.model import Change, Finding, Tier
from virtcompat.surfaces import RecordedSurface

PLUGIN = "/usr/lib/*/wireshark/plugins/*/epan/libvirt.so"
PROBE, LIMIT = "wire_probe.py", 300.0
REMOTE, KEEPALIVE = 0x20008086, 0x6B656570
CALL, REPLY, EVENT, STREAM, CALL_FILES, REPLY_FILES, HOLE = range(7)
OK, ERROR, CONTINUE = range(3)
OPEN, CLOSE, LOOK_UP, AUTH_LIST, SASL_INIT, SASL_START, POLKIT, OF_AN_EVENT, LIB_VERSION, WITH_FILES, UNKNOWN = (
    1, 2, 23, 66, 67, 68, 70, 107, 157, 309, 99999,
)  # fmt: skip
PING, PONG = 1, 2
#: The longest string of the protocol, and the most files that go with a message.
STRING, FILES = 4194304, 32
DOMAIN = b"<domain type='test'><name>two</name><memory>65536</memory><os><type>hvm</type></os></domain>"
#: Put to every procedure as its arguments.
GARBAGE = {
    "nothing": b"", "zeros": bytes(128), "ones": b"\xff" * 128, "counting": bytes(range(128)),
    "a-long-list": struct.pack(">I", 0x00FFFFFF) * 32,
}  # fmt: skip
#: What a connection is no good for anything after.
LOST = ("silent", "out of step")
Question = dict[str, Any]


def _message(
    procedure: int, payload: bytes = b"", program: int = REMOTE, version: int = 1, kind: int = CALL, serial: int = 1,
    status: int = OK, length: int | None = None,
) -> bytes:  # fmt: skip
    """A message: its length, six words of header, what follows. length: another one than it has."""
    body = struct.pack(">IIiiII", program, version, procedure, kind, serial, status) + payload
    return struct.pack(">I", len(body) + 4 if length is None else length) + body


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


def _asked(name: str, data: bytes, then: str = "call", state: str = "opened", **more: int) -> Question:
    return {"name": name, "data": data.hex(), "then": then, "state": state, "serial": 1, **more}


def header() -> Iterator[Question]:
    """Headers that are wrong in one field."""
    for name, program in {"unknown": 0x12345678, "zero": 0}.items():
        yield _asked(f"program/{name}", _message(LIB_VERSION, program=program))
    for name, version in {"zero": 0, "two": 2, "largest": 0xFFFFFFFF}.items():
        yield _asked(f"version/{name}", _message(LIB_VERSION, version=version))
    for name, procedure in {"zero": 0, "unknown": UNKNOWN, "negative": -1, "of-an-event": OF_AN_EVENT}.items():
        yield _asked(f"procedure/{name}", _message(procedure))
    for name, serial in {"zero": 0, "largest": 0xFFFFFFFF}.items():
        yield _asked(f"serial/{name}", _message(LIB_VERSION, serial=serial), serial=serial)
    yield _asked("serial/twice", _message(LIB_VERSION) * 2)
    for name, status in {"error": ERROR, "continue": CONTINUE, "unknown": 99}.items():
        yield _asked(f"status/{name}", _message(LIB_VERSION, status=status))
    more = {REPLY_FILES: bytes(4), HOLE: struct.pack(">qI", 8, 0)}
    kinds = {"reply": REPLY, "event": EVENT, "stream": STREAM, "hole": HOLE, "reply-with-files": REPLY_FILES}
    for name, kind in {**kinds, "unknown": 99, "negative": -1}.items():
        payload = more.get(kind, b"")
        yield _asked(f"type/{name}", _message(LIB_VERSION, payload, kind=kind))
        yield _asked(f"type/{name}-of-unknown-procedure", _message(UNKNOWN, payload, kind=kind))


def length() -> Iterator[Question]:
    """Lengths that cannot be, messages that end too early, and what is no message."""
    for said in (0, 1, 4, 27):
        yield _asked(f"length/{said}", _message(LIB_VERSION, length=said), "end")
    yield _asked("length/header-alone", _message(LIB_VERSION, length=28))
    yield _asked("length/not-a-multiple-of-four", _message(LIB_VERSION, b"\0"))
    yield _asked("length/half-of-all", _message(LIB_VERSION, length=0x80000000), "wait")
    yield _asked("length/all", _message(LIB_VERSION, length=0xFFFFFFFF), "wait")
    whole = _message(LOOK_UP, _string(b"one"))
    for name, cut in {"nothing": 0, "length": 2, "header": 12, "payload": len(whole) - 2}.items():
        yield _asked(f"truncated/{name}", whole[:cut], "end")
    yield _asked("other/http", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "end")
    yield _asked("other/tls", bytes.fromhex("16030100c8010000c40303") + bytes(range(190)), "end")
    yield _asked("pieces/two-at-once", _message(LIB_VERSION, serial=7) + _message(LIB_VERSION))


def payload() -> Iterator[Question]:
    """Arguments that cannot be read, or hold what they should not. The procedure takes one string."""
    strings = {
        "": _string(b"one"), "-cut": struct.pack(">I", 8) + b"one\0", "-without-end": b"\xff\xff\xff\xff" + b"one\0",
        "-with-zero": _string(b"o\0ne"), "-not-unicode": _string(b"\xff\xfe"), "-empty": _string(b""),
    }  # fmt: skip
    for name, data in strings.items():
        yield _asked(f"payload/string{name}", _message(LOOK_UP, data))
    for name, size in {"largest": STRING, "too-large": STRING + 4}.items():
        data = _message(LOOK_UP, struct.pack(">I", size), length=32 + size)
        yield _asked(f"payload/string-{name}", data, fill=size, byte=ord("x"))
    yield _asked("payload/padding-not-zero", _message(LOOK_UP, struct.pack(">I", 3) + b"one\x01"))
    yield _asked("payload/more-than-asked", _message(LOOK_UP, _string(b"one") + b"more"))
    yield _asked("payload/none", _message(LOOK_UP))
    yield _asked("payload/where-none-belongs", _message(LIB_VERSION, bytes(64)))
    yield _asked(
        "payload/optional-of-two", _message(OPEN, struct.pack(">I", 2) + _string(b"test:///default") + bytes(4))
    )
    data = _message(LOOK_UP, _string(b"one"))
    yield _asked("payload/large", _message(LOOK_UP, _string(b"one"), length=len(data) + (8 << 20)), fill=8 << 20)


def order() -> Iterator[Question]:
    """Calls before a connection is opened, and after it is closed."""
    name = struct.pack(">I", 1) + _string(b"test:///default") + bytes(4)
    sasl = _string(b"PLAIN") + bytes(8)
    first = {
        "call": _message(LIB_VERSION), "open": _message(OPEN, name), "auth-list": _message(AUTH_LIST),
        "sasl-init": _message(SASL_INIT), "sasl-start": _message(SASL_START, sasl), "polkit": _message(POLKIT),
        "ping": _message(PING, program=KEEPALIVE, kind=EVENT),
    }  # fmt: skip
    for called, data in first.items():
        yield _asked(f"order/{called}-first", data, state="new")
    yield _asked("order/call-without-open", _message(LOOK_UP, _string(b"one")), state="authenticated")
    yield _asked("order/auth-list-again", _message(AUTH_LIST))
    yield _asked("order/open-again", _message(OPEN, name))
    yield _asked("order/close", _message(CLOSE), "wait")
    yield _asked("order/close-twice", _message(CLOSE, serial=5) + _message(CLOSE), "wait")


def files() -> Iterator[Question]:
    """Messages that announce descriptors, and descriptors that nobody announced."""
    create = _string(DOMAIN) + bytes(4)

    def announcing(number: int, procedure: int = WITH_FILES, arguments: bytes = create) -> bytes:
        return _message(procedure, struct.pack(">I", number) + arguments, kind=CALL_FILES)

    for name, number in {"none": 0, "one": 1, "most": FILES, "too-many": FILES + 1}.items():
        yield _asked(f"files/{name}", announcing(number), files=number)
    yield _asked("files/announced-and-missing", announcing(1), "end")
    yield _asked("files/announced-far-too-many", announcing(0xFFFFFFFF), "end", files=1)
    yield _asked("files/more-than-announced", announcing(1), "end", files=3)
    yield _asked("files/in-an-ordinary-call", _message(LIB_VERSION), "end", files=1)
    yield _asked("files/to-who-takes-none", announcing(1, LIB_VERSION, b""), files=1)
    yield _asked("files/to-an-unknown-procedure", announcing(1, UNKNOWN, b""), files=1)


def keepalive() -> Iterator[Question]:
    """The keepalive program, used otherwise than by a ping now and then."""
    yield _asked("keepalive/ping", _message(PING, program=KEEPALIVE, kind=EVENT))
    yield _asked("keepalive/pong-unasked", _message(PONG, program=KEEPALIVE, kind=EVENT))
    yield _asked("keepalive/unknown-procedure", _message(9, program=KEEPALIVE, kind=EVENT))
    yield _asked("keepalive/ping-as-call", _message(PING, program=KEEPALIVE))
    yield _asked("keepalive/ping-with-payload", _message(PING, bytes(16), program=KEEPALIVE, kind=EVENT))
    yield _asked("keepalive/version-two", _message(PING, program=KEEPALIVE, version=2, kind=EVENT))


GROUPS = (header, length, payload, order, files, keepalive)


def messages(visit: Visit) -> dict[str, str]:
    """``procedure/unknown = error 39 from 7, goes on``, ``keepalive/who-does-not-answer = dropped``, ``feature/10 = yes``."""
    asked = [question for group in GROUPS for question in group()]
    return _answered(visit, {"messages": asked, "procedures": {}, "conduct": True})


def arguments(visit: Visit) -> dict[str, str]:
    """``garbage/remote/DOMAIN_CREATE = not read, goes on``; below it what only one kind of garbage comes to."""
    ((path, data),) = one(visit, "Wireshark plugin of libvirt", "libvirt-wireshark", PLUGIN).items()
    plugin = dissector.plugin(data, path)
    known = {
        f"{program}/{name}": (plugin.programs[program], number)
        for program, table in sorted(plugin.procedures.items())
        for name, number in sorted(table.items())
        # Whatever comes with a request to close, the connection is closed, sooner or later.
        if program != "keepalive" and name != "CONNECT_CLOSE"
    }
    return _answered(visit, {"messages": [], "procedures": known, "conduct": False})


def _answered(visit: Visit, request: Question) -> dict[str, str]:
    garbage = {name: data.hex() for name, data in GARBAGE.items()}
    return dict(visit.ask(PROBE, {"op": "probe", "garbage": garbage, **request}, LIMIT)["facts"])


def fatal(old: Mapping[str, str], new: Mapping[str, str], _back: bool) -> Iterator[Finding]:
    """A daemon that ends where it lived, or a connection that nobody understands where it went on: worse than other words."""
    for path, value in new.items():
        before = old.get(path, "")
        if value.startswith("DAEMON") and not before.startswith("DAEMON"):
            yield Finding(path, Change.CRASHED, Tier.BREAK, before, value, "libvirt")
        elif value.endswith(LOST) and before and not before.endswith(LOST):
            yield Finding(path, Change.HUNG, Tier.BREAK, before, value, "libvirt")


#: A client that goes on to a newer daemon: what went on must go on; another error is another word for no.
RULES = (
    (r"^garbage/[^/]+/[^/]+/", Tier.RISK, Tier.RISK, Tier.RISK),
    (r"^length/largest$", Tier.RISK, Tier.ADDITION, Tier.BREAK),
    (r"^feature/", Tier.RISK, Tier.ADDITION, Tier.BREAK),
    (r"", Tier.RISK, Tier.ADDITION, Tier.RISK),
)

SURFACE = RecordedSurface(
    name="rpc-daemon",
    summary="What libvirtd does with messages that no client of its version sends: it says no, or closes, and lives",
    product="libvirt",
    parts={"messages": messages, "arguments": arguments},
    rules=RULES,
    interface=r"garbage/[^/]+/[^/]+|[^/]+/[^/]+",
    special=fatal,
)
