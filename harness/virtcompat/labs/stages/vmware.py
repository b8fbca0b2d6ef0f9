"""A host with VMware Workstation and Player."""

from __future__ import annotations

from virtcompat.labs.stages import StandIn

STAGE = StandIn(
    name="vmware",
    summary="vmrun, vmware and vmplayer over .vmx files; a host with four processors",
    arguments=(
        # The first directory of the sandbox's path; nothing else below it is used by this driver.
        *("--tmpfs", "/usr/sbin"),
        *(word for name in ("vmrun", "vmware", "vmplayer") for word in (
            "--ro-bind", "{folder}/vmrun.py", f"/usr/sbin/{name}"
        )),
        *("--dir", "/var/lib/vmware/Virtual Machines"),
        *(word for name in ("online", "present", "possible") for word in (
            "--ro-bind", "{folder}/cpus", f"/sys/devices/system/cpu/{name}"
        )),
        *(word for cpu in range(4) for word in ("--dir", f"/sys/devices/system/cpu/cpu{cpu}")),
    ),
)  # fmt: skip
