"""What a client's call to a daemon of another release came to, judged by what that daemon's own client is told. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from virtcompat.model import Change, Finding, NotHere, Outcome, Tier, Verdict, judged, unasked

#: Longer values are written down as a digest.
SHORT = 160
#: How much of two long values is shown around the first difference.
AROUND = 60
#: Classes after which the connection is of no use; what each is as a change, and in words.
ENDINGS = {
    "dropped": (Change.LOST, "the connection is dropped"),
    "hung": (Change.HUNG, "no answer"),
    "crashed": (Change.CRASHED, "the client crashes"),
    "refused": (Change.REFUSED, "the connection is refused"),
}
#: Classes in which nothing was asked of the daemon.
MUTE = ("no-binding", "unasked")


@dataclass(frozen=True, slots=True)
class Said:
    """What became of one call.

    kind: a class of ``probes/client_probe.py``. text: the value of ``ok`` (or its digest, where it was read from a
    record), ``CODE from DOMAIN`` of an error. words: what it was said in; differs from release to release.
    """

    kind: str
    text: str = ""
    words: str = ""

    @classmethod
    def of(cls, record: Mapping[str, object]) -> Said:
        """What a probe's record says."""
        kind, words = str(record["class"]), " ".join(str(record.get("words", "")).split())
        if kind == "error":
            return cls(kind, f"{record['code']} from {record['domain']}", words)
        return cls(kind, str(record.get("value", "")), words)

    @classmethod
    def read(cls, fact: str) -> Said:
        """What a recorded fact says."""
        kind, _, text = fact.partition(" ")
        return cls(kind, text)

    @property
    def fact(self) -> str:
        """The call in a line that is the same whenever the same is answered; a long value is its digest."""
        return _fact(self.kind, self.text)

    def like(self, other: Said) -> bool:
        """Whether the same was answered."""
        return (self.kind == other.kind and self.text == other.text) or self.fact == other.fact

    def shown(self, beside: Said) -> str:
        """The call in a line for people, next to another answer to it."""
        if self.kind == "ok":
            return _excerpt(self.text, beside.text) if beside.kind == "ok" else self.fact
        words = f": {self.words}" if self.words else ""
        if self.kind in ENDINGS:
            return ENDINGS[self.kind][1] + words
        return self.fact + words


@lru_cache(maxsize=1 << 13)
def _fact(kind: str, text: str) -> str:
    """Most pairs of releases say the same: it is digested once."""
    return f"{kind} {_digested(text)}".strip() if kind in ("ok", "error", "fault") else kind


def _digested(text: str) -> str:
    if len(text) <= SHORT and text == text.strip() and "\n" not in text and not text.startswith("sha256:"):
        return text
    # What was read from a record may be a digest already.
    if re.fullmatch(r"sha256:[0-9a-f]{16}, \d+ characters", text):
        return text
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}, {len(text)} characters"


def _excerpt(text: str, beside: str) -> str:
    """A value, or of a long one what is around its first difference from another."""
    line, other = " ".join(text.split()), " ".join(beside.split())
    if max(len(line), len(other)) <= SHORT:
        return line
    at = next((n for n, (a, b) in enumerate(zip(line, other, strict=False)) if a != b), min(len(line), len(other)))
    start = max(0, at - AROUND)
    return f"{'…' if start else ''}{line[start : at + AROUND]}{'…' if at + AROUND < len(line) else ''}"


#: Transport -> call (``TOPIC/CALL``) -> what became of it.
Talk = Mapping[str, Mapping[str, Said]]


@dataclass(frozen=True, slots=True)
class Sides:
    """Who talks: the releases of the client and of the daemon."""

    client: str
    daemon: str


def verdict(case: str, sides: Sides, own: Said, control: Said | None, recorded: str = "") -> Verdict:
    """The verdict of one call over one transport.

    control: what the daemon's own client was told, None where that is not known. recorded: the fact that was recorded of
    the same pair of releases, empty where none was.
    """
    if own.kind == "fault":
        return Verdict(case, Outcome.BROKEN, reason=f"the call is written wrongly: {own.text or own.words}")
    if own.kind in ENDINGS:
        change, _ = ENDINGS[own.kind]
        before = control.shown(own) if control else "an answer"
        return judged(case, [Finding(case, change, Tier.BREAK, before, own.shown(own), "libvirt")])
    if control is None:
        return unasked(
            case, NotHere(f"what {sides.daemon}'s own client is told is not known", "see the cell of that pair")
        )
    if own.kind in MUTE:
        return Verdict(case, Outcome.NOT_APPLICABLE, reason=_mute(own, sides.client))
    if control.kind in MUTE:
        return Verdict(case, Outcome.NOT_APPLICABLE, reason=_mute(control, f"{sides.daemon}'s own client"))
    if control.kind in ENDINGS:
        return Verdict(case, Outcome.NOT_APPLICABLE, reason=f"{sides.daemon}'s own client: {control.shown(own)}")
    found = list(_findings(case, own, control, recorded))
    return judged(case, found) if found else Verdict(case, Outcome.COMPATIBLE)


def _findings(case: str, own: Said, control: Said, recorded: str) -> Iterator[Finding]:
    if not own.like(control):
        change = Change.CHANGED
        if own.kind != control.kind:
            change = Change.REFUSED if own.kind == "error" else Change.ACCEPTED
        # What the daemon's own client may not have, a wrong answer: somebody relies on it. Another refusal is one still.
        tier = Tier.BREAK if control.kind == "ok" else Tier.RISK
        yield Finding(case, change, tier, control.shown(own), own.shown(control), "libvirt")
    if recorded and recorded != own.fact:
        yield Finding(f"{case}/(recorded)", Change.UNSTABLE, Tier.RISK, recorded, own.fact, "libvirt")


def _mute(said: Said, who: str) -> str:
    if said.kind == "no-binding":
        return f"{who} has no such call: {said.words}".rstrip(": ")
    return f"{who} could not make the call: {said.words}".rstrip(": ")


def across(case: str, said: Said, other: Said, *, varies: bool) -> list[Finding]:
    """What a release's own client is told over one transport, and not over unix sockets: it must be the same."""
    if varies or said.like(other) or said.kind in ENDINGS or other.kind in ENDINGS:
        return []
    return [Finding(case, Change.CHANGED, Tier.BREAK, other.shown(said), said.shown(other), "libvirt")]


def facts(talk: Talk) -> dict[str, str]:
    """A pair's record: ``TOPIC/CALL = fact``, and ``TOPIC/CALL/TRANSPORT = fact`` for a transport that says another thing.

    The transports of a call agree on what most of them, and of equally many the first, say.
    """
    found: dict[str, str] = {}
    for name in dict.fromkeys(name for of in talk.values() for name in of):
        said = {transport: of[name].fact for transport, of in talk.items() if name in of}
        common = max(said.values(), key=list(said.values()).count)
        found[name] = common
        found |= {f"{name}/{transport}": fact for transport, fact in said.items() if fact != common}
    return found


def talk(record: Mapping[str, str], calls: Mapping[str, tuple[str, ...]]) -> dict[str, dict[str, Said]]:
    """The talk of a record. calls: ``TOPIC/CALL`` -> the transports that it is made over."""
    found: dict[str, dict[str, Said]] = {}
    for name, transports in calls.items():
        for transport in transports:
            fact = record.get(f"{name}/{transport}", record.get(name))
            if fact is not None:
                found.setdefault(transport, {})[name] = Said.read(fact)
    return found
