"""A probe that crashes, aborts, hangs, lies or grows is survived, and the one question that did it is blamed."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import DOCUMENT
from virtcompat import documents, drivers
from virtcompat.engine import run
from virtcompat.engine.columns import Columns
from virtcompat.labs import Lab, session
from virtcompat.labs.kinds.ssh import SshLab
from virtcompat.labs.prober import Asked, Prober
from virtcompat.labs.session import Session, Start
from virtcompat.model import Answer, Column, NotHere, Question

pytestmark = pytest.mark.lab
DEFINE = {"op": "define", "kind": "domain", "xml": DOCUMENT, "forms": ["inactive"], "context": {}, "disk": ""}


@pytest.fixture
def probe(lab: Lab) -> Any:
    setup = drivers.every()["test"].kinds["domain"]
    opening = {"uri": setup.uri.replace("{workdir}", lab.workdir), "root": lab.workdir, "files": dict(setup.files)}
    found = Session(Start(lab.command(daemon=False), opening, time_limit=3.0))
    yield found
    found.close()


@pytest.mark.parametrize(
    ("how", "status", "words"),
    [
        ("segfault", "crashed", "SIGSEGV"),
        ("abort", "crashed", "SIGABRT"),
        ("exit", "crashed", "exit status 7"),
        ("hang", "hung", "no answer within 3 s"),
        ("garbage", "garbled", "this is not an answer"),
    ],
)
def test_the_fault_is_blamed_and_the_run_goes_on(probe: Session, how: str, status: str, words: str) -> None:
    questions = [DEFINE, DEFINE, {"op": "fault", "how": how}, DEFINE, DEFINE]
    replies = [reply for _, reply in probe.ask(questions)]
    assert [r["status"] for r in replies] == ["accepted", "accepted", status, "accepted", "accepted"]
    assert words in replies[2]["message"]
    assert replies[0]["forms"] == replies[4]["forms"]


def test_a_probe_that_grows_is_replaced(probe: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "RSS_LIMIT", 200 << 10)
    hoard = {"op": "fault", "how": "grow", "bytes": 150 << 20}
    probe.window = 1
    replies = [reply for _, reply in probe.ask([hoard, hoard, hoard, hoard])]
    assert [r["status"] for r in replies] == ["accepted"] * 4
    assert max(r["rss"] for r in replies) < 500 << 10


def test_running_out_of_address_space_is_an_answer(probe: Session) -> None:
    probe.start = replace(probe.start, address_space=2 << 30)
    replies = list(probe.ask([{"op": "fault", "how": "grow", "bytes": 4 << 30}, {"op": "read", "pattern": "/none"}]))
    assert replies[0][1]["status"] == "crashed"
    assert "MemoryError" in replies[0][1]["message"]
    assert replies[1][1]["status"] == "accepted"


def test_the_sandbox_has_no_network_and_nothing_to_write_to(lab: Lab) -> None:
    command = lab.command(daemon=False)[:-1]
    program = (
        "import os, socket\n"
        "print(sorted(os.listdir('/sys/class/net')) if os.path.exists('/sys/class/net') else 'no /sys')\n"
        "print(os.getuid(), os.access('/usr', os.W_OK), os.path.exists('/root'), len(os.listdir('/proc')) < 200)\n"
        "s = socket.socket(); s.settimeout(2)\n"
        "try: s.connect(('192.0.2.1', 80)); print('connected')\n"
        "except OSError as e: print('unreachable')\n"
    )
    import subprocess

    said = subprocess.run([*command, program], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == ["no /sys", "1000 False False True", "unreachable"]


def ask(lab: Lab, questions: list[Question], batch: int = 4) -> dict[Question, Answer]:
    answers: dict[Question, Answer] = {}
    with Prober() as prober:
        asked = [Asked(q, lab, drivers.every()[q.driver].kinds[q.kind]) for q in questions]
        prober.ask(asked, lambda q, a: answers.__setitem__(q, a))
    assert len(answers) == len(questions)
    return answers


def test_what_the_driver_leaves_on_disk_is_found_by_a_restart(lab: Lab) -> None:
    define = Question("debian-12", "qemu", "domain", "define", DOCUMENT, recorded="guest")
    written = ask(lab, [define])[define]
    assert "WARNING: THIS IS AN AUTO-GENERATED FILE" in written.form("disk")
    load = Question("debian-12", "qemu", "domain", "load", written.form("disk"), name=written.name, uuid=written.uuid)
    wrong = Question("debian-12", "qemu", "domain", "load", "<domain type='qemu'/>", name="other", uuid="other")
    answers = ask(lab, [load, wrong])
    assert answers[load].form("secure") == written.form("secure")
    assert answers[wrong].status == "absent"


@pytest.mark.parametrize(
    ("driver", "kind"),
    [
        (name, kind)
        for name in ("qemu", "network", "storage", "secret", "nwfilter")
        for kind in drivers.every()[name].kinds
        if kind != "domain"
    ],
)
def test_every_kind_of_a_qemu_host_opens(lab: Lab, driver: str, kind: str) -> None:
    question = Question(
        "debian-12", driver, kind, "define", "<nonsense/>", (("domain_name", "x"), ("domain_xml", DOCUMENT))
    )
    answer = ask(lab, [question])[question]
    assert answer.status == "refused", answer


def test_nothing_is_left_running(lab: Lab) -> None:
    setup = drivers.every()["secret"].kinds["secret"]
    opening = {"uri": setup.uri, "root": setup.root, "files": dict(setup.files), "daemon": True}
    probe = Session(Start(lab.command(daemon=True), opening))
    list(probe.ask([{"op": "identify"}]))
    assert probe.process is not None
    leader = probe.process.popen.pid
    assert any("libvirtd" in name for name in members(leader))
    probe.close()
    deadline = time.monotonic() + 5
    while members(leader) and time.monotonic() < deadline:
        time.sleep(0.05)  # the kernel takes a namespace down in its own time
    assert members(leader) == []


def members(leader: int) -> list[str]:
    """Names of the processes of a session (in the sense of setsid), in whatever namespace."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition(") ")
        except OSError:
            continue
        if int(rest.split()[3]) == leader and not rest.startswith("Z"):
            found.append(name)
    return found


def test_a_driver_that_does_not_open_says_nothing_about_its_files(lab: Lab) -> None:
    setup = replace(drivers.every()["qemu"].kinds["domain"], uri="nonsense:///system")
    questions = [
        Question("debian-12", "qemu", "domain", "load", DOCUMENT, name=name, uuid=name) for name in ("one", "two")
    ]
    answers: dict[Question, Answer] = {}
    with Prober() as prober:
        prober.ask([Asked(q, lab, setup) for q in questions], lambda q, a: answers.__setitem__(q, a))
    assert {a.status for a in answers.values()} == {"no-connection"}


def test_two_pools_in_one_place_are_loaded_one_after_the_other(lab: Lab) -> None:
    """Of two that share a place a driver keeps the first: asked together the second would look lost."""
    questions = []
    for name in ("one", "two"):
        given = (
            f"<pool type='disk'><source><device path='/dev/vda'/></source><target><path>/{name}</path></target></pool>"
        )
        text, _ = documents.pin(given)
        root = documents.parse(text)
        own = {"name": root.findtext("name") or "", "uuid": root.findtext("uuid") or ""}
        questions.append(Question("debian-12", "storage", "storagepool", "load", text, **own))
    setup = drivers.every()["storage"].kinds["storagepool"]
    answers: dict[Question, Answer] = {}
    with Prober() as prober:
        prober.ask([Asked(q, lab, setup) for q in questions], lambda q, a: answers.__setitem__(q, a))
    assert {a.status for a in answers.values()} == {"accepted"}


def test_no_system_daemon_is_started_on_a_live_host() -> None:
    other = SshLab("elsewhere", "host.invalid")
    column = Column("elsewhere", "9.0.0", "7.2", ((9,), (7, 2)), golden=False, live=True)
    found = Columns([column], {("elsewhere", ""): other})
    question = Question("elsewhere", "network", "network", "define", "<network/>")
    with run.opened(found) as answers:
        answer = answers.resolve([question])[question]
    assert isinstance(answer, NotHere)
    assert "never on a live host" in answer.reason
