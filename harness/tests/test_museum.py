"""The museum: its pieces are whole, each kind of fault has its effect, and what comes of a piece is said as it is."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from test_museum_pieces import PIECE, written
from virtcompat import elf
from virtcompat.engine import museum, museum_report
from virtcompat.engine.columns import find
from virtcompat.engine.museum import Result, Seen, Tour
from virtcompat.errors import BadData, NotAsked, UsageError
from virtcompat.labs import BOOTSTRAP, faultfiles, faults
from virtcompat.labs.visit import visiting
from virtcompat.model import NotHere
from virtcompat.store import regressions
from virtcompat.store.regressions import Expected, Fault, Piece

SEEN = Seen(
    "round-trip", "round-trip/domain/test/candidate/candidate", "break", "/domain", "changed", "a|b", "c", 1, "x"
)


def result(piece: Piece, word: str, by: dict[str, int] | None = None) -> Result:
    first = (SEEN,) if by else ()
    return Result(piece.name, word, by or {}, ("round-trip", "same-input"), first, "", 10, 1.0)


def piece(name: str, expected: Expected = Expected.DETECTED) -> Piece:
    every = regressions.every()
    return replace(every[0], name=name, expected=expected)


def lab(release: str = "debian-14", flavour: str = ""):
    found = find((release,)).labs[release, flavour]
    if isinstance(found, NotHere):
        pytest.skip(found.reason)
    return found


def test_no_check_knows_of_the_museum() -> None:
    package = Path(regressions.__file__).parent.parent
    own = ("museum", "museum_report", "faults", "faultfiles", "faults_qemu", "fault_filter", "regressions")
    for file in package.rglob("*.py"):
        if file.stem not in own:
            assert "museum" not in file.read_text().replace("knows of no museum", ""), file


# The faults.


def filtered(
    rules: list[dict[str, object]], questions: list[dict[str, object]], answer: str
) -> list[dict[str, object]]:
    """What comes out of the filter when a probe answers everything alike."""
    source = f"import sys\nfor line in sys.stdin:\n sys.stdout.write({answer!r} + chr(10))\n sys.stdout.flush()\n"
    config = {"probes": {hashlib.sha256(source.encode()).hexdigest(): "libvirt_probe"}, "rules": rules}
    probe = "import sys\nn = int(sys.stdin.readline())\nexec(compile(sys.stdin.read(n), 'p', 'exec'))"
    argv = [sys.executable, str(faults.FILTER), json.dumps(config), sys.executable, "-u", "-c", probe]
    talk = f"{len(source)}\n{source}" + "".join(json.dumps(q) + "\n" for q in questions)
    done = subprocess.run(argv, input=talk, capture_output=True, text=True, timeout=30)
    return [json.loads(line) for line in done.stdout.splitlines()] or [{"code": done.returncode}]


DEFINE = {"id": 1, "op": "define", "kind": "domain", "xml": "<a x='1' y='2'/>"}
ANSWER = json.dumps({"id": 1, "status": "accepted", "forms": {"secure": {"text": "<a x='1'/>"}, "argv": {"text": "x"}}})


@pytest.mark.parametrize(
    ("rule", "path", "value"),
    [
        ({"edits": [["x='1'", "x='2'"]]}, ("forms", "secure", "text"), "<a x='2'/>"),
        ({"edits": [["x", "z"]], "forms": ["secure"]}, ("forms", "argv", "text"), "x"),
        ({"edits": [["x", "z"]], "kind": ["network"]}, ("forms", "argv", "text"), "x"),
        ({"edits": [["x", "z"]], "unasked": "y='2'"}, ("forms", "argv", "text"), "x"),
        ({"transform": "double-quoted"}, ("forms", "secure", "text"), '<a x="1"/>'),
        ({"transform": "opened-elements"}, ("forms", "secure", "text"), "<a x='1'></a>"),
        ({"asked": "y='2'", "say": {"status": "refused"}}, ("status",), "refused"),
        ({"records": {"key": "text", "match": "^x$", "set": {"text": "y"}}}, ("forms", "argv", "text"), "y"),
    ],
)
def test_an_answer_is_changed_where_the_rule_says(rule: dict[str, object], path: tuple[str, ...], value: str) -> None:
    (said,) = filtered([{"way": "answer", **rule}], [DEFINE], ANSWER)
    for step in path:
        said = said[step]  # type: ignore[assignment,index]
    assert said == value


def test_a_probe_dies_of_a_question_where_the_rule_says() -> None:
    (said,) = filtered([{"way": "answer", "asked": "<a", "die": 11}], [DEFINE], ANSWER)
    assert said["code"] == -11


@pytest.mark.lab
def test_a_symbol_is_hidden_and_a_soname_changed() -> None:
    root = faults.root_of(lab())
    (path,) = faultfiles.matching(root, "/usr/lib/*/libvirt.so.0")
    data = (root / path.lstrip("/")).read_bytes()
    fault = Fault("symbol", {"library": path, "hide": ["virDomainSuspend"], "soname": "libvirt.so.1"})
    was, now = elf.library(data, path), elf.library(faultfiles.altered(fault, path, data), path)
    assert {s.name for s in was.exports} - {s.name for s in now.exports} == {"virDomainSuspend"}
    assert now.soname == "libvirt.so.1"
    with pytest.raises(BadData, match="no dynamic symbol"):
        faultfiles.altered(Fault("symbol", {"hide": ["virDream"]}), path, data)


@pytest.mark.lab
def test_a_fault_that_changes_nothing_is_an_error() -> None:
    fault = Fault("file", {"path": "/usr/share/libvirt/schemas/domain.rng", "edits": [["no such words", ""]]})
    with pytest.raises(BadData, match="changes nothing"):
        faults.faulted(lab(), "candidate", [fault])


@pytest.mark.lab
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ('path = "/no/such/file"\ncontent = "x"', "finds nothing in any lab"),
        ('path = "/usr/share/libvirt/schemas/domain.rng"\nedits = [["no such words", ""]]', "changes nothing"),
    ],
)
def test_a_fault_that_cannot_be_applied_is_named_by_its_line(tmp_path: Path, fault: str, words: str) -> None:
    lab()
    file = written(tmp_path, f'{PIECE}[[fault]]\nkind = "file"\n{fault}\n')
    with pytest.raises(BadData, match=words) as raised:
        museum.with_faults(regressions.read(file))
    assert (raised.value.file, raised.value.line) == (file, 13)


@pytest.mark.lab
def test_a_program_is_replaced_by_a_script_that_knows_the_real_one() -> None:
    script = '#!/bin/sh\necho wrapped\nexec {real} "$@"\n'
    made = faults.faulted(
        lab(), "candidate", [Fault("program", {"path": "/usr/bin/qemu-system-x86_64", "script": script})]
    )
    assert made.fingerprint() != lab().fingerprint()
    with visiting(made) as visit:
        said = visit.run("/usr/bin/qemu-system-x86_64", "--version")
    assert said.out.startswith("wrapped\nQEMU emulator version")


@pytest.mark.lab
def test_another_time_of_day_reaches_the_candidates_programs() -> None:
    made = faults.faulted(lab(), "candidate", [Fault("clock", {"seconds": 864000, "zone": "UTC"})])
    with visiting(lab()) as sound, visiting(made) as shifted:
        times = [int(visit.run("date", "+%s").out) for visit in (sound, shifted)]
    assert 863_900 < times[1] - times[0] < 864_100


@pytest.mark.lab
def test_the_filter_stands_right_before_the_probe() -> None:
    made = faults.faulted(lab(), "candidate", [Fault("answer", {"edits": [["a", "b"]]})])
    argv = made.command(daemon=False)
    at = argv.index(BOOTSTRAP) - 3
    assert argv[at - 2] == f"{faults.WHERE}/filter.py"


# The gate's word on them.


@pytest.mark.lab
def test_a_piece_is_detected_by_the_gate_and_remembered(tmp_path: Path) -> None:
    lab()
    text = PIECE.replace('[["a", "b"]]', "[[\"<memory unit='KiB'>\", \"<memory unit='MiB'>\"]]").replace(
        'drivers = ["test"]', 'drivers = ["test"]\nsurfaces = ["domain"]\ncases = ["memory-*"]'
    )
    one = regressions.read(written(tmp_path, text))
    said = museum.exhibit(one, again=True)
    assert said.word == "detected"
    assert "same-input" in said.by
    assert museum.exhibit(one) == said


@pytest.mark.lab
def test_a_fault_that_never_shows_is_not_called_missed(tmp_path: Path) -> None:
    lab()
    text = PIECE.replace('"a", "b"', '"no document has these words", "b"').replace(
        'drivers = ["test"]', 'drivers = ["test"]\nsurfaces = ["secret", "domain"]\ncases = ["memory-kib"]'
    )
    said = museum.exhibit(regressions.read(written(tmp_path, text)), again=True)
    assert (said.word, museum_report.line(piece("T01"), said).count("changed no line")) == ("unasked", 1)


@pytest.mark.lab
def test_what_a_sound_candidate_brings_is_nothing(tmp_path: Path) -> None:
    lab()
    text = PIECE.replace('kind = "answer"\nedits = [["a", "b"]]', 'kind = "clock"\nseconds = 7200').replace(
        "[ask]", 'expect = "silent"\n[ask]'
    )
    text = text.replace('drivers = ["test"]', 'drivers = ["test"]\nsurfaces = ["domain"]\ncases = ["disk-bus-*"]')
    assert museum.exhibit(regressions.read(written(tmp_path, text)), again=True).word == "silent"


def tour(words: list[str], controls: list[str]) -> Tour:
    pieces = [piece(f"T{n}") for n in range(len(words))]
    pieces += [piece(f"c{n}", Expected.SILENT) for n in range(len(controls))]
    by = {"detected": {"round-trip": 3}, "alarm": {"same-input": 1}}
    results = {p.name: result(p, w, by.get(w)) for p, w in zip(pieces, [*words, *controls], strict=True)}
    return Tour(tuple(pieces), results)


@pytest.mark.parametrize(
    ("words", "controls", "code"),
    [
        (["detected"] * 20, ["silent"], 0),
        (["detected"] * 19 + ["missed"], ["silent"], 0),
        (["detected"] * 18 + ["missed"] * 2, ["silent"], 1),
        (["detected"] * 20, ["alarm"], 1),
        (["detected"] * 20, ["unasked"], 3),
        (["detected"] * 20 + ["unasked"], ["silent"], 3),
    ],
)
def test_too_few_seen_or_one_false_alarm_is_no_success(words: list[str], controls: list[str], code: int) -> None:
    assert tour(words, controls).exit_code == code


def test_no_piece_at_all_is_never_a_success() -> None:
    with pytest.raises(NotAsked):
        museum.tour([])
    with pytest.raises(UsageError):
        regressions.choose(["no-such-piece"])


def test_what_was_not_asked_counts_for_no_check_and_no_rate() -> None:
    some = tour(["detected", "unasked"], ["silent", "unasked"])
    assert (some.rate, some.exit_code) == (1.0, 3)
    assert some.by_check() == {"round-trip": (1, 1), "same-input": (0, 1)}
    assert "regressions: 1 of 1 detected (100.0%" in museum_report.text(some)
    assert "controls and harmless changes: 1, false alarms: 0" in museum_report.text(some)
    assert "not asked: T1, c1" in museum_report.text(some)
    assert "| not asked |" in museum_report.markdown(some)


@pytest.mark.parametrize("form", sorted(museum_report.FORMATS))
def test_where_nothing_was_asked_no_rate_is_told(form: str) -> None:
    none = tour(["unasked"], ["unasked"])
    text = museum_report.FORMATS[form](none)
    assert (none.rate, none.by_check(), none.exit_code) == (None, {}, 3)
    assert "%" not in text
    assert "was asked about" not in text
    if form == "json":
        whole = json.loads(text)
        assert (whole["rate"], whole["regressions"], whole["unasked"], whole["checks"]) == (None, 0, ["T0", "c0"], {})
    else:
        assert "not asked: T0, c0" in text
    assert museum_report.line(none.pieces[0], none.results["T0"]).startswith("T0: not asked")


@pytest.mark.parametrize("form", sorted(museum_report.FORMATS))
def test_every_format_names_what_was_missed_and_what_raised_an_alarm(form: str) -> None:
    text = museum_report.FORMATS[form](tour(["detected", "missed"], ["alarm"]))
    assert [word for word in ("T1", "c0", "round-trip") if word not in text] == []
    if form == "markdown":
        assert all(line.count("|") - line.count("\\|") == 7 for line in text.splitlines() if line.startswith("| T"))
    if form == "json":
        whole = json.loads(text)
        assert (whole["missed"], whole["alarms"], whole["exit_code"]) == (["T1"], ["c0"], 1)
        assert whole["checks"] == {"round-trip": {"saw": 1, "of": 2}, "same-input": {"saw": 0, "of": 2}}


def test_the_list_asks_nothing() -> None:
    command = [sys.executable, "-c", "from virtcompat.cli import main; main()", "museum", "--list", "--piece", "L0*"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("L")] == [
        "L01",
        "L03",
        "L05",
        "L07",
        "L09",
    ]
