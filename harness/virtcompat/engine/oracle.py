"""libvirt's own ABI check as an oracle: does what we call guest-visible agree with what libvirt refuses to change?

A definition in a save image may be replaced by another one (``virDomainSaveImageDefineXML``), as long as the guest in the
image cannot tell. Every alteration of ``suites/oracle/alterations.toml`` is put to a release, and to the domain surface;
where the two do not agree, ``suites/oracle/libvirt.toml`` says why, or it is a finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from virtcompat import checks, surfaces
from virtcompat.documents import NotWellFormed
from virtcompat.errors import BadData, LabError
from virtcompat.labs import Lab, saves
from virtcompat.model import Tier
from virtcompat.store import tables
from virtcompat.surfaces.alterations import DEFINITION, SHELF, Alteration, alterations, file, shelf

#: How libvirt's ABI check words a refusal. It gives other refusals for what it does not accept from anybody.
CHECKED = re.compile(r"^(unsupported configuration: )?(Target |(State|Size) of .* differs|SMM TSEG differs)")
DISAGREEMENT = {"alterations": list, "releases": list, "kind": str, "tier": str, "why": str}


class Agreement(StrEnum):
    """What libvirt's and our verdict come to. ``lax``: libvirt protects the guest from it, our tier is lower."""

    AGREE = "agree"
    LAX = "lax"
    STRICT = "strict"  # our tier is guest-abi-break, libvirt lets it pass
    UNASKED = "unasked"  # no verdict on the ABI: the release takes such a definition from nobody


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Alterations that libvirt and we are known to judge differently, and why; in all releases where none is named."""

    alterations: tuple[str, ...]
    kind: Agreement
    tier: Tier
    why: str
    releases: tuple[str, ...] = ()

    def explains(self, row: Row) -> bool:
        named = self.about(row.release) and row.alteration in self.alterations
        return named and (row.agreement, row.tier) == (self.kind, self.tier)

    def about(self, release: str) -> bool:
        """Whether it names the release (``debian-11``) of a lab (``debian-11-abi``), or none at all."""
        return not self.releases or any(release == name or release.startswith(f"{name}-") for name in self.releases)


@dataclass(frozen=True, slots=True)
class Row:
    """One alteration put to one release: libvirt's verdict with its words, our tier, and the fact that has that tier.

    The tier is that of what libvirt wrote into the image where it accepted, of what it was given where it did not.
    """

    release: str
    alteration: str
    status: str
    words: str
    tier: Tier
    path: str

    @property
    def agreement(self) -> Agreement:
        ours = self.tier >= Tier.GUEST_ABI_BREAK
        if self.status == "accepted":
            return Agreement.STRICT if ours else Agreement.AGREE
        if self.status != "refused" or not CHECKED.search(self.words):
            return Agreement.UNASKED
        return Agreement.AGREE if ours else Agreement.LAX


@cache
def disagreements() -> tuple[Disagreement, ...]:
    """What is known to be judged differently."""
    source = file("libvirt")
    known = {a.name for a in alterations()}
    found: list[Disagreement] = []
    for entry in tables.read(source).get("disagreement", []):
        tables.check_keys(source, entry, DISAGREEMENT, ("alterations", "kind", "tier", "why"))
        for name in entry["alterations"]:
            if name not in known:
                raise BadData(source, f"no alteration '{name}'", "name one of alterations.toml")
        kind, tier = Agreement(entry["kind"]), Tier.named(entry["tier"])
        names, where = tuple(entry["alterations"]), tuple(entry.get("releases", ()))
        found.append(Disagreement(names, kind, tier, entry["why"], where))
    return tuple(found)


def table(lab: Lab, chosen: Sequence[Alteration] | None = None) -> list[Row]:
    """Every alteration put to a lab, with the lab's own image of the guest."""
    with saves.hosting(lab) as host:
        saved = host.save(saves.definitions()[DEFINITION])
        return ask(host, saved, alterations() if chosen is None else chosen)


def ask(host: saves.Host, saved: saves.Saved, chosen: Sequence[Alteration]) -> list[Row]:
    """Every alteration put to a host, with an image that may be another release's."""
    images = {DEFINITION: (saved.image, saved.xml), SHELF: (saves.with_definition(saved.image, shelf()), shelf())}
    rows: dict[str, Row] = {}
    for name, (image, xml) in images.items():
        wanted = [alteration for alteration in chosen if alteration.of == name]
        if wanted:
            rows |= {row.alteration: row for row in _ask(host, image, xml, wanted)}
    return [rows[alteration.name] for alteration in chosen]


def _ask(host: saves.Host, image: bytes, xml: str, chosen: Sequence[Alteration]) -> Iterator[Row]:
    (own,) = host.define(image, [xml])
    if own.status != "accepted":
        raise LabError(f"{host.lab.release}: its own definition is {own.status}: {own.words}", "virt-compat doctor")
    # What the release writes of it, addresses and all, is what is altered, and what is compared with.
    image = saves.with_definition(image, own.xml)
    altered = [alteration.apply(own.xml) for alteration in chosen]
    for alteration, verdict, text in zip(chosen, host.define(image, altered), altered, strict=True):
        yield _row(host.lab.release, alteration.name, verdict, own.xml, text)


def _row(release: str, name: str, verdict: saves.Verdict, before: str, altered: str) -> Row:
    surface = surfaces.every()["domain"]
    try:
        findings = list(checks.compare(surface, before, verdict.xml or altered))
    except NotWellFormed as error:
        raise BadData(file("alterations"), f"{name}: {error}", "correct the alteration") from error
    worst = max(findings, key=lambda f: f.tier, default=None)
    tier, path = (worst.tier, worst.path) if worst else (Tier.IDENTICAL, "")
    return Row(release, name, verdict.status, verdict.words, tier, path)


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of an altered definition: of the saved guest restored under it, and of one that boots with it.

    Differences from the saved guest, as :func:`virtcompat.labs.saves.differences` says them, or why it does not run.
    """

    restored: tuple[str, ...]
    booted: tuple[str, ...]


def measure(host: saves.Host, saved: saves.Saved, alteration: Alteration) -> Seen:
    """What a guest sees of an alteration: what libvirt lets pass, QEMU may refuse and the guest may notice."""
    xml = alteration.apply(saved.xml)
    restored = saves.faults(saved, host.restore(saved.image, xml))
    try:
        booted = saves.differences(saved.dump, host.save(xml).dump)
    except saves.Unsaved as unsaved:
        booted = [f"{unsaved.status}: {unsaved.words}"]
    return Seen(tuple(restored), tuple(booted))


def unexplained(rows: Sequence[Row]) -> list[Row]:
    """Disagreements that are not declared."""
    differing = (r for r in rows if r.agreement in (Agreement.LAX, Agreement.STRICT))
    return [row for row in differing if not any(d.explains(row) for d in disagreements())]


def stale(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Declared disagreements, (release, alteration), that are none in these rows any more."""
    asked = {(row.release, row.alteration): row for row in rows}
    return [
        (release, name)
        for release in sorted({row.release for row in rows})
        for declared in disagreements()
        for name in declared.alterations
        if declared.about(release) and (row := asked.get((release, name))) is not None and not declared.explains(row)
    ]
