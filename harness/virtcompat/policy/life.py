"""A guest's life as a model: what its hosts must say of it after each step, whichever release they run.

A life is a list of steps. The model knows what each step does, or that it has to be refused; nothing in it knows of
libvirt's versions: a guest is the same before and after an upgrade. Documents are compared elsewhere; here they are texts.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

HOSTS = ("north", "south")
GUESTS = ("guest-1", "guest-2", "guest-3")
#: Verb -> the words that its step has besides the host, in order; ``guest`` stands without its name.
VERBS: Mapping[str, tuple[str, ...]] = {
    "define": ("guest", "case"),
    "edit": ("guest", "what"),
    "describe": ("guest",),
    "attach": ("guest",),
    "detach": ("guest",),
    "start": ("guest",),
    "suspend": ("guest",),
    "resume": ("guest",),
    "shutdown": ("guest",),
    "destroy": ("guest",),
    "autostart": ("guest", "on"),
    "managed-save": ("guest",),
    "managed-drop": ("guest",),
    "save": ("guest", "file"),
    "restore": ("file",),
    "snapshot": ("guest", "name"),
    "revert": ("guest", "name"),
    "delete-snapshot": ("guest", "name"),
    "checkpoint": ("guest", "name"),
    "delete-checkpoint": ("guest", "name"),
    "rename": ("guest", "to"),
    "undefine": ("guest", "with"),
    "migrate": ("guest",),
    "upgrade": ("by",),
    "downgrade": (),
}
#: Verbs of one kind are drawn together, so that each kind is drawn as often as any other.
KINDS: Mapping[str, tuple[str, ...]] = {
    "administer": ("define", "rename", "undefine", "autostart"),
    "change": ("edit", "describe", "attach", "detach"),
    "run": ("start", "suspend", "resume", "shutdown", "destroy"),
    "keep": ("save", "managed-save", "managed-drop"),
    "return": ("restore", "revert"),
    "remember": ("snapshot", "delete-snapshot", "checkpoint", "delete-checkpoint"),
    "upgrade": ("upgrade", "downgrade"),
    "migrate": ("migrate",),
}
FILES = ("save-1", "save-2")
NAMES = ("first", "second", "third")
EDITS = ("memory", "description", "metadata", "add-disk", "add-interface", "drop-device")


def uuid_of(guest: str) -> str:
    """The UUID that a guest is defined with under a name."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"life/{guest}"))


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what is done, on which host, with which words."""

    verb: str
    host: str
    words: tuple[tuple[str, str], ...] = ()

    def __getitem__(self, name: str) -> str:
        return dict(self.words).get(name, "")

    @property
    def guest(self) -> str:
        return self["guest"]

    def __str__(self) -> str:
        return " ".join([self.verb, self.host, *(v if k == "guest" else f"{k}={v}" for k, v in self.words)])


def step(verb: str, host: str, **words: str) -> Step:
    return Step(verb, host, tuple((name, words[name]) for name in VERBS[verb] if name in words))


def read(line: str) -> Step:
    """A step as ``str`` writes it: ``snapshot north guest-1 name=first``. Raises ValueError."""
    verb, host, *rest = line.split()
    if verb not in VERBS or host not in HOSTS:
        raise ValueError(f"'{verb} {host}' is no step: verbs are {', '.join(VERBS)}; hosts are {', '.join(HOSTS)}")
    named = (word.partition("=") for word in rest)
    words = {name if sign else "guest": value if sign else name for name, sign, value in named}
    if set(words) != set(VERBS[verb]):
        raise ValueError(f"'{verb}' takes: {' '.join(VERBS[verb]) or 'nothing'}")
    return step(verb, host, **words)


@dataclass(slots=True)
class Moment:
    """A snapshot or a checkpoint. text: as its host wrote it; guest: the definition in it; state: that of the guest then."""

    parent: str
    state: str
    text: str = ""
    guest: str = ""


@dataclass(slots=True)
class Guest:
    """What must be known of a guest. inactive, live: its documents; live is empty while it does not run."""

    uuid: str
    case: str
    inactive: str
    live: str = ""
    state: str = "shutoff"
    persistent: bool = True
    autostart: bool = False
    managed: bool = False
    current: str = ""
    snapshots: dict[str, Moment] = field(default_factory=dict)
    checkpoints: dict[str, Moment] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        return self.state != "shutoff"

    @property
    def newest(self) -> str:
        """The checkpoint that the next one follows: the one that none follows."""
        parents = {moment.parent for moment in self.checkpoints.values()}
        return next((name for name in self.checkpoints if name not in parents), "")


@dataclass(frozen=True, slots=True)
class Saved:
    """A guest in a file."""

    name: str
    uuid: str
    case: str
    live: str
    release: str


@dataclass(slots=True)
class Host:
    """A host: which release it runs, its guests by name, the files that guests were saved to."""

    release: str
    guests: dict[str, Guest] = field(default_factory=dict)
    files: dict[str, Saved] = field(default_factory=dict)


@dataclass(slots=True)
class World:
    """All hosts. old, new: the two releases that hosts run."""

    old: str
    new: str
    hosts: dict[str, Host] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hosts = {name: Host(self.old) for name in HOSTS}

    def other(self, host: str) -> str:
        return next(name for name in self.hosts if name != host)

    def taken(self) -> set[str]:
        """Names and UUIDs that a guest has, or had when it was saved."""
        hosts = self.hosts.values()
        found = {word for host in hosts for saved in host.files.values() for word in (saved.name, saved.uuid)}
        return found | {word for host in hosts for name, guest in host.guests.items() for word in (name, guest.uuid)}


def possible(world: World, verb: str) -> Iterator[Step]:
    """Every step of this verb that makes sense to try, whether it is to succeed or to be refused; ``define`` without its case."""
    for name, host in world.hosts.items():
        if verb == "define":
            yield from (step(verb, name, guest=g) for g in GUESTS if not {g, uuid_of(g)} & world.taken())
        elif verb == "restore":
            yield from (step(verb, name, file=file) for file in host.files)
        elif verb == "upgrade" and host.release == world.old != world.new:
            yield from (step(verb, name, by=by) for by in ("disk", "define"))
        elif verb == "downgrade" and host.release == world.new != world.old:
            yield step(verb, name)
        elif verb not in ("define", "restore", "upgrade", "downgrade"):
            for guest in host.guests:
                yield from _of_guest(world, name, guest, verb)


def _of_guest(world: World, host: str, name: str, verb: str) -> Iterator[Step]:
    guest = world.hosts[host].guests[name]
    moments = {"revert": guest.snapshots, "delete-snapshot": guest.snapshots, "delete-checkpoint": guest.checkpoints}
    values = {
        "edit": EDITS if guest.persistent else (),
        "autostart": ("no" if guest.autostart else "yes",) if guest.persistent else (),
        "save": FILES,
        "snapshot": NAMES,
        "checkpoint": NAMES,
        "rename": ("renamed",) if guest.persistent and "renamed" not in world.taken() else (),
        "undefine": ("nothing", "everything") if guest.persistent else (),
    }
    word = VERBS[verb][1:]
    for value in moments.get(verb, values.get(verb, ())):
        yield step(verb, host, guest=name, **{word[0]: value})
    there = world.hosts[world.other(host)].guests
    if verb == "migrate" and any(name == n or guest.uuid == g.uuid for n, g in there.items()):
        return
    if not word and _sensible(guest, verb):
        yield step(verb, host, guest=name)


def _sensible(guest: Guest, verb: str) -> bool:
    if verb in ("attach", "detach"):
        return guest.active
    if verb == "migrate":
        # libvirt migrates no guest that has snapshots, checkpoints or a saved state (QEMU's driver says so).
        return guest.persistent and not (guest.snapshots or guest.checkpoints or guest.managed)
    if verb == "managed-drop":
        return guest.managed
    return guest.persistent or verb != "describe"


def refused(world: World, asked: Step) -> str:
    """Why a step has to be refused, empty where it has to succeed."""
    host = world.hosts[asked.host]
    if asked.verb == "restore":
        return _unrestorable(host, host.files[asked["file"]])
    if asked.verb in ("define", "upgrade", "downgrade"):
        return ""
    return _refused(host.guests[asked.guest], asked)


def _unrestorable(host: Host, saved: Saved) -> str:
    for name, guest in host.guests.items():
        if guest.uuid == saved.uuid:
            return "it has another name" if name != saved.name else "it runs" if guest.active else ""
    return ""


def _refused(guest: Guest, asked: Step) -> str:
    state, verb = guest.state, asked.verb
    if verb in ("start", "rename"):
        return "" if state == "shutoff" else "it runs"
    if verb in ("shutdown", "destroy", "save", "managed-save", "attach", "detach"):
        unkept = verb == "managed-save" and not guest.persistent
        return "it does not run" if state == "shutoff" else "it is transient" if unkept else ""
    if verb in ("suspend", "resume"):
        return "" if state == {"suspend": "running", "resume": "paused"}[verb] else f"it is {state}"
    if verb == "snapshot":
        return "it has checkpoints" if guest.checkpoints else "it is there" if asked["name"] in guest.snapshots else ""
    if verb == "checkpoint":
        there = asked["name"] in guest.checkpoints
        return (
            "it has snapshots" if guest.snapshots else "it is there" if there else "" if guest.active else "it is off"
        )
    if verb == "revert":
        off = guest.snapshots[asked["name"]].state == "shutoff"
        return "it is transient, and was off then" if off and not guest.persistent else ""
    if verb == "undefine":
        return _undefinable(guest, asked["with"] == "everything")
    return ""


def _undefinable(guest: Guest, everything: bool) -> str:
    if everything:
        return ""
    if guest.managed:
        return "it has a saved state"
    return "it has snapshots" if guest.snapshots and not guest.active else ""


def apply(world: World, asked: Step, text: str = "") -> None:
    """What a step does that succeeds. text: the document that it hands in, or that has to be there after it."""
    host = world.hosts[asked.host]
    if asked.verb == "define":
        host.guests[asked.guest] = Guest(uuid_of(asked.guest), asked["case"], text)
    elif asked.verb in ("upgrade", "downgrade"):
        host.release = world.new if asked.verb == "upgrade" else world.old
    elif asked.verb == "migrate":
        world.hosts[world.other(asked.host)].guests[asked.guest] = host.guests.pop(asked.guest)
    elif asked.verb == "restore":
        _restore(host, host.files[asked["file"]])
    elif asked.verb == "rename":
        host.guests[asked["to"]] = host.guests.pop(asked.guest)
        host.guests[asked["to"]].inactive = text
    elif asked.verb in ("save", "shutdown", "destroy", "managed-save", "undefine"):
        _end(host, asked)
    else:
        _change(host.guests[asked.guest], asked, text)


def _restore(host: Host, saved: Saved) -> None:
    guest = host.guests.setdefault(saved.name, Guest(saved.uuid, saved.case, "", persistent=False))
    guest.live, guest.state, guest.managed = saved.live, "running", False


def _end(host: Host, asked: Step) -> None:
    guest = host.guests[asked.guest]
    if asked.verb == "undefine":
        guest.persistent = False
        if asked["with"] == "everything":
            guest.managed = False
    else:
        if asked.verb == "save":
            host.files[asked["file"]] = Saved(asked.guest, guest.uuid, guest.case, guest.live, host.release)
        guest.managed = guest.managed or asked.verb == "managed-save"
        guest.live, guest.state = "", "shutoff"
    if not guest.active and not guest.persistent:
        del host.guests[asked.guest]


def _change(guest: Guest, asked: Step, text: str) -> None:
    match asked.verb:
        case "edit" | "describe":
            guest.inactive = text
        case "attach" | "detach":
            guest.live = text
        case "start":
            guest.state, guest.live, guest.managed = "running", guest.inactive, False
        case "suspend" | "resume":
            guest.state = "paused" if asked.verb == "suspend" else "running"
        case "autostart":
            guest.autostart = asked["on"] == "yes"
        case "managed-drop":
            guest.managed = False
        case "snapshot" | "checkpoint":
            _take(guest, asked)
        case "revert":
            _revert(guest, asked["name"])
        case "delete-snapshot" | "delete-checkpoint":
            _delete(guest, asked)


def _take(guest: Guest, asked: Step) -> None:
    if asked.verb == "snapshot":
        guest.snapshots[asked["name"]] = Moment(guest.current, guest.state, guest=guest.live or guest.inactive)
        guest.current = asked["name"]
    else:
        guest.checkpoints[asked["name"]] = Moment(guest.newest, guest.state, guest=guest.live)


def _revert(guest: Guest, name: str) -> None:
    moment = guest.snapshots[name]
    guest.state, guest.current, guest.inactive = moment.state, name, moment.guest
    guest.live = moment.guest if guest.active else ""


def _delete(guest: Guest, asked: Step) -> None:
    tree = guest.snapshots if asked.verb == "delete-snapshot" else guest.checkpoints
    gone = tree.pop(asked["name"])
    for moment in tree.values():
        if moment.parent == asked["name"]:
            moment.parent = gone.parent
    if tree is guest.snapshots and guest.current == asked["name"]:
        guest.current = gone.parent
