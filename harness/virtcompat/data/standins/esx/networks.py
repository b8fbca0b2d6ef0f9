"""The networks of the host behind the stand-in: virtual switches and their port groups."""

from __future__ import annotations

from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from host import MACHINE_ROOM, METHODS, Fault, Host, every, local, parse, text  # type: ignore[import-not-found]

SWITCHES, GROUPS = "config.network.vswitch", "config.network.portgroup"


def add_virtual_switch(host: Host, call: Element) -> list[str]:
    name = text(call, "vswitchName")
    switches = items_of(host, SWITCHES)
    spec = every(call, "spec")[0]
    node: Element = parse(
        f"<HostVirtualSwitch><name>{escape(name)}</name><key>key-vim.host.VirtualSwitch-{escape(name)}</key>"
        "<numPorts>128</numPorts><numPortsAvailable>128</numPortsAvailable></HostVirtualSwitch>"
    )
    node.append(plain(spec))
    switches.append(node)
    return []


def add_port_group(host: Host, call: Element) -> list[str]:
    name = escape(text(call, "portgrp/name"))
    switch = escape(text(call, "portgrp/vswitchName"))
    node: Element = parse(
        f"<HostPortGroup><key>key-vim.host.PortGroup-{name}</key>"
        f"<vswitch>key-vim.host.VirtualSwitch-{switch}</vswitch><computedPolicy/></HostPortGroup>"
    )
    spec = plain(every(call, "portgrp")[0])
    spec.tag = "spec"
    node.append(spec)
    items_of(host, GROUPS).append(node)
    for one in items_of(host, SWITCHES):
        if one.findtext("name") == text(call, "portgrp/vswitchName"):
            one.insert(4, parse(f"<portgroup>key-vim.host.PortGroup-{name}</portgroup>"))
    return []


def remove_port_group(host: Host, call: Element) -> list[str]:
    return removed(host, GROUPS, "spec/name", text(call, "pgName"))


def remove_virtual_switch(host: Host, call: Element) -> list[str]:
    return removed(host, SWITCHES, "name", text(call, "vswitchName"))


def items_of(host: Host, name: str) -> Element:
    found: Element | None = host.objects[MACHINE_ROOM].find(name)
    assert found is not None
    return found


def removed(host: Host, name: str, path: str, value: str) -> list[str]:
    items = items_of(host, name)
    for item in items.findall("*"):
        if item.findtext(path) == value:
            items.remove(item)
            return []
    raise Fault("NotFoundFault", "The object or item referred to could not be found.")


def plain(node: Element) -> Element:
    """A value that a client sent, as the inventory has it."""
    new = Element(local(node.tag))
    new.text = node.text
    kind = node.get("{http://www.w3.org/2001/XMLSchema-instance}type", "")
    if kind.startswith("HostVirtualSwitch") and kind.endswith("Bridge"):
        new.set("is", kind)
    new.extend(plain(child) for child in node)
    return new


METHODS.update(
    {
        "AddVirtualSwitch": add_virtual_switch,
        "AddPortGroup": add_port_group,
        "RemovePortGroup": remove_port_group,
        "RemoveVirtualSwitch": remove_virtual_switch,
    }
)
