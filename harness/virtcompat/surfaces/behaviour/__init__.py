"""What a whole host does when its API is called: scenes that are played on it, each told as facts.

A scene calls the API as an application would, looks at what became of it on the host (devices, files, processes,
firewall), and writes down both. What a machine draws at random or owes to itself is left out or given in the call,
so that the same release tells the same twice. A module here plays the scenes of one of libvirt's secondary drivers.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from virtcompat.errors import BadData
from virtcompat.facts import Keys
from virtcompat.facts import facts as facts_of
from virtcompat.labs.hosts import Host, Said, hosting
from virtcompat.labs.visit import Visit

URI = "{driver}+unix:///system?socket={{socket}}"
#: How often a call is made until it gives what is to come, a tenth of a second apart.
TRIES = 50
#: How often scenes are played where a daemon does not end when it is told to. Some releases lose the wake-up of a thread that
#: they then wait for, in one of some dozen ends: what they do each time is a fact, what they do now and then is none.
PLAYS = 3
#: What the API calls the numbers of an object's life, by kind, and its other event.
LIFECYCLE = {
    "network": ("defined", "undefined", "started", "stopped", "metadata-changed"),
    "storage": ("defined", "undefined", "started", "stopped", "created", "deleted"),
    "secret": ("defined", "undefined"),
    "nodedev": ("created", "deleted", "defined", "undefined"),
}
OTHER = {"network": "metadata changed", "storage": "refreshed", "secret": "value changed", "nodedev": "updated"}


def uuid(number: int) -> str:
    """A UUID of ours, the same each time."""
    return f"5f1c0de0-0004-4000-8000-{number:012x}"


def bracketed(step: str) -> str:
    """A step of a path that may hold anything: in brackets, on one line, without what parts a path from its value."""
    return "[" + " ".join(step.split()).replace("[", "(").replace("]", ")").replace("=", ":") + "]"


def shown(value: Any) -> str:
    """A value as one line."""
    if isinstance(value, str):
        return " ".join(value.split())
    return json.dumps(value, sort_keys=True)


@dataclass(slots=True)
class Scene:
    """A host and what has been told of it so far. ``above`` is the path that all facts told now lie below."""

    host: Host
    above: str
    facts: dict[str, str] = field(default_factory=dict)
    last: bool = True

    def tell(self, path: str, value: object) -> None:
        """Write down a fact; BadData where it was told already: two would be one."""
        whole = f"{self.above}/{path}" if path else self.above
        if whole in self.facts:
            raise BadData(whole, "told twice", "this is a mistake in a scene")
        self.facts[whole] = value if isinstance(value, str) else shown(value)

    def call(self, path: str, method: str, *args: Any, on: str = "", keep: str = "") -> Said:
        """Call the API and write down how that ended."""
        said = self.host.call(method, *args, on=on, keep=keep)
        self.tell(path, said.text)
        return said

    def value(self, path: str, method: str, *args: Any, on: str = "") -> Any:
        """Call the API and write down what it returned, or how it failed; None in that case."""
        said = self.host.call(method, *args, on=on)
        value = said.value
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            value = sorted(value)  # the API gives lists in no order
        self.tell(path, said.text if said.outcome != "ok" else shown(value))
        return value

    def must(self, method: str, *args: Any, on: str = "", keep: str = "") -> Any:
        """The value of a call that has to succeed for the scene to go on; what came instead is told."""
        said = self.host.call(method, *args, on=on, keep=keep)
        if said.outcome != "ok":
            self.tell(f"(stopped)/{method}", said.text)
            raise Stopped
        return said.value

    def restart(self, *between: str, hard: bool = False) -> None:
        """End the daemon (``hard``: kill it), start it again and write down how that ended. Raises Unended: play it all again."""
        said = self.host.restart(*between, hard=hard)
        if said.outcome == "hung" and not self.last:
            raise Unended
        self.tell("restart", said.text)

    def until(self, method: str, on: str) -> Any:
        """The value of a call, once it is not empty; empty after some seconds."""
        for _ in range(TRIES):
            if value := self.must(method, on=on):
                return value
            time.sleep(0.1)
        return value

    def events(self, path: str, name: str, expected: int) -> None:
        """Write down what the daemon has told of an object: what happened to it, in order. Waits for so many."""
        words = []
        for kind, _, event, *details in self.host.events(name, expected):
            lifecycle = LIFECYCLE[kind] if event == 0 and details else ()
            words.append(lifecycle[details[0]] if lifecycle else OTHER[kind])
        self.tell(path, ", ".join(words) or "none")

    def document(self, path: str, text: str, keys: Keys, leave: str = "(?!)") -> None:
        """Write down every fact of a document; ``leave``: pattern of its paths that are not told."""
        for step, value in facts_of(text, keys).items():
            if not re.search(leave, step):
                self.tell(f"{path}{step}", shown(value))

    @contextmanager
    def within(self, step: str) -> Iterator[None]:
        """Tell what follows below a further step. A scene that cannot go on is left there."""
        before = self.above
        self.above = f"{before}/{step}"
        try:
            yield
        except Stopped:
            pass
        finally:
            self.above = before


class Stopped(Exception):
    """A scene cannot go on: a call that all the rest needs has failed, and that was told."""


class Unended(Exception):
    """A daemon did not end; it is to be seen whether it never does."""


Play = Callable[[Scene], None]


def play(
    visit: Visit,
    part: str,
    driver: str,
    plays: Sequence[Play],
    *,
    clear: Play | None = None,
    users: bool = False,
    sysfs: bool = False,
    files: dict[str, str] | None = None,
) -> dict[str, str]:
    """The facts of some scenes that are played one after the other on one new host. clear: takes down what one has left."""
    for last in (*[False] * (PLAYS - 1), True):
        with hosting(visit.lab, URI.format(driver=driver), users=users, sysfs=sysfs, files=files) as host:
            scene = Scene(host, part, last=last)
            try:
                for each in plays:
                    with scene.within(each.__name__.strip("_").replace("_", "-")):
                        each(scene)
                    if clear:
                        clear(scene)
            except Unended:
                continue
            return scene.facts
    raise AssertionError("the last play tells that a daemon hangs")


def without_counters(text: str) -> str:
    """A firewall's listing without how often which rule was met."""
    return re.sub(r"\[\d+:\d+\]|packets \d+ bytes \d+", "", text)
