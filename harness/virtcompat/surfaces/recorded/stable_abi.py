"""libvirt's own ABI check: which changes of its definition a guest in a save image, or on its way, is protected from.

A definition in a save image may be replaced (``virDomainSaveImageDefineXML``) as long as the guest in the image cannot tell;
migration and snapshots ask the same check. Every alteration of ``suites/oracle/alterations.toml`` is put to a release's own
image: what it let pass and no longer does refuses a restore that went well, what it refused and now lets pass gives a
running guest other hardware. ``engine/oracle.py`` holds each of these answers against ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from virtcompat.errors import Absent
from virtcompat.labs import saves
from virtcompat.labs.visit import Visit
from virtcompat.model import Change, Finding, Tier
from virtcompat.surfaces import RecordedSurface
from virtcompat.surfaces.alterations import DEFINITION, SHELF, Alteration, alterations, shelf

#: How the check words a refusal. libvirt gives others for what it accepts from nobody.
CHECKED = re.compile(r"^(unsupported configuration: )?(Target |(State|Size) of .* differs|SMM TSEG differs)")
#: What becomes of a daemon that does not answer.
DEATHS = ("crashed", "hung")
PASSES, REFUSED, NOBODY = "passes", "refused", "accepted from nobody"


def definitions(visit: Visit) -> dict[str, str]:
    """``alteration/memory-more = refused: Target domain max memory …``; the unaltered definition is one of them."""
    found: dict[str, str] = {}
    with saves.hosting(visit.lab) as host:
        try:
            saved = host.save(saves.definitions()[DEFINITION])
        except saves.Unsaved as unsaved:
            raise Absent(unsaved.message, "virt-compat doctor") from unsaved
        images = {DEFINITION: (saved.image, saved.xml), SHELF: (saves.with_definition(saved.image, shelf()), shelf())}
        for name, (image, xml) in images.items():
            chosen = [alteration for alteration in alterations() if alteration.of == name]
            found |= {f"{name}/{at}": words for at, words in _asked(host, image, xml, chosen)}
    return found


def _asked(host: saves.Host, image: bytes, xml: str, chosen: Sequence[Alteration]) -> Iterator[tuple[str, str]]:
    (own,) = host.define(image, [xml])
    yield "(unaltered)", _said(own)
    if own.status == "accepted":
        # What the release writes of it, addresses and all, is what is altered.
        image, xml = saves.with_definition(image, own.xml), own.xml
    verdicts = host.define(image, [xml, *(alteration.apply(xml) for alteration in chosen)])
    names = ["(as written)", *(alteration.name for alteration in chosen)]
    yield from zip(names, map(_said, verdicts), strict=True)


def _said(verdict: saves.Verdict) -> str:
    if verdict.status == "accepted":
        return PASSES
    refusal = verdict.status == "refused"
    word = (REFUSED if CHECKED.search(verdict.words) else NOBODY) if refusal else verdict.status
    return f"{word}: {' '.join(verdict.words.split())}"


def judged(old: Mapping[str, str], new: Mapping[str, str], back: bool) -> Iterator[Finding]:
    """What no longer protects a guest, and what is now refused for no change that a guest could see."""
    del back
    for path in sorted(old.keys() & new.keys()):
        was, now = (facts[path].partition(": ")[0] for facts in (old, new))
        if was != now:
            # An image's own definition, unaltered, is to be taken whatever the words.
            own = was == PASSES and path.rpartition("/")[2] in ("(unaltered)", "(as written)")
            yield Finding(path, Change.CHANGED, Tier.BREAK if own else _tier(was, now), old[path], new[path], "libvirt")


def _tier(was: str, now: str) -> Tier:
    if now in DEATHS:
        return Tier.BREAK
    if NOBODY in (was, now):
        # What one of them does not know at all; whether a document is still accepted other checks say.
        return Tier.ADDITION if was == NOBODY else Tier.RISK
    return Tier.BREAK


SURFACE = RecordedSurface(
    name="stable-abi",
    summary="libvirt's ABI check: which alterations of a saved guest's definition it lets pass, which it refuses",
    product="libvirt",
    parts={"definitions": definitions},
    rules=((r"", Tier.IDENTICAL, Tier.ADDITION, Tier.ADDITION),),
    interface=r"[^/]+/[^/]+",
    special=judged,
    flavour="",
)
