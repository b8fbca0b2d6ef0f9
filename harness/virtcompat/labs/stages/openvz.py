"""A host with OpenVZ: its control directory in /proc, its programs, its configuration."""

from __future__ import annotations

from virtcompat.labs.stages import StandIn

#: What libvirt, glibc and Python read in /proc. Nothing can be added to a real one, so it is put together anew.
PROC = "self thread-self cpuinfo meminfo stat mounts net sys filesystems uptime version".split()

STAGE = StandIn(
    name="openvz",
    summary="vzctl and vzlist over configuration files; a host with four processors",
    arguments=(
        *("--proc", "/realproc", "--tmpfs", "/proc", "--dir", "/proc/vz"),
        *(word for name in PROC for word in ("--symlink", f"/realproc/{name}", f"/proc/{name}")),
        # libvirt calls these two by their paths; nothing else below /usr/sbin is used by this driver.
        *("--tmpfs", "/usr/sbin"),
        *(word for name in ("vzctl", "vzlist") for word in ("--ro-bind", "{folder}/vz.py", f"/usr/sbin/{name}")),
        *("--dir", "/etc/vz/conf", "--ro-bind", "{folder}/vz.conf", "/etc/vz/vz.conf"),
        *("--ro-bind", "{folder}/ve-basic.conf-sample", "/etc/vz/conf/ve-basic.conf-sample"),
        # The driver cuts a container's processors down to the host's: a host that is the same everywhere.
        *(word for name in ("online", "present", "possible") for word in (
            "--ro-bind", "{folder}/cpus", f"/sys/devices/system/cpu/{name}"
        )),
        *(word for cpu in range(4) for word in ("--dir", f"/sys/devices/system/cpu/cpu{cpu}")),
    ),
)  # fmt: skip
