"""The guest program: the binary is what its source makes, and what it sees of real QEMUs becomes facts that tell."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from virtcompat.errors import BadData
from virtcompat.guestdump import facts
from virtcompat.labs import Lab
from virtcompat.labs.session import Session, Start
from virtcompat.store import paths

GUEST = paths.PACKAGE / "guest"
RELEASES = ("debian-11", "debian-12", "debian-13", "debian-14")
Q35, I440FX = ("-M", "pc-q35-5.2"), ("-M", "pc-i440fx-5.2")
NET = ("-device", "virtio-net-pci,mac=52:54:00:00:00:01")
Record = Callable[..., str]


@pytest.fixture(scope="module")
def ask(abi):
    """(release, question of the QEMU probe) -> its answer."""
    sessions: dict[str, Session] = {}

    def answer(release: str, **question: Any) -> dict[str, Any]:
        if release not in sessions:
            sessions[release] = _session(abi(release))
        [(_, reply)] = sessions[release].ask([question])
        assert reply.get("outcome") in ("recorded", "migrated"), reply
        return dict(reply)

    yield answer
    for session in sessions.values():
        session.close()


@pytest.fixture(scope="module")
def record(ask):
    """(release, words of QEMU's command line) -> what the guest dumps."""
    return lambda release, *argv: str(ask(release, op="record", argv=list(argv), wanted=["dump"])["dump"])


def _session(lab: Lab) -> Session:
    files = {"guest.elf": base64.b64encode((GUEST / "guest.elf").read_bytes()).decode()}
    opening = {"workdir": lab.workdir, "files": files}
    return Session(Start(lab.command(daemon=False), opening, source=paths.PACKAGE / "probes" / "qemu_probe.py"))


def changed(old: str, new: str) -> set[str]:
    before, after = facts(old), facts(new)
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def stable(dump: str) -> list[str]:
    return [line for line in dump.splitlines() if not line.startswith("volatile/")]


def test_binary_is_what_the_source_makes(tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("no gcc; apt-get install gcc")
    said = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    ident = said.replace("gcc", "GCC:", 1).encode()
    committed = (GUEST / "guest.elf").read_bytes()
    if ident not in committed:
        pytest.skip(f"another compiler made it: {said}")
    built = [tmp_path / "one.elf", tmp_path / "two.elf"]
    for file in built:
        done = subprocess.run([str(GUEST / "build.sh"), str(file)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"gcc -m32 cannot: {done.stderr[:200]}")
    assert built[0].read_bytes() == built[1].read_bytes() == committed


@pytest.mark.lab
@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("machine", [Q35, I440FX, ("-M", "microvm")], ids=["q35", "i440fx", "microvm"])
def test_two_guests_see_the_same(record: Record, release: str, machine: tuple[str, ...]) -> None:
    device = NET if machine[1] != "microvm" else ("-device", "virtio-net-device,mac=52:54:00:00:00:01")
    dump = record(release, *machine, *device)
    assert stable(dump) == stable(record(release, *machine, *device))
    seen = facts(dump)
    for path, value in seen.items():
        assert re.fullmatch(r"[^=\n]+", path), path
        assert " " not in path, path
        assert value, path
        assert "\n" not in value, path
    assert any(value.endswith(("features, kept", "ready, kept")) for value in seen.values())
    assert {path.split("/")[0] for path in seen} >= {"memory", "pci", "fw-cfg", "cmos", "ioapic"}
    assert not any("multiboot" in fact for fact in (*seen, *seen.values()))


@pytest.mark.lab
def test_facts_name_what_is_there(record: Record) -> None:
    seen = facts(record("debian-12", *Q35, "-cpu", "Nehalem", *NET, "-device", "pcie-root-port,id=rp,chassis=1",
                        "-device", "e1000e,bus=rp,mac=52:54:00:00:00:02", "-smbios", "type=1,serial=a b%c"))  # fmt: skip
    expected = {
        "cpuid/vendor": "GenuineIntel",
        "cpuid/signature": "family 6 model 26 stepping 3",
        "cpuid/hypervisor": "TCGTCGTCGTCG",
        "memory/0x0-0x9fc00": "usable",
        "pci/00:00.0/id": "8086:29c0",
        "pci/00:01.0/subsystem": "1af4:0001",
        "pci/00:01.0/bar0": "io 32 bytes",
        "pci/00:01.0/bar4": "memory 64-bit prefetchable 16384 bytes",
        "pci/00:01.0/msi-x": "3 vectors, table bar1+0x0, pending bar1+0x800",
        "pci/00:01.0/virtio/common": "bar4+0x0 4096 bytes",
        "pci/00:02.0/express": "version 2, root port, slot, message 0",
        "pci/01:00.0/id": "8086:10d3",
        "pci/01:00.0/extended": "aer@0x100 serial@0x140",
        "virtio/00:01.0/type": "net",
        "virtio/00:01.0/queue2": "64",
        "virtio/00:01.0/config": "52540000 00010100",
        "virtio/00:01.0/driver": "acknowledged driver ready features, kept",
        "fw-cfg/cpus": "1",
        "fw-cfg/[etc/system-states]": "6 bytes",
        "smbios/type1/serial": "a b%c",
        "smbios/type1/version": "pc-q35-5.2",
    }
    assert {path: seen.get(path) for path in expected} == expected
    assert "sse4.1" in seen["cpuid/0x1/ecx"].split()
    assert seen["acpi/FACP"].startswith("revision 3, 244 bytes")


@pytest.mark.lab
def test_a_property_changes_its_fact_alone(record: Record) -> None:
    plain = record("debian-12", *Q35, *NET)
    altered = record("debian-12", *Q35, *NET, "-global", "virtio-net-pci.rx_queue_size=512")
    assert changed(plain, altered) == {"virtio/00:01.0/queue0"}


@pytest.mark.lab
def test_a_cpu_flag_changes_its_word_alone(record: Record) -> None:
    plain = record("debian-12", *Q35, "-cpu", "Nehalem")
    altered = record("debian-12", *Q35, "-cpu", "Nehalem,-sse4.1")
    assert changed(plain, altered) == {"cpuid/0x1/ecx"}
    lost = set(facts(plain)["cpuid/0x1/ecx"].split()) ^ set(facts(altered)["cpuid/0x1/ecx"].split())
    assert lost == {"sse4.1"}


@pytest.mark.lab
def test_a_device_in_another_slot_moves(record: Record) -> None:
    paths = changed(record("debian-12", *I440FX, *NET), record("debian-12", *I440FX, NET[0], NET[1] + ",addr=5"))
    hardware = {"/".join(path.split("/")[:2]) for path in paths}
    assert hardware == {"pci/00:02.0", "pci/00:05.0", "virtio/00:02.0", "virtio/00:05.0"}


@pytest.mark.lab
def test_queues_are_the_device_s_and_not_the_firmware_s(record: Record) -> None:
    """SeaBIOS makes the queues of a disk that it could boot from smaller."""
    disk = ("-blockdev", "driver=null-co,node-name=d,size=1048576,read-zeroes=on")
    dump = record("debian-12", *Q35, *disk, "-device", "virtio-blk-pci,drive=d,queue-size=1024")
    assert facts(dump)["virtio/00:01.0/queue0"] == "1024"


@pytest.mark.lab
def test_a_restored_guest_finds_everything_as_it_left_it(ask) -> None:
    argv = [*Q35, *NET, "-device", "virtio-rng-pci,packed=on", "-device", "virtio-balloon-pci,disable-modern=on"]
    before = ask("debian-12", op="record", argv=argv, wanted=["dump", "stream"])
    after = ask("debian-12", op="replay", argv=argv, stream=before["stream"], counter=before["counter"])
    assert stable(after["dump"]) == stable(before["dump"])
    assert stable(after["dump"]).count("virtio/00:02.0/driver = 0f kept") == 1
    assert after["counter"] > before["counter"]
    assert after["mismatches"] == 0


@pytest.mark.lab
def test_damaged_dumps_are_bad_data(record: Record) -> None:
    dump = record("debian-12", *Q35, *NET)
    lines = dump.splitlines(keepends=True)
    for text in ("", "end\n", dump[: len(dump) // 2], "".join(lines[1:]), dump + "rubbish\n", dump + "usb/1 = 2\n"):
        with pytest.raises(BadData):
            facts(text)
    for number in range(len(lines)):
        for line in (lines[number][: len(lines[number]) // 2] + "\n", lines[number].rstrip("\n") + " zz\n"):
            try:
                facts("".join([*lines[:number], line, *lines[number + 1 :]]))
            except BadData as error:
                assert "dump:" in str(error)
