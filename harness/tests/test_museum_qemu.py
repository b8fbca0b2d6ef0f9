"""The museum's pieces of QEMU, SPICE and Xen: each fault has its effect on the real binaries, and the gate sees it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from virtcompat.engine import guests, museum
from virtcompat.errors import BadData
from virtcompat.labs import Lab, faults, faults_qemu
from virtcompat.labs.qemu import Failed, Machine, QemuSessions, Recorded
from virtcompat.labs.visit import GUEST
from virtcompat.store import guests as sets
from virtcompat.store import regressions
from virtcompat.store.regressions import Piece
from virtcompat.surfaces import every_recorded

QEMU = "usr/bin/qemu-system-x86_64"
#: A piece whose fault is in QEMU -> a guest in which it shows (of Q11 and Q15 nothing but the stream itself does).
SHOWN = {
    "Q01": "pc-q35-7.2/bridges", "Q03": "pc-q35-7.2/virtio-misc", "Q05": "pc-i440fx-7.2/plain", "Q07": "pc-q35-7.2/plain",
    "Q17": "pc-q35-7.2/processors", "Q19": "pc-q35-7.2/bridges", "Q21": "pc-i440fx-7.2/virtio-serial",
    "Q23": "pc-q35-7.2/virtio-net", "Q25": "pc-q35-7.2/plain", "Q27": "pc-q35-7.2/virtio-blk", "Q29": "pc-q35-7.2/virtio-scsi",
    "Q31": "pc-i440fx-7.2/processors", "Q33": "pc-q35-7.2/video",
}  # fmt: skip


def own() -> list[Piece]:
    return [p for p in regressions.every() if p.product in ("qemu", "xen", "spice") and not p.control]


@pytest.fixture(scope="module")
def sound(abi: Callable[[str], Lab]) -> Lab:
    return abi("debian-13")


@pytest.fixture(scope="module")
def binary(sound: Lab) -> bytes:
    return (faults.root_of(sound) / QEMU).read_bytes()


@pytest.fixture(scope="module")
def sessions() -> Iterator[QemuSessions]:
    with QemuSessions(GUEST.read_bytes(), limit=90.0, step=30.0) as sessions:
        yield sessions


def test_every_piece_says_what_it_is_and_asks_little() -> None:
    pieces = {p.name: p for p in own()}
    assert {f"Q{n:02}" for n in range(1, 26, 2)} | {f"X{n:02}" for n in range(1, 8, 2)} <= pieces.keys()
    for piece in pieces.values():
        assert all((piece.what, piece.enacted, piece.reference)), piece.name
        if "guest-abi" in piece.surfaces:  # a whole record takes minutes
            assert all((piece.checks, piece.cases)), piece.name


def test_a_piece_that_stands_for_another_says_why() -> None:
    """POWER, s390x, KVM and what no recorded guest has: not the thing itself, and never in silence."""
    pieces = {p.name: p for p in own()}
    for name in ("Q03", "Q05", "Q07", "Q09", "Q11", "Q13", "Q15", "Q17", "Q19", "Q23", "Q25", "X01", "X03", "X07"):
        assert pieces[name].nearest, name
    for name in ("Q01", "Q21", "Q33", "X05"):
        assert not pieces[name].nearest, name


def changes(one: bytes, other: bytes) -> int:
    """How many blocks of 64 bytes differ in two files of the same length."""
    assert len(one) == len(other)
    return sum(one[at : at + 64] != other[at : at + 64] for at in range(0, len(one), 64))


def test_a_field_is_lost(binary: bytes) -> None:
    """Only the version from which on it is sent and its test change: it is still written down."""
    changed = faults_qemu.edited(binary, QEMU, {"section": "piix4_pm", "change": "lost", "field": "smb"})
    assert "smb" in faults_qemu.sections(changed, QEMU, "piix4_pm")[0]
    assert 0 < changes(binary, changed) < 9


@pytest.mark.parametrize(
    "what",
    [
        {"section": "mch", "change": "longer", "field": "unused", "number": 4},
        {"section": "PCIBUS", "change": "moved", "field": "nirq", "number": 4},
        {"section": "e1000", "change": "raised"},
        {"section": "piix4_pm", "change": "unasked", "field": "smb"},
    ],
    ids=lambda what: str(what["change"]),
)
def test_a_section_is_changed_in_few_places(binary: bytes, what: dict[str, object]) -> None:
    changed = faults_qemu.edited(binary, QEMU, what)
    assert 0 < changes(binary, changed) < 9


def test_a_section_is_renamed(binary: bytes) -> None:
    changed = faults_qemu.edited(binary, QEMU, {"section": "ICH9LPC", "change": "renamed", "to": "ICH9-LPC"})
    assert not faults_qemu.sections(changed, QEMU, "ICH9LPC")
    assert faults_qemu.sections(changed, QEMU, "ICH9-LPC") == faults_qemu.sections(binary, QEMU, "ICH9LPC")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"section": "no-such", "change": "raised"}, "0 sections called no-such"),
        ({"section": "mch", "change": "lost", "field": "nothing"}, "no field 'nothing'"),
        ({"section": "mch", "change": "renamed", "to": "a name that is nowhere"}, "no string"),
        ({"section": "mch", "change": "worse"}, "no change 'worse'"),
    ],
)
def test_what_is_not_there_cannot_be_changed(binary: bytes, what: dict[str, object], words: str) -> None:
    with pytest.raises(BadData, match=words):
        faults_qemu.edited(binary, QEMU, what)


def test_another_file_is_no_qemu(sound: Lab) -> None:
    library = next((faults.root_of(sound) / "usr/lib").glob("*/libspice-server.so.1.*"))
    data = bytearray(library.read_bytes())
    data[18:20] = b"\x16\x00"  # EM_S390
    with pytest.raises(BadData, match="no x86-64 binary"):
        faults_qemu.edited(bytes(data), str(library), {"section": "mch", "change": "raised"})


@pytest.mark.parametrize("name", SHOWN)
def test_a_fault_has_its_effect(name: str, sound: Lab, sessions: QemuSessions) -> None:
    """The faulted QEMU boots the same guest, and that sees, or takes along, something else."""
    piece = regressions.choose([name])[0]
    machine, _, devices = SHOWN[name].partition("/")
    argv = sets.every()[devices].command(machine)
    assert argv is not None
    wanted = ("dump", "qtree", "stream")
    if argv not in _sound:
        _sound[argv] = _shows(sessions.record(sound, Machine(argv), wanted))
    faulted = faults.faulted(sound, "candidate-abi", piece.faults, "abi")
    assert _shows(sessions.record(faulted, Machine(argv), wanted)) != _sound[argv]


#: What the guests of the sound lab show, by command line.
_sound: dict[tuple[str, ...], tuple[object, ...]] = {}


def _shows(recorded: Recorded | Failed) -> tuple[object, ...]:
    """What a guest is and takes along, without what is another time's."""
    assert isinstance(recorded, Recorded), recorded
    lines = [line for line in recorded.dump.splitlines() if not line.startswith("volatile/")]
    return lines, recorded.qtree, str(recorded.vmdesc.get("devices"))


def test_what_starts_no_guest_says_the_words_of_then(sound: Lab, sessions: QemuSessions) -> None:
    lab = faults.faulted(sound, "candidate-abi", regressions.choose(["Q09"])[0].faults, "abi")
    argv = sets.every()["processors"].command("pc-q35-7.2")
    assert argv is not None
    refused = sessions.record(lab, Machine(argv), ("dump",))
    assert isinstance(refused, Failed)
    assert (refused.status, "die-id is not set" in refused.words) == ("unstarted", True)
    plain = sets.every()["plain"].command("pc-q35-7.2")
    assert plain is not None
    assert isinstance(sessions.record(lab, Machine(plain), ("dump",)), Recorded)


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("Q03", "replay"),
        ("Q25", "replay"),
        ("X03", "xen-abi"),
        ("X05", "xen-abi"),
        ("X09", "xen-abi"),
        ("S01", "spice"),
    ],
)
def test_a_piece_is_detected(name: str, by: str, sound: Lab) -> None:
    assert sound.fingerprint()
    result = museum.exhibit(regressions.choose([name])[0])
    assert result.word == "detected"
    assert by in result.by


@pytest.mark.parametrize(("old", "new", "word"), [("5", "4", "break"), ("5", "6", ""), ("0x10", "8", "break")])
def test_a_limit_that_is_lower_breaks_on_the_way_forward_alone(old: str, new: str, word: str) -> None:
    """What a release raised is lower again on the way back to the older one: clients expect that."""
    path = "cpuid/constant/XEN_CPUID_MAX_NUM_LEAVES"
    special, forward, back = every_recorded()["xen-abi"].special, False, True
    assert special is not None
    assert [f.tier.label for f in special({path: old}, {path: new}, forward)] == [word] * bool(word)
    assert not list(special({path: old}, {path: new}, back))


def test_a_script_in_qemus_place_is_no_fault(sound: Lab, tmp_path: Path) -> None:
    """What the pieces add is what is seen, not that a script stands before QEMU."""
    assert sound.fingerprint()
    file = tmp_path / "harmless-script.toml"
    file.write_text(
        """id = "harmless-script"
title = "A script that starts QEMU"
product = "control"
what = "Nothing is wrong."
reference = "none"
enacted = "QEMU is started by a script."
expect = "silent"
[ask]
release = "debian-13"
surfaces = ["guest-abi"]
checks = ["replay"]
cases = ["pc-*-7.2/virtio-misc", "pc-q35-7.2/bridges"]
[[fault]]
kind = "program"
path = "/usr/bin/qemu-system-x86_64"
script = '''#!/bin/sh
exec {real} "$@"
'''
""",
        encoding="utf-8",
    )
    assert museum.exhibit(regressions.read(file)).word == "silent"


def test_only_the_cases_that_are_asked_are_recorded(sound: Lab, sessions: QemuSessions) -> None:
    """A candidate without golden streams gives those of one machine and set, and not minutes of all."""
    found = museum.with_faults(regressions.choose(["Q03"])[0])
    with guests.Moves(found) as moves:
        given = moves.streams(museum.CANDIDATE, ("pc-q35-7.2/virtio-rng", "pc-q35-7.2/virtio-net"))
        assert not hasattr(given, "reason")
        assert [s.case for s in given] == ["pc-q35-7.2/virtio-net"]


def test_a_faulted_program_is_executable(sound: Lab) -> None:
    lab = faults.faulted(sound, "candidate-abi", regressions.choose(["Q01"])[0].faults, "abi")
    shown = Path(lab.binds[lab.binds.index(f"/{QEMU}") - 1])
    assert shown.stat().st_mode & stat.S_IXUSR
