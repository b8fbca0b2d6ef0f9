"""Guests in save images, between two releases; libvirt's own ABI check against the domain surface."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from virtcompat.engine import oracle
from virtcompat.engine.oracle import Agreement, Alteration, Row
from virtcompat.errors import BadData, LabError
from virtcompat.labs import Lab, saves
from virtcompat.labs.saves import Host, Restored, Saved
from virtcompat.model import Tier

#: What QEMU 10.0 tells of a processor in SMBIOS is not what 7.2 told, whatever the machine type.
SMBIOS = "fw-cfg/[etc/smbios/smbios-tables]/content"
#: Asked, but no release's ABI check gets to see it: the definition is nobody's.
UNASKED = {"machine-i440fx", "virt-type", "disk-product"}


@pytest.fixture(scope="module")
def old(abi: Callable[[str], Lab]) -> Iterator[Host]:
    with saves.hosting(abi("debian-12")) as host:
        yield host


@pytest.fixture(scope="module")
def new(abi: Callable[[str], Lab]) -> Iterator[Host]:
    with saves.hosting(abi("debian-13")) as host:
        yield host


@pytest.fixture(scope="module")
def minimal(old: Host) -> Saved:
    return old.save(saves.definitions()["minimal"])


@pytest.fixture(scope="module")
def guest(old: Host) -> Saved:
    return old.save(saves.definitions()[oracle.DEFINITION])


@pytest.fixture(scope="module")
def rows(old: Host, guest: Saved) -> list[Row]:
    return oracle.ask(old, guest, oracle.alterations())


# Save images.


@pytest.mark.lab
def test_a_guest_goes_on_in_its_own_release(old: Host, minimal: Saved) -> None:
    restored = old.restore(minimal.image)
    assert (restored.status, saves.faults(minimal, restored)) == ("migrated", [])
    assert minimal.counter <= restored.counter_before < restored.counter_after
    assert "pci/00:00.0/" in minimal.dump
    assert "volatile/" not in minimal.dump


@pytest.mark.lab
def test_a_guest_goes_on_in_the_next_release(new: Host, minimal: Saved) -> None:
    restored = new.restore(minimal.image)
    assert restored.status == "migrated", restored.words
    assert minimal.counter <= restored.counter_before < restored.counter_after
    assert restored.mismatches == 0
    assert [fault for fault in saves.faults(minimal, restored) if not fault.startswith(SMBIOS)] == []


@pytest.mark.lab
def test_an_image_that_is_cut_off_is_refused_and_leaves_nothing(old: Host, minimal: Saved) -> None:
    for length in (0, 10, 91, 600, len(minimal.image) // 2):
        restored = old.restore(minimal.image[:length])
        assert restored.status == "refused", (length, restored)
        assert restored.words
    assert saves.faults(minimal, old.restore(minimal.image)) == []


@pytest.mark.lab
def test_an_image_with_an_altered_header_is_refused(old: Host, minimal: Saved) -> None:
    for at, word, said in (
        (0, b"Libvort", "magic"),
        (16, b"\x63\0\0\0", "version"),
        (20, b"\xff\xff\xff\x7f", "cookie"),
        (28, b"\x4d\0\0\0", "compress"),
        (92, b"<nobody", "domain"),
    ):
        image = minimal.image[:at] + word + minimal.image[at + len(word) :]
        restored = old.restore(image)
        assert restored.status == "refused", (at, restored)
        assert said in restored.words, (at, restored)


@pytest.mark.lab
def test_a_damaged_stream_never_passes_for_a_good_one(old: Host, minimal: Saved) -> None:
    at = minimal.image.index(b"QEVM") + 4
    restored = old.restore(minimal.image[:at] + b"\xff\xff" + minimal.image[at + 2 :])
    assert restored.status in ("refused", "crashed")
    assert "QEMU" in restored.words or "qemu" in restored.words, restored.words


@pytest.mark.lab
def test_what_libvirt_lets_pass_qemu_may_refuse(old: Host, guest: Saved) -> None:
    xml = named("disk-event-idx").apply(guest.xml)
    assert old.define(guest.image, [xml])[0].status == "accepted"
    restored = old.restore(guest.image, xml)
    assert restored.status == "refused"
    assert "load of migration failed" in restored.words


@pytest.fixture
def silent(tmp_path: Path) -> Path:
    """A guest that does nothing."""
    program = bytearray(saves.GUEST.read_bytes())
    entry, offset, virtual = (int.from_bytes(program[at : at + 4], "little") for at in (24, 56, 60))
    start = entry - virtual + offset
    program[start : start + 2] = b"\xeb\xfe"  # jump to itself
    file = tmp_path / "silent.elf"
    file.write_bytes(program)
    return file


def running(name: str) -> list[int]:
    """The QEMUs that run a guest of this name, here or in a sandbox."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = file.read_bytes().split(b"\0")
            if words[0].endswith(b"qemu-system-x86_64") and any(f"guest={name},".encode() in word for word in words):
                found.append(int(file.parent.name))
    return found


def spent(pid: int) -> float:
    """The seconds of CPU that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.lab
def test_a_guest_that_never_answers_is_hung_and_gone(abi: Callable[[str], Lab], silent: Path) -> None:
    name = f"vc-silent-{os.getpid()}"
    xml = saves.definitions()["minimal"].replace(">minimal<", f">{name}<")
    with saves.hosting(abi("debian-12"), silent, limit=4) as host:
        with pytest.raises(saves.Unsaved) as caught:
            host.save(xml)
        assert caught.value.status == "hung"
        assert running(name) == []


@pytest.mark.lab
def test_a_qemu_that_a_signal_ends_is_crashed(abi: Callable[[str], Lab], silent: Path) -> None:
    name = f"vc-struck-{os.getpid()}"
    xml = saves.definitions()["minimal"].replace(">minimal<", f">{name}<")

    def strike() -> None:
        while not (found := running(name)):
            time.sleep(0.02)
        while spent(found[0]) < 2:  # s: what no QEMU needs before its guest runs
            time.sleep(0.02)
        os.kill(found[0], signal.SIGSEGV)

    with saves.hosting(abi("debian-12"), silent, limit=40) as host:
        threading.Thread(target=strike, daemon=True).start()
        with pytest.raises(saves.Unsaved, match="SIGSEGV") as caught:
            host.save(xml)
    assert caught.value.status == "crashed"


@pytest.mark.lab
def test_a_guest_that_cannot_start_says_why(old: Host) -> None:
    xml = saves.definitions()["minimal"].replace("pc-i440fx-5.2", "pc-i440fx-99.9")
    with pytest.raises(saves.Unsaved, match=r"pc-i440fx-99\.9"):
        old.save(xml)


def test_only_a_sandbox_is_trusted_with_guests(tmp_path: Path) -> None:
    class Bare:
        release, workdir, sandboxed = "bare", str(tmp_path), False

        def command(self, daemon: bool) -> list[str]:
            return ["python3"]

    with pytest.raises(LabError, match="sandbox"):
        saves.command(Bare(), tmp_path / "cache")  # type: ignore[arg-type]


def test_faults_name_what_is_wrong() -> None:
    dump = saves.Saved(b"", "", 7, "")
    assert saves.faults(dump, Restored("refused", "no")) == ["refused: no"]


def test_no_image_is_not_taken_for_one() -> None:
    with pytest.raises(ValueError, match="no save image"):
        saves.with_definition(b"LibvirtQemudSavo" + bytes(100), "<domain/>")


# The oracle.


def named(name: str) -> Alteration:
    return next(a for a in oracle.alterations() if a.name == name)


def test_alterations_are_many_and_all_places_are_named() -> None:
    assert len(oracle.alterations()) >= 200
    with pytest.raises(BadData, match="nothing at"):
        replace(named("title"), at="nowhere").apply("<domain><title>a</title></domain>")


def test_an_alteration_alters() -> None:
    xml = "<domain><memory unit='KiB'>65536</memory></domain>"
    assert named("memory-other-unit").apply(xml).split() == '<domain> <memory unit="MiB">64</memory> </domain>'.split()


@pytest.mark.lab
def test_the_surface_agrees_with_libvirt_but_for_what_is_declared(rows: list[Row]) -> None:
    assert oracle.unexplained(rows) == []
    assert len(rows) == len(oracle.alterations())
    assert {row.alteration for row in rows if row.agreement is Agreement.UNASKED} == UNASKED


@pytest.mark.lab
def test_what_is_declared_is_still_so(rows: list[Row]) -> None:
    assert oracle.stale(rows) == []
    assert sum(row.agreement in (Agreement.LAX, Agreement.STRICT) for row in rows) > 40


@pytest.mark.lab
def test_the_oracle_says_the_same_twice(old: Host, guest: Saved, rows: list[Row]) -> None:
    assert oracle.ask(old, guest, oracle.alterations()) == rows


@pytest.mark.lab
def test_what_a_guest_sees_of_an_alteration_is_measured(old: Host, guest: Saved) -> None:
    seen = oracle.measure(old, guest, named("smbios-oem-string"))
    assert any(line.startswith("smbios/type11/") for line in seen.booted), seen
    assert [line.partition(":")[0] for line in seen.restored] == [SMBIOS]


@pytest.mark.lab
def test_a_surface_that_is_wrong_is_found(rows: list[Row]) -> None:
    by_name = {row.alteration: row for row in rows}
    lax = replace(by_name["memory-more"], tier=Tier.RISK)
    strict = replace(by_name["title"], tier=Tier.GUEST_ABI_BREAK)
    assert oracle.unexplained([lax, strict]) == [lax, strict]
    mended = replace(by_name["cpu-match"], tier=Tier.BREAK)
    assert oracle.stale([mended]) == [(mended.release, "cpu-match")]
