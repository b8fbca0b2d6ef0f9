"""Bubblewrap: an existing root entered read-only, without network, in its own namespaces, as an unprivileged user."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

from virtcompat.labs import BOOTSTRAP
from virtcompat.store import paths

WORKDIR = "/run/virt-compat"
#: Directories that a sandbox gets empty or its own.
OWN = frozenset(("etc", "proc", "dev", "run", "tmp", "var", "home", "root", "sys", "lost+found"))
#: A root of extracted packages has no users; libvirt looks some of them up by name.
ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nprobe:x:1000:1000::/home:/bin/sh\n"
    "libvirt-qemu:x:64055:64055::/nonexistent:/bin/false\n",
    "group": "root:x:0:\nprobe:x:1000:\nlibvirt:x:64056:\nlibvirt-qemu:x:64055:\nkvm:x:105:\ntty:x:5:\ndisk:x:6:\n",
    "machine-id": "5f1c0de0000040008000000000000001\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "hosts": "127.0.0.1 localhost\n",
    "hostname": "virt-compat\n",
}


def available() -> bool:
    return shutil.which("bwrap") is not None


def works() -> bool:
    """Whether a sandbox starts here at all (user namespaces may be forbidden)."""
    probe = ["bwrap", "--ro-bind", "/", "/", "--unshare-user", "--unshare-net", "--unshare-pid", "true"]
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0


def _overlay() -> Path:
    folder = paths.cache_dir() / "etc"
    folder.mkdir(exist_ok=True)
    for name, text in ETC.items():
        file = folder / name
        if not file.exists() or file.read_text() != text:
            aside = folder / f".{name}.{os.getpid()}.{threading.get_ident()}"
            aside.write_text(text)
            aside.replace(file)
    return folder


def _child_by_child(root: Path, inside: str, skip: frozenset[str] | dict[str, str]) -> list[str]:
    """Bind a directory's children one by one: a read-only bind of the whole takes no new mount points."""
    arguments: list[str] = []
    for child in sorted(root.iterdir()):
        if child.name in skip:
            continue
        target = f"{inside.rstrip('/')}/{child.name}"
        if child.is_symlink():
            arguments += ["--symlink", str(child.readlink()), target]
        elif os.access(child, os.R_OK):
            arguments += ["--ro-bind", str(child), target]
    return arguments


def command(root: Path, daemon: bool, cache: Path | None, shown: tuple[str, ...] = ()) -> list[str]:
    """The argv that runs what follows it inside ``root``.

    daemon: user 0 with all capabilities *inside* its own user namespace, as a system libvirtd wants it.
    cache: a directory of the user's that keeps what libvirt learnt about QEMU between starts.
    shown: host directories that stay visible read-only (a build tree).
    """
    uid = "0" if daemon else "1000"
    # A root of packages or a root of one's own; the host's own root has /usr/sbin and friends all the same.
    argv = ["bwrap", "--die-with-parent", "--unshare-user", "--uid", uid, "--gid", uid]
    argv += ["--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", "virt-compat"]
    argv += _child_by_child(root, "/", OWN)
    argv += ["--tmpfs", "/etc", *_child_by_child(root / "etc", "/etc", {**ETC, "libvirt": ""})]
    for name in ETC:
        argv += ["--ro-bind", str(_overlay() / name), f"/etc/{name}"]
    for empty in ("/run", "/tmp", "/var", "/home", "/etc/libvirt"):  # noqa: S108 - inside the sandbox
        argv += ["--tmpfs", empty]
    argv += ["--symlink", "/run", "/var/run", "--dir", "/var/tmp", "--dir", "/var/log"]  # noqa: S108 - inside too
    argv += ["--dir", "/var/lib/libvirt/images", "--dir", WORKDIR]
    # The kernel's settings are the machine's, and the sandbox's user is its root where that is who runs this.
    argv += ["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys", "--dev", "/dev"]
    if daemon:
        argv += ["--cap-add", "ALL", "--ro-bind", "/sys", "/sys"]
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        argv += ["--bind", str(cache), "/var/cache/libvirt" if daemon else f"{WORKDIR}/cache"]
    for directory in shown:
        argv += ["--ro-bind", directory, directory]
    argv += ["--chdir", "/", "--clearenv"]
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/home", "XDG_RUNTIME_DIR": "/run", "LC_ALL": "C.UTF-8",
        "XDG_CONFIG_HOME": "/home/config", "XDG_CACHE_HOME": "/home/cache", "PYTHONDONTWRITEBYTECODE": "1",
        # Nothing spawns a session daemon to ask it about networks or secrets, and waits seconds for it.
        "LIBVIRT_AUTOSTART": "0",
        # Freed and fresh memory is filled with a pattern: what reads it then does the same wrong thing each time.
        "MALLOC_PERTURB_": "165",
        "GLIBC_TUNABLES": "glibc.malloc.perturb=165",
    }  # fmt: skip
    for name, value in environment.items():
        argv += ["--setenv", name, value]
    return argv


def python(prefix: list[str], interpreter: str = "python3") -> list[str]:
    """A command that starts the probe's bootstrap behind a prefix."""
    return [*prefix, interpreter, "-u", "-c", BOOTSTRAP]
