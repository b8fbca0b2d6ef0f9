"""Outputs: one way to tell a gate's judgement each. Pure: a judgement in, a text out. The folder is the list."""

from __future__ import annotations

from typing import Protocol

from virtcompat import registry
from virtcompat.judgement import Judgement


class Output(Protocol):
    """One format. ``summary`` says for whom it is."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    def render(self, judgement: Judgement) -> str: ...


def every() -> dict[str, Output]:
    return registry.members(__name__, "OUTPUT")
