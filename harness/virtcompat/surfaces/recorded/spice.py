"""SPICE: what libspice-server offers to QEMU, its compat-version contract, and how a server of a release greets clients.

The contract is that of 2010, made for clusters that are upgraded a few machines at a time: a server can be told to
behave like an older version (``spice_server_set_compat_version``); what is newer than itself it must refuse, and what
an upgraded machine's predecessor called its current version it must go on accepting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from virtcompat import dwarf, elf, spicelink
from virtcompat.errors import BadData
from virtcompat.labs.compiler import integer, layouts_of, macros_of
from virtcompat.labs.visit import Visit, one
from virtcompat.model import Change, Finding, Tier
from virtcompat.surfaces import RecordedSurface

PROBE = "spice_probe.py"
SONAME = "libspice-server.so.1"
SERVER, PROTOCOL = "/usr/include/spice-server/", "/usr/include/spice-1/spice/"
SOURCE = "#include <stddef.h>\n#include <stdint.h>\n#include <spice-server/spice.h>\n" + "".join(
    f"#include <spice/{name}.h>\n" for name in ("protocol", "enums", "qxl_dev", "vd_agent", "stream-device")
)
FLAGS = ("-Iusr/include/spice-1", "-Iusr/include/spice-server")
CHARACTER = re.compile(r'"([^"]*)"\[(\d+)\]')
#: Compat versions are asked for from -2 to 8, from one before the current one to 3 beyond it, and these.
EXTREMES = (-(2**31), 255, 256, 65536, 2**31 - 1)
#: Setters of the server that check what they are given, with the values of their enumeration and some beyond.
SETTERS = {
    "spice_server_set_image_compression": range(-1, 11),
    "spice_server_set_jpeg_compression": range(-1, 6),
    "spice_server_set_zlib_glz_compression": range(-1, 6),
    "spice_server_set_streaming_video": range(-1, 6),
    "spice_server_set_port": (-1, 0, 5900, 65535, 65536),
}
#: A QEMU with one device for every kind of channel. No CPU ever runs.
MACHINE = tuple(
    "-machine q35,accel=tcg -S -m 16 -display none -nodefaults -name guest -uuid 5f1c0de0-0001-4000-8000-0000000000ff "
    "-device qxl-vga -audiodev spice,id=sound -device ich9-intel-hda -device hda-duplex,audiodev=sound "
    "-device qemu-xhci,id=usb -chardev spicevmc,name=usbredir,id=redir -device usb-redir,chardev=redir,bus=usb.0 "
    "-device usb-ccid,bus=usb.0 -chardev spicevmc,name=smartcard,id=card -device ccid-card-passthru,chardev=card "
    "-device virtio-serial -chardev spicevmc,name=vdagent,id=agent -device virtserialport,chardev=agent,name=com.redhat.spice.0 "
    "-chardev spiceport,name=org.spice-space.webdav.0,id=webdav -device virtserialport,chardev=webdav "
    "-chardev spiceport,name=org.example.port,id=port -device virtserialport,chardev=port".split()
)


def symbols(visit: Visit) -> dict[str, str]:
    """What the library exports: ``libspice-server/symbol/spice_server_new/SPICE_SERVER_0.6.0 = function``."""
    file, data = visit.library(SONAME)
    library = elf.library(data, file)
    found = {"libspice-server/soname": library.soname}
    for symbol in library.exports:
        value = symbol.kind if symbol.kind == "function" else f"object of {symbol.size} bytes"
        found[f"libspice-server/symbol/{symbol.name}/{symbol.node or '(no node)'}"] = value
    if len(found) == 1:
        raise BadData(file, "exports no symbol", elf.REMEDY)
    return found


def layouts(visit: Visit) -> dict[str, str]:
    """Structures, enumerations and macros of the server's headers (``server/…``) and the protocol's (``protocol/…``)."""
    files = {
        **one(visit, "SPICE server headers", "libspice-server-dev", f"{SERVER}*.h"),
        **one(visit, "SPICE protocol headers", "libspice-protocol-dev", f"{PROTOCOL}*.h"),
    }
    found = {}
    for path, value in dwarf.layouts(layouts_of(files, SOURCE, FLAGS), "SPICE's headers", _label).items():
        # Members of a union without a name are named as if the structure itself had them.
        plain = re.sub(r"\(\d+\)\.", "", path)
        if not plain.endswith(")"):
            found[plain] = value
    constants = {path.rpartition("/")[2]: v for path, v in found.items() if "/enum/" in path or "/constant/" in path}
    for name, (file, text) in macros_of(files, SOURCE, FLAGS).items():
        value = _constant(text, constants)
        if value and _label(file):
            found[f"{_label(file)}/macro/{name}"] = value
    return found


def _label(file: str) -> str:
    if SERVER.strip("/") in file:
        return "server"
    return "protocol" if PROTOCOL.strip("/") in file else ""


def _constant(text: str, constants: Mapping[str, str]) -> str:
    """The value of a macro that stands for a number or a string; header guards and attributes have none."""
    plain = CHARACTER.sub(lambda m: str(ord(m[1][int(m[2])])), text)
    plain = integer(re.sub(r"\b[A-Za-z_]\w*\b", lambda m: constants.get(m[0], m[0]), plain))
    return plain if re.fullmatch(r'-?\d+|"[^"]*"', plain) else ""


def compat(visit: Visit) -> dict[str, str]:
    """What the library itself says to each compat version: ``compat/version/1 = accepted``, and setters to values."""
    request: dict[str, Any] = {"op": "compat", "library": SONAME, "below": -2, "above": 3, "upto": 8}
    request |= {"extremes": EXTREMES, "setters": {name: list(values) for name, values in SETTERS.items()}}
    reply = visit.ask(PROBE, request)
    versions, current = reply["versions"], str(reply["current"])
    found = {"compat/current": current}
    found |= {f"compat/version/{value}": said for value, said in versions.items()}
    if current.isdigit():
        found["compat/previous-major"] = versions[str(int(current) - 1)]
    for name, said in reply["setters"].items():
        found |= {f"compat/{name}/{value}": word for value, word in said.items()}
    return found


def link(visit: Visit) -> dict[str, str]:
    """How QEMU's SPICE server answers clients: ``link/version/3.0 = link error VERSION_MISMATCH``."""
    found: dict[str, str] = {}
    for free, steps in (("on", [*spicelink.open_steps()]), ("off", [*spicelink.ticket_steps()])):
        # First: a QEMU without SPICE says so here, and may crash at a sound card that wants it.
        arguments = ["-spice", f"unix=on,addr={{socket}},disable-ticketing={free}", *MACHINE]
        request = {"op": "link", "program": "qemu-system-x86_64", "arguments": arguments, "steps": steps}
        results = visit.ask(PROBE, request, limit=300.0)["results"]
        for said, result in zip(steps, results, strict=True):
            path = f"link/{said['name']}"
            if "qmp" in said:
                found[path] = str(result["end"])
                continue
            found[path] = spicelink.outcome(result)
            if said["name"] == "connection/main":
                found |= spicelink.session(result)
            if said["name"] == "connection/main" or said["name"].startswith("channel/"):
                found |= spicelink.announced(said["name"].rpartition("/")[2], result)
            for message in spicelink.messages(result):
                found[f"{path}/message/{message}"] = "sent"
    return found


# -- what a difference means -------------------------------------------------------------------------------------------

#: What must be turned away whatever was so before: without this a ticket or a session protects nothing.
TICKETS = "none-set|wrong|empty|shorter|longer|former|not-encrypted|expired"
DENIED = re.compile(rf"link/(?:ticket/(?:{TICKETS})|connection/(?:no-session|wrong-id))$")
#: What an older server may lack without harm: a client sees what it is offered.
OPTIONAL = re.compile(r"link/(channel/|client/websocket$)")
OUTCOME = re.compile(r"link/(?!server/)[^/]+/[^/]+$")
NAMES = {"Kbd": "KEYBOARD", "CharDevice": "CHAR_DEVICE", "Migrate": "MIGRATION"}


def _special(old: Mapping[str, str], new: Mapping[str, str], back: bool) -> Iterator[Finding]:
    """What depends on more than one fact or on the values: the contract, handshakes, interface versions."""
    broken = {finding.path: finding for finding in _contract(new)}
    yield from broken.values()
    for path in sorted(old.keys() & new.keys() - broken.keys()):
        was, now = old[path], new[path]
        tier = Tier.IDENTICAL if was == now else _tier(path, old, new, back)
        if tier > Tier.IDENTICAL:
            yield Finding(path, Change.CHANGED, tier, was, now, "spice")


def _contract(facts: Mapping[str, str]) -> Iterator[Finding]:
    """What no release may do, whether or not its predecessor did: contrary to compat versions, tickets and sessions."""
    current = _number(facts.get("compat/current", ""))
    for path, said in facts.items():
        value = _number(path.rpartition("/")[2])
        if DENIED.match(path) and _good(said):
            yield Finding(path, Change.ACCEPTED, Tier.BREAK, "to be denied", said, "spice")
        if not path.startswith("compat/version/") or current is None or value is None:
            continue
        if said not in ("accepted", "refused"):
            yield Finding(path, Change.CRASHED, Tier.BREAK, "accepted or refused", said, "spice")
        elif said == "accepted" and (value > current or value < 0):
            why = f"newer than the current version {current}" if value > current else "no version"
            yield Finding(path, Change.ACCEPTED, Tier.BREAK, f"to be refused: {why}", said, "spice")
        elif said == "refused" and value == current:
            yield Finding(path, Change.REFUSED, Tier.BREAK, "to be accepted: the current version", said, "spice")
    # Version 0 (0.4) was never supported, from the first day of the promise on.
    if current is not None and current > 1 and facts.get("compat/previous-major") == "refused":
        yield Finding("compat/previous-major", Change.REFUSED, Tier.BREAK, "to be accepted", "refused", "spice")


def _tier(path: str, old: Mapping[str, str], new: Mapping[str, str], back: bool) -> Tier:
    """How bad it is that a fact has another value; identical where the rules say it all."""
    was, now = old[path], new[path]
    if path == "compat/previous-major" and back:
        return Tier.IDENTICAL  # another version is meant; each has its own fact
    if path == "compat/current":
        return _current(_number(was), _number(now), back)
    if path.startswith("compat/"):
        return _answer(path, was, now, _number(new.get("compat/current", "")), back)
    if path.startswith("server/macro/SPICE_INTERFACE_") and path.endswith("_MINOR"):
        # A server refuses an interface that is newer than itself and reads an older one as far as that goes.
        return Tier.ADDITION if (_number(now) or 0) > (_number(was) or 0) else Tier.BREAK
    if path.startswith("server/struct/") and path.endswith("Interface"):
        return Tier.RISK if _raised(path, old, new) else Tier.BREAK
    return _handshake(path, was, now, back) if OUTCOME.match(path) else Tier.IDENTICAL


def _current(was: int | None, now: int | None, back: bool) -> Tier:
    """A newer current version is what new servers behave like until told otherwise."""
    if was is None or now is None:
        return Tier.ADDITION if was is None else Tier.BREAK
    return Tier.RISK if back or now > was else Tier.BREAK


def _answer(path: str, was: str, now: str, current: int | None, back: bool) -> Tier:
    """An answer of a setter. Going back, a value that only the newer release knows is rightly refused."""
    if now not in ("accepted", "refused"):
        return Tier.BREAK
    if was != "accepted":
        return Tier.ADDITION
    if path.startswith("compat/version/"):
        value = _number(path.rpartition("/")[2])
        unknown = value is not None and current is not None and value > current
        return Tier.IDENTICAL if back and unknown else Tier.BREAK
    return Tier.ADDITION if back else Tier.BREAK


def _raised(path: str, old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    """Whether the version of an interface went up with its structure."""
    own = path.rpartition("/")[2].removeprefix("Spice").removesuffix("Interface")
    name = f"server/macro/SPICE_INTERFACE_{NAMES.get(own, own.upper())}"
    before, after = ([f.get(f"{name}_{part}") for part in ("MAJOR", "MINOR")] for f in (old, new))
    return before != after


def _handshake(path: str, was: str, now: str, back: bool) -> Tier:
    if now.startswith("server "):
        return Tier.BREAK
    if _good(was) and not _good(now):
        return Tier.ADDITION if back and OPTIONAL.match(path) else Tier.BREAK
    if _good(now):
        return Tier.RISK if path.startswith("link/malformed/") else Tier.ADDITION
    return Tier.ADDITION if was.startswith("server ") else Tier.RISK


def _good(outcome: str) -> bool:
    return outcome in ("ok", "link ok, auth ok") or outcome.startswith("HTTP/1.1 101")


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?\d+", text) else None


ADDITION, RISK, BREAK, SILENT = Tier.ADDITION, Tier.RISK, Tier.BREAK, Tier.IDENTICAL
COUNTS = r"\w+_ENUM_END|SPICE_END_CHANNEL|SPICE_MSGC?_END_\w+|VDP_END_PORT|VD_AGENT_END_\w+|STREAM_CAP_END"
SUMS = r"SPICE_\w+_(?:FLAGS|MODE|MASK|ROPD)_MASK|SPICE_ROPD_MASK"
#: Either way: what ``_special`` judges by value, what counts or sums up a list, what carries nothing.
COMMON = (
    (r"^compat/current$", SILENT, ADDITION, BREAK),
    (r"^compat/", SILENT, SILENT, RISK),
    (r"^server/macro/SPICE_INTERFACE_\w+_MINOR$", SILENT, ADDITION, BREAK),
    (r"^server/struct/\w+Interface$", SILENT, ADDITION, BREAK),
    (OUTCOME.pattern, SILENT, ADDITION, BREAK),
    (rf"/(?:{COUNTS}|{SUMS})$", ADDITION, ADDITION, ADDITION),
    (r"[/.]_*(?:padding|pad|reserved|unused)\d*$", ADDITION, ADDITION, ADDITION),
    (r"^link/server/(?!major$)|^protocol/macro/SPICE_VERSION_MINOR$|_COMPAT_VERSION_CURRENT$", RISK, ADDITION, BREAK),
)

SURFACE = RecordedSurface(
    name="spice",
    summary="SPICE: what libspice-server offers QEMU, its compat versions, how its server answers clients of other versions",
    product="spice",
    parts={"symbols": symbols, "layouts": layouts, "compat": compat, "link": link},
    rules=(
        *COMMON,
        (r"/message/", RISK, ADDITION, RISK),
        # What the QXL device shows to a guest's driver.
        (r"^protocol/[^/]+/(?:QXL|REDHAT_PCI_VENDOR_ID)", Tier.GUEST_ABI_BREAK, ADDITION, BREAK),
    ),
    # What a release adds, an older one lacks; what both have must be the same.
    backward=(
        *COMMON,
        (r"^protocol/[^/]+/(?:QXL|REDHAT_PCI_VENDOR_ID)", Tier.GUEST_ABI_BREAK, ADDITION, ADDITION),
        (r"", BREAK, ADDITION, ADDITION),
    ),
    ignored=(r"^server/macro/SPICE_SERVER_VERSION$",),
    special=_special,
)
