"""A QEMU command line as the hardware that it asks for: devices, machine, processors, memory; both of libvirt's spellings."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator

from virtcompat.facts import Facts

#: Where a device's other end lies on the host, or how it is called there: no part of the guest's hardware.
HOST = frozenset(
    "id fsdev drive netdev chardev rng audiodev tpmdev memdev vhostfd fd host hostbus hostaddr vfio-pci guest-reset path display "
    "evdev sysfsdev wwpn filename romfile tx iothread device_id share-rw write-cache file.locking packed-ring".split()
)
#: What says where a device sits.
PLACE = ("bus", "addr", "port", "unit", "channel", "scsi-id", "lun", "nr")
#: What is asked for in an option of its own by one release and as the machine's property by another.
FLAGS = {"-no-acpi": ("acpi", "off"), "-no-hpet": ("hpet", "off"), "-enable-fips": ("fips", "on")}
SIZE = re.compile(r"(?:size=)?(\d+)([kKmMgG]?)")
UNIT = {"k": 1, "m": 1024, "g": 1024**2, "": 1024}


def hardware(text: str) -> Facts:
    """``/machine/type``, ``/machine/acpi``, ``/cpu/model``, ``/cpu/+aes``, ``/memory``, ``/smp/cores`` and so on.

    Devices are ``/device[bus=pci.0,addr=2]/driver``, numbers in decimals; memory is ``/ram[memdimm0]``, its size.
    """
    found = Facts()
    seen: dict[str, int] = {}
    own: set[str] = set()
    words = shlex.split(text.replace("\\\n", " "))
    for word, value in zip(words, [*words[1:], ""], strict=True):
        if word in FLAGS:
            found.add(f"/machine/{FLAGS[word][0]}", FLAGS[word][1])
        elif word == "-device":
            _device(found, dict(_properties(value)), seen)
        elif word == "-m" and (size := SIZE.match(value)):
            found.add("/memory", f"{int(size[1]) * UNIT[size[2].lower()]} KiB")
        elif word in READERS:
            for path, state in READERS[word](value):
                found.add(path, state)
        # Its main memory a machine calls so by itself: to say it or not is the same.
        main = dict(_properties(value)).get("memory-backend") if word == "-machine" else None
        own.add(f"/ram[{main}]")
    for path in own & found.keys():
        del found[path]
    return found


def _machine(text: str) -> Iterator[tuple[str, str]]:
    for name, state in _properties(text):
        if name not in ("accel", "dump-guest-core", "memory-backend", "pflash0", "pflash1", "usb"):
            yield f"/machine/{'type' if name == 'driver' else name}", state


def _processors(text: str) -> Iterator[tuple[str, str]]:
    for name, state in _properties(text):
        yield f"/smp/{'cpus' if name == 'driver' else name}", state


def _processor(text: str) -> Iterator[tuple[str, str]]:
    model, *features = text.split(",")
    yield "/cpu/model", model
    for feature in features:
        yield f"/cpu/{_feature(feature)}", "asked for"


def _object(text: str) -> Iterator[tuple[str, str]]:
    """A piece of memory by its name, under which a migration stream carries it."""
    properties = dict(_properties(text))
    kind = properties.get("qom-type") or properties.get("driver", "")
    if kind.startswith("memory-backend-") and (size := SIZE.match(properties.get("size", ""))):
        amount = int(size[1]) * UNIT[size[2].lower()] if size[2] else int(size[1]) // 1024
        yield f"/ram[{properties.get('id', '')}]", f"{amount} KiB"


READERS = {"-machine": _machine, "-smp": _processors, "-cpu": _processor, "-object": _object}


def _device(found: Facts, properties: dict[str, str], seen: dict[str, int]) -> None:
    """A device goes by where it sits, or by its type and number: what libvirt calls it is libvirt's own."""
    # QEMU 6.1 made of virtio-vga with virgl=on a device type of its own; the guest sees the same.
    driver = re.sub(r"^(virtio-(?:vga|gpu-\w+))-gl\b", r"\1", properties.get("driver", ""))
    properties["driver"] = driver
    name = ",".join(f"{key}={properties[key]}" for key in PLACE if key in properties)
    if "addr" not in properties and not {"port", "unit", "scsi-id", "nr"} & properties.keys():
        seen[driver] = seen.get(driver, 0) + 1
        name = driver if seen[driver] == 1 else f"{driver}#{seen[driver]}"
    for key, value in properties.items():
        if key not in HOST:
            found.add(f"/device[{name}]/{key}", value)


def _properties(text: str) -> Iterator[tuple[str, str]]:
    """name -> value of an option's properties; the first word without a name is the ``driver``."""
    if text.startswith("{"):
        for name, value in json.loads(text).items():
            yield name, _plain(json.dumps(value) if isinstance(value, (bool, dict, list)) else str(value))
        return
    for at, part in enumerate(re.split(r",(?!,)", text)):
        name, equals, value = part.partition("=")
        yield ("driver", name) if not at and not equals else (name, _plain(value if equals else "on"))


def _plain(value: str) -> str:
    """One spelling of a value: on and off, decimals."""
    word = {"true": "on", "yes": "on", "false": "off", "no": "off"}.get(value, value)
    return str(int(word, 16)) if re.fullmatch(r"0x[0-9a-fA-F]+", word) else word


def _feature(text: str) -> str:
    """``aes=on`` and ``+aes`` are one thing."""
    name, equals, value = text.partition("=")
    return f"{'+' if value == 'on' else '-'}{name}" if equals and value in ("on", "off") else text
