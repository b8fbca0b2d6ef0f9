"""What the guest program saw, as facts of the guest ABI: the dump of guest/guest.elf turned into {path: value}.

Paths, all below one name of hardware; a step that has slashes of its own stands in brackets::

    cpuid/vendor cpuid/model-name cpuid/signature cpuid/hypervisor cpuid/highest[0x80000000]
    cpuid/0x1/edx = fpu vme de …        words whose bits have names, the rest as bit17; other words as they are
    memory/0x0-0x9fc00 = usable         the firmware's memory map
    pci/00:03.0/id class revision header subsystem pin multifunction
               /bar0 = io 32 bytes      type and size; rom likewise
               /capabilities extended   the lists: name@offset
               /msi msi-x pm express    contents of these capabilities; express/0x0c: registers of PCI Express
               /virtio/common           where a structure of virtio lies
               /config/0x94             what else is in the configuration space, by dword, where not zero
               /assigned/…              what the firmware chose: addresses of BARs, buses, windows, interrupt line
    virtio/00:03.0/type features queue0 config
                  /legacy-features legacy-queue0   of the legacy interface; its queues where they differ
                  /driver                  whether the guest, as driver, finds what it told the device
    virtio-mmio/23                         a transport of microvm; with a device as virtio/00:03.0
    fw-cfg/[etc/e820] = 20 bytes        size; …/content; fw-cfg/uuid and the like are the old numbered items
    acpi/FACP = revision 3, 244 bytes   …/oem, …/content (FNV-1a hash); the second of a name is SSDT#2
    smbios/type1/product                fields that are text by name, …/data and …/string1 for others
    cmos/0x14 port/0x064 ioapic/version apic/version hpet/capabilities

What varies from run to run never gets here: the guest marks it ``volatile/``, and clears bits that events set. Left
out as no part of the machine: the option ROM that loads the guest, and the program text of other ROMs.
"""

from __future__ import annotations

import itertools
import re
import struct
import uuid
from collections.abc import Callable, Iterator

from virtcompat import pcispace
from virtcompat.errors import BadData

REMEDY = "record it anew; the guest and its parser must be of one version"
VERSION = "1"
LINE = re.compile(r"([^ =]+) =(?: (.*))?")
Found = Iterator[tuple[str, str]]

#: Names of the bits of a CPUID word, from bit 0 up; a dash where a bit has none.
BITS = {
    "0x1/edx": "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - ds acpi mmx"
    " fxsr sse sse2 ss ht tm ia64 pbe",
    "0x1/ecx": "pni pclmuldq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid - fma cx16 xtpr pdcm - pcid dca sse4.1"
    " sse4.2 x2apic movbe popcnt tsc-deadline aes xsave osxsave avx f16c rdrand hypervisor",
    "0x6/eax": "- - arat",
    "0x7/ebx": "fsgsbase tsc_adjust sgx bmi1 hle avx2 fdp-excptn-only smep bmi2 erms invpcid rtm cmt zero-fcs-fds mpx"
    " - avx512f avx512dq rdseed adx smap avx512ifma - clflushopt clwb intel-pt avx512pf avx512er avx512cd sha-ni"
    " avx512bw avx512vl",
    "0x7/ecx": "- avx512vbmi umip pku ospke waitpkg avx512vbmi2 cet-ss gfni vaes vpclmulqdq avx512vnni avx512bitalg"
    " - avx512-vpopcntdq - la57 - - - - - rdpid - bus-lock-detect cldemote - movdiri movdir64b - sgxlc pks",
    "0x7/edx": "- - avx512-4vnniw avx512-4fmaps fsrm - - - avx512-vp2intersect - md-clear - - - serialize - tsx-ldtrk"
    " - pconfig arch-lbr cet-ibt - amx-bf16 avx512-fp16 amx-tile amx-int8 spec-ctrl stibp flush-l1d"
    " arch-capabilities core-capability ssbd",
    "0xd.1/eax": "xsaveopt xsavec xgetbv1 xsaves xfd",
    "0x80000001/edx": "fpu vme de pse tsc msr pae mce cx8 apic - syscall mtrr pge mca cmov pat pse36 - - nx - mmxext mmx"
    " fxsr fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow",
    "0x80000001/ecx": "lahf_lm cmp_legacy svm extapic cr8legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit"
    " wdt - lwp fma4 tce cvt16 nodeid_msr - tbm topoext perfctr_core perfctr_nb",
    "0x80000007/edx": "- - - - - - - - invtsc",
    "0x80000008/ebx": "clzero - xsaveerptr - - - - - - wbnoinvd - - ibpb - ibrs amd-stibp - stibp-always-on - - - - - -"
    " amd-ssbd virt-ssbd amd-no-ssb - amd-psfd",
    "0x8000000a/edx": "npt lbrv svm-lock nrip-save tsc-scale vmcb-clean flushbyasid decodeassists - - pause-filter -"
    " pfthreshold avic - v-vmsave-vmload vgif",
}
MEMORY = {1: "usable", 2: "reserved", 3: "acpi", 4: "acpi-nvs", 5: "unusable"}
VIRTIO = {1: "net", 2: "block", 3: "console", 4: "rng", 5: "balloon", 8: "scsi", 9: "9p", 16: "gpu", 18: "input",
          19: "vsock", 20: "crypto", 23: "iommu", 24: "mem", 25: "sound", 26: "fs", 27: "pmem"}  # fmt: skip
#: Feature bits of every virtio device; the others belong to its type.
FEATURES = {24: "notify_on_empty", 27: "any_layout", 28: "indirect_desc", 29: "event_idx", 30: "bad_feature",
            32: "version_1", 33: "access_platform", 34: "ring_packed", 35: "in_order", 36: "order_platform",
            37: "sr_iov", 38: "notification_data", 39: "notif_config_data", 40: "ring_reset"}  # fmt: skip
NET = "csum guest_csum ctrl_guest_offloads mtu - mac gso guest_tso4 guest_tso6 guest_ecn guest_ufo host_tso4 host_tso6"
NET += " host_ecn host_ufo mrg_rxbuf status ctrl_vq ctrl_rx ctrl_vlan ctrl_rx_extra guest_announce mq ctrl_mac_addr"
NET += " -" * 27 + " hash_tunnel vq_notf_coal notf_coal guest_uso4 guest_uso6 host_uso hash_report - guest_hdrlen rss"
NET += " rsc_ext standby speed_duplex"
BLOCK = (
    "barrier size_max seg_max - geometry ro blk_size scsi - flush topology config_wce mq discard write_zeroes lifetime"
)
BLOCK += " secure_erase zoned"
STATUS = {0: "acknowledged", 1: "driver", 2: "ready", 3: "features", 6: "broken", 7: "failed"}
ITEMS = {0x01: "interface", 0x02: "uuid", 0x03: "ram-size", 0x04: "nographic", 0x05: "cpus", 0x0D: "numa",
         0x0E: "boot-menu", 0x0F: "max-cpus"}  # fmt: skip
#: Places of the numbers of strings in the formatted area of an SMBIOS structure, without its header.
STRINGS = {
    0: {0: "vendor", 1: "version", 4: "date"},
    1: {0: "manufacturer", 1: "product", 2: "version", 3: "serial", 21: "sku", 22: "family"},
    2: {0: "manufacturer", 1: "product", 2: "version", 3: "serial", 4: "asset", 6: "location"},
    3: {0: "manufacturer", 2: "version", 3: "serial", 4: "asset"},
    4: {0: "socket", 3: "manufacturer", 12: "version", 28: "serial", 29: "asset", 30: "part"},
    17: {12: "locator", 13: "bank", 19: "manufacturer", 20: "serial", 21: "asset", 22: "part"},
}


def facts(text: str) -> dict[str, str]:
    """The facts of a dump, in its order. Raises BadData for what is no whole dump of this version."""
    lines: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = LINE.fullmatch(line)
        if line == "end":
            break
        if not match:
            raise BadData("dump", f"not a fact: {line[:80]!r}", REMEDY, number)
        path = _unique(match[1], lines)
        if not path.startswith("volatile/"):
            lines[path] = match[2] or ""
    if lines.get("guest/version") != VERSION or "apic/version" not in lines:
        raise BadData("dump", f"not a whole dump of version {VERSION}", REMEDY)
    if unknown := {path.partition("/")[0] for path in lines} - READERS.keys() - {"guest"}:
        raise BadData("dump", f"nothing reads {', '.join(sorted(unknown))}", REMEDY)
    found: dict[str, str] = {}
    try:
        for name, reader in READERS.items():
            own = {path.partition("/")[2]: value for path, value in lines.items() if path.startswith(name + "/")}
            found.update((f"{NAMES.get(name, name)}/{path}", value) for path, value in reader(own))
    except (ValueError, IndexError, KeyError, struct.error) as error:
        raise BadData("dump", f"a line does not read: {error}", REMEDY) from error
    return found


def _unique(path: str, taken: dict[str, str]) -> str:
    """ACPI tables and others that repeat a name are numbered from the second on."""
    ordinal = 2
    unique = path
    while unique in taken:
        unique, ordinal = f"{path}#{ordinal}", ordinal + 1
    return unique


def _text(data: bytes) -> str:
    return data.decode("latin-1").rstrip("\0 ").strip()


def _names(word: int, names: dict[int, str]) -> str:
    """The names of the bits that are set, bit17 where one has none."""
    return " ".join(names.get(bit, f"bit{bit}") for bit in range(64) if word >> bit & 1)


def _numbered(names: str) -> dict[int, str]:
    return {bit: name for bit, name in enumerate(names.split()) if name != "-"}


def _cpuid(lines: dict[str, str]) -> Found:
    words = {path: [int(word, 16) for word in value.split()] for path, value in lines.items() if path != "none"}
    if not words:
        yield "none", "the processor has no CPUID"
        return
    names = {path: _numbered(row) for path, row in BITS.items()}
    yield from _identity(words)
    for path, values in words.items():
        leaf, _, subleaf = path.partition("/")
        number = int(leaf, 16)
        if number in (0, 0x40000000, 0x80000000) or 0x80000002 <= number <= 0x80000004:
            continue
        label = f"{number:#x}" + (f".{subleaf}" if subleaf != "0" else "")
        for register, value in zip(("eax", "ebx", "ecx", "edx"), values, strict=True):
            place = f"{label}/{register}"
            if value and place in names:
                yield place, _names(value, names[place])
            elif value and place != "0x1/eax":
                yield place, f"{value:#010x}"


def _identity(words: dict[str, list[int]]) -> Found:
    _, b, c, d = words["0x00000000/0"]
    yield "vendor", _text(struct.pack("<3I", b, d, c))
    if "0x00000001/0" in words:
        eax = words["0x00000001/0"][0]
        family, model = eax >> 8 & 15, eax >> 4 & 15
        if family in (6, 15):
            model += (eax >> 16 & 15) << 4
        family += eax >> 20 & 255 if family == 15 else 0
        yield "signature", f"family {family} model {model} stepping {eax & 15}"
    if "0x40000000/0" in words:
        yield "hypervisor", _text(struct.pack("<3I", *words["0x40000000/0"][1:]))
    brand = [words.get(f"0x8000000{n}/0", [0, 0, 0, 0]) for n in (2, 3, 4)]
    if any(map(any, brand)):
        yield "model-name", _text(b"".join(struct.pack("<4I", *four) for four in brand))
    for first in ("0x00000000", "0x40000000", "0x80000000", "0xc0000000"):
        if f"{first}/0" in words:
            yield f"highest[{int(first, 16):#x}]", f"{words[f'{first}/0'][0]:#x}"


def _memory(lines: dict[str, str]) -> Found:
    for value in lines.values():
        start, length, kind = value.split()
        first, size = int(start, 16), int(length, 16)
        yield f"{first:#x}-{first + size:#x}", MEMORY.get(int(kind), f"type {kind}")


def _pci(lines: dict[str, str]) -> Found:
    yield "mechanism", lines["mechanism"]
    functions: dict[str, dict[str, str]] = {}
    for path, value in lines.items():
        function, _, rest = path.partition("/")
        if rest:
            functions.setdefault(function, {})[rest] = value
    for function, own in functions.items():
        for path, value in pcispace.function(own):
            yield f"{function}/{path}", value


def _virtio(lines: dict[str, str]) -> Found:
    for path, value in lines.items():
        device, _, name = path.partition("/")
        kind = VIRTIO.get(int(lines[f"{device}/type"]), lines[f"{device}/type"])
        if name == "type":
            yield path, kind
        elif name in ("features", "legacy-features"):
            own = {"net": NET, "block": BLOCK}.get(kind, "")
            yield path, _names(int(value, 16), {**_numbered(own), **FEATURES})
        elif name == "queues" or (name == "legacy-queues" and value != lines.get(f"{device}/queues")):
            yield from ((f"{device}/{name[:-1]}{which}", size) for which, size in _runs(value.split()))
        elif name == "driver":
            status, state = value.split()
            yield path, f"{_names(int(status, 16), STATUS)}, {state}"
        elif name == "config" and value:
            yield path, " ".join(value[at : at + 8] for at in range(0, len(value), 8))


def _runs(sizes: list[str]) -> Found:
    """Queues by number; many of one size in a row are one fact, ``4-63``."""
    first = 0
    for size, run in itertools.groupby(sizes):
        end = first + len(list(run))
        if end - first > 4:
            yield f"{first}-{end - 1}", size
        else:
            yield from ((str(queue), size) for queue in range(first, end))
        first = end


def _mmio(lines: dict[str, str]) -> Found:
    """The transports of microvm; one without a device is hardware as well."""
    for slot in dict.fromkeys(path.partition("/")[0] for path in lines):
        version, kind, vendor = lines[f"{slot}/device"].split()
        place = str(int(slot, 16))
        yield place, f"{'transport' if int(kind) else 'empty'}, version {version}, vendor {vendor}"
        names = ("features", "queues", "config", "driver") if int(kind) else ()
        own = {f"{place}/{name}": lines[f"{slot}/{name}"] for name in names}
        yield from _virtio({f"{place}/type": kind, **own} if own else {})


def _fw_cfg(lines: dict[str, str]) -> Found:
    for path, value in lines.items():
        group, _, name = path.partition("/")
        if group == "key":
            data = bytes.fromhex(value)
            item = ITEMS.get(int(name, 16), name)
            yield item, str(uuid.UUID(bytes=data)) if item == "uuid" else str(int.from_bytes(data, "little"))
        elif not name.startswith("genroms/multiboot"):
            size, _key, content = value.split()
            yield from _file(name, size, content)


def _file(name: str, size: str, content: str) -> Found:
    """A file's size and, but for programs, what is in it; whatever comes of how the guest is loaded is left out."""
    step = f"[{name}]" if "/" in name else name
    if name == "bootorder":
        entries = [entry for entry in _text(bytes.fromhex(content[1:])).split("\n") if "multiboot" not in entry]
        yield step, " ".join(entries) or "none"
        return
    yield step, f"{size} bytes"
    if content not in ("-", "x") and not name.startswith(("genroms/", "vgaroms/")):
        yield f"{step}/content", content[1:] if content[0] == "x" else f"hash {content}"


def _acpi(lines: dict[str, str]) -> Found:
    for name, value in lines.items():
        if name.startswith("FACS"):
            size, version, signature = value.split()
            yield name, f"version {version}, {size} bytes, hardware {signature}"
        elif name == "RSDP":
            yield name, value
        else:
            size, revision, *oem, content = value.split()
            yield name, f"revision {revision}, {size} bytes"
            yield f"{name}/oem", " ".join(oem)
            yield f"{name}/content", f"hash {content}"


def _smbios(lines: dict[str, str]) -> Found:
    yield from ((path, value) for path, value in lines.items() if path == "version")
    seen: dict[str, str] = {}
    for path, value in lines.items():
        kind, _, handle = path.partition("/")
        if not handle or kind == "127":
            continue
        label = _unique(f"type{kind}", seen)
        seen[label] = handle
        formatted, *strings = re.split(" ", value)
        for field, word in _structure(int(kind), bytearray.fromhex(formatted), [_unquoted(s) for s in strings]):
            yield f"{label}/{field}", word
        yield f"{label}/handle", f"0x{handle.partition('#')[0]}"


def _unquoted(word: str) -> str:
    return re.sub("%([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), word)


def _structure(kind: int, data: bytearray, strings: list[str]) -> Found:
    named = STRINGS.get(kind, {})
    for place, field in named.items():
        number = data[place] if place < len(data) else 0
        if 0 < number <= len(strings):
            yield field, strings[number - 1].replace("\n", " ")
            data[place] = 0
    if kind == 1 and len(data) >= 20:
        yield "uuid", str(uuid.UUID(bytes_le=bytes(data[4:20])))
        data[4:20] = bytes(16)
    if not named:
        yield from ((f"string{number}", text) for number, text in enumerate(strings, 1))
    if any(data):
        yield "data", data.hex()


def _cmos(lines: dict[str, str]) -> Found:
    for row, value in lines.items():
        for place in range(16):
            byte = value[place * 2 : place * 2 + 2]
            if byte not in ("--", "00"):
                yield f"{int(row, 16) + place:#04x}", f"0x{byte}"


def _ports(lines: dict[str, str]) -> Found:
    yield from ((port, f"0x{value}") for port, value in lines.items() if value != "ff")


def _ioapic(lines: dict[str, str]) -> Found:
    version = int(lines["0x01"], 16)
    yield "version", f"{version & 0xFF:#x}, {(version >> 16 & 0xFF) + 1} entries"


def _plain(lines: dict[str, str]) -> Found:
    yield from lines.items()


#: Names of hardware that the dump writes otherwise.
NAMES = {"fw_cfg": "fw-cfg", "mmio": "virtio-mmio"}
READERS: dict[str, Callable[[dict[str, str]], Found]] = {
    "cpuid": _cpuid, "memory": _memory, "pci": _pci, "virtio": _virtio, "mmio": _mmio, "fw_cfg": _fw_cfg,
    "acpi": _acpi, "smbios": _smbios, "cmos": _cmos, "port": _ports, "ioapic": _ioapic, "apic": _plain, "hpet": _plain,
}  # fmt: skip
