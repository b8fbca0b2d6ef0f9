"""What a daemon does with messages that no client sends: the real one lives; one that dies, or is deaf, is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from virtcompat.labs import Lab, within
from virtcompat.labs.visit import LabVisit, visiting
from virtcompat.model import Change, NotHere, Outcome, Tier, Verdict
from virtcompat.policy import records
from virtcompat.store import records as store
from virtcompat.store import releases
from virtcompat.surfaces.recorded import rpc_daemon
from virtcompat.surfaces.recorded.rpc_daemon import SURFACE

#: A daemon that knows three procedures; a program that it does not know ends it, and version 2 makes it deaf for good.
FAKE = """#!/usr/bin/python3
import os, socket, struct, threading, time
HEADER = struct.Struct(">IIiiII")
DEAF = threading.Event()

def serve(client):
    with client:
        while len(head := client.recv(4, socket.MSG_WAITALL)) == 4:
            body = client.recv(struct.unpack(">I", head)[0] - 4, socket.MSG_WAITALL)
            program, version, procedure, kind, serial, status = HEADER.unpack(body[:24])
            if program != 0x20008086:
                os.abort()
            if version != 1:
                DEAF.set()
            while DEAF.is_set():
                time.sleep(1)
            known = procedure in (1, 66, 157)
            text = bytes(8) if known else struct.pack(">ii", 39, 7) + bytes(16)
            reply = HEADER.pack(program, version, procedure, 1, serial, 0 if known else 1) + text
            client.sendall(struct.pack(">I", len(reply) + 4) + reply)

folder = os.environ["XDG_RUNTIME_DIR"] + "/libvirt"
os.makedirs(folder, exist_ok=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind(folder + "/libvirt-sock")
listener.listen(64)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


class Faked:
    """A lab with another program in the place of its libvirtd."""

    def __init__(self, lab: Lab, program: Path) -> None:
        self.lab, self.program = lab, program

    def __getattr__(self, name: str) -> object:
        return getattr(self.lab, name)

    def command(self, daemon: bool) -> list[str]:
        found = within(self.lab.command(daemon), "--ro-bind", str(self.program), "/usr/sbin/libvirtd")
        assert found is not None
        return found


@pytest.mark.lab
def test_a_daemon_that_dies_or_is_deaf_is_seen_and_the_rest_is_asked(lab: Lab, tmp_path: Path) -> None:
    program = tmp_path / "libvirtd"
    program.write_text(FAKE)
    program.chmod(0o755)
    wanted = ("serial/zero", "program/unknown", "procedure/unknown", "version/two", "status/error")
    asked = [q for q in rpc_daemon.header() if q["name"] in wanted]
    visit = LabVisit(Faked(lab, program))  # type: ignore[arg-type]  # it is a lab by delegation
    try:
        request = {"op": "probe", "messages": asked, "procedures": {}, "garbage": {}, "conduct": False}
        facts = visit.ask("wire_probe.py", request, 120.0)["facts"]
    finally:
        visit.close()
    assert facts == {
        "serial/zero": "ok, goes on",
        "program/unknown": "DAEMON ended by SIGABRT: nothing, closed",
        "procedure/unknown": "error 39 from 7, goes on",
        "version/two": "DAEMON deaf: nothing, silent",
        "status/error": "ok, goes on",
        "afterwards/files": facts["afterwards/files"],
    }


@pytest.mark.lab
def test_the_real_daemon_lives_and_answers_the_same_twice(abi: Callable[[str], Lab]) -> None:
    found = []
    for _ in range(2):
        with visiting(abi("debian-12")) as visit:
            found.append({**rpc_daemon.messages(visit), **rpc_daemon.arguments(visit)})
    assert found[0] == found[1]
    facts = found[0]
    assert len(facts) > 900
    assert not [path for path, value in facts.items() if value.startswith("DAEMON") or value.endswith("silent")]
    assert facts["procedure/unknown"] == "error 39 from 7, goes on"
    assert facts["length/largest"] == "33554436"
    assert facts["payload/string-too-large"] == "error 39 from 7, goes on"
    assert facts["payload/string-largest"] == "error 42 from 12, goes on"
    assert facts["files/one"] == "ok, goes on"
    assert facts["files/too-many"] == "nothing, closed"
    assert facts["keepalive/who-answers"] == "lives"
    assert facts["keepalive/who-does-not-answer"] == "dropped"
    assert facts["afterwards/files"] == "none kept"
    assert facts["garbage/remote/DOMAIN_CREATE/zeros"] == "read, goes on"
    assert facts["garbage/remote/DOMAIN_CREATE"] == "not read, goes on"


def record(**changed: str) -> dict[str, dict[str, str]]:
    messages = {
        "procedure/unknown": "error 39 from 7, goes on", "length/largest": "33554436", "feature/8": "yes",
        "files/none": "ok, goes on",
    }  # fmt: skip
    garbage = {
        "garbage/remote/DOMAIN_CREATE": "not read, goes on",
        "garbage/remote/DOMAIN_CREATE/zeros": "read, goes on",
    }
    named = {path.replace("__", "/").replace("_", "-"): value for path, value in changed.items()}
    return {"messages": {**messages, **{p: v for p, v in named.items() if v}}, "arguments": garbage}


def compared(old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]]) -> dict[str, Verdict]:
    return {v.case: v for v in records.compare(SURFACE, old, new)}


def test_the_same_is_compatible() -> None:
    assert {v.outcome for v in compared(record(), record()).values()} == {Outcome.COMPATIBLE}
    assert not any(v.findings for v in compared(record(), record()).values())


@pytest.mark.parametrize(
    "how", ["DAEMON ended by SIGSEGV: nothing, closed", "error 39 from 7, out of step", "nothing, silent"]
)
def test_a_daemon_that_ends_and_a_connection_that_is_lost_are_breaks(how: str) -> None:
    found = compared(record(), record(procedure__unknown=how))["procedure/unknown"]
    assert found.outcome is Outcome.INCOMPATIBLE
    assert {Change.CRASHED, Change.HUNG} & {f.change for f in found.findings}


def test_another_word_for_no_is_a_risk() -> None:
    other = compared(record(), record(procedure__unknown="error 3 from 7, goes on"))["procedure/unknown"]
    assert (other.outcome, other.worst) == (Outcome.COMPATIBLE, Tier.RISK)


@pytest.mark.parametrize("release", [r.name for r in releases.shipped()])
def test_no_recorded_daemon_ends_or_falls_silent(release: str) -> None:
    found = store.recorded(release, SURFACE.name, tuple(SURFACE.parts))
    assert found is not None
    facts = {p: v for part in found.values() if not isinstance(part, NotHere) for p, v in part.items()}
    assert len(facts) > 900
    assert not {p: v for p, v in facts.items() if v.startswith("DAEMON") or v.endswith("silent")}
    # Descriptors that come with an unknown procedure are sent back behind a reply that does not announce them.
    assert [p for p, v in facts.items() if v.endswith("out of step")] == ["files/to-an-unknown-procedure"]
    assert facts["keepalive/ping-is-answered"] == "pong"


def test_garbage_that_is_read_otherwise_is_a_risk_of_its_procedure() -> None:
    old, new = record(), record()
    new["arguments"]["garbage/remote/DOMAIN_CREATE"] = "read, goes on"
    assert compared(old, new)["garbage/remote/DOMAIN_CREATE"].worst is Tier.RISK
