"""The documentation site works in a browser: search, copy, links, themes, a phone's width, and no request to another host."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest

playwright_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
from playwright.sync_api import Browser, Page, expect  # noqa: E402

import canvas_sync_dagster  # noqa: E402
from tests.fix_browser import CHROMIUM  # noqa: E402
from tests.test_docs import ROOT  # noqa: E402

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")]
READ = (
    "index.html",
    "reference/tables.html",
    "reference/python.html",
    "how-to/alerts.html",
    "understand/guarantees.html",
)
"""Pages whose contrast and width are tested: one of each kind."""
CONTRAST = 4.5
"""WCAG 2.2 AA for text of ordinary size; large text needs 3."""
MEASURE = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const known = new Map();
  const rgba = colour => { if (!known.has(colour)) known.set(colour, parsed(colour)); return known.get(colour); };
  const parsed = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const low = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    const style = getComputedStyle(element);
    if (!text || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    if (element.closest("svg, .headerlink, script, style, noscript, [data-md-component=search], .md-nav__source")) continue;
    let under = [255, 255, 255, 1]; const layers = [];
    for (let each = element; each; each = each.parentElement) layers.unshift(rgba(getComputedStyle(each).backgroundColor));
    for (const layer of layers) under = over(layer, under);
    const [a, b] = [light(over(rgba(style.color), under)), light(under)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : CONTRAST)) low.add(`${ratio.toFixed(2)} ${element.className || element.tagName}: ${text.slice(0, 40)}`);
  }
  return [...low];
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


class _Links(HTMLParser):
    """The targets and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"href", "src"} and value and tag != "base":
                self.links.add(value)
            elif name in {"id", "name"} and value:
                self.anchors.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    made = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(made)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": 1400, "height": 900}, base_url=url, permissions=["clipboard-read", "clipboard-write"]
    )
    page = context.new_page()
    page.set_default_timeout(20_000)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    yield page
    context.close()
    assert [each for each in requests if not each.startswith((url, "file:", "data:", "blob:"))] == []


def test_the_front_page_has_three_doors_that_open(page: Page) -> None:
    page.goto("index.html")
    doors = page.locator(".doors > div")
    expect(doors).to_have_count(3)
    for number in range(3):
        link = doors.nth(number).get_by_role("link").first
        href = link.get_attribute("href")
        link.click()
        expect(page).to_have_url(re.compile(re.escape(str(href)) + "$"))
        expect(page.locator("article h1")).to_be_visible()
        page.goto("index.html")


@pytest.mark.parametrize("start", ["served", "opened from the disk"])
def test_the_search_finds_a_term(page: Page, site: Path, start: str) -> None:
    page.goto("index.html" if start == "served" else (site / "index.html").as_uri())
    page.get_by_role("textbox", name="Search").click()
    page.keyboard.type("pgbouncer")
    result = page.locator(".md-search-result__link").first
    expect(result).to_contain_text("PostgreSQL")
    result.click()
    expect(page.locator("article h1")).to_contain_text("PostgreSQL")


def test_the_button_of_a_code_block_copies_it(page: Page) -> None:
    page.goto("index.html")
    block = page.locator("div.highlight").first
    block.hover()
    block.get_by_role("button").first.click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == block.locator("code").inner_text().strip()
    assert "canvas-sync demo" in copied


def test_the_picture_of_the_tables_can_be_zoomed_and_leads_to_a_table(page: Page) -> None:
    page.goto("reference/tables.html")
    picture = page.locator(".zoom svg")
    whole = picture.get_attribute("viewBox")
    page.get_by_role("button", name="Zoom in").click()
    assert picture.get_attribute("viewBox") != whole
    page.get_by_role("button", name="Show the whole picture").click()
    assert picture.get_attribute("viewBox") == whole
    picture.locator(".name").get_by_text("courses", exact=True).click()
    expect(page).to_have_url(re.compile("#courses$"))


def test_every_internal_link_has_a_target(site: Path) -> None:
    pages = {path.relative_to(site).as_posix(): _Links(path.read_text("utf-8")) for path in site.rglob("*.html")}
    broken = []
    for name, found in pages.items():
        for link in found.links:
            if re.match(r"(https?|mailto|data|javascript):", link) or name == "404.html":
                continue
            target, anchor = urldefrag(urljoin(f"/{name}", link))
            goal = unquote(target).lstrip("/") or "index.html"
            if not (site / goal).is_file() or (anchor and goal in pages and unquote(anchor) not in pages[goal].anchors):
                broken.append(f"{name}: {link}")
    assert broken == []
    assert len(pages) > len(list((ROOT / "docs").rglob("*.md")))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", READ)
def test_text_has_enough_contrast(page: Page, name: str, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(name)
    expected = "slate" if scheme == "dark" else "default"
    expect(page.locator("body")).to_have_attribute("data-md-color-scheme", expected)
    page.add_style_tag(content="*, *::before, *::after {transition: none !important}")
    assert page.evaluate(MEASURE.replace("CONTRAST", str(CONTRAST))) == []


@pytest.mark.parametrize("name", READ)
def test_no_page_is_wider_than_a_phone(page: Page, name: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(name)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    expect(page.locator("article h1")).to_be_visible()


def test_each_page_is_there_as_markdown_and_listed(site: Path) -> None:
    listed = re.findall(r"\]\(([^)]+)\)", (site / "llms.txt").read_text("utf-8"))
    assert len(listed) == len(set(listed)) > 40
    assert [name for name in listed if not (site / name).is_file()] == []
    settings = (site / "reference" / "settings.md").read_text("utf-8")
    assert "CANVAS_SYNC_BASE_URL" in settings
    python = (site / "reference" / "python.md").read_text("utf-8")
    assert [name for name in canvas_sync_dagster.__all__ if f"# {name}" not in python] == []
    assert ":::" not in python
