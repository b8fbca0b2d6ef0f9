"""Guests move between real QEMUs; one that refuses, dies, hangs or floods its pipe is an answer, and leaves nothing."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from virtcompat.errors import LabError
from virtcompat.labs import Lab
from virtcompat.labs.kinds.ssh import SshLab
from virtcompat.labs.qemu import Failed, Machine, Moved, QemuSessions, Recorded, address_spaces, vmdesc
from virtcompat.model import NotHere
from virtcompat.store import paths

Labs = Callable[[str], Lab]
GUEST = paths.PACKAGE / "guest" / "guest.elf"
NETWORK = ("-device", "virtio-net-pci,romfile=")
Q35 = Machine(("-M", "pc-q35-5.2", *NETWORK))
I440FX = Machine(("-M", "pc-i440fx-5.2", *NETWORK))
HANGS = "#!/bin/sh\necho I am thinking >&2\nsleep 1000 & sleep 1000\n"
FLOODS = '#!/bin/sh\nyes the pipe is full | head -c 20000000 >&2\nexec "$@"\n'
FLOODS_AND_HANGS = "#!/bin/sh\nyes the pipe is full >&2\n"
DIES = '#!/bin/sh\n"$@" &\nsleep 0.3\nkill -SEGV $!\nwait $!\n'
SAYS_NOTHING = '#!/bin/sh\nexec "$@" -S\n'
TALKS = '#!/bin/sh\nfor word in "$@"; do case $word in *vc-qmp,fd=*) fd=${word##*=};; esac; done\n'
TALKS += 'eval "echo not the greeting >&$fd"\nsleep 1000\n'
OTHER_QUEUE = '#!/bin/sh\nexec "$@" -global virtio-net-pci.rx_queue_size=512\n'
LEGACY = '#!/bin/sh\nexec "$@" -global virtio-net-pci.disable-modern=on\n'
OTHER_SLOT = '#!/bin/sh\nexec "$@" -device virtio-rng-pci,addr=9\n'


def family() -> dict[int, list[bytes]]:
    """pid -> command line of everything that descends from this process."""
    parents, lines = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
            lines[int(folder.name)] = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if stat.rpartition(")")[2].split()[0] != "Z":
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    mine = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return {pid: lines[pid] for pid in mine - {os.getpid()}}


def assert_nothing_left(sessions: QemuSessions) -> None:
    """Between two questions the probes are all that runs, and the guest is all that lies there."""
    left = {pid: line for pid, line in family().items() if line[0] not in (b"bwrap", b"python3")}
    assert {pid: line for pid, line in left.items() if b"python3" not in line[0]} == {}
    for pid, line in family().items():
        folder = Path(f"/proc/{pid}/root/run/virt-compat/qemu")
        if b"python3" in line[0] and folder.exists():
            assert [file.name for file in folder.iterdir()] == ["guest.elf"]
    assert list(sessions.shared.iterdir()) == []


@pytest.fixture(scope="module")
def module_sessions() -> Iterator[QemuSessions]:
    with QemuSessions(GUEST.read_bytes(), step=15.0) as found:
        yield found
    assert family() == {}
    assert not found.shared.exists()


@pytest.fixture
def sessions(module_sessions: QemuSessions) -> Iterator[QemuSessions]:
    yield module_sessions
    module_sessions.step = 15.0
    assert_nothing_left(module_sessions)


@pytest.fixture(scope="module")
def recorded(abi: Labs, module_sessions: QemuSessions) -> Recorded:
    found = module_sessions.record(abi("debian-12"), Q35)
    assert isinstance(found, Recorded), found
    return found


def seen(dump: str) -> list[str]:
    """What a guest sees, without what differs each time."""
    return [line for line in dump.splitlines() if not line.startswith("volatile/")]


@pytest.mark.lab
def test_a_record_says_it_all_and_says_it_twice(abi: Labs, sessions: QemuSessions, recorded: Recorded) -> None:
    again = sessions.record(abi("debian-12"), Q35)
    assert isinstance(again, Recorded)
    plain = {"stream": b"", "counter": 0, "dump": "", "vmdesc": {}}
    assert replace(again, **plain) == replace(recorded, **plain)
    assert seen(again.dump) == seen(recorded.dump)
    assert any("pci/" in line for line in seen(recorded.dump))
    assert "virtio-net-pci" in recorded.qtree
    assert recorded.pci[0]["bus"] == 0
    assert "memory 0000000000000000-" in recorded.mtree
    assert "I/O 0000000000000000-" in recorded.mtree
    assert recorded.cpu["x2apic"] in (True, False)
    assert recorded.machine["name"] == "pc-q35-5.2"
    assert "virtio-net" in str([device["name"] for device in recorded.vmdesc["devices"]])
    assert recorded.counter > 0


@pytest.mark.lab
def test_only_what_is_wanted_is_recorded(abi: Labs, sessions: QemuSessions) -> None:
    found = sessions.record(abi("debian-14"), Machine(("-M", "microvm")), ("qtree",))
    assert isinstance(found, Recorded)
    assert replace(found, qtree="", words="") == Recorded()


@pytest.mark.lab
def test_a_stream_is_replayed_by_its_own_release(abi: Labs, sessions: QemuSessions, recorded: Recorded) -> None:
    moved = sessions.replay(abi("debian-12"), Q35, recorded)
    assert (moved.status, moved.mismatches) == ("migrated", 0), moved.words
    assert moved.counter_after > moved.counter_before == recorded.counter
    assert seen(moved.after) == seen(recorded.dump)


@pytest.mark.lab
def test_guests_live_migrate_in_both_directions_at_once(abi: Labs, sessions: QemuSessions) -> None:
    ways = [("debian-12", "debian-13"), ("debian-13", "debian-12")]
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda way: sessions.live(abi(way[0]), abi(way[1]), Q35), ways))
    for moved in found:
        assert isinstance(moved, Moved)
        assert (moved.status, moved.mismatches) == ("migrated", 0), moved
        assert moved.counter_after > moved.counter_before > 0
        assert {line for line in seen(moved.before) if "pci/" in line} == {
            line for line in seen(moved.after) if "pci/" in line
        }


@pytest.mark.lab
@pytest.mark.parametrize(
    ("machine", "status", "words"),
    [
        (Machine(("-device", "flux-capacitor")), "unstarted", "'flux-capacitor' is not a valid device model name"),
        (Machine(("-M", "pc-q35-99.9")), "unstarted", "unsupported machine type"),
        (Machine((), binary="qemu-system-vax"), "unstarted", "No such file"),
        (replace(Q35, wrapper=HANGS), "hung", "did not come up in time | I am thinking"),
        (replace(Q35, wrapper=FLOODS_AND_HANGS), "hung", "the pipe is full"),
        (replace(Q35, wrapper=DIES), "crashed", "SIGSEGV"),
        (replace(Q35, wrapper=TALKS), "crashed", "not the greeting"),
        (replace(Q35, wrapper=SAYS_NOTHING), "stuck", "the guest did not come up"),
    ],
)  # fmt: skip
def test_a_source_that_misbehaves_is_said_so(
    abi: Labs, sessions: QemuSessions, machine: Machine, status: str, words: str
) -> None:
    sessions.step = 1.5
    # A machine that its guest leaves alone for longer than it lives.
    found = sessions.record(abi("debian-12"), machine, ("dump",) * 500)
    assert isinstance(found, Failed)
    assert (found.status, words in found.words) == (status, True), found


@pytest.mark.lab
def test_a_pipe_that_overflows_stops_no_qemu(abi: Labs, sessions: QemuSessions) -> None:
    found = sessions.record(abi("debian-12"), replace(Q35, wrapper=FLOODS), ("dump",))
    assert isinstance(found, Recorded)
    assert "the pipe is full" in found.words
    assert len(found.words) < 3000


def truncated(recorded: Recorded) -> Recorded:
    return replace(recorded, stream=recorded.stream[: len(recorded.stream) // 2])


def garbage(recorded: Recorded) -> Recorded:
    return replace(recorded, stream=b"not a stream of anything" * 1000)


def from_the_future(recorded: Recorded) -> Recorded:
    return replace(recorded, counter=1 << 40)


@pytest.mark.lab
@pytest.mark.parametrize(
    ("machine", "change", "status", "words"),
    [
        (Q35, truncated, "refused", "load of migration failed"),
        (Q35, garbage, "refused", "Not a migration stream"),
        (I440FX, replace, "refused", "load of migration failed"),
        (replace(Q35, wrapper=LEGACY), replace, "refused", "load of migration failed"),
        (replace(Q35, argv=(*Q35.argv, "-device", "flux-capacitor")), replace, "unstarted", "flux-capacitor"),
        (replace(Q35, wrapper=HANGS), replace, "hung", "did not come up in time"),
        (replace(Q35, wrapper=DIES.replace("0.3", "0.01")), replace, "crashed", "SIGSEGV"),
        (Q35, from_the_future, "stuck", "the counter fell to"),
    ],
)
def test_a_destination_that_does_not_take_the_guest_is_said_so(
    abi: Labs, sessions: QemuSessions, recorded: Recorded, machine: Machine,
    change: Callable[[Recorded], Recorded], status: str, words: str,
) -> None:  # fmt: skip
    sessions.step = 3.0
    moved = sessions.replay(abi("debian-12"), machine, change(recorded))
    assert (moved.status, words in moved.words) == (status, True), moved.words
    assert (moved.before, moved.after) == (recorded.dump, "")


@pytest.mark.lab
@pytest.mark.parametrize(("wrapper", "word"), [(OTHER_QUEUE, "512"), (OTHER_SLOT, "pci/00:09.0")])
def test_a_seeded_change_is_seen_by_the_guest(
    abi: Labs, sessions: QemuSessions, recorded: Recorded, wrapper: str, word: str
) -> None:
    altered = sessions.record(abi("debian-12"), replace(Q35, wrapper=wrapper), ("dump",))
    assert isinstance(altered, Recorded)
    new = set(seen(altered.dump)) - set(seen(recorded.dump))
    assert any(word in line for line in new), sorted(new)


@pytest.mark.lab
@pytest.mark.parametrize(
    ("machine", "arriving", "expected"),
    [
        (Q35, I440FX, Moved("refused", "load of migration failed")),
        (Q35, replace(Q35, wrapper=HANGS), Moved("hung", "did not come up in time")),
        (Q35, Machine(("-M", "pc-q35-99.9")), Moved("unstarted", "unsupported machine type")),
        (Machine(("-M", "pc-q35-99.9")), Q35, Failed("unstarted", "unsupported machine type")),
        (replace(Q35, wrapper=SAYS_NOTHING), Q35, Failed("stuck", "the guest did not come up")),
        (Machine((*Q35.argv, "-device", "vmcoreinfo", "-device", "ivshmem-plain,memdev=m", "-object",
                  "memory-backend-file,id=m,share=on,mem-path=/dev/shm/m,size=1M")), Q35,
         Failed("refused", "Migration is disabled")),
    ],
)  # fmt: skip
def test_a_live_migration_names_the_side_that_failed(
    abi: Labs, sessions: QemuSessions, machine: Machine, arriving: Machine, expected: Moved | Failed
) -> None:
    sessions.step = 3.0
    found = sessions.live(abi("debian-12"), abi("debian-13"), machine, arriving)
    assert type(found) is type(expected), found
    assert (found.status, expected.words in found.words) == (expected.status, True), found  # type: ignore[union-attr]


@pytest.mark.lab
def test_a_live_migration_needs_a_shared_directory(abi: Labs, sessions: QemuSessions) -> None:
    found = sessions.live(abi("debian-12"), SshLab("far-away", "example.org"), Q35)
    assert isinstance(found, NotHere)
    assert "far-away" in found.reason


@pytest.mark.lab
def test_the_monitor_is_asked_without_a_guest(abi: Labs, sessions: QemuSessions) -> None:
    names = {machine["name"] for machine in sessions.machines(abi("debian-12"))}
    assert {"pc-q35-5.2", "microvm"} <= names
    entries = {entry["name"]: entry for entry in sessions.machines(abi("debian-14"), compat_props=True)}
    assert entries["pc-q35-5.2"]["compat-props"]
    with pytest.raises(LabError, match="compat-props"):
        sessions.machines(abi("debian-12"), compat_props=True)
    with pytest.raises(LabError, match="flux-capacitor"):
        sessions.ask(abi("debian-12"), Machine(("-device", "flux-capacitor")), {"execute": "query-status"})


@pytest.mark.lab
def test_what_a_block_started_ends_with_it(abi: Labs) -> None:
    before = set(family())
    with QemuSessions(GUEST.read_bytes()) as sessions, sessions._probe(abi("debian-12")) as probe:
        sessions._ask(probe, Q35.question("start"))
        assert any(b"qemu-system-x86_64" in line[0] for pid, line in family().items() if pid not in before)
    assert set(family()) <= before
    assert not sessions.shared.exists()


def test_the_description_is_found_behind_whatever_looks_like_it() -> None:
    text = b'{"devices": []}'
    end = b"\x06" + struct.pack(">I", len(text)) + text
    assert vmdesc(b"QEVM\x06\x00\x00\x00\x06\x06" + end) == {"devices": []}
    assert vmdesc(b"QEVM" + end[:-1]) == {}
    assert vmdesc(b"") == {}


def test_flat_views_are_put_in_order() -> None:
    view = '\n AS "%s", root: x\n Root memory region: x\n  %s-0000000000000fff (prio 0, ram): y\n\n'
    memory, ports = view % ("memory", "0" * 16), view % ("I/O", "0" * 15 + "1")
    found = {address_spaces(f"FlatView #0{a}FlatView #1{b}") for a, b in ((memory, ports), (ports, memory))}
    assert found == {
        "memory 0000000000000000-0000000000000fff (prio 0, ram): y\n"
        "I/O 0000000000000001-0000000000000fff (prio 0, ram): y\n"
    }
