"""The remote protocol: read off real plugins, compared with libvirt's own library, and off plugins altered on the way."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from virtcompat import dissector, elf
from virtcompat.errors import Absent, BadData
from virtcompat.labs import Lab
from virtcompat.labs.visit import Visit, visiting
from virtcompat.model import Finding, Tier
from virtcompat.policy.records import compare, merged
from virtcompat.surfaces import Part
from virtcompat.surfaces.recorded.rpc import PLUGIN, SURFACE

RELEASES = ("debian-11", "debian-12", "debian-13", "debian-14")
Records = Callable[[str], Mapping[str, Part]]
Edit = Callable[[bytes], bytes]


@dataclass
class Altered:
    """A visit whose plugin is altered on the way; None: there is none."""

    visit: Visit
    edit: Edit | None

    @property
    def release(self) -> str:
        return self.visit.release

    def read(self, *patterns: str) -> dict[str, bytes]:
        return {p: self.edit(d) for p, d in self.visit.read(*patterns).items()} if self.edit else {}

    def ask(self, program: str, request: Mapping[str, Any]) -> dict[str, Any]:
        return self.visit.ask(program, request)


@pytest.fixture(scope="module")
def record(abi: Callable[[str], Lab]) -> Records:
    """release -> its record, read once."""
    known: dict[str, Mapping[str, Part]] = {}

    def of(release: str) -> Mapping[str, Part]:
        if release not in known:
            with visiting(abi(release)) as visit:
                known[release] = {name: read(visit) for name, read in SURFACE.parts.items()}
        return known[release]

    return of


def altered(abi: Callable[[str], Lab], edit: Edit | None, *parts: str) -> dict[str, Part]:
    with visiting(abi("debian-13")) as visit:
        return {part: SURFACE.parts[part](Altered(visit, edit)) for part in parts or SURFACE.parts}  # type: ignore[arg-type]


def findings(old: Mapping[str, Part], new: Mapping[str, Part], *, back: bool = False) -> dict[str, Finding]:
    return {f.path: f for verdict in compare(SURFACE, old, new, back=back) for f in verdict.findings}


def replaced(old: bytes, new: bytes) -> Edit:
    def edit(data: bytes) -> bytes:
        assert len(old) == len(new)
        assert old in data, old
        return data.replace(old, new)

    return edit


@pytest.mark.parametrize("release", RELEASES)
def test_structures_are_those_that_libvirts_own_library_serializes(
    abi: Callable[[str], Lab], record: Records, release: str
) -> None:
    """An independent source: libvirt.so exports one function for each structure of the programs that it serves."""
    with visiting(abi(release)) as visit:
        path, data = visit.library("libvirt.so.0")
    exported = {s.name.removeprefix("xdr_") for s in elf.library(data, path).exports if s.name.startswith("xdr_")}
    served = {n for n in exported if n.startswith(("remote_", "qemu_", "lxc_"))}
    ours = {p.split("/")[2] for p in record(release)["structures"] if not p.startswith("header/")}  # type: ignore[union-attr]
    assert ours <= served
    assert {name for name in served if name.endswith(("_args", "_ret", "_msg"))} <= ours
    assert len(ours) > 600


@pytest.mark.parametrize("release", RELEASES)
def test_what_every_libvirt_has_always_spoken(record: Records, release: str) -> None:
    facts = merged(record(release))
    assert facts["remote/program"] == "0x20008086"
    assert facts["remote/procedure/CONNECT_OPEN/number"] == "1"
    assert facts["remote/procedure/DOMAIN_CREATE/args"] == "remote_domain_create_args"
    assert "remote/procedure/DOMAIN_CREATE/ret" not in facts
    assert facts["remote/structure/remote_nonnull_domain/02"] == "uuid: opaque[16]"
    assert facts["remote/structure/remote_connect_open_args/01"] == "name: optional string"
    assert facts["remote/structure/remote_connect_open_args/01/limit"] == "4194304"
    assert facts["remote/structure/remote_auth_list_ret/01/element/value/REMOTE_AUTH_SASL"] == "1"
    assert facts["remote/union/remote_typed_param_value/case 5"] == "d: double"
    assert facts["remote/structure/remote_domain_get_os_type_ret/01"] == "type: (not revealed)"


def test_upgrades_of_the_four_releases_break_nothing(record: Records) -> None:
    assert not findings(record("debian-13"), record("debian-13"))
    for old, new in (("debian-11", "debian-12"), ("debian-12", "debian-13")):
        assert {f.tier for f in findings(record(old), record(new)).values()} == {Tier.ADDITION}
        assert {f.tier for f in findings(record(new), record(old), back=True).values()} == {Tier.ADDITION}


def test_a_number_used_for_another_procedure_breaks(abi: Callable[[str], Lab], record: Records) -> None:
    def swap(data: bytes) -> bytes:
        for old, new in ((b"CREATE", b"@@@@@@"), (b"REBOOT", b"CREATE"), (b"@@@@@@", b"REBOOT")):
            data = replaced(b"\0DOMAIN_" + old + b"\0", b"\0DOMAIN_" + new + b"\0")(data)
        return data

    real = record("debian-13")
    found = findings(real, {**real, **altered(abi, swap, "procedures")})
    assert {p: (f.tier, f.old, f.new) for p, f in found.items()} == {
        "remote/procedure/DOMAIN_CREATE/number": (Tier.BREAK, "9", "27"),
        "remote/procedure/DOMAIN_REBOOT/number": (Tier.BREAK, "27", "9"),
    }
    with pytest.raises(BadData, match="remote_domain_reboot_args"):  # the tables and the code no longer agree
        altered(abi, swap, "structures")


def test_a_removed_procedure_breaks_and_a_new_one_does_not(abi: Callable[[str], Lab], record: Records) -> None:
    real = record("debian-13")
    renamed = altered(abi, replaced(b"\0DOMAIN_REBOOT\0", b"\0DOMAIN_REBOOX\0"), "procedures")
    found = findings(real, {**real, **renamed})
    assert found["remote/procedure/DOMAIN_REBOOT"].tier is Tier.BREAK
    assert found["remote/procedure/DOMAIN_REBOOX"].tier is Tier.ADDITION


def test_a_lower_limit_breaks_a_higher_one_does_not(abi: Callable[[str], Lab], record: Records) -> None:
    def halve(data: bytes) -> bytes:
        return re.sub(rb"([\xb8-\xbf])\x00\x00\x40\x00", b"\\1\0\0\x20\0", data)  # mov $4194304, register

    real, lowered = record("debian-13"), altered(abi, halve)
    found = findings(real, lowered)
    assert {(f.tier, f.old, f.new) for f in found.values()} == {(Tier.BREAK, "4194304", "2097152")}
    assert len(found) > 300
    assert {f.tier for f in findings(lowered, real).values()} == {Tier.ADDITION}
    assert {f.tier for f in findings(real, lowered, back=True).values()} == {Tier.RISK}


def test_another_type_on_the_wire_breaks(abi: Callable[[str], Lab], record: Records) -> None:
    found = findings(record("debian-13"), altered(abi, hypers_exchanged))
    one = found["remote/structure/remote_domain_block_resize_args/03"]
    assert (one.tier, one.old, one.new) == (Tier.BREAK, "size: unsigned hyper", "size: hyper")
    assert {f.tier for f in found.values()} == {Tier.BREAK}


def hypers_exchanged(data: bytes) -> bytes:
    """Let the plugin call xdr_hyper for xdr_u_hyper and the other way round."""
    file = ELFFile(io.BytesIO(data))
    plt, symbols = file.get_section_by_name(".rela.plt"), file.get_section_by_name(".dynsym")
    at = {}
    for number, relocation in enumerate(plt.iter_relocations()):
        at[symbols.get_symbol(relocation["r_info_sym"]).name] = plt["sh_offset"] + 24 * number + 12
    new = bytearray(data)
    one, other = at["xdr_hyper"], at["xdr_u_hyper"]
    new[one : one + 4], new[other : other + 4] = data[other : other + 4], data[one : one + 4]
    return bytes(new)


def test_a_removed_field_breaks(abi: Callable[[str], Lab], record: Records) -> None:
    path = "remote/structure/remote_domain_create_xml_args"
    found = findings(record("debian-13"), altered(abi, without_flags))
    assert {p: f.tier for p, f in found.items()} == {f"{path}/02": Tier.BREAK}
    assert findings(altered(abi, without_flags), record("debian-13"))[f"{path}/02"].tier is Tier.BREAK


def without_flags(data: bytes) -> bytes:
    """Take a field out of the tables (its name becomes a structure's) and out of the code (its read does nothing)."""
    name = b"libvirt.remote_domain_create_xml_args"
    fields = dissector.plugin(data, "plugin").fields
    variable = next(at for own, at, _ in fields if f"libvirt.{own}".encode() == name + b".flags")
    text = ELFFile(io.BytesIO(data)).get_section_by_name(".text")
    start, code = text["sh_offset"], text.data()
    loads = (
        at
        for at in range(len(code) - 4)
        if text["sh_addr"] + at + 4 + struct.unpack_from("<i", code, at)[0] == variable
    )
    call = start + code.index(b"\xe8", next(loads))
    data = data[:call] + b"\xb8\1\0\0\0" + data[call + 5 :]  # mov $1, %eax in place of the call
    return replaced(name + b".flags\0", name + b"_flags\0")(data)


def test_a_field_that_is_only_called_otherwise_is_a_risk_and_a_moved_one_breaks(
    abi: Callable[[str], Lab], record: Records
) -> None:
    name = b"libvirt.remote_domain_set_memory_args.memory"
    found = findings(record("debian-13"), altered(abi, replaced(name, name[:-1] + b"z"), "structures"))
    path = "remote/structure/remote_domain_set_memory_args/02"
    assert found[path].tier is Tier.RISK
    structures = dict(record("debian-13")["structures"])  # type: ignore[arg-type]
    one, other = (f"remote/structure/remote_domain_migrate_perform_args/{place}" for place in ("04", "06"))
    structures[one], structures[other] = structures[other], structures[one]
    moved = findings(record("debian-13"), {**record("debian-13"), "structures": structures})
    assert {f.tier for f in moved.values()} == {Tier.BREAK}


def test_a_damaged_plugin_is_bad_data(abi: Callable[[str], Lab]) -> None:
    for cut in (100, 5000, 400_000):
        with pytest.raises(BadData):
            altered(abi, lambda data, cut=cut: data[:cut], "procedures")  # type: ignore[misc]
    with pytest.raises(BadData, match="not libvirt's"):
        altered(abi, replaced(b"proto_reg_handoff_libvirt", b"proto_reg_handoff_lobvirt"), "procedures")
    with pytest.raises(BadData, match="not one table of fields"):
        altered(abi, replaced(b"libvirt.remote_domain_set_memory_args.memory", b"lobvirt" * 6 + b"xx"), "procedures")


def test_no_plugin_or_no_wireshark_is_said(abi: Callable[[str], Lab]) -> None:
    with pytest.raises(Absent, match="libvirt-wireshark"):
        altered(abi, None, "procedures")
    with pytest.raises(Absent, match="libwiresharX"):
        altered(abi, replaced(b"libwireshark.so", b"libwiresharX.so"), "structures")


def test_recording_twice_gives_the_same(abi: Callable[[str], Lab], record: Records) -> None:
    with visiting(abi("debian-14")) as visit:
        assert {name: read(visit) for name, read in SURFACE.parts.items()} == record("debian-14")
        assert len(visit.read(PLUGIN)) == 1
