"""The calls that the steps of a life are: on what, the method, its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from virtcompat.engine import lifedocs
from virtcompat.policy.life import Step

#: On what (nothing: the connection), the method, its arguments; a dictionary among them stands for something of the host's.
Call = tuple[Any, ...]
#: Flags of libvirt's: of a device and of metadata, the title, to revert whatever is lost, to undefine with what belongs to it.
LIVE, CONFIG, TITLE, FORCE, WITH_ALL = 1, 2, 1, 4, 3


def _plain(step: Step, _: str) -> Call:
    return (step.guest,), step.verb


def _device(step: Step, _: str) -> Call:
    return (step.guest,), f"{step.verb}DeviceFlags", lifedocs.ATTACHED, LIVE


def _moment(step: Step, _: str) -> Call:
    tag = f"domain{step.verb}"
    xml = f"<{tag}><name>{step['name']}</name><description>a &lt;moment&gt;</description></{tag}>"
    return (step.guest,), f"{step.verb}CreateXML", xml, 0


def _delete(step: Step, _: str) -> Call:
    return (step.guest, step.verb.removeprefix("delete-"), step["name"]), "delete", 0


CALLS: Mapping[str, Callable[[Step, str], Call]] = {
    "define": lambda step, text: ((), "defineXML", text),
    "edit": lambda step, text: ((), "defineXML", text),
    "describe": lambda step, text: ((step.guest,), "setMetadata", TITLE, lifedocs.TITLE, None, None, CONFIG),
    "attach": _device,
    "detach": _device,
    "start": lambda step, text: ((step.guest,), "create"),
    "suspend": _plain,
    "resume": _plain,
    "shutdown": _plain,
    "destroy": _plain,
    "autostart": lambda step, text: ((step.guest,), "setAutostart", int(step["on"] == "yes")),
    "managed-save": lambda step, text: ((step.guest,), "managedSave", 0),
    "managed-drop": lambda step, text: ((step.guest,), "managedSaveRemove", 0),
    "save": lambda step, text: ((step.guest,), "save", {"file": step["file"]}),
    "restore": lambda step, text: ((), "restore", {"file": step["file"]}),
    "snapshot": _moment,
    "checkpoint": _moment,
    "revert": lambda step, text: ((step.guest,), "revertToSnapshot", {"snapshot": step["name"]}, FORCE),
    "delete-snapshot": _delete,
    "delete-checkpoint": _delete,
    "rename": lambda step, text: ((step.guest,), "rename", step["to"], 0),
    "undefine": lambda step, text: ((step.guest,), "undefineFlags", WITH_ALL if step["with"] == "everything" else 0),
}


def call(step: Step, text: str) -> Call:
    """The call that a step is. text: the document that it hands in."""
    return CALLS[step.verb](step, text)
