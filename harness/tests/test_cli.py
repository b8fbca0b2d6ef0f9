"""The command line as a whole: every command shows how it is used, the shell completes it, mistakes end in a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from virtcompat.cli import group

MAIN = [sys.executable, "-c", "import sys; sys.argv[0] = 'virt-compat'; from virtcompat.cli import main; main()"]


def commands(of: click.Command = group, name: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(of, click.Group):
        for word, command in of.commands.items():
            yield from commands(command, (*name, word))
    if name:
        yield name


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MAIN, *arguments], capture_output=True, text=True, check=False, env={**os.environ, **environment}, timeout=120
    )


@pytest.mark.parametrize("name", sorted(commands()), ids=" ".join)
def test_every_command_has_an_example_that_names_it(name: tuple[str, ...]) -> None:
    command: click.Command = group
    for word in name:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    words = command.get_help(click.Context(command, info_name=" ".join(name)))
    assert "Example" in words
    assert f"virt-compat {' '.join(name)}" in words


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("virt-compat ga", {"gate"}),
        ("virt-compat lab cr", {"create"}),
        ("virt-compat gate --baseline debian-", {"debian-11", "debian-12", "debian-13", "debian-14"}),
        ("virt-compat matrix --check upgrade", {"upgrade-disk", "upgrade-redefine"}),
        ("virt-compat matrix --driver q", {"qemu"}),
    ],
)
def test_the_shell_completes_commands_and_names(typed: str, offered: set[str]) -> None:
    words = typed.split()
    done = run(_VIRT_COMPAT_COMPLETE="bash_complete", COMP_WORDS=typed, COMP_CWORD=str(len(words) - 1))
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == offered, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("matrix", "--release", "no-such"), 2),
        (("gate", "--baseline", "debian-13"), 2),
        (("gate", "--baseline", "debian-13", "--candidate", "debian-13"), 2),
        (("claims", "/no/such.toml"), 2),
        (("plan", "/no/such.toml"), 2),
        (("preflight", "--to", "debian-14"), 2),
        (("history", "no-such-case"), 2),
        (("path", "debian-11", "no-such"), 2),
        (("verify", "/dev/null"), 2),
        (("report", "compare", "/dev/null", "/dev/null"), 2),
        (("merge", "/dev/null"), 2),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_mistake_is_a_sentence_and_exit_code_2(arguments: tuple[str, ...], code: int) -> None:
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
