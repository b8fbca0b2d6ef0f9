"""Xen guests in the formats of its tools: what a release's libxl driver makes of them, and writes; on a running host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from virtcompat import surfaces
from virtcompat.conversions import told
from virtcompat.errors import Absent
from virtcompat.labs import xen, xenhosts
from virtcompat.labs.visit import Visit
from virtcompat.model import Tier
from virtcompat.store import fixtures
from virtcompat.surfaces import RecordedSurface


def form(name: str, written: str) -> Callable[[Visit], dict[str, str]]:
    """A reader of the configurations in one format, each written again in another."""

    def read(visit: Visit) -> dict[str, str]:
        if not isinstance(visit.lab, xen.XenLab):
            raise Absent(f"{visit.release}: no Xen host", f"virt-compat lab create {visit.release}-{xen.FLAVOUR}")
        found: dict[str, str] = {}
        with xenhosts.running(visit.lab) as host:
            for case, text in fixtures.native(name).items():
                made = host.from_native(name, text)
                answer: dict[str, object] = {"message": made.words}
                if made.text:
                    back = host.to_native(written, made.text)
                    answer = {"xml": made.text, "back": back.text or {"message": asdict(back)["words"]}}
                found |= told(f"{name}/{case}", answer, surfaces.every()["domain"].facts)
        return found

    return read


SURFACE = RecordedSurface(
    name="xen-native",
    summary="Xen guests in the formats of xl and xm: what a release makes of them and writes again",
    product="libvirt",
    parts={"xl": form("xen-xl", "xen-xl"), "xm": form("xen-xm", "xen-xl")},
    interface=r"^[^/]+/[^/]+",
    rules=(
        (r"^[^/]+/[^/]+/(back/)?refused$", Tier.RISK, Tier.BREAK, Tier.ADDITION),
        (r"^[^/]+/[^/]+/back/", Tier.RISK, Tier.ADDITION, Tier.RISK),
        # The release's own firmware for such guests, wherever its packages have it.
        (r"/os/loader$", Tier.RISK, Tier.ADDITION, Tier.BREAK),
        (r"", Tier.BREAK, Tier.ADDITION, Tier.BREAK),
    ),
    flavour="xen",
)
