"""Documents made smaller: what is left has the finding, nothing more can be taken, and nothing is claimed that was not asked."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from conftest import DOCUMENT, accepted, honest, make_fixture
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from virtcompat import drivers
from virtcompat.documents import canonical, parse
from virtcompat.engine import columns, witness
from virtcompat.engine import run as engine
from virtcompat.engine.columns import Columns
from virtcompat.labs import Lab, build
from virtcompat.model import Answer, CellKey, Change, Column, Finding, NotHere, Question, Tier
from virtcompat.reduction import Reduction, edited, reduce, simpler, steps, written
from virtcompat.store import paths, releases

Predicate = Callable[[str], bool]


def free(element: etree._Element, attribute: str) -> bool:
    return False


def last(text: str, predicate: Predicate, **limits: object) -> Reduction | None:
    """The end of a reduction, once it is sure that no document was tried twice."""
    tried: list[str] = []

    def interesting(texts: Sequence[str]) -> list[bool]:
        tried.extend(texts)
        return [predicate(t) for t in texts]

    found = None
    for found in reduce(text, interesting, **limits):  # type: ignore[arg-type]
        assert predicate(found.text)
    assert len(tried) == len(set(tried))
    assert found is None or found.tried == len(tried)
    return found


def size(text: str) -> tuple[int, int]:
    """(elements and attributes, characters) of a document."""
    return sum(1 + len(e.attrib) for e in parse(text).iter("*")), len(canonical(text))


def has(*paths: str) -> Predicate:
    return lambda text: all(parse(text).xpath(path) for path in paths)


names = st.sampled_from("abcde")
values = st.sampled_from(["", "x", "1", "4096", "/dev/null", "word", "0x1f"])


@st.composite
def trees(draw: st.DrawFn) -> str:
    """Up to 25 elements of five names, put below any that are there, with attributes and texts."""
    root = etree.Element("root")
    for _ in range(draw(st.integers(0, 24))):
        above = draw(st.sampled_from(list(root.iter("*"))))
        child = etree.SubElement(above, draw(names), draw(st.dictionaries(names, values, max_size=2)))
        child.text = draw(values) or None
    return written(root)


@given(trees(), st.integers(0, 2**32))
def test_whatever_the_predicate_the_result_is_interesting_one_minimal_and_no_larger(text: str, seed: int) -> None:
    whole = written(parse(text))

    def predicate(candidate: str) -> bool:
        """No rhyme or reason: about half of all documents."""
        return candidate == whole or hashlib.sha256(f"{seed}{candidate}".encode()).digest()[0] < 128

    found = last(text, predicate, most=100_000)
    assert found is not None
    assert found.minimal
    assert predicate(found.text)
    assert size(found.text) <= size(text)
    root = parse(found.text)
    assert not [edit for edit in steps(root, free) if predicate(edited(root, [edit]))]


@given(trees(), st.data())
def test_what_is_needed_is_all_that_is_left(text: str, data: st.DataObject) -> None:
    """Needles anywhere: the result is exactly they and what they are in."""
    root = parse(text)
    needles = data.draw(st.sets(st.sampled_from(range(sum(1 for _ in root.iter("*")))), max_size=4))
    kept = set()
    for at, element in enumerate(root.iter("*")):
        if at in needles:
            element.set("needle", str(at))
            kept |= {element, *element.iterancestors()}
    found = last(written(root), has(*(f"//*[@needle='{at}']" for at in needles)), most=100_000)
    assert found is not None
    left = list(parse(found.text).iter("*"))
    assert len(left) == len(kept | {root})
    assert sum(len(e.attrib) for e in left) == len(needles)


def test_two_needles_far_apart_in_a_haystack() -> None:
    straw = "".join(f"<straw number='{n}'><end/></straw>" for n in range(60))
    text = f"<stack>{straw}<one/>{straw}<deep><deeper><two/></deeper></deep>{straw}</stack>"
    found = last(text, has("//one", "//two"))
    assert found is not None
    assert found.minimal
    assert canonical(found.text) == b"<stack><one></one><deep><deeper><two></two></deeper></deep></stack>"
    assert found.tried < 250


def test_what_only_goes_together_goes() -> None:
    """Each names the other: neither can be taken alone."""

    def predicate(text: str) -> bool:
        return len(parse(text).xpath("//left|//right")) in (0, 2)

    found = last("<a><b/><left/><right/><c/></a>", predicate)
    assert found is not None
    assert found.text == "<a/>\n"


def test_attributes_values_and_namespaces_get_simpler() -> None:
    text = """<d xmlns:q='urn:q' kind='thing'><size unit='KiB'>65536</size><file path='/var/lib/images/a.img'/>
    <note>many words</note><bus at='0x1f' of='x'/></d>"""
    found = last(text, has("//size[.>0]", "//file[starts-with(@path,'/')]", "//note[text()]", "//bus/@at"))
    assert found is not None
    assert canonical(found.text) == (b'<d><size>1</size><file path="/a"></file><note>a</note><bus at="0x0"></bus></d>')


@given(values | st.text(max_size=12))
def test_a_simpler_value_is_shorter_or_smaller(value: str) -> None:
    for found in simpler(value, empty=True):
        assert (len(found), found) < (len(value), value)
        assert found not in simpler(found)


def test_what_is_fixed_stays_for_as_long_as_its_parent_does() -> None:
    text = "<d><id v='long'>7777</id><e><id/></e><f><id>55</id><needle/></f></d>"
    found = last(text, has("//needle"), fixed=lambda element, attribute: element.tag == "id")
    assert found is not None
    assert canonical(found.text) == b'<d><id v="long">7777</id><f><id>55</id><needle></needle></f></d>'


def test_a_document_without_it_gives_nothing() -> None:
    assert last("<a><b/></a>", has("//c")) is None


def test_the_number_of_tries_is_bounded_and_the_best_so_far_is_given() -> None:
    text = f"<a>{''.join(f'<b><c>{n}</c></b>' for n in range(50))}<needle/></a>"
    found = last(text, has("//needle"), most=30)
    assert found is not None
    assert found.tried <= 30
    assert not found.minimal
    assert size(found.text) < size(text)


def test_time_ends_it() -> None:
    text = f"<a>{''.join(f'<b>{n}</b>' for n in range(200))}<needle/></a>"
    end = time.monotonic() + 0.2

    def slow(candidate: str) -> bool:
        time.sleep(0.002)
        return has("//needle")(candidate)

    found = last(text, slow, deadline=end)
    assert found is not None
    assert not found.minimal
    assert time.monotonic() < end + 64 * 0.002 + 1
    assert last(text, has("//needle"), deadline=time.monotonic() - 1) is None


def test_whoever_stops_keeps_the_best_so_far() -> None:
    asked = 0

    def interrupted(texts: Sequence[str]) -> list[bool]:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise KeyboardInterrupt
        return [has("//needle")(t) for t in texts]

    heard: list[Reduction] = []
    with pytest.raises(KeyboardInterrupt):
        heard.extend(reduce("<a><b/><c><d/><needle/></c><e/></a>", interrupted))
    assert canonical(heard[-1].text) == b"<a><c><d></d><needle></needle></c></a>"


# Witnesses, of releases that answer as a test wants.

FIXTURE = make_fixture(
    DOCUMENT.replace("</devices>", "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices>")
)
KEY = CellKey("upgrade-redefine", "domain", "qemu", "old", "new")
REFUSED = Finding("(define)", Change.REFUSED, Tier.BREAK, "accepted", "unsupported configuration: no disks")


@dataclass
class FakeLab:
    name: str
    version: str = "1"

    def fingerprint(self) -> str:
        return f"{self.name}-{self.version}"


@dataclass
class FakeAnswers:
    """Answers of an oracle, with what was asked."""

    oracle: Callable[[Question], Answer | NotHere]
    asked: list[Question] = field(default_factory=list)
    probe: str = "probe"
    drivers: object = field(default_factory=drivers.every)
    columns: Columns = field(default_factory=lambda: Columns(
        [Column(n, v, "7.2", ((9,),), golden=False, live=True) for n, v in (("old", "9.0.0"), ("new", "11.3.0"))],
        {(n, ""): FakeLab(n) for n in ("old", "new")},  # type: ignore[dict-item]
    ))  # fmt: skip

    def resolve(self, questions: Sequence[Question]) -> dict[Question, Answer | NotHere]:
        self.asked += questions
        return {q: self.oracle(q) for q in questions}


@pytest.fixture(autouse=True)
def cache(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory of one's own, with the labs of this machine in it."""
    (tmp_path / "labs").symlink_to(paths.cache_dir() / "labs")
    monkeypatch.setenv("VIRT_COMPAT_CACHE", str(tmp_path))
    return tmp_path


def refusing(words: str, path: str, *, on: tuple[str, ...] = ("new",)) -> Callable[[Question], Answer | NotHere]:
    """Releases of which some refuse what has this in it. All of them want memory."""

    def oracle(question: Question) -> Answer | NotHere:
        root = parse(question.text)
        if root.find("memory") is None:
            return Answer("refused", message="XML error: missing memory")
        if question.release in on and root.xpath(path):
            return Answer("refused", message=words)
        return honest(question)

    return oracle


def dying(question: Question) -> Answer | NotHere:
    return Answer("crashed", message="SIGSEGV: 4711") if "<disk" in question.text else honest(question)


NO_DISKS = refusing(REFUSED.new, "//disk")


def find(
    answers: FakeAnswers, finding: Finding = REFUSED, key: CellKey = KEY, **more: object
) -> witness.Witness | None:
    return witness.witness(key, FIXTURE, finding, answers, **more)  # type: ignore[arg-type]


def test_a_refusal_is_brought_down_to_what_is_refused() -> None:
    found = find(FakeAnswers(NO_DISKS))
    assert found is not None
    assert found.minimal
    root = parse(found.text)
    assert [e.tag for e in root.iter("*")] == ["domain", "name", "uuid", "memory", "devices", "disk"]
    assert root.findtext("name") == "guest"
    assert root.findtext("uuid") == parse(DOCUMENT).findtext("uuid")
    assert Path(found.file).read_text() == found.text
    assert found.command == f"virt-compat explain {KEY}/guest --document {found.file}"
    assert found.questions < 60


def test_a_finding_that_is_not_there_again_has_no_witness() -> None:
    assert find(FakeAnswers(honest)) is None
    assert find(FakeAnswers(refusing("unsupported configuration: something else", "//disk"))) is None
    assert find(FakeAnswers(NO_DISKS), replace(REFUSED, path="(load)", change=Change.LOST)) is None
    assert find(FakeAnswers(NO_DISKS), replace(REFUSED, tier=Tier.GUEST_ABI_BREAK)) is None
    assert find(FakeAnswers(NO_DISKS), replace(REFUSED, entry="some-entry")) is None


def test_what_the_old_release_has_as_well_is_no_break_of_the_new_one() -> None:
    """It takes a document with disks and not what it wrote of it: so does the new one."""

    def oracle(question: Question) -> Answer | NotHere:
        own = "virtio-mem" in question.text
        return (
            Answer("refused", message=REFUSED.new) if own else accepted(question.text.replace("virtio", "virtio-mem"))
        )

    assert find(FakeAnswers(oracle)) is None


def test_another_refusal_is_not_taken_for_this_one() -> None:
    """Without the card the new release refuses everything, for a reason of its own."""

    def oracle(question: Question) -> Answer | NotHere:
        if question.release == "new" and not parse(question.text).xpath("//interface"):
            return Answer("refused", message="unsupported configuration: no cards")
        return NO_DISKS(question)

    found = find(FakeAnswers(oracle))
    assert found is not None
    assert parse(found.text).xpath("//disk")
    assert parse(found.text).xpath("//interface/mac")


def test_names_and_numbers_in_a_message_are_no_other_cause() -> None:
    wanted = witness.alike(replace(REFUSED, new="cannot find 'vda' at /tmp/a for 'model' 17"), "<a dev='vda'/>")
    assert witness.alike(replace(REFUSED, new="cannot find 'a' at /tmp/b for 'model' 9"), "<a dev='a'/>") == wanted
    assert witness.alike(replace(REFUSED, new="cannot find 'a' at /tmp/b for 'bus' 9"), "<a dev='a'/>") != wanted


def test_one_device_is_not_taken_for_another() -> None:
    gone = Finding("/device[sga]", Change.REMOVED, Tier.GUEST_ABI_BREAK, "driver=sga")
    assert witness.alike(gone, "<a/>") != witness.alike(replace(gone, path="/device[vga]"), "<a/>")
    moved = replace(gone, path="/device[bus=pci.2,addr=1]")
    assert witness.alike(moved, "<a/>") == witness.alike(replace(moved, path="/device[bus=pci.1,addr=3]"), "<a/>")


def test_a_stored_witness_is_tried_once_and_used_again() -> None:
    first, again = find(FakeAnswers(NO_DISKS)), FakeAnswers(NO_DISKS)
    second = find(again)
    assert first is not None
    assert second == replace(first, questions=1)
    assert len({q.text for q in again.asked}) == 1


def test_a_stored_witness_of_other_binaries_is_where_the_search_starts() -> None:
    first, newer = find(FakeAnswers(NO_DISKS)), FakeAnswers(NO_DISKS)
    newer.columns.labs["new", ""] = FakeLab("new", "2")  # type: ignore[assignment]
    second = find(newer)
    assert first is not None
    assert second is not None
    assert second.text == first.text
    assert 1 < second.questions < first.questions
    third = find(newer)
    assert third is not None
    assert third.questions == 1


def test_a_stored_witness_that_holds_no_more_or_was_spoilt_is_searched_anew(cache: Path) -> None:
    first = find(FakeAnswers(NO_DISKS))
    assert first is not None
    for spoilt in ("<domain", "<domain type='qemu'><name>guest</name></domain>", first.text.replace("disk", "rng")):
        Path(first.file).write_text(spoilt)
        assert find(FakeAnswers(NO_DISKS)) == first
    Path(first.file).with_suffix(".json").write_text("[]")
    assert find(FakeAnswers(NO_DISKS)) is not None


def test_what_was_found_before_an_interruption_is_kept_and_gone_on_from(cache: Path) -> None:
    left = 12

    def tired(question: Question) -> Answer | NotHere:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return NO_DISKS(question)

    with pytest.raises(KeyboardInterrupt):
        find(FakeAnswers(tired))
    (kept,) = (cache / "witnesses").glob("*.xml")
    assert size(kept.read_text()) <= size(FIXTURE.text)
    found = find(FakeAnswers(NO_DISKS))
    assert found is not None
    assert found.minimal


def test_a_deadline_gives_the_best_so_far_and_says_so() -> None:
    def slow(question: Question) -> Answer | NotHere:
        time.sleep(0.02)
        return NO_DISKS(question)

    end = time.monotonic() + 0.3
    found = find(FakeAnswers(slow), deadline=end)
    assert found is not None
    assert not found.minimal
    assert time.monotonic() < end + 2
    assert find(FakeAnswers(NO_DISKS), deadline=time.monotonic() - 1) is None
    later = find(FakeAnswers(NO_DISKS))
    assert later is not None
    assert later.minimal


def test_what_could_not_be_asked_is_never_called_minimal() -> None:
    def patchy(question: Question) -> Answer | NotHere:
        if question.text.count("<") < 18:
            return NotHere("the lab went away", "bring it back")
        return NO_DISKS(question)

    found = find(FakeAnswers(patchy))
    assert found is not None
    assert not found.minimal


def test_files_are_loaded_under_names_of_their_own() -> None:
    """A directory holds a name once, and a driver takes long to start: many must fit in."""
    key = replace(KEY, check="upgrade-disk")
    lost = Finding("(load)", Change.LOST, Tier.GUEST_ABI_BREAK, "accepted", "no domain with matching name 'guest'")

    def oracle(question: Question) -> Answer | NotHere:
        if question.op == "load" and question.release == "new" and "<disk" in question.text:
            name = parse(question.text).findtext("name")
            return Answer("absent", message=f"no domain with matching name '{name}'")
        written = honest(question)
        assert isinstance(written, Answer)
        root = parse(question.text)
        return replace(written, name=root.findtext("name"), uuid=root.findtext("uuid"))

    answers = FakeAnswers(oracle)
    found = find(answers, lost, key)
    assert found is not None
    assert found.minimal
    assert parse(found.text).findtext("name") == "guest"
    loaded = {(q.name, q.uuid) for q in answers.asked if q.op == "load"}
    texts = {q.text for q in answers.asked if q.op == "load"}
    assert len(loaded) == len({n for n, _ in loaded}) == len({u for _, u in loaded}) >= len(texts) - 2


def test_a_document_that_is_lost_under_such_a_name_alone_is_no_witness() -> None:
    key = replace(KEY, check="upgrade-disk")
    lost = Finding("(load)", Change.LOST, Tier.GUEST_ABI_BREAK, "accepted", "gone")

    def oracle(question: Question) -> Answer | NotHere:
        whole = "<rng" in question.text
        if question.op == "load" and question.release == "new" and (whole or question.name != "guest"):
            return Answer("absent", message="gone")
        written = honest(question)
        assert isinstance(written, Answer)
        return replace(written, name=parse(question.text).findtext("name"))

    found = find(FakeAnswers(oracle), lost, key)
    assert found is not None
    assert not found.minimal
    assert canonical(found.text) == canonical(FIXTURE.text)


def test_of_one_release_the_baseline_is_the_control() -> None:
    key = CellKey("round-trip", "domain", "qemu", "new", "new")
    found = find(FakeAnswers(NO_DISKS), key=key, baseline="old")
    assert found is not None
    both = refusing(REFUSED.new, "//disk", on=("old", "new"))
    assert find(FakeAnswers(both), key=key, baseline="old") is None
    assert find(FakeAnswers(NO_DISKS), key=key) is None
    died = replace(REFUSED, change=Change.CRASHED, new="SIGSEGV")
    assert find(FakeAnswers(dying), died, key) is not None


@pytest.mark.parametrize(
    ("key", "finding"),
    [
        (CellKey("static", "c-api", "-", "old", "new"), REFUSED),
        (CellKey("replay", "guest-abi", "-", "old", "new"), REFUSED),
        (replace(KEY, check="reproduce"), REFUSED),
        (replace(KEY, check="same-input"), replace(REFUSED, change=Change.ACCEPTED)),
        (replace(KEY, kind="nodedev"), REFUSED),
    ],
)
def test_where_there_is_no_smaller_document_nothing_is_asked(key: CellKey, finding: Finding) -> None:
    answers = FakeAnswers(NO_DISKS)
    assert find(answers, finding, key) is None
    assert not answers.asked


def test_without_a_lab_there_is_no_witness() -> None:
    answers = FakeAnswers(NO_DISKS)
    answers.columns.labs["old", ""] = NotHere("no lab", "build it")
    assert find(answers) is None
    assert witness.witness(KEY, "no-such-case", REFUSED, FakeAnswers(NO_DISKS)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["uuid", "mac", "genid"])
def test_what_libvirt_would_draw_at_random_stays(word: str) -> None:
    element = parse(f"<domain><name>a</name><devices><x><{word}/></x></devices></domain>").find(f".//{word}")
    assert element is not None
    assert witness.pinned(element, "")
    assert witness.pinned(element, "address")
    assert witness.pinned(parse("<filter name='a'/>"), "name")
    assert not witness.pinned(parse("<domain type='qemu'/>"), "type")


# Witnesses of real releases.


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from virtcompat.cli import main; main()", *arguments]
    return subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=120)


SHEEPDOG = """<domain type="test">
  <name>disk-network-sheepdog</name>
  <uuid>e1630ee4-a8e3-5ad7-b59c-e539f1337fc7</uuid>
  <memory>1</memory>
  <os>
    <type>hvm</type>
  </os>
  <devices>
    <disk type="network">
      <source protocol="sheepdog" name="a"/>
      <target dev="vda"/>
    </disk>
  </devices>
</domain>
"""


@pytest.mark.lab
def test_sheepdog_is_all_that_debian_13_refuses(lab: Lab) -> None:
    build.create(releases.find("debian-13"))
    key = CellKey("upgrade-redefine", "domain", "test", "debian-12", "debian-13")
    words = "unsupported configuration: 'sheepdog' protocol is no longer supported by any hypervisor driver"
    entry = "libvirt-11.3-sheepdog-refused"
    finding = Finding("(define)", Change.REFUSED, Tier.BREAK, "accepted", words, entry=entry)
    with engine.opened(columns.find(("debian-12", "debian-13"))) as answers:
        found = witness.witness(key, "disk-network-sheepdog", finding, answers)
    assert found is not None
    assert found.minimal
    assert found.text.replace("'qemu'", "'test'") == SHEEPDOG.replace('"test"', '"qemu"')
    assert found.questions <= 150
    shown = run(*shlex.split(found.command)[1:])
    assert shown.returncode == 0, shown.stderr
    assert words in shown.stdout
    assert entry in shown.stdout
    assert f"reproduce: {found.command}" in shown.stdout
    with engine.opened(columns.find(("debian-12", "debian-13"))) as answers:
        assert witness.witness(key, "disk-network-sheepdog", finding, answers) == replace(found, questions=1)
        assert not answers.asked


OWN = """<?xml version="1.0"?><!-- mine --><domain type='test'><name>web</name><memory>1024</memory><os><type>hvm</type></os>
<devices><disk type='network'><source protocol='sheepdog' name='a'/><target dev='vda'/></disk></devices></domain>"""


@pytest.mark.lab
def test_a_document_of_ones_own_is_judged_in_a_cell(lab: Lab, tmp_path: Path) -> None:
    build.create(releases.find("debian-13"))
    file = tmp_path / "my guest.xml"
    file.write_text(OWN)
    cell = "same-input/domain/test/debian-12/debian-13"
    bad = run("explain", cell, "--document", str(file))
    assert bad.returncode == 0
    assert f"{cell}: incompatible (break)" in bad.stdout
    assert "'sheepdog' protocol is no longer supported" in bad.stdout
    assert f"--document '{file}'" in bad.stdout
    plain = OWN.replace("network", "file").replace("protocol='sheepdog' name='a'", "file='/a.img'")
    file.write_text(plain)
    good = run("explain", cell, "--document", str(file), "--format", "json")
    assert '"outcome": "compatible"' in good.stdout
    assert str(file) in good.stdout
    assert file.read_text() == plain


CELL = "same-input/domain/test/debian-12/debian-13"


@pytest.mark.parametrize(
    ("cell", "text", "said"),
    [
        (CELL, "hello", "own.xml:1: not well-formed"),
        (
            CELL,
            "<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain>&x;</domain>",
            "own.xml:1: has a document",
        ),
        (
            CELL,
            "<network><name>a</name></network>",
            "own.xml:1: root element <network>, but the cell is about a domain",
        ),
        (CELL, None, "own.xml:1: cannot be read"),
        (CELL + "/no-such-case", OWN, "no fixture domain/no-such-case"),
        ("static/c-api/-/debian-12/debian-13", OWN, "static/c-api is not about documents"),
        ("same-input/storagevol/test/debian-12/debian-13", "<volume/>", "a storagevol belongs to another object"),
        ("same-input/secret/test/debian-12/debian-13", "<secret/>", "the test driver has no secret"),
    ],
)
def test_a_document_that_cannot_be_judged(tmp_path: Path, cell: str, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "own.xml").write_text(text)
    done = run("explain", cell, "--document", str(tmp_path / "own.xml"))
    assert done.returncode == 2
    assert said in done.stderr
    assert "remedy:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_case_gives_the_document_its_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot belongs to a guest: the witness names the case that has one."""
    fixture = replace(FIXTURE, context=(("domain_name", "guest"), ("domain_xml", "<domain/>")))
    seen: list[Question] = []

    def oracle(question: Question) -> Answer | NotHere:
        seen.append(question)
        return NO_DISKS(question)

    found = witness.witness(KEY, fixture, REFUSED, FakeAnswers(oracle))  # type: ignore[arg-type]
    assert found is not None
    assert all(q.context == fixture.context for q in seen)
    foreign = replace(fixture, foreign=True)
    own = witness.witness(KEY, foreign, REFUSED, FakeAnswers(oracle))  # type: ignore[arg-type]
    assert own is not None
    assert own.command == f"virt-compat explain {KEY} --document {own.file}"
