"""Plans: no plan strands a guest, a plan is found where brute force finds one, a proof is one, a file's mistakes are named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from cluster_oracle import Action, Simulator, Stranded, actions, advance, executed, exists, matrix, problems, retreat
from hypothesis import HealthCheck, assume, given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from virtcompat.engine import guests, static
from virtcompat.engine import plan as engine
from virtcompat.errors import BadData
from virtcompat.labs import Lab
from virtcompat.model import Answer, Form, NotHere
from virtcompat.policy.cluster import Guest, Host, No, Pair, Problem, Say, Step, Unknown, Yes, board
from virtcompat.policy.exhaustive import Allowance, GaveUp, exhaustive
from virtcompat.policy.planner import Impossible, Plan, Unproven, reachable, shortage, solve
from virtcompat.policy.rolling import rolling
from virtcompat.store import clusters, paths, streams

COMMAND = [sys.executable, "-c", "from virtcompat.cli import main; main()"]
SLOW = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
DUMP = next(streams.read(streams.file_of("debian-12"))).dump
EXAMPLES = paths.data_root() / "suites" / "clusters"
CHAIN = ("a", "b", "c")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=300)


def cluster(*hosts: tuple[str, ...], room: int = 4, down: int = 1, releases: tuple[str, ...] = CHAIN) -> Problem:
    """Hosts ``h0`` … of the oldest release, with guests of these kinds, each of size 1; ``x`` twice is ``x0``, ``x1``."""
    machines = tuple(Host(f"h{n}", releases[0], (room,)) for n in range(len(hosts)))
    members = tuple(Guest(f"{k}{n}{i}", f"h{n}", k, (1,)) for n, on in enumerate(hosts) for i, k in enumerate(on))
    return Problem(machines, members, releases, dict(pairwise(releases)), down)


def closed(*pairs: str) -> dict[Pair, Say]:
    """``xab``: kind x does not go from a to b."""
    return {(p[0], p[1], p[2]): No() for p in pairs}


# -- against brute force -----------------------------------------------------------------------------------------------


@SLOW
@given(problems())
def test_there_is_a_plan_where_brute_force_finds_one_and_it_strands_nobody(
    given: tuple[Problem, dict[Pair, Say]],
) -> None:
    problem, table = given
    may = matrix(table)
    answer = solve(problem, may)
    assert isinstance(answer, Plan) == exists(problem, may)
    if isinstance(answer, Plan):
        assert executed(problem, may, answer.steps).done


@SLOW
@given(problems())
def test_unproven_asks_for_what_would_make_a_plan_and_for_no_more(given: tuple[Problem, dict[Pair, Say]]) -> None:
    problem, table = given
    answer = solve(problem, matrix(table))
    hopeful = {pair: Yes() if isinstance(say, Unknown) else say for pair, say in table.items()}
    if not isinstance(answer, Plan):
        assert isinstance(answer, Unproven) == exists(problem, matrix(hopeful))
    if isinstance(answer, Unproven):
        asked = {question.pair for question in answer.questions}
        assert asked
        assert exists(problem, matrix({**table, **dict.fromkeys(asked, Yes())}))
        for one in asked:
            assert not exists(problem, matrix({**table, **dict.fromkeys(asked - {one}, Yes())}))


@SLOW
@given(problems(unknown=False))
def test_a_proof_is_one_and_has_no_cell_too_many(given: tuple[Problem, dict[Pair, Say]]) -> None:
    problem, table = given
    answer = solve(problem, matrix(table))
    assume(isinstance(answer, Impossible))
    assert isinstance(answer, Impossible)
    assert answer.proofs
    for proof in answer.proofs:
        large = problem if proof.room else replace(problem, hosts=tuple(replace(h, room=(99,)) for h in problem.hosts))
        cells = {forbidden.pair for forbidden in proof.forbidden}
        assert cells or proof.room
        assert cells <= {pair for pair, say in table.items() if isinstance(say, No)}
        assert not exists(large, matrix(dict.fromkeys(cells, No())))
        for one in cells if proof.minimal else ():
            assert exists(large, matrix(dict.fromkeys(cells - {one}, No())))


@SLOW
@given(problems(unknown=False))
def test_the_quick_ways_agree_with_the_whole_search(given: tuple[Problem, dict[Pair, Say]]) -> None:
    problem, table = given
    field = board(problem, {pair for pair, say in table.items() if isinstance(say, No)})
    found = exhaustive(field, Allowance(10**6))
    if shortage(field) or not reachable(field):
        assert found is None
    quick = rolling(field)
    if quick is not None:
        executed(problem, matrix(table), quick)
        assert found is not None
    if found is not None:
        executed(problem, matrix(table), found)
        assert quick is None or len([*moves(found)]) <= len([*moves(quick)])


def moves(steps: list[Step]) -> Iterator[object]:
    for step in steps:
        yield from step.moves


# -- as an operator would live with it ---------------------------------------------------------------------------------


class Operator(RuleBasedStateMachine):
    """Somebody who follows a plan, turns round in the middle, goes on, or throws it away and plans anew."""

    @initialize(given=problems(hosts=4, guests=5, unknown=False))
    def first(self, given: tuple[Problem, dict[Pair, Say]]) -> None:
        self.plan(given)

    @precondition(lambda self: not self.ahead)
    @rule(given=problems(hosts=4, guests=5, unknown=False))
    def another(self, given: tuple[Problem, dict[Pair, Say]]) -> None:
        self.plan(given)

    def plan(self, given: tuple[Problem, dict[Pair, Say]]) -> None:
        self.problem, self.may = given[0], matrix(given[1])
        self.simulator = Simulator(self.problem, self.may)
        self.ahead: list[Action] = []
        self.behind: list[Action] = []
        answer = solve(self.problem, self.may)
        if isinstance(answer, Plan):
            self.ahead = list(actions(answer.steps))

    @precondition(lambda self: self.ahead)
    @rule()
    def advance(self) -> None:
        advance(self.simulator, self.ahead[0])
        self.behind.append(self.ahead.pop(0))

    @precondition(lambda self: self.behind)
    @rule()
    def retreat(self) -> None:
        retreat(self.simulator, self.behind[-1])
        self.ahead.insert(0, self.behind.pop())

    @precondition(lambda self: self.behind and self.ahead)
    @rule()
    def replan(self) -> None:
        """From wherever one is there is a plan: what is left of the old one is one."""
        now = self.simulator
        hosts = tuple(replace(h, release=now.release[h.name]) for h in self.problem.hosts)
        members = tuple(replace(g, host=now.place[g.name]) for g in self.problem.guests)
        problem = replace(self.problem, hosts=hosts, guests=members)
        answer = solve(problem, self.may)
        assert isinstance(answer, Plan)
        executed(problem, self.may, answer.steps)
        # The new plan is followed; guests that have moved count as moved from where they were when it was made.
        self.problem, self.simulator = problem, Simulator(problem, self.may)
        self.ahead, self.behind = list(actions(answer.steps)), []

    @invariant()
    def nobody_is_stranded(self) -> None:
        if hasattr(self, "simulator"):
            self.simulator.check()
            assert set(self.simulator.place) == {guest.name for guest in self.problem.guests}
            assert set(self.simulator.place.values()) <= {host.name for host in self.problem.hosts}
            assert self.ahead or not self.behind or self.simulator.done


Operator.TestCase.settings = settings(SLOW, max_examples=60, stateful_step_count=30)
TestOperator = Operator.TestCase


# -- the simulator can fail --------------------------------------------------------------------------------------------

THREE = cluster(("x", "y"), ("x",), ("y",))


def test_the_simulator_refuses_plans_that_strand_a_guest() -> None:
    answer = solve(THREE, matrix({}))
    assert isinstance(answer, Plan)
    steps = answer.steps
    assert executed(THREE, matrix({}), steps).done
    first = steps[0]
    wrong = {
        "a move left out": (replace(first, moves=first.moves[1:]), *steps[1:]),
        "an upgrade left out": (replace(first, upgrades=()), *steps[1:]),
        "the last step left out": steps[:-1],
        "steps in another order": steps[::-1],
        "two hosts at once": (Step(first.moves, (*first.upgrades, *steps[1].upgrades)), *steps[2:]),
    }
    for plan in wrong.values():
        with pytest.raises(Stranded):
            executed(THREE, matrix({}), plan)
    crossing = {(m.old, m.new) for step in steps for m in step.moves if m.old != m.new}
    for old, new in crossing:
        for kind in "xy":
            for pair in ((kind, old, new), (kind, new, old)):
                with pytest.raises(Stranded):
                    executed(THREE, matrix({pair: No()}), steps)
    crowd = cluster(("x", "x"), ("x", "x"), ("x",), room=4)
    found = solve(crowd, matrix({}))
    assert isinstance(found, Plan)
    small = replace(crowd, hosts=tuple(replace(h, room=(2,)) for h in crowd.hosts))
    with pytest.raises(Stranded, match="too full"):
        executed(small, matrix({}), found.steps)


# -- examples ----------------------------------------------------------------------------------------------------------


def test_a_host_goes_through_a_release_that_no_guest_can_be_on() -> None:
    answer = solve(THREE, matrix(closed("xab", "xbc", "xcb", "yab")))
    assert isinstance(answer, Plan)
    assert [u.releases for step in answer.steps for u in step.upgrades] == [CHAIN] * 3


def test_a_ferry_takes_guests_that_cannot_go_directly() -> None:
    answer = solve(THREE, matrix(closed("xac", "yca")))
    assert isinstance(answer, Plan)
    executed(THREE, matrix(closed("xac", "yca")), answer.steps)
    assert any(u.releases == ("a", "b") for step in answer.steps for u in step.upgrades)


def test_a_move_that_cannot_be_undone_is_not_used() -> None:
    answer = solve(THREE, matrix(closed("xba", "xca")))
    assert isinstance(answer, Impossible)
    assert {f.pair for f in answer.proofs[0].forbidden} == {("x", "b", "a"), ("x", "c", "a")}


def test_the_last_hosts_may_go_together_where_no_single_one_takes_everybody_back() -> None:
    """x goes by way of b alone and y past it: a single host that is left, of whichever release, takes only one of them."""
    table = closed("xac", "yab", "ycb")
    one, two = THREE, replace(THREE, down=2)
    assert isinstance(solve(one, matrix(table)), Impossible)
    assert exhaustive(board(one, set(table)), Allowance(10**6)) is None
    assert not exists(one, matrix(table))
    answer = solve(two, matrix(table))
    assert isinstance(answer, Plan)
    executed(two, matrix(table), answer.steps)
    searched = exhaustive(board(two, set(table)), Allowance(10**6))
    assert searched is not None
    executed(two, matrix(table), searched)
    with pytest.raises(Stranded, match="cannot go back"):
        executed(one, matrix(table), [replace(s, upgrades=(u,)) for s in searched for u in s.upgrades[:1]])


def test_the_room_and_what_may_be_down_bound_a_plan() -> None:
    full = solve(cluster(("x",) * 4, ("x",) * 4), matrix({}))
    assert isinstance(full, Impossible)
    assert full.proofs[0].room == "h0 cannot be emptied: 8 guests to place, room for 4 on the other hosts"
    assert "no other host" in solve(cluster(("x",)), matrix({})).proofs[0].room  # type: ignore[union-attr]
    six = [("x",)] * 6
    for down, steps in ((1, 6), (2, 3), (3, 2)):
        found = solve(cluster(*six, down=down), matrix({}))
        assert isinstance(found, Plan)
        assert len(found.steps) == steps


def test_cells_and_the_room_together_can_forbid() -> None:
    problem = cluster(("x", "x"), ("x", "x"), ("y",), room=3)
    wide = replace(problem, guests=(*problem.guests[:-1], replace(problem.guests[-1], size=(2,))))
    assert isinstance(solve(wide, matrix({})), Plan)
    answer = solve(wide, matrix(closed("xaa")))
    assert isinstance(answer, Impossible)
    (proof,) = answer.proofs
    assert [f.pair for f in proof.forbidden] == [("x", "a", "a")]
    assert proof.room == "the guests do not fit elsewhere, in whatever order"
    assert isinstance(solve(problem, matrix(closed("xaa"))), Plan)


def test_guests_are_shut_down_only_where_they_must_be() -> None:
    table: dict[Pair, Say] = {("x", a, b): Yes(cold=a != b) for a in CHAIN for b in CHAIN}
    answer = solve(THREE, matrix(table))
    assert isinstance(answer, Plan)
    cold = [m for step in answer.steps for m in step.moves if m.cold]
    assert cold
    assert {m.guest[0] for m in cold} == {"x"}
    assert all(m.old != m.new for m in cold)


def sized(rooms: tuple[int, ...], *members: tuple[int, int]) -> Problem:
    """Hosts with this much room and guests of one kind as (host, size)."""
    hosts = tuple(Host(f"h{n}", "a", (room,)) for n, room in enumerate(rooms))
    return Problem(
        hosts, tuple(Guest(f"g{n}", f"h{h}", "x", (s,)) for n, (h, s) in enumerate(members)), ("a", "b"), {"a": "b"}
    )


def test_a_bound_makes_an_answer_unproven_and_never_impossible() -> None:
    packed = sized((6, 5, 5), (1, 2), (2, 4), (0, 4))
    field = board(packed, set())
    assert not shortage(field)
    assert reachable(field)
    assert not exists(packed, matrix({}))
    whole = solve(packed, matrix({}))
    assert isinstance(whole, Impossible)
    assert whole.proofs[0].room == "the guests do not fit elsewhere, in whatever order"
    bounded = solve(packed, matrix({}), work=5)
    assert isinstance(bounded, Unproven)
    assert "a plan may exist" in bounded.why
    with pytest.raises(GaveUp):
        exhaustive(field, Allowance(5))


def test_what_is_not_found_quickly_is_searched_for() -> None:
    fiddly = sized((6, 6, 4), (1, 2), (2, 3), (0, 2), (0, 3))
    assert rolling(board(fiddly, set())) is None
    answer = solve(fiddly, matrix({}))
    assert isinstance(answer, Plan)
    executed(fiddly, matrix({}), answer.steps)


def test_a_cluster_that_is_done_needs_no_steps() -> None:
    problem = replace(THREE, hosts=tuple(replace(host, release="c") for host in THREE.hosts))
    assert solve(problem, matrix({})) == Plan(())


def test_a_hundred_hosts_with_a_thousand_guests_are_planned_in_seconds() -> None:
    kinds = [tuple(f"k{(n + i) % 5}" for i in range(10)) for n in range(100)]
    problem = cluster(*kinds, room=11, down=3)
    may = matrix({(kind, *way): No() for kind in ("k1", "k2") for way in (("a", "c"), ("c", "a"))})
    answer = solve(problem, may)
    assert isinstance(answer, Plan)
    executed(problem, may, answer.steps)
    stuck = matrix({("k3", "a", "b"): No(), ("k3", "c", "a"): No()})
    refuted = solve(problem, stuck)
    assert isinstance(refuted, Impossible)
    assert len(refuted.proofs[0].forbidden) == 2
    assert len(refuted.proofs[0].guests) == 200


# -- the file ----------------------------------------------------------------------------------------------------------

GOOD = """target = "debian-14"
down = 1
path = "stepwise"
[[host]]
name = "a"
release = "debian-12"
guests = 2
[[host]]
name = "b"
release = "debian-12"
memory = 100
[[guest]]
name = "web"
host = "a"
machine = "pc-q35-5.2"
devices = ["virtio-net"]
memory = 50
"""
MISTAKES = {
    "unknown release": ('release = "debian-12"\nguests', 'release = "debian-99"\nguests', 6, "no release 'debian-99'"),
    "unknown target": ('"debian-14"', '"sid"', 1, "no release 'sid'"),
    "a target that is older": ('"debian-14"', '"debian-11"', 6, "newer than the target"),
    "guest on unknown host": ('host = "a"', 'host = "z"', 14, "is on 'z', which is no host"),
    "too many guests": ("guests = 2", "guests = 0", 7, "room for 0 guests and its guests take 1"),
    "too little memory": ("guests = 2", "memory = 49", 7, "room for 49 MiB and its guests take 50"),
    "duplicate host": ('name = "b"', 'name = "a"', 9, "a second host 'a'"),
    "unknown device set": ('["virtio-net"]', '["virtio-nut"]', 16, "no device set 'virtio-nut'"),
    "device set of another family": ('pc-q35-5.2"\ndevices = ["virtio-net"]', 'microvm"\ndevices = ["usb"]', 16, "not for"),
    "machine type the release lacks": ("pc-q35-5.2", "pc-q35-9.9", 15, "debian-12 has no machine type 'pc-q35-9.9'"),
    "no host may be down": ("down = 1", "down = 0", 2, "no host may ever be upgraded"),
    "unknown path": ("stepwise", "sideways", 3, "no path 'sideways'"),
    "unknown key": ("guests = 2", "colour = 2", 7, "unknown key 'colour'"),
    "wrong type": ("memory = 50", 'memory = "much"', 17, "'memory' must be a number"),
    "a flag for a number": ("memory = 50", "memory = true", 17, "'memory' must be a number"),
    "negative": ("memory = 50", "memory = -50", 17, "'memory' is -50"),
    "missing key": ('machine = "pc-q35-5.2"\n', "", 12, "a guest without 'machine'"),
    "no device sets": ('["virtio-net"]', "[]", 16, "no list of names"),
    "not TOML": ("down = 1", "down = = 1", 2, "not valid TOML"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_line_and_a_remedy(name: str, tmp_path: Path) -> None:
    old, new, line, words = MISTAKES[name]
    assert old in GOOD
    file = tmp_path / "cluster.toml"
    file.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BadData) as caught:
        engine.plan(file)
    assert caught.value.message.startswith(f"{file}:{line}: ")
    assert words in caught.value.message
    assert caught.value.remedy


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(GOOD.replace("down = 1", "down = 0").replace('host = "a"', 'host = "z"').replace("-net", "-nut"))
    done = run("plan", str(file))
    assert done.returncode == 2
    assert [f"{file}:{line}: " in done.stderr for line in (2, 14, 16)] == [True] * 3
    assert done.stderr.count("remedy: ") == 3


@pytest.mark.parametrize("text", ["", "target = 'debian-14'", GOOD.partition("[[guest]]")[0], GOOD[:120], "\0"])
def test_a_file_that_is_cut_off_is_never_a_plan(text: str, tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadData, match=r"cluster\.toml:\d+: "):
        clusters.read(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('target = "debian-14"\n', "'host' is missing\n  remedy: begin one with [[host]]"),
        ('target = "debian-14"\n[[host]]\nname = "a"\n', "'guest' is missing\n  remedy: begin one with [[guest]]"),
        ('target = "debian-14"\nhost = "a"\n', "'host' must be a list\n  remedy: begin one with [[host]]"),
        ('target = "debian-14"\n[host]\n', "'host' must be a list\n  remedy: begin one with [[host]]"),
        ("[[host]]\n", "'target' is missing\n  remedy: add a line 'target = …'"),
    ],
)
def test_the_remedy_for_a_missing_table_is_how_it_begins(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadData) as caught:
        clusters.read(file)
    assert words in str(caught.value)


def test_a_chain_has_the_distributions_releases_between() -> None:
    assert clusters.chain("debian-11", "debian-14", "stepwise") == tuple(f"debian-{n}" for n in (11, 12, 13, 14))
    assert clusters.chain("debian-11", "debian-14", "direct") == ("debian-11", "debian-14")
    assert clusters.chain("debian-14", "debian-14", "stepwise") == ("debian-14",)


# -- the measured matrix, with answers in place of labs ----------------------------------------------------------------

ARRIVED = Answer("migrated", {"before": Form(DUMP), "after": Form(DUMP)})
REFUSED = Answer("refused", message="it does not load")
Moved = Callable[[object, str, str, tuple[str, ...]], Answer | NotHere]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Moved], None]:
    """Replaces what the labs answer to a migration."""
    return lambda moved: monkeypatch.setattr(guests.Moves, "moved", moved)


def test_the_example_is_planned_over_golden_records(answers: Callable[[Moved], None]) -> None:
    answers(lambda self, old, new, argv: ARRIVED)
    found = engine.plan(EXAMPLES / "three-hosts.toml")
    assert found.exit_code == 0
    assert isinstance(found.answer, Plan)
    assert [u.releases for step in found.answer.steps for u in step.upgrades] == [
        ("debian-12", "debian-13", "debian-14")
    ] * 3
    assert [level.machines for level in found.levels] == [("pc-i440fx-7.2", "pc-q35-7.2")] * 3 + [
        ("pc-i440fx-11.1", "pc-q35-11.1")
    ]
    assert {level.spice for level in found.levels} == {"1 (0.6)"}
    assert any("pc-q35-5.2 is deprecated in debian-14" in note for note in found.notes)


def test_a_cluster_file_that_is_done_asks_nothing(answers: Callable[[Moved], None], tmp_path: Path) -> None:
    answers(lambda self, old, new, argv: pytest.fail("asked"))
    file = tmp_path / "cluster.toml"
    file.write_text(GOOD.replace("debian-12", "debian-14"), encoding="utf-8")
    assert engine.plan(file).answer == Plan(())
    done = run("plan", str(file))
    assert done.returncode == 0
    assert "nothing to do" in done.stdout


def test_a_half_upgraded_cluster_is_planned_to_its_end(answers: Callable[[Moved], None], tmp_path: Path) -> None:
    answers(lambda self, old, new, argv: ARRIVED)
    file = tmp_path / "cluster.toml"
    file.write_text(GOOD.replace('"debian-12"\nmemory', '"debian-14"\nmemory').replace("stepwise", "direct"))
    found = engine.plan(file)
    assert isinstance(found.answer, Plan)
    (step,) = found.answer.steps
    assert [u.releases for u in step.upgrades] == [("debian-12", "debian-14")]


def test_a_finding_forbids_and_a_restart_helps(answers: Callable[[Moved], None]) -> None:
    answers(lambda self, old, new, argv: REFUSED if "-smp" in argv and old != new else ARRIVED)
    found = engine.plan(EXAMPLES / "no-way.toml")
    assert found.exit_code == 1
    assert isinstance(found.answer, Impossible)
    (proof,) = found.answer.proofs
    assert proof.guests == ("build",)
    assert [f.pair[1:] for f in proof.forbidden] == [("debian-12", "debian-13"), ("debian-12", "debian-14")]
    cell = proof.forbidden[1].cells[0]
    assert "pc-q35-5.2/processors: refused: it does not load" in cell.words
    assert cell.command.endswith("--from debian-12 --to debian-14 --machine pc-q35-5.2 --device-set processors")
    assert any("restart = true): build" in hint for hint in found.hints)
    cold = engine.plan(EXAMPLES / "three-hosts.toml")
    assert isinstance(cold.answer, Plan)
    assert {m.guest for step in cold.answer.steps for m in step.moves if m.cold} == {"build"}


@pytest.mark.parametrize("silent", ["debian-12", "debian-14"])
def test_what_was_not_asked_is_not_used(answers: Callable[[Moved], None], silent: str) -> None:
    answers(lambda self, old, new, argv: NotHere("no lab", "make one") if silent in (old, new) else ARRIVED)
    found = engine.plan(EXAMPLES / "three-hosts.toml")
    assert found.exit_code == 3
    assert isinstance(found.answer, Unproven)
    assert found.answer.questions
    assert all(silent in question.pair for question in found.answer.questions)
    assert "not-here: no lab; make one" in found.answer.questions[0].what[0].words


def test_an_intermediate_release_that_cannot_be_asked_is_gone_round(answers: Callable[[Moved], None]) -> None:
    answers(lambda self, old, new, argv: NotHere("no lab", "make one") if "debian-13" in (old, new) else ARRIVED)
    assert engine.plan(EXAMPLES / "three-hosts.toml").exit_code == 0


def test_a_machine_type_that_the_target_lacks_forbids(answers: Callable[[Moved], None], tmp_path: Path) -> None:
    answers(lambda self, old, new, argv: ARRIVED)
    file = tmp_path / "cluster.toml"
    file.write_text(GOOD.replace("pc-q35-5.2", "pc-q35-4.2"), encoding="utf-8")
    for restart in ("", "restart = true\n"):
        file.write_text(GOOD.replace("pc-q35-5.2", "pc-q35-4.2") + restart, encoding="utf-8")
        found = engine.plan(file)
        assert isinstance(found.answer, Impossible)
        assert "debian-14 has no machine type pc-q35-4.2" in found.answer.proofs[0].forbidden[0].cells[0].words


def test_an_alias_is_what_it_means_where_the_guest_runs(answers: Callable[[Moved], None], tmp_path: Path) -> None:
    answers(lambda self, old, new, argv: ARRIVED)
    file = tmp_path / "cluster.toml"
    file.write_text(GOOD.replace("pc-q35-5.2", "q35"), encoding="utf-8")
    assert engine.plan(file).problem.kinds == ("pc-q35-7.2/virtio-net",)


def test_newer_spice_servers_are_told_to_keep_to_the_level(
    answers: Callable[[Moved], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(lambda self, old, new, argv: ARRIVED)
    real = static.Records.facts

    def facts(self: static.Records, release: str, surface: str) -> dict[str, str]:
        found = dict(real(self, release, surface))
        if surface == "spice" and release == "debian-14":
            found |= {"compat/version/2": "accepted", "compat/current": "2"}
        return found

    monkeypatch.setattr(static.Records, "facts", facts)
    spice = [level.spice for level in engine.plan(EXAMPLES / "three-hosts.toml").levels]
    assert spice[0] == "1 (0.6)"
    assert spice[1] == "1 (0.6), which newer servers must be told to keep to"
    assert spice[-1] == "2 (without a name)"


# -- as a user ---------------------------------------------------------------------------------------------------------


@pytest.mark.lab
def test_the_examples_are_planned_over_the_real_releases(abi: Callable[[str], Lab]) -> None:
    for release in ("debian-12", "debian-13", "debian-14"):
        abi(release)
    good = run("plan", str(EXAMPLES / "three-hosts.toml"))
    assert good.returncode == 0, good.stderr
    assert good.stdout.startswith("plan: 3 hosts to debian-14, 6 guests, 1 down at a time: 3 steps")
    assert "build (shut down, start there)" in good.stdout
    record = json.loads(run("plan", str(EXAMPLES / "three-hosts.toml"), "--format", "json").stdout)
    assert record["answer"] == "plan"
    assert len(record["steps"]) == 3
    bad = run("plan", str(EXAMPLES / "no-way.toml"))
    assert bad.returncode == 1, bad.stderr
    assert "qemu-10.0-tcg-syscall-32-bit" in bad.stdout
    command = next(line.split() for line in bad.stdout.splitlines() if "can-migrate" in line)
    assert run(*command[1:]).returncode == 1
    table = run("plan", str(EXAMPLES / "no-way.toml"), "--format", "markdown")
    assert table.stdout.startswith("# Impossible")
