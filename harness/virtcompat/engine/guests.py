"""Guests that move between releases: recorded streams replayed, and guests migrated live, each cell kept by its digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Self, TypeVar

from virtcompat import guestdump
from virtcompat.engine import static
from virtcompat.engine.columns import Columns
from virtcompat.errors import Absent, LabError, NotAsked, VirtCompatError
from virtcompat.labs import Lab
from virtcompat.labs.qemu import PROBE, Failed, Machine, Moved, QemuSessions, Recorded
from virtcompat.labs.visit import GUEST
from virtcompat.model import Answer, CellKey, Form, NotHere, Outcome, Verdict, unasked
from virtcompat.policy import pins
from virtcompat.policy.moved import absent, verdict
from virtcompat.store import guests as sets
from virtcompat.store import paths, streams
from virtcompat.store.cache import Cache
from virtcompat.store.streams import Stream
from virtcompat.surfaces.recorded.guest_abi import COMMON, whole

KIND = "guest-abi"
REPLAY, LIVE = "replay", "live-migration"
#: The remedies of 2009 against a changing guest ABI, as variants of how a guest's configuration is written.
REMEDIES = {
    "remedy-1-defaults": "unversioned",
    "remedy-2-machine-type": "",
    "remedy-3-config": "addressed",
    "remedy-4-hints": "nameless",
}
CHECKS = (REPLAY, LIVE, *REMEDIES)
PURPOSES = {
    REPLAY: "a guest that a release recorded on its way goes on under another release's QEMU and sees the same hardware",
    LIVE: "a guest migrates from one release's running QEMU into another's and sees the same hardware",
    "remedy-1-defaults": "the same with an unversioned machine type: as if the default never changed",
    "remedy-2-machine-type": "the same with the versioned machine type that the alias meant",
    "remedy-3-config": "the same with an unversioned machine type and every PCI address in the configuration",
    "remedy-4-hints": "the same with the newer machine told every known property of the older one",
}
ALIASES = ("pc", "q35")
REMEDY_SETS = ("plain", "virtio-net", "virtio-blk", "usb")
VERSIONED = tuple(m for m in COMMON if m not in ALIASES)
WORKERS = 3
#: The stream does not name its machine type, so that another one may take it. It does not describe itself either: QEMU
#: 10.0 and 11.1 abort when they write a description without a configuration (an assertion in their JSON writer).
NAMELESS, UNDESCRIBED = ("-global", "migration.send-configuration=off"), ",suppress-vmdesc=on"
Progress = Callable[[int, int], None]


def configurations(there: Sequence[str]) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """(machine, set, variant, argv) of every guest that is recorded of a QEMU with these machine types."""
    found = []
    for machine in VERSIONED:
        for name, devices in sets.every().items():
            argv = devices.command(machine)
            if machine in there and argv:
                found.append((machine, name, "", argv))
    for machine in ALIASES:
        for name in REMEDY_SETS:
            argv = sets.every()[name].command(machine)
            if argv:
                found += [(machine, name, variant, written(argv, variant)) for variant in REMEDIES.values() if variant]
    return found


def written(argv: tuple[str, ...], variant: str) -> tuple[str, ...]:
    """The same guest, its configuration written another way: with every PCI address, or without its machine's name."""
    if variant == "nameless":
        return (argv[0], argv[1] + UNDESCRIBED, *argv[2:], *NAMELESS)
    return addressed(argv) if variant == "addressed" else argv


def addressed(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Every PCI device on the root bus with an address of its own, as a configuration file would have it."""
    slot, found = 0x10, []
    for at, word in enumerate(argv):
        if (
            at
            and argv[at - 1] == "-device"
            and re.search(r"-pci\b|^VGA|-(uhci|ehci|xhci)\b", word)
            and "addr=" not in word
        ):
            found.append(f"{word},addr={slot:#x}")
            slot += 1
        else:
            found.append(word)
    return tuple(found)


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def tool() -> str:
    """Digest of what records and moves guests: another probe or guest asks anew."""
    return hashlib.sha256(PROBE.read_bytes() + GUEST.read_bytes()).hexdigest()


@dataclass(slots=True)
class Moves:
    """Everything a run of guests holds open: sessions, the streams of each release, the cells that are known."""

    found: Columns
    progress: Progress = lambda done, of: None
    sessions: QemuSessions = field(init=False)
    cache: Cache = field(init=False)
    asked: int = 0
    known: int = 0
    records: static.Records = field(init=False)
    facts: dict[str, dict[str, str]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.sessions = QemuSessions(GUEST.read_bytes()).__enter__()
        self.cache = Cache(paths.cache_dir() / "migrations.sqlite")
        self.records = static.Records(self.found)
        return self

    def __exit__(self, *reason: Any) -> None:
        self.sessions.__exit__(None, None, None)
        self.cache.close()

    def lab(self, release: str) -> Lab | NotHere:
        return static.lab_of(self.found, release)

    def machines(self, release: str) -> frozenset[str]:
        """The machine types and aliases of a release, by its record; NotAsked where it has none."""
        steps = (path.split("/") for path in self.records.facts(release, "machine-types"))
        return frozenset(step[2] for step in steps if step[0] == "x86_64" and step[1] in ("machine", "alias"))

    def streams(self, release: str, cases: tuple[str, ...] = ()) -> Iterator[Stream] | NotHere:
        """The recorded streams of a release: golden, else recorded in its lab now and kept.

        cases: what is wanted of them; what has to be recorded for it is no more than that.
        """
        file = streams.file_of(release)
        if file.is_file():
            return streams.read(file)
        lab = self.lab(release)
        if isinstance(lab, NotHere):
            return lab
        whole = streams.kept(digest(lab.fingerprint(), tool()))
        file = streams.kept(digest(lab.fingerprint(), tool(), *sorted(cases))) if cases else whole
        if whole.is_file():
            file = whole
        elif not file.is_file():
            streams.write(file, self.recorded(release, lab, cases))
        return streams.read(file)

    def recorded(self, release: str, lab: Lab, cases: tuple[str, ...] = ()) -> Iterator[Stream]:
        """Boot every configuration in a lab (of these cases, where some are given) and take its stream."""
        every = configurations(tuple(self.machines(release)))
        wanted = [w for w in every if _chosen(f"{w[0]}/{w[1]}", cases)]

        def one(configuration: tuple[str, str, str, tuple[str, ...]]) -> Stream | None:
            machine, name, variant, argv = configuration
            got = self.sessions.record(lab, Machine(argv), ("dump", "stream"))
            if isinstance(got, Failed) and got.status != "unstarted":
                raise LabError(f"{release}: {machine}/{name} was not recorded: {got.status}: {got.words}", "try again")
            return (
                Stream(machine, name, variant, argv, got.counter, got.dump, got.stream)
                if isinstance(got, Recorded)
                else None
            )

        with ThreadPoolExecutor(WORKERS) as pool:
            # A handful at a time: streams are megabytes each.
            for start in range(0, len(wanted), 8):
                yield from (s for s in pool.map(one, wanted[start : start + 8]) if s is not None)
                self.progress(min(start + 8, len(wanted)), len(wanted))

    def replayed(self, stream: Stream, new: str, argv: tuple[str, ...]) -> Answer | NotHere:
        """What becomes of a recorded guest in another release's QEMU."""
        lab = self.lab(new)
        if isinstance(lab, NotHere):
            return lab
        body = hashlib.sha256(stream.data).hexdigest()
        key = digest("replay", lab.fingerprint(), tool(), body, *argv)
        source = Recorded(dump=stream.dump, stream=stream.data, counter=stream.counter)
        return self._asked(key, lab, lambda: self.sessions.replay(lab, Machine(argv), source))

    def moved(self, old: str, new: str, argv: tuple[str, ...]) -> Answer | NotHere:
        """What becomes of a guest that is migrated from one release's running QEMU into another's."""
        here, there = self.lab(old), self.lab(new)
        if isinstance(here, NotHere):
            return here
        if isinstance(there, NotHere):
            return there
        key = digest("live", here.fingerprint(), there.fingerprint(), tool(), *argv)
        return self._asked(key, there, lambda: self.sessions.live(here, there, Machine(argv)))

    def newest(self, release: str) -> frozenset[str]:
        """What the aliases mean in a release: the machine types that an unversioned guest of it has."""
        return frozenset(self.meaning(release, alias) for alias in ALIASES) - frozenset(ALIASES)

    def meaning(self, release: str, machine: str) -> str:
        """The machine type that an alias means in a release; any other name as it is."""
        return self.records.facts(release, "machine-types").get(f"x86_64/alias/{machine}", machine)

    def hardware(self, release: str, case: str) -> dict[str, str]:
        """The recorded facts of one machine and device set of a release; empty where it has none."""
        if release not in self.facts:
            self.facts[release] = whole(self.records.facts(release, KIND))
        above = f"{case}/"
        return {p.removeprefix(above): v for p, v in self.facts[release].items() if p.startswith(above)}

    def pinned(self, stream: Stream, key: CellKey) -> Answer | NotHere:
        """A guest of the older release's newest machine, on the newer's, with every difference that is known set back."""
        wanted = pins.pins(self.hardware(key.old, stream.case), self.hardware(key.new, stream.case))

        def replay(argv: tuple[str, ...]) -> tuple[Answer | NotHere, str]:
            answer = self.replayed(stream, key.new, argv)
            if isinstance(answer, NotHere) or answer.status != "unstarted":
                return answer, ""
            return answer, answer.message

        return fitting(stream.argv, wanted, replay)[0]

    def booted(self, lab: Lab, argv: tuple[str, ...], wanted: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """(what a guest sees under a command line with these pins, the pins that QEMU takes). LabError where none boots."""

        def boot(argv: tuple[str, ...]) -> tuple[Recorded | Failed, str]:
            got = self.sessions.record(lab, Machine(argv), ("dump",))
            return got, got.words if isinstance(got, Failed) else ""

        got, left = fitting(argv, wanted, boot)
        if isinstance(got, Failed):
            raise LabError(f"QEMU does not boot this machine: {got.words}", "try it by hand in the lab")
        return guestdump.facts(got.dump), left

    def _asked(self, key: str, lab: Lab, ask: Callable[[], Moved | Failed | NotHere]) -> Answer | NotHere:
        for _, answer in self.cache.get_many([key]):
            self.known += 1
            return answer
        got = ask()
        if isinstance(got, NotHere):
            return got
        self.asked += 1
        if isinstance(got, Failed):
            answer = Answer(f"source-{got.status}", message=got.words)
        else:
            forms = {"before": Form(got.before), "after": Form(got.after)}
            answer = Answer(got.status, forms, code=got.mismatches, message=got.words)
        if answer.status.removeprefix("source-") not in ("hung", "stuck"):
            # What took too long may be this machine's load: it is an answer now, and asked again the next time.
            self.cache.put_many(lab.fingerprint(), [(key, answer)])
        return answer


def cells(moves: Moves, keys: Sequence[CellKey], cases: tuple[str, ...] = ()) -> dict[CellKey, list[Verdict]]:
    """The verdicts of these cells; only of cases (``MACHINE/SET``) that match a pattern, where some are given."""
    found: dict[CellKey, list[Verdict]] = {key: [] for key in keys}
    for old in dict.fromkeys(key.old for key in keys if key.check != LIVE):
        try:
            _replays(moves, old, found, cases)
        except VirtCompatError as error:
            for key in keys:
                if key.old == old and key.check != LIVE:
                    found[key].append(_failed("(streams)", error))
    _lives(moves, found, cases)
    return found


def _chosen(case: str, cases: tuple[str, ...]) -> bool:
    return not cases or any(fnmatchcase(case, pattern) for pattern in cases)


def _replays(moves: Moves, old: str, found: dict[CellKey, list[Verdict]], cases: tuple[str, ...]) -> None:
    given = moves.streams(old, cases)
    if isinstance(given, NotHere):
        for key, verdicts in found.items():
            if key.old == old and key.check != LIVE:
                verdicts.append(verdict("(streams)", given))
        return
    with ThreadPoolExecutor(WORKERS) as pool:
        for at, stream in enumerate(given, 1):
            if not _chosen(stream.case, cases):
                continue
            own = [key for key in found if key.old == old and _about(moves, stream, key)]
            tasks = [(key, pool.submit(_replay, moves, stream, key)) for key in own]
            for key, task in tasks:
                found[key].append(task.result())
            moves.progress(at, at)


def _about(moves: Moves, stream: Stream, key: CellKey) -> bool:
    """Whether a stream is a case of a cell."""
    if key.check == REPLAY:
        return not stream.variant
    if REMEDIES.get(key.check) != stream.variant or stream.devices not in REMEDY_SETS:
        return False
    return bool(stream.variant) or stream.machine in moves.newest(key.old)


def _replay(moves: Moves, stream: Stream, key: CellKey) -> Verdict:
    return _safely(stream.case, lambda: _replayed(moves, stream, key))


def _safely(case: str, judge: Callable[[], Verdict]) -> Verdict:
    """A verdict; a failure of the lab or of the tool is this case's outcome and not the run's end."""
    try:
        return judge()
    except VirtCompatError as error:
        return _failed(case, error)


def _failed(case: str, error: VirtCompatError) -> Verdict:
    """What could not be asked is not here; anything else that fails is the tool's or the lab's."""
    if isinstance(error, (NotAsked, Absent)):
        return unasked(case, NotHere(error.message, error.remedy))
    return Verdict(case, Outcome.BROKEN, reason=f"{error.message}; {error.remedy}")


def _replayed(moves: Moves, stream: Stream, key: CellKey) -> Verdict:
    if stream.machine not in moves.machines(key.new):
        if key.check != REPLAY:
            return absent(stream.case, key.new)
        return Verdict(stream.case, Outcome.NOT_APPLICABLE, reason=f"{key.new} has no {stream.machine}")
    if key.check == "remedy-4-hints":
        return verdict(stream.case, moves.pinned(stream, key))
    return verdict(stream.case, moves.replayed(stream, key.new, stream.argv))


def _lives(moves: Moves, found: dict[CellKey, list[Verdict]], cases: tuple[str, ...]) -> None:
    wanted: list[tuple[CellKey, str, tuple[str, ...]]] = []
    for key in found:
        if key.check == LIVE:
            try:
                common = tuple(moves.machines(key.old) & moves.machines(key.new))
            except NotAsked as error:
                found[key].append(_failed("(machines)", error))
                continue
            for machine, name, variant, argv in configurations(common):
                if not variant and _chosen(f"{machine}/{name}", cases):
                    wanted.append((key, f"{machine}/{name}", argv))
    with ThreadPoolExecutor(WORKERS) as pool:
        tasks = [pool.submit(_live, moves, key, case, argv) for key, case, argv in wanted]
        try:
            for at, ((key, _, _), task) in enumerate(zip(wanted, tasks, strict=True), 1):
                found[key].append(task.result())
                moves.progress(at, len(wanted))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _live(moves: Moves, key: CellKey, case: str, argv: tuple[str, ...]) -> Verdict:
    return _safely(case, lambda: verdict(case, moves.moved(key.old, key.new, argv)))


Got = TypeVar("Got")


def fitting(
    argv: tuple[str, ...], wanted: dict[str, str], attempt: Callable[[tuple[str, ...]], tuple[Got, str]]
) -> tuple[Got, dict[str, str]]:
    """(what came of it, the pins that were left): tried with these pins, less those that QEMU says it cannot set.

    attempt: gives what came of a command line, and QEMU's words where it did not start.
    """
    left = dict(wanted)
    while True:
        got, words = attempt((*argv, *pins.arguments(left)))
        refused = _refused(left, words) if words else set()
        if not refused:
            return got, left
        left = {name: value for name, value in left.items() if name not in refused}


def _refused(wanted: dict[str, str], words: str) -> set[str]:
    """The pins that QEMU's words name as what it cannot set."""
    return {
        name
        for name in wanted
        if name in words or f"'{name.partition('.')[2]}'" in words or f".{name.partition('.')[2]} " in words
    }
