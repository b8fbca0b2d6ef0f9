"""What a conversion gave as facts: the facts of the document, the lines of the configuration, or the refusal."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

#: Takes the text of a domain to its facts.
Reader = Callable[[str], Mapping[str, str]]
DRAWN = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}|\b(?:52:54:00|00:16:3e)(?::[0-9a-f]{2}){3}"
)


def told(name: str, answer: Mapping[str, object], read: Reader) -> dict[str, str]:
    """``limits/domain/memtune/hard_limit = 262144`` and on, ``limits/back/[memory] = 256`` for what is written again.

    A refusal is ``limits/refused = 1: …``. UUIDs and hardware addresses that libvirt draws are left out.
    """
    if "xml" not in answer:
        return {f"{name}/refused": _refusal(answer)}
    found = {f"{name}{path}": DRAWN.sub("…", value) for path, value in read(str(answer["xml"])).items()}
    back = answer.get("back", "")
    if isinstance(back, Mapping):
        return found | {f"{name}/back/refused": _refusal(back)}
    lines = [DRAWN.sub("…", line.strip()) for line in str(back).splitlines() if line.strip()[:1] not in ("", "#")]
    for line in lines:
        key, _, value = (part.strip() for part in line.partition("="))
        place = f"{name}/back/[{key}]"
        found[place] = f"{found[place]} | {value}" if place in found else value
    return found


def _refusal(answer: Mapping[str, object]) -> str:
    return f"{answer.get('code', '')}: {' '.join(str(answer.get('message', '')).split())}".removeprefix(": ")
