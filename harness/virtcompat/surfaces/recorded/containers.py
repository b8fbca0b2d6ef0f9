"""Containers that really start under a release: what they see of themselves, what the API says of them, how they end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from virtcompat.labs.containers import hosting
from virtcompat.labs.visit import Visit
from virtcompat.model import Change, Finding, Tier
from virtcompat.store import scenes
from virtcompat.surfaces import RecordedSurface, Rule
from virtcompat.surfaces import every as kinds

#: The command that shows a process of the host its own namespaces.
SHOW = "for n in ipc mnt net pid user uts; do echo $n $(readlink /proc/self/ns/$n); done"
NAMESPACES: scenes.Step = ("run", "host", "sh", "-c", SHOW)


def lxc(visit: Visit) -> dict[str, str]:
    """What becomes of each scene: ``lxc/life/suspend/state = paused (user)``."""
    found: dict[str, str] = {}
    with hosting(visit.lab) as host:
        for scene in scenes.every():
            facts = host.play(scene.name, scene.domain, [NAMESPACES, *scene.steps])
            for path, value in _told(facts):
                found[f"lxc/{scene.name}/{path}"] = value
    return found


def _told(facts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    own = dict(line.split() for line in facts.get("host", "").splitlines())
    for path, value in facts.items():
        if path == "live":
            # Numbers of processes and of terminals are drawn anew at each start.
            for where, what in kinds()["domain"].facts(value.removeprefix("ok: ")).items():
                if not where.endswith(("/@id", "/@tty", "/source/@path")):
                    yield f"live/[{where}]", what
        elif "namespaces/" in path:
            yield path, "the host's" if value == own[path.rpartition("/")[2]] else "its own"
        elif path not in ("host", ""):
            yield path, value


def _special(old: Mapping[str, str], new: Mapping[str, str], back: bool) -> Iterator[Finding]:
    """What depends on the values: an outcome that is another one, and everything else that both have."""
    for path in sorted(old.keys() & new.keys()):
        if old[path] != new[path]:
            yield Finding(
                path, Change.CHANGED, _tier(path, old[path], new[path], back), old[path], new[path], "libvirt"
            )


def _tier(path: str, was: str, now: str, back: bool) -> Tier:
    good, bad = now == "ok" or now.startswith("ok: "), now.startswith(("refused: ", "hung", "crashed"))
    if was.startswith(("refused: ", "hung", "crashed")):
        return Tier.ADDITION if good else Tier.RISK
    if bad or path.endswith("/state"):
        # What an older release cannot do yet is no fault of the way there.
        return Tier.RISK if back else Tier.BREAK
    if "/live/" in path:
        return kinds()["domain"].tier(path.partition("/live/")[2][1:-1], Change.CHANGED)
    return Tier.RISK


#: What a container is told, sees or can do anew is more; what it no longer does may be missed. Values: see ``_special``.
RULES: tuple[Rule, ...] = (
    (r"/\(stopped\)$", Tier.IDENTICAL, Tier.BREAK, Tier.ADDITION),
    (r"/live/.*/alias/@name\]$", Tier.IDENTICAL, Tier.ADDITION, Tier.ADDITION),
    (r"", Tier.IDENTICAL, Tier.ADDITION, Tier.RISK),
)

SURFACE = RecordedSurface(
    name="containers",
    summary="containers that are started: what they see of themselves, what can be done with them, how they end",
    product="libvirt",
    parts={"lxc": lxc},
    rules=RULES,
    backward=RULES,
    special=_special,
    flavour="sys",
)
