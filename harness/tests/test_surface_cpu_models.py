"""The surface cpu-models: the real CPU maps of the releases, and maps that were altered on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from virtcompat.errors import Absent, BadData
from virtcompat.labs import Lab
from virtcompat.labs.visit import Ran, Visit, visiting
from virtcompat.model import Change, Finding, Outcome, Tier
from virtcompat.policy import records
from virtcompat.surfaces import Record
from virtcompat.surfaces.recorded.cpu_models import EMULATOR, MAP, SURFACE, cpu_map, qemu_names

Abi = Callable[[str], Lab]
HASWELL = f"{MAP}x86_Haswell.xml"


@dataclass(frozen=True)
class Altered:
    """A visit on which some files say something else; a file that became empty is not there."""

    visit: Visit
    files: Mapping[str, Callable[[bytes], bytes]] = field(default_factory=dict)
    outputs: Mapping[str, Callable[[str], str]] = field(default_factory=dict)

    @property
    def release(self) -> str:
        return self.visit.release

    @property
    def workdir(self) -> str:
        return self.visit.workdir

    def read(self, *patterns: str) -> dict[str, bytes]:
        found = {p: self.files.get(p, lambda data: data)(data) for p, data in self.visit.read(*patterns).items()}
        return {path: data for path, data in found.items() if data}

    def library(self, soname: str) -> tuple[str, bytes]:
        return self.visit.library(soname)

    def run(self, *argv: str, **more: Any) -> Ran:
        ran = self.visit.run(*argv, **more)
        return Ran(ran.code, self.outputs.get(argv[0], lambda text: text)(ran.out), ran.err)

    def ask(self, program: str, request: Mapping[str, Any], limit: float = 60.0) -> dict[str, Any]:
        return self.visit.ask(program, request, limit)


@pytest.fixture(scope="module")
def visit(abi: Abi) -> Iterator[Visit]:
    with visiting(abi("debian-13")) as found:
        yield found


def record(visit: Visit) -> Record:
    return {"map": cpu_map(visit), "qemu": qemu_names(visit)}


def swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        assert old in data, f"the file has no {old!r}: the test says nothing"
        return data.replace(old, new)

    return change


def findings(old: Record, new: Record, *, back: bool = False) -> list[Finding]:
    return [f for verdict in records.compare(SURFACE, old, new, back=back) for f in verdict.findings]


def changed(visit: Visit, path: str, old: bytes, new: bytes, *, back: bool = False) -> list[tuple[str, Change, Tier]]:
    """What one replacement in one file of a real map comes to."""
    found = findings(record(visit), record(Altered(visit, {path: swap(old, new)})), back=back)
    return [(f.path, f.change, f.tier) for f in found]


@pytest.mark.lab
def test_the_record_of_a_real_map(visit: Visit) -> None:
    facts = cpu_map(visit)
    assert facts["x86/feature/aes"] == "cpuid eax_in=0x1 ecx=0x2000000"
    assert facts["x86/feature/invtsc/migratable"] == "no"
    assert facts["x86/vendor/Intel"] == "GenuineIntel"
    assert facts["x86/model/Haswell-v1/like"] == "Haswell"
    assert facts["x86/model/Haswell/signature/6-60"] == "any stepping"
    assert {"aes", "avx2", "xsave"} <= set(facts["x86/model/Haswell/features"].split())
    assert "vmx-ept" in facts["x86/model/Haswell/added"].split()
    assert facts["x86/model/Skylake-Server/removed"] == "mpx"
    assert facts["ppc64/model/POWER9/vendor"] == "IBM"
    assert facts["arm/model/cortex-a53/pvr/0xd03"] == "no mask"
    assert qemu_names(visit)["x86/qemu/Haswell"] == "Haswell-v1"
    assert record(visit) == record(visit)
    assert findings(record(visit), record(visit)) == []


@pytest.mark.lab
def test_a_feature_taken_from_a_model_breaks_its_guests_and_those_of_its_alias(visit: Visit) -> None:
    found = changed(visit, HASWELL, b"<feature name='avx2'/>", b"")
    models = {path.split("/")[2] for path, _, _ in found}
    assert models == {"Haswell", "Haswell-v1"}
    assert set(found) == {(f"x86/model/{m}/feature/avx2", Change.REMOVED, Tier.GUEST_ABI_BREAK) for m in models}
    verdicts = records.compare(
        SURFACE, record(visit), record(Altered(visit, {HASWELL: swap(b"<feature name='avx2'/>", b"")}))
    )
    assert {v.case for v in verdicts if v.outcome is Outcome.INCOMPATIBLE} == {f"x86/model/{m}" for m in models}


@pytest.mark.lab
@pytest.mark.parametrize(
    ("old", "new", "change", "tier"),
    [
        (b"'avx2'/>", b"'avx2'/><feature name='avx512f'/>", Change.ADDED, Tier.GUEST_ABI_BREAK),
        (b"'avx2'/>", b"'avx2' removed='yes'/>", Change.CHANGED, Tier.GUEST_ABI_BREAK),
        (b"'avx2'/>", b"'avx2'/><feature name='avx512f' removed='yes'/>", Change.ADDED, Tier.GUEST_ABI_BREAK),
        (b"'vmx-ept' added='yes'/>", b"'vmx-ept'/>", Change.CHANGED, Tier.GUEST_ABI_BREAK),
        (b"'avx2'/>", b"'avx2'/><feature name='avx512f' added='yes'/>", Change.ADDED, Tier.ADDITION),
        (b"<feature name='vmx-ept' added='yes'/>", b"", Change.REMOVED, Tier.BREAK),
    ],
)
def test_what_the_marks_of_a_feature_mean(visit: Visit, old: bytes, new: bytes, change: Change, tier: Tier) -> None:
    found = [f for f in changed(visit, HASWELL, old, new) if f[0].startswith("x86/model/Haswell/")]
    assert [f[1:] for f in found] == [(change, tier)]


@pytest.mark.lab
def test_an_alias_of_another_model_changes_the_guest_and_one_of_the_same_features_does_not(visit: Visit) -> None:
    path = f"{MAP}x86_Haswell-v2.xml"
    found = changed(visit, path, b"'Haswell-noTSX'", b"'Haswell'")
    assert set(found) == {
        (f"x86/model/Haswell-v2/feature/{f}", Change.ADDED, Tier.GUEST_ABI_BREAK) for f in ("hle", "rtm")
    }
    spelled_out = visit.read(f"{MAP}x86_Haswell-noTSX.xml").popitem()[1].split(b"<decode host='on' guest='on'/>")[1]
    found = changed(visit, path, b"<model name='Haswell-noTSX'/>\n  </model>\n</cpus>", spelled_out.strip())
    assert found
    assert {tier for _, _, tier in found} == {Tier.ADDITION}


@pytest.mark.lab
def test_a_feature_with_other_bits_is_another_feature_and_one_spelled_otherwise_is_not(visit: Visit) -> None:
    path = f"{MAP}x86_features.xml"
    aes = b"<cpuid eax_in='0x00000001' ecx='0x02000000'/>"
    found = changed(visit, path, aes, b"<cpuid eax_in='0x00000001' ecx='0x02000001'/>")
    assert found == [("x86/feature/aes", Change.CHANGED, Tier.GUEST_ABI_BREAK)]
    assert changed(visit, path, aes, b"<cpuid ecx='0x2000000' eax_in='1' ecx_in='0x00'/>") == []
    assert changed(visit, path, b"name='invtsc' migratable='no'", b"name='invtsc'") == [
        ("x86/feature/invtsc/migratable", Change.REMOVED, Tier.ADDITION)
    ]


@pytest.mark.lab
def test_a_model_that_goes_breaks_and_a_model_that_comes_adds_either_way(visit: Visit) -> None:
    whole = record(visit)
    less = record(Altered(visit, {f"{MAP}index.xml": swap(b"<include filename='x86_Dhyana-v2.xml'/>", b"")}))
    gone, come = findings(whole, less), findings(less, whole)
    assert [(f.path, f.change, f.tier) for f in gone] == [("x86/model/Dhyana-v2", Change.REMOVED, Tier.BREAK)]
    assert [(f.path, f.change, f.tier) for f in come] == [("x86/model/Dhyana-v2", Change.ADDED, Tier.ADDITION)]
    assert [f.tier for f in findings(whole, less, back=True)] == [Tier.ADDITION]
    assert changed(visit, HASWELL, b"<feature name='avx2'/>", b"", back=True)[0][2] is Tier.GUEST_ABI_BREAK


@pytest.mark.lab
def test_how_a_host_is_detected_is_no_break(visit: Visit) -> None:
    assert changed(visit, HASWELL, b"<decode host='on' guest='on'/>", b"<decode host='on' guest='off'/>") == [
        ("x86/model/Haswell/decode", Change.CHANGED, Tier.RISK)
    ]
    found = changed(visit, HASWELL, b"<vendor", b"<signature family='6' model='999'/><vendor")
    assert found == [("x86/model/Haswell/signature/6-999", Change.ADDED, Tier.ADDITION)]


@pytest.mark.lab
@pytest.mark.parametrize(
    ("old", "new", "path", "tier"),
    [
        ('"alias-of": "Haswell-v1"', '"alias-of": "Haswell-v4"', "x86/qemu/Haswell", Tier.GUEST_ABI_BREAK),
        ('"name": "Haswell-v4"', '"name": "Haswell-v44"', "x86/qemu/Haswell-v4", Tier.BREAK),
        (
            '"name": "Haswell-v4"',
            '"deprecated": true, "name": "Haswell-v4"',
            "x86/qemu/Haswell-v4/deprecated",
            Tier.RISK,
        ),
    ],
)
def test_the_names_that_qemu_has(visit: Visit, old: str, new: str, path: str, tier: Tier) -> None:
    def change(text: str) -> str:
        # Other things may be said of a model in front of these words; the last of a name counts in JSON.
        assert old in text
        return text.replace('"deprecated": false', '"quiet": 0').replace(old, new)

    found = findings(record(visit), record(Altered(visit, outputs={EMULATOR: change})))
    assert [(f.path, f.tier, f.product) for f in found if f.tier > Tier.ADDITION] == [(path, tier, "qemu")]


@pytest.mark.lab
def test_between_real_releases_only_mpx_is_lost(visit: Visit, abi: Abi) -> None:
    with visiting(abi("debian-12")) as before:
        found = [f for f in findings(record(before), record(visit)) if f.tier > Tier.ADDITION]
    assert {f.path.rsplit("/", 1)[1] for f in found} == {"mpx"}
    assert "x86/model/Skylake-Server/feature/mpx" in {f.path for f in found}


@pytest.mark.lab
def test_a_damaged_map_is_no_record(visit: Visit) -> None:
    with pytest.raises(Absent, match="no CPU map"):
        cpu_map(Altered(visit, {path: lambda data: b"" for path in visit.read(MAP + "*.xml")}))
    for path, change in {HASWELL: lambda data: data[:999], f"{MAP}index.xml": lambda data: b"<cpus/>"}.items():
        with pytest.raises(BadData, match=path):
            cpu_map(Altered(visit, {path: change}))
    with pytest.raises(BadData, match="not there"):
        cpu_map(Altered(visit, {HASWELL: lambda data: b""}))
    with pytest.raises(BadData, match="stands in the map twice"):
        cpu_map(Altered(visit, {f"{MAP}index.xml": swap(b"x86_Haswell-v1.xml", b"x86_Haswell.xml")}))
    with pytest.raises(BadData, match="no answer to query-cpu-definitions"):
        qemu_names(Altered(visit, outputs={EMULATOR: lambda text: text[:99]}))


@pytest.mark.lab
def test_what_was_not_recorded_is_not_here(visit: Visit) -> None:
    verdicts = records.compare(SURFACE, {"map": cpu_map(visit)}, record(visit))
    assert [(v.case, v.outcome) for v in verdicts if v.outcome is Outcome.NOT_HERE] == [("(qemu)", Outcome.NOT_HERE)]
