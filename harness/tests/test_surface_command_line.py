"""The surface command-line: what real programs say, and what they would say if something were gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from virtcompat import helptext
from virtcompat.errors import Absent, BadData
from virtcompat.helptext import Option
from virtcompat.labs import Lab
from virtcompat.labs.visit import Ran, Visit, visiting
from virtcompat.model import Change, NotHere, Tier
from virtcompat.policy import records
from virtcompat.store import invocations
from virtcompat.surfaces import Part
from virtcompat.surfaces.recorded import command_line
from virtcompat.surfaces.recorded.command_line import (
    END,
    SURFACE,
    across,
    samples,
    tools,
    virsh,
    virt_admin,
    virt_install,
)

Abi = Callable[[str], Lab]
FORWARD = False


@dataclass(frozen=True)
class Remembering:
    """A visit that runs each command once, and on which some commands say something else."""

    visit: Visit
    said: dict[object, Any] = field(default_factory=dict)
    alter: Callable[[tuple[str, ...], Ran], Ran] = lambda argv, ran: ran

    @property
    def release(self) -> str:
        return self.visit.release

    @property
    def workdir(self) -> str:
        return self.visit.workdir

    def read(self, *patterns: str) -> dict[str, bytes]:
        return self.visit.read(*patterns)

    def library(self, soname: str) -> tuple[str, bytes]:
        return self.visit.library(soname)

    def run(self, *argv: str, stdin: str = "", **more: Any) -> Ran:
        key = (argv, stdin)
        if key not in self.said:
            self.said[key] = self.visit.run(*argv, stdin=stdin, **more)
        return self.alter(argv, self.said[key])

    def ask(self, program: str, request: Mapping[str, Any], limit: float = 60.0) -> dict[str, Any]:
        key = (program, str(request))
        if key not in self.said:
            self.said[key] = self.visit.ask(program, request, limit)
        return self.said[key]

    def saying(self, old: str, new: str) -> Remembering:
        """The same visit, where one text stands for another in whatever virsh prints."""

        def change(argv: tuple[str, ...], ran: Ran) -> Ran:
            return replace(ran, out=ran.out.replace(old, new)) if argv[0] == "virsh" else ran

        return replace(self, alter=change)


@pytest.fixture(scope="module")
def visit(abi: Abi) -> Iterator[Remembering]:
    with visiting(abi("debian-13")) as found:
        yield Remembering(found)


def compared(old: Mapping[str, str], new: Mapping[str, str], part: str = "virsh") -> list[tuple[str, Change, Tier]]:
    """What two readings of one part come to, as the other parts were not there."""
    nothing: dict[str, Part] = dict.fromkeys(SURFACE.parts, NotHere("not asked", "ask"))
    verdicts = records.compare(SURFACE, nothing | {part: old}, nothing | {part: new})
    return [(f.path, f.change, f.tier) for verdict in verdicts for f in verdict.findings]


@pytest.mark.lab
def test_the_record_of_a_real_virsh(visit: Remembering) -> None:
    facts = virsh(visit)
    assert facts["virsh/option/--connect"] == facts["virsh/option/-c"] == "value"
    assert facts["virsh/option/--version"] == "optional value"
    assert facts["virsh/command/define/option/--file"] == "string, required"
    assert facts["virsh/command/define/option/--validate"] == "flag"
    assert facts["virsh/command/send-key/option/--keycode"] == "string, required, repeated"
    assert facts["virsh/command/setvcpus/positional"] == "domain count"
    assert facts["virsh/command/attach-disk/positional"] == "domain source target"
    assert facts["virsh/command/desc/positional"] == "domain new-desc..."
    assert facts["virsh/command/migrate/positional"].startswith("domain desturi migrateuri ")
    assert facts["virsh/command/nodeinfo"] == "command"
    assert "virsh/command/nodeinfo/positional" not in facts
    assert compared(facts, virsh(visit)) == []


@pytest.mark.lab
@pytest.mark.parametrize(
    ("old", "new", "option"),
    [
        ("[--targetbus <string>]", "--targetbus <string>", "--targetbus"),  # must be given
        ("    --rawio          ", "    --rawio <string>  ", "--rawio"),  # a flag wants a value
    ],
)
def test_an_option_that_asks_for_more_is_a_break(visit: Remembering, old: str, new: str, option: str) -> None:
    finding = (f"virsh/command/attach-disk/option/{option}", Change.CHANGED, Tier.BREAK)
    assert finding in compared(virsh(visit), virsh(visit.saying(old, new)))


@pytest.mark.lab
def test_half_of_a_help_text_altered_contradicts_the_other_and_is_no_record(visit: Remembering) -> None:
    with pytest.raises(BadData, match="SYNOPSIS and OPTIONS differ in target-bus, targetbus"):
        virsh(visit.saying("[--targetbus <", "[--target-bus <"))


@pytest.mark.lab
def test_an_option_gone_from_all_of_the_help_is_a_break(visit: Remembering) -> None:
    before = virsh(visit)
    gone = visit.saying(" [--graceful]", "")
    after = virsh(replace(gone, alter=lambda argv, ran: without(gone.alter(argv, ran), "    --graceful ")))
    assert compared(before, after) == [("virsh/command/destroy/option/--graceful", Change.REMOVED, Tier.BREAK)]
    assert compared(after, before) == [("virsh/command/destroy/option/--graceful", Change.ADDED, Tier.ADDITION)]


def without(ran: Ran, start: str) -> Ran:
    return replace(ran, out="".join(line for line in ran.out.splitlines(keepends=True) if not line.startswith(start)))


@pytest.mark.lab
def test_a_command_gone_is_one_break_and_a_command_that_came_one_addition(visit: Remembering) -> None:
    before = virsh(visit)
    after = {path: value for path, value in before.items() if not path.startswith("virsh/command/domrename")}
    assert compared(before, after) == [("virsh/command/domrename", Change.REMOVED, Tier.BREAK)]
    assert compared(after, before) == [("virsh/command/domrename", Change.ADDED, Tier.ADDITION)]


@pytest.mark.lab
def test_a_help_text_that_names_fewer_commands_or_is_cut_short_is_no_record(visit: Remembering) -> None:
    cut = replace(visit, alter=lambda argv, ran: replace(ran, out=ran.out[:5000]) if "echo" in argv[-1] else ran)
    with pytest.raises(BadData, match=r"of \d+ commands"):
        virsh(cut)
    with pytest.raises(BadData, match="0 of 0 commands"):
        virsh(replace(visit, alter=lambda argv, ran: replace(ran, out="")))
    for err, message in (("", "0 answers to"), ("error: what?\n", "does not say what it does with data")):
        with pytest.raises(BadData, match=message):
            virsh(replace(visit, alter=mumbling(err)))


def mumbling(text: str) -> Callable[[tuple[str, ...], Ran], Ran]:
    """Says this in place of every error."""

    def change(argv: tuple[str, ...], ran: Ran) -> Ran:
        lines = [line if END in line else text.strip() for line in ran.err.splitlines()] if text else []
        return replace(ran, err="".join(f"{line}\n" for line in lines))

    return change


@pytest.mark.lab
def test_the_smaller_programs(visit: Remembering) -> None:
    assert virt_admin(visit)["virt-admin/command/client-info/positional"] == "server client"
    facts = tools(visit)
    assert facts["virt-pki-validate/option/--path"] == facts["virt-pki-validate/option/-p"] == "value"
    assert facts["virt-qemu-run/option/--secret"] == "value"
    assert facts["virt-xml-validate/option/--help"] == "flag"


@pytest.mark.lab
def test_virt_install_and_what_its_options_consist_of(visit: Remembering) -> None:
    facts = virt_install(visit)
    assert facts["virt-install/option/--disk"] == "value, repeated"
    assert facts["virt-install/option/--noautoconsole"] == "flag"
    assert facts["virt-install/option/--ram"] == "number, hidden"
    assert facts["virt-install/option/--disk/size"] == "part"
    assert facts["virt-install/option/--boot/loader_ro"] == "part, hidden"
    assert facts["virt-install/option/--cpu/numa.cellN.id"] == "part"
    assert facts["virt-install/option/--osinfo/require"] == facts["virt-install/option/--os-variant/require"] == "part"
    assert facts["virt-xml/option/--edit"] == "optional value"
    assert facts["virt-install/invocation/disk-path"] == "ok"
    assert facts["virt-install/invocation/plain-import"] == facts["virt-install/invocation/memory-missing"] == "fails"
    assert facts["virt-install/invocation/unknown-part"] == "not understood"
    after = {path: value for path, value in facts.items() if not path.startswith("virt-install/option/--disk/size")}
    found = compared(facts, after, "virt-install")
    assert found == [("virt-install/option/--disk/size", Change.REMOVED, Tier.BREAK)]


@pytest.mark.lab
def test_a_release_without_virt_install_lacks_that_part_alone(lab: Lab) -> None:
    with visiting(lab) as bare:
        with pytest.raises(Absent, match="no program virt-"):
            virt_install(bare)
        assert tools(bare)


@pytest.mark.lab
def test_a_sample_command_line_that_fails_is_a_break(visit: Remembering) -> None:
    before = samples(visit)
    assert before["virsh/invocation/setmem-positional"] == "ok"
    assert before["virsh/invocation/nobody-save"] == "fails"
    assert before["virsh/invocation/unknown-option"] == "not understood"
    line = next(one for one in invocations.every() if one.name == "setmem-positional")

    def failing(code: int, err: str) -> list[tuple[str, Change, Tier]]:
        other = replace(visit, alter=lambda argv, ran: Ran(code, "", err) if argv == line.argv else ran)
        after = samples(other)
        assert [tier for _, _, tier in compared(after, before, "invocations")] == [Tier.ADDITION]
        return compared(before, after, "invocations")

    expected = [("virsh/invocation/setmem-positional", Change.CHANGED, Tier.BREAK)]
    assert (
        failing(1, "error: no such thing") == failing(1, "error: unexpected data '1'") == failing(-11, "") == expected
    )


@pytest.mark.parametrize(
    ("was", "now", "tier"),
    [
        ("string", "string", None),
        ("string", "string, required", Tier.BREAK),
        ("string, required", "string", Tier.ADDITION),
        ("string, repeated", "string", Tier.BREAK),
        ("flag", "string", Tier.BREAK),
        ("string", "flag", Tier.BREAK),
        ("flag", "optional value", Tier.ADDITION),
        ("number", "string", Tier.ADDITION),
        ("string", "number", Tier.BREAK),
        ("value", "value, hidden", Tier.RISK),
        ("value, hidden", "value", Tier.ADDITION),
    ],
)
def test_what_an_option_may_become(was: str, now: str, tier: Tier | None) -> None:
    found = [f.tier for f in across({"virsh/option/-x": was}, {"virsh/option/-x": now}, FORWARD)]
    assert found == ([] if tier is None else [tier])


def test_arguments_may_be_added_at_the_end_only() -> None:
    def tiers(was: str, now: str) -> list[Tier]:
        path = "virsh/command/c"
        old, new = ({path: "command", f"{path}/positional": value} for value in (was, now))
        return [f.tier for f in across(old, new, FORWARD)]

    assert tiers("domain file", "domain file mode") == [Tier.ADDITION]
    assert tiers("domain file", "domain mode file") == tiers("domain file", "domain") == [Tier.BREAK]


def test_an_option_that_comes_and_must_be_given_is_a_break() -> None:
    command = {"virsh/command/c": "command"}
    found = list(across(command, command | {"virsh/command/c/option/--x": "string, required"}, FORWARD))
    assert [f.tier for f in found] == [Tier.BREAK]
    assert list(across({}, command | {"virsh/command/c/option/--x": "string, required"}, FORWARD)) == []


OLD_STYLE = """
  SYNOPSIS
    send-key <domain> [--codeset <string>] [--live] {[--keycode] <string>}... [[--more] <string>]... [<rest>]...

  OPTIONS
    [--domain] <string>  domain name, id or uuid
    --codeset <string>  the codeset
    --live           affect
    [--keycode] <string>  the key code
    [--more] <string>  more of them
    <rest>           everything else
"""
NEW_STYLE = """
  SYNOPSIS
    send-key <domain> [--codeset <string>] [--live] <keycode>... [<more>]... [<rest>]...

  OPTIONS
    [--domain] <string>  domain name, id or uuid
    --codeset <string>  the codeset
    --live           affect
    [--keycode] <string>...  the key code
    [--more] <string>...  more of them
    [--rest] <string>...  everything else
"""


def test_two_styles_of_help_say_the_same() -> None:
    assert helptext.options(OLD_STYLE) == helptext.options(NEW_STYLE)
    assert Option("keycode", "string", required=True, repeated=True) in helptext.options(NEW_STYLE)


def test_the_spellings_of_options() -> None:
    text = """
    -e | --escape <char>    set escape sequence
    -v                      short version
         --version[=TYPE]   version, TYPE is short or long
    -p DIR | --path DIR validate custom certificate path
    -s, --secret=XML-FILE,VALUE-FILE     Load secret file
    -u     | --user     validate user certificates
    no option - at all"""
    assert helptext.spellings(text) == {
        "-e": "value", "--escape": "value", "-v": "flag", "--version": "optional value", "-p": "value",
        "--path": "value", "-s": "value", "--secret": "value", "-u": "flag", "--user": "flag",
    }  # fmt: skip


def test_sample_command_lines_are_sound(tmp_path: Path) -> None:
    lines = invocations.every()
    assert len(lines) > 250
    assert len({(line.argv[0], line.name) for line in lines}) == len(lines)
    assert all(not line.stdin for line in lines if line.argv[0] in command_line.VIRTINST)
    file = tmp_path / "bad.toml"
    for text, message in (
        ("program = 'virsh'\n[invocations]\na = \"list < nothing\"\n", r"bad.toml:3: 'a' is no command line"),
        ("program = 'virsh'\n[invocations]\na = \"it's\"\n", r"No closing quotation"),
        ("[invocations]\n", "'program' is missing"),
    ):
        file.write_text(text)
        with pytest.raises(BadData, match=message):
            invocations.read(file)
