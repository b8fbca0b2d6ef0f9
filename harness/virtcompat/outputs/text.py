"""The judgement for a terminal: one screen, whatever is in it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from virtcompat.judgement import Judgement, Standing, Unreached
from virtcompat.outputs import (
    Cause,
    Output,
    causes,
    cells,
    counted,
    line,
    reason,
    reasons,
    sentence,
    some,
    standings,
    title,
    versions,
    visible,
)

LINES, WIDTH = 40, 120
#: The width of what is there to be copied.
ENTIRE = 2000
#: Lines of a witness: of an excerpt, and at most.
EXCERPT, WHOLE = 8, 24

#: What of a section is told: in short, in full, and with all of the witness.
Block = tuple[list[str], list[str], list[str]]


@dataclass(slots=True)
class Section:
    """A heading and its blocks: the first ``shown`` are told, ``full`` of them in full, ``whole`` of these entirely."""

    heading: str
    blocks: list[Block]
    shown: int = 1
    full: int = 0
    whole: int = 0

    def lines(self) -> list[str]:
        depths = ((at < self.full) + (at < self.whole) for at in range(self.shown))
        told = [block[depth] for block, depth in zip(self.blocks, depths, strict=False)]
        rest = len(self.blocks) - self.shown
        more = [f"  … and {rest} more (--format json tells all)"] if rest > 0 else []
        return ["", self.heading, *(text for block in told for text in block), *more]


class TextOutput:
    """Plain text of at most 40 lines: why, the top causes with their witness, then what else there is to know."""

    name = "text"
    summary = "one screen for people"

    def render(self, judgement: Judgement) -> str:
        head, foot = _head(judgement), _foot(judgement)
        sections = [section for section in _sections(judgement) if section.blocks]
        _fit(sections, LINES - len(head) - len(foot))
        body = [text for section in sections for text in section.lines()]
        return "\n".join((*head, *body, *foot)) + "\n"


def _head(judgement: Judgement) -> list[str]:
    first, *others = judgement.codes
    also = f", also {', '.join(map(str, others))}" if others else ""
    why = "; ".join(reasons(judgement)) or f"no regression at or above '{judgement.gate.label}'"
    found = [f"{judgement.word.upper()}: {title(judgement)}: {why} (gate '{judgement.gate.label}', exit {first}{also})"]
    found.append(f"  {'; '.join(versions(column) for column in (judgement.candidate, *judgement.baselines))}")
    shape = textwrap.TextWrapper(WIDTH, subsequent_indent="  ", break_on_hyphens=False, max_lines=3, placeholder=" …")
    return [text for each in found for text in shape.wrap(each)]


def _sections(judgement: Judgement) -> list[Section]:
    regressions, waived = causes(judgement.of(Standing.REGRESSION)), causes(judgement.of(Standing.WAIVED))
    pending = causes(judgement.of(Standing.PENDING))
    number = counted(len(judgement.of(Standing.REGRESSION)), "regression")
    alike = f", {counted(len(regressions), 'cause')}" if number != counted(len(regressions), "regression") else ""
    return [
        Section(f"{number}{alike}", [_cause(cause) for cause in regressions]),
        Section("Not reached", [_one(_cell(u)) for u in cells(judgement.unreached)]),
        Section("Broken: the tool or a lab failed", [_one(_cell(u)) for u in cells(judgement.broken)]),
        Section("Waivers to put right", [_one(problem) for problem in sorted(judgement.problems)]),
        Section("Waived", [_waived(cause) for cause in waived]),
        Section("Pending: new fixtures that no release has passed", [_one(_short(cause)) for cause in pending]),
    ]


def _one(*lines: str) -> Block:
    shown = [f"{'  ' * depth}{line(text, WIDTH - 2 * depth)}" for depth, text in enumerate(lines, 1)]
    return shown, shown, shown


def _cell(unreached: Unreached) -> str:
    return f"{unreached.key}: {counted(unreached.cases, 'case')}: {unreached.why}"


def _waived(cause: Cause) -> Block:
    return _one(_short(cause), reason(cause.lead))


def _short(cause: Cause) -> str:
    mark, number = f"[{cause.lead.fingerprint}{cause.alike}] ", f"; {counted(len(cause.cases), 'case')}"
    return f"{mark}{sentence(cause.lead.finding, WIDTH - 2 - len(mark) - len(number))}{number}"


def _cause(cause: Cause) -> Block:
    """What changed, where, and how to see it; in full with the witness."""
    item, witness = cause.lead, cause.lead.witness
    mark, cases = f"[{item.fingerprint}{cause.alike}]", f"{counted(len(cause.cases), 'case')}: {some(cause.cases)}"
    head, about = f"  {item.finding.tier.label}: ", [f"{mark} {cause.scope}; {cases}"]
    if len(about[0]) > WIDTH - 4:
        about = [f"{mark} {cases}", cause.scope]
    short = [
        f"{head}{sentence(item.finding, WIDTH - len(head))}",
        *(f"    {line(text, WIDTH - 4)}" for text in about),
        f"    $ {line(witness.command if witness else item.command, ENTIRE)}",
    ]
    if not witness:
        return short, short, short
    size = "minimal" if witness.minimal else "not yet minimal, the time ended"
    told = f"    witness ({size}, {counted(witness.questions, 'question')}): {line(witness.file, ENTIRE)}"
    text = [each for each in visible(witness.text).expandtabs(2).split("\n") if each.strip()]
    return short, [*short, told, *_excerpt(text, EXCERPT)], [*short, told, *_excerpt(text, WHOLE)]


def _excerpt(text: list[str], most: int) -> list[str]:
    """The first line and the last ones: what a document is about stands at its end."""
    if len(text) > most:
        text = [text[0], f"  … {len(text) - most + 1} more lines", *text[len(text) - most + 2 :]]
    return [f"      {each[: WIDTH - 6]}" for each in text]


def _foot(judgement: Judgement) -> list[str]:
    j = judgement
    verdicts = f"{counted(j.compatible + j.incompatible, 'verdict')}: {j.compatible} compatible, {j.incompatible} not"
    found = [
        "",
        f"items: {standings(j)}",
        f"{verdicts}; {j.judged} judged now, {j.remembered} remembered",
        f"questions: {j.asked} asked now, {j.known} known from earlier runs; {j.seconds:.1f} s",
    ]
    notes = [f"note: {line(note, WIDTH - 6)}" for note in j.notes]
    return found + (notes if len(notes) <= 3 else [*notes[:2], f"note: and {len(notes) - 2} more notes"])


def _fit(sections: list[Section], room: int) -> None:
    """Tell as much as there is room for: a little of everything, an excerpt of the first witness, then more of each."""
    for section in sections[:1]:
        _while_it_fits(sections, room, section, "full", 1)
    for most in (3, 6):
        for section in sections:
            _while_it_fits(sections, room, section, "shown", most)
    for number in ("full", "whole"):
        for section in sections:
            _while_it_fits(sections, room, section, number, section.shown)
    for section in sections:
        _while_it_fits(sections, room, section, "shown", len(section.blocks))


def _while_it_fits(sections: list[Section], room: int, section: Section, number: str, most: int) -> None:
    for value in range(getattr(section, number) + 1, min(most, len(section.blocks)) + 1):
        setattr(section, number, value)
        if sum(len(each.lines()) for each in sections) > room:
            setattr(section, number, value - 1)
            return


OUTPUT: Output = TextOutput()
