"""Guests that live across upgrades: the model, the real releases, and labs that lie."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from virtcompat.engine import columns, lifedocs, living
from virtcompat.engine.life import Life, Stage
from virtcompat.errors import BadData, VirtCompatError
from virtcompat.labs import build
from virtcompat.labs.lives import Rack, Said
from virtcompat.model import Change, Tier
from virtcompat.policy import life, lifeview
from virtcompat.store import releases

MAIN = [sys.executable, "-c", "import sys; sys.argv[0] = 'virt-compat'; from virtcompat.cli import main; main()"]
RELEASES = ("debian-11", "debian-12", "debian-13", "debian-14")
PAIRS = [("debian-11", "debian-12"), ("debian-12", "debian-13"), ("debian-13", "debian-14"), ("debian-11", "debian-14")]
#: What CI gives the machine to find something in.
EXAMPLES, STEPS = 20, 25


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MAIN, "life", *arguments], capture_output=True, text=True, check=False, timeout=120)


def seen(**other: Any) -> dict[str, Any]:
    """What a host says of a guest that is off."""
    plain = {
        "state": "shutoff",
        "active": False,
        "persistent": True,
        "autostart": False,
        "managed": False,
        "found": True,
    }
    texts = {"uuid": life.uuid_of("guest-1"), "inactive": "<domain/>", "live": "", "snapshots": {}, "checkpoints": {}}
    return {**plain, **texts, **other}


def world(*lines: str) -> life.World:
    """A world after some steps, without any host."""
    made = life.World("old", "new")
    for line in lines:
        step = life.read(line)
        assert not life.refused(made, step), line
        life.apply(made, step, "<domain/>")
    return made


def test_a_step_is_read_as_it_is_written() -> None:
    for line in (
        "define north guest-1 case=plain",
        "upgrade south by=disk",
        "downgrade north",
        "restore north file=save-1",
    ):
        assert str(life.read(line)) == line


@pytest.mark.parametrize(
    "line", ["define north", "fly north guest-1", "start east guest-1", "start north guest-1 by=disk"]
)
def test_what_is_no_step_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"step|takes"):
        life.read(line)


def test_the_model_knows_what_has_to_be_refused() -> None:
    lines = (
        "define north guest-1 case=plain",
        "start north guest-1",
        "save north guest-1 file=save-1",
        "restore north file=save-1",
    )
    made = world(*lines)
    assert life.refused(made, life.read("start north guest-1")) == "it runs"
    assert life.refused(made, life.read("restore north file=save-1")) == "it runs"
    assert not life.refused(made, life.read("suspend north guest-1"))
    made = world("define north guest-1 case=plain", "snapshot north guest-1 name=first")
    assert life.refused(made, life.read("undefine north guest-1 with=nothing")) == "it has snapshots"
    assert not life.refused(made, life.read("undefine north guest-1 with=everything"))


def test_deleted_snapshots_leave_their_children_to_their_parent() -> None:
    taken = [f"snapshot north guest-1 name={name}" for name in life.NAMES]
    guest = (
        world("define north guest-1 case=plain", *taken, "delete-snapshot north guest-1 name=second")
        .hosts["north"]
        .guests
    )
    assert {n: m.parent for n, m in guest["guest-1"].snapshots.items()} == {"first": "", "third": "first"}


@pytest.mark.parametrize(
    ("other", "path", "change"),
    [
        ({"state": "running"}, "(state)", Change.CHANGED),
        ({"found": False}, "(found)", Change.CHANGED),
        ({"autostart": True}, "(autostart)", Change.CHANGED),
        ({"snapshots": {"first": {"parent": "", "current": True, "text": ""}}}, "(snapshot[first])", Change.ADDED),
    ],
)
def test_what_a_host_says_otherwise_is_found(other: Mapping[str, Any], path: str, change: Change) -> None:
    host = world("define north guest-1 case=plain").hosts["north"]
    assert not list(lifeview.discrepancies(host, {"guest-1": seen()}))
    found = [f for _, f in lifeview.discrepancies(host, {"guest-1": seen(**other)})]
    assert (path, change) in [(f.path, f.change) for f in found]


def test_a_guest_that_is_gone_is_the_worst() -> None:
    host = world("define north guest-1 case=plain").hosts["north"]
    ((name, finding),) = lifeview.discrepancies(host, {})
    assert (name, finding.change, finding.tier) == ("guest-1", Change.LOST, Tier.GUEST_ABI_BREAK)


def test_the_test_drivers_file_has_parents_before_children() -> None:
    trees = {
        n: {"parent": p, "current": n == "c", "text": f"<domainsnapshot><name>{n}</name></domainsnapshot>"}
        for n, p in ("ba", "cb", "a ")
    }
    trees["a"]["parent"] = ""
    text = lifedocs.node([seen(snapshots=trees, inactive="<domain type='test'><name>g</name></domain>")]).decode()
    assert re.findall("<name>(.)</name>", text) == ["g", "a", "b", "c"]
    assert re.findall("<active>(.)</active>", text) == ["0", "0", "1"]


@pytest.fixture(scope="module")
def staged() -> Iterator[Callable[[str, str], Stage]]:
    """(old, new) -> a stage with the real labs."""
    made: list[Stage] = []

    @cache
    def open_stage(old: str, new: str) -> Stage:
        try:
            for name in (old, new):
                build.create(releases.find(name))
            made.append(living.ready(old, new, columns.find(RELEASES)))
        except VirtCompatError as error:
            pytest.skip(str(error))
        return made[-1]

    yield open_stage
    for stage in made:
        stage.close()


Staged = Callable[[str, str], Stage]


def fresh(stage: Stage, racks: Mapping[str, Any] | None = None) -> Stage:
    """The same labs, nothing counted yet."""
    return Stage(stage.old, stage.new, stage.found, {**stage.racks, **(racks or {})}, stage.cases)


@pytest.mark.lab
@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_guests_live_across_an_upgrade(staged: Staged, old: str, new: str) -> None:
    report = living.live(fresh(staged(old, new)), STEPS, EXAMPLES)
    words = "\n".join(
        f"{f.trouble.signature}: {f.trouble.finding}\n" + "\n".join(map(str, f.life)) for f in report.found
    )
    assert report.exit_code == 0, words
    assert report.verbs["upgrade"] > 5
    assert report.steps > 100
    assert report.cases > 300


@pytest.mark.lab
@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_known_lives_still_go_wrong(staged: Staged, old: str, new: str) -> None:
    assert [known.name for known in living.unused(fresh(staged(old, new)))] == []


@pytest.mark.lab
def test_a_known_life_that_is_mended_is_told(staged: Staged) -> None:
    mended = replace(
        living.known_lives()[0], name="mended", lines=("define north guest-1 case=plain", "start north guest-1")
    )
    assert living.unused(fresh(staged("debian-12", "debian-13")), [mended]) == [mended]


@pytest.mark.lab
def test_the_same_seed_is_the_same_lives(staged: Staged) -> None:
    one, other = (living.live(fresh(staged("debian-12", "debian-13")), 20, 8, 3) for _ in range(2))
    assert (one.verbs, one.steps, one.refusals, one.known) == (other.verbs, other.steps, other.refusals, other.known)
    different = living.live(fresh(staged("debian-12", "debian-13")), 20, 8, 4)
    assert different.verbs != one.verbs


@pytest.mark.lab
@pytest.mark.parametrize("by", ["disk", "define"])
def test_a_guest_keeps_everything_in_an_upgrade(staged: Staged, by: str) -> None:
    going = Life(fresh(staged("debian-11", "debian-14")))
    before = [
        "define north guest-1 case=plain", "autostart north guest-1 on=yes", "snapshot north guest-1 name=first",
        "snapshot north guest-1 name=second", "start north guest-1", "edit north guest-1 what=memory",
        "define north guest-2 case=plain", "managed-save north guest-2", "define north guest-3 case=plain",
        "start north guest-3", "save north guest-3 file=save-1", "start north guest-2", "suspend north guest-2",
    ]  # fmt: skip
    after = [
        f"upgrade north by={by}",
        "restore north file=save-1",
        "destroy north guest-1",
        "revert north guest-1 name=first",
    ]
    for line in (*before, *after):
        assert going.do(life.read(line)) == [], line
    assert going.world.hosts["north"].release == "debian-14"
    assert {name: guest["state"] for name, guest in going.views["north"].items()} == {
        "guest-1": "shutoff", "guest-2": "paused", "guest-3": "running",
    }  # fmt: skip


@dataclass(slots=True)
class Lying:
    """A lab whose answers are altered. lie: (its own rack, what is asked, the true answer) -> what it says."""

    true: Rack
    lie: Callable[[Lying, Mapping[str, Any], Said], Said]
    memory: dict[str, Any]

    def begin(self, host: str, uri: str, files: Mapping[str, bytes]) -> Said:
        return self.lie(self, {"op": "begin", "host": host}, self.true.begin(host, uri, files))

    def call(self, host: str, on: Any, method: str, *args: Any) -> Said:
        asked = {"op": "call", "host": host, "on": on, "method": method, "args": args}
        return self.lie(self, asked, self.true.call(host, on, method, *args))

    def end(self, host: str) -> Said:
        return self.true.end(host)


def each(said: Said, alter: Callable[[str, dict[str, Any]], dict[str, Any] | None]) -> Said:
    """An answer with every guest in it altered; None is a guest that is left out."""
    if said.view is None:
        return said
    altered = {name: alter(name, dict(guest)) for name, guest in said.view.items()}
    return replace(said, view={name: guest for name, guest in altered.items() if guest is not None})


def vanishes(lab: Lying, asked: Mapping[str, Any], said: Said) -> Said:
    """The first guest that is there when a host starts is in no answer."""
    if asked["op"] == "begin":
        lab.memory[asked["host"]] = sorted(said.view or {"": {}})[:1]
    return each(said, lambda name, guest: None if name in lab.memory.get(asked["host"], ()) else guest)


def doubles_memory(lab: Lying, asked: Mapping[str, Any], said: Said) -> Said:
    """Guests that are there when a host starts have twice the memory."""
    if asked["op"] == "begin":
        lab.memory[asked["host"]] = list(said.view or {})

    def alter(name: str, guest: dict[str, Any]) -> dict[str, Any]:
        if name in lab.memory.get(asked["host"], ()):
            for form in ("inactive", "live"):
                guest[form] = re.sub(r"(<memory unit='KiB'>)(\d+)", lambda m: m[1] + str(2 * int(m[2])), guest[form])
        return guest

    return each(said, alter)


def loses_edits(lab: Lying, asked: Mapping[str, Any], said: Said) -> Said:
    """A definition that replaces another one is accepted, and the old one is shown."""

    if asked["op"] == "begin":
        lab.memory.clear()

    def alter(name: str, guest: dict[str, Any]) -> dict[str, Any]:
        known = lab.memory.get((asked["host"], name))
        if asked.get("method") == "defineXML" and known and known["uuid"] == guest["uuid"]:
            guest["inactive"] = known["inactive"]
        return guest

    told = each(said, alter)
    lab.memory.update({(asked["host"], name): guest for name, guest in (told.view or {}).items()})
    return told


def loses_parents(lab: Lying, asked: Mapping[str, Any], said: Said) -> Said:
    """A host that starts knows of no snapshot's parent."""

    def alter(name: str, guest: dict[str, Any]) -> dict[str, Any]:
        return {**guest, "snapshots": {n: {**one, "parent": ""} for n, one in guest["snapshots"].items()}}

    return each(said, alter)


def refuses_saved(lab: Lying, asked: Mapping[str, Any], said: Said) -> Said:
    """A saved guest cannot be restored."""
    if asked.get("method") == "restore" and said.outcome == "ok":
        return Said("refused", 1, "internal error: not a save image", view=lab.memory[asked["host"]])
    lab.memory[asked["host"]] = said.view
    return said


def says_nothing(lab: Lying, asked: Mapping[str, Any], said: Said) -> Said:
    """A refusal has no message."""
    return replace(said, words="", code=0) if said.outcome == "refused" else said


def dies(lab: Lying, asked: Mapping[str, Any], said: Said) -> Said:
    """A host is gone when a guest is suspended."""
    return Said("crashed", words="SIGSEGV") if asked.get("method") == "suspend" else said


LIES = [
    (vanishes, r"^(upgrade|migrate|start|define|\S+): (lost|added) \(guest\)"),
    (doubles_memory, r"^\S+: changed /domain/memory$"),
    (loses_edits, r"^(edit|migrate): \S+ /domain/"),
    (loses_parents, r"^\S+: changed \(snapshot/parent\)|^\S+: changed \(snapshot"),
    (refuses_saved, r"^restore: refused \(call\): internal error: not a save image"),
    (says_nothing, r"^\S+: removed \(message\)"),
    (dies, r"^(suspend|migrate|upgrade): crashed \((call|define)\): SIGSEGV"),
]


@pytest.mark.lab
@pytest.mark.parametrize(("lie", "expected"), LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_a_lab_that_lies_is_found_out(staged: Staged, lie: Any, expected: str) -> None:
    stage = staged("debian-12", "debian-13")
    lying = fresh(stage, {"debian-13": Lying(stage.racks["debian-13"], lie, {})})
    report = living.live(lying, STEPS, 4 * EXAMPLES, most=1)
    found = [f for f in report.found if re.search(expected, f.trouble.signature)]
    assert found, [f.trouble.signature for f in report.found]
    # Short enough to be read: what is left is what it takes.
    assert len(found[0].life) <= 8, [str(step) for step in found[0].life]
    assert report.exit_code == 1


@pytest.mark.lab
def test_a_life_is_replayed(staged: Staged, tmp_path: Path) -> None:
    staged("debian-11", "debian-12")
    known = next(k for k in living.known_lives() if k.name == "reverted-to-running-is-paused")
    file = tmp_path / "life.txt"
    steps = tuple(life.read(line) for line in known.lines)
    file.write_text(f"# a comment\n{living.Written('debian-11', 'debian-12', steps)}\n")
    assert living.read(file).steps == steps
    done = run("--replay", str(file))
    assert "<reverted-to-running-is-paused>" in done.stdout, done.stderr
    assert done.returncode == 0
    file.write_text("old: debian-11\nnew: debian-12\nstart north guest-1\n")
    assert run("--replay", str(file)).returncode == 2


def test_a_file_that_is_no_life_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "life.txt"
    for text in ("", "old: debian-11\n", "old: a\nnew: b\njump north guest-1\n"):
        file.write_text(text)
        with pytest.raises(BadData):
            living.read(file)


@pytest.mark.parametrize("text", ["garbage\n", "old: debian-11\nnew: debian-12\nstart\n"])
def test_a_line_that_is_no_step_is_said_in_a_lifes_own_words(text: str, tmp_path: Path) -> None:
    file = tmp_path / "life.txt"
    file.write_text(text)
    number, word = len(text.splitlines()), text.split()[-1]
    with pytest.raises(BadData) as caught:
        living.read(file)
    assert caught.value.message.startswith(f"{file}:{number}: '{word}' is no step: a line is VERB HOST and")
    assert "old: RELEASE" in caught.value.remedy
    assert "unpack" not in str(caught.value)


def test_the_command_line_refuses_contradictions(tmp_path: Path) -> None:
    file = tmp_path / "life.txt"
    file.write_text("")
    for arguments in (["--old", "debian-11"], ["--replay", str(file), "--known"]):
        assert run(*arguments).returncode == 2
