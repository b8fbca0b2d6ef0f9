"""Guests that move: device sets, streams, verdicts, pins; seeded changes are found; the commands answer and say why."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from virtcompat import surfaces
from virtcompat.engine import columns, guests, migration
from virtcompat.errors import BadData
from virtcompat.labs import Lab
from virtcompat.labs.qemu import Machine, QemuSessions, Recorded
from virtcompat.labs.visit import GUEST
from virtcompat.model import Answer, CellKey, Form, NotHere, Outcome, Tier
from virtcompat.policy import moved, pins
from virtcompat.policy.records import compare
from virtcompat.store import guests as sets
from virtcompat.store import releases, streams
from virtcompat.store.streams import Stream
from virtcompat.surfaces.recorded import guest_abi

COMMAND = [sys.executable, "-c", "from virtcompat.cli import main; main()"]
RELEASES = [r.name for r in releases.shipped()]
DUMP = next(streams.read(streams.file_of("debian-12"))).dump
DOMAIN = """<domain type='qemu'><name>guest</name><memory>65536</memory><os><type machine='{machine}'>hvm</type></os>
<devices><interface type='user'><model type='{model}'/></interface></devices></domain>"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=300)


def test_every_device_set_has_a_plain_one_beneath_it_and_says_what_it_covers() -> None:
    every = sets.every()
    assert every["plain"].covers == ()
    assert len(every) >= 8
    for devices in every.values():
        assert devices.summary
        assert devices.name == "plain" or devices.covers


@pytest.mark.parametrize(
    ("machine", "family"),
    [
        ("pc-q35-7.2", "q35"),
        ("pc-i440fx-2.4", "pc"),
        ("pc", "pc"),
        ("microvm", "microvm"),
        ("isapc", ""),
        ("pc-1.0", ""),
    ],
)
def test_a_machine_type_belongs_to_a_family(machine: str, family: str) -> None:
    assert sets.family(machine) == family


def test_what_migration_is_told_is_written_in_three_ways() -> None:
    argv = sets.every()["virtio-net"].command("q35")
    assert argv
    assert "addr=0x10" in guests.written(argv, "addressed")[-1]
    nameless = guests.written(argv, "nameless")
    assert nameless[-1] == "migration.send-configuration=off"
    assert guests.written(argv, "") == argv


def _stream(data: bytes, devices: str = "plain") -> Stream:
    return Stream("pc-q35-7.2", devices, "", ("-machine", "pc-q35-7.2"), 7, DUMP, data)


def test_streams_are_read_back_and_small_where_they_are_alike(tmp_path: Path) -> None:
    noise = bytes((i * i * 7919 + i // 3) & 0xFF for i in range(1 << 18))
    given = [_stream(noise + bytes([n]), f"set{n}") for n in range(8)]
    streams.write(tmp_path / "s.tar.zst", given)
    assert list(streams.read(tmp_path / "s.tar.zst")) == given
    assert (tmp_path / "s.tar.zst").stat().st_size < 2 * len(noise)


@pytest.mark.parametrize("keep", [0, 10, 200, -40])
def test_a_damaged_archive_is_bad_data(tmp_path: Path, keep: int) -> None:
    file = tmp_path / "s.tar.zst"
    streams.write(file, [_stream(bytes(i % 251 for i in range(100_000)))])
    whole = file.read_bytes()
    file.write_bytes(whole[:keep] if keep >= 0 else whole[:keep] + b"\0" * 40)
    with pytest.raises(BadData, match=r"s\.tar\.zst:1: "):
        list(streams.read(file))


def test_the_golden_streams_are_whole_and_small() -> None:
    files = [streams.file_of(release) for release in RELEASES]
    assert sum(file.stat().st_size for file in files) < 5 << 20
    for file in files:
        cases = [(s.case, s.variant) for s in streams.read(file)]
        assert len(cases) == len(set(cases)) > 40
        assert ("pc-q35-5.2/plain", "") in cases


@pytest.mark.parametrize(
    ("status", "outcome", "word"),
    [
        ("migrated", Outcome.COMPATIBLE, ""),
        ("refused", Outcome.INCOMPATIBLE, "refused"),
        ("crashed", Outcome.INCOMPATIBLE, "crashed"),
        ("hung", Outcome.INCOMPATIBLE, "hung"),
        ("stuck", Outcome.INCOMPATIBLE, "refused"),
        ("source-refused", Outcome.NOT_APPLICABLE, ""),
    ],
)
def test_what_becomes_of_a_guest_is_a_verdict(status: str, outcome: Outcome, word: str) -> None:
    answer = Answer(status, {"before": Form(DUMP), "after": Form(DUMP)}, message="last words")
    verdict = moved.verdict("pc/plain", answer)
    assert verdict.outcome is outcome
    assert [f.change.value for f in verdict.findings] == ([word] if word else [])
    assert moved.verdict("pc/plain", NotHere("no lab", "make one")).outcome is Outcome.NOT_HERE


def test_a_guest_that_arrives_damaged_or_on_other_hardware_did_not_arrive() -> None:
    elsewhere = DUMP.replace("hpet/capabilities = 8086a201", "hpet/capabilities = 8086a202")
    forms = {"before": Form(DUMP), "after": Form(DUMP)}
    damaged = moved.verdict("pc/plain", Answer("migrated", forms, code=3))
    assert [f.path for f in damaged.findings] == ["pc/plain/(memory)"]
    other = moved.verdict("pc/plain", Answer("migrated", {**forms, "after": Form(elsewhere)}))
    assert other.outcome is Outcome.INCOMPATIBLE
    assert other.findings[0].tier is Tier.GUEST_ABI_BREAK


def test_pins_set_back_what_differs_and_leave_what_cannot_be_told() -> None:
    old = {
        "property/virtio-net-device/mq": "true",
        "property/virtio-net-device/csum": "true",
        "property/mch/below-4g-mem-size": "1",
        "property/a/x": "1",
        "property/a#2/x": "2",
        "property/gone/y": "1",
        "property/cpu/features": "aes sse",
        "property/cpu/family": "6",
        "pci/00:00.0/id": "1",
    }
    new = {
        "property/virtio-net-device/queue_reset": "true",
        "property/virtio-net-device/hash": "false",
        "property/mch/x-new-fix": "true",
        "property/mch/smm": "true",
        "property/virtio-net-device/mq": "false",
        "property/virtio-net-device/csum": "true",
        "property/mch/below-4g-mem-size": "2",
        "property/a/x": "3",
        "property/a#2/x": "3",
        "property/cpu/features": "sse avx",
        "property/cpu/family": "15",
        "pci/00:00.0/id": "2",
    }
    assert pins.pins(old, new) == {
        "virtio-net-device.mq": "on",
        "virtio-net-device.queue_reset": "off",
        "mch.x-new-fix": "off",
        "x86_64-cpu.family": "6",
        "x86_64-cpu.aes": "on",
        "x86_64-cpu.avx": "off",
    }
    assert pins.arguments({"a.b": "c"}) == ("-global", "a.b=c")


@dataclass
class Wrapped:
    """A visit whose QEMU is wrapped: what a candidate with a fault would look like."""

    lab: Lab
    sessions: QemuSessions
    script: str
    release: str = "candidate"

    def boot(self, argv: tuple[str, ...], wanted: tuple[str, ...]) -> object:
        return self.sessions.record(self.lab, Machine(tuple(argv), wrapper=self.script), wanted)


WRAPPER = """#!/usr/bin/env python3
import os, sys
argv = sys.argv[1:]
{change}
os.execvp(argv[0], argv)
"""
SEEDS = {
    "a property altered": (
        "argv += ['-global', 'virtio-net-pci.rx_queue_size=512']", "virtio-net", "virtio/00:01.0/queue0",
    ),
    "a device moved": (
        "argv = [w + ',addr=7' if w.startswith('virtio-net-pci') else w for w in argv]", "virtio-net", "pci/00:07.0",
    ),
    "a subsection gone": (
        "argv += ['-global', 'virtio-pci.migrate-extra=off']", "virtio-net", "vmstate/",
    ),
    "a CPU flag removed": (
        "argv[argv.index('-cpu') + 1] += ',-sse4.1'", "processors", "cpuid/0x1/ecx",
    ),
}  # fmt: skip


@pytest.mark.lab
@pytest.mark.parametrize("name", SEEDS)
def test_a_seeded_change_is_found_and_named(name: str, abi: Callable[[str], Lab]) -> None:
    change, devices, place = SEEDS[name]
    surface, lab = surfaces.every_recorded()["guest-abi"], abi("debian-12")
    machine = "pc-q35-7.2"
    with QemuSessions(GUEST.read_bytes()) as sessions:
        sides = []
        for script in ("", WRAPPER.format(change=change)):
            facts = guest_abi.facts_of(Wrapped(lab, sessions, script), sets.every()[devices], machine)  # type: ignore[arg-type]
            assert isinstance(facts, dict), facts
            own = {f"{machine}/plain/{path}": value for path, value in facts.items()}
            sides.append({part: own if part == devices else {} for part in surface.parts})
    found = [f for v in compare(surface, sides[0], sides[1]) for f in v.findings if f.tier >= Tier.BREAK]
    assert any(f"/{place}" in f"/{f.path.split('/', 2)[2]}" for f in found), [f.path for f in found]


@pytest.mark.lab
def test_a_recorded_guest_goes_on_in_the_next_release(abi: Callable[[str], Lab]) -> None:
    stream = next(s for s in streams.read(streams.file_of("debian-12")) if s.case == "pc-q35-7.2/virtio-net")
    with QemuSessions(GUEST.read_bytes()) as sessions:
        source = Recorded(dump=stream.dump, stream=stream.data, counter=stream.counter)
        arrived = sessions.replay(abi("debian-13"), Machine(stream.argv), source)
        assert arrived.status == "migrated", arrived.words
        assert arrived.counter_after > stream.counter
        assert arrived.mismatches == 0
        cut = Recorded(dump=stream.dump, stream=stream.data[: len(stream.data) // 2], counter=stream.counter)
        assert sessions.replay(abi("debian-13"), Machine(stream.argv), cut).status in ("refused", "hung", "crashed")


@pytest.mark.lab
def test_a_cell_is_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, abi: Callable[[str], Lab]) -> None:
    labs = {name: abi(name) for name in ("debian-12", "debian-13")}
    monkeypatch.setenv("VIRT_COMPAT_CACHE", str(tmp_path))
    found = columns.find(tuple(labs))
    monkeypatch.setattr(guests.Moves, "lab", lambda self, release: labs[release])
    keys = [CellKey(guests.LIVE, guests.KIND, "-", "debian-12", "debian-13")]
    counts = []
    for _ in range(2):
        with guests.Moves(found) as moves:
            (verdicts,) = guests.cells(moves, keys, ("pc-q35-7.2/plain",)).values()
            assert [v.outcome for v in verdicts] == [Outcome.COMPATIBLE]
            counts.append((moves.asked, moves.known))
    assert counts == [(1, 0), (0, 1)]


@pytest.mark.lab
@pytest.mark.usefixtures("abi")
def test_can_migrate_says_yes_no_and_unknown(tmp_path: Path, abi: Callable[[str], Lab]) -> None:
    for name in ("debian-12", "debian-13", "debian-14"):
        abi(name)
    yes = run(
        "can-migrate", "--from", "debian-12", "--to", "debian-13", "--machine", "pc-q35-7.2", "--device-set", "plain"
    )
    assert (yes.returncode, yes.stdout.partition(":")[0]) == (0, "yes")
    no = run(
        "can-migrate",
        "--from",
        "debian-13",
        "--to",
        "debian-14",
        "--machine",
        "pc-q35-10.0",
        "--device-set",
        "virtio-blk",
    )
    assert no.returncode == 1
    assert "VQ 0 vring.num 1024 exceeds allocated max 256" in no.stdout
    gone = run("can-migrate", "--from", "debian-12", "--to", "debian-14", "--machine", "pc-q35-4.2")
    assert gone.returncode == 1
    assert "has no machine type pc-q35-4.2" in gone.stdout
    domain = tmp_path / "my.xml"
    domain.write_text(DOMAIN.format(machine="pc-q35-7.2", model="e1000e"), encoding="utf-8")
    assert run("can-migrate", "--from", "debian-12", "--to", "debian-13", "--domain", str(domain)).returncode == 0
    domain.write_text(DOMAIN.format(machine="pc-q35-7.2", model="ne2k_pci"), encoding="utf-8")
    unknown = run("can-migrate", "--from", "debian-12", "--to", "debian-13", "--domain", str(domain))
    assert unknown.returncode == 3
    assert "interface ne2k_pci: in no device set" in unknown.stdout


def test_a_domain_is_read_for_what_is_tried_and_what_is_not(tmp_path: Path) -> None:
    file = tmp_path / "x.xml"
    text = DOMAIN.format(machine="q35", model="virtio")
    file.write_text(text, encoding="utf-8")
    assert migration.of_file(file) == ("q35", ("plain", "virtio-net"), [])
    more = text.replace("</type>", "</type><loader>/x.fd</loader>").replace("<os>", "<vcpu>4</vcpu><os>")
    file.write_text(more, encoding="utf-8")
    unknown = ["firmware of its own (os/loader)"]
    assert migration.of_file(file) == ("q35", ("plain", "processors", "virtio-net"), unknown)
    file.write_text(text.replace("<type ", "<type arch='aarch64' "), encoding="utf-8")
    assert migration.of_file(file)[2] == ["aarch64: only x86 guests are tried"]
    both = ("--domain", str(file), "--machine", "pc-q35-7.2")
    assert run("can-migrate", "--from", "debian-12", "--to", "debian-13", *both).returncode == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [("<domain>", "not a domain document"), ("<network/>", "no domain with a machine type"), ("\0", "not a")],
)
def test_what_is_no_domain_is_bad_data(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "x.xml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadData, match=words):
        migration.of_file(file)


@pytest.mark.lab
def test_pinning_makes_the_newer_machine_the_older_one(abi: Callable[[str], Lab]) -> None:
    abi("debian-11")
    abi("debian-12")
    done = run("pin", "debian-11", "pc-q35-5.2", "--on", "debian-12", "--format", "json")
    found = json.loads(done.stdout)
    assert found["pins"]["x86_64-cpu.family"] == "6"
    assert len(found["before"]) > 10 * max(1, len(found["after"]))
    nothing = run("pin", "debian-11", "pc-i440fx-2.4", "--on", "debian-12")
    assert nothing.returncode == 2
    assert "pc-q35-5.2" in nothing.stderr
