"""Layering: real modules beside one compiled for the test, source trees small enough to read."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from virtcompat import layers
from virtcompat.errors import Absent, BadData, UsageError
from virtcompat.labs import Lab
from virtcompat.labs.visit import Visit, visiting
from virtcompat.model import Finding, Tier
from virtcompat.policy.records import compare
from virtcompat.surfaces import Part
from virtcompat.surfaces.recorded.layering import SURFACE, modules

Record = Mapping[str, Part]
ZFS = "storage-backend/libvirt_storage_backend_zfs.so"
TREE = {
    "src/libvirt.c": '#include "qemu/qemu_driver.h"\n',
    "src/driver.h": "\n",
    "src/meson.build": "src_dep = declare_dependency()\ndaemon = [ remote_daemon_sources ]\n",
    "src/util/virfile.h": "\n",
    "src/conf/network_conf.h": "\n",
    "src/conf/meson.build": "conf_inc_dir = include_directories('.')\n",
    "src/cpu/cpu.h": "\n",
    "src/remote/remote_driver.c": '#include "remote_protocol.h"\n',
    "src/remote/remote_protocol.x": "\n",
    "src/remote/meson.build": "remote_daemon_sources = files('remote_daemon.c')\n",
    "src/network/bridge_driver.h": "\n",
    "src/network/bridge_driver.c": '#include "bridge_driver.h"\n#include "network_conf.h"\n#include "driver.h"\n',
    "src/network/meson.build": "infile = 'a'\nnetwork_inc_dir = include_directories('.')\n",
    "src/qemu/qemu_driver.h": '#include "virfile.h"\n',
    "src/qemu/qemu_driver.c": '#include <config.h>\n#include "qemu_driver.h"\n# include "cpu/cpu.h"\n#include "configmake.h"\n',
    "src/qemu/meson.build": "infile = 'b'\nlib = static_library('qemu',\n  include_directories: [ conf_inc_dir ])\n",
}
FLAGS = "libvirt_driver_qemu_impl_la_CFLAGS = \\\n\t-I$(srcdir)/conf \\\n\t-I$(srcdir)/network\n"
LIBRARIES = (
    "libvirt_la_LIBADD += libvirt_driver_network.la\nlibvirt_driver_qemu_la_LIBADD = libvirt_driver_network_impl.la\n"
)
SOURCES = "QEMU_DRIVER_SOURCES = \\\n\tqemu/qemu_driver.c \\\n\tnetwork/bridge_driver.c\n"


@dataclass
class Altered:
    """A visit with files put in place of real ones, or taken away (None), by the end of their path."""

    visit: Visit
    files: Mapping[str, bytes | None] = field(default_factory=dict)

    @property
    def release(self) -> str:
        return self.visit.release

    def read(self, *patterns: str) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for path, data in self.visit.read(*patterns).items():
            other = next((d for end, d in self.files.items() if path.endswith(end)), data)
            if other is not None:
                found[path] = other
        return found

    def library(self, soname: str) -> tuple[str, bytes]:
        return self.visit.library(soname)


def record(abi: Callable[[str], Lab], release: str = "debian-13", **files: bytes | None) -> Record:
    with visiting(abi(release)) as visit:
        return {"modules": modules(Altered(visit, files))}  # type: ignore[arg-type]


def findings(old: Record, new: Record) -> dict[str, Finding]:
    return {f.path: f for verdict in compare(SURFACE, old, new) for f in verdict.findings}


def compiled(folder: Path, source: str, *flags: str) -> bytes:
    """A shared library of this source."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: install gcc")
    (folder / "module.c").write_text(source)
    command = [
        compiler,
        "-shared",
        "-fPIC",
        "-nostdlib",
        *flags,
        "-o",
        str(folder / "module.so"),
        str(folder / "module.c"),
    ]
    subprocess.run(command, check=True)
    return (folder / "module.so").read_bytes()


@pytest.mark.parametrize("release", ["debian-11", "debian-12", "debian-13", "debian-14"])
def test_no_drivers_module_needs_another(abi: Callable[[str], Lab], release: str) -> None:
    facts = record(abi, release)["modules"]
    assert isinstance(facts, dict)
    assert facts["connection-driver/qemu"] == "libvirt_driver_qemu.so"
    assert facts["connection-driver/qemu/library/libvirt.so.0"] == "needed"
    needs = [path for path in facts if "/needs/" in path]
    assert needs
    assert all(p.startswith("storage-backend/") and p.endswith("/[connection-driver/storage]") for p in needs)
    assert "virStorageBackendRegister" in facts["storage-backend/fs/needs/[connection-driver/storage]"]
    assert not [path for path in facts if path.endswith("/unresolved")]


def test_a_module_that_newly_needs_a_driver_is_a_risk(abi: Callable[[str], Lab], tmp_path: Path) -> None:
    source = "extern int qemuMonitorOpen(void), virStorageBackendRegister(void), virGetLastErrorCode(void);"
    source += "extern int virNobodyHasThis(void), getpid(void); int virStorageBackendZFSRegister(void)"
    source += "{ return qemuMonitorOpen() + virStorageBackendRegister() + virGetLastErrorCode() + getpid(); }"
    source += "int other(void) { return virNobodyHasThis(); }"
    real = record(abi)
    other = record(abi, **{ZFS: compiled(tmp_path, source)})
    found = findings(real, other)
    assert found["storage-backend/zfs/needs/[connection-driver/qemu]"].tier is Tier.RISK
    assert found["storage-backend/zfs/needs/[connection-driver/qemu]"].new == "symbols: qemuMonitorOpen"
    assert found["storage-backend/zfs/unresolved"].new == "virNobodyHasThis"
    assert found["storage-backend/zfs/needs/[connection-driver/storage]"].tier is Tier.ADDITION  # other symbols of it
    back = findings(other, real)
    assert {f.tier for f in back.values()} == {Tier.ADDITION}
    assert {p for p in found if not p.startswith("storage-backend/zfs")} == set()


def test_a_module_that_is_linked_with_another_needs_it(abi: Callable[[str], Lab], tmp_path: Path) -> None:
    named = compiled(tmp_path, "int unique(void) { return 0; }", "-Wl,-soname,libvirt_driver_vbox.so")
    (tmp_path / "libvirt_driver_vbox.so").write_bytes(named)
    linked = compiled(
        tmp_path, "int own(void) { return 0; }", "-Wl,--no-as-needed", str(tmp_path / "libvirt_driver_vbox.so")
    )
    found = findings(record(abi), record(abi, **{ZFS: linked, "libvirt_driver_vbox.so": named}))
    assert found["storage-backend/zfs/needs/[connection-driver/vbox]"].new == "linked"


def test_a_missing_module_is_a_risk_and_a_new_one_is_not(abi: Callable[[str], Lab]) -> None:
    without = record(abi, **{ZFS: None})
    assert findings(record(abi), without)["storage-backend/zfs"].tier is Tier.RISK
    assert findings(without, record(abi))["storage-backend/zfs"].tier is Tier.ADDITION


def test_damaged_and_absent_modules_are_said(abi: Callable[[str], Lab]) -> None:
    with visiting(abi("debian-13")) as visit:
        whole = next(data for path, data in visit.read(f"/usr/lib/*/libvirt/{ZFS}").items())
    for cut in (0, 300, len(whole) - 100):
        with pytest.raises(BadData):
            record(abi, **{ZFS: whole[:cut]})
    with pytest.raises(Absent, match="libvirt-daemon"):
        record(abi, **{".so": None})


def tree(folder: Path, **more: str) -> Path:
    for name, text in {**TREE, **more}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_a_tree_that_keeps_the_rule(tmp_path: Path) -> None:
    found = layers.analyse(tree(tmp_path))
    assert found.drivers == ("cpu", "network", "qemu", "remote")
    assert [str(use) for use in found.uses] == [
        "src/libvirt.c:1: . includes qemu/qemu_driver.h of qemu",
        "src/meson.build:2: . builds with remote_daemon_sources of remote",
        "src/qemu/qemu_driver.c:3: qemu includes cpu/cpu.h of cpu",
    ]
    assert found.violations == ()
    assert "no module" in found.allowed[found.uses[2]]
    assert found.users == (".", "cpu", "network", "qemu", "remote")
    assert len(found.cell("qemu", "cpu")) == 1
    assert found.unknown == ()


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("src/qemu/qemu_conf.c", '\n#include "network/bridge_driver.h"\n', ":2: qemu includes network/bridge_driver.h of network"),
        ("src/qemu/qemu_conf.c", '#include "bridge_driver.h"\n', ":1: qemu includes bridge_driver.h of network"),
        ("src/qemu/qemu_conf.c", '#include "../network/x.h"\n', ":1: qemu includes ../network/x.h of network"),
        ("src/network/n.h.in", '#include "remote_protocol.h"\n', ":1: network includes remote_protocol.h of remote"),
        ("src/conf/a.c", '#include "qemu_driver.h"\n', ":1: conf includes qemu_driver.h of qemu"),
        ("src/qemu/meson.build", "# network_inc_dir\n\nx = [ network_inc_dir ]\n", ":3: qemu builds with network_inc_dir of network"),
        ("src/qemu/meson.build", "include_directories('..' / 'network')", ":1: qemu builds with ../network of network"),
        ("src/qemu/Makefile.inc.am", FLAGS, ":3: qemu builds with -I network of network"),
        ("src/Makefile.am", LIBRARIES, ":2: qemu builds with libvirt_driver_network.la of network"),
        ("src/Makefile.am", SOURCES, ":3: qemu builds with network/bridge_driver.c of network"),
    ],
)  # fmt: skip
def test_what_the_rule_forbids(tmp_path: Path, file: str, text: str, said: str) -> None:
    assert [str(use) for use in layers.analyse(tree(tmp_path, **{file: text})).violations] == [file + said]


def test_an_unclassified_directory_is_named(tmp_path: Path) -> None:
    found = layers.analyse(tree(tmp_path, **{"src/novel/novel_driver.c": '#include "qemu/qemu_driver.h"\n'}))
    assert found.unknown == ("novel",)
    assert [use.user for use in found.violations] == ["novel"]


def test_a_tree_of_the_days_without_directories() -> None:
    texts = {
        "src/libvirt.c": '#include "qemu_driver.h"\n',
        "src/qemu_driver.c": '#include "qemu_driver.h"\n#include "domain_conf.h"\n#include "storage_backend.h"\n',
        "src/qemu_driver.h": "",
        "src/domain_conf.h": "",
        "src/storage_backend.h": "",
    }
    found = layers.layers("libvirt-0.6", texts, layers.load())
    assert [str(use) for use in found.violations] == ["src/qemu_driver.c:3: qemu includes storage_backend.h of storage"]


def test_a_tarball_and_its_dsc_say_the_same_as_the_directory(tmp_path: Path) -> None:
    folder = tree(tmp_path / "libvirt-1.0", **{"src/qemu/a.c": '#include "bridge_driver.h"\n'})
    tarball = tmp_path / "libvirt_1.0.orig.tar.xz"
    with tarfile.open(tarball, "w:xz") as tar:
        tar.add(folder, "libvirt-1.0")
    dsc = tmp_path / "libvirt_1.0-1.dsc"
    dsc.write_text(f"Source: libvirt\nFiles:\n {'0' * 32} 1234 {tarball.name}\n")
    uses = layers.analyse(folder).uses
    assert len(uses) == 4
    assert layers.analyse(tarball).uses == layers.analyse(dsc).uses == uses


def test_what_is_no_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such directory"):
        layers.analyse(tmp_path / "nowhere")
    with pytest.raises(BadData, match="not a libvirt source tree") as refused:
        layers.analyse(tmp_path)
    assert "src/libvirt.c" in refused.value.remedy
    (tmp_path / "src").mkdir()
    (tmp_path / "src/libvirt.c").touch()
    with pytest.raises(BadData, match="no driver's sources"):
        layers.analyse(tmp_path)
    (tmp_path / "a.txt").touch()
    with pytest.raises(UsageError, match="neither a directory nor a tarball"):
        layers.analyse(tmp_path / "a.txt")
    (tmp_path / "a.dsc").write_text(f"Files:\n {'0' * 32} 1 a.orig.tar.xz\n")
    with pytest.raises(UsageError, match="does not lie beside"):
        layers.analyse(tmp_path / "a.dsc")


def test_a_cut_tarball_is_bad_data(tmp_path: Path) -> None:
    tarball = tmp_path / "libvirt.tar.gz"
    with tarfile.open(tarball, "w:gz") as tar:
        tar.add(tree(tmp_path / "libvirt"), "libvirt")
    tarball.write_bytes(tarball.read_bytes()[:-200])
    with pytest.raises(BadData, match="not a whole tarball"):
        layers.analyse(tarball)
    tarball.write_bytes(b"")
    with pytest.raises(BadData, match="not a whole tarball"):
        layers.analyse(tarball)


def test_every_directory_has_one_place_in_the_rules(tmp_path: Path) -> None:
    rules = layers.load()
    assert not rules.drivers & rules.shared.keys()
    assert not set(rules.hypervisor) & set(rules.secondary)
    assert {*rules.flat, *rules.modules.values()} <= rules.drivers
    assert all(allowance.reason for allowance in rules.allowances)
    (tmp_path / "rules.toml").write_text('hypervisor = ["qemu"]\nsecondary = []\nshared = { qemu = "x" }\n')
    with pytest.raises(BadData, match="a driver and shared"):
        layers.load(tmp_path / "rules.toml")
    (tmp_path / "rules.toml").write_text(
        'hypervisor = ["qemu"]\nsecondary = []\nshared = {}\nexceptions = [{ from = ["*"] }]\n'
    )
    with pytest.raises(BadData, match="'to' is missing"):
        layers.load(tmp_path / "rules.toml")


def test_the_command_shows_the_table_and_fails_where_the_rule_is_violated(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from virtcompat.cli import main; main()", "layering"]
    good, bad = (
        tree(tmp_path / "good"),
        tree(tmp_path / "bad", **{"src/lxc/lxc_conf.c": '#include "qemu/qemu_conf.h"\n'}),
    )
    said = [subprocess.run([*command, str(t)], capture_output=True, text=True, check=False) for t in (good, bad)]
    assert [done.returncode for done in said] == [0, 1]
    assert "no violation" in said[0].stdout
    assert "violation: src/lxc/lxc_conf.c:1: lxc includes qemu/qemu_conf.h of qemu" in said[1].stdout
    nothing = subprocess.run(command, capture_output=True, text=True, check=False)
    assert nothing.returncode == 2
