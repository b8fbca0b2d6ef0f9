"""An order in which a cluster is upgraded without a guest ever being stranded, or the proof that there is none.

``solve`` is a pure function of a problem and a matrix. It looks for a plan as an operator would (:mod:`rolling`), then for
a reason why there can be none, and at last through every state (:mod:`exhaustive`). That is certain either way up to about
3 hosts with 8 guests that all move differently, 5 with 6, or 8 with 12 that move alike (:data:`WORK`). A reason that one
kind of guest gives on its own is found for a cluster of any size. What is neither found nor refuted is ``Unproven``,
never ``Impossible``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

from virtcompat.policy.cluster import Board, Evidence, Guest, May, No, Pair, Problem, Say, Step, Unknown, Yes, board
from virtcompat.policy.exhaustive import Allowance, GaveUp, exhaustive
from virtcompat.policy.rolling import rolling

#: What one search looks at before it gives up, in states (a state met twice counts twice) times hosts: some five seconds.
WORK = 3_000_000
#: What all searches for the smallest proof look at together. Beyond it a proof is whole, but perhaps not minimal.
PROVING = 2 * WORK
#: So many open questions are tried one by one for whether the plan needs them.
QUESTIONS = 40


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps, in order; none where every host is done already."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Forbidden:
    """One move that is needed and does not work, and the evidence."""

    pair: Pair
    cells: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """Why there is no plan: these cells, and the room. Each reason holds alone.

    minimal: with any of the cells taken away, nothing is proven. room: what is short, empty where it is not the room.
    guests: those whose cells these are.
    """

    forbidden: tuple[Forbidden, ...]
    guests: tuple[str, ...]
    room: str = ""
    minimal: bool = True


@dataclass(frozen=True, slots=True)
class Impossible:
    """There is no plan, whatever the open questions are answered."""

    proofs: tuple[Proof, ...]


@dataclass(frozen=True, slots=True)
class Open:
    """One move that nobody has measured, and how to ask."""

    pair: Pair
    what: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Unproven:
    """No plan was found that uses only what is known to work, and none is ruled out.

    questions: were these answered yes, there would be a plan. why: what ended the search, where it is not these.
    """

    questions: tuple[Open, ...]
    why: str = ""


Answer = Plan | Impossible | Unproven


@dataclass(slots=True)
class _Gone:
    """Nothing found, nothing ruled out."""


@dataclass(slots=True)
class _Solver:
    """A problem with everything that the matrix says of it."""

    problem: Problem
    said: dict[Pair, Say]
    work: int

    def those(self, kind: type[Say]) -> list[Pair]:
        return [pair for pair, say in self.said.items() if isinstance(say, kind)]

    @property
    def cold(self) -> set[Pair]:
        return {pair for pair, say in self.said.items() if isinstance(say, Yes) and say.cold}

    def search(
        self, closed: Collection[Pair], allowance: Allowance | None = None, *, roomy: bool = False
    ) -> list[Step] | _Gone | None:
        """Steps, or None where there certainly are none, where these pairs are not to be used."""
        field = board(self.problem, set(closed), self.cold, roomy=roomy)
        if shortage(field) or not reachable(field):
            return None
        found = rolling(field)
        if found is not None:
            return found
        try:
            return exhaustive(field, allowance or Allowance(self.work))
        except GaveUp:
            return _Gone()


def solve(problem: Problem, may: May, work: int = WORK) -> Answer:
    """A plan that uses only moves of which the matrix says yes; a proof that there is none; or what is not known."""
    if all(host.release == problem.target for host in problem.hosts):
        return Plan(())
    solver = _Solver(problem, {pair: may(*pair) for pair in problem.pairs}, work)
    no, unknown = solver.those(No), solver.those(Unknown)
    sure = solver.search([*no, *unknown])
    if isinstance(sure, list):
        return Plan(tuple(sure))
    hoped = solver.search(no) if unknown else sure
    if hoped is None:
        return Impossible(tuple(_proofs(solver, no)))
    if isinstance(hoped, list):
        return Unproven(tuple(_questions(solver, no, unknown, hoped)))
    return Unproven((), "the cluster has more states than were looked at: a plan may exist")


# -- what rules a plan out ---------------------------------------------------------------------------------------------


def shortage(field: Board) -> str:
    """A host that cannot be emptied for want of room elsewhere, in words; empty where there is none to be told at once."""
    problem = field.problem
    undone = [h for h, release in enumerate(field.start) if release != field.top]
    if undone and len(problem.hosts) == 1 and problem.guests:
        return "there is no other host"
    for at, unit in enumerate(problem.units):
        taken = sum(guest.size[at] for guest in problem.guests)
        whole = sum(room[at] for room in field.rooms)
        rest, host = min(((whole - field.rooms[h][at], h) for h in undone), default=(taken, 0))
        if taken > rest:
            name = problem.hosts[host].name
            return f"{name} cannot be emptied: {taken} {unit} to place, room for {rest} on the other hosts"
    for guest, here in zip(problem.guests, field.place, strict=True):
        others = (room for host, room in enumerate(field.rooms) if host != here)
        if field.start[here] != field.top and not any(_holds(room, guest.size) for room in others):
            sizes = ", ".join(f"{s} {u}" for s, u in zip(guest.size, problem.units, strict=True) if s)
            return f"no other host is large enough for {guest.name} ({sizes})"
    return ""


def _holds(room: Sequence[int], size: Sequence[int]) -> bool:
    return all(r >= s for r, s in zip(room, size, strict=True))


def reachable(field: Board) -> bool:
    """Whether every host could be emptied and upgraded if guests did not get into each other's way.

    A relaxation: where this says no there is no plan. Every release that a host has ever had stays to be gone to, and
    what a guest has ever reached it is at; a host can be emptied when each of its guests can be elsewhere.
    """
    had = [{release} for release in field.start]
    reached = [{field.start[host]} for host in field.place]
    large = {size: [_holds(room, size) for room in field.rooms] for size in {s.size for s in field.sorts}}
    changed = True
    while changed:
        changed = False
        present = set().union(*had)
        for guest, releases in enumerate(reached):
            way = field.sorts[field.sort[guest]].way
            more = {new for old in releases for new in present if way[old][new]} - releases
            changed |= bool(more)
            releases |= more
        for host, releases in enumerate(had):
            more = {field.after[r] for r in releases} - releases
            if more and all(_elsewhere(field, guest, host, reached, had, large) for guest in field.residents[host]):
                releases |= more
                changed = True
    done = all(field.top in releases for releases in had)
    return done and all(field.top in releases for releases in reached) and _ends(field, set().union(*had))


def _ends(field: Board, had: set[int]) -> bool:
    """Whether every guest that moved can still go back when the last hosts are due: to one of as many as may be down."""
    moved = [sort for sort in field.sorts if sort.origin != field.top]
    older = sorted(had - {field.top})
    many = min(field.problem.down, len(field.rooms), len(older))
    return not moved or any(
        all(any(sort.way[field.top][release] for release in last) for sort in moved)
        for last in combinations(older, many)
    )


def _elsewhere(
    field: Board, guest: int, host: int, reached: list[set[int]], had: list[set[int]], large: dict[tuple[int, ...], list[bool]]
) -> bool:  # fmt: skip
    """Whether a guest that is on a host could be on another one."""
    sort = field.sorts[field.sort[guest]]
    fits = large[sort.size]
    for other, releases in enumerate(had):
        if other != host and fits[other] and any(sort.way[old][new] for old in reached[guest] for new in releases):
            return True
    return False


# -- the smallest proof ------------------------------------------------------------------------------------------------


def _proofs(solver: _Solver, no: list[Pair]) -> list[Proof]:
    """Every reason that rules a plan out on its own: a kind of guest, the room; else what does so together."""
    found = []
    for kind, guests in _by_kind(solver.problem).items() if len(solver.problem.hosts) > 1 else ():
        # Nothing else on the hosts: what has no plan then has none with more guests.
        alone = replace(solver, problem=replace(solver.problem, guests=guests))
        own = [pair for pair in no if pair[0] == kind]
        if own and _strands(alone, own):
            found.append(_proof(alone, _fewest(own, partial(_strands, alone)), roomy=True))
    short = shortage(board(solver.problem, ()))
    if short:
        found.append(Proof((), (), short))
    if found:
        return found
    for roomy in (True, False):
        if solver.search(no, Allowance(PROVING), roomy=roomy) is None:
            return [_proof(solver, no, roomy=roomy)]
    return [_proof(solver, no, roomy=False)]


def _proof(solver: _Solver, pairs: list[Pair], *, roomy: bool) -> Proof:
    """The proof of these pairs, with as few of them as can be. roomy: they are enough whatever room there is."""
    allowance, minimal = Allowance(PROVING), True

    def refuted(pairs: list[Pair]) -> bool:
        nonlocal minimal
        found = solver.search(pairs, allowance, roomy=roomy)
        minimal &= not isinstance(found, _Gone)
        return found is None

    left = _fewest(pairs, refuted)
    forbidden = []
    for pair in left:
        say = solver.said[pair]
        assert isinstance(say, No)
        forbidden.append(Forbidden(pair, say.cells))
    kinds = {pair[0] for pair in left}
    guests = tuple(g.name for g in solver.problem.guests if g.kind in kinds)
    room = (
        "" if roomy else shortage(board(solver.problem, left)) or "the guests do not fit elsewhere, in whatever order"
    )
    return Proof(tuple(forbidden), guests, room, minimal)


def _by_kind(problem: Problem) -> dict[str, tuple[Guest, ...]]:
    found: dict[str, list[Guest]] = {}
    for guest in problem.guests:
        found.setdefault(guest.kind, []).append(guest)
    return {kind: tuple(guests) for kind, guests in found.items()}


def _strands(solver: _Solver, closed: Collection[Pair]) -> bool:
    return not reachable(board(solver.problem, set(closed), roomy=True))


def _fewest(pairs: Sequence[Pair], enough: Callable[[list[Pair]], bool]) -> list[Pair]:
    """As many pairs taken away as can be while the rest is enough: first whole kinds, then one by one, backwards first."""
    left = list(pairs)
    for kind in dict.fromkeys(pair[0] for pair in pairs):
        rest = [pair for pair in left if pair[0] != kind]
        if len(rest) < len(left) and enough(rest):
            left = rest
    for pair in reversed(list(left)):
        rest = [other for other in left if other != pair]
        if enough(rest):
            left = rest
    return left


# -- what would have to be asked ---------------------------------------------------------------------------------------


def _questions(solver: _Solver, no: list[Pair], unknown: list[Pair], hoped: list[Step]) -> Iterable[Open]:
    """Of the open questions those without which this plan, or another one, does not stand."""
    kinds = {guest.name: guest.kind for guest in solver.problem.guests}
    moves = {(kinds[m.guest], *way) for step in hoped for m in step.moves for way in ((m.old, m.new), (m.new, m.old))}
    needed = [pair for pair in unknown if pair in moves]
    unneeded = [pair for pair in unknown if pair not in moves]
    if not isinstance(solver.search([*no, *unneeded]), list):
        needed, unneeded = unknown, []
    if len(needed) <= QUESTIONS:
        for pair in list(needed):
            if isinstance(solver.search([*no, *unneeded, pair]), list):
                unneeded.append(pair)
                needed.remove(pair)
    for pair in needed:
        say = solver.said[pair]
        assert isinstance(say, Unknown)
        yield Open(pair, say.what)
