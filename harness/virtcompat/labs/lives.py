"""Hosts whose guests live through several releases: begun in a lab, called, ended, and begun again in another lab."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from virtcompat.errors import LabError
from virtcompat.labs import Lab
from virtcompat.labs.session import DEATHS, Session, Start
from virtcompat.store import paths

PROBE = paths.PACKAGE / "probes" / "life_probe.py"
#: The longest wait for one call, in seconds.
LIMIT = 20.0
#: What a host says of its guests: name -> what the probe's ``seen`` tells of it.
View = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Said:
    """What a call came to: ``ok``, ``refused`` (code, words), ``no-binding``, ``crashed``, ``hung``, ``garbled``, ``absent``.

    view: what the host says after it, None where there is no host any more. files: what an ended host leaves behind.
    """

    outcome: str
    code: int = 0
    words: str = ""
    value: Any = None
    view: View | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def unsupported(self) -> bool:
        """Whether the release lacks the call (VIR_ERR_NO_SUPPORT), its binding does, or it knows a flag of it not."""
        unknown = self.code == 8 and self.words.startswith("unsupported flags")
        return self.outcome == "no-binding" or (self.outcome == "refused" and (self.code == 3 or unknown))


@dataclass(slots=True)
class Rack:
    """The hosts of one lab, in one sandbox. Close it."""

    lab: Lab
    limit: float = LIMIT
    session: Session = field(init=False)

    def __post_init__(self) -> None:
        opening = {"workdir": f"{self.lab.workdir}/lives", "limit": self.limit}
        self.session = Session(Start(self.lab.command(daemon=False), opening, 3 * self.limit, source=PROBE))

    def ask(self, request: Mapping[str, Any]) -> Said:
        """One question; LabError where the probe itself fails, which a dying host does not make it do."""
        reply = next(reply for _, reply in self.session.ask([dict(request)]))
        if reply["status"] in DEATHS:
            raise LabError(f"{self.lab.release}: {reply.get('message')}", "virt-compat doctor")
        files = {name: base64.b64decode(data) for name, data in reply.get("files", {}).items()}
        words = str(reply.get("words", ""))
        return Said(reply["outcome"], int(reply.get("code", 0)), words, reply.get("value"), reply.get("view"), files)

    def begin(self, host: str, uri: str, files: Mapping[str, bytes]) -> Said:
        """Start a host on these files, in place of any of that name."""
        packed = {name: base64.b64encode(data).decode() for name, data in files.items()}
        return self.ask({"op": "begin", "host": host, "uri": uri, "files": packed})

    def call(self, host: str, on: Sequence[str], method: str, *args: Any) -> Said:
        """Call a method of the connection (``on`` empty), of a guest, or of something of a guest's."""
        return self.ask({"op": "call", "host": host, "on": list(on), "method": method, "args": args})

    def end(self, host: str, *, hard: bool = False) -> Said:
        """End a host's process; what it leaves behind."""
        return self.ask({"op": "end", "host": host, "hard": hard})

    def clear(self) -> None:
        """End every host."""
        self.ask({"op": "clear"})

    def close(self) -> None:
        self.session.close()
