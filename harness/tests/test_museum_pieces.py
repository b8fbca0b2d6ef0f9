"""The museum's pieces as they are read: whole, or refused by file and line before anything is asked."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from virtcompat.engine import museum
from virtcompat.errors import BadData, UsageError
from virtcompat.labs import faults
from virtcompat.model import Tier
from virtcompat.store import regressions
from virtcompat.store.regressions import Expected

PIECE = """id = "T01"
title = "A test"
product = "libvirt"
what = "It broke."
reference = "nowhere"
enacted = "here"
[ask]
release = "debian-14"
drivers = ["test"]
[[fault]]
kind = "answer"
edits = [["a", "b"]]
"""


def written(folder: Path, text: str, name: str = "T01") -> Path:
    file = folder / f"{name}.toml"
    file.write_text(text)
    return file


def test_every_piece_is_whole_and_the_list_of_libvirts_is_there() -> None:
    pieces = {p.name: p for p in regressions.every()}
    assert {f"L{n:02}" for n in range(1, 50, 2)} - pieces.keys() == set()
    for p in pieces.values():
        assert all((p.title, p.what, p.reference, p.enacted)), p.name
        assert p.tier > Tier.ADDITION or p.control, p.name
    assert {p.expected for p in pieces.values()} == set(Expected)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('id = "T01"', 'id = "T02"', "not the file's name"),
        ('kind = "answer"', 'kind = "curse"', "use one of"),
        ('["a", "b"]', '["(", "b"]', "no pattern"),
        ('release = "debian-14"', 'release = "debian-1"', "no release"),
        ('drivers = ["test"]', "", "asks everything"),
        ('edits = [["a", "b"]]', 'edit = "a"', "unknown key"),
    ],
)
def test_a_wrong_piece_is_bad_data_with_its_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(BadData) as raised:
        regressions.read(written(tmp_path, PIECE.replace(old, new)))
    assert words in str(raised.value)
    assert "T01.toml:" in str(raised.value)


EDITS = 'edits = [["a", "b"]]'


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        (EDITS, 'transform = "nope"', 12, "'transform' is 'nope'"),
        (EDITS, 'edits = [["<usage", "\\\\9"]]', 12, "invalid group reference"),
        (EDITS, 'edits = [["<usage", "\\\\g<x>"]]', 12, "unknown group name"),
        (EDITS, "edits = [[1, 2]]", 12, "must be pairs"),
        (EDITS, f'{EDITS}\nprobe = "nope.py"', 13, "'probe' is 'nope.py'"),
        (EDITS, f"{EDITS}\nforms = [1]", 13, "list of words"),
        (EDITS, 'say = {}\nop = ["define"]', 10, "does nothing"),
        (EDITS, "die = 4000", 12, "no signal 4000"),
        (EDITS, '[fault.records]\nkey = "a"\nset = { b = 1 }', 12, "does not say which"),
        (EDITS, '[fault.records]\nkey = "a"\nmatch = "("\nset = { b = 1 }', 14, "no pattern"),
        (EDITS, f'{EDITS}\n[[fault]]\nkind = "question"\nedits = [["(", ""]]', 15, "no pattern"),
        (EDITS, f'{EDITS}\n[[fault]]\nkind = "curse"', 14, "'kind' is 'curse'"),
        (
            'kind = "answer"\n',
            'kind = "vmstate"\npath = "a"\nsection = "b"\nchange = "nope"\n',
            14,
            "'change' is 'nope'",
        ),
        ("[[fault]]\n" + f'kind = "answer"\n{EDITS}\n', "", 1, "'fault' is missing"),
        ('product = "libvirt"', 'product = "foo"', 3, "'product' is 'foo'"),
        ('reference = "nowhere"', 'reference = " "', 5, "'reference' is empty"),
        ('title = "A test"', 'title = "A test"\nclass = ["MM"]', 3, "no class 'MM'"),
        ('title = "A test"', 'title = "A test"\nclass = ["M", 3]', 3, "list of words"),
        ('drivers = ["test"]', "drivers = [3]", 9, "list of words"),
    ],
)
def test_a_piece_whose_words_name_nothing_is_refused_as_it_is_read(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    text = PIECE.replace(old, new)
    if '"vmstate"' in new:
        text = text.replace(f"{EDITS}\n", "")
    file = written(tmp_path, text)
    with pytest.raises(BadData) as raised:
        regressions.read(file)
    assert words in str(raised.value)
    assert raised.value.remedy
    assert (raised.value.file, raised.value.line) == (file, line)


@pytest.mark.parametrize(
    ("new", "line", "words"),
    [
        ('drivers = ["nope"]', 9, "no driver 'nope'"),
        ('drivers = ["test"]\nsurfaces = ["nope"]', 10, "no kind or surface 'nope'"),
        ('drivers = ["test"]\nchecks = ["nope"]', 10, "no check 'nope'"),
        ('drivers = ["test"]\nsurfaces = ["domain"]\ncases = ["memory-*", "nope-*"]', 11, "'nope-*' matches no case"),
        ('surfaces = ["guest-abi"]\nchecks = ["replay"]\ncases = ["pc-q35-7.2/nope"]', 11, "matches no case"),
        ('surfaces = ["c-api"]\ncases = ["memory-*"]', 10, "matches no case"),
        ('drivers = ["test"]\nsurfaces = ["c-api"]', 9, "'c-api' has no driver"),
    ],
)
def test_a_piece_that_asks_what_there_is_not_is_refused_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: str, line: int, words: str
) -> None:
    monkeypatch.setattr(museum, "exhibit", lambda *_, **__: pytest.fail("it was asked"))
    file = written(tmp_path, PIECE.replace('drivers = ["test"]', new))
    with pytest.raises(BadData, match=re.escape(words)) as raised:
        museum.tour([regressions.read(file)])
    assert raised.value.remedy
    assert (raised.value.file, raised.value.line) == (file, line)


def test_every_piece_asks_what_there_is() -> None:
    museum.check(regressions.every())


def test_the_transforms_are_those_of_the_filter() -> None:
    tree = ast.parse(faults.FILTER.read_text())
    tables = [n for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "TRANSFORMS"]
    names = [key.value for key in tables[0].value.keys]  # type: ignore[attr-defined]
    assert tuple(names) == regressions.TRANSFORMS


def test_words_about_a_piece_do_not_make_it_another(tmp_path: Path) -> None:
    one = regressions.read(written(tmp_path, PIECE))
    assert regressions.read(written(tmp_path, PIECE.replace("It broke.", "It fell."))).digest() == one.digest()
    assert regressions.read(written(tmp_path, PIECE.replace('"a", "b"', '"a", "c"'))).digest() != one.digest()


def test_a_piece_and_a_product_that_it_is_not_of_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="--piece and --product exclude each other") as raised:
        regressions.choose(["harmless-unindented"], ["qemu"])
    assert raised.value.exit_code == 2
    assert [p.name for p in regressions.choose(["harmless-unindented"], ["harmless"])] == ["harmless-unindented"]
