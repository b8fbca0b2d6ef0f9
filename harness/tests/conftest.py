"""What the tests share: labs where this machine can have them, and answers without any lab."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
from virtcompat import drivers, surfaces
from virtcompat.checks import Case, Check
from virtcompat.errors import VirtCompatError
from virtcompat.labs import Lab, build, open_lab
from virtcompat.model import Answer, Fixture, Form, NotHere, Question, Verdict
from virtcompat.store import releases

Oracle = Callable[[Question], Answer | NotHere]
PRODUCTS = {"old": {"libvirt": "9.0.0", "qemu": "7.2"}, "new": {"libvirt": "11.3.0", "qemu": "10.0"}}
DOCUMENT = """<domain type='qemu'><name>guest</name><uuid>5f1c0de0-0001-4000-8000-0000000000ff</uuid>
<memory unit='KiB'>65536</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='pc-q35-5.2'>hvm</type></os>
<devices><disk type='file' device='disk'><source file='/a.img'/><target dev='vda' bus='virtio'/></disk>
<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface></devices></domain>"""


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The lab of debian-12."""
    return _standing("debian-12")


@pytest.fixture(scope="session")
def abi() -> Callable[[str], Lab]:
    """release -> its lab with headers, libraries and tools, which recorded surfaces are read from."""
    return cache(lambda name: _standing(f"{name}-abi"))


def _standing(name: str) -> Lab:
    """A lab, built if need be. Skipped with the remedy where it cannot be; an error in CI."""
    release = releases.find(name)
    try:
        build.create(release)
    except VirtCompatError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    found = open_lab(release)
    if isinstance(found, NotHere):
        if os.environ.get("CI"):
            raise AssertionError(found.reason)
        pytest.skip(f"{found.reason}; {found.remedy}")
    return found


def make_fixture(text: str = DOCUMENT, kind: str = "domain", **fields: object) -> Fixture:
    return Fixture(kind, "guest", text, "a guest", ("test", "qemu"), **fields)  # type: ignore[arg-type]


def make_case(fixture: Fixture | None = None, driver: str = "qemu") -> Case:
    fixture = fixture or make_fixture()
    setup = drivers.every()[driver].kinds[fixture.kind]
    return Case(fixture, driver, surfaces.every()[fixture.kind], setup, PRODUCTS)


def accepted(text: str) -> Answer:
    """The answer of a release that writes this text in every form."""
    forms = {form: Form(text) for form in ("inactive", "secure", "migratable", "disk")}
    return Answer("accepted", forms, name="guest", uuid="5f1c0de0-0001-4000-8000-0000000000ff")


def honest(question: Question) -> Answer | NotHere:
    """A release that keeps what it is given and whose schema allows everything."""
    if question.op == "native":
        return replace(accepted(question.text), forms={"argv": Form(command_line(question.text))})
    if question.op == "validate":
        return Answer("accepted")
    answer = accepted(question.text)
    if question.source == "golden":  # what was recorded has every form in one answer
        return replace(answer, forms={**answer.forms, "argv": Form(command_line(question.text))})
    return answer


def command_line(text: str) -> str:
    """What a release makes of a document: as much of it as a check can tell."""
    machine = re.search(r"machine='([^']+)'", text)
    disk = "-device virtio-blk-pci,bus=pcie.0,addr=0x1,drive=d0,id=virtio-disk0" if "<disk" in text else ""
    return f"qemu-system-x86_64 -machine {machine[1] if machine else 'none'} -m 64 {disk}"


def judge(check: Check, oracle: Oracle, old: str = "old", new: str = "new", case: Case | None = None) -> Verdict:
    """Run a check to its verdict with an oracle in place of all labs and records."""
    steps = check.judge(case or make_case(), old, new)
    answer: Answer | NotHere | None = None
    while True:
        try:
            question = steps.send(answer)  # type: ignore[arg-type]
        except StopIteration as stop:
            assert isinstance(stop.value, Verdict)
            return stop.value
        answer = oracle(question)
