"""RELAX NG grammars read, their data types, and the facts of what they permit; lxml says what is true."""

from __future__ import annotations

import html
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from virtcompat import relaxng
from virtcompat.errors import BadData
from virtcompat.relaxng import (
    AnyName,
    Attribute,
    Choice,
    Data,
    Element,
    Group,
    Interleave,
    Name,
    OneOrMore,
    Value,
    permitted,
)
from virtcompat.relaxng.datatypes import (
    EVERY_TEXT,
    NOTHING,
    Unknown,
    after,
    exactly,
    matches,
    missing,
    regex,
    texts,
    uncovered,
)

HEAD = (
    'xmlns="http://relaxng.org/ns/structure/1.0" '
    'datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes"'
)  # fmt: skip
INT = "<data type='int'/>"


def grammar(body: str, **others: str) -> relaxng.Grammar:
    files = {
        f"{name}.rng": f"<grammar {HEAD}>{text}</grammar>".encode() for name, text in {"main": body, **others}.items()
    }
    return relaxng.load(files, "main.rng")


def facts(body: str, **others: str) -> dict[str, str]:
    return permitted.facts(grammar(body, **others))


def root(content: str) -> str:
    return f"<start><element name='r'>{content}</element></start>"


# Reading


def test_the_tree_is_the_simple_form() -> None:
    read = grammar(
        root(
            "<attribute name='a'/><optional><attribute name='b'><value>x</value></attribute></optional>"
            "<zeroOrMore><ref name='d'/></zeroOrMore><mixed><ref name='d'/></mixed>"
        )
        + "<define name='d'><element><choice><name>e</name><anyName><except><name>f</name></except></anyName></choice>"
        f"{INT}</element></define>"
    )
    element = read.start
    assert isinstance(element, Element)
    assert isinstance(element.content, Group)
    a, b, several, mixed = element.content.parts
    assert isinstance(a, Attribute)
    assert a.content is relaxng.TEXT
    assert isinstance(b, Choice)
    assert b.parts[1] is relaxng.EMPTY
    assert isinstance(several, Choice)
    assert isinstance(several.parts[0], OneOrMore)
    assert isinstance(mixed, Interleave)
    inner = read.resolve(several.parts[0].pattern)
    assert isinstance(inner, Element)
    assert inner.names == (Name("e"), AnyName(None, (Name("f"),)))
    assert isinstance(inner.content, Data)
    assert sum(isinstance(p, Value) for p in read.every()) == 1
    assert relaxng.named(inner.names, "g", "urn:any")
    assert not relaxng.named(inner.names[1:], "f")


@pytest.mark.parametrize(
    ("body", "others", "expected"),
    [
        ("<include href='o.rng'/>", {"o": root("<ref name='d'/>") + "<define name='d'><empty/></define>"}, {}),
        (
            "<include href='o.rng'><define name='d'><attribute name='x'/></define></include>",
            {"o": root("<ref name='d'/>") + "<define name='d'><attribute name='y'/></define>"},
            {"r/@x": "once"},
        ),
        (
            root("<ref name='d'/>") + "<define name='d'><attribute name='x'/></define>"
            "<div><define name='d' combine='choice'><attribute name='y'/></define></div>",
            {},
            {"r/@x": "optional", "r/@y": "optional", "r/@x/(never with)": "@y"},
        ),
        (
            root("<ref name='d'/>") + "<define name='d' combine='interleave'><element name='x'><empty/></element></define>"
            "<define name='d' combine='interleave'><element name='y'><empty/></element></define>",
            {},
            {"r/x": "once", "r/y": "once"},
        ),
        (
            root("<grammar><start><ref name='d'/><parentRef name='d'/></start>"
                 "<define name='d'><attribute name='inner'/></define></grammar>")
            + "<define name='d'><attribute name='outer'/></define>",
            {},
            {"r/@inner": "once", "r/@outer": "once"},
        ),
        (root("<externalRef href='o.rng'/>"), {"o": "<start><attribute name='x'/></start>"}, {"r/@x": "once"}),
        (root("<optional><element name='no'><notAllowed/></element></optional>"), {}, {}),
        (root("<attribute><nsName ns='urn:x'/></attribute>"), {}, {"r/[@{urn:x}*]": "once"}),
        ("<start><element name='q' ns='urn:x'><attribute name='a'/></element></start>", {}, {"[{urn:x}q]/@a": "once"}),
    ],
)  # fmt: skip
def test_grammars_of_several_parts(body: str, others: dict[str, str], expected: dict[str, str]) -> None:
    found = facts(body, **others)
    assert {path: value for path, value in found.items() if path.count("/") and not path.endswith("(data)")} == expected


@pytest.mark.parametrize(
    ("body", "others", "words"),
    [
        ("", {}, "has no start"),
        (root("<ref name='d'/>"), {}, "'d' is not defined"),
        (root("<parentRef name='d'/>"), {}, "no grammar around"),
        (root("<text/>") + "<include href='o.rng'/>", {}, "there is no file o.rng"),
        ("<include href='main.rng'/>", {}, "main.rng includes itself"),
        ("<include href='o.rng'><define name='d'><empty/></define></include>", {"o": root("<empty/>")}, "not there: d"),
        (root("<empty/>") * 2, {}, "'start' is defined twice"),
        (root("<nonsense/>"), {}, "<nonsense> is no pattern"),
        (root("<attribute><text/></attribute>"), {}, "<text> is no class of names"),
        (root("<optional/>"), {}, "<optional> has no content"),
        ("<start><element><!-- --></element></start>", {}, "<element> has no name"),
        (root("<empty>"), {}, "not well-formed"),
        (
            root("<ref name='d'/>") + "<define name='d'><optional><ref name='d'/></optional></define>",
            {},
            "'d' is defined as itself",
        ),
        (
            root("<ref name='d'/>")
            + "<define name='d'><ref name='e'/></define><define name='e'><ref name='f'/></define>"
            "<define name='f'><attribute name='a'><ref name='e'/></attribute></define>",
            {},
            "'e' is defined as itself",
        ),
    ],
)
def test_what_is_wrong_with_a_grammar_is_said(body: str, others: dict[str, str], words: str) -> None:
    with pytest.raises(BadData) as error:
        facts(body, **others)
    assert words in error.value.message


def test_hostile_grammars_expand_and_fetch_nothing() -> None:
    bomb = f"<!DOCTYPE grammar [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><grammar {HEAD}>{root('<value>&a;</value>')}</grammar>"
    with pytest.raises(BadData, match="document type declaration"):
        relaxng.load({"main.rng": bomb.encode()}, "main.rng")


# Facts


def test_the_facts_of_one_grammar() -> None:
    body = root(
        "<choice><group><attribute name='t'><value>a</value></attribute><element name='x'><text/></element></group>"
        "<group><attribute name='t'><choice><value>b/c</value><value/></choice></attribute>"
        f"<optional><attribute name='n'><choice>{INT}<value>auto</value></choice></attribute></optional></group></choice>"
        "<oneOrMore><element name='y'><choice><data type='string'><param name='pattern'>\"+</param></data><empty/></choice>"
        "</element></oneOrMore><optional><element name='z'><ref name='z'/></element></optional>"
    )
    assert facts(body + "<define name='z'><optional><element name='z'><ref name='z'/></element></optional></define>") == {
        "r": "once",
        "r/@t": "once", "r/@t/a": "value", "r/@t/[b/c]": "value", "r/@t/[]": "value",
        "r/@t/a/(only with)": "x", "r/@t/a/(never with)": "@n", "r/@t/[b/c]/(never with)": "x", "r/@t/[]/(never with)": "x",
        "r/@n": "optional", "r/@n/(data)": "int", "r/@n/auto": "value", "r/@n/(never with)": "x",
        "r/x": "optional", "r/x/(text)": "optional", "r/x/(text)/(data)": "text", "r/x/(only with)": "@t=a",
        "r/y": "one or more", "r/y/(text)": "optional", "r/y/(text)/(data)": 'string pattern """+"', "r/y/(after)": "x",
        "r/z": "optional", "r/z/(after)": "x y", "r/z/z": "optional", "r/z/z/z": "optional; as 1 up",
    }  # fmt: skip


def test_two_spellings_of_one_grammar_have_the_same_facts() -> None:
    e = "<element name='e'><choice>{}</choice></element>"
    one = root(
        "<interleave><optional><ref name='a'/></optional>"
        + e.format("<value>1</value><value>2</value>")
        + "</interleave>"
    )
    other = (
        "<start><ref name='all'/></start><define name='all'><element name='r'>"
        + e.format("<notAllowed/><choice><value> 2 </value><value>1</value></choice>")
        + "<choice><empty/><attribute name='a'><choice><data type='string'/><text/></choice></attribute></choice>"
        "</element></define>"
    )
    assert facts(one + "<define name='a'><attribute name='a'/></define>") == facts(other)


@pytest.mark.parametrize("content", ["<attribute name='a'><list><text/></list></attribute>", "<data type='duration'/>"])
def test_what_is_not_understood_is_not_passed_over(content: str) -> None:
    with pytest.raises(Unknown):
        facts(root(content))


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=12))
def test_a_step_stands_for_one_text(text: str) -> None:
    step = permitted.step(text)
    assert permitted.plain(step) == text
    assert "\n" not in step
    assert " = " not in step
    assert permitted.flat(permitted.tree({f"r/@a/{step}": "value"})) == {"r": "", "r/@a": "", f"r/@a/{step}": "value"}


# Data types

PATTERNS = (
    "[0-9]+", "(a|b)*c?", r"[\-a-c.]{2,4}", r"[^/\n]+", "(/|[a-zA-Z]:\\\\).+", "a{0}b{2}c{1,}", ".", r"\s?\d\.", "$^", "[ -~]{0,3}",
    "(0x)?[0-7]{1,3}|-1", "[a-z-]+", "(([0-9]{1,2}|x)\\.){1,3}",
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_expressions_match_what_libxml2_says(pattern: str) -> None:
    data = f"<data type='string'><param name='pattern'>{html.escape(pattern)}</param></data>"
    validator = etree.RelaxNG(etree.fromstring(f"<element name='r' {HEAD}>{data}</element>"))
    chance, expression = random.Random(pattern), regex(pattern)
    for _ in range(300):
        text, state = "", expression
        for _ in range(chance.randrange(7)):
            letters = [c for c in "0129abcx-./:\\$^ ~é\nZ" if after(state, ord(c)) != NOTHING] or ["a"]
            letter = chance.choice(letters if chance.random() < 0.9 else "0ab/ ")
            text, state = text + letter, after(state, ord(letter))
        element = etree.Element("r")
        element.text = text
        assert matches(expression, text) == validator.validate(element), repr(text)


@pytest.mark.parametrize("pattern", ["(a", "a)", "[a", "*", "a{x}", r"\p{L}", "[a-z-[b]]", "a\\"])
def test_an_expression_that_is_not_understood_is_said(pattern: str) -> None:
    with pytest.raises(Unknown):
        regex(pattern)


def of(kind: str, *facets: str) -> relaxng.datatypes.Texts:  # type: ignore[name-defined]
    return texts(kind, tuple(tuple(f.split("=", 1)) for f in facets))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("narrow", "wide", "example"),
    [
        (of("unsignedInt", "pattern=[0-9]+"), [of("positiveInteger", "pattern=[0-9]+")], "0"),
        (of("positiveInteger", "pattern=[0-9]+"), [of("unsignedInt", "pattern=[0-9]+")], "4294967296"),
        (of("unsignedShort"), [of("int")], None),
        (of("string", "pattern=[ -~]{0,16}"), [of("string", "pattern=[ -~]{0,40}")], None),
        (of("string", "pattern=(tcp)|(udp)"), [exactly("udp"), exactly("tcp")], None),
        (of("string", "pattern=(tcp)|(udp)"), [exactly("tcp")], "udp"),
        (of("string", "pattern=a+"), [of("string", "pattern=(aa)+"), of("string", "pattern=a(aa)*")], None),
        (of("int", "minInclusive=1"), [EVERY_TEXT], None),
        (of("string", "maxLength=3"), [of("string", "pattern=.*", "maxLength=9")], "\n"),
        (of("int"), [], "0"),
        (of("double"), [of("int")], "-2147483649"),
        (of("NCName"), [of("string", "pattern=[^/]+")], None),
        (EVERY_TEXT, [texts("string", (), frozenset((".", "..")))], "."),
    ],
)
def test_inclusion_is_decided_with_an_example(narrow: object, wide: list[object], example: str | None) -> None:
    assert uncovered(narrow, wide) == example  # type: ignore[arg-type]


def test_inclusion_that_cannot_be_told_is_said() -> None:
    with pytest.raises(Unknown, match="neither"):
        uncovered(
            of("int", "minInclusive=0", "maxInclusive=9"), [of("int", "maxInclusive=4"), of("int", "minInclusive=5")]
        )
    with pytest.raises(Unknown, match="states"):
        missing(regex("(a|b)*a(a|b){16}"), regex("(b|a)*a(a|b){16}"))
