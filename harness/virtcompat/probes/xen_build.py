"""The builder of a Xen host: a program that runs inside a release's lab, makes an image of it and boots it once.

It is fed to the lab's own Python (3.9 or newer, standard library and libvirt-python only) and speaks JSON lines: one
question a line on stdin, one answer a line on stdout, in the same order. Nothing imports it. It writes to ``out``:

``root.img``   ext4, the lab's own root as the boot left it
``xen``, ``vmlinuz``, ``initrd``   what QEMU loads; the initrd carries the modules and what makes the root a host
``state``      the running host, a migration stream of QEMU
``dom0.json``  ``argv``: the QEMU command line, with {disk} in place of the disk; ``seconds`` by stage

Questions (every one carries an ``id`` that the answer repeats):

``open``        out, image (the lab's root, once more, without what an image needs not) -> ``opened``
``image``       make root.img -> ``accepted``
``kernel``      make xen, vmlinuz and initrd -> ``accepted``
``boot``        start QEMU; wait until its libvirtd answers -> ``accepted``
``checkpoint``  write state and dom0.json, end QEMU -> ``accepted``

``failed`` carries a message: what the failed program, QEMU or the host's console said last.
"""

import glob
import gzip
import json
import lzma
import os
import shutil
import socket
import subprocess
import sys
import time

import libvirt

URI = "xen+tcp://127.0.0.1/system"
READY = "virt-compat: ready"
ENDED = "virt-compat: libvirtd ended"
BOOT_LIMIT = 900.0
# 1.2 GB for the host, the rest for the hypervisor and one small guest.
MEMORY = ("2048", "1200M")
# TCG emulates AMD's virtualization, not Intel's: without it there are only PV guests. On an AMD processor Xen hides a
# feature that nearly every model of libvirt's CPU map has, and libxl's driver does not start where no model fits: with
# vme, which TCG does not have either and nobody here uses, the model "pentium" does.
PROCESSOR = "Nehalem,vendor=AuthenticAMD,svm=on,npt=on,vme=on,x-force-features=on"
ARGV = [
    *("qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-cpu", PROCESSOR, "-m", MEMORY[0]),
    *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
    *("-kernel", "{dom0}/xen"),
    *("-append", "console=com1 com1=115200,8n1 dom0_mem=%s,max:%s noreboot no-real-mode" % (MEMORY[1], MEMORY[1])),
    *("-initrd", "{dom0}/vmlinuz console=hvc0 quiet,{dom0}/initrd"),
    *("-drive", "{disk},if=virtio,cache=unsafe"),
    *("-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:16509-10.0.2.15:16509"),
    *("-device", "virtio-net-pci,netdev=net,romfile="),
    *("-serial", "file:/tmp/console", "-qmp", "unix:/tmp/qmp,server=on,wait=off"),
]
MODULES = (
    "virtio_pci virtio_blk virtio_net crc32c_generic ext4 xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs "
    "xen-blkback xen-netback tun bridge loop"
).split()
# The first program: from the initial file system to the root of the image.
INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /mnt
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
while read module; do /bin/busybox insmod $module; done < /modules/order
n=0
until /bin/busybox mount -t ext4 /dev/vda /mnt; do
  n=$((n + 1)); [ $n = 60 ] && exec /bin/busybox sh
  /bin/busybox sleep 1
done
/bin/busybox cp -a /host/. /mnt/
for word in proc sys dev; do /bin/busybox mount --move /$word /mnt/$word; done
exec /bin/busybox switch_root /mnt /virt-compat/init
"""
# The host: what its packages' services would have started.
HOST = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
exec > /dev/console 2>&1 < /dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
[ -L /var/run ] || { rm -rf /var/run; ln -s /run /var/run; }
mkdir -p /run/xen /run/xenstored /run/lock /var/lib/xen /var/log/xen /var/log/libvirt /run/libvirt
mount -t xenfs xenfs /proc/xen
ip link set lo up
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
tools=$(ls -d /usr/lib/xen-4* | head -n 1)
export XENSTORED_ROOTDIR=/var/lib/xenstored
mkdir -p $XENSTORED_ROOTDIR
if [ -x $tools/bin/oxenstored ]; then $tools/bin/oxenstored --pid-file /run/xenstored.pid
else $tools/bin/xenstored --pid-file /run/xenstored.pid; fi
until xenstore-write /virt-compat 1; do sleep 1; done
xenstore-rm /virt-compat
[ -x $tools/bin/xen-init-dom0 ] && $tools/bin/xen-init-dom0
$tools/bin/xenconsoled --pid-file=/run/xenconsoled.pid
libvirtd --listen --config /virt-compat/libvirtd.conf < /dev/null &
daemon=$!
until virsh -q -c xen:///system uri > /dev/null 2>&1; do
  kill -0 $daemon || { echo ENDED; exec sleep 3600; }
  sleep 1
done
echo READY
while :; do sleep 3600; done
""".replace("READY", READY).replace("ENDED", ENDED)
# The guest that is really started: it says who it is, and does nothing.
GUEST = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t sysfs sys /sys
echo "virt-compat: the guest runs" > /dev/console
/bin/busybox cat /sys/hypervisor/type > /dev/console
while :; do /bin/busybox sleep 3600; done
"""
ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nlibvirt-qemu:x:64055:64055::/nonexistent:/bin/false\n",
    "group": "root:x:0:\nlibvirt:x:64056:\nlibvirt-qemu:x:64055:\nkvm:x:105:\ntty:x:5:\ndisk:x:6:\n",
    "machine-id": "5f1c0de0000040008000000000000001\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "hosts": "127.0.0.1 localhost xen\n",
    "hostname": "xen\n",
}
LIBVIRTD = """listen_tls = 0
listen_tcp = 1
tcp_port = "16509"
listen_addr = "0.0.0.0"
auth_tcp = "none"
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_group = "root"
host_uuid = "5f1c0de0-0000-4000-8000-000000000001"
"""

DISK_UUID = "5f1c0de0-0000-4000-8000-000000000002"
OUT = ""
IMAGE = ""
QEMU = None
SECONDS = {}


class Failed(Exception):
    pass


def run(*argv, **more):
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
    )
    if done.returncode:
        raise Failed("%s: %s" % (argv[0], (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-600:]))
    return done.stdout.decode("utf-8", "replace")


def only(what, *patterns):
    found = [path for pattern in patterns for path in sorted(glob.glob(pattern))]
    if not found:
        raise Failed("no %s in the lab (%s)" % (what, " ".join(patterns)))
    return found[-1]


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


def make_image():
    path = OUT + "/root.img"
    with open(path, "wb") as file:
        file.truncate(2 << 30)
    run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-U", DISK_UUID, "-d", IMAGE, path)


def modules(version):
    """The files of the wanted modules with what they need, each after what it needs."""
    needs = {}
    for line in run("depmod", "-n", version).splitlines():
        path, colon, others = line.partition(":")
        if colon and path.startswith("kernel/"):
            needs[path] = others.split()
    names = {os.path.basename(path).split(".ko")[0].replace("-", "_"): path for path in needs}
    ordered = []

    def add(path):
        for other in reversed(needs[path]):
            add(other)
        if path not in ordered:
            ordered.append(path)

    for name in MODULES:
        if name.replace("-", "_") in names:  # the others are built into this kernel
            add(names[name.replace("-", "_")])
    return ["/lib/modules/%s/%s" % (version, path) for path in ordered]


def pack(folder, target):
    names = "".join(
        os.path.relpath(os.path.join(place, name), folder) + "\n"
        for place, folders, files in os.walk(folder)
        for name in sorted(folders + files)
    )
    with open(target, "wb") as out:
        argv = ["busybox", "cpio", "-o", "-H", "newc"]
        done = subprocess.run(argv, cwd=folder, input=names.encode(), stdout=out, stderr=subprocess.PIPE)
    if done.returncode:
        raise Failed("cpio: " + done.stderr.decode("utf-8", "replace")[-300:])


def busybox(folder):
    os.makedirs(folder + "/bin")
    shutil.copy(shutil.which("busybox"), folder + "/bin/busybox")


def make_kernel():
    with gzip.open(only("hypervisor", "/boot/xen-4*.gz")) as packed, open(OUT + "/xen", "wb") as plain:
        shutil.copyfileobj(packed, plain)
    kernel = only("kernel", "/boot/vmlinuz-*", "/lib/modules/*/vmlinuz")
    shutil.copy(kernel, OUT + "/vmlinuz")
    tree = "/tmp/initrd"
    busybox(tree)
    write(tree + "/init", INIT, 0o755)
    order = []
    os.makedirs(tree + "/modules")
    # Newer packages keep the kernel beside its modules.
    version = kernel.partition("vmlinuz-")[2] or kernel.split("/")[-2]
    for path in modules(version):
        name = os.path.basename(path).split(".ko")[0] + ".ko"
        with (lzma.open if path.endswith(".xz") else open)(path, "rb") as packed:
            with open(tree + "/modules/" + name, "wb") as plain:
                shutil.copyfileobj(packed, plain)
        order.append("/modules/" + name)
    write(tree + "/modules/order", "".join(path + "\n" for path in order))
    write(tree + "/host/virt-compat/init", HOST, 0o755)
    write(tree + "/host/virt-compat/libvirtd.conf", LIBVIRTD)
    for name, text in ETC.items():
        write(tree + "/host/etc/" + name, text)
    busybox("/tmp/guest")
    write("/tmp/guest/init", GUEST, 0o755)
    pack("/tmp/guest", tree + "/host/virt-compat/guest.img")
    shutil.copy(kernel, tree + "/host/virt-compat/guest.kernel")
    pack(tree, OUT + "/initrd")


def console():
    try:
        with open("/tmp/console", "rb") as file:
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def tail():
    return " | ".join([line.strip() for line in console().splitlines() if line.strip()][-12:])


def boot():
    global QEMU
    argv = [word.replace("{dom0}", OUT).replace("{disk}", "file=%s/root.img,format=raw" % OUT) for word in ARGV]
    QEMU = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), stderr=sys.stderr.fileno())
    deadline = time.monotonic() + BOOT_LIMIT
    while READY not in console():
        if QEMU.poll() is not None:
            raise Failed("QEMU ended (exit status %s): %s" % (QEMU.returncode, tail()))
        if ENDED in console():
            raise Failed("its libvirtd ended: " + tail())
        if time.monotonic() > deadline:
            raise Failed("the host did not come up within %d s: %s" % (BOOT_LIMIT, tail()))
        time.sleep(0.2)
    try:
        libvirt.open(URI).close()
    except libvirt.libvirtError as error:
        raise Failed("%s: %s" % (URI, error)) from None


class Monitor:
    """QMP, as much of it as this needs."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect("/tmp/qmp")
        self.file = self.socket.makefile("rw")
        self.file.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            line = self.file.readline()
            if not line:
                raise Failed("QEMU ended: " + tail())
            reply = json.loads(line)
            if "error" in reply:
                raise Failed("%s: %s" % (command, reply["error"]["desc"]))
            if "return" in reply:
                return reply["return"]


def checkpoint():
    monitor = Monitor()
    monitor.ask("stop")
    monitor.ask("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
    monitor.ask("migrate", uri="exec:cat > %s/state" % OUT)
    while True:
        status = monitor.ask("query-migrate")
        if status.get("status") == "completed":
            break
        if status.get("status") in ("failed", "cancelled"):
            raise Failed("the checkpoint could not be written: %s" % status.get("error-desc", ""))
        time.sleep(0.1)
    monitor.ask("quit")
    QEMU.wait()
    shutil.copy("/tmp/console", OUT + "/console")


STAGES = {"image": make_image, "kernel": make_kernel, "boot": boot, "checkpoint": checkpoint}


def answer(question):
    global OUT, IMAGE
    if question["op"] == "open":
        OUT, IMAGE = question["out"], question["image"]
        return {"status": "opened"}
    start = time.monotonic()
    try:
        STAGES[question["op"]]()
    except (Failed, OSError, subprocess.SubprocessError) as error:
        return {"status": "failed", "message": str(error)}
    SECONDS[question["op"]] = round(time.monotonic() - start, 1)
    if question["op"] == "checkpoint":
        with open(OUT + "/dom0.json", "w", encoding="utf-8") as file:
            json.dump({"argv": ARGV, "seconds": SECONDS}, file, indent=1)
    return {"status": "accepted", "seconds": SECONDS[question["op"]]}


# Libraries print. Keep the original stdout for answers alone and send everything else to stderr.
ANSWERS = os.dup(1)
os.dup2(2, 1)


def main():
    libvirt.registerErrorHandler(lambda context, error: None, None)
    with os.fdopen(ANSWERS, "w", encoding="utf-8", closefd=False) as out:
        for line in sys.stdin:
            question = json.loads(line)
            out.write(json.dumps({**answer(question), "id": question["id"]}) + "\n")
            out.flush()
    os._exit(0)


main()
