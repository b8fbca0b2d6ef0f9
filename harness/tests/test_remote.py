"""Clients and daemons of different releases: what is a finding, and that a daemon that lies is seen to lie."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from virtcompat.cli import group
from virtcompat.engine import remote as engine
from virtcompat.engine.columns import Columns
from virtcompat.engine.remote import Talks
from virtcompat.errors import BadData, NotAsked, UsageError
from virtcompat.labs import Lab, daemons
from virtcompat.labs.daemons import Address, Arena, Daemon
from virtcompat.model import Change, Column, NotHere, Outcome, Tier, Verdict
from virtcompat.policy import remote as policy
from virtcompat.policy.remote import Said, Sides
from virtcompat.store import paths, releases
from virtcompat.store import remote as store

SIDES = Sides("old", "new")


# What is asked.


def test_there_are_enough_calls_and_no_two_of_a_name() -> None:
    topics = store.topics()
    library = [c for t in topics for c in t.calls if not c.virsh]
    assert sum(t.connect.startswith("test:") for t in topics) >= 7
    assert len([c for t in topics if t.connect.startswith("test:") for c in t.calls]) > 400
    assert len(library) > 400
    assert sum(c.virsh for t in topics for c in t.calls) > 50
    assert all(t.summary for t in topics)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'summary = "s"\nconnect = "test:///default"\n[calls]\nx = { do = "1", shap = "type" }',
            ":4: x: unknown key 'shap'",
        ),
        ('summary = "s"\nconnect = "test:///default"\n[calls]\nx = { shape = "type" }', ":4: x: 'do' is missing"),
        (
            'summary = "s"\nconnect = "test:///default"\n[calls]\n\nx = { do = "1", shape = "odd" }',
            ":5: x: no shape 'odd'",
        ),
        ('summary = "s"\n[calls]\nx = "1"', "'connect' is missing"),
    ],
)
def test_a_wrong_topic_names_its_line(text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fixtures" / "remote").mkdir(parents=True)
    (tmp_path / "fixtures" / "remote" / "odd.toml").write_text(text)
    monkeypatch.setenv("VIRT_COMPAT_DATA", str(tmp_path))
    store.topics.cache_clear()
    try:
        with pytest.raises(BadData, match=r"odd\.toml") as caught:
            store.topics()
        assert words in str(caught.value)
    finally:
        store.topics.cache_clear()


def test_no_topic_at_all_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fixtures").mkdir()
    monkeypatch.setenv("VIRT_COMPAT_DATA", str(tmp_path))
    store.topics.cache_clear()
    try:
        with pytest.raises(BadData, match="no topics"):
            store.topics()
    finally:
        store.topics.cache_clear()


# What is judged.


def verdict(own: Said, control: Said | None, recorded: str = "") -> Verdict:
    return policy.verdict("unix/topic/call", SIDES, own, control, recorded)


@pytest.mark.parametrize(
    ("own", "control", "outcome", "tier", "change"),
    [
        (Said("ok", "1"), Said("ok", "1"), Outcome.COMPATIBLE, Tier.IDENTICAL, None),
        (Said("error", "3 from 20", "a"), Said("error", "3 from 20", "b"), Outcome.COMPATIBLE, Tier.IDENTICAL, None),
        (Said("ok", "2"), Said("ok", "1"), Outcome.INCOMPATIBLE, Tier.BREAK, Change.CHANGED),
        (Said("error", "8 from 20"), Said("ok", "1"), Outcome.INCOMPATIBLE, Tier.BREAK, Change.REFUSED),
        (Said("ok", "1"), Said("error", "8 from 20"), Outcome.COMPATIBLE, Tier.RISK, Change.ACCEPTED),
        (Said("error", "8 from 20"), Said("error", "3 from 20"), Outcome.COMPATIBLE, Tier.RISK, Change.CHANGED),
        (Said("dropped"), Said("ok", "1"), Outcome.INCOMPATIBLE, Tier.BREAK, Change.LOST),
        (Said("dropped"), Said("dropped"), Outcome.INCOMPATIBLE, Tier.BREAK, Change.LOST),
        (Said("hung"), Said("no-binding"), Outcome.INCOMPATIBLE, Tier.BREAK, Change.HUNG),
        (Said("crashed"), None, Outcome.INCOMPATIBLE, Tier.BREAK, Change.CRASHED),
        (Said("no-binding"), Said("ok", "1"), Outcome.NOT_APPLICABLE, Tier.IDENTICAL, None),
        (Said("error", "3 from 7"), Said("no-binding"), Outcome.NOT_APPLICABLE, Tier.IDENTICAL, None),
        (Said("unasked"), Said("ok", "1"), Outcome.NOT_APPLICABLE, Tier.IDENTICAL, None),
        (Said("ok", "1"), Said("dropped"), Outcome.NOT_APPLICABLE, Tier.IDENTICAL, None),
        (Said("ok", "1"), None, Outcome.NOT_HERE, Tier.IDENTICAL, None),
        (Said("fault", "SyntaxError"), Said("ok", "1"), Outcome.BROKEN, Tier.IDENTICAL, None),
    ],
)
def test_what_an_answer_comes_to(
    own: Said, control: Said | None, outcome: Outcome, tier: Tier, change: Change | None
) -> None:
    found = verdict(own, control)
    assert (found.outcome, found.worst) == (outcome, tier)
    assert [f.change for f in found.findings] == ([change] if change else [])


def test_an_answer_that_is_not_the_recorded_one_is_told() -> None:
    (finding,) = verdict(Said("ok", "1"), Said("ok", "1"), "ok 2").findings
    assert (finding.change, finding.tier, finding.old, finding.new) == (Change.UNSTABLE, Tier.RISK, "ok 2", "ok 1")


def test_a_long_value_is_written_down_as_a_digest_and_shown_around_its_difference() -> None:
    one, other = Said("ok", "<a>\n" * 100), Said("ok", "<a>\n" * 60 + "<b>\n" + "<a>\n" * 39)
    assert one.fact.startswith("ok sha256:")
    assert one.fact.endswith("400 characters")
    assert one.fact != other.fact
    (finding,) = verdict(other, one).findings
    assert "<b>" in finding.new
    assert len(finding.new) < 200
    assert Said.read(one.fact).fact == one.fact
    assert Said("ok", " blank at the front").fact.startswith("ok sha256:")
    assert Said("ok", "sha256: what somebody called a domain").fact.startswith("ok sha256:")


def test_a_record_says_what_the_talk_said() -> None:
    calls = {"t/a": ("unix", "tcp", "tls"), "t/b": ("unix", "tcp", "tls"), "t/c": ("tls",)}
    said = {
        "unix": {"t/a": Said("ok", "1"), "t/b": Said("ok", "0")},
        "tcp": {"t/a": Said("ok", "1"), "t/b": Said("dropped", words="x")},
        "tls": {"t/a": Said("ok", "1"), "t/b": Said("ok", "0"), "t/c": Said("error", "38 from 7", "no")},
    }
    facts = policy.facts(said)
    assert facts == {"t/a": "ok 1", "t/b": "ok 0", "t/b/tcp": "dropped", "t/c": "error 38 from 7"}
    back = policy.talk(facts, calls)
    assert {t: {n: s.fact for n, s in of.items()} for t, of in back.items()} == {
        t: {n: s.fact for n, s in of.items()} for t, of in said.items()
    }


# Without labs.


def columns(**labs: Lab | NotHere) -> Columns:
    known = [Column(name, "9.0.0", "7.2", ((9,), (7, 2)), golden=False, live=True) for name in labs]
    return Columns(known, {(name, ""): lab for name, lab in labs.items()})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache with the labs of the real one."""
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "labs").symlink_to(paths.cache_dir() / "labs")
    monkeypatch.setenv("VIRT_COMPAT_CACHE", str(folder))
    return folder


def test_a_missing_lab_is_said_with_the_remedy(cache: Path) -> None:
    found = columns(one=NotHere("no lab one", "virt-compat lab create one"))
    with Talks(found) as talks:
        (verdicts,) = engine.cells(talks, engine.keys(found)).values()
    assert [(v.outcome, v.reason) for v in verdicts] == [(Outcome.NOT_HERE, "no lab one; virt-compat lab create one")]


def test_what_is_recorded_stands_in_for_a_missing_lab(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the record of the old client lacks a call, and gets another answer to one; the TLS answer of one is missing."""
    (tmp_path / "fixtures").symlink_to(paths.data_root() / "fixtures")
    folder = tmp_path / "golden" / "new" / "remote"
    folder.mkdir(parents=True)
    every = dict.fromkeys(engine.calls(), "ok same")
    lines = {"new": every, "old": {**every, "domain/define": "no-binding", "domain/info/tls": "ok other"}}
    for client, facts in lines.items():
        (folder / f"{client}.txt").write_text("".join(f"{k} = {v}\n" for k, v in sorted(facts.items())))
    monkeypatch.setenv("VIRT_COMPAT_DATA", str(tmp_path))
    found = columns(old=NotHere("gone", "-"), new=NotHere("gone", "-"))
    with Talks(found) as talks:
        cell = engine.cells(talks, engine.keys(found, ("old",), ("new",)))
    (verdicts,) = cell.values()
    assert [v.case for v in verdicts if v.outcome is Outcome.INCOMPATIBLE] == ["tls/domain/info"]
    assert [v.case for v in verdicts if v.outcome is Outcome.NOT_APPLICABLE] == [
        "unix/domain/define", "tcp/domain/define", "tls/domain/define",
    ]  # fmt: skip
    assert sum(v.outcome is Outcome.COMPATIBLE for v in verdicts) == len(verdicts) - 4


def test_without_the_programs_it_needs_nothing_is_asked_and_nothing_fails(
    lab: Lab, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, *a, **k: None if name == "nsenter" else there(name, *a, **k))
    found = columns(one=lab)
    with Talks(found) as talks:
        (verdicts,) = engine.cells(talks, engine.keys(found)).values()
    assert [v.outcome for v in verdicts] == [Outcome.NOT_HERE]
    assert verdicts[0].reason == "nsenter is not installed; apt-get install util-linux"


def test_recording_is_for_the_tools_own_releases() -> None:
    with pytest.raises(UsageError, match="of your own"):
        engine.record("mine")


# With labs.


def renamed(lab: Lab, name: str) -> Lab:
    """The same lab under another name, as if it were another release's."""
    return replace(lab, release=name, digest=name)  # type: ignore[type-var,call-arg]  # a built lab is a dataclass


def short(path: Path) -> str:
    """Another path of a socket: the kernel takes none of more than 107 bytes."""
    return f"/proc/self/fd/{os.open(path.parent, os.O_DIRECTORY)}/{path.name}"


@dataclass(slots=True)
class Liar:
    """Stands between a client and a daemon's unix socket, and does one thing wrong to one procedure.

    how: ``other`` (the last byte of the reply is another), ``drop`` or ``hang``.
    """

    real: Path
    front: Path
    procedure: int
    how: str
    listener: socket.socket = field(init=False)
    open: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.front.parent.mkdir(exist_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(short(self.front))
        self.listener.listen(16)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                daemon = socket.socket(socket.AF_UNIX)
                daemon.connect(short(self.real))
                self.open += [client, daemon]
                for source, target, lying in ((client, daemon, False), (daemon, client, True)):
                    threading.Thread(target=self.carry, args=(source, target, lying), daemon=True).start()

    def carry(self, source: socket.socket, target: socket.socket, lying: bool) -> None:
        with suppress(OSError):
            while (head := source.recv(4, socket.MSG_WAITALL)) and len(head) == 4:
                body = source.recv(struct.unpack(">I", head)[0] - 4, socket.MSG_WAITALL)
                if lying and struct.unpack(">i", body[8:12])[0] == self.procedure:
                    if self.how == "drop":
                        break
                    if self.how == "hang":
                        continue
                    body = body[:-1] + bytes([body[-1] ^ 1])
                target.sendall(head + body)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in (self.listener, *self.open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


GET_MAX_VCPUS = 5


@pytest.mark.lab
@pytest.mark.parametrize(
    ("how", "change", "words"),
    [
        ("other", Change.CHANGED, "33"),
        ("drop", Change.LOST, "the connection is dropped"),
        ("hang", Change.HUNG, "no answer within 1 s"),
    ],
)
def test_a_daemon_that_lies_is_caught(
    how: str, change: Change, words: str, lab: Lab, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one client meets the liar; what it is told is held against what the daemon tells its own."""
    monkeypatch.setattr(store, "topics", lambda: tuple(t for t in _topics() if t.name == "connection"))
    engine.calls.cache_clear()
    liars: list[Liar] = []
    honest = daemons.talk

    def talk(client: daemons.Client, daemon: Daemon, transport: str, topic: store.Topic) -> daemons.Records:
        if (client.lab.release, daemon.lab.release) != ("one", "two"):
            return honest(client, daemon, transport, topic)
        if not liars:
            front = client.room.folder / "liar" / "libvirt-sock"
            liars.append(Liar(client.room.folder / "two" / "libvirt-sock", front, GET_MAX_VCPUS, how))
        query = f"socket={daemons.SHARED}/liar/libvirt-sock"
        with monkeypatch.context() as patch:
            patch.setattr(Daemon, "address", lambda self, transport: Address("unix", "", query))
            return honest(client, daemon, transport, topic)

    monkeypatch.setattr(daemons, "talk", talk)
    found = columns(one=renamed(lab, "one"), two=renamed(lab, "two"))
    try:
        with Talks(found, transports=("unix",), limit=1.0) as talks:
            (verdicts,) = engine.cells(talks, engine.keys(found, ("one",), ("two",))).values()
    finally:
        engine.calls.cache_clear()
        for liar in liars:
            liar.close()
    assert liars
    bad = {v.case: v.findings for v in verdicts if v.outcome is Outcome.INCOMPATIBLE}
    # One call has the proxy's own limit: no read-only socket lies beside it.
    assert set(bad) - {c for c in bad if "read-only-socket" in c} == {
        "unix/connection/max-vcpus", "unix/connection/max-vcpus-of-no-type",
    }  # fmt: skip
    (finding,) = bad["unix/connection/max-vcpus"]
    assert (finding.change, finding.tier) == (change, Tier.BREAK)
    assert words in finding.new
    # What the liar did to two calls does not cost the others their answer.
    assert sum(v.outcome is Outcome.COMPATIBLE for v in verdicts) > 45
    assert not [v for v in verdicts if v.outcome in (Outcome.BROKEN, Outcome.NOT_HERE)]


def _topics() -> tuple[store.Topic, ...]:
    return _ALL


_ALL = store.topics()


@pytest.mark.lab
def test_a_daemon_that_dies_is_started_again_and_said_to_have_died(lab: Lab, cache: Path) -> None:
    with Arena(limit=2.0) as arena:
        daemon, client = arena.daemon(lab), arena.client(lab)
        assert daemon.check() == ""
        topic = next(t for t in store.topics() if t.name == "secrets")
        before = daemons.talk(client, daemon, "unix", topic)
        pids = [pid for pid, line in _processes().items() if line[:2] == ["libvirtd", "--listen"]]
        inside = [pid for pid in pids if _shares_network(pid, arena.room.pid)]
        assert len(inside) == 1
        os.kill(inside[0], signal.SIGSEGV)
        assert "SIGSEGV" in daemon.check(2.0)
        assert daemon.check() == ""
        after = daemons.talk(client, daemon, "unix", topic)
    assert {n: r["class"] for n, r in after.items()} == {n: r["class"] for n, r in before.items()}


def _processes() -> dict[int, list[str]]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
    return found


def _shares_network(pid: int, other: int) -> bool:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/net") == os.readlink(f"/proc/{other}/ns/net")
    return False


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = group.main([*arguments, "--format", "json"], standalone_mode=False)
    return int(code), json.loads(capsys.readouterr().out)


@pytest.mark.lab
def test_a_release_with_itself_over_every_transport(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = report(capsys, "remote", "--client", "debian-12", "--daemon", "debian-12")
    (cell,) = said["cells"]
    assert cell["counts"].keys() == {"compatible", "not-applicable"}
    assert cell["counts"]["compatible"] > 1500
    assert {f["path"].partition("/")[2] for f in cell["findings"]} == {
        "domain/create-transient-with-files", "domain/files-associated",
    }  # fmt: skip
    assert all(f["entry"] for f in cell["findings"])
    assert code == 0


@pytest.mark.lab
def test_what_was_not_asked_is_no_pass(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    own = ("remote", "--client", "debian-12", "--daemon", "debian-12")
    with pytest.raises(NotAsked, match="no call matches"):
        report(capsys, *own, "--case", "unix/no-such/*")
    with pytest.raises(UsageError, match="no release 'debian-2'"):
        report(capsys, "remote", "--client", "debian-2")
    code, said = report(capsys, *own, "--case", "tls/connection/tls-*", "--transport", "tls")
    assert code == 0
    assert said["cells"][0]["counts"] == {"compatible": 3}


@pytest.mark.lab
@pytest.mark.parametrize("form", ["text", "markdown"])
def test_the_report_for_people(form: str, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    code = group.main(
        ["remote", "--client", "debian-12", "--daemon", "debian-12", "--format", form], standalone_mode=False
    )
    out = capsys.readouterr().out
    assert code == 0
    assert "client \\ daemon" in out
    assert "create-transient-with-files" in out
    assert "libvirt-7.0-files-over-network" in out


RECORDED = [r.name for r in releases.shipped() if store.recorded(r.name, r.name)]


def test_every_pair_is_recorded() -> None:
    shipped = {r.name for r in releases.shipped()}
    assert set(RECORDED) == shipped
    for name in RECORDED:
        assert set(store.clients(name)) == shipped


@pytest.mark.parametrize("name", RECORDED)
def test_the_control_of_every_release_really_answers(name: str) -> None:
    """What a release's own client is told is the yardstick: a call that nobody can make measures nothing."""
    facts = store.recorded(name, name)
    assert facts is not None
    kinds = {path: fact.partition(" ")[0] for path, fact in facts.items()}
    assert sum(k == "ok" for k in kinds.values()) > 400
    assert not {p: k for p, k in kinds.items() if k in ("unasked", "fault", "hung", "crashed", "refused")}
    assert facts["events/created"] == 'ok [["lifecycle", "virDomain told", 2, 0]]'
    assert facts["streams/download"] == "ok 2097152 bytes b15d21ce83d6816b"
    assert facts["keepalive/answered"] == "ok alive"


@pytest.mark.lab
def test_recording_twice_gives_the_recorded_bytes(lab: Lab, cache: Path) -> None:
    """Each time with an empty cache: every answer is really given twice."""
    found = columns(**{"debian-12": lab})
    texts = []
    for _ in range(2):
        (cache / "remote.sqlite").unlink(missing_ok=True)
        with Talks(found) as talks:
            talks.gather([("debian-12", "debian-12")])
            said = talks.held["debian-12", "debian-12"]
        assert isinstance(said, dict)
        assert talks.asked == 3
        texts.append(policy.facts(said))
    assert texts[0] == texts[1]
    assert texts[0] == store.recorded("debian-12", "debian-12")


#: Ctrl-C is ignored by what a shell starts in the background: here it is not.
RUN = """import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from virtcompat.cli import main
main()"""


@pytest.mark.lab
@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 3)])
def test_stopping_in_the_middle_leaves_nothing(how: signal.Signals, code: int, lab: Lab, cache: Path) -> None:
    """No process, no mount, no socket: all of it lives in namespaces that end with the run."""
    command = [sys.executable, "-c", RUN, "remote", "--client", "debian-12"]
    command += ["--daemon", "debian-12", "--transport", "tls", "--transport", "unix"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
    try:
        started = _wait_for(run.pid)
        run.send_signal(how)
        assert run.wait(20) == code
    finally:
        run.kill()
        run.wait()
    deadline = time.monotonic() + 20
    while (
        left := {p: line for p, line in started.items() if _processes().get(p) == line}
    ) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
    assert list((cache / "shared").iterdir()) == []
    assert str(cache / "shared") not in Path("/proc/self/mountinfo").read_text()


def _wait_for(parent: int) -> dict[int, list[str]]:
    """Everything below a process once a client talks to a daemon there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        below = set(_below(parent))
        lines = {pid: line for pid, line in _processes().items() if pid in below and line}
        if (
            sum(line[0] == "libvirtd" for line in lines.values())
            and sum("again" in line for line in lines.values()) > 1
        ):
            return lines
        time.sleep(0.02)
    raise AssertionError("nothing was started")


def _below(parent: int) -> Iterator[int]:
    with suppress(OSError):
        for task in Path(f"/proc/{parent}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from _below(int(child))
