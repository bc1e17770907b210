"""The page in five languages, and for everybody: no violation that axe-core can find, at any width."""

import re
from html.parser import HTMLParser

import pytest
from helpers.browser import PATIENCE, chromium, file_server, playwright

from headcount.page import STATIC, write_site

expect = playwright.expect
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="testing access needs axe-playwright-python")
LANGUAGES = ("zh", "es", "de", "fr")
SAME_EVERYWHERE = {"headcount", "CSV", "JSON", "PNG", "m²"}


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    write_site(folder)
    with file_server(folder) as address:
        yield address


def visit(browser, address, **options):
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    expect(page.locator("#welcome")).to_be_visible(timeout=PATIENCE)
    return page


class Texts(HTMLParser):
    """Collects what page.html shows or says."""

    def __init__(self):
        super().__init__()
        self.found, self.silent = set(), 0

    def handle_starttag(self, tag, attributes):
        self.silent += tag in ("script", "style", "kbd", "title")
        self.found |= {
            " ".join(value.split()) for name, value in attributes if name in ("aria-label", "title", "placeholder")
        }

    def handle_endtag(self, tag):
        self.silent -= tag in ("script", "style", "kbd", "title")

    def handle_data(self, data):
        if data.strip() and not self.silent:
            self.found.add(" ".join(data.split()))


def texts_of_the_page():
    parser = Texts()
    parser.feed((STATIC / "page.html").read_text(encoding="utf-8"))
    called = set()
    for file in STATIC.glob("*.js"):
        if not file.name.startswith(("strings-", "translation")):
            for argument in re.findall(
                r"\bt\(\s*((?:[^(){}\"']|\"[^\"]*\"|'[^']*')+)", file.read_text(encoding="utf-8")
            ):
                spoken = argument.split("?", 1)[-1]  # of a choice, its two texts
                called |= {double or single for double, single in re.findall(r"\"([^\"]*)\"|'([^']*)'", spoken)}
    return parser.found - SAME_EVERYWHERE | called


def test_every_text_is_in_every_table(browser, address):
    page = visit(browser, address)
    tables = page.evaluate("async () => (await import('./static/translation.js')).TABLES")
    assert set(tables) == set(LANGUAGES)
    needed = texts_of_the_page()
    assert len(needed) > 150
    sources = "".join(file.read_text() for file in STATIC.iterdir() if not file.name.startswith("strings-"))
    sources = " ".join(sources.split())
    for language, table in tables.items():
        assert needed <= set(table), language
        unused = {text for text in table if text not in sources.replace('\\"', '"')}
        assert not unused, language
        for text, translated in table.items():
            assert translated.strip() and names(text) == names(translated), (language, text)


def names(text):
    return sorted(re.findall(r"\{\w+\}", text))


@pytest.mark.parametrize(
    ("locale", "invitation"), [("zh-CN", "统计其中的人数"), ("es-MX", "contar"), ("fr-FR", "compter")]
)
def test_the_browser_chooses_the_language_and_the_reader_may_change_it(browser, address, locale, invitation):
    page = visit(browser, address, locale=locale)
    expect(page.locator("#invite")).to_contain_text(invitation)
    expect(page.locator("html")).to_have_attribute("lang", locale[:2])
    page.locator("#language").select_option("de")
    expect(page.locator("#invite")).to_contain_text("Fotos hier ablegen")
    page.reload()
    expect(page.locator("#invite")).to_contain_text("Fotos hier ablegen")
    page.locator("#language").select_option("en")
    expect(page.locator("#invite")).to_contain_text("Drop photos here")


def test_warnings_are_translated_with_their_numbers(browser, address):
    page = visit(browser, address, locale="de-DE")
    said = page.evaluate(
        "async (text) => (await import('./static/translation.js')).translateMessage(text)",
        "heads are about 8 pixels apart, closer than in the images the model knows (11): the count is likely too low;"
        " use an image with more pixels",
    )
    assert said.startswith("Köpfe liegen etwa 8 Pixel auseinander") and "(11)" in said


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_at_any_width(browser, address, scheme):
    page = visit(browser, address, color_scheme=scheme, viewport={"width": 375, "height": 740}, reduced_motion="reduce")
    check_access(page, "the first screen")
    page.locator("#welcome [data-do=example]").click()
    expect(page.locator("#facts")).to_contain_text("1024", timeout=PATIENCE)
    for width in (375, 768, 1280, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        for mode in ("view", "region", "correct"):
            page.locator(f"[name=mode][value={mode}]").evaluate("radio => radio.click()")
            if width in (375, 1280) or mode == "view":
                check_access(page, f"{mode} at {width} pixels")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#keys").click()
    check_access(page, "the shortcuts")


def check_access(page, where):
    page.evaluate("() => new Promise(requestAnimationFrame)")
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    told = [(one["id"], node["html"][:120], node["failureSummary"]) for one in found for node in one["nodes"]]
    assert not told, where


def test_printing_shows_the_photo_and_its_count_without_controls(browser, address):
    page = visit(browser, address)
    page.locator("#welcome [data-do=example]").click()
    expect(page.locator("#big")).to_be_visible(timeout=PATIENCE)
    page.emulate_media(media="print")
    for shown in ("#stage", "#big", "#interval"):
        expect(page.locator(shown)).to_be_visible()
    for control in ("#adders", "#zoom", "#keys", "#language"):
        expect(page.locator(control)).to_be_hidden()
