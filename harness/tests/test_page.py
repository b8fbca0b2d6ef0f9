"""The report page: its bytes, and in a real browser what is seen, clicked, typed and printed."""

from __future__ import annotations

import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright import sync_api
from playwright.sync_api import expect
from test_renderers import COLUMNS
from virtcompat import page
from virtcompat.engine import columns, exhibits, run
from virtcompat.engine import page as engine
from virtcompat.errors import NotAsked
from virtcompat.judgement import fingerprint
from virtcompat.model import Cell, CellKey, Change, Finding, Matrix, Outcome, Tier, Verdict

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>&amp;&#60;\x01\u202e\ud800'\""
SHOWN = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>&amp;&#60;␁⟨U+202E⟩⟨U+D800⟩'\""
REFUSED = CellKey("upgrade-redefine", "domain", "qemu", "one", "two")
FOUND = Finding(
    "/domain/devices/disk[vda]/@model", Change.CHANGED, Tier.BREAK, "old value", "new value", entry="known-1"
)
NEW = Finding("/domain/title", Change.CHANGED, Tier.GUEST_ABI_BREAK, HOSTILE, "plain")
LESSER = Finding("/domain/@added", Change.ADDED, Tier.ADDITION, "", "more", entry="known-1")
OLD = "<domain>\n" + "\n".join(f"  <line{n}/>" for n in range(20)) + "\n  <disk model='old value'/>\n</domain>\n"
WAIVER = {
    "fingerprint": fingerprint(REFUSED, NEW), "check": "upgrade-redefine", "where": {"driver": "qemu"}, "reason": HOSTILE,
    "owner": "team", "issue": "https://example.org/1", "expires": "2030-01-01", "items": ["a", "b"],
}  # fmt: skip
CLAIMS = [
    {"id": "a", "statement": "Everything upgrades", "standing": "holds", "why": "12 cells", "by": "somebody",
     "command": f"virt-compat explain {REFUSED}/plain"},
    {"id": "b", "statement": HOSTILE, "standing": "refuted", "why": "a cell", "command": "virt-compat explain x",
     "by": "nobody", "url": "javascript:window.hacked=1"},
    {"id": "c", "statement": "The next one too", "standing": "unproven", "why": "no lab", "url": "https://example.org/"},
]  # fmt: skip


def cell(check: str, kind: str, outcome: Outcome, *verdicts: Verdict, driver: str = "qemu", old: str = "one") -> Cell:
    counts = (
        {outcome: max(1, len(verdicts)), Outcome.COMPATIBLE: 5} if outcome is Outcome.INCOMPATIBLE else {outcome: 3}
    )
    worst = max((v.worst for v in verdicts), default=Tier.IDENTICAL)
    unexplained = sum(any(not f.explained for f in v.findings) for v in verdicts)
    return Cell(CellKey(check, kind, driver, old, "two"), counts, worst, unexplained, verdicts)


def contents(**more: object) -> page.Contents:
    """A page with every outcome, hostile words in every place, and documents of one case."""
    bad = [Verdict(name, Outcome.INCOMPATIBLE, (FOUND, LESSER)) for name in ("plain", "a/b#c%d&e=f", "third", "4", "5")]
    hostile = Verdict(HOSTILE, Outcome.INCOMPATIBLE, (NEW,), HOSTILE)
    cells = [
        cell("upgrade-redefine", "domain", Outcome.INCOMPATIBLE, *bad, hostile),
        cell("upgrade-redefine", "network", Outcome.COMPATIBLE),
        cell("upgrade-disk", "domain", Outcome.NOT_HERE, Verdict("plain", Outcome.NOT_HERE, reason="no lab; build it")),
        cell("downgrade", "domain", Outcome.BROKEN, Verdict("plain", Outcome.BROKEN, reason=HOSTILE), driver="test"),
        cell("round-trip", "domain", Outcome.NOT_APPLICABLE, driver="test"),
        cell("same-input", "domain", Outcome.NOT_APPLICABLE, driver="test"),
        cell("same-input", "network", Outcome.COMPATIBLE, driver="test", old="two"),
        cell("static", "schema", Outcome.COMPATIBLE, driver="-"),
    ]
    groups = [
        page.Group(REFUSED, NEW, (HOSTILE,)),
        page.Group(REFUSED, FOUND, tuple(v.case for v in bad)),
        page.Group(REFUSED, LESSER, tuple(v.case for v in bad)),
    ]
    exhibits = [
        page.Exhibit(
            REFUSED,
            "plain",
            "one wrote",
            "two made of it",
            OLD,
            OLD.replace("old value", "new value"),
            ("define on one: accepted",),
        ),
        page.Exhibit(REFUSED, HOSTILE, HOSTILE, "two: refused", HOSTILE, "", (HOSTILE,)),
    ]
    ledger = [{
        "id": "known-1", "product": "libvirt", "since": "9.1", "tier": "break", "summary": "A known change",
        "why": HOSTILE, "reference": "https://example.org/change",
    }]  # fmt: skip
    fields = {
        "groups": groups, "exhibits": exhibits, "purposes": {"upgrade-redefine": "What must hold"}, "ledger": ledger,
        "claims": CLAIMS, "waivers": [WAIVER], "shown": 3,
    }  # fmt: skip
    return page.Contents(Matrix(COLUMNS, cells, Tier.BREAK, notes=(HOSTILE,)), **(fields | more))  # type: ignore[arg-type]


# ---- the text ----------------------------------------------------------------------------------------------------------


def test_the_same_contents_give_the_same_bytes_and_others_do_not() -> None:
    assert page.html(contents()) == page.html(contents())
    assert page.html(contents()) != page.html(contents(claims=()))


def test_pages_packed_by_another_zlib_are_the_same_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def other(data: bytes, level: int) -> bytes:
        packer = zlib.compressobj(level, zlib.DEFLATED, 15, 1)
        return packer.compress(data) + packer.flush()

    first = page.html(contents())
    with monkeypatch.context() as patch:
        patch.setattr(page.zlib, "compress", other)
        second = page.html(contents())
        third = page.html(contents(claims=()))
    assert first != second
    assert page.unpacked(first) == page.unpacked(second)
    assert page.unpacked(first) != page.unpacked(third)


def test_nothing_of_the_data_is_markup() -> None:
    text = page.html(contents())
    assert "hacked" not in text
    assert text.count("<script") == 3
    assert "http:" not in text
    assert "https:" not in text.replace("https?:", "")


def test_a_page_is_written_once_and_left_alone_while_it_says_the_same(tmp_path: Path) -> None:
    file = tmp_path / "below" / "index.html"
    matrix = run.run(run.Selection(kinds=("spice",)))
    assert engine.write(file, matrix) == ["index.html"]
    before = file.stat().st_mtime_ns
    assert engine.write(file, matrix) == []
    assert file.stat().st_mtime_ns == before
    assert engine.write(file, matrix, claims=CLAIMS) == ["index.html"]
    assert [f.name for f in file.parent.iterdir()] == ["index.html"]


@pytest.mark.parametrize("cells", [(), (cell("upgrade-disk", "domain", Outcome.NOT_HERE),)])
def test_a_matrix_of_which_nothing_was_asked_is_no_page(cells: tuple[Cell, ...], tmp_path: Path) -> None:
    with pytest.raises(NotAsked):
        engine.write(tmp_path / "index.html", Matrix(COLUMNS, cells, Tier.BREAK))
    assert not (tmp_path / "index.html").exists()


def test_the_documents_of_recorded_interfaces_are_their_records() -> None:
    made = engine.contents(run.run(run.Selection(kinds=("machine-types",))))
    assert made.exhibits
    for exhibit in made.exhibits:
        assert exhibit.old != exhibit.new
        assert all(exhibit.case in line for line in (exhibit.old + exhibit.new).splitlines())
    assert {e["id"] for e in made.ledger} == {g.finding.entry for g in made.groups} - {""}
    assert set(made.purposes) == {"machine-types"}
    bad = {g.cell for g in made.groups if g.finding.tier >= Tier.BREAK}
    assert bad == {e.cell for e in made.exhibits}


@pytest.mark.lab
@pytest.mark.parametrize(
    ("check", "pair", "case", "left", "right", "said"),
    [
        ("upgrade-redefine", "debian-11/debian-12", "events-preserve", "debian-11 wrote", "debian-12: refused", "preserve"),
        ("same-input", "debian-11/debian-12", "events-preserve", "debian-11 wrote", "debian-12: refused", "preserve"),
        ("upgrade-redefine", "debian-11/debian-12", "plain", "debian-11 wrote", "debian-12 made of it", "<domain"),
        ("round-trip", "debian-12/debian-12", "plain", "the document as given", "debian-12 wrote", "<domain"),
        ("reproduce", "debian-12/debian-12", "plain", "debian-12 as recorded (secure)", "debian-12 now (secure)", "<domain"),
        ("upgrade-disk", "debian-11/debian-12", "plain", "debian-11 has", "debian-12 found", "<domain"),
        ("downgrade", "debian-12/debian-11", "plain", "debian-12 wrote", "debian-11 made of it", "<domain"),
        ("same-hardware", "debian-11/debian-12", "plain", "hardware that debian-11's command line asks for",
         "hardware that debian-12's command line asks for", "/cpu/model = qemu64"),
    ],
)  # fmt: skip
def test_the_two_documents_of_each_check(
    lab: object, check: str, pair: str, case: str, left: str, right: str, said: str
) -> None:
    del lab
    key = CellKey(check, "domain", "qemu", *pair.split("/"))
    (exhibit,) = exhibits.collect(columns.find(("debian-11", "debian-12")), [(key, case)])
    assert (exhibit.left, exhibit.right) == (left, right)
    assert said in exhibit.old
    assert bool(exhibit.new) is ("refused" not in right)
    assert all(re.match(r"(define|load|native|validate) on debian-1[12]: ", step) for step in exhibit.steps)


@pytest.mark.lab
def test_what_a_guest_saw_before_it_moved_and_after(abi: Callable[[str], object]) -> None:
    abi("debian-14")
    key = CellKey("replay", "guest-abi", "-", "debian-13", "debian-14")
    refused, moved = exhibits.collect(columns.find(), [(key, "microvm/virtio-blk"), (key, "pc-q35-7.2/plain")])
    assert (refused.right, refused.new) == ("debian-14: refused", "")
    assert refused.old.startswith("-machine microvm\n")
    assert any(line.startswith("-device virtio-blk") for line in refused.old.splitlines())
    assert refused.steps[0].startswith("moved from debian-13 to debian-14: refused: ")
    assert (moved.left, moved.right) == ("seen under debian-13", "seen under debian-14")
    assert "cpuid/" in moved.old
    assert "cpuid/" in moved.new


# ---- the browser -------------------------------------------------------------------------------------------------------


class Seen:
    """A page in the browser, with everything that it complained of or asked the network for."""

    def __init__(self, browser: sync_api.Browser, file: Path, **context: object) -> None:
        self.file, self.trouble = file, []
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | context))
        self.context.set_default_timeout(10_000)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.trouble.append(message.text))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("request", lambda request: self._request(request.url))

    def _request(self, url: str) -> None:
        if url.partition("#")[0] != self.file.as_uri() and not url.startswith(("data:,", "about:")):
            self.trouble.append(url)

    def open(self, address: str = "") -> sync_api.Page:
        """The page anew at an address (``#…``), once it can be used."""
        self.page.goto("about:blank")
        self.page.goto(self.file.as_uri() + address)
        self.page.wait_for_selector("html[data-ready]")
        return self.page


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        try:
            found = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        except sync_api.Error as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"chromium does not start: {error.message.splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "index.html"
    file.write_text(page.html(contents()), encoding="utf-8")
    return file


Look = Callable[..., Seen]


@pytest.fixture
def look(browser: sync_api.Browser, file: Path) -> Iterator[Look]:
    """Opens the page; afterwards nothing may have been complained of, asked for or run."""
    opened: list[Seen] = []

    def one(other: Path = file, **context: object) -> Seen:
        opened.append(Seen(browser, other, **context))
        return opened[-1]

    yield one
    for seen in opened:
        assert seen.trouble == []
        assert seen.page.evaluate("window.hacked") is None
        seen.context.close()


def squares(shown: sync_api.Page) -> dict[str, str]:
    """Every square by its address: what it says."""
    return dict(
        shown.eval_on_selector_all(
            ".square", "all => all.map(s => [decodeURIComponent(s.hash.split('open=')[1]), s.textContent])"
        )
    )


def test_a_square_says_what_its_cells_say(look: Look) -> None:
    shown = look().open()
    assert squares(shown) == {
        "upgrade-redefine/qemu/one/two": "one to two: 6 of 14‼ guest-abi-break1 new",
        "upgrade-disk/qemu/one/two": "one to two: ? not here",
        "downgrade/test/one/two": "one to two: ⚠ broken",
        "same-input/test/one/two": "one to two: – not applicable",
        "same-input/test/two/two": "two: 3 ok= identical",
        "static/schema/one/two": "one to two: 3 ok= identical",
    }
    # A grid in which nothing applies is none, as in every other format.
    assert "round-trip" not in shown.inner_text("#panel-matrix")
    assert [h.inner_text() for h in shown.query_selector_all("#panel-matrix h2")] == [
        "Driver qemu", "Driver test", "Recorded interfaces",
    ]  # fmt: skip
    assert shown.inner_text("#status") == "6 squares, 13 findings."
    assert "1 in no ledger entry" in shown.inner_text("header")
    assert "QEMU" in shown.inner_text(".releases")
    assert "11.3.0" in shown.inner_text(".releases")


def test_from_a_square_to_the_differing_lines(look: Look) -> None:
    shown = look().open()
    shown.click("a.square >> text=6 of 14")
    expect(shown.locator("#detail-title")).to_have_text("qemu · upgrade-redefine: one → two")
    rows = shown.locator("#detail-body table.list >> nth=0").locator("tbody tr")
    expect(rows).to_have_count(2)
    assert "new value" in rows.nth(1).inner_text()
    assert "A known change" in rows.nth(1).inner_text()
    rows.nth(1).locator("summary").click()
    rows.nth(1).locator("a", has_text="plain").click()
    expect(shown.locator("#detail-title")).to_have_text("plain: one → two")
    assert shown.inner_text("#detail .command code") == f"virt-compat explain {REFUSED}/plain"
    assert "define on one: accepted" in shown.inner_text("#exhibit")
    differs = shown.locator(".diff tr.differs")
    assert differs.locator("td").all_text_contents() == [
        "− 22", "  <disk model='old value'/>", "+ 22", "  <disk model='new value'/>",
    ]  # fmt: skip
    assert shown.locator(".diff mark").all_inner_texts() == ["old", "new"]
    assert shown.locator(".diff tr.same:visible").count() == 4
    shown.click("text=show 18 lines that are the same")
    assert shown.locator(".diff tr.same:visible").count() == 22
    shown.click("#crumbs a")
    expect(shown.locator("#detail-title")).to_have_text("qemu · upgrade-redefine: one → two")
    shown.keyboard.press("Escape")
    expect(shown.locator("#detail")).not_to_be_visible()


def test_a_case_without_documents_names_the_command_that_shows_them(look: Look) -> None:
    shown = look().open(f"#open={REFUSED}/third")
    assert "Not on this page" in shown.inner_text("#exhibit")
    assert "first 3 incompatible cases" in shown.inner_text("#exhibit")
    shown = look().open("#open=upgrade-disk/domain/qemu/one/two/plain")
    assert "not here" in shown.inner_text("#detail-body")
    assert "no lab; build it" in shown.inner_text("#detail-body")


def test_an_address_that_names_nothing_says_so(look: Look) -> None:
    shown = look().open("#open=static/schema/-/one/two/gone&from=three&tier=worst")
    assert "Not on this page" in shown.inner_text("#detail-title")
    assert "from “three”, tier “worst”" in shown.text_content("#status")
    assert shown.input_value("select[name=from]") == ""


def test_hostile_words_are_shown_as_words(look: Look) -> None:
    shown = look().open("#tab=findings")
    assert SHOWN in shown.text_content("#panel-findings")
    shown.locator("#panel-findings a", has_text="hacked").first.click()
    expect(shown.locator("#detail-title")).to_have_text(f"{SHOWN}: one → two")
    shown.wait_for_selector(".diff")
    assert shown.text_content(".diff td code") == SHOWN
    assert SHOWN in shown.text_content(".steps")
    assert shown.locator("#detail img, #detail script").count() == 0
    shown.keyboard.press("Escape")
    shown.click("#tab-claims")
    assert SHOWN in shown.text_content("#panel-claims")
    assert shown.locator("a[href^=javascript]").count() == 0
    shown.click("#tab-about")
    assert SHOWN in shown.text_content("#limits")
    shown = look().open(f"#open={REFUSED}/a/b%23c%25d%26e%3Df")
    assert shown.text_content("#detail-title") == "a/b#c%d&e=f: one → two"


def test_claims_are_ordered_by_standing_and_waived_findings_named(look: Look) -> None:
    shown = look().open("#tab=claims")
    assert shown.locator("#panel-claims tbody .chip").all_inner_texts() == ["✗ refuted", "? unproven", "✓ holds"]
    assert "1 refuted, 1 unproven, 1 holds" in shown.inner_text("#panel-claims")
    shown.click("text=see it here")
    expect(shown.locator("#detail-title")).to_have_text("plain: one → two")
    shown.keyboard.press("Escape")
    expect(shown.locator("#panel-claims")).to_be_visible()
    shown.click("#tab-waivers")
    row = shown.text_content("#panel-waivers tbody")
    assert WAIVER["fingerprint"] in row
    assert "driver = qemu" in row
    assert "a, b" in row
    shown.select_option("[name=ledger]", "waived", force=True)
    shown.click("#tab-findings")
    assert "1–1 of 1" in shown.inner_text("#panel-findings .tools >> nth=0")
    assert "waived" in shown.inner_text("#panel-findings tbody")


def test_without_claims_and_waivers_the_tabs_say_how_to_get_them(look: Look, tmp_path: Path) -> None:
    other = tmp_path / "index.html"
    other.write_text(page.html(contents(claims=(), waivers=())), encoding="utf-8")
    shown = look(other).open("#tab=claims")
    assert "virt-compat claims" in shown.inner_text("#panel-claims")
    shown.click("#tab-waivers")
    assert "virt-compat waive CELL" in shown.inner_text("#panel-waivers")


@pytest.mark.parametrize(
    ("name", "value", "seen", "findings"),
    [
        ("driver", "test", 3, 1),
        ("driver", "schema", 1, 0),
        ("check", "upgrade-disk", 1, 1),
        ("kind", "network", 2, 0),
        ("from", "two", 1, 0),
        ("to", "two", 6, 13),
        ("outcome", "not-here", 1, 1),
        ("outcome", "broken", 1, 1),
        ("tier", "break", 1, 6),
        ("tier", "guest-abi-break", 1, 1),
        ("ledger", "known", 1, 10),
        ("ledger", "none", 1, 1),
    ],
)
def test_a_filter_is_in_the_address_and_read_from_it(
    look: Look, name: str, value: str, seen: int, findings: int
) -> None:
    one = look()
    shown = one.open()
    shown.select_option(f"[name={name}]", value)
    assert shown.url.endswith(f"#/{name}={value}")
    words = f"{seen} of 6 squares, {findings} of 13 findings"
    assert words in shown.inner_text("#status")
    assert shown.locator(".square:not(.off)").count() == seen
    shown = one.open(f"#/{name}={value}")
    assert shown.input_value(f"[name={name}]") == value
    assert words in shown.inner_text("#status")
    shown.click("#reset")
    assert shown.inner_text("#status") == "6 squares, 13 findings."


def test_a_square_counts_all_its_cases_whatever_is_looked_for(look: Look) -> None:
    shown = look().open("#tier=break")
    assert "6 of 14" in shown.inner_text(".square:not(.off)")
    shown = look().open("#kind=domain")
    assert "6 of 11" in shown.inner_text(".square >> nth=1")


@pytest.mark.parametrize(
    ("query", "findings"),
    [
        ("VDA", 5),
        ("vda third", 1),
        ("known-1", 10),
        ("addition", 5),
        ("upgrade-disk/domain", 1),
        ("build", 1),
        ("zzz", 0),
    ],
)
def test_free_text_finds_in_every_field(look: Look, query: str, findings: int) -> None:
    shown = look().open("#tab=findings")
    shown.fill("[name=q]", query)
    expect(shown.locator("#status")).to_contain_text(f", {findings} of 13 findings: text")
    assert shown.locator("#panel-findings tbody tr").count() == findings


def test_back_goes_back_and_forward_forward(look: Look) -> None:
    shown = look().open()
    shown.select_option("[name=driver]", "qemu")
    shown.click("#tab-findings")
    shown.locator("#panel-findings a", has_text="plain").first.click()
    expect(shown.locator("#detail")).to_be_visible()
    shown.go_back()
    expect(shown.locator("#detail")).not_to_be_visible()
    shown.go_back()
    expect(shown.locator("#panel-matrix")).to_be_visible()
    shown.go_back()
    expect(shown.locator("[name=driver]")).to_have_value("")
    for _ in range(3):
        shown.go_forward()
    expect(shown.locator("#detail-title")).to_have_text("plain: one → two")
    assert shown.input_value("[name=driver]") == "qemu"


def test_like_findings_stand_together(look: Look) -> None:
    shown = look().open("#tab=findings")
    tiers = shown.locator("#panel-findings tbody tr td:first-child").all_inner_texts()
    assert [t.split()[1] for t in tiers[:7]] == ["guest-abi-break", *["break"] * 5, "addition"]
    shown.click("text=Like findings together")
    rows = shown.locator("#panel-findings tbody tr")
    expect(rows).to_have_count(3)
    assert "and 4 more cases" in rows.nth(1).inner_text()


FOCUSED = (
    "document.activeElement.closest('.card')?.getAttribute('aria-label') + ' ' + document.activeElement.textContent"
)


def test_everything_by_keyboard(look: Look, tmp_path: Path) -> None:
    shown = look(big(tmp_path, 4, 2)).open()
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.id") == "skip"
    shown.keyboard.press("Enter")
    assert shown.evaluate("document.activeElement.id") == "main"
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.id") == "tab-matrix"
    shown.keyboard.press("Tab")
    assert "r0 to r1" not in shown.evaluate(FOCUSED)
    here = [shown.evaluate(FOCUSED)]
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "End", "Home", "ArrowUp", "Control+End", "PageDown", "PageUp"):
        shown.keyboard.press(key)
        here.append(shown.evaluate(FOCUSED))
    names = [re.search(r"(d\d), same-input (r\d(?: to r\d)?):", h).groups() for h in here]  # type: ignore[union-attr]
    assert names == [
        ("d0", "r0"), ("d0", "r0 to r1"), ("d0", "r1"), ("d0", "r1 to r0"), ("d0", "r1 to r3"), ("d0", "r1 to r0"), ("d0", "r0"),
        ("d0", "r3"), ("d1", "r0"), ("d0", "r0"),
    ]  # fmt: skip
    assert shown.locator('.grid >> nth=0 >> .square[tabindex="0"]').count() == 1
    outline = shown.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"
    shown.keyboard.press("Enter")
    expect(shown.locator("#detail-title")).to_be_focused()
    shown.keyboard.press("Escape")
    expect(shown.locator("#detail")).not_to_be_visible()
    assert re.search(r"(d\d), same-input (r\d):", shown.evaluate(FOCUSED)).groups() == ("d0", "r0")  # type: ignore[union-attr]
    shown.keyboard.press("Space")
    expect(shown.locator("#detail")).to_be_visible()
    shown.keyboard.press("Escape")
    shown.focus("#tab-matrix")
    shown.keyboard.press("ArrowRight")
    expect(shown.locator("#panel-findings")).to_be_visible()
    assert shown.get_attribute("#tab-findings", "aria-selected") == "true"


def test_grids_are_tables_with_heads_and_counts_are_announced(look: Look) -> None:
    shown = look().open()
    tree = shown.locator("#panel-matrix").aria_snapshot()
    assert 'grid "qemu, upgrade-redefine"' in tree
    assert 'columnheader "two"' in tree
    assert 'rowheader "one"' in tree
    assert shown.get_attribute("#status", "role") == "status"
    assert "bar: share" in shown.inner_text(".legend")


def big(folder: Path, releases: int, drivers: int) -> Path:
    """A page with a grid a driver, every pair of releases in it."""
    names = [f"r{n}" for n in range(releases)]
    columns = [type(COLUMNS[0])(n, "1.0", "1.0", (n,), golden=True, live=False) for n in names]
    cells = [
        Cell(CellKey("same-input", "domain", f"d{d}", a, b), {Outcome.COMPATIBLE: 1}, Tier.IDENTICAL, 0, ())
        for d in range(drivers)
        for a in names
        for b in names
    ]
    file = folder / "index.html"
    file.write_text(page.html(page.Contents(Matrix(columns, cells, Tier.BREAK))), encoding="utf-8")
    return file


def test_of_very_many_squares_those_in_view_are_made(look: Look, tmp_path: Path) -> None:
    shown = look(big(tmp_path, 10, 30)).open()
    shown.wait_for_selector(".square")
    assert shown.inner_text("#status").startswith("3,000 squares")
    assert 0 < shown.locator(".square").count() < 2000
    shown.evaluate("scrollTo(0, 1e6)")
    shown.wait_for_selector('.card[aria-label="d9, same-input"] .square')
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert shown.locator(".square").count() == 3000


def test_a_hundred_findings_a_page(look: Look, tmp_path: Path) -> None:
    verdicts = [Verdict(f"case-{n}", Outcome.INCOMPATIBLE, (FOUND,)) for n in range(250)]
    matrix = Matrix(COLUMNS, [cell("upgrade-redefine", "domain", Outcome.INCOMPATIBLE, *verdicts)], Tier.BREAK)
    other = tmp_path / "index.html"
    other.write_text(page.html(page.Contents(matrix)), encoding="utf-8")
    shown = look(other).open("#tab=findings")
    assert "1–100 of 250" in shown.inner_text("#panel-findings")
    shown.locator("text=Last").first.click()
    expect(shown.locator("#panel-findings tbody tr")).to_have_count(50)
    assert shown.url.endswith("page=3")
    assert "201–250 of 250" in shown.inner_text("#panel-findings")
    shown.fill("[name=q]", "case-249")
    expect(shown.locator("#panel-findings tbody tr")).to_have_count(1)
    shown = look(other).open("#tab=findings&page=99")
    assert "201–250 of 250" in shown.inner_text("#panel-findings")


#: Every text on the page whose contrast with what is behind it is less than 4.5.
FAINT = """() => {
  const read = (colour) => { const c = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    c.fillStyle = colour; c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data]; };
  const light = (rgb) => { const [r, g, b] = rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (node) => { for (let at = node; at; at = at.parentElement) {
    const rgb = read(getComputedStyle(at).backgroundColor); if (rgb[3] === 255) return rgb; } return read('Canvas'); };
  const faint = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); let seen = 0;
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !node.checkVisibility() || node.matches('script, style, .unseen, :disabled')) continue;
    seen++;
    const [a, b] = [light(read(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(node.className + ': ' + texts.currentNode.data.trim().slice(0, 40));
  }
  return [seen, faint];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_in_light_and_dark(look: Look, scheme: str) -> None:
    coloured = look(color_scheme=scheme)
    for address in (
        "",
        "#tier=break&q=vda",
        "#tab=findings",
        "#tab=claims",
        "#tab=waivers",
        "#tab=about",
        f"#open={REFUSED}/plain",
    ):
        shown = coloured.open(address)
        if "open" in address:
            shown.wait_for_selector(".diff")
        seen, faint = shown.evaluate(FAINT)
        assert seen > 30
        assert faint == [], address
    white = shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert white is (scheme == "light")


def test_the_measure_of_contrast_sees_faint_text(look: Look) -> None:
    shown = look().open()
    shown.evaluate("document.querySelector('h1').style.color = '#aaa'")
    assert shown.evaluate(FAINT)[1] == [": Compatibility of the releases"]


def test_the_colours_can_be_chosen_against_the_system(look: Look) -> None:
    shown = look(color_scheme="light").open()
    backgrounds = []
    for _ in range(4):
        backgrounds.append(shown.evaluate("getComputedStyle(document.body).backgroundColor"))
        shown.click("#theme")
    light, dark = "rgb(255, 255, 255)", "rgb(13, 17, 23)"
    assert backgrounds == [light, light, dark, light]


def test_nothing_is_cut_off_on_a_telephone(look: Look) -> None:
    small = look(viewport={"width": 360, "height": 740})
    for address in ("", "#tab=findings", "#tab=claims", "#tab=waivers", "#tab=about", f"#open={REFUSED}/plain"):
        shown = small.open(address)
        assert not shown.is_visible("#form")
        if address in ("", "#tab=findings"):
            shown.click("#filters summary")
        assert shown.evaluate("document.documentElement.scrollWidth") <= 360, address
    shown.wait_for_selector(".diff")
    assert shown.evaluate("document.getElementById('detail').scrollWidth") <= 360


def test_what_is_printed_has_everything_and_no_controls(look: Look) -> None:
    shown = look().open("#tab=claims")
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    shown.emulate_media(media="print")
    for name in ("matrix", "claims", "waivers", "about"):
        expect(shown.locator(f"#panel-{name}")).to_be_visible()
    for control in ("#form", "#tabs", "#theme", ".copy", "#filters"):
        expect(shown.locator(control).first).not_to_be_visible()
    assert shown.locator(".square").count() == 6
    shown = look().open(f"#open={REFUSED}/plain")
    shown.wait_for_selector(".diff")
    shown.emulate_media(media="print")
    assert shown.locator(".diff tr.same:visible").count() == 22
    expect(shown.locator("header")).not_to_be_visible()


def test_who_wants_no_motion_gets_none(look: Look) -> None:
    moving = "getComputedStyle(document.querySelector('.square')).transitionDuration"
    assert look(reduced_motion="reduce").open().evaluate(moving) == "0s"
    assert look(reduced_motion="no-preference").open().evaluate(moving) != "0s"


def test_a_command_is_copied(look: Look) -> None:
    seen = look(permissions=["clipboard-read", "clipboard-write"])
    shown = seen.open(f"#open={REFUSED}/plain")
    shown.click("#detail .copy")
    expect(shown.locator("#toast")).to_have_text("Copied")
    assert shown.evaluate("navigator.clipboard.readText()") == f"virt-compat explain {REFUSED}/plain"


@pytest.mark.parametrize("cut", ["data", "half", "pack"])
def test_a_damaged_file_says_so(browser: sync_api.Browser, file: Path, tmp_path: Path, cut: str) -> None:
    text = file.read_text(encoding="utf-8")
    damaged = tmp_path / "index.html"
    if cut == "half":
        damaged.write_text(text[: len(text) // 2], encoding="utf-8")
    elif cut == "data":
        damaged.write_text(text.replace("eN", "eM", 1), encoding="utf-8")
    else:
        damaged.write_text(re.sub(r'(?<="eN)[A-Za-z0-9+/]{20}', "A" * 20, text), encoding="utf-8")
    seen = Seen(browser, damaged)
    seen.page.goto(damaged.as_uri() + f"#open={REFUSED}/plain")
    if cut == "pack":
        seen.page.wait_for_selector("#exhibit [role=alert]")
        assert "damaged" in seen.page.inner_text("#exhibit")
    else:
        seen.page.wait_for_selector("#trouble", state="visible", timeout=5000)
        assert seen.page.locator("html[data-ready]").count() == 0
    seen.context.close()


def test_nothing_can_be_loaded_even_if_asked(browser: sync_api.Browser, file: Path) -> None:
    seen = Seen(browser, file)
    shown = seen.open()
    assert not shown.evaluate("fetch('https://example.org/').then(() => true, () => false)")
    assert any("Content Security Policy" in words for words in seen.trouble)
    seen.context.close()


def test_the_page_of_real_records(look: Look, tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    matrix = run.run(run.Selection(kinds=("machine-types", "spice")))
    engine.write(file, matrix)
    shown = look(file).open("#driver=machine-types&from=debian-11&to=debian-14")
    (told,) = squares(shown).values()
    (own,) = (c for c in matrix.cells if str(c.key) == "static/machine-types/-/debian-11/debian-14")
    assert f"{own.counts[Outcome.INCOMPATIBLE]} of {own.asked}" in told
    shown.click(".square")
    shown.locator("#detail-body summary").first.click()
    shown.locator("#detail-body .cases a").first.click()
    shown.wait_for_selector(".diff")
    assert "debian-11's record" in shown.inner_text(".diff")
    assert "virt-compat explain static/machine-types/-/debian-11/debian-14/" in shown.inner_text("#detail .command")
