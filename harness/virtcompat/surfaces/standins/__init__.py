"""What a driver asks of its hypervisor: scenes that are played on a stand-in, told as facts.

A scene calls libvirt as an application would. Of each of its steps three things are told: what became of it, what it
returned, and what the release's own driver asked the stand-in for it: commands with their arguments, or calls of an API
with the properties that they want. What a newer driver asks and an older one did not, the hypervisor must have. A module
here has the scenes of one driver.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from virtcompat import surfaces
from virtcompat.documents import NotWellFormed, root_tag
from virtcompat.errors import Absent, LabError
from virtcompat.facts import facts
from virtcompat.labs import stages
from virtcompat.labs.session import DEATHS, OpenFailed, Session, Start
from virtcompat.labs.visit import PROBES, Visit
from virtcompat.model import NotHere

PROBE = PROBES / "standin_probe.py"
#: The longest wait for one step, in seconds.
LIMIT = 30.0
#: Root element of what a step returned -> the kind of document whose facts it has.
KINDS = {"domain": "domain", "network": "network", "interface": "interface", "pool": "storagepool"}
#: Words of one call to a stand-in -> the words that are written down: without what is drawn at random.
Plain = Callable[[list[str]], list[str]]


@dataclass(frozen=True, slots=True)
class Step:
    """One call of an application.

    on: the name of what it is called on, empty for libvirt's own functions. keep: the name for what it returns. like: an
    earlier step; of the document that this one returns only what that one's has not, or has otherwise, is told.
    """

    name: str
    call: str
    args: tuple[object, ...] = ()
    on: str = "conn"
    keep: str = ""
    like: str = ""


def opening(uri: str) -> Step:
    return Step("open", "open", (uri,), on="", keep="conn")


@dataclass(frozen=True, slots=True)
class Scene:
    """Steps that are played one after the other on a stage of their own. files: what lies there before, by path."""

    name: str
    steps: tuple[Step, ...]
    files: Mapping[str, str] = field(default_factory=dict)


def on(name: str, call: str, *args: object) -> Step:
    """A call on the domain that an earlier step gave."""
    return Step(name, call, args, on="domain")


def told(visit: Visit, stage: str, scenes: Iterable[Scene], plain: Plain = list) -> dict[str, str]:
    """The facts of all scenes of a driver: ``openvz/life/define/outcome = accepted`` and more below each step.

    ``refused`` has libvirt's numbers of the error and of its domain, ``…/words`` what was said. ``…/value`` is what was
    returned, ``…/xml/domain/…`` where that is a document; ``…/asked/[words] = times``; ``…/order`` of the calls by name.
    """
    command = stages.command(visit.lab, stage)
    if isinstance(command, NotHere):
        raise Absent(f"{visit.release}: {command.reason}", command.remedy)
    found: dict[str, str] = {}
    opened: dict[tuple[object, ...], list[str]] = {}
    for scene in scenes:
        session = Session(Start(command, {}, LIMIT * (len(scene.steps) + 1), source=PROBE))
        try:
            results = _played(visit, session, scene)
        finally:
            session.close()
        documents: dict[str, Mapping[str, str]] = {}
        for step, result in zip(scene.steps, results, strict=False):
            # What is called on what an earlier step did not give is no step; a process that died plays none.
            if result["outcome"] != "unplayed":
                documents[step.name] = below = _document(result)
                path = f"{stage}/{scene.name}/{step.name}"
                if step.call == "open":
                    # Most scenes open the same: what that asks is told once.
                    asked = opened.setdefault(step.args, result["asked"])
                    result["asked"] = (
                        [] if asked is not result["asked"] and asked == result["asked"] else result["asked"]
                    )
                found.update(_step(path, result, plain))
                found.update((f"{path}/xml{p}", _line(v)) for p, v in _besides(below, documents.get(step.like, {})))
    return found


def _played(visit: Visit, session: Session, scene: Scene) -> list[dict[str, Any]]:
    steps = [{"call": s.call, "on": s.on, "args": s.args, "keep": s.keep} for s in scene.steps]
    question = {"op": "play", "files": scene.files, "transcript": stages.TRANSCRIPT, "limit": LIMIT, "steps": steps}
    try:
        reply = next(reply for _, reply in session.ask([question]))
    except OpenFailed as error:
        raise LabError(f"{visit.release}: {error.said}", "virt-compat doctor") from error
    if reply["status"] in DEATHS:
        raise LabError(f"{visit.release}: {scene.name}: {reply['status']}: {reply['message']}", "virt-compat doctor")
    return list(reply["results"])


def _step(path: str, result: Mapping[str, Any], plain: Plain) -> Iterator[tuple[str, str]]:
    outcome = str(result["outcome"])
    yield f"{path}/outcome", outcome if outcome != "refused" else f"refused ({result['code']}/{result['domain']})"
    if outcome == "accepted":
        yield from _value(path, result["value"])
    else:
        yield f"{path}/words", _line(result["message"])
    calls = [plain(line.split("\x1f")) for line in result["asked"]]
    for words, times in Counter(_bracketed(" ".join(words)) for words in calls).items():
        yield f"{path}/asked/{words}", str(times)
    if calls:
        yield f"{path}/order", " ".join(_first(words) for words in calls)


def _value(path: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = sorted(value)  # a listing's order is nobody's
    if value not in (None, 0, "virConnect") and not _is_document(value):
        yield f"{path}/value", _line(value if isinstance(value, str) else json.dumps(value, sort_keys=True))


def _is_document(value: object) -> bool:
    return isinstance(value, str) and value.lstrip().startswith("<")


def _document(result: Mapping[str, Any]) -> Mapping[str, str]:
    """The facts of the document that a step returned, none where it returned none."""
    value = result.get("value")
    if not isinstance(value, str) or not _is_document(value):
        return {}
    try:
        kind = KINDS.get(root_tag(value), "")
        return surfaces.every()[kind].facts(value) if kind else facts(value, {})
    except NotWellFormed as error:
        return {"/(text)": f"not well-formed: {error}"}


def _besides(document: Mapping[str, str], other: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What a document has besides another one, and what it lacks of it."""
    if document:
        yield from ((path, value) for path, value in document.items() if other.get(path) != value)
        yield from ((path, "(absent)") for path in other if path not in document)


def _first(words: list[str]) -> str:
    """A call's name: a program with its action, or a method of an API."""
    named = [word for word in words[1:] if not word.startswith("-")]
    return words[0] if words[0][:1].isupper() else "-".join([words[0], *named[:1]])


def _line(text: str) -> str:
    return " ".join(str(text).split())


def _bracketed(text: str) -> str:
    """A step of a path that may hold anything: in brackets, without what parts a path from its value."""
    return "[" + re.sub(r"\s*=\s*", "=", _line(text)).replace("[", "(").replace("]", ")") + "]"
