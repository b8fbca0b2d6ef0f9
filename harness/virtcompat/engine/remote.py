"""Clients and daemons of different releases: the cells of every ordered pair, each answer kept by what it follows from."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Self

from virtcompat.engine import columns
from virtcompat.engine.columns import Columns
from virtcompat.errors import Absent, LabError, NotAsked, UsageError, VirtCompatError
from virtcompat.labs import Lab, daemons
from virtcompat.labs.daemons import OPEN, Arena, Client, Daemon
from virtcompat.model import Answer, CellKey, Form, NotHere, Outcome, Tier, Verdict, judged, unasked
from virtcompat.policy import changes
from virtcompat.policy import remote as policy
from virtcompat.policy.remote import Said, Sides
from virtcompat.store import golden, ledger, paths, records, releases
from virtcompat.store import remote as store
from virtcompat.store.cache import Cache

CHECK, KIND, DRIVER = "remote", "remote-calls", "remote"
CHECKS = (CHECK,)
PURPOSES = {
    CHECK: "a release's client (library and virsh) is answered by another release's daemon as that daemon's own client is",
}
#: Daemons asked at the same time; a daemon has one client at a time, which sees a state that is its own.
WORKERS = 4
#: The call that is no call: the daemon answers a client's pings, sent so often (s) and missed so often.
PINGED = "keepalive/answered"
INTERVAL, MISSED = 1, 2
TRANSPORTS = daemons.TRANSPORTS
#: Classes that may come from how busy the machine is.
PASSING = ("hung", "refused")
Progress = Callable[[int, int], None]
#: Transport -> call -> what became of it.
Talk = dict[str, dict[str, Said]]
#: (client's release, daemon's release)
Pair = tuple[str, str]


@cache
def tool() -> str:
    """Digest of what asks: other calls, probes or settings of a daemon are other questions."""
    body = hashlib.sha256(store.digest().encode())
    for file in (daemons.CLIENT, daemons.DAEMON, paths.PACKAGE / "labs" / "daemons.py"):
        body.update(file.read_bytes())
    return body.hexdigest()


@cache
def calls() -> Mapping[str, tuple[str, ...]]:
    """Every call, ``TOPIC/CALL``, and the transports that it is made over."""
    found: dict[str, tuple[str, ...]] = {}
    for topic in store.topics():
        found[f"{topic.name}/{OPEN}"] = TRANSPORTS
        found |= {f"{topic.name}/{c.name}": c.only or TRANSPORTS for c in topic.calls}
    return found | {PINGED: TRANSPORTS}


@cache
def varying() -> frozenset[str]:
    """The calls whose answer is about the transport."""
    return frozenset(f"{topic.name}/{c.name}" for topic in store.topics() for c in topic.calls if c.varies)


@dataclass(slots=True)
class Talks:
    """What is known of pairs of releases; asked where it is not.

    asked, known: talks (a pair over one transport) put now, and answered from earlier runs.
    """

    found: Columns
    progress: Progress = lambda done, of: None
    transports: tuple[str, ...] = TRANSPORTS
    limit: float = daemons.LIMIT
    store: Cache = field(init=False)
    held: dict[Pair, Talk | NotHere | VirtCompatError] = field(default_factory=dict)
    asked: int = 0
    known: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self.store = Cache(paths.cache_dir() / "remote.sqlite")
        return self

    def __exit__(self, *reason: Any) -> None:
        self.store.close()

    def gather(self, pairs: Sequence[Pair]) -> None:
        """Have the talks of these pairs: kept ones, then those of labs that are here, then recorded ones."""
        wanted: dict[str, list[tuple[str, Lab, Lab]]] = {}
        for client, daemon in dict.fromkeys(pairs):
            if (client, daemon) in self.held:
                continue
            labs = self.found.lab(client, ""), self.found.lab(daemon, "")
            missing = next((lab for lab in labs if isinstance(lab, NotHere)), None)
            if missing is not None:
                self.held[client, daemon] = self._recorded(client, daemon) or missing
            elif (kept := self._kept(*labs)) is not None:  # type: ignore[arg-type]  # neither is missing
                self.held[client, daemon] = kept
            else:
                wanted.setdefault(daemon, []).append((client, *labs))  # type: ignore[arg-type]
        if wanted:
            self._ask(wanted)

    def _recorded(self, client: str, daemon: str) -> Talk | None:
        record = store.recorded(daemon, client)
        if record is None:
            return None
        whole = policy.talk(record, calls())
        return {t: whole[t] for t in self.transports if t in whole}

    def _key(self, client: Lab, daemon: Lab, transport: str) -> str:
        parts = (client.fingerprint(), daemon.fingerprint(), tool(), transport, f"{self.limit:g}")
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _kept(self, client: Lab, daemon: Lab) -> Talk | None:
        keys = {self._key(client, daemon, transport): transport for transport in self.transports}
        answers = dict(self.store.get_many(keys))
        if len(answers) < len(keys):
            return None
        self.known += len(keys)
        found = {keys[key]: json.loads(answer.form("records")) for key, answer in answers.items()}
        return {t: {name: Said.of(record) for name, record in found[t].items()} for t in self.transports}

    def _ask(self, wanted: Mapping[str, Sequence[tuple[str, Lab, Lab]]]) -> None:
        """Start what is needed and ask, one client at a time of each daemon."""
        total = sum(len(of) for of in wanted.values()) * len(self.transports)
        try:
            with Arena(self.limit) as arena, ThreadPoolExecutor(WORKERS) as pool:
                # Each daemon begins with another client: a client talks to one daemon at a time.
                turns = [pool.submit(self._daemon, arena, [*of[n:], *of[:n]], total) for n, of in _turns(wanted)]
                try:
                    for turn in as_completed(turns):
                        turn.result()
                except BaseException:
                    # Whoever waits for an answer must not go on waiting.
                    pool.shutdown(wait=False, cancel_futures=True)
                    arena.stop()
                    raise
        except Absent as absent:
            for daemon, of in wanted.items():
                for client, *_ in of:
                    self.held.setdefault((client, daemon), NotHere(absent.message, absent.remedy))

    def _daemon(self, arena: Arena, clients: Sequence[tuple[str, Lab, Lab]], total: int) -> None:
        for name, client, daemon in clients:
            try:
                said: Talk | NotHere | VirtCompatError = self._talk(arena, client, daemon, total)
            except Absent as absent:
                said = NotHere(absent.message, absent.remedy)
            except LabError as error:
                said = error
            self.held[name, daemon.release] = said

    def _talk(self, arena: Arena, client: Lab, daemon: Lab, total: int) -> Talk:
        """Every topic over every transport, and the keepalive of all of them at once."""
        caller, answerer = arena.client(client), arena.daemon(daemon)
        answerer.check()
        found: dict[str, dict[str, daemons.Record]] = {}
        for transport in self.transports:
            found[transport] = {
                f"{topic.name}/{name}": record
                for topic in store.topics()
                for name, record in daemons.talk(caller, answerer, transport, topic).items()
            }
            self._advance(total)
        for transport, record in _pinged(caller, answerer, self.transports).items():
            found[transport][PINGED] = record
        # What took too long may be this machine's load: it is an answer now, and asked again the next time.
        lasting = {t: of for t, of in found.items() if all(r["class"] not in PASSING for r in of.values())}
        fresh = {t: Answer("answered", {"records": Form(json.dumps(of))}) for t, of in lasting.items()}
        self.store.put_many(daemon.fingerprint(), [(self._key(client, daemon, t), a) for t, a in fresh.items()])
        return {t: {name: Said.of(record) for name, record in of.items()} for t, of in found.items()}

    def _advance(self, total: int) -> None:
        with self.lock:
            self.asked += 1
            self.progress(self.asked, total)


def _turns(
    wanted: Mapping[str, Sequence[tuple[str, Lab, Lab]]],
) -> Iterator[tuple[int, Sequence[tuple[str, Lab, Lab]]]]:
    return ((at % len(of), of) for at, of in enumerate(wanted.values()))


def _pinged(client: Client, daemon: Daemon, transports: tuple[str, ...]) -> dict[str, daemons.Record]:
    """Whether a silent connection lives. A busy machine may be late with a pong: who is dropped is asked once more."""
    addresses = [daemon.address(t) for t in transports]
    said = client.alive(addresses, INTERVAL, MISSED)
    if "dropped" in said:
        said = client.alive(addresses, INTERVAL, 2 * MISSED)
    return {t: _lived(word) for t, word in zip(transports, said, strict=True)}


def _lived(word: str) -> daemons.Record:
    match word:
        case "alive":
            return {"class": "ok", "value": "alive"}
        case "dropped":
            return {"class": "dropped", "words": "its pings are not answered"}
        case "1":
            return {"class": "ok", "value": "not offered"}
    return {"class": "refused", "words": word}


def keys(found: Columns, old: tuple[str, ...] = (), new: tuple[str, ...] = ()) -> list[CellKey]:
    """The cell of every ordered pair: ``old`` is the client's release, ``new`` the daemon's."""
    return [
        CellKey(CHECK, KIND, DRIVER, client, daemon)
        for client in found.names
        for daemon in found.names
        if (not old or client in old) and (not new or daemon in new)
    ]


def cells(talks: Talks, wanted: Sequence[CellKey], cases: tuple[str, ...] = ()) -> dict[CellKey, list[Verdict]]:
    """The verdicts of these cells; only of cases (``TRANSPORT/TOPIC/CALL``) that match a pattern, where some are given."""
    pairs = [(key.old, key.new) for key in wanted]
    talks.gather([*((daemon, daemon) for _, daemon in pairs), *pairs])
    return {key: list(_cell(talks, key, cases)) for key in wanted}


def _cell(talks: Talks, key: CellKey, cases: tuple[str, ...]) -> Iterator[Verdict]:
    own, control = talks.held[key.old, key.new], talks.held[key.new, key.new]
    if isinstance(own, VirtCompatError):
        yield Verdict("(connection)", Outcome.BROKEN, reason=f"{own.message}; {own.remedy}")
        return
    if isinstance(own, NotHere):
        yield unasked("(connection)", own)
        return
    told = control if isinstance(control, dict) else {}
    recorded = store.recorded(key.new, key.old) or {}
    sides = Sides(key.old, key.new)
    for name, transports in calls().items():
        for transport in (t for t in transports if t in talks.transports):
            case = f"{transport}/{name}"
            if cases and not any(fnmatchcase(case, pattern) for pattern in cases):
                continue
            said = own.get(transport, {}).get(name)
            if said is None:
                yield unasked(case, NotHere("it is not in the record", f"virt-compat record {key.new}"))
                continue
            fact = recorded.get(f"{name}/{transport}", recorded.get(name, ""))
            verdict = policy.verdict(case, sides, said, told.get(transport, {}).get(name), fact)
            yield _alone(verdict, own, name, transport) if key.old == key.new else verdict


def _alone(verdict: Verdict, own: Talk, name: str, transport: str) -> Verdict:
    """A release with itself: its client is told the same over every transport."""
    first = own.get("unix", {}).get(name)
    if first is None or verdict.outcome not in (Outcome.COMPATIBLE, Outcome.INCOMPATIBLE):
        return verdict
    more = policy.across(verdict.case, own[transport][name], first, varies=name in varying())
    return judged(verdict.case, [*verdict.findings, *more]) if more else verdict


@dataclass(frozen=True, slots=True)
class Report:
    """Pairs of releases with the change ledger applied. asked, known: as in ``Talks``."""

    cells: Mapping[CellKey, Sequence[Verdict]]
    asked: int
    known: int

    def counts(self, key: CellKey) -> Counter[Outcome]:
        return Counter(v.outcome for v in self.cells[key])

    @property
    def exit_code(self) -> int:
        """4 something broke; 1 an unexplained break; 3 something could not be asked, or nothing was; 0 else."""
        counts = sum((self.counts(key) for key in self.cells), Counter[Outcome]())
        if counts[Outcome.BROKEN]:
            return 4
        if any(f.tier >= Tier.BREAK and not f.explained for of in self.cells.values() for v in of for f in v.findings):
            return 1
        asked = counts[Outcome.COMPATIBLE] + counts[Outcome.INCOMPATIBLE]
        return 3 if counts[Outcome.NOT_HERE] or not asked else 0


def report(
    clients: tuple[str, ...] = (),
    answering: tuple[str, ...] = (),
    transports: tuple[str, ...] = (),
    cases: tuple[str, ...] = (),
    progress: Progress = lambda done, of: None,
) -> Report:
    """Ask every pair of these releases (all where none is named) over these transports, and judge."""
    named = tuple(dict.fromkeys((*clients, *answering))) if clients and answering else ()
    found = columns.find(named)
    for release in (*clients, *answering):
        releases.find(release)
    order = tuple(t for t in TRANSPORTS if not transports or t in transports)
    with Talks(found, progress, order) as talks:
        said = cells(talks, keys(found, clients, answering), cases)
    if not any(said.values()):
        raise NotAsked("no call matches", "patterns are TRANSPORT/TOPIC/CALL, such as 'tls/domain/*'")
    known = ledger.entries()
    judged_cells = {}
    for key, verdicts in said.items():
        crossed = changes.crossed(key, found.products, known)
        judged_cells[key] = [_explained(v, crossed) for v in verdicts]
    return Report(judged_cells, talks.asked, talks.known)


def _explained(verdict: Verdict, crossed: changes.Crossed) -> Verdict:
    """A verdict with the change ledger applied: an entry's tier decides."""
    return judged(verdict.case, changes.explain(verdict, crossed).findings) if verdict.findings else verdict


def record(name: str, progress: Progress = lambda done, of: None) -> dict[str, str]:
    """What every release's client is told by one release's daemon: file below ``golden/<release>/`` -> its text.

    NotAsked where a lab is missing: half of the pairs would be taken for all.
    """
    shipped = [r.name for r in releases.shipped()]
    if name not in shipped:
        raise UsageError(f"{name} is a release of your own", "only the tool's releases are recorded with each other")
    with Talks(columns.find(tuple(shipped)), progress) as talks:
        talks.gather([(client, name) for client in shipped])
        texts = {}
        for client in shipped:
            said = talks.held[client, name]
            if isinstance(said, VirtCompatError):
                raise said
            if isinstance(said, NotHere):
                raise NotAsked(f"{client} with {name}: {said.reason}", said.remedy)
            texts[f"{store.NAME}/{client}{records.SUFFIX}"] = records.written(policy.facts(said))
    return texts


def write(name: str, progress: Progress = lambda done, of: None) -> Path:
    """Record a release's daemon with every client into golden/; everything else that is recorded of it stays."""
    if golden.provenance(name) is None:
        raise UsageError(f"{name} has no golden records yet", f"record all of it first: virt-compat record {name}")
    texts = record(name, progress)
    recorder = golden.Recorder(name, keep=True)
    recorder.drop(store.NAME)
    for file, text in texts.items():
        recorder.add_text(file, text)
    # As it is now: asking took minutes.
    before = golden.provenance(name)
    assert before is not None
    return recorder.finish(before)
