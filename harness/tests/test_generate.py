"""Generated documents: lxml says that they are valid, real labs say what they are worth, and each proof is shown to fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import find, given, settings
from hypothesis import strategies as st
from lxml import etree
from virtcompat import generate
from virtcompat.cli.generate import generate as command
from virtcompat.documents import canonical
from virtcompat.engine import columns, generating, properties
from virtcompat.engine.schemas import Schemas
from virtcompat.errors import BadData, NotAsked, UsageError
from virtcompat.generate import AGAIN, Nursery, Schema, values
from virtcompat.generate.derivation import at, put, walk
from virtcompat.generate.mutating import COUNTS, MOST_COUNT
from virtcompat.labs import build
from virtcompat.model import CellKey, Change, Finding, NotHere, Question, Tier
from virtcompat.relaxng import Choice, Data, Element, NotAllowed, OneOrMore
from virtcompat.store import fixtures, releases

HEAD = (
    "xmlns='http://relaxng.org/ns/structure/1.0' "
    "datatypeLibrary='http://www.w3.org/2001/XMLSchema-datatypes'"
)  # fmt: skip
RELEASES = ("debian-11", "debian-12", "debian-13", "debian-14")

#: Everything that makes reading and writing a grammar hard, in one: recursion, interleave, dead branches, facets, any name.
SMALL = """
<start><ref name='tree'/></start>
<define name='tree'><element name='tree'><interleave>
  <optional><attribute name='kind'><choice><value>a</value><value>b</value></choice></attribute></optional>
  <zeroOrMore><ref name='tree'/></zeroOrMore>
  <optional><element name='size'>
    <data type='unsignedInt'><param name='minInclusive'>10</param><param name='maxInclusive'>20</param></data></element></optional>
  <optional><element name='note'><text/></element></optional>
  <optional><choice><element name='dead'><notAllowed/></element><element name='alive'><empty/></element></choice></optional>
  <optional><element name='any'><anyName><except><name>tree</name></except></anyName></element></optional>
  <optional><group><element name='first'><empty/></element><oneOrMore><element name='then'>
    <attribute name='to'><data type='string'><param name='pattern'>[a-c]{2,3}-[0-9]+</param></data></attribute></element></oneOrMore>
    <element name='first'><empty/></element></group></optional>
</interleave></element></define>
""".replace("<element name='any'><anyName>", "<element><anyName>")
SMALL = SMALL.replace("</except></anyName></element>", "<name>size</name><name>note</name><name>alive</name><name>first</name>"
                      "<name>then</name><name>dead</name></except></anyName><text/></element>")  # fmt: skip


def files(body: str) -> dict[str, bytes]:
    return {"small.rng": f"<grammar {HEAD}>{body}</grammar>".encode()}


@cache
def small(body: str = SMALL) -> tuple[Schema, etree.RelaxNG]:
    return generate.read(files(body), "small"), etree.RelaxNG(etree.fromstring(files(body)["small.rng"]))


def valid(validator: etree.RelaxNG, text: str) -> bool:
    return bool(validator.validate(etree.fromstring(text)))


# -- one grammar of our own --------------------------------------------------------------------------------------------


def test_a_covering_corpus_takes_every_branch_and_is_small() -> None:
    schema, validator = small()
    corpus = list(generate.corpus(Nursery(schema)))
    assert all(valid(validator, generate.render(found.tree)) for found in corpus)
    assert generate.uncovered(schema, (found.tree for found in corpus)) == []
    assert len(corpus) < len(list(schema.branches())) / 2
    # Each document is there for a reason: without it a branch is left.
    trees = [found.tree for found in corpus]
    assert corpus[-1].branch in generate.uncovered(schema, trees[:-1])


def test_what_can_stand_nowhere_is_no_branch_and_never_written() -> None:
    schema, _ = small()
    impossible = [
        b for p in schema.weights for b in ((p, i) for i in range(len(schema.parts[p]))) if not schema.possible(p)
    ]
    assert impossible
    assert not set(impossible) & set(schema.branches())
    assert not any("dead" in generate.render(found.tree) for found in generate.corpus(Nursery(schema)))
    with pytest.raises(BadData, match="no document matches"):
        generate.read(
            files(
                "<start><ref name='x'/></start><define name='x'><element name='x'><ref name='x'/></element></define>"
            ),
            "small",
        )


def test_a_corpus_is_the_same_in_every_run() -> None:
    again = generate.read(files(SMALL), "small")
    first, second = ([generate.render(f.tree) for f in generate.corpus(Nursery(s))] for s in (small()[0], again))
    assert first == second


@settings(deadline=None, max_examples=200)
@given(generate.strategy(files(SMALL), "small"))
def test_what_a_strategy_gives_is_valid_and_matches_back(text: str) -> None:
    schema, validator = small()
    assert valid(validator, text)
    tree = generate.matched(schema, text)
    assert tree is not None
    assert canonical(generate.render(tree)) == canonical(text)


@settings(deadline=None, max_examples=200)
@given(
    generate.edits(
        files(SMALL),
        ["<tree kind='a'><size>12</size><tree/></tree>", "<tree><first/><then to='ab-1'/><first/></tree>"],
        "small",
    )
)
def test_an_edited_document_stays_of_the_grammar(text: str) -> None:
    assert valid(small()[1], text)


def test_strategies_shrink_to_what_matters() -> None:
    found = find(
        generate.strategy(files(SMALL), "small"),
        lambda text: "<then" in text,
        settings=settings(database=None, derandomize=True),
    )
    assert canonical(found) == canonical("<tree><first/><then to='aa-0'/><first/></tree>") or len(found) < 90
    found = find(
        generate.strategy(files(SMALL), "small"),
        lambda text: text.count("<tree") > 2,
        settings=settings(database=None, derandomize=True),
    )
    assert found.count("<tree") == 3
    assert "=" not in found


def test_matching_says_what_lxml_says() -> None:
    schema, validator = small()
    chance = random.Random(3)
    mutator = generate.Mutator(Nursery(schema), chance.randrange)
    tree = next(generate.corpus(Nursery(schema))).tree
    said = set()
    for _ in range(400):
        tree = mutator.mutate(tree).tree
        text = generate.render(tree)
        broken = etree.fromstring(text)
        victim = chance.choice(list(broken.iter("*")))
        match chance.randrange(3):
            case 0:
                victim.attrib.clear()
            case 1:
                victim.set("size", "1")
            case 2:
                victim.tag = "size"
        for each in (text, etree.tostring(broken, encoding="unicode")):
            verdict = valid(validator, each)
            said.add(verdict)
            assert (generate.matched(schema, each) is not None) == verdict, each
        tree = tree if len(text) < 3000 else next(generate.corpus(Nursery(schema))).tree
    assert said == {True, False}


def test_order_and_hostile_text_survive() -> None:
    schema, _ = small()
    text = "<tree kind='b'><note>a &amp; &lt;b&gt; ]]&gt; \U0001f600</note><tree/><size>11</size><tree/></tree>"
    tree = generate.matched(schema, text)
    assert tree is not None
    assert canonical(generate.render(tree)) == canonical(text)
    spaced = generate.read(files("<start><element name='r'><attribute name='x'/></element></start>"), "small")
    tree = generate.matched(spaced, "<r x='&#9;&#10;&#13;&quot;&apos;&lt;'/>")
    assert tree is not None
    assert etree.fromstring(generate.render(tree)).get("x") == "\t\n\r\"'<"


def test_a_tree_is_edited_where_it_is_told() -> None:
    schema, _ = small()
    tree = generate.matched(schema, "<tree><size>12</size></tree>")
    assert tree is not None
    path, leaf = next((path, node) for path, node in walk(tree) if isinstance(node.pattern, Data))
    new = put(tree, path, generate.Node(leaf.pattern, text="20"))
    assert at(new, path).text == "20"
    assert at(tree, path).text == "12"
    assert "<size>20</size>" in generate.render(new)


def test_a_repetition_is_a_branch_of_its_own() -> None:
    schema, _ = small()
    one, two = (generate.matched(schema, f"<tree>{'<tree/>' * n}</tree>") for n in (1, 2))
    assert one is not None
    assert two is not None
    new = generate.taken(two) - generate.taken(one)
    assert {(type(pattern), index) for pattern, index in new} == {(OneOrMore, AGAIN)}


def test_shrinking_keeps_the_grammar_and_the_finding() -> None:
    schema, validator = small()
    text = (
        "<tree kind='b'><tree><size>20</size><tree/></tree><first/><then to='abc-77'/><then to='ab-1'/><first/></tree>"
    )
    tree = generate.matched(schema, text)
    assert tree is not None
    seen: list[str] = []

    def interesting(texts: list[str]) -> list[bool]:
        seen.extend(texts)
        return ["<then" in each for each in texts]

    *_, last = generate.shrink(tree, interesting, Nursery(schema))  # type: ignore[arg-type]
    assert generate.render(last).count("<then") == 1
    assert "kind" not in generate.render(last)
    assert generate.render(last).count("<tree") == 1
    assert all(valid(validator, each) for each in seen)
    assert len(seen) == len(set(seen)) < 150
    assert not list(generate.shrink(tree, lambda texts: [False] * len(texts), Nursery(schema)))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (("<value>b</value>", ""), "tree/@kind=b"),
        (("<optional><element name='note'><text/></element></optional>", ""), "tree/note"),
        (("20</param>", "15</param>"), "tree/size/(text) 20"),
    ],
)
def test_what_another_grammar_rejects_is_named(change: tuple[str, str], where: str) -> None:
    schema, _ = small()
    body = SMALL.replace(*change)
    other = generate.Matcher(generate.read(files(body), "small"))
    text = "<tree kind='b'><size>20</size><note>x</note></tree>"
    tree = generate.matched(schema, text)
    assert tree is not None
    found = generate.rejection(schema, tree, other, text)
    assert found is not None
    assert f"{found.where}/{found.piece}" == where
    assert found.definition == "tree"
    assert generate.rejection(schema, tree, generate.Matcher(schema), text) is None


@given(st.integers(0, 1 << 30))
def test_drawn_texts_are_of_their_type(seed: int) -> None:
    chance = random.Random(seed)
    for kind, params in (
        ("string", (("pattern", "[a-fA-F0-9]{8}\\-([a-fA-F0-9]{4}\\-){3}[a-fA-F0-9]{12}"),)),
        ("unsignedInt", (("pattern", "0[0-7]{3}|[0-7]{1,3}"),)), ("int", (("maxInclusive", "7"),)), ("NCName", ()),
        ("dateTime", ()), ("string", (("pattern", "[^,]{12}"),)), ("long", (("minInclusive", "-1"),)),
    ):  # fmt: skip
        leaf = Data(kind, params)
        text = values.drawn(leaf, chance.randrange)
        assert values.has(leaf, text)
        facets = "".join(f"<param name='{name}'>{value}</param>" for name, value in params)
        validator = etree.RelaxNG(
            etree.fromstring(f"<element name='r' {HEAD}><data type='{kind}'>{facets}</data></element>")
        )
        root = etree.Element("r")
        root.text = text
        assert validator.validate(root), (kind, text)


def test_edges_and_wild_texts_are_drawn_on_purpose() -> None:
    everything = values.edges(Data("string"))
    assert {"", "0", "1", str(2**31), str(2**32 - 1), str(2**64 - 1), "\t", "\n", "&", "<", ">", "'", '"'} <= set(
        everything
    )
    assert any(ord(char) > 0xFFFF for text in everything for char in text)
    assert {"0", "4294967295"} <= set(values.edges(Data("unsignedInt")))
    assert str(2**32) not in values.edges(Data("unsignedInt"))


def test_counts_stay_bounded() -> None:
    body = "<start><element name='vcpu'><data type='unsignedInt'/></element></start>"
    schema = generate.read(files(body), "small")
    tree = generate.matched(schema, "<vcpu>2</vcpu>")
    assert tree is not None
    assert "vcpu" in COUNTS
    greatest = {}
    for bounded in (True, False):
        mutator = generate.Mutator(Nursery(schema), random.Random(1).randrange, bounded)
        texts = [etree.fromstring(generate.render(mutator.mutate(tree).tree)).text or "0" for _ in range(200)]
        greatest[bounded] = max(int(text) for text in texts)
    assert greatest[True] <= MOST_COUNT < greatest[False]


def test_a_base_that_is_not_valid_is_refused() -> None:
    with pytest.raises(UsageError, match="document 1 is not valid"):
        generate.edits(files(SMALL), ["<tree><size>9</size></tree>"], "small")


# -- the grammars of real releases -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def garden() -> Callable[[str, str], generating.Garden]:
    """(release, kind) -> its schema, prepared; skipped where there is no lab."""

    @cache
    def get(release: str, kind: str) -> generating.Garden:
        if build.find(releases.find(release)) is None:
            pytest.skip(f"no lab {release}; virt-compat lab create {release}")
        return generating.garden(release, kind)

    return get


def accepts(release: str, kind: str) -> Callable[[str], bool]:
    schemas = Schemas(columns.find((release,)))

    def ask(text: str) -> bool:
        answer = schemas.validate(Question(release, "", kind, "validate", text))
        assert not isinstance(answer, NotHere)
        return answer.accepted

    return ask


@pytest.mark.lab
@pytest.mark.parametrize("release", RELEASES)
def test_every_branch_of_the_domain_grammar_is_taken(
    release: str, garden: Callable[[str, str], generating.Garden]
) -> None:
    found, good = garden(release, "domain"), accepts(release, "domain")
    assert len(found.bases) >= 5
    for based in (False, True):
        documents = list(found.covering(based=based))
        assert generate.uncovered(found.schema, (d.tree for d in documents)) == []
        assert len(documents) < 2000
        assert [d.name for d in documents if not good(d.text)] == []


@pytest.mark.lab
@pytest.mark.parametrize("release", RELEASES)
def test_nothing_of_a_grammar_is_taken_for_dead(release: str, garden: Callable[[str, str], generating.Garden]) -> None:
    # What can stand nowhere is what a grammar says is not allowed, never a data type that no text was found for.
    schema = garden(release, "domain").schema
    dead = [pattern for pattern in schema.weights if not schema.possible(pattern)]
    assert {type(pattern) for pattern in dead} <= {NotAllowed, Element}
    assert len(dead) < 5


@pytest.mark.lab
@pytest.mark.parametrize(
    "kind", ["network", "storagepool", "storagevol", "nwfilter", "nodedev", "interface", "networkport"]
)
def test_so_are_those_of_other_grammars(kind: str, garden: Callable[[str, str], generating.Garden]) -> None:
    found, good = garden("debian-14", kind), accepts("debian-14", kind)
    documents = [*found.covering(based=False), *found.random(300, 1), *found.mutated(found.bases, 300, 1)]
    assert generate.uncovered(found.schema, (d.tree for d in documents)) == []
    assert [d.text for d in documents if not good(d.text)] == []


@pytest.mark.lab
def test_random_and_mutated_domains_are_valid(garden: Callable[[str, str], generating.Garden]) -> None:
    found, good = garden("debian-14", "domain"), accepts("debian-14", "domain")
    documents = [*found.random(1000, 5), *found.mutated(found.bases, 1000, 5)]
    assert sum(not good(d.text) for d in documents) <= 2
    assert [d.text for d in found.random(20, 5)] == [d.text for d in documents[:20]]
    assert len({d.what.split()[0] for d in documents[1000:]}) >= 5


@pytest.mark.lab
def test_fixtures_match_exactly_where_they_are_valid(garden: Callable[[str, str], generating.Garden]) -> None:
    found, good = garden("debian-14", "domain"), accepts("debian-14", "domain")
    for fixture in fixtures.load(("domain",), ("qemu",))[::6]:
        tree = generate.matched(found.schema, fixture.text)
        assert (tree is not None) == good(fixture.text), fixture.case
        if tree is not None:
            assert good(generate.render(tree)), fixture.case


@pytest.mark.lab
def test_a_choice_of_the_real_grammar_shrinks_to_itself(garden: Callable[[str, str], generating.Garden]) -> None:
    found = garden("debian-14", "domain")
    tree = next(base for base in found.bases if "<watchdog" in generate.render(base))
    *_, last = generate.shrink(tree, lambda texts: ["<watchdog" in t for t in texts], generate.Nursery(found.schema))
    assert len(generate.render(last)) < 200
    assert isinstance(last.pattern, Choice) or generate.matched(found.schema, generate.render(last))


@pytest.mark.lab
def test_the_command_asks_a_driver_and_says_what_another_schema_rejects(
    tmp_path: Path, garden: Callable[[str, str], generating.Garden]
) -> None:
    garden("debian-11", "domain")
    arguments = ["debian-11", "domain", "--random", "20", "--seed", "3", "--to", str(tmp_path), "--driver", "test"]
    done = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert "20 documents, 20 valid under its schema" in done.output, done.exception
    assert "test accepts" in done.output
    assert len(list(tmp_path.glob("*.xml"))) == 20
    done = CliRunner().invoke(command, ["debian-14", "secret", "--under", "debian-11"], standalone_mode=False)
    assert "rejected by the schema of debian-11: 0" in done.output
    assert done.return_value == 0


@pytest.mark.lab
def test_nothing_to_mutate_is_never_a_pass(tmp_path: Path, garden: Callable[[str, str], generating.Garden]) -> None:
    (tmp_path / "a.xml").write_text("<domain/>")
    with pytest.raises(NotAsked, match="no domain below it"):
        garden("debian-11", "domain").matched(tmp_path)
    with pytest.raises(UsageError, match="takes no interface"):
        generating.garden("debian-11", "interface", "qemu")
    with pytest.raises(UsageError, match="no kind"):
        generating.garden("debian-11", "no-such")


@pytest.mark.lab
def test_findings_of_generated_documents_are_grouped_by_cause(garden: Callable[[str, str], generating.Garden]) -> None:
    found = garden("debian-12", "domain")
    text = generate.render(found.bases[0])
    # libvirt writes no empty <idmap>: every document with one has the same finding.
    variants = [text.replace("</memory>", f"</memory><title>{n}</title><idmap/>") for n in range(3)]
    made = []
    for number, each in enumerate(variants):
        tree = generate.matched(found.schema, each)
        assert tree is not None
        made.append(generating.Generated(f"v{number}", each, "", tree))
    suite = properties.suite("domain", "test", ("debian-12",), made)
    assert suite.asked >= 3
    (cause,) = [c for c in suite.causes if "idmap" in c.signature]
    assert cause.count == 3
    assert cause.signature == "round-trip: dropped /domain/idmap"
    assert properties.suite("domain", "test", ("debian-12",), []).exit_code == 3


def test_a_signature_leaves_values_and_identities_out() -> None:
    key = CellKey("round-trip", "domain", "qemu", "a", "a")
    one, two = (
        Finding(f"/domain/devices/disk[{name}]/driver", Change.REFUSED, Tier.BREAK, "", f"bad value '{name}' at {n}")
        for name, n in (("vda", 1), ("sdb", 0x77))
    )
    assert properties.signature(key, one) == properties.signature(key, two)
    other = replace(one, new="another error")
    assert properties.signature(key, other) != properties.signature(key, one)
