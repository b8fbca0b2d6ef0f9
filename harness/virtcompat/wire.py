"""What messages are made of: the events of ``probes/dissector_probe.py`` parsed into structures, fields and types.

A type is in XDR's words: ``int``, ``unsigned hyper``, ``string``, ``opaque[16]``, ``opaque``, ``optional string``,
``array of struct remote_nonnull_domain``, ``union remote_typed_param_value``, ``enum``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from virtcompat import elf
from virtcompat.dissector import KINDS, Plugin
from virtcompat.errors import BadData

CALL, REPLY, MESSAGE, STREAM_HOLE = 0, 1, 2, 6
OK, ERROR, CONTINUE = 0, 1, 2
UNLIMITED = 0xFFFFFFFF
TYPES = dict(zip(KINDS, (CALL, REPLY, MESSAGE), strict=True))
#: The generator knows one symbol of a name beside its structures: each field of this name has the type of the last one.
LOST = ("type",)
SPELLED = {
    "u_int": "unsigned int", "u_short": "unsigned short", "u_char": "unsigned char", "u_hyper": "unsigned hyper",
}  # fmt: skip

#: How a message is asked for: program, procedure, type, status.
Message = tuple[int, int, int, int]
Event = Sequence[Any]


def messages(plugin: Plugin) -> dict[Message, str]:
    """Every message there is -> the structure it must be made of."""
    found: dict[Message, str] = {}
    for program, table in plugin.procedures.items():
        for name, number in table.items():
            for kind, code in TYPES.items():
                found[plugin.programs[program], number, code, OK] = plugin.message(program, name, kind)
    some = next(iter(found))[:2]
    return found | {(*some, REPLY, ERROR): "remote_error", (*some, STREAM_HOLE, CONTINUE): "stream_hole"}


def structures(plugin: Plugin, expected: Mapping[Message, str], said: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Facts of every structure that a message is made of, and of those within it.

        remote/structure/remote_nonnull_domain/01 = name: string       and …/01/limit = 4194304
        remote/structure/remote_nonnull_domain/02 = uuid: opaque[16]
        remote/structure/remote_auth_list_ret/01 = types: array of enum
        remote/structure/remote_auth_list_ret/01/element/value/REMOTE_AUTH_NONE = 0
        remote/union/remote_typed_param_value/case 1 = i: int

    BadData where the plugin's code and its tables do not agree.
    """
    found: dict[str, dict[str, str]] = {}
    for message, (own, run) in zip(expected, zip(expected.values(), said, strict=True), strict=True):
        reader = _Reader(plugin, run["events"], run["limits"], run["cases"], found)
        got = reader.message()
        if got != own:
            text = f"message {message[:3]} is made of {got or 'nothing'}, not of {own or 'nothing'}"
            raise BadData(plugin.name, text, elf.REMEDY)
    return {f"{path}/{below}": value for path, facts in found.items() for below, value in facts.items()}


@dataclass(frozen=True, slots=True)
class _Type:
    """A type, what it says below its field's path, and the field that was named for it (empty: none was)."""

    text: str
    below: Mapping[str, str] = field(default_factory=dict)
    field: str = ""


@dataclass(slots=True)
class _Reader:
    """Reads events from left to right; what it finds of structures and unions goes to ``found``."""

    plugin: Plugin
    events: Sequence[Event]
    limits: Mapping[str, int]
    cases: Mapping[str, Mapping[str, Sequence[Event]]]
    found: dict[str, dict[str, str]]
    at: int = 0

    def peek(self, *event: str) -> bool:
        """Whether the next event begins like this."""
        return self.at < len(self.events) and list(self.events[self.at][: len(event)]) == list(event)

    def take(self, *event: str) -> Event:
        """The next event, which must begin like this."""
        if not self.peek(*event):
            seen = self.events[self.at] if self.at < len(self.events) else "the end"
            raise BadData(self.plugin.name, f"event {self.at} is {seen}, not {event}", elf.REMEDY)
        self.at += 1
        return self.events[self.at - 1]

    def name(self, number: int) -> str:
        """The name of a field; empty for none."""
        return self.plugin.fields[number][0] if number < len(self.plugin.fields) else ""

    def message(self) -> str:
        """The structure that the whole message is made of; empty where the plugin knows of none."""
        if not self.events:
            return ""
        own = self.name(self.take("add", "item")[2])
        self.structure(own)
        if self.at != len(self.events):
            self.take("the end")
        return own

    def structure(self, own: str) -> None:
        """The fields up to the end of the structure, in order: the tables' and the code's must be the same."""
        facts: dict[str, str] = {}
        self.take("enter")
        for number, member in enumerate(self.plugin.members.get(own, ()), 1):
            got = self.value()
            if got.field not in (f"{own}.{member}", ""):
                raise BadData(self.plugin.name, f"{own}: {got.field} where {member} belongs", elf.REMEDY)
            if member in LOST:
                got = _Type("(not revealed)")
            facts[f"{number:02}"] = f"{member}: {got.text}"
            facts |= {f"{number:02}/{below}": value for below, value in got.below.items()}
        self.take("leave")
        self.keep("structure", own, facts)

    def keep(self, kind: str, own: str, facts: dict[str, str]) -> None:
        """Write down what a structure or union is; it must be the same wherever it is met."""
        program = next((p for p in self.plugin.programs if own.startswith(f"{p}_")), "header")
        if self.found.setdefault(f"{program}/{kind}/{own}", facts) != facts:
            raise BadData(self.plugin.name, f"{own} is not the same everywhere", elf.REMEDY)

    def value(self) -> _Type:
        """The type of what comes next."""
        if self.peek("type"):
            own = self.name(self.take("type")[1])
            at = self.name(self.take("add", "item")[2])
            self.take("text", " :: %s")
            self.structure(own)
            return _Type(f"struct {own}", field=at)
        if self.peek("add", "item"):
            return self.vector()
        here = str(self.at)
        _, kind, limit = self.take("read")
        match kind:
            case "string" | "bytes":
                below = {"limit": _limit(limit)}
                return _Type("string" if kind == "string" else "opaque", below, self.added())
            case "opaque":
                return _Type(f"opaque[{limit}]", field=self.added())
            case "bool" if not self.peek("add"):
                inner = self.value()
                return replace(inner, text=f"optional {inner.text}")
            case "enum":
                return self.enumeration(self.cases[here])
            case "u_int" if here in self.limits:
                return self.array(self.limits[here])
            case "int" | "u_int" if here in self.cases:
                return self.union(self.cases[here])
        return _Type(SPELLED.get(kind, str(kind)), field=self.added())

    def added(self) -> str:
        return self.name(self.take("add")[2])

    def array(self, limit: int) -> _Type:
        at = self.added()
        self.take("text", " :: %s<%u>")
        self.take("enter")
        inner = self.value()
        self.take("leave")
        below = {f"element/{path}": value for path, value in inner.below.items()}
        return _Type(f"array of {inner.text}", {"limit": _limit(limit)} | below, at)

    def vector(self) -> _Type:
        at = self.added()
        length = self.take("text", " :: %s[%u]")[3]
        self.take("enter")
        inner = {self.value().text for _ in range(length)}
        self.take("leave")
        return _Type(f"{length} of {' or '.join(inner)}", field=at)

    def enumeration(self, cases: Mapping[str, Sequence[Event]]) -> _Type:
        """The values that are taken, each with its name: the plugin writes ``REMOTE_AUTH_NONE(0)``."""
        at = self.added()
        named = {value: events[0][3] for value, events in cases.items() if events and events[0][0] == "add"}
        return _Type("enum", {f"value/{name.partition('(')[0]}": value for value, name in named.items() if name}, at)

    def union(self, cases: Mapping[str, Sequence[Event]]) -> _Type:
        """The cases that are taken; a union has no field of its own in what the plugin shows, its cases have."""
        arm = self.value().field
        own = arm.rpartition(".")[0]
        facts = {}
        for value, events in cases.items():
            if events and events[0][0] == "read":
                got = _Reader(self.plugin, events, {}, {}, self.found).value()
                if got.field.rpartition(".")[0] == own:
                    facts[f"case {value}"] = f"{got.field.rpartition('.')[2]}: {got.text}"
                    facts |= {f"case {value}/{below}": said for below, said in got.below.items()}
        self.keep("union", own, facts)
        return _Type(f"union {own}")


def _limit(length: int) -> str:
    return "none" if length == UNLIMITED else str(length)
