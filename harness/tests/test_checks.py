"""Every check is silent on an honest release and can be made to fail by a lying one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import DOCUMENT, Oracle, accepted, honest, judge, make_case, make_fixture
from virtcompat import checks
from virtcompat.model import Answer, Change, Direction, Form, NotHere, Outcome, Question, Tier, Verdict

PAIR = {Direction.SELF: ("new", "new"), Direction.FORWARD: ("old", "new"), Direction.BACKWARD: ("new", "old")}
OTHER_MACHINE = DOCUMENT.replace("pc-q35-5.2", "pc-q35-7.2")
NO_DISK = DOCUMENT.replace("<disk type='file' device='disk'>", "<!--").replace("</disk>", "-->")
EVERY = sorted(checks.every().items())
RECORDED = "golden"


def pairs(check: checks.Check) -> list[tuple[str, str]]:
    return [PAIR[d] for d in sorted(check.directions)]


@pytest.mark.parametrize(("name", "check"), EVERY)
def test_honest_releases_give_no_finding(name: str, check: checks.Check) -> None:
    for old, new in pairs(check):
        verdict = judge(check, honest, old, new)
        assert verdict.outcome is Outcome.COMPATIBLE, (name, old, new, verdict)
        assert not verdict.findings


@pytest.mark.parametrize(("name", "check"), EVERY)
def test_a_release_that_is_not_here_is_never_a_pass(name: str, check: checks.Check) -> None:
    def absent(question: Question) -> NotHere:
        return NotHere("no lab", "build it")

    for old, new in pairs(check):
        assert judge(check, absent, old, new).outcome in (Outcome.NOT_HERE, Outcome.NOT_APPLICABLE)


def lying(text: str, *, when: str = "new", op: str = "define", original: bool | None = None) -> Oracle:
    """A release ``when`` that answers ``op`` with another text; ``original`` limits it to the fixture's own text or not."""

    def oracle(question: Question) -> Answer | NotHere:
        own = question.text == DOCUMENT
        if question.release == when and question.op == op and original in (None, own) and question.source != RECORDED:
            return accepted(text)
        return honest(question)

    return oracle


def dying(status: str, *, when: str = "new", op: str = "define", own: bool | None = None) -> Oracle:
    def oracle(question: Question) -> Answer | NotHere:
        if question.release == when and question.op == op and own in (None, question.recorded != ""):
            return Answer(status, message="SIGSEGV" if status == "crashed" else "unsupported configuration: no")
        return honest(question)

    return oracle


def changes(verdict: Verdict) -> set[tuple[str, Change]]:
    return {(f.path, f.change) for f in verdict.findings}


def test_round_trip_sees_input_dropped() -> None:
    verdict = judge(checks.every()["round-trip"], lying(NO_DISK), "new", "new")
    assert ("/domain/devices/disk[vda]", Change.DROPPED) in changes(verdict)
    assert verdict.worst is Tier.RISK


def test_round_trip_says_nothing_of_what_the_fixture_declares_dropped() -> None:
    case = make_case(make_fixture(drops={"/domain/devices/disk[vda]": "transient by design"}))
    assert not judge(checks.every()["round-trip"], lying(NO_DISK), "new", "new", case).findings


def test_round_trip_sees_the_second_writing_differ() -> None:
    def oracle(question: Question) -> Answer | NotHere:
        if question.op == "define" and not question.recorded:
            return accepted(OTHER_MACHINE)
        return honest(question)

    verdict = judge(checks.every()["round-trip"], oracle, "new", "new")
    assert changes(verdict) == {("/domain/os/type/@machine", Change.UNSTABLE)}
    assert verdict.outcome is Outcome.INCOMPATIBLE


def test_round_trip_sees_text_that_is_not_xml() -> None:
    verdict = judge(checks.every()["round-trip"], lying("<domain title='&'/>"), "new", "new")
    assert {c for _, c in changes(verdict)} == {Change.UNREADABLE}
    assert verdict.outcome is Outcome.INCOMPATIBLE


def test_round_trip_sees_a_form_that_cannot_be_written() -> None:
    def oracle(question: Question) -> Answer | NotHere:
        answer = honest(question)
        assert isinstance(answer, Answer)
        if question.op == "define":
            return replace(answer, forms={**answer.forms, "migratable": Form(error="cannot format")})
        return answer

    verdict = judge(checks.every()["round-trip"], oracle, "new", "new")
    assert changes(verdict) == {("(migratable)", Change.UNREADABLE)}


def test_round_trip_sees_an_object_lost_by_a_restart() -> None:
    verdict = judge(checks.every()["round-trip"], dying("absent", op="load"), "new", "new")
    assert changes(verdict) == {("(load)", Change.LOST)}
    assert verdict.worst is Tier.GUEST_ABI_BREAK


def test_round_trip_sees_output_its_own_schema_forbids() -> None:
    verdict = judge(checks.every()["round-trip"], dying("refused", op="validate"), "new", "new")
    assert changes(verdict) == {("(schema)", Change.INVALID)}


@pytest.mark.parametrize("status", ["crashed", "hung", "garbled"])
def test_a_death_is_a_finding_of_its_own(status: str) -> None:
    verdict = judge(checks.every()["round-trip"], dying(status), "new", "new")
    assert changes(verdict) == {("(define)", checks.DEATHS[status])}
    assert verdict.outcome is Outcome.INCOMPATIBLE


def test_an_expected_refusal_is_compatible_and_its_end_is_an_addition() -> None:
    case = make_case(make_fixture(refused={"qemu": "needs KVM"}))
    check = checks.every()["round-trip"]
    assert not judge(check, dying("refused"), "new", "new", case).findings
    assert changes(judge(check, honest, "new", "new", case)) == {("(define)", Change.ACCEPTED)}


def test_upgrade_on_disk_sees_a_lost_guest() -> None:
    verdict = judge(checks.every()["upgrade-disk"], dying("absent", op="load"))
    assert changes(verdict) == {("(load)", Change.LOST)}
    assert verdict.worst is Tier.GUEST_ABI_BREAK


def test_upgrade_on_disk_blames_no_upgrade_for_what_the_old_release_loses_itself() -> None:
    verdict = judge(checks.every()["upgrade-disk"], dying("absent", op="load", when="old"))
    assert verdict.outcome is Outcome.NOT_APPLICABLE


def test_upgrade_on_disk_sees_another_machine() -> None:
    verdict = judge(checks.every()["upgrade-disk"], lying(OTHER_MACHINE, op="load"))
    assert changes(verdict) == {("/domain/os/type/@machine", Change.CHANGED)}
    assert verdict.worst is Tier.GUEST_ABI_BREAK


def test_upgrade_on_disk_is_not_about_a_driver_without_files() -> None:
    verdict = judge(checks.every()["upgrade-disk"], honest, case=make_case(driver="test"))
    assert verdict.outcome is Outcome.NOT_APPLICABLE


def test_redefining_sees_a_refusal_with_its_words() -> None:
    verdict = judge(checks.every()["upgrade-redefine"], dying("refused", own=False))
    assert changes(verdict) == {("(define)", Change.REFUSED)}
    assert verdict.findings[0].new == "unsupported configuration: no"


def test_redefining_sees_a_device_gone() -> None:
    verdict = judge(checks.every()["upgrade-redefine"], lying(NO_DISK))
    assert changes(verdict) == {("/domain/devices/disk[vda]", Change.REMOVED)}
    assert verdict.worst is Tier.GUEST_ABI_BREAK


def test_downgrade_sees_the_older_release_refuse() -> None:
    verdict = judge(checks.every()["downgrade"], dying("refused", when="old", own=False), "new", "old")
    assert changes(verdict) == {("(define)", Change.REFUSED)}


def test_downgrade_sees_the_older_release_change_the_machine() -> None:
    def oracle(question: Question) -> Answer | NotHere:
        if question.release == "old" and not question.recorded:
            return accepted(OTHER_MACHINE)
        return honest(question)

    verdict = judge(checks.every()["downgrade"], oracle, "new", "old")
    assert changes(verdict) == {("/domain/os/type/@machine", Change.CHANGED)}


def test_same_input_sees_another_meaning_and_tells_it_from_old_to_new() -> None:
    check = checks.every()["same-input"]
    for old, new in (("old", "new"), ("new", "old")):
        verdict = judge(check, lying(NO_DISK), old, new)
        assert changes(verdict) == {("/domain/devices/disk[vda]", Change.REMOVED)}


def test_a_document_newly_accepted_is_an_addition() -> None:
    verdict = judge(checks.every()["same-input"], dying("refused", when="old"))
    assert changes(verdict) == {("(define)", Change.ACCEPTED)}
    assert verdict.outcome is Outcome.COMPATIBLE


def test_a_behaviour_newer_than_the_old_release_is_not_applicable() -> None:
    case = make_case(make_fixture(since={"libvirt": "10.0.0"}))
    for name in ("upgrade-disk", "upgrade-redefine", "same-input"):
        assert judge(checks.every()[name], honest, case=case).outcome is Outcome.NOT_APPLICABLE


def test_reproduce_sees_an_answer_that_is_not_the_recorded_one() -> None:
    def oracle(question: Question) -> Answer | NotHere:
        return accepted(OTHER_MACHINE) if question.source == "lab" else honest(question)

    verdict = judge(checks.every()["reproduce"], oracle, "new", "new")
    assert ("(secure)", Change.CHANGED) in changes(verdict)
    assert verdict.outcome is Outcome.INCOMPATIBLE


def building(text: str) -> Oracle:
    """A newer release that builds this command line of whatever it is given."""

    def oracle(question: Question) -> Answer | NotHere:
        if question.op == "native" and question.release == "new":
            return replace(accepted(question.text), forms={"argv": Form(text)})
        return honest(question)

    return oracle


HONEST = (
    "qemu-system-x86_64 -machine pc-q35-5.2 -m 64 -device virtio-blk-pci,bus=pcie.0,addr=0x1,drive=d0,id=virtio-disk0"
)


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("addr=0x1", "addr=0x2", "/device[bus=pcie.0,addr=1]"),
        ("virtio-blk-pci", "virtio-scsi-pci", "/device[bus=pcie.0,addr=1]/driver"),
        ("pc-q35-5.2", "pc-q35-7.2", "/machine/type"),
        ("-m 64", "-m size=131072k", "/memory"),
    ],
)
def test_same_hardware_sees_another_machine_being_built(old: str, new: str, path: str) -> None:
    verdict = judge(checks.every()["same-hardware"], building(HONEST.replace(old, new)))
    assert path in {f.path for f in verdict.findings}
    assert verdict.worst is Tier.GUEST_ABI_BREAK


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("-device virtio-blk-pci,bus=pcie.0,addr=0x1,drive=d0,id=virtio-disk0",
         '-device \'{"driver":"virtio-blk-pci","bus":"pcie.0","addr":"0x1","drive":"storage1","id":"disk7"}\''),
        ("-m 64", "-m size=65536k"),
        ("-machine pc-q35-5.2", "-machine pc-q35-5.2,accel=tcg,dump-guest-core=off -accel tcg"),
        ("addr=0x1", "addr=0x1,write-cache=on,bootindex=1"),
    ],
)  # fmt: skip
def test_same_hardware_knows_one_machine_in_two_spellings(old: str, new: str) -> None:
    verdict = judge(checks.every()["same-hardware"], building(HONEST.replace(old, new)))
    assert verdict.worst <= Tier.ADDITION, verdict.findings
