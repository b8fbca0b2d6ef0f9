"""Xen's interfaces: read off real headers and libraries; what an altered header does to client and hypervisor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
from virtcompat.errors import Absent, BadData
from virtcompat.labs import Lab
from virtcompat.labs.visit import Visit, visiting
from virtcompat.layouts import Depth, Layout, differences
from virtcompat.model import Finding, Tier
from virtcompat.policy.records import compare, merged
from virtcompat.surfaces import Part
from virtcompat.surfaces.recorded import xen_abi
from virtcompat.surfaces.recorded.xen_abi import SURFACE, Client, clients

Records = Callable[[str], Mapping[str, Part]]
ROOT = "/usr/include/xen/"
CREATE = (
    "domctl.h",
    "struct xen_domctl_createdomain {\n",
    "struct xen_domctl_createdomain {\n    uint32_t inserted;\n",
)
RAISED = ("domctl.h", "INTERFACE_VERSION 0x00000015", "INTERFACE_VERSION 0x00000016")


@dataclass
class Altered:
    """A visit whose headers are edited on the way: (header, what is written there, what is read instead)."""

    visit: Visit
    edits: tuple[tuple[str, str, str], ...] = ()
    without: str = "\0"
    cut: str = "\0"

    @property
    def release(self) -> str:
        return self.visit.release

    def read(self, *patterns: str) -> dict[str, bytes]:
        files = {p: d for p, d in self.visit.read(*patterns).items() if self.without not in p}
        for name, old, new in self.edits:
            if (path := ROOT + name) in files:
                assert old.encode() in files[path], (name, old)
                files[path] = files[path].replace(old.encode(), new.encode(), 1)
        return {p: d[: len(d) // 2] if self.cut in p else d for p, d in files.items()}


@pytest.fixture(scope="module")
def record(abi: Callable[[str], Lab]) -> Records:
    """release -> its record, read once."""
    known: dict[str, Mapping[str, Part]] = {}

    def of(release: str) -> Mapping[str, Part]:
        if release not in known:
            with visiting(abi(release)) as visit:
                known[release] = {name: read(visit) for name, read in SURFACE.parts.items()}
        return known[release]

    return of


@pytest.fixture
def altered(abi: Callable[[str], Lab], record: Records) -> Callable[..., Mapping[str, Part]]:
    """The record of debian-12 with these edits to its headers."""

    def of(*edits: tuple[str, str, str]) -> Mapping[str, Part]:
        with visiting(abi("debian-12")) as visit:
            change = Altered(visit, edits)
            parts = {name: SURFACE.parts[name](change) for name in ("interface", "layouts")}  # type: ignore[arg-type]
        return {**record("debian-12"), **parts}

    return of


def found(
    old: Mapping[str, Part], new: Mapping[str, Part], least: Tier = Tier.RISK, *, back: bool = False
) -> dict[str, Finding]:
    verdicts = compare(SURFACE, old, new, back=back)
    return {f.path: f for v in verdicts for f in v.findings if f.tier >= least}


def client(old: Mapping[str, Part], new: Mapping[str, Part], interface: str) -> Client:
    return next(c for c in clients(merged(old), merged(new)) if c.interface == interface)


def test_what_a_release_shows(record: Records, abi: Callable[[str], Lab]) -> None:
    facts = merged(record("debian-12"))
    assert {path: facts[path] for path in (
        "domctl/interface-version", "sysctl/interface-version", "xen/hypercall/__HYPERVISOR_domctl",
        "domctl/operation/XEN_DOMCTL_createdomain", "memory/enum/xenmem_access_t/XENMEM_access_default",
        "domctl/struct/xen_domctl_createdomain/max_vcpus", "memory/struct/xen_memory_reservation/extent_start",
        "io-blkif/struct/blkif_sring/ring", "hvm-save/record/CPU", "sys-privcmd/constant/IOCTL_PRIVCMD_HYPERCALL",
        "libxencall/soname", "libxencall/symbol/xencall_open", "libxenctrl/symbol/xc_interface_open",
        "libxenlight/enum/libxl_domain_type/LIBXL_DOMAIN_TYPE_HVM",
    )} == {
        "domctl/interface-version": "0x15", "sysctl/interface-version": "0x15", "xen/hypercall/__HYPERVISOR_domctl": "36",
        "domctl/operation/XEN_DOMCTL_createdomain": "1", "memory/enum/xenmem_access_t/XENMEM_access_default": "10",
        "domctl/struct/xen_domctl_createdomain/max_vcpus": "offset 28, 4 bytes, unsigned",
        "memory/struct/xen_memory_reservation/extent_start": "offset 0, 8 bytes, handle of xen_pfn",
        "io-blkif/struct/blkif_sring/ring": "offset 64, flexible array of union blkif_sring_entry",
        "hvm-save/record/CPU": "code 2, struct hvm_hw_cpu", "sys-privcmd/constant/IOCTL_PRIVCMD_HYPERCALL": "0x305000",
        "libxencall/soname": "libxencall.so.1", "libxencall/symbol/xencall_open": "VERS_1.0",
        "libxenctrl/symbol/xc_interface_open": "function",
        "libxenlight/enum/libxl_domain_type/LIBXL_DOMAIN_TYPE_HVM": "1",
    }  # fmt: skip
    assert sum(path.startswith("libxenlight/have/") for path in facts) > 100
    # One view: no other architecture, no handles, nothing of one side's own code.
    assert not [
        p
        for p in facts
        if "__guest_handle" in p or "back_ring" in p or p.startswith(("foreign", "arch-arm", "computed"))
    ]
    assert not [p for p, v in facts.items() if "\n" in p + v or " = " in p or not v]
    xen_abi._compiled.cache_clear()
    with visiting(abi("debian-12")) as visit:
        assert {name: read(visit) for name, read in SURFACE.parts.items()} == record("debian-12")


def test_a_release_against_itself_is_silent(record: Records) -> None:
    own = record("debian-12")
    assert not found(own, own, Tier.ADDITION)
    assert {c.standing for c in clients(merged(own), merged(own))} == {"same"}


def test_a_layout_that_changed_without_its_version_is_found(
    altered: Callable[..., Mapping[str, Part]], record: Records
) -> None:
    old, new = record("debian-12"), altered(CREATE)
    findings = found(old, new)
    assert {path: f.tier for path, f in findings.items()} == {
        "domctl/(version not raised)": Tier.BREAK,
        "domctl/struct/xen_domctl_createdomain/(misread)": Tier.BREAK,
    }
    assert findings["domctl/(version not raised)"].new == "0x15: xen_domctl_createdomain"
    assert client(old, new, "domctl") == Client("domctl", "misread", ("xen_domctl_createdomain",))
    assert set(found(new, old, back=True)) == set(findings)


def test_below_a_raised_version_it_is_one_refusal(altered: Callable[..., Mapping[str, Part]], record: Records) -> None:
    old, new = (
        record("debian-12"),
        altered(CREATE, RAISED, ("domctl.h", "XEN_DOMCTL_max_mem                      ", "XEN_DOMCTL_max_mem 999 //")),
    )
    assert {path: f.tier for path, f in found(old, new).items()} == {"domctl/interface-version": Tier.BREAK}
    assert {path: f.tier for path, f in found(new, old, back=True).items()} == {"domctl/interface-version": Tier.BREAK}
    assert client(old, new, "domctl").standing == "refused"


def test_another_interface_that_hands_the_same_structure_on_needs_its_own_version(
    altered: Callable[..., Mapping[str, Part]], record: Records
) -> None:
    """XEN_SYSCTL_getdomaininfolist hands domctl's structure out: raising domctl's version alone does not help."""
    edit = (
        "domctl.h",
        "struct xen_domctl_getdomaininfo {\n",
        "struct xen_domctl_getdomaininfo {\n    uint64_t inserted;\n",
    )
    old, new = record("debian-12"), altered(edit, RAISED)
    assert set(found(old, new)) == {
        "domctl/interface-version", "sysctl/(version not raised)", "sysctl/struct/xen_domctl_getdomaininfo/(misread)",
    }  # fmt: skip
    assert client(old, new, "sysctl").misread == ("xen_domctl_getdomaininfo",)


def test_numbers_of_operations(altered: Callable[..., Mapping[str, Part]], record: Records) -> None:
    old = record("debian-12")
    new = altered(
        ("memory.h", "#define XENMEM_populate_physmap     6", "#define XENMEM_populate_physmap     60"),
        ("sysctl.h", "#define XEN_SYSCTL_physinfo                       3", "#define XEN_SYSCTL_physinfo 33"),
        ("vcpu.h", "#define VCPUOP_initialise            0", ""),
    )
    assert {path: f.tier for path, f in found(old, new).items()} == {
        "memory/operation/XENMEM_populate_physmap": Tier.BREAK,
        "sysctl/operation/XEN_SYSCTL_physinfo": Tier.BREAK,
        "sysctl/(version not raised)": Tier.BREAK,
        "vcpu/operation/VCPUOP_initialise": Tier.BREAK,
    }
    assert client(old, new, "memory") == Client("memory", "misread", ("XENMEM_populate_physmap",))
    assert client(old, new, "vcpu").missing == ("VCPUOP_initialise",)
    # A newer client asks an older hypervisor for what that does not know: -ENOSYS.
    assert "vcpu/operation/VCPUOP_initialise" not in found(old, new, back=True)


def test_additions_and_respelling_are_quiet(altered: Callable[..., Mapping[str, Part]], record: Records) -> None:
    old = record("debian-12")
    new = altered(
        ("memory.h", "#define XENMEM_populate_physmap     6", "#define XENMEM_new_op 77\n#define XENMEM_populate_physmap (5 + 1)"),
        ("io/ring.h", "ring[1]; /* variable-length */", "ring[];"),
        ("domctl.h", "uint8_t                             pad[128];", "struct { uint32_t fresh; } fresh_op;\nuint8_t pad[128];"),
        ("sched.h", "    unsigned int reason;", "    uint32_t reason;"),
        ("physdev.h", "struct physdev_eoi {", "struct physdev_new { uint32_t irq; };\nstruct physdev_eoi {"),
    )  # fmt: skip
    assert {path: f.tier for path, f in found(old, new, Tier.ADDITION).items()} == dict.fromkeys(
        ("memory/operation/XENMEM_new_op", "domctl/struct/xen_domctl/u.fresh_op", "domctl/struct/xen_domctl/u.fresh_op.fresh",
         "physdev/struct/physdev_new"), Tier.ADDITION,
    )  # fmt: skip
    assert client(old, new, "memory").standing == client(old, new, "domctl").standing == "compatible"
    assert client(old, new, "io-blkif").standing == client(old, new, "sched").standing == "same"
    assert not found(new, old, back=True)


def test_padding_that_gets_a_meaning_is_a_risk(record: Records) -> None:
    """As upstream did: xen_sysctl_livepatch_op's pad became flags, the version stayed."""
    findings = found(record("debian-12"), record("debian-13"))
    assert findings["sysctl/struct/xen_sysctl_livepatch_op/(layout)"].tier is Tier.RISK
    # Nested into a union at their old places.
    assert findings["sysctl/struct/xen_get_cpufreq_para/(layout)"].tier is Tier.RISK
    assert "sysctl/(version not raised)" not in findings


def test_who_can_talk_to_whom(record: Records) -> None:
    old, new = record("debian-12"), record("debian-13")
    table = {c.interface: c for c in clients(merged(old), merged(new))}
    assert table["memory"].misread == ("XENMEM_access_default",)
    standings = {
        name: table[name].standing
        for name in ("domctl", "sysctl", "event-channel", "platform", "memory", "libxencall", "libxenctrl")
    }
    assert standings == {
        "domctl": "refused", "sysctl": "compatible", "event-channel": "same", "platform": "compatible", "memory": "misread",
        "libxencall": "same", "libxenctrl": "refused",
    }  # fmt: skip
    assert client(new, old, "platform").missing == (
        "XENPF_get_dom0_console",
        "XENPF_get_ucode_revision",
        "XENPF_microcode_update2",
    )
    assert client(new, old, "hvm-save").standing == "refused"  # a saved guest with a longer record


def test_symbols_are_judged_below_their_soname(record: Records) -> None:
    old = record("debian-12")
    libraries = {p: v for p, v in merged(old).items() if p.startswith("lib")}
    gone = {
        p: v
        for p, v in libraries.items()
        if p not in ("libxencall/symbol/xencall_open", "libxenctrl/symbol/xc_interface_open")
    }
    moved = gone | {
        "libxenctrl/soname": "libxenctrl.so.4.18",
        "libxenlight/enum/libxl_domain_type/LIBXL_DOMAIN_TYPE_HVM": "7",
    }
    new = {**old, "libraries": moved}
    assert {path: f.tier for path, f in found(old, new).items()} == dict.fromkeys(
        (
            "libxencall/symbol/xencall_open",
            "libxenctrl/soname",
            "libxenlight/enum/libxl_domain_type/LIBXL_DOMAIN_TYPE_HVM",
        ),
        Tier.BREAK,
    )
    assert client(old, new, "libxencall").standing == client(old, new, "libxenctrl").standing == "refused"
    without = {**old, "libraries": {p: v for p, v in libraries.items() if not p.startswith("libxenhypfs/")}}
    assert {path: f.tier for path, f in found(old, without).items()} == {"libxenhypfs": Tier.BREAK}
    assert not found(old, without, back=True)


def test_what_is_not_there_is_said(abi: Callable[[str], Lab]) -> None:
    with visiting(abi("debian-12")) as visit:
        for part in ("interface", "layouts"):
            for without in (ROOT, "domctl.h"):
                with pytest.raises(Absent, match="libxen-dev"):
                    SURFACE.parts[part](Altered(visit, without=without))  # type: ignore[arg-type]
        for without in (".so", "libxenlight.so", "libxl.h"):
            with pytest.raises(Absent, match="libxen-dev"):
                SURFACE.parts["libraries"](Altered(visit, without=without))  # type: ignore[arg-type]
        with pytest.raises(BadData, match="libxencall"):
            SURFACE.parts["libraries"](Altered(visit, cut="libxencall.so"))  # type: ignore[arg-type]


def synthetic(**facts: str) -> Mapping[str, Part]:
    """A record of few facts: GROUP__KIND__NAME."""
    return {"interface": {k.replace("__", "/"): v for k, v in facts.items()}, "layouts": {}, "libraries": {}}


def test_masks_may_grow_but_not_move() -> None:
    old, more, other = (synthetic(hvm__constant__FLAGS_MASK=value) for value in ("7", "15", "0x70"))
    assert not found(old, more)
    assert not found(more, old, back=True)
    assert set(found(old, other)) == {"hvm/constant/FLAGS_MASK/(misread)"}


def test_a_stable_operation_is_not_covered_by_its_interfaces_version(record: Records) -> None:
    """XEN_DOMCTL_get_domain_state of Xen 4.21: its own header says so."""
    path = "domctl/struct/xen_domctl_get_domain_state"
    base = {**merged(record("debian-12")), path: "8 bytes", f"{path}/state": "offset 0, 2 bytes, unsigned"}
    moved = {**base, "domctl/interface-version": "0x16", f"{path}/state": "offset 2, 2 bytes, unsigned"}
    old, new = ({"interface": facts, "layouts": {}, "libraries": {}} for facts in (base, moved))
    assert set(found(old, new)) == {"domctl/interface-version", f"{path}/(misread)"}


def layout(size: int, **fields: str) -> Layout:
    return Layout("g/struct/s", 8 * size, {name.replace("__", "."): text for name, text in fields.items()})


U4 = "4 bytes, unsigned"


@pytest.mark.parametrize(("old", "new", "depth"), [
    (layout(8, a=f"offset 0, {U4}", b=f"offset 4, {U4}"), layout(8, a=f"offset 4, {U4}", b=f"offset 0, {U4}"), Depth.MOVED),
    (layout(8, a=f"offset 0, {U4}", b=f"offset 4, {U4}"), layout(8, a=f"offset 0, {U4}", c=f"offset 4, {U4}"), Depth.SOFT),
    (layout(8, a=f"offset 0, {U4}", pad=f"offset 4, {U4}"), layout(8, a="offset 0, 8 bytes, unsigned"), Depth.SOFT),
    (layout(8, a=f"offset 0, {U4}", b=f"offset 4, {U4}"), layout(8, a="offset 0, 8 bytes, unsigned"), Depth.MOVED),
    (layout(4, a=f"offset 0, {U4}"), layout(8, a=f"offset 0, {U4}", b=f"offset 4, {U4}"), Depth.TAIL),
    (layout(8, a="bit 0, 5 bits, unsigned"), layout(8, a="bit 1, 5 bits, unsigned"), Depth.MOVED),
    (layout(4, u="offset 0, 4 bytes, union", u__a=f"offset 0, {U4}", u__b=f"offset 0, {U4}"),
     layout(4, u="offset 0, 4 bytes, union", u__b=f"offset 0, {U4}"), Depth.FEWER),
    (layout(64, a="offset 0, 64 bytes, array of 4 struct s"), layout(64, a="offset 0, 96 bytes, array of 4 struct s"), Depth.MOVED),
])  # fmt: skip
def test_layouts_are_compared_by_place(old: Layout, new: Layout, depth: Depth) -> None:
    assert differences(old, new)[0].depth is depth
    assert not differences(old, old)


@pytest.mark.parametrize(("old", "new"), [
    (layout(4, a=f"offset 0, {U4}"), layout(4, a="offset 0, 4 bytes, signed")),
    (layout(4, a="offset 0, 2 bytes, unsigned"), layout(4, a="offset 0, 2 bytes, unsigned", pad1="offset 2, 2 bytes, unsigned")),
    (layout(4, u="offset 0, 4 bytes, union", u__a=f"offset 0, {U4}"),
     layout(4, u="offset 0, 4 bytes, union", u__a=f"offset 0, {U4}", u__b="offset 0, 2 bytes, unsigned")),
])  # fmt: skip
def test_what_no_reader_notices(old: Layout, new: Layout) -> None:
    assert not differences(old, new)
