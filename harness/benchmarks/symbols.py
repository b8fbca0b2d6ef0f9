"""Symbols and types of two libvirt builds, compared by us and by abidiff (abigail-tools), side by side.

    python harness/benchmarks/symbols.py [--runs 3]

1. The real libvirt.so.0 of debian-11 against debian-14, and of 13 against 14. No debugging information of them is to be
   had, so symbols are all that abidiff can compare there.
2. Types: a stub library for each release, made from its own headers and description with the version nodes of its
   libvirt.so.0 and compiled with -g, which abidiff can read whole; then the stub of debian-14 against itself with one
   change seeded into its headers, description and nodes.

Every time is the fastest of --runs. abidiff's is that of a process: start, both files, report. Ours is inside a running
tool, as a matrix has it: both files read from disk, both records made, compared; "from headers" includes the compiler on
both sides; "recorded before" starts from abidw's files there and from records here. We always compare whole records, types
of four libraries for abidiff's one.

Exit 1 where abidiff finds something public that we do not, where we report private symbols, or where we are not 10
times faster on the real libraries, or on both parts together once they are recorded.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click
from lxml import etree
from virtcompat.labs import open_lab
from virtcompat.labs.visit import visiting
from virtcompat.model import Finding, NotHere, Tier
from virtcompat.policy.records import compare
from virtcompat.store import releases
from virtcompat.surfaces import Record
from virtcompat.surfaces.recorded import c_api

T = TypeVar("T")
WANTED = 10
SATISFIED = f"nothing missed, no noise, {WANTED} times faster on the same files and on what was recorded before"
PRIVATE_NODE = "LIBVIRT_PRIVATE_STUB"
#: A line of abidiff about a removed or added symbol.
SYMBOL = re.compile(r"^\s*\[([AD])\] .*?(\w+)@@?([\w.]+)", re.MULTILINE)
DESCRIPTION = f"{c_api.DESCRIPTIONS}libvirt-api.xml"
FRESH = """import sys
from pathlib import Path
from virtcompat.policy.records import compare
from virtcompat.surfaces.recorded import c_api
old, new = ({"symbols": c_api.exported("libvirt", f, Path(f).read_bytes())} for f in sys.argv[1:])
print(sum(len(v.findings) for v in compare(c_api.SURFACE, old, new)))"""


@dataclass(frozen=True, slots=True)
class Build:
    """A libvirt as the comparison needs it: files by path, libraries by soname. A visit to itself."""

    release: str
    files: Mapping[str, bytes]
    libraries: Mapping[str, bytes]
    nodes: Mapping[str, str]  # of libvirt.so.0
    soname: str = "libvirt.so.0"
    workdir: str = ""

    @property
    def lab(self) -> Any:
        raise NotImplementedError

    def read(self, *patterns: str) -> dict[str, bytes]:
        return {path: data for path, data in self.files.items() if any(Path(path).match(p) for p in patterns)}

    def library(self, soname: str) -> tuple[str, bytes]:
        return soname, self.libraries[soname]

    def run(self, *argv: str, **_: Any) -> Any:
        raise NotImplementedError

    def ask(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def boot(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


def taken(release: str) -> Build:
    """What a release's lab has."""
    lab = open_lab(releases.find(f"{release}-abi"))
    if isinstance(lab, NotHere):
        raise SystemExit(f"{lab.reason}; {lab.remedy}")
    with visiting(lab) as visit:
        files = visit.read(f"{c_api.HEADERS}*.h", f"{c_api.DESCRIPTIONS}*.xml")
        libraries = {f"{name}.so.0": visit.library(f"{name}.so.0")[1] for name in c_api.LIBRARIES}
    facts = c_api.exported("libvirt", release, libraries["libvirt.so.0"])
    steps = [path.split("/") for path in facts if "/symbol/" in path]
    return Build(release, files, libraries, {name: node for _, _, name, node in steps})


def best(runs: int, work: Callable[[], T]) -> tuple[float, T]:
    """(seconds of the fastest of so many runs, what it gave)."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - started)
    return min(times), result


def stub(build: Build, folder: Path) -> Path:
    """The build's libvirt.so.0 without its code: every described function and variable, under its node, with -g."""
    folder.mkdir()
    for path, data in build.files.items():
        if path.startswith(c_api.HEADERS):
            (folder / Path(path).name).write_bytes(data)
    headers = ("libvirt.h", "virterror.h")
    lines = [f"#include <libvirt/{name}>" for name in headers]
    for element in etree.fromstring(build.files[DESCRIPTION]).iter("function", "variable"):
        name = element.get("name", "")
        if element.tag == "variable":
            lines.append(f"{element.get('type')} {name};")
            continue
        given = ", ".join(f"{a.get('type')} a{at}" for at, a in enumerate(element.findall("arg")))
        result = element.find("return")
        returned = result.get("type") if result is not None else "void"
        lines.append(f"{returned} {name}({given or 'void'}) {{ __builtin_trap(); }}")
    (folder / "stub.c").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "libvirt").symlink_to(".")
    nodes: dict[str, list[str]] = defaultdict(list, {PRIVATE_NODE: []})
    for name, node in build.nodes.items():
        nodes[node].append(name)
    lists = {node: f"global: {'; '.join(names)};" if names else "" for node, names in nodes.items()}
    script = "".join(f"{node} {{ {of} {'local: *;' * (node == PRIVATE_NODE)} }};\n" for node, of in lists.items())
    (folder / "stub.map").write_text(script, encoding="utf-8")
    link = f"-Wl,--version-script=stub.map,-soname,{build.soname},--undefined-version"
    command = ["gcc", "-g", "-w", "-shared", "-fPIC", "-nostdlib", "-I.", "-o", "libvirt.so.0", link, "stub.c"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "libvirt.so.0"


# Changes seeded into a build


def edited(build: Build, header: str, old: str, new: str) -> Build:
    """The build with this text, which is there once, replaced in one of its headers."""
    path = f"{c_api.HEADERS}{header}"
    assert build.files[path].decode().count(old) == 1, (header, old)
    return replace(build, files={**build.files, path: build.files[path].replace(old.encode(), new.encode())})


def described(build: Build, xpath: str, attribute: str, value: str) -> Build:
    """The build with an attribute of its description set, as libvirt's own generator would after such a change."""
    root = etree.fromstring(build.files[DESCRIPTION])
    found = root.xpath(xpath)
    assert isinstance(found, list)
    (element,) = found
    assert isinstance(element, etree._Element)
    element.set(attribute, value)
    return replace(build, files={**build.files, DESCRIPTION: etree.tostring(root)})


def renoded(build: Build, name: str, node: str | None) -> Build:
    """The build exporting a symbol under another node, or not at all."""
    nodes = {n: v for n, v in build.nodes.items() if n != name}
    return replace(build, nodes=nodes | ({name: node} if node else {}))


def enum_value(build: Build) -> Build:
    build = edited(build, "libvirt-domain.h", "VIR_DOMAIN_RUNNING = 1,", "VIR_DOMAIN_RUNNING = 12,")
    return described(build, "//enum[@name='VIR_DOMAIN_RUNNING']", "value", "12")


def signature(build: Build) -> Build:
    old, new = "virDomainCreateWithFlags (virDomainPtr domain,", "virDomainCreateWithFlags (virConnectPtr domain,"
    return described(
        edited(build, "libvirt-domain.h", old, new),
        "//function[@name='virDomainCreateWithFlags']/arg[1]", "type", "virConnectPtr",
    )  # fmt: skip


def callback(build: Build) -> Build:
    build = edited(build, "libvirt-common.h", "(*virFreeCallback)(void *opaque)", "(*virFreeCallback)(long opaque)")
    return described(build, "//functype[@name='virFreeCallback']/arg[1]", "type", "long")


FIELD = "unsigned short nrVirtCpu;"
INFO = "libvirt-domain.h"
#: What is done to a build -> how, and the least tier it must have for us (None: it must raise nothing).
SEEDS: dict[str, tuple[Callable[[Build], Build], Tier | None]] = {
    "nothing": (lambda b: b, None),
    "respelled: same type, same value": (
        lambda b: edited(edited(b, INFO, FIELD, "__UINT16_TYPE__ nrVirtCpu;"), "libvirt-host.h", "(16)", "0x10"), None,
    ),
    "symbol removed": (lambda b: renoded(b, "virDomainCreate", None), Tier.BREAK),
    "symbol under another node": (lambda b: renoded(b, "virDomainCreate", "LIBVIRT_99.0.0"), Tier.BREAK),
    "symbol made private": (lambda b: renoded(b, "virDomainCreate", PRIVATE_NODE), Tier.BREAK),
    "another soname": (lambda b: replace(b, soname="libvirt.so.1"), Tier.BREAK),
    "signature changed": (signature, Tier.BREAK),
    "callback's signature changed": (callback, Tier.BREAK),
    "enum value changed": (enum_value, Tier.BREAK),
    "enum value changed, in the header only": (
        lambda b: edited(b, INFO, "VIR_DOMAIN_RUNNING = 1,", "VIR_DOMAIN_RUNNING = 12,"), Tier.BREAK,
    ),
    "field inserted": (lambda b: edited(b, INFO, FIELD, f"int inserted[4]; {FIELD}"), Tier.BREAK),
    "field inserted into padding": (lambda b: edited(b, INFO, FIELD, f"{FIELD} short inserted;"), Tier.RISK),
    "size of a field's array changed": (
        lambda b: edited(b, "libvirt-common.h", "VIR_TYPED_PARAM_FIELD_LENGTH 80", "VIR_TYPED_PARAM_FIELD_LENGTH 96"),
        Tier.BREAK,
    ),
    "value of a macro changed": (lambda b: edited(b, "libvirt-host.h", "(16)", "(32)"), Tier.BREAK),
}  # fmt: skip


# The two sides


def abidiff(*arguments: str | Path) -> tuple[int, str]:
    """Exit status (4: a change, 8: surely an incompatible one) and report."""
    done = subprocess.run(["abidiff", *arguments], capture_output=True, text=True, check=False)
    if done.returncode & 3:
        raise SystemExit(f"abidiff failed: {done.stderr or done.stdout}")
    return done.returncode, done.stdout


def theirs(report: str) -> tuple[set[tuple[str, str, str]], int]:
    """(removed and added public symbols with their nodes, lines about private ones)."""
    found = {("removed" if s == "D" else "added", name, node) for s, name, node in SYMBOL.findall(report)}
    private = sum(c_api.PRIVATE in line for line in report.splitlines())
    return {f for f in found if c_api.PRIVATE not in f[2]}, private


def exports(*files: Path) -> list[Record]:
    return [{"symbols": c_api.exported("libvirt", file.name, file.read_bytes())} for file in files]


def whole(build: Build) -> Record:
    return {part: reader(build) for part, reader in c_api.SURFACE.parts.items()}


def findings(old: Record, new: Record) -> list[Finding]:
    return [f for verdict in compare(c_api.SURFACE, old, new) for f in verdict.findings]


def ours(found: list[Finding]) -> set[tuple[str, str, str]]:
    """Our findings on symbols as ``theirs`` gives them: a whole new symbol's value names its nodes."""
    steps = [(f, f.path.split("/")) for f in found if "/symbol/" in f.path]
    return {
        (str(f.change), path[2], node)
        for f, path in steps
        for node in (path[3:] or [word.partition("=")[0] for word in (f.old or f.new).split() if "=" in word])
    }


def times(slow: float, fast: float) -> str:
    return f"{slow / fast:.0f} times faster" if slow > fast else f"{fast / slow:.1f} times slower"


def real(old: Build, new: Build, folder: Path, runs: int) -> tuple[list[str], float, float]:
    """Part 1 for one pair: what went wrong, abidiff's seconds for the files and for what abidw made of them."""
    files = [folder / f"{build.release}.so" for build in (old, new)]
    for file, build in zip(files, (old, new), strict=True):
        file.write_bytes(build.libraries["libvirt.so.0"])
    dumps = [file.with_suffix(".abi") for file in files]
    for file, dump in zip(files, dumps, strict=True):
        subprocess.run(["abidw", "--out-file", dump, file], check=True)
    suppression = folder / "private.abignore"
    suppression.write_text("[suppress_function]\nsymbol_version_regexp = LIBVIRT_PRIVATE_.*\n", encoding="utf-8")
    slow, (_, report) = best(runs, lambda: abidiff(*files))
    slow_quiet, _ = best(runs, lambda: abidiff("--suppressions", suppression, *files))
    slow_dumps, _ = best(runs, lambda: abidiff(*dumps))
    fast, found = best(runs, lambda: findings(*exports(*files)))
    records = exports(*files)
    fast_records, _ = best(runs, lambda: findings(*records))
    fresh, _ = best(
        runs, lambda: subprocess.run([sys.executable, "-c", FRESH, *files], check=True, capture_output=True)
    )
    said, private = theirs(report)
    say = click.echo
    say(f"\nlibvirt.so.0 of {old.release} against {new.release}: symbols")
    say(f"  public findings: abidiff {len(said)}, we {len(ours(found))}, both {len(said & ours(found))}")
    say(f"  lines on private symbols: abidiff {private} of {len(report.splitlines())}, we 0")
    say(f"  two files read and compared: abidiff {slow:.2f} s, we {fast:.3f} s: {times(slow, fast)}")
    say(f"    abidiff told to suppress private symbols: {slow_quiet:.2f} s: {times(slow_quiet, fast)}")
    say(f"    we in a Python started for it: {fresh:.2f} s: {times(slow, fresh)}")
    say(
        f"  recorded before: abidiff (abidw's files) {slow_dumps:.2f} s, we {fast_records:.4f} s: {times(slow_dumps, fast_records)}"
    )
    wrong = [f"{old.release}/{new.release}: only abidiff found {missed}" for missed in sorted(said - ours(found))]
    if any(c_api.PRIVATE in f.path for f in found):
        wrong.append(f"{old.release}/{new.release}: we report private symbols")
    if min(slow, slow_quiet) < WANTED * fast or slow_dumps < WANTED * fast_records:
        wrong.append(f"{old.release}/{new.release}: not {WANTED} times faster")
    return wrong, min(slow, slow_quiet), slow_dumps


def stubbed(build: Build, folder: Path) -> tuple[Build, Path]:
    """The build with its stub for a library."""
    library = stub(build, folder)
    return replace(build, libraries={**build.libraries, "libvirt.so.0": library.read_bytes()}), library


def types(old: Build, new: Build, folder: Path, runs: int, slow_real: float, slow_dumps: float) -> list[str]:
    """Part 2, release against release, and both parts together; what went wrong."""
    (one, before), (two, after) = stubbed(old, folder / "old"), stubbed(new, folder / "new")

    def made() -> tuple[int, str]:
        for build, name in ((old, "made.old"), (new, "made.new")):
            shutil.rmtree(folder / name, ignore_errors=True)
            stub(build, folder / name)
        return abidiff(folder / "made.old" / "libvirt.so.0", folder / "made.new" / "libvirt.so.0")

    slow, (_, report) = best(runs, lambda: abidiff(before, after))
    slow_made, _ = best(runs, made)
    found = ours(findings(whole(one), whole(two)))
    fast, everything = best(runs, lambda: findings(whole(old), whole(new)))
    records = whole(old), whole(new)
    fast_records, _ = best(runs, lambda: findings(*records))
    said, _ = theirs(report)
    changed = len(re.findall(r"^\s*\[C\]", report, re.MULTILINE))
    say = click.echo
    say(f"\nstubs of {old.release} against {new.release}: symbols and types")
    say(f"  symbols: abidiff {len(said)}, we {len(found)} in four libraries, both {len(said & found)}")
    say(f"  changed functions and types: abidiff {changed}, we {sum(f.tier >= Tier.RISK for f in everything)}")
    say(f"  additions: we {len(everything)} symbols, functions, callbacks, values and macros")
    say(
        f"  from headers: abidiff {slow_made:.2f} s (makes and compares the stubs), we {fast:.2f} s (all three parts of four"
    )
    say(
        f"    libraries): {times(slow_made, fast)}; from stubs against from records: {slow:.3f} s, {fast_records:.3f} s:"
    )
    say(f"    {times(slow, fast_records)}")
    say(f"{old.release} against {new.release}, symbols and types together (abidiff: libraries, then stubs)")
    say(f"  from files: abidiff {slow_real + slow_made:.2f} s, we {fast:.2f} s: {times(slow_real + slow_made, fast)}")
    together = slow_dumps + slow
    say(f"  recorded before: abidiff {together:.2f} s, we {fast_records:.3f} s: {times(together, fast_records)}")
    wrong = [f"stubs: only abidiff found {missed}" for missed in sorted(said - found)]
    return wrong + [f"together: not {WANTED} times faster"] * (together < WANTED * fast_records)


def seeded(base: Build, folder: Path) -> list[str]:
    """Part 2, seeded changes; what went wrong."""
    base, unchanged = stubbed(base, folder / "seed")
    before = whole(base)
    click.echo(f"\n{base.release} against itself with one change\n  {'change':42} {'abidiff':16} we")
    wrong = []
    for number, (name, (change, wanted)) in enumerate(SEEDS.items()):
        new, library = stubbed(change(base), folder / f"seed{number}")
        status, _ = abidiff(unchanged, library)
        said = "incompatible" if status & 8 else "change" if status & 4 else "nothing"
        tier = max((f.tier for f in findings(before, whole(new))), default=None)
        click.echo(f"  {name:42} {said:16} {tier.label if tier is not None else 'nothing'}")
        if (tier or Tier.IDENTICAL) < (wanted or Tier.IDENTICAL) or (wanted is None and tier is not None):
            wrong.append(f"{name}: we say {tier}")
        elif said != "nothing" and tier is None:
            wrong.append(f"{name}: only abidiff finds it")
    return wrong


@click.command()
@click.option("--runs", default=3, help="The fastest of so many runs counts, for both sides.")
def main(runs: int) -> None:
    """Print both sides' findings, times and ratios; exit 1 where we find less, say more or are not 10 times faster."""
    if missing := [tool for tool in ("abidiff", "abidw", "gcc") if not shutil.which(tool)]:
        click.echo(f"{', '.join(missing)}: not on this machine\n  remedy: apt-get install abigail-tools gcc libc6-dev")
        sys.exit(4)
    builds = {release: taken(release) for release in ("debian-11", "debian-13", "debian-14")}
    with tempfile.TemporaryDirectory(prefix="virt-compat-") as name:
        folder = Path(name)
        wrong, *_ = real(builds["debian-13"], builds["debian-14"], folder, runs)
        more, *slow = real(builds["debian-11"], builds["debian-14"], folder, runs)
        wrong += more + types(builds["debian-11"], builds["debian-14"], folder, runs, *slow)
        wrong += seeded(builds["debian-14"], folder)
    click.echo("\n" + ("\n".join(f"FAILED {line}" for line in wrong) or SATISFIED))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
