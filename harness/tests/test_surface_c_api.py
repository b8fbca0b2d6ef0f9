"""The C API surface: what it reads off real labs, what altered libraries, headers and descriptions do to it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from virtcompat import capi, dwarf
from virtcompat.errors import Absent, BadData
from virtcompat.labs import Lab
from virtcompat.labs.compiler import layouts_of
from virtcompat.labs.visit import Ran, Visit, visiting
from virtcompat.model import Change, Finding, Tier
from virtcompat.policy.records import compare, merged
from virtcompat.store import paths, releases
from virtcompat.store import records as store
from virtcompat.surfaces import Record
from virtcompat.surfaces.recorded import c_api
from virtcompat.surfaces.recorded.c_api import SURFACE

RELEASES = tuple(r.name for r in releases.shipped())
FIXTURE = paths.data_root() / "fixtures" / "c-api" / "api-0.6.toml"
Alter = Callable[[str, bytes], bytes | None]
#: Everything of one lab that the surface reads, by path (libraries by soname as well).
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Altered:
    """A visit to a lab's files in which some of them are other files, or (None) not there."""

    release: str
    files: Files
    alter: Alter = field(default=lambda path, data: data)
    workdir: str = "/nowhere"

    def read(self, *patterns: str) -> dict[str, bytes]:
        seen = {p: self.alter(p, d) for p, d in self.files.items() for g in patterns if Path(p).match(g)}
        return {path: data for path, data in seen.items() if data is not None}

    def library(self, soname: str) -> tuple[str, bytes]:
        data = self.alter(soname, self.files[soname])
        if data is None:
            raise Absent(f"{self.release}: no library {soname}", "install libvirt0 in the lab")
        return soname, data

    def run(self, *argv: str, **_: Any) -> Ran:
        raise NotImplementedError

    def ask(self, *_: Any, **__: Any) -> dict[str, Any]:
        raise NotImplementedError


@pytest.fixture(scope="session")
def visit(abi: Callable[[str], Lab]) -> Callable[[str], Altered]:
    """release -> a visit to what its lab really has."""

    @cache
    def taken(release: str) -> Altered:
        with visiting(abi(release)) as there:
            files = there.read(f"{c_api.DESCRIPTIONS}*.xml", f"{c_api.HEADERS}*.h")
            files |= {f"{name}.so.0": there.library(f"{name}.so.0")[1] for name in c_api.LIBRARIES}
        return Altered(release, files)

    return taken


@pytest.fixture(scope="session")
def record(visit: Callable[[str], Altered]) -> Callable[[str], Record]:
    return cache(lambda release: read(visit(release)))


def read(there: Visit) -> dict[str, Mapping[str, str]]:
    return {part: reader(there) for part, reader in SURFACE.parts.items()}


def found(old: Record, new: Record) -> list[Finding]:
    return [f for verdict in compare(SURFACE, old, new) for f in verdict.findings]


def edited(name: str, old: str, new: str) -> Alter:
    """Alter the file of this name by replacing text that must be there once."""

    def alter(path: str, data: bytes) -> bytes:
        if not path.endswith(f"/{name}"):
            return data
        assert data.count(old.encode()) == 1, old
        return data.replace(old.encode(), new.encode())

    return alter


def changed(part: str, old: Record, there: Altered, alter: Alter) -> list[Finding]:
    """What comparing finds when one part is read off an altered lab and all else is as it was."""
    altered = SURFACE.parts[part](replace(there, alter=alter))
    return found(old, {**old, part: altered})


# Real releases


@pytest.mark.lab
@pytest.mark.parametrize("release", RELEASES)
def test_a_release_is_recorded_whole_and_twice_the_same(
    release: str, record: Callable[[str], Record], visit: Callable[[str], Altered]
) -> None:
    once = record(release)
    assert {part: store.written(facts) for part, facts in read(visit(release)).items()} == {
        part: store.written(facts)  # type: ignore[arg-type]
        for part, facts in once.items()
    }
    assert sum(map(len, once.values())) == len(merged(once))  # type: ignore[arg-type] # no fact in two parts
    facts = merged(once)
    assert facts["libvirt/soname"] == "libvirt.so.0"
    assert facts["libvirt/symbol/virConnectOpen/LIBVIRT_0.0.3"] == "function"
    assert facts["libvirt/symbol/virConnectAuthPtrDefault/LIBVIRT_0.4.0"] == "object of 8 bytes"
    assert facts["libvirt-qemu/symbol/virDomainQemuMonitorCommand/LIBVIRT_QEMU_0.8.3"] == "function"
    assert (
        facts["libvirt/function/virConnectListAllDomains"]
        == "int (struct _virConnect *, struct _virDomain ***, unsigned int)"
    )
    assert (
        facts["libvirt/function/virDomainAuthorizedSSHKeysGet"]
        == "int (struct _virDomain *, const char *, char ***, unsigned int)"
    )
    assert (
        facts["libvirt/callback/virEventAddTimeoutFunc"]
        == "int (int, virEventTimeoutCallback, void *, virFreeCallback)"
    )
    assert facts["libvirt/enum/virDomainMemoryModFlags/VIR_DOMAIN_MEM_LIVE"] == "1"  # given as another's name
    assert facts["libvirt/struct/_virDomainInfo/cpuTime"] == "offset 32, 8 bytes, unsigned"
    assert facts["libvirt/macro/VIR_UUID_STRING_BUFLEN"] == "37"
    assert facts["libvirt-admin/macro/VIR_CLIENT_INFO_READONLY"] == '"readonly"'
    assert facts["libvirt/macro/VIR_USE_CPU/parameters"] == "2"
    assert not [path for path in facts if "_PRIVATE_" in path or "SENTINELS" in path or path.endswith("_H")]


@pytest.mark.lab
@pytest.mark.parametrize(("old", "new"), [(a, b) for i, a in enumerate(RELEASES) for b in RELEASES[i + 1 :]])
def test_upstream_only_ever_added(old: str, new: str, record: Callable[[str], Record]) -> None:
    findings = found(record(old), record(new))
    assert findings
    assert {f.tier for f in findings} == {Tier.ADDITION}


@pytest.mark.lab
@pytest.mark.parametrize("release", RELEASES)
def test_library_description_and_headers_agree(
    release: str, record: Callable[[str], Record], visit: Callable[[str], Altered]
) -> None:
    """What is exported is what is described, since when its node says; values and fields are as compiled."""
    facts, nodes = merged(record(release)), defaultdict(set)
    for library, kind, *rest in (path.split("/") for path in facts):
        if kind == "symbol":
            nodes[library, rest[0]].add(rest[1].rpartition("_")[2])
    described = {tuple(p.split("/")[::2][:2]) for p in facts if re.match(r"[^/]+/(function|variable)/", p)}
    assert nodes.keys() == described
    since = {name: facts.get(f"{name[0]}/function/{name[1]}/since") for name in nodes}
    assert not {name: (nodes[name], when) for name, when in since.items() if when and when not in nodes[name]}
    assert any(since.values()) == (release != "debian-11")  # 7.0 does not say
    assert not [path for path in facts if path.endswith("/compiled")]
    compiled = dwarf.layouts(layouts_of(visit(release).read(f"{c_api.HEADERS}*.h"), c_api.SOURCE), "o", c_api._library)
    for data in visit(release).read(f"{c_api.DESCRIPTIONS}*.xml").values():
        for struct in etree.fromstring(data).iter("struct"):
            path = f"{struct.get('type', '').removeprefix('struct ')}/"
            ours = [p.rpartition("/")[2] for p in compiled if f"/struct/{path}" in p and "." not in p]
            assert ours == [f.get("name") for f in struct.findall("field")], path


@pytest.mark.lab
@pytest.mark.parametrize("release", RELEASES)
def test_what_passes_for_a_sentinel_is_one(release: str, record: Callable[[str], Record]) -> None:
    """Its value is one more than the highest: a real value called ``…_LAST`` must not be taken for one."""
    sentinel = re.compile(SURFACE.rules[0][0])
    enums: dict[str, dict[str, int]] = defaultdict(dict)
    for path, value in merged(record(release)).items():
        if re.match(r"[^/]+/enum/[^/]+/[^/]+$", path):
            enums[path.rpartition("/")[0]][path] = int(value)
    assert "libvirt/enum/virNetworkUpdateCommand/VIR_NETWORK_UPDATE_COMMAND_ADD_LAST" in merged(record(release))
    for values in enums.values():
        highest = max((v for p, v in values.items() if not sentinel.search(p)), default=-1)
        assert {v for p, v in values.items() if sentinel.search(p)} <= {highest + 1}


# The API of 2009


def _kept(facts: Mapping[str, str], table: Mapping[str, Any]) -> list[str]:
    """What of the fixture is no longer there as it was."""
    wanted = {f"libvirt/callback/{name}": kind for name, kind in table["callbacks"].items()}
    for name, function in table["functions"].items():
        wanted |= {
            f"libvirt/symbol/{name}/{function['node']}": "function",
            f"libvirt/function/{name}": function["type"],
        }
    return [path for path, value in wanted.items() if facts.get(path) != value]


@pytest.mark.lab
@pytest.mark.parametrize("release", RELEASES)
def test_the_api_of_libvirt_0_6_is_still_there(release: str, record: Callable[[str], Record]) -> None:
    table = tomllib.loads(FIXTURE.read_text(encoding="utf-8"))
    assert (len(table["functions"]), len(table["callbacks"])) == (60, 10)
    golden = store.recorded(release, SURFACE.name, tuple(SURFACE.parts))
    for answered in filter(None, (golden, record(release))):
        facts = merged(answered)
        assert _kept(facts, table) == []
        for name, function in table["functions"].items():
            node = function["node"].removeprefix("LIBVIRT_")
            assert (0, 4, 0) < tuple(map(int, node.split("."))) <= (0, 6, 0)
            assert facts.get(f"libvirt/function/{name}/since", node) == node
            less = {p: v for p, v in facts.items() if not p.startswith(f"libvirt/symbol/{name}/")}
            assert _kept(less, table) == [f"libvirt/symbol/{name}/{function['node']}"]


# Altered libraries


def stub(folder: Path, exports: Mapping[str, str], *objcopy: str) -> bytes:
    """A libvirt.so.0 that exports these names (name -> node), its object file put through objcopy first."""
    by_node: dict[str, list[str]] = defaultdict(list)
    for name, node in exports.items():
        by_node[node].append(name)
    (folder / "stub.c").write_text("".join(f"int {name}(void) {{ return 0; }}\n" for name in exports))
    script = "".join(f"{node} {{ global: {'; '.join(names)}; }};\n" for node, names in by_node.items())
    (folder / "stub.map").write_text(script + "VIRT_COMPAT_PRIVATE_1 { local: *; };\n")
    steps = [["gcc", "-c", "-fPIC", "-o", "stub.o", "stub.c"]]
    steps += [["objcopy", *objcopy, "stub.o"]] if objcopy else []
    link = "-Wl,--version-script=stub.map,-soname,libvirt.so.0,--undefined-version"
    steps += [["gcc", "-shared", "-nostdlib", "-o", "stub.so", link, "stub.o"]]
    for step in steps:
        subprocess.run(step, cwd=folder, check=True, capture_output=True)
    return (folder / "stub.so").read_bytes()


@pytest.fixture(scope="session")
def exports(record: Callable[[str], Record]) -> dict[str, str]:
    steps = (path.split("/") for path in merged(record("debian-12")) if path.startswith("libvirt/symbol/vir"))
    return {name: node for _, _, name, node in steps if name != "virConnectAuthPtrDefault"}


def linked(
    data: bytes, record: Callable[[str], Record], visit: Callable[[str], Altered]
) -> list[tuple[str, Change, Tier]]:
    """Findings of debian-12 against itself with this libvirt.so.0, but for the one variable, which stubs lack."""
    new = c_api.symbols(replace(visit("debian-12"), alter=lambda p, d: data if p == "libvirt.so.0" else d))
    findings = found(record("debian-12"), {**record("debian-12"), "symbols": new})
    return [(f.path, f.change, f.tier) for f in findings if "virConnectAuthPtrDefault" not in f.path]


@pytest.mark.lab
def test_a_removed_symbol_is_a_break(
    tmp_path: Path, exports: dict[str, str], record: Callable[[str], Record], visit: Callable[[str], Altered]
) -> None:
    assert linked(stub(tmp_path, exports), record, visit) == []
    gone = ("libvirt/symbol/virDomainCreate", Change.REMOVED, Tier.BREAK)
    for option in ("--localize-symbol", "--strip-symbol", "--keep-global-symbols"):
        (tmp_path / "kept").write_text("\n".join(n for n in exports if n != "virDomainCreate"))
        value = "kept" if option == "--keep-global-symbols" else "virDomainCreate"
        assert linked(stub(tmp_path, exports, f"{option}={value}"), record, visit) == [gone]


@pytest.mark.lab
def test_a_symbol_under_another_node_is_a_break_and_under_a_second_one_an_addition(
    tmp_path: Path, exports: dict[str, str], record: Callable[[str], Record], visit: Callable[[str], Altered]
) -> None:
    moved = linked(stub(tmp_path, {**exports, "virDomainCreate": "LIBVIRT_9.0.0"}), record, visit)
    assert moved == [
        (f"libvirt/symbol/virDomainCreate/{exports['virDomainCreate']}", Change.REMOVED, Tier.BREAK),
        ("libvirt/symbol/virDomainCreate/LIBVIRT_9.0.0", Change.ADDED, Tier.ADDITION),
    ]
    hidden = linked(stub(tmp_path, {**exports, "virDomainCreate": "LIBVIRT_PRIVATE_9.0.0"}), record, visit)
    assert hidden == [("libvirt/symbol/virDomainCreate", Change.REMOVED, Tier.BREAK)]
    both = record("debian-12")["symbols"]
    assert isinstance(both, Mapping)
    two = {**both, "libvirt/symbol/virDomainCreate/LIBVIRT_9.0.0": "function"}
    assert [f.tier for f in found({"symbols": both}, {"symbols": two})] == [Tier.ADDITION]
    assert Tier.BREAK in [f.tier for f in found({"symbols": two}, {"symbols": both})]


@pytest.mark.lab
@pytest.mark.parametrize(
    ("path", "now"),
    [
        ("libvirt/soname", "libvirt.so.1"),
        ("libvirt/symbol/virConnectAuthPtrDefault/LIBVIRT_0.4.0", "object of 16 bytes"),
    ],
)
def test_another_soname_or_size_of_a_variable_is_a_break(path: str, now: str, record: Callable[[str], Record]) -> None:
    was = record("debian-12")["symbols"]
    assert isinstance(was, Mapping)
    (finding,) = found({"symbols": was}, {"symbols": {**was, path: now}})
    assert (finding.path, finding.change, finding.tier, finding.new) == (path, Change.CHANGED, Tier.BREAK, now)


@pytest.mark.lab
def test_damaged_and_missing_files_are_never_a_record(visit: Callable[[str], Altered]) -> None:
    there = visit("debian-12")
    size = len(there.files["libvirt.so.0"])
    for cut in (0, 3, 64, 4096, size // 2, size - 1):
        with pytest.raises(BadData):
            c_api.symbols(replace(there, alter=lambda p, d, cut=cut: d[:cut] if p == "libvirt.so.0" else d))
    with pytest.raises(BadData):
        c_api.symbols(replace(there, alter=lambda p, d: b"no ELF file\n"))
    for part in SURFACE.parts:
        with pytest.raises(Absent, match="debian-12"):
            SURFACE.parts[part](replace(there, alter=lambda p, d: None))
    for gone in ("libvirt-lxc-api.xml", "libvirt-qemu.h", "libvirt-lxc.so.0"):
        part = "api" if gone.endswith("xml") else "layouts" if gone.endswith(".h") else "symbols"
        with pytest.raises(Absent, match=gone.split(".")[0]):
            SURFACE.parts[part](replace(there, alter=lambda p, d, gone=gone: None if p.endswith(gone) else d))
    for text in (b"", b"<api><symbols>", b"<api/>", b"<api><symbols/></api>", b"\xff\xfe\x00"):
        with pytest.raises(BadData, match=r"libvirt-qemu-api\.xml"):
            c_api.api(replace(there, alter=lambda p, d, text=text: text if p.endswith("qemu-api.xml") else d))
    with pytest.raises(BadData):
        c_api.api(replace(there, alter=lambda p, d: d[: len(d) // 2]))


# Altered headers

INFO = "unsigned short nrVirtCpu;"


@pytest.mark.lab
@pytest.mark.parametrize(
    ("file", "old", "new", "wanted"),
    [
        pytest.param(
            "libvirt-domain.h", "VIR_DOMAIN_RUNNING = 1,", "VIR_DOMAIN_RUNNING = 12,",
            {("libvirt/enum/virDomainState/VIR_DOMAIN_RUNNING/compiled", Tier.BREAK)}, id="enum-value",
        ),
        pytest.param(
            "libvirt-domain.h", "VIR_DOMAIN_RUNNING = 1,", "",
            {("libvirt/enum/virDomainState/VIR_DOMAIN_RUNNING/compiled", Tier.BREAK)}, id="enum-value-removed",
        ),
        pytest.param(
            "libvirt-domain.h", INFO, f"int inserted[4]; {INFO}",
            {
                ("libvirt/struct/_virDomainInfo", Tier.BREAK),
                ("libvirt/struct/_virDomainInfo/inserted", Tier.RISK),
                ("libvirt/struct/_virDomainInfo/nrVirtCpu", Tier.BREAK),
                ("libvirt/struct/_virDomainInfo/cpuTime", Tier.BREAK),
            }, id="field-inserted",
        ),
        pytest.param(
            "libvirt-domain.h", INFO, f"{INFO} unsigned short inPadding;",
            {("libvirt/struct/_virDomainInfo/inPadding", Tier.RISK)}, id="field-in-padding",
        ),
        pytest.param(
            "libvirt-domain.h", INFO, "short nrVirtCpu;",
            {("libvirt/struct/_virDomainInfo/nrVirtCpu", Tier.BREAK)}, id="field-signed",
        ),
        pytest.param(
            "libvirt-host.h", "# define VIR_UUID_BUFLEN (16)", "# define VIR_UUID_BUFLEN (32)",
            {("libvirt/macro/VIR_UUID_BUFLEN", Tier.BREAK)}, id="macro-value",
        ),
        pytest.param(
            "libvirt-domain.h", "# define VIR_DOMAIN_SEND_KEY_MAX_KEYS  16", "# define VIR_DOMAIN_SEND_KEY_MAX_KEYS  32",
            {("libvirt/macro/VIR_DOMAIN_SEND_KEY_MAX_KEYS", Tier.RISK)}, id="macro-limit",
        ),
        pytest.param(
            "libvirt-admin.h", '"readonly"', '"read-only"',
            {("libvirt-admin/macro/VIR_CLIENT_INFO_READONLY", Tier.BREAK)}, id="macro-string",
        ),
        pytest.param(
            "libvirt-domain.h", "# define _virSchedParameter _virTypedParameter", "# define _virSchedParameter _other",
            {("libvirt/macro/_virSchedParameter/text", Tier.RISK)}, id="macro-text",
        ),
        pytest.param(
            "libvirt-domain.h", "# define VIR_DOMAIN_SEND_KEY_MAX_KEYS  16", "",
            {("libvirt/macro/VIR_DOMAIN_SEND_KEY_MAX_KEYS", Tier.BREAK)}, id="macro-removed",
        ),
        pytest.param("libvirt-domain.h", INFO, "uint16_t  nrVirtCpu /* the same */ ;", set(), id="respelled"),
        pytest.param("libvirt-host.h", "# define VIR_UUID_BUFLEN (16)", "#define VIR_UUID_BUFLEN 0x10", set(), id="hex"),
        pytest.param("libvirt-domain.h", "VIR_DOMAIN_RUNNING = 1,", "VIR_DOMAIN_RUNNING = (1 << 0),", set(), id="shift"),
    ],
)  # fmt: skip
def test_altered_headers(
    file: str, old: str, new: str, wanted: set[tuple[str, Tier]],
    record: Callable[[str], Record], visit: Callable[[str], Altered],
) -> None:  # fmt: skip
    if "uint16_t" in new:
        new = f"__UINT16_TYPE__{new.removeprefix('uint16_t')}"
    findings = changed("layouts", record("debian-12"), visit("debian-12"), edited(file, old, new))
    assert {(f.path, f.tier) for f in findings} == wanted


# Altered descriptions


def _resigned(data: bytes, name: str, change: Callable[[etree._Element], None], tag: str = "function") -> bytes:
    root = etree.fromstring(data)
    (element,) = root.xpath(f"//{tag}[@name='{name}']")
    change(element)
    return etree.tostring(root)


def _set(attribute: str, value: str, where: str = "arg[1]") -> Callable[[etree._Element], None]:
    def change(element: etree._Element) -> None:
        (target,) = [element] if where == "." else element.xpath(where)
        target.set(attribute, value)

    return change


OPEN = "libvirt/function/virConnectOpen"
STATE = "libvirt/enum/virDomainState/VIR_DOMAIN_RUNNING"


@pytest.mark.lab
@pytest.mark.parametrize(
    ("tag", "name", "change", "wanted"),
    [
        ("function", "virConnectOpen", _set("type", "const  char*"), []),
        ("function", "virConnectOpen", _set("type", "char const *const"), []),
        ("function", "virConnectOpen", _set("name", "uri"), []),
        ("function", "virConnectOpen", _set("type", "virConnect *", "return"), []),
        ("function", "virConnectOpen", _set("type", "char *"), [(OPEN, Tier.RISK)]),
        ("function", "virConnectOpen", _set("type", "const char **"), [(OPEN, Tier.BREAK)]),
        ("function", "virConnectOpen", _set("type", "virDomainPtr", "return"), [(OPEN, Tier.BREAK)]),
        ("function", "virConnectOpen", lambda e: e.append(etree.Element("arg", name="x", type="int")), [(OPEN, Tier.BREAK)]),
        ("function", "virConnectOpen", lambda e: e.getparent().remove(e), [(OPEN, Tier.BREAK)]),
        ("function", "virConnectOpen", _set("name", "virConnectAjar", "."),
         [(OPEN, Tier.BREAK), ("libvirt/function/virConnectAjar", Tier.ADDITION)]),
        ("functype", "virFreeCallback", _set("type", "int"), [("libvirt/callback/virFreeCallback", Tier.BREAK)]),
        ("variable", "virConnectAuthPtrDefault", _set("type", "int", "."),
         [("libvirt/variable/virConnectAuthPtrDefault", Tier.BREAK)]),
        ("typedef", "virDomainBlockJobCursor", _set("type", "unsigned long  long int", "."), []),
        ("typedef", "virDomainBlockJobCursor", _set("type", "uint64_t", "."), []),
        ("enum", "VIR_DOMAIN_RUNNING", _set("value", "9", "."), [(STATE, Tier.BREAK)]),
        ("enum", "VIR_DOMAIN_RUNNING", lambda e: e.getparent().remove(e), [(STATE, Tier.BREAK)]),
        ("enum", "VIR_DOMAIN_LAST", _set("value", "9", "."), []),
        ("enum", "VIR_DOMAIN_LAST", lambda e: e.getparent().remove(e), []),
        ("enum", "VIR_NETWORK_UPDATE_COMMAND_ADD_LAST", _set("value", "9", "."),
         [("libvirt/enum/virNetworkUpdateCommand/VIR_NETWORK_UPDATE_COMMAND_ADD_LAST", Tier.BREAK)]),
        ("macro", "VIR_USE_CPU", _set("params", "cpumap,maplen,cpu", "."),
         [("libvirt/macro/VIR_USE_CPU/parameters", Tier.BREAK)]),
        ("macro", "VIR_USE_CPU", _set("raw", "virUseCpu(cpumap, cpu)", "."), [("libvirt/macro/VIR_USE_CPU/text", Tier.RISK)]),
        ("macro", "VIR_USE_CPU", _set("version", "0.0.1", "."), []),
    ],
)  # fmt: skip
def test_altered_descriptions(
    tag: str, name: str, change: Callable[[etree._Element], None], wanted: list[tuple[str, Tier]],
    record: Callable[[str], Record], visit: Callable[[str], Altered],
) -> None:  # fmt: skip
    def alter(path: str, data: bytes) -> bytes:
        return _resigned(data, name, change, tag) if path.endswith("/libvirt-api.xml") else data

    findings = changed("api", record("debian-12"), visit("debian-12"), alter)
    assert sorted((f.path, f.tier) for f in findings) == sorted(wanted)


# Types

ALIASES = {"virDomain": "struct _virDomain", "virDomainPtr": "virDomain *", "virLoop": "virLoop *", "virInt": "int"}


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("char ** *", "char ***"),
        ("char **const", "char **"),
        ("const char *", "const char *"),
        ("char const*", "const char *"),
        ("const char *const *", "const char * const *"),
        ("virDomainPtr", "struct _virDomain *"),
        ("const virDomainPtr", "struct _virDomain *"),
        ("const virDomain *", "const struct _virDomain *"),
        ("virDomainPtr **", "struct _virDomain ***"),
        ("const virDomainPtr *", "struct _virDomain * const *"),
        ("const int", "int"),
        ("unsigned", "unsigned int"),
        ("unsigned int", "unsigned int"),
        ("uint32_t", "unsigned int"),
        ("int64_t", "long long"),
        ("int8_t", "signed char"),
        ("uint8_t *", "unsigned char *"),
        ("long long int", "long long"),
        ("long unsigned int", "unsigned long"),
        ("long int unsigned long", "unsigned long long"),
        ("signed", "int"),
        ("short int", "short"),
        ("signed char", "signed char"),
        ("unsigned char", "unsigned char"),
        ("virInt *", "int *"),
        ("char [16]", "char *"),
        ("long double", "long double"),
        ("size_t", "size_t"),
        ("virFreeCallback", "virFreeCallback"),
        ("void (*)(int)", "void ( * ) ( int )"),
    ],
)
def test_a_type_is_what_it_means(text: str, type_: str) -> None:
    assert str(capi.resolved(text, ALIASES).unsealed()) == type_


def test_a_typedef_of_itself_ends() -> None:
    assert str(capi.resolved("virLoop", ALIASES)).startswith("virLoop *")


@given(
    st.sampled_from(["char", "unsigned int", "struct _virDomain", "long long"]),
    st.lists(st.booleans(), max_size=3),
    st.lists(st.sampled_from(["", " ", "  ", "\t"]), min_size=4, max_size=4),
    st.booleans(),
)
def test_spaces_and_const_do_not_change_what_machine_code_sees(
    base: str, pointers: list[bool], spaces: list[str], const: bool
) -> None:
    written = ("const " if const else "") + base + " "
    for sealed, space in zip(pointers, spaces, strict=False):
        written += f"{space}*{space}{'const ' if sealed else ''}"
    found = str(capi.resolved(written, {}).unsealed())
    assert capi.plain(found) == f"{base} {'*' * len(pointers)}".strip()
    assert str(capi.resolved(found, {})) == found
