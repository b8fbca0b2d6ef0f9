"""The columns of a matrix: which releases, what of them is recorded, what can be asked of them here and now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from virtcompat.errors import LabError
from virtcompat.labs import Lab, build, identify, open_lab
from virtcompat.model import Column, NotHere
from virtcompat.store import golden, releases
from virtcompat.store.releases import Release

Labs = dict[tuple[str, str], Lab | NotHere]


@dataclass(slots=True)
class Columns:
    """Columns in the order of their versions, and the lab of each (column, flavour)."""

    columns: list[Column] = field(default_factory=list)
    labs: Labs = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def products(self) -> dict[str, Mapping[str, str]]:
        return {c.name: {**c.others, "libvirt": c.libvirt, "qemu": c.qemu} for c in self.columns}

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.columns]

    def lab(self, column: str, flavour: str) -> Lab | NotHere:
        name = f"{column}-{flavour}".rstrip("-")
        missing = NotHere(f"no lab {name}", f"virt-compat lab create {name}")
        return self.labs.get((column, flavour), missing)


def find(names: tuple[str, ...] = ()) -> Columns:
    """The columns of these releases; all shipped and added ones where none is named."""
    found = Columns()
    for release in [releases.find(n) for n in dict.fromkeys(names)] if names else releases.every():
        _add(found, release)
    found.columns.sort(key=lambda c: c.order)
    return found


def _add(found: Columns, release: Release) -> None:
    provenance = golden.provenance(release.name)
    lab = open_lab(release)
    products = dict(release.products)
    moved = _moved(release, lab)
    if provenance is not None:
        products = dict(provenance.products)
    elif not isinstance(lab, NotHere):
        try:
            libvirt, qemu = own_versions(lab)
            products = {**other_versions(lab), "libvirt": libvirt, "qemu": qemu}
        except LabError as error:
            lab = NotHere(error.message, f"repair it, or: virt-compat lab remove {release.name}")
    live = not isinstance(lab, NotHere) and not moved
    column = Column(
        release.name,
        products.get("libvirt", ""),
        products.get("qemu", ""),
        releases.Release("", products=products).order,
        provenance is not None,
        live,
        others={p: v for p, v in products.items() if p not in ("libvirt", "qemu")},
    )
    if isinstance(lab, NotHere):
        column = replace(column, note=lab.reason)
    found.columns.append(column)
    if not moved:
        found.labs[release.name, ""] = lab
        for flavour in release.flavours:
            found.labs[release.name, flavour] = _flavour(release, flavour)
        return
    _add_moved(found, release, lab, moved)


def _add_moved(found: Columns, release: Release, lab: Lab | NotHere, moved: dict[str, str]) -> None:
    """A lab whose packages are not those of the golden records is a column of its own, named with its versions."""
    assert not isinstance(lab, NotHere)
    libvirt, qemu = own_versions(lab)
    name = f"{release.name}@libvirt-{libvirt}+qemu-{qemu}"
    order = releases.Release("", products={"libvirt": libvirt, "qemu": qemu}).order
    words = ", ".join(f"{p} {v}" for p, v in sorted(moved.items())[:6])
    why = f"the mirror has moved: {len(moved)} of the packages that make {release.name} differ ({words})"
    found.columns.append(Column(name, libvirt, qemu, order, golden=False, live=True, note=why))
    found.labs[name, ""] = lab
    for flavour in release.flavours:
        variant = open_lab(releases.find(f"{release.name}-{flavour}"))
        if not isinstance(variant, NotHere) and own_versions(variant) == (libvirt, qemu):
            found.labs[name, flavour] = variant
    remedy = f"its golden records still stand in for it; 'virt-compat record {release.name}' would record the new one"
    found.labs[release.name, ""] = NotHere(f"{release.name} as recorded is no longer on the mirror", remedy)
    found.notes.append(f"{release.name}: {why}; shown as the column {name}")


def _moved(release: Release, lab: Lab | NotHere) -> dict[str, str]:
    """The identity packages whose version in the lab is not the recorded one; nothing where that cannot be told."""
    provenance = golden.provenance(release.name)
    if provenance is None or isinstance(lab, NotHere) or not lab.versions:
        return {}
    recorded = build.identity(release, provenance.packages.get(release.flavour, {}))
    here = build.identity(release, lab.versions)
    return {p: here.get(p, "gone") for p in recorded.keys() | here.keys() if recorded.get(p) != here.get(p)}


def _flavour(release: Release, flavour: str) -> Lab | NotHere:
    variant = releases.find(f"{release.name}-{flavour}")
    lab = open_lab(variant)
    provenance = golden.provenance(release.name)
    if provenance is None or isinstance(lab, NotHere) or flavour not in provenance.packages:
        return lab
    recorded = build.identity(release, provenance.packages[flavour])
    if recorded != build.identity(release, lab.versions):
        return NotHere(
            f"the lab {variant.name} has other versions than its golden records", "see 'virt-compat lab list'"
        )
    return lab


#: The package whose version is that of a further product.
OTHERS = {"spice": "libspice-server1", "xen": "libxen-dev", "virt-manager": "virtinst"}


def other_versions(lab: Lab) -> dict[str, str]:
    """product -> version of what is in a lab of packages besides libvirt and QEMU."""
    return {product: _upstream(lab.versions[p]) for product, p in OTHERS.items() if p in lab.versions}


def _upstream(version: str) -> str:
    return version.split(":")[-1].split("-")[0].split("+")[0]


def own_versions(lab: Lab) -> tuple[str, str]:
    """(libvirt, QEMU) of a lab: of its packages where it has a list of them, else as its binaries say."""
    if not lab.versions:
        return identify.versions(lab)
    upstream = {p: _upstream(v) for p, v in lab.versions.items()}
    return upstream.get("libvirt0", ""), upstream.get("qemu-system-x86", "")
