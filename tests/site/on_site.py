"""Every page of the built site, opened in Chromium: ``make test-docs``.

Each page is shown in a wide and in a narrow window, light and dark. What is wrong is listed with
page, width, theme and element. The checks of a shown page are in ``page.js``.
"""

import os
import re
import shutil
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import sklearn_ae

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
import intersphinx

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SITE = Path(os.environ.get("SITE", ROOT / "docs" / "_build" / "html")).absolute()
PAGES = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html"))
SHOWN = [page for page in PAGES if not page.startswith("_static/")]
WIDTHS = {"desktop": 1280, "phone": 390}
THEMES = ["light", "dark"]
NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
READY = """async () => {
    document.head.insertAdjacentHTML(
        "beforeend", "<style>* {transition: none !important; animation: none !important}</style>");
    const images = [...document.images];
    for (const image of images) image.loading = "eager";
    await Promise.all(images.map((image) => image.decode().catch(() => null)));
    await document.fonts.ready;
    if (window.MathJax) await window.MathJax.startup.promise;
}"""
THEME = """() => new Promise((resolve) => {
    const shown = () => resolve(document.documentElement.dataset.theme);
    requestAnimationFrame(() => requestAnimationFrame(shown)); // the theme changes in a frame
})"""


def chromium():
    """Return the path of Chromium: CHROMIUM, one on the path, or None: playwright's own."""
    if "CHROMIUM" in os.environ:
        return os.environ["CHROMIUM"]
    return next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")
def window():
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        pytest.fail("playwright is not installed: pip install 'sklearn-ae[site]'", pytrace=False)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        except Error as error:
            pytest.fail(
                "No Chromium: install the package chromium, run `playwright install chromium`, or "
                f"give the path in the variable CHROMIUM. {error}",
                pytrace=False,
            )
        page = browser.new_page()
        page.set_default_timeout(120_000)  # busy machines take long
        yield page
        browser.close()


def inspect(window, path):
    """Return what is wrong with a page, one line for each finding."""
    findings = []
    listeners = {
        "console": lambda message: (
            message.type == "error" and findings.append(f"console: {message.text}")
        ),
        "pageerror": lambda error: findings.append(f"error of a script: {error}"),
        "request": lambda request: (
            urlsplit(request.url).scheme in ("file", "data", "blob")
            or findings.append(f"request to the network: {request.url}")
        ),
        "requestfailed": lambda request: findings.append(f"not loaded: {request.url}"),
    }
    for event, listener in listeners.items():
        window.on(event, listener)
    window.emulate_media(color_scheme=THEMES[0])
    window.goto(path.as_uri())
    window.evaluate(READY)
    for device, width in WIDTHS.items():
        window.set_viewport_size({"width": width, "height": 900})
        for theme in THEMES:
            window.emulate_media(color_scheme=theme)
            shown = window.evaluate(THEME)
            if shown != theme:
                findings.append(f"{device}, {theme}: the page is shown in {shown}")
            findings += [
                f"{device} ({width} px), {theme}: {line}"
                for line in window.evaluate((HERE / "page.js").read_text())
            ]
    for event, listener in listeners.items():
        window.remove_listener(event, listener)
    return findings


class Links(HTMLParser):
    """Ids of a page, what it links to, and what it loads."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loaded = {"", "top"}, set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids |= {attributes.get("id"), attributes.get("name")}
        if tag == "a" and "href" in attributes:
            self.links.add(attributes["href"])
        elif tag == "link" and attributes.get("rel") != "canonical":
            self.loaded.add(attributes["href"])
        elif tag in ("script", "img", "iframe", "source", "video") and "src" in attributes:
            self.loaded.add(attributes["src"])


@cache
def links(path):
    return Links(path.read_text(encoding="utf-8"))


def broken(path):
    """Return links of a page to files and anchors that do not exist, and what others serve."""
    page = links(path)
    findings = [f"loaded from the network: {url}" for url in page.loaded if urlsplit(url).netloc]
    for url in sorted(page.links | page.loaded):
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and not parts.hostname:
            findings.append(f"link without a host: {url}")
        if parts.scheme or parts.netloc:
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if target.is_dir():
            target /= "index.html"
        if not target.is_file():
            findings.append(f"broken link: {url}")
        elif target.suffix == ".html" and unquote(parts.fragment) not in links(target).ids:
            findings.append(f"broken anchor: {url}")
    return findings


def fail_with(page, findings):
    if findings:
        lines = [f"{page}: {len(findings)} findings", *(f"  {line}" for line in findings)]
        pytest.fail("\n".join(lines), pytrace=False)


def test_site_is_built():
    assert "index.html" in PAGES, f"There is no site in {SITE}: run `make docs` first."


@pytest.mark.parametrize("page", SHOWN)
def test_page(window, page):
    fail_with(page, inspect(window, SITE / page))


@pytest.mark.parametrize("page", SHOWN)
def test_links(page):
    fail_with(page, broken(SITE / page))


def test_styles_load_nothing_from_the_network():
    for path in SITE.rglob("*.css"):
        style = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.S)
        loaded = re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^\"')]*", style)
        assert not loaded, f"{path.relative_to(SITE)} loads {loaded}"


def test_inventory_is_read_from_a_project(tmp_path):
    path = tmp_path / "sklearn_ae.inv"
    path.write_text("# Sphinx inventory version 1\n# Project: sklearn-ae\n# Version: 0\n")
    with pytest.raises(SystemExit, match=r"has no sklearn_ae\.Nothing; nothing was written"):
        intersphinx.update("sklearn_ae", f"{SITE.as_uri()}/", ["sklearn_ae.Nothing"], tmp_path)
    names = ["sklearn_ae.save", "sklearn_ae.Autoencoder"]
    intersphinx.update("sklearn_ae", f"{SITE.as_uri()}/", names, tmp_path)
    page = "generated/sklearn_ae.{}.html"
    assert path.read_text().splitlines()[2:] == [
        f"# Version: {sklearn_ae.__version__}",
        f"sklearn_ae.Autoencoder class {page.format('Autoencoder')}",
        f"sklearn_ae.save function {page.format('save')}",
    ]
    intersphinx.update("sklearn_ae", f"{SITE.as_uri()}/", [], tmp_path)
    assert list(intersphinx.read(path)) == sorted(names)


FAULTS = {
    "raw LaTeX": r"<p>The norm \(x\)</p>",
    "raw reStructuredText": "<p>See :class:`Autoencoder`</p>",
    "formula not rendered": '<span class="math">x</span>',
    "progress bar": "<pre>50%|#####     | 3/6</pre>",
    "reaches out of its column": '<table style="width: 2000px"><tr><td>a</td></tr></table>',
    "broken words in a cell": (
        '<table style="width: 90px; table-layout: fixed; overflow-wrap: anywhere">'
        "<tr><td>components</td><td>explained</td><td>c</td></tr></table>"
    ),
    "header in several lines": '<div class="bd-header" style="height: 120px">Title</div>',
    "page of 2": '<div style="width: 2000px">wide</div>',
    "broken image": '<img src="missing.png" alt="">',
    "not loaded": '<img src="missing.png" alt="">',
    "request to the network": '<img src="http://127.0.0.1:9/picture.png" alt="">',
    "contrast 1.": '<p style="color: #eee; background: #fff">pale</p>',
    "console: wrong": '<script>console.error("wrong")</script>',
    "error of a script": "<script>undefined_function()</script>",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found(window, tmp_path, fault):
    path = tmp_path / "page.html"
    path.write_text(f"<!doctype html><body><article>{FAULTS[fault]}</article></body>")
    assert any(fault in finding for finding in inspect(window, path))


def test_no_fault_in_a_plain_page(window, tmp_path):
    path = tmp_path / "page.html"
    scrolling = '<div style="overflow-x: auto"><p style="width: 2000px">wide</p></div>'
    script = """<script>
        const dark = matchMedia("(prefers-color-scheme: dark)");
        const root = document.documentElement;
        const set = () => { root.dataset.theme = dark.matches ? "dark" : "light" };
        dark.onchange = set;
        set();
    </script>"""
    path.write_text(f"<!doctype html>{script}<body><article>{scrolling}</article></body>")
    assert inspect(window, path) == []


@pytest.mark.parametrize(
    ("link", "found"),
    [
        ("other.html", ["broken link: other.html"]),
        ("#nowhere", ["broken anchor: #nowhere"]),
        ("https:///page", ["link without a host: https:///page"]),
        ("#here", []),
        ("https://example.org/page", []),
    ],
)
def test_broken_links_are_found(tmp_path, link, found):
    path = tmp_path / "page.html"
    path.write_text(f'<h1 id="here">Title</h1><a href="{link}">link</a>')
    assert broken(path) == found


def test_scripts_of_others_are_found(tmp_path):
    path = tmp_path / "page.html"
    path.write_text('<script src="https://example.org/script.js"></script>')
    assert broken(path) == ["loaded from the network: https://example.org/script.js"]
