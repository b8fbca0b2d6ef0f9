"""How real each driver is in each release and here, and why; and libvirt's own table of calls by driver beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from virtcompat import drivers, surfaces
from virtcompat.drivers import Driver, Means
from virtcompat.engine import columns, static
from virtcompat.engine.columns import Columns
from virtcompat.errors import UsageError
from virtcompat.model import NotHere
from virtcompat.store import golden, releases
from virtcompat.store.tables import version

SURFACE = "drivers"
#: In place of a fact: why nothing is known of what opens.
UNKNOWN = ""


@dataclass(frozen=True, slots=True)
class Presence:
    """One driver in one release.

    word: real, stand-in, simulated, absent, or not-here. why: what opening it answers, what it was removed by, or what
    to do. accepted, asked: documents in its golden record. calls: of libvirt's API, as its own table says.
    """

    word: str
    why: str = ""
    accepted: int = 0
    asked: int = 0
    calls: int = 0


@dataclass(slots=True)
class Census:
    """Every driver in every release. table: release -> driver -> call -> the version that has it."""

    releases: list[str]
    drivers: Mapping[str, Driver]
    presence: dict[tuple[str, str], Presence] = field(default_factory=dict)
    table: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)

    def calls(self, release: str, pattern: str) -> dict[str, dict[str, str]]:
        """call -> driver -> version, for the calls of a pattern; UsageError where there is none."""
        found: dict[str, dict[str, str]] = {}
        for driver, calls in self.table.get(release, {}).items():
            for call, since in calls.items():
                if fnmatchcase(call, pattern):
                    found.setdefault(call, {})[driver] = since
        if not found:
            raise UsageError(f"no call '{pattern}' in the table of {release}", "write for example 'virDomain*'")
        return dict(sorted(found.items()))


def take(names: tuple[str, ...] = (), *, here: bool = True) -> Census:
    """The census of these releases, of every one where none is named. Without ``here`` of no machine: what is published."""
    found = columns.find(names)
    records = static.Records(found)
    census, products = Census(found.names, drivers.every()), found.products
    for release in found.names:
        facts = _facts(records, release)
        table = census.table.setdefault(release, {})
        for path, since in facts.items():
            driver, _, call = path.partition("/api/")
            if call:
                table.setdefault(driver, {})[call] = since
        for name, driver_ in census.drivers.items():
            calls = len(table.get(name, {}))
            census.presence[name, release] = _presence(
                found if here else None, products[release], (release, driver_), facts, calls
            )
    return census


def _presence(
    here: Columns | None,
    products: Mapping[str, str],
    place: tuple[str, Driver],
    facts: Mapping[str, str],
    calls: int,
) -> Presence:
    (release, driver), libvirt = place, version(products.get("libvirt", ""))
    said = facts.get(f"{driver.name}/closed", "")
    if driver.until and libvirt >= version(driver.until):
        return Presence("absent", f"removed in libvirt {driver.until}; {said}".rstrip("; "), calls=calls)
    if driver.since and libvirt < version(driver.since):
        return Presence("absent", f"new in libvirt {driver.since}; {said}".rstrip("; "), calls=calls)
    own = here.lab(release, "") if here else None
    added = release not in (r.name for r in releases.shipped()) and driver.means is Means.REAL
    if own is not None and not isinstance(own, NotHere) and (added or not own.sandboxed):
        return _live(driver, facts, calls)
    if driver.means is Means.ABSENT:
        return Presence("absent", said or f"needs {driver.needs}", calls=calls)
    answers = _answers(release, driver)
    accepted, asked = answers["accepted"], sum(answers.values())
    lab = static.lab_of(here, release, driver.flavour) if here else None
    if isinstance(lab, NotHere):
        return Presence("not-here", f"{lab.reason}; {lab.remedy}", accepted, asked, calls)
    return Presence(driver.means.value, said, accepted, asked, calls)


def _live(driver: Driver, facts: Mapping[str, str], calls: int) -> Presence:
    """A driver of somebody's own release: what runs there is real, and nothing stands in for what does not."""
    through = driver.name if driver.uri else "qemu"  # the secondary ones
    alone = not driver.flavour and any(not setup.daemon and not setup.stage for setup in driver.kinds.values())
    if f"{through}/open" in facts or alone:
        return Presence(Means.REAL.value, calls=calls)
    said = facts.get(f"{through}/closed") or facts.get(UNKNOWN) or f"needs {driver.needs}"
    return Presence("absent" if driver.means is Means.ABSENT else "not-here", said, calls=calls)


def _facts(records: static.Records, release: str) -> dict[str, str]:
    """What is known of a release's drivers; a host without libvirt's documentation still says what it opens."""
    record = records.of(release, surfaces.every_recorded()[SURFACE])
    parts = {} if isinstance(record, NotHere) else record
    facts = {path: value for part in parts.values() if not isinstance(part, NotHere) for path, value in part.items()}
    opening = parts.get("opening")
    return facts | ({UNKNOWN: f"{opening.reason}; {opening.remedy}"} if isinstance(opening, NotHere) else {})


def _answers(release: str, driver: Driver) -> Counter[str]:
    """How many documents have which status in a driver's golden record."""
    found: Counter[str] = Counter()
    for kind in driver.kinds:
        found.update(golden.statuses(release, kind, driver.name))
    return found
