"""SPICE: read off real releases, then with something altered on the way: what is found, and how bad it is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from virtcompat import elf, spicelink
from virtcompat.errors import Absent, BadData, LabError
from virtcompat.labs import BOOTSTRAP, Lab
from virtcompat.labs.visit import LabVisit, Ran, Visit, visiting
from virtcompat.model import Finding, NotHere, Outcome, Tier
from virtcompat.policy.records import compare
from virtcompat.surfaces import Part
from virtcompat.surfaces.recorded import spice

Facts = dict[str, str]
Alter = Callable[[Any], Any]


def findings(old: Mapping[str, str], new: Mapping[str, str], *, back: bool = False) -> list[Finding]:
    """What comparing two sets of facts shows, in whichever part they are."""
    nothing: Facts = {}
    parts = {"layouts": nothing, "compat": nothing, "link": nothing}
    records = [{**parts, "symbols": dict(facts)} for facts in (old, new)]
    return [f for verdict in compare(spice.SURFACE, records[0], records[1], back=back) for f in verdict.findings]


def tiers(old: Mapping[str, str], new: Mapping[str, str], *, back: bool = False) -> dict[str, Tier]:
    return {finding.path: finding.tier for finding in findings(old, new, back=back)}


@dataclass(slots=True)
class Altered:
    """A visit with something put in the way: files, libraries and answers may be other than they are."""

    visit: Visit
    files: Callable[[str, bytes], bytes] = lambda path, data: data
    hidden: str = ""
    image: bytes | None = None
    request: Alter = lambda request: request
    reply: Callable[[Mapping[str, Any], dict[str, Any]], dict[str, Any]] = lambda request, reply: reply

    @property
    def release(self) -> str:
        return self.visit.release

    @property
    def workdir(self) -> str:
        return self.visit.workdir

    def read(self, *patterns: str) -> dict[str, bytes]:
        found = self.visit.read(*patterns)
        return {p: self.files(p, data) for p, data in found.items() if not (self.hidden and self.hidden in p)}

    def library(self, soname: str) -> tuple[str, bytes]:
        path, data = self.visit.library(soname)
        return path, data if self.image is None else self.image

    def run(self, *argv: str, stdin: str = "", env: Mapping[str, str] | None = None, limit: float = 30.0) -> Ran:
        return self.visit.run(*argv, stdin=stdin, env=env, limit=limit)

    def ask(self, program: str, request: Mapping[str, Any], limit: float = 60.0) -> dict[str, Any]:
        wanted = self.request(dict(request))
        return self.reply(wanted, self.visit.ask(program, wanted, limit))


@dataclass(frozen=True, slots=True)
class Bench:
    """A lab without walls: this machine's Python, with libraries and programs of the test's own found first."""

    folder: Path
    workdir: str
    release: str = "bench"
    sandboxed: bool = False
    schemas: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def fingerprint(self) -> str:
        return "bench"

    def command(self, daemon: bool) -> list[str]:
        environment = [f"LD_LIBRARY_PATH={self.folder}", f"PATH={self.folder}:/usr/bin:/bin", "G_MESSAGES_DEBUG="]
        return ["env", *environment, sys.executable, "-u", "-c", BOOTSTRAP]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    # A path of its own: that of a socket may have 107 bytes, pytest's are longer.
    workdir = tempfile.mkdtemp(prefix="vc-")
    yield Bench(tmp_path, workdir)
    shutil.rmtree(workdir)


@pytest.fixture(scope="module")
def real(abi: Callable[[str], Lab]) -> dict[str, Facts]:
    """The record of one real release, by part."""
    with visiting(abi("debian-12")) as visit:
        return {part: dict(reader(visit)) for part, reader in spice.SURFACE.parts.items()}


# -- real releases ----------------------------------------------------------------------------------------------------


def test_a_release_says_of_itself_what_is_known_of_it(real: dict[str, Facts]) -> None:
    assert real["symbols"]["libspice-server/soname"] == "libspice-server.so.1"
    assert real["symbols"]["libspice-server/symbol/spice_server_set_compat_version/SPICE_SERVER_0.6.1"] == "function"
    assert real["layouts"]["server/enum/spice_compat_version_t/SPICE_COMPAT_VERSION_0_6"] == "1"
    assert real["layouts"]["server/macro/SPICE_COMPAT_VERSION_CURRENT"] == real["compat"]["compat/current"] == "1"
    assert real["layouts"]["protocol/macro/SPICE_MAGIC"] == str(int.from_bytes(b"REDQ", "little"))
    assert real["layouts"]["protocol/struct/SpiceLinkMess"] == f"{spicelink.MESS.size} bytes"
    versions = {p.rpartition("/")[2]: said for p, said in real["compat"].items() if p.startswith("compat/version/")}
    assert {value for value, said in versions.items() if said == "accepted"} == {"1"}
    assert set(versions.values()) == {"accepted", "refused"}
    assert {"-2", "0", "4", "2147483647", "-2147483648"} <= set(versions)
    assert real["compat"]["compat/spice_server_set_jpeg_compression/0"] == "aborted"


def test_a_real_server_answers_each_kind_of_client(real: dict[str, Facts]) -> None:
    link = real["link"]
    assert {link[f"link/version/2.{minor}"] for minor in (0, 1, 2, 3, 99)} == {"link ok, auth ok"}
    assert {link[f"link/version/{v}"] for v in ("1.0", "3.0", "99.99")} == {"link error VERSION_MISMATCH"}
    assert link["link/malformed/magic-other"] == "link error INVALID_MAGIC"
    assert link["link/malformed/offset-1000"] == "link error INVALID_DATA"
    assert link["link/malformed/half-message"] == "closed"
    assert link["link/connection/wrong-id"] == "link ok, auth error BAD_CONNECTION_ID"
    assert link["link/channel/display"] == "link ok, auth ok"
    assert link["link/channel/99"] == "closed"
    assert link["link/ticket/second-right"] == "link ok, auth ok"
    assert link["link/ticket/wrong"] == "link ok, auth error PERMISSION_DENIED"
    assert (link["link/server/major"], link["link/server/minor"]) == ("2", "2")
    assert link["link/channel/main/capability/SEAMLESS_MIGRATE"] == "announced"
    assert not [path for path, said in link.items() if "silent" in said or "died" in said or "/bit " in path]


def test_reading_twice_gives_the_same_and_says_nothing(abi: Callable[[str], Lab], real: dict[str, Facts]) -> None:
    with visiting(abi("debian-12")) as visit:
        assert {part: dict(reader(visit)) for part, reader in spice.SURFACE.parts.items()} == real
    assert all(v.outcome is Outcome.COMPATIBLE and not v.findings for v in compare(spice.SURFACE, real, real))


def test_names_and_numbers_of_the_wire_are_those_of_the_headers(abi: Callable[[str], Lab]) -> None:
    with visiting(abi("debian-14")) as visit:
        layouts = spice.layouts(visit)
    constants = {path.rpartition("/")[2]: value for path, value in layouts.items()}
    for number, name in spicelink.CHANNELS.items():
        assert constants[f"SPICE_CHANNEL_{name.upper()}"] == str(number)
    for number, name in enumerate(spicelink.ERRORS):
        assert constants[f"SPICE_LINK_ERR_{name}"] == str(number)
    for number, name in spicelink.MESSAGES.items():
        assert constants[f"SPICE_MSG_MAIN_{name}"] == str(number)
    for bit, name in enumerate(spicelink.COMMON_CAPABILITIES):
        assert str(bit) == constants.get(f"SPICE_COMMON_CAP_{name}", constants.get(f"SPICE_COMMON_CAP_PROTOCOL_{name}"))
    for channel, names in spicelink.CAPABILITIES.items():
        group = "SPICEVMC" if channel in ("usbredir", "port", "webdav") else channel.upper()
        known = {n: int(v) for n, v in constants.items() if n.startswith(f"SPICE_{group}_CAP_")}
        assert known == {f"SPICE_{group}_CAP_{name}": bit for bit, name in enumerate(names)}


def test_releases_differ_by_what_upstream_says(abi: Callable[[str], Lab]) -> None:
    records = {}
    for name in ("debian-11", "debian-14"):
        with visiting(abi(name)) as visit:
            records[name] = {**spice.symbols(visit), **spice.layouts(visit)}
    forward = tiers(records["debian-11"], records["debian-14"])
    assert {path for path, tier in forward.items() if tier > Tier.ADDITION} == {"server/struct/QXLWorker"}
    assert forward["libspice-server/symbol/spice_qxl_gl_scanout2"] is Tier.ADDITION
    assert forward["server/struct/QXLInterface/attached_worker"] is Tier.ADDITION
    back = tiers(records["debian-14"], records["debian-11"], back=True)
    assert set(back.values()) == {Tier.ADDITION}


# -- the library file -------------------------------------------------------------------------------------------------


def stub(symbols: Mapping[str, str], folder: Path) -> bytes:
    """A shared library that exports these symbols under these nodes."""
    nodes: dict[str, list[str]] = {}
    for name, node in symbols.items():
        nodes.setdefault(node, []).append(name)
    (folder / "stub.c").write_text("".join(f"int {name}(void) {{ return 0; }}\n" for name in symbols))
    (folder / "stub.map").write_text("".join(f"{node} {{ global: {'; '.join(n)}; }};\n" for node, n in nodes.items()))
    command = ["cc", "-shared", "-fPIC", "-w", "-Wl,-soname,libspice-server.so.1", "-Wl,--version-script=stub.map"]
    subprocess.run([*command, "-o", "stub.so", "stub.c"], cwd=folder, check=True)
    return (folder / "stub.so").read_bytes()


def test_a_symbol_that_is_gone_or_under_another_node_breaks(
    abi: Callable[[str], Lab], real: dict[str, Facts], tmp_path: Path
) -> None:
    paths = [path.split("/") for path in real["symbols"] if "/symbol/" in path]
    own = {name: node for _, _, name, node in paths}
    with visiting(abi("debian-12")) as visit:

        def read(symbols: Mapping[str, str]) -> Facts:
            return spice.symbols(Altered(visit, image=stub(symbols, tmp_path)))

        assert read(own) == real["symbols"]
        gone = read({name: node for name, node in own.items() if name != "spice_server_init"})
        moved = read({**own, "spice_server_init": "SPICE_SERVER_0.14.3"})
        more = read({**own, "spice_server_new_thing": "SPICE_SERVER_0.14.3"})
        cut = visit.library("libspice-server.so.1")[1][:100_000]
        with pytest.raises(BadData):
            spice.symbols(Altered(visit, image=cut))
    symbol = "libspice-server/symbol/spice_server_init"
    assert tiers(real["symbols"], gone) == {symbol: Tier.BREAK}
    assert tiers(real["symbols"], moved)[f"{symbol}/SPICE_SERVER_0.6.0"] is Tier.BREAK
    assert set(tiers(real["symbols"], more).values()) == {Tier.ADDITION}


def test_a_library_that_exports_nothing_is_no_record(
    abi: Callable[[str], Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elf, "library", lambda data, name: elf.Library("libspice-server.so.1", (), (), {}))
    with visiting(abi("debian-12")) as visit, pytest.raises(BadData):
        spice.symbols(visit)


# -- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "before", "after", "path", "tier"),
    [
        ("enums.h", "SPICE_LINK_ERR_INVALID_MAGIC,\n    SPICE_LINK_ERR_INVALID_DATA,",
         "SPICE_LINK_ERR_INVALID_DATA,\n    SPICE_LINK_ERR_INVALID_MAGIC,",
         "protocol/enum/SpiceLinkErr/SPICE_LINK_ERR_INVALID_DATA", Tier.BREAK),
        ("enums.h", "SPICE_CHANNEL_WEBDAV,", "SPICE_CHANNEL_WEBDAV, SPICE_CHANNEL_SMELL,",
         "protocol/constant/SPICE_CHANNEL_SMELL", Tier.ADDITION),
        ("enums.h", "SPICE_CHANNEL_WEBDAV,", "SPICE_CHANNEL_WEBDAV, SPICE_CHANNEL_SMELL,",
         "protocol/constant/SPICE_END_CHANNEL", Tier.ADDITION),
        ("qxl_dev.h", "uint32_t magic;", "uint32_t magic; uint32_t more;",
         "protocol/struct/QXLRom/id", Tier.GUEST_ABI_BREAK),
        ("qxl_dev.h", "#define QXL_COMMAND_RING_SIZE 32", "#define QXL_COMMAND_RING_SIZE 64",
         "protocol/macro/QXL_COMMAND_RING_SIZE", Tier.GUEST_ABI_BREAK),
        ("protocol.h", '"REDQ"', '"REDR"', "protocol/macro/SPICE_MAGIC", Tier.BREAK),
        ("protocol.h", "#define SPICE_VERSION_MINOR 2", "#define SPICE_VERSION_MINOR 3",
         "protocol/macro/SPICE_VERSION_MINOR", Tier.RISK),
        ("spice-server.h", "SPICE_COMPAT_VERSION_0_6 = 1", "SPICE_COMPAT_VERSION_0_6 = 2",
         "server/enum/spice_compat_version_t/SPICE_COMPAT_VERSION_0_6", Tier.BREAK),
        ("spice-qxl.h", "#define SPICE_INTERFACE_QXL_MINOR 3", "#define SPICE_INTERFACE_QXL_MINOR 4",
         "server/macro/SPICE_INTERFACE_QXL_MINOR", Tier.ADDITION),
        ("spice-qxl.h", "#define SPICE_INTERFACE_QXL_MINOR 3", "#define SPICE_INTERFACE_QXL_MINOR 2",
         "server/macro/SPICE_INTERFACE_QXL_MINOR", Tier.BREAK),
    ],
)  # fmt: skip
def test_an_edited_header_shows(
    abi: Callable[[str], Lab], real: dict[str, Facts], file: str, before: str, after: str, path: str, tier: Tier
) -> None:
    with visiting(abi("debian-12")) as visit:
        layouts = spice.layouts(Altered(visit, files=edit(file, before, after)))
    assert tiers(real["layouts"], layouts)[path] is tier


def edit(file: str, before: str, after: str) -> Callable[[str, bytes], bytes]:
    def altered(path: str, data: bytes) -> bytes:
        if not path.endswith(f"/{file}"):
            return data
        assert before.encode() in data, f"{path} has no {before}"
        return data.replace(before.encode(), after.encode(), 1)

    return altered


def test_an_interface_may_grow_when_its_version_does(abi: Callable[[str], Lab], real: dict[str, Facts]) -> None:
    first = "    void (*set_compression_level)("
    raised = edit("spice-qxl.h", "SPICE_INTERFACE_QXL_MINOR 3", "SPICE_INTERFACE_QXL_MINOR 4")
    at_end = edit("spice-qxl.h", "};\n\nstruct QXLInstance {", "    void (*late)(void);\n};\n\nstruct QXLInstance {")
    in_front = edit("spice-qxl.h", first, f"    void (*early)(void);\n{first}")
    with visiting(abi("debian-12")) as visit:
        forgotten = spice.layouts(Altered(visit, files=at_end))
        grown = spice.layouts(Altered(visit, files=lambda path, data: raised(path, at_end(path, data))))
        moved = spice.layouts(Altered(visit, files=lambda path, data: raised(path, in_front(path, data))))
    whole, minor = "server/struct/QXLInterface", "server/macro/SPICE_INTERFACE_QXL_MINOR"
    assert tiers(real["layouts"], forgotten) == {whole: Tier.BREAK, f"{whole}/late": Tier.ADDITION}
    found = tiers(real["layouts"], grown)
    assert found == {whole: Tier.RISK, f"{whole}/late": Tier.ADDITION, minor: Tier.ADDITION}
    assert tiers(real["layouts"], moved)[f"{whole}/set_mm_time"] is Tier.BREAK
    # A program that was built for the newer interface is refused by the older library.
    assert tiers(grown, real["layouts"], back=True)[minor] is Tier.BREAK


def test_other_spelling_is_no_difference(abi: Callable[[str], Lab], real: dict[str, Facts]) -> None:
    def respelled(path: str, data: bytes) -> bytes:
        if "-packed" in path:
            return data
        data = data.replace(b"uint32_t", b"unsigned   int").replace(b"{\n", b"{ /* the same */\n\n")
        return data.replace(b"#define SPICE_VERSION_MINOR 2", b"#define SPICE_VERSION_MINOR (1U + 0x1)")

    with visiting(abi("debian-12")) as visit:
        assert tiers(real["layouts"], spice.layouts(Altered(visit, files=respelled))) == {}


@pytest.mark.parametrize("hidden", ["/spice-server/", "/spice-1/"])
def test_headers_that_are_not_there_are_absent(abi: Callable[[str], Lab], hidden: str) -> None:
    with visiting(abi("debian-12")) as visit, pytest.raises(Absent, match="spice-"):
        spice.layouts(Altered(visit, hidden=hidden))


def test_headers_of_which_one_is_missing_are_an_error(abi: Callable[[str], Lab]) -> None:
    with visiting(abi("debian-12")) as visit, pytest.raises(LabError):
        spice.layouts(Altered(visit, hidden="/qxl_dev.h"))


# -- the contract -----------------------------------------------------------------------------------------------------

HONEST = "return version == 1 ? 0 : -1;"
LIBRARY = """
#include <stdlib.h>
void *spice_server_new(void) {{ return malloc(8); }}
int spice_get_current_compat_version(void) {{ return {current}; }}
int spice_server_set_compat_version(void *server, unsigned version) {{ {body} }}
"""


def lying(bench: Bench, current: int, body: str) -> Facts:
    """What a library with this much of SPICE in it says of compat versions."""
    (bench.folder / "lie.c").write_text(LIBRARY.format(current=current, body=body))
    command = ["cc", "-shared", "-fPIC", "-Wl,-soname,libspice-server.so.1", "-o", "libspice-server.so.1", "lie.c"]
    subprocess.run(command, cwd=bench.folder, check=True)
    with visiting(bench) as visit:
        return {p: said for p, said in spice.compat(visit).items() if "/spice_server_set_" not in p}


def test_an_honest_library_says_what_the_real_one_does(bench: Bench, real: dict[str, Facts]) -> None:
    facts = lying(bench, 1, HONEST)
    assert facts == {p: said for p, said in real["compat"].items() if "/spice_server_set_" not in p}
    assert tiers(facts, facts) == {}


def test_a_library_that_raises_its_version_and_keeps_the_former_is_a_risk(bench: Bench) -> None:
    old, new = lying(bench, 1, HONEST), lying(bench, 2, "return version == 1 || version == 2 ? 0 : -1;")
    found = tiers(old, new)
    assert found["compat/current"] is Tier.RISK
    assert found["compat/version/2"] is Tier.ADDITION
    assert max(found.values()) is Tier.RISK
    # Back on the older one, a version that it cannot know is rightly refused.
    assert tiers(new, old, back=True) == {"compat/current": Tier.RISK}


def test_a_library_that_gives_the_former_version_up_breaks(bench: Bench) -> None:
    found = tiers(lying(bench, 1, HONEST), lying(bench, 2, "return version == 2 ? 0 : -1;"))
    assert found["compat/version/1"] is Tier.BREAK
    assert found["compat/previous-major"] is Tier.BREAK


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ("return version >= 1 && version <= 2 ? 0 : -1;", "compat/version/2"),
        ("return version == 1 || version == 2147483647 ? 0 : -1;", "compat/version/2147483647"),
        ("return version == 1 || version == 0xfffffffe ? 0 : -1;", "compat/version/-2"),
        ("return -1;", "compat/version/1"),
        ("if (version == 3) abort(); return version == 1 ? 0 : -1;", "compat/version/3"),
        ("if (version == 3) *(volatile int *)0 = 0; return version == 1 ? 0 : -1;", "compat/version/3"),
        ("return version == 1 ? 0 : 7;", "compat/version/2"),
    ],
)
def test_a_library_against_the_contract_is_found_even_if_its_predecessor_was_too(
    bench: Bench, body: str, path: str
) -> None:
    lie, honest = lying(bench, 1, body), lying(bench, 1, HONEST)
    for old in (honest, lie):
        assert tiers(old, lie)[path] is Tier.BREAK


def test_a_far_version_is_asked_for_with_what_lies_around_it(bench: Bench) -> None:
    facts = lying(bench, 1_000_000, "return version == 1000000 ? 0 : -1;")
    assert facts["compat/version/1000003"] == "refused"
    assert len(facts) < 30


def test_a_library_that_is_not_there_is_absent(bench: Bench) -> None:
    def other(request: dict[str, Any]) -> dict[str, Any]:
        return {**request, "library": "libno-such-spice.so.1"}

    with visiting(bench) as visit, pytest.raises(Absent):
        spice.compat(Altered(visit, request=other))


def test_a_library_without_the_functions_says_so(bench: Bench) -> None:
    (bench.folder / "lie.c").write_text("int nothing;")
    command = ["cc", "-shared", "-fPIC", "-o", "libspice-server.so.1", "lie.c"]
    subprocess.run(command, cwd=bench.folder, check=True)
    with visiting(bench) as visit:
        facts = spice.compat(visit)
    assert set(facts.values()) == {"no such function"}
    found = tiers(lying(bench, 1, HONEST), {p: s for p, s in facts.items() if "/spice_server_set_" not in p})
    assert {found["compat/current"], found["compat/version/1"]} == {Tier.BREAK}


# -- the handshake ----------------------------------------------------------------------------------------------------

#: A QEMU that is none: QMP on standard input, and a SPICE server that answers every client the same.
PRETENDER = """#!{python}
import json, os, socket, struct, sys, threading
path = next(a for a in sys.argv if a.startswith("unix=on")).split("addr=")[1].split(",")[0]
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen(50)
def serve():
    while True:
        client, _ = server.accept()
        said = client.recv(4096)
        {answer}
        client.close()
threading.Thread(target=serve, daemon=True).start()
print(json.dumps({{"QMP": {{}}}}), flush=True)
for line in sys.stdin:
    print(json.dumps({{"return": {{}}}}), flush=True)
"""
MISMATCH = 'client.sendall(b"REDQ" + struct.pack("<III", 3, 0, 178) + struct.pack("<I", 4) + bytes(174))'


def pretend(bench: Bench, text: str) -> None:
    program = bench.folder / "qemu-system-x86_64"
    program.write_text(text)
    program.chmod(0o755)


def linked(bench: Bench) -> Facts:
    with visiting(bench) as visit:
        return spice.link(visit)


def test_a_server_of_another_version_breaks(bench: Bench, real: dict[str, Facts]) -> None:
    pretend(bench, PRETENDER.format(python=sys.executable, answer=MISMATCH))
    facts = linked(bench)
    assert facts["link/version/2.2"] == "link error VERSION_MISMATCH"
    assert facts["link/server/major"] == "3"
    for back in (False, True):
        found = tiers(real["link"], facts, back=back)
        assert found["link/version/2.2"] is Tier.BREAK
        assert found["link/server/major"] is Tier.BREAK
        assert found["link/ticket/first-right"] is Tier.BREAK


def test_a_server_that_dies_talks_nonsense_or_hangs_up_is_survived(bench: Bench, real: dict[str, Facts]) -> None:
    answer = (
        "if said[4:12] == struct.pack('<II', 2, 99): os._exit(3)\n"
        "        if said[4:12] == struct.pack('<II', 2, 3): client.sendall(b'REDQ' + struct.pack('<III', 2, 2, 6) + bytes(6))\n"
        "        if said[4:12] == struct.pack('<II', 2, 1): client.sendall(b'hello\\n')"
    )
    pretend(bench, PRETENDER.format(python=sys.executable, answer=answer))
    facts = linked(bench)
    assert facts["link/version/2.99"] == "server died (exit status 3)"
    assert facts["link/version/2.3"] == "nonsense"
    assert facts["link/version/2.1"] == "hello"
    assert facts["link/version/2.2"] == "closed"
    found = tiers(real["link"], facts)
    assert {found[f"link/version/2.{minor}"] for minor in (1, 2, 3, 99)} == {Tier.BREAK}
    assert not list(Path(bench.workdir).glob("*.pid"))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("#!/bin/sh\necho \"qemu: There is no option group 'spice'\" >&2; exit 1\n", Absent),
        ("#!/bin/sh\necho \"qemu: 'qxl-vga' is not a valid device model name\" >&2; exit 1\n", Absent),
        ("#!/bin/sh\necho 'qemu: out of luck' >&2; exit 1\n", LabError),
    ],
)
def test_a_qemu_without_spice_is_absent_and_one_that_fails_an_error(bench: Bench, text: str, error: type) -> None:
    pretend(bench, text)
    with pytest.raises(error, match="qemu:"):
        linked(bench)


@dataclass(frozen=True, slots=True)
class WithoutModules:
    """A real lab in which none of QEMU's modules are installed."""

    lab: Lab

    @property
    def release(self) -> str:
        return self.lab.release

    @property
    def workdir(self) -> str:
        return self.lab.workdir

    @property
    def versions(self) -> dict[str, str]:
        return self.lab.versions

    @property
    def sandboxed(self) -> bool:
        return self.lab.sandboxed

    @property
    def schemas(self) -> str:
        return self.lab.schemas

    def fingerprint(self) -> str:
        return self.lab.fingerprint()

    def command(self, daemon: bool) -> list[str]:
        command = self.lab.command(daemon)
        at = command.index("python3")
        return [*command[:at], "--tmpfs", "/usr/lib/x86_64-linux-gnu/qemu", *command[at:]]


@pytest.mark.parametrize("release", ["debian-12", "debian-14"])
def test_a_real_qemu_without_its_spice_module_is_absent(abi: Callable[[str], Lab], release: str) -> None:
    with visiting(WithoutModules(abi(release))) as visit, pytest.raises(Absent, match="spice"):
        spice.link(visit)


def test_no_qemu_is_absent(bench: Bench) -> None:
    def other(request: dict[str, Any]) -> dict[str, Any]:
        return {**request, "program": "qemu-system-no-such"}

    with visiting(bench) as visit, pytest.raises(Absent):
        spice.link(Altered(visit, request=other))


@pytest.mark.parametrize(
    ("path", "value", "forward", "back"),
    [
        ("link/version/2.2", "link error VERSION_MISMATCH", Tier.BREAK, Tier.BREAK),
        ("link/version/2.2", "link ok, then silent", Tier.BREAK, Tier.BREAK),
        ("link/version/3.0", "link ok, auth ok", Tier.ADDITION, Tier.ADDITION),
        ("link/version/3.0", "closed", Tier.RISK, Tier.RISK),
        ("link/ticket/wrong", "link ok, auth ok", Tier.BREAK, Tier.BREAK),
        ("link/ticket/second-right", "link ok, auth error PERMISSION_DENIED", Tier.BREAK, Tier.BREAK),
        ("link/connection/wrong-id", "link ok, auth ok", Tier.BREAK, Tier.BREAK),
        ("link/malformed/size-17", "server died (SIGSEGV)", Tier.BREAK, Tier.BREAK),
        ("link/malformed/size-17", "link ok, auth ok", Tier.RISK, Tier.RISK),
        ("link/malformed/size-17", "closed", Tier.RISK, Tier.RISK),
        ("link/client/websocket", "link error INVALID_MAGIC", Tier.BREAK, Tier.ADDITION),
        ("link/channel/webdav", "closed", Tier.BREAK, Tier.ADDITION),
        ("link/server/minor", "3", Tier.RISK, Tier.RISK),
        ("link/channel/main/capability/SEAMLESS_MIGRATE", "", Tier.BREAK, Tier.ADDITION),
        ("link/channel/main/common/AUTH_SPICE", "", Tier.BREAK, Tier.ADDITION),
        ("link/client/usual/message/NAME", "", Tier.RISK, Tier.ADDITION),
        ("link/channel/main/capability/bit 9", "announced", Tier.ADDITION, Tier.ADDITION),
    ],
)
def test_an_altered_answer_has_its_tier(
    real: dict[str, Facts], path: str, value: str, forward: Tier, back: Tier
) -> None:
    old = real["link"]
    new = {**old, path: value} if value else {p: said for p, said in old.items() if p != path}
    assert tiers(old, new) == {path: forward}
    assert tiers(old, new, back=True) == {path: back}


def test_a_reply_of_a_real_server_that_is_altered_on_its_way_is_found(
    abi: Callable[[str], Lab], real: dict[str, Facts]
) -> None:
    def altered(request: Mapping[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
        for step, result in zip(request["steps"], reply["results"], strict=True):
            if step["name"] == "connection/main":
                result["reply"]["channel"] = [0b1]
                result["reply"]["minor"] = 1
        return reply

    with visiting(abi("debian-12")) as visit:
        facts = spice.link(Altered(visit, reply=altered))
    assert tiers(real["link"], facts) == {
        "link/channel/main/capability/SEAMLESS_MIGRATE": Tier.BREAK,
        "link/channel/main/capability/NAME_AND_UUID": Tier.BREAK,
        "link/channel/main/capability/AGENT_CONNECTED_TOKENS": Tier.BREAK,
        "link/server/minor": Tier.RISK,
    }


def test_what_cannot_be_read_is_not_here(real: dict[str, Facts]) -> None:
    missing: dict[str, Part] = {**real, "link": NotHere("no QEMU", "install it")}
    verdicts = {v.case: v for v in compare(spice.SURFACE, real, missing)}
    assert verdicts["(link)"].outcome is Outcome.NOT_HERE
    assert "link/version/2.2" not in verdicts


def test_the_server_that_was_started_ends_with_the_visit(bench: Bench) -> None:
    marker = Path(bench.workdir, "pid")
    pretend(bench, PRETENDER.format(python=sys.executable, answer=MISMATCH).replace(
        "server.listen(50)", f"server.listen(50); open({str(marker)!r}, 'w').write(str(os.getpid()))"
    ))  # fmt: skip
    linked(bench)
    assert not Path("/proc", marker.read_text()).exists()


def test_hello_is_what_the_wire_wants() -> None:
    said = bytes.fromhex(spicelink.hello(connection=7, channel=2, number=3, common=(11,), words=(1, 2)))
    assert said[:16] == b"REDQ" + bytes((2, 0, 0, 0, 2, 0, 0, 0, 30, 0, 0, 0))
    assert said[16:34] == bytes((7, 0, 0, 0, 2, 3, 1, 0, 0, 0, 2, 0, 0, 0, 18, 0, 0, 0))
    assert said[34:] == bytes((11, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0))
    assert json.dumps([*spicelink.open_steps(), *spicelink.ticket_steps()])
    names = [step["name"] for step in (*spicelink.open_steps(), *spicelink.ticket_steps())]
    assert len(names) == len(set(names))


def test_a_visit_of_the_bench_is_a_visit(bench: Bench) -> None:
    visit: Visit = LabVisit(bench)
    assert visit.release == "bench"
