"""Holds the web edition to what a reader needs; where a browser is there, it is tried in one."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urldefrag

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
MOST_BYTES = 30_000_000
CHECKS = (ROOT / "tests" / "page_checks.js").read_text(encoding="utf-8")
PHONE, LAPTOP = (390, 844), (1280, 800)
STILL = "*, ::before, ::after { transition: none !important; animation: none !important }"
FLAGS = (
    "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
    "disable-background-networking", "disable-component-update", "disable-sync",
    "host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip


class Page(HTMLParser):
    """What the checks ask of a page: its elements with their attributes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def all(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.elements if tag in tags]

    def values(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.elements if name in attributes]


@cache
def parse(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def problems(path: Path) -> Iterator[str]:
    """Everything about a page that a reader would trip over, as far as its text shows it."""
    page = parse(path)
    if not page.all("html")[0].get("lang"):
        yield "no language"
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    if levels.count(1) != 1 or any(b > a + 1 for a, b in pairwise(levels)):
        yield f"headings of the levels {levels}"
    yield from (f"id twice: {name}" for name, n in Counter(page.values("id")).items() if n > 1)
    yield from (f"no alt text: {i['src']}" for i in page.all("img") if not i.get("alt", "").strip())
    yield from _elsewhere(page)
    links = [a["href"] for a in page.all("a", "link") if "href" in a]
    for link in {*links, *page.values("src")}:
        if not re.match(r"https?://|mailto:|data:", link) and not _leads(path, link):
            yield f"leads nowhere: {link}"


def _elsewhere(page: Page) -> Iterator[str]:
    """What a browser would fetch from another computer without being asked to."""
    styles = [a["href"] for a in page.all("link") if a.get("rel") == "stylesheet"]
    for address in [*styles, *page.values("src"), *page.values("srcset")]:
        if re.match(r"(?:https?:)?//", address):
            yield f"from elsewhere: {address}"


def _leads(path: Path, link: str) -> bool:
    name, fragment = urldefrag(unquote(link))
    target = (path.parent / name.split("?")[0]).resolve() if name else path
    if not target.is_file():
        return False
    return not fragment or target.suffix != ".html" or fragment in parse(target).values("id")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "site"
    command = [sys.executable, str(ROOT / "docs" / "build.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


class TestPages:
    def test_when_pages_are_read_then_nothing_is_wrong_with_any(self, site):
        found = {p.name: list(problems(p)) for p in sorted(site.rglob("*.html"))}
        assert len(found) > len(NOTEBOOKS) + 10
        assert {name: wrong for name, wrong in found.items() if wrong} == {}

    def test_when_style_sheets_are_read_then_they_fetch_nothing_from_elsewhere(self, site):
        for sheet in site.rglob("*.css"):
            for address in re.findall(r"url\(['\"]?([^'\")]+)", sheet.read_text("utf-8")):
                assert address.startswith("data:") or (sheet.parent / address).is_file()

    def test_when_the_site_is_copied_then_it_is_small(self, site):
        assert sum(p.stat().st_size for p in site.rglob("*") if p.is_file()) < MOST_BYTES

    def test_when_a_module_has_a_public_function_then_its_room_has_a_page_that_shows_it(self, site):
        for path in sorted((ROOT / "helpers").rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[-1] in ("__init__", "__main__"):
                continue
            shown = set(parse(site / "helpers" / f"{parts[1]}.html").values("id"))
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
                if public and ast.get_docstring(node):
                    assert ".".join([*parts, node.name]) in shown

    def test_when_there_is_no_site_yet_in_a_folder_then_it_is_left_alone(self, tmp_path):
        (tmp_path / "thesis.txt").write_text("mine")
        command = [sys.executable, str(ROOT / "docs" / "build.py"), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1
        assert "Received" in done.stderr
        assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebooks:
    def test_when_a_notebook_has_figures_then_its_page_has_them_with_their_texts(self, site, path):
        texts = []
        for output in outputs(path):
            texts += [output.metadata[k]["alt"] for k in output.get("data", {}) if "image/" in k]
        images = parse(site / "notebooks" / f"{path.stem}.html").all("img")
        assert [image["alt"] for image in images] == texts

    def test_when_a_solution_is_folded_then_it_is_on_the_page(self, site, path):
        cells = nbformat.read(path, as_version=4).cells
        hidden = [c for c in cells if "hide-input" in c.metadata.get("tags", [])]
        prose = "".join(cell.source for cell in cells if cell.cell_type == "markdown")
        page = parse(site / "notebooks" / f"{path.stem}.html")
        assert len(page.all("details")) == len(hidden) + prose.count("<details")
        assert [fold for fold in page.all("details") if "open" in fold] == []

    def test_when_a_notebook_has_formulas_then_its_page_draws_them_all(self, site, path):
        cells = nbformat.read(path, as_version=4).cells
        prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        prose = re.sub(r"```.*?```|`[^`]*`", "", prose, flags=re.DOTALL)
        formulas = re.findall(r"\$\$.+?\$\$|\$[^$]+\$", prose, flags=re.DOTALL)
        assert len(parse(site / "notebooks" / f"{path.stem}.html").all("math")) == len(formulas)


def outputs(path: Path) -> list[nbformat.NotebookNode]:
    cells = nbformat.read(path, as_version=4).cells
    return [output for cell in cells for output in cell.get("outputs", [])]


GOOD = """<!doctype html><html lang="en"><body><h1 id="a">A</h1><h2>B</h2>
<a href="#a">up</a><img src="cell.png" alt="A cell."></body></html>"""
FAULTS = {
    "no language": ('lang="en"', ""),
    "headings": ("h2>", "h3>"),
    "id twice": ("<h2>", '<h2 id="a">'),
    "no alt text": ('alt="A cell."', 'alt=" "'),
    "leads nowhere: #b": ('"#a"', '"#b"'),
    "leads nowhere: b.html": ('"#a"', '"b.html"'),
    "leads nowhere: nucleus.png": ("cell.png", "nucleus.png"),
    "from elsewhere": ("<body>", '<body><script src="//elsewhere.org/x.js"></script>'),
}


@pytest.mark.parametrize("said", [None, *FAULTS])
def test_when_a_fault_is_planted_then_it_is_found(tmp_path, said):
    (tmp_path / "cell.png").touch()
    (tmp_path / "page.html").write_text(GOOD.replace(*FAULTS.get(said, ("", ""))))
    found = " ".join(problems(tmp_path / "page.html"))
    assert said in found if said else not found


FORMULAS = {
    r"\tfrac34 x": ["mfrac(mn:3,mn:4)", "mi:x"],
    r"\bar A_1": ["mover(mi:A,mo:ˉ)", "msub(mrow,mn:1)"],
    r"\overline{ab}": ["mrow.over(mrow(mi:a,mi:b))"],
    r"\underbrace{a}_{\text{b}}": ["munder(mrow.under(mi:a),mtext:b)"],
    r"\big( a": ["mrow(mo:(,mi:a)"],
}


@pytest.mark.parametrize("latex", FORMULAS)
def test_when_a_formula_is_translated_then_it_says_the_same(monkeypatch, latex):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from xml.etree import ElementTree

    from extension import to_mathml

    tree = ElementTree.fromstring(to_mathml(latex, as_block=False))
    assert [spelt(element) for element in tree] == FORMULAS[latex]


def spelt(element) -> str:
    name = element.tag.split("}")[1] + "".join(f".{c}" for c in [element.get("class")] if c)
    if len(element):
        return f"{name}({','.join(map(spelt, element))})"
    return f"{name}:{element.text}" if element.text else name


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser without a window that finds no other computer; where there is none, tests skip."""
    names = ("chromium", "chromium-browser", "google-chrome")
    binary, driver = (
        next(filter(None, map(shutil.which, names)), None),
        shutil.which("chromedriver"),
    )
    if not binary or not driver:
        pytest.skip("no Chromium with its chromedriver")
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(f"--{flag}")
    try:
        chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    except WebDriverException as error:  # such as a driver of another version
        pytest.skip(f"Chromium does not start: {error.msg}")
    yield chrome
    chrome.quit()


def visit(browser, path: Path, size: tuple[int, int] = LAPTOP) -> None:
    resize(browser, size)
    browser.get(path.as_uri())
    style = (
        "document.head.append(Object.assign(document.createElement('style'), {textContent: '%s'}))"
    )
    browser.execute_script(style % STILL)


def resize(browser, size: tuple[int, int]) -> None:
    shape = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shape)


def looked_at(browser, path: Path) -> Iterator[str]:
    """What is wrong with a page that is shown, on two screens, in light and dark."""
    visit(browser, path)
    unfold = "document.querySelectorAll('details').forEach(fold => fold.open = true)"
    browser.execute_script(unfold)
    for size, theme in ((LAPTOP, "light"), (LAPTOP, "dark"), (PHONE, "dark"), (PHONE, "light")):
        resize(browser, size)
        browser.execute_script("document.body.dataset.theme = arguments[0]", theme)
        yield from (f"{size[0]} px, {theme}: {said}" for said in browser.execute_script(CHECKS))
    yield from (entry["message"] for entry in browser.get_log("browser"))


class TestInABrowser:
    def test_when_pages_are_shown_then_nothing_is_wrong_with_any(self, site, browser):
        found = {p.name: list(looked_at(browser, p)) for p in sorted(site.rglob("*.html"))}
        assert {name: wrong for name, wrong in found.items() if wrong} == {}

    @pytest.mark.parametrize(
        ("said", "body"),
        [
            ("contrast 1.61", '<p style="color: #ccc">pale</p>'),
            ("contrast", '<p style="opacity: 0.3">pale</p>'),
            ("contrast", '<input placeholder="pale" aria-label="x" style="background: #777">'),
            ("no name", '<a href="#x"><svg></svg></a>'),
            ("no name", "<button></button>"),
            ("px wide", '<pre style="width: 2000px">wide</pre>'),
            ("not drawn", '<img src="nowhere.png" alt="gone">'),
            ("Failed to load", '<link rel="stylesheet" href="nowhere.css">'),
            ("boom", "<script>throw Error('boom')</script>"),
        ],
    )
    def test_when_a_fault_is_planted_then_it_is_found(self, browser, tmp_path, said, body):
        page = f"<!doctype html><html lang=en><body style='background: #fff'>{body}</body></html>"
        (tmp_path / "page.html").write_text(page)
        assert said in " ".join(looked_at(browser, tmp_path / "page.html"))

    def test_when_a_page_is_sound_then_nothing_is_found(self, browser, tmp_path):
        page = GOOD.replace("cell.png", "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAAC")
        (tmp_path / "page.html").write_text(page.replace("<body>", "<body style='color: #555'>"))
        assert "contrast" not in " ".join(looked_at(browser, tmp_path / "page.html"))

    def test_when_only_a_keyboard_is_there_then_all_is_reached_and_folds_open(self, site, browser):
        visit(browser, site / "notebooks" / f"{NOTEBOOKS[-1].stem}.html")
        reached = tab_until(browser, "SUMMARY")
        assert {"skip-to-content", "sidebar-search", "reference"} <= set(" ".join(reached).split())
        is_open = "return document.activeElement.parentElement.open"
        assert browser.execute_script(is_open) is False
        press(browser, "\ue007")
        assert browser.execute_script(is_open) is True

    def test_when_a_phone_has_a_keyboard_then_the_closed_menu_is_passed_by_and_opens(
        self, site, browser
    ):
        visit(browser, site / "index.html", PHONE)
        field = "document.querySelector('.sidebar-search')"
        seen = f"return {field}.checkVisibility({{visibilityProperty: true}})"
        assert browser.execute_script(seen) is False
        press(browser, "\ue004")
        press(browser, " ")
        assert browser.execute_script(seen) is True

    def test_when_a_word_is_searched_then_the_notebook_that_has_it_is_found(self, site, browser):
        from selenium.webdriver.common.by import By
        from selenium.webdriver.support.ui import WebDriverWait

        visit(browser, site / "index.html")
        browser.find_element(By.CLASS_NAME, "sidebar-search").send_keys("lymphoblasts\ue007")
        found = (By.CSS_SELECTOR, "#search-results li a")
        links = WebDriverWait(browser, 20).until(lambda b: b.find_elements(*found))
        assert "00_foundations.html" in " ".join(link.get_attribute("href") for link in links)
        assert browser.get_log("browser") == []

    def test_when_the_button_of_the_theme_is_pressed_then_the_page_turns_dark(self, site, browser):
        visit(browser, site / "index.html")
        for _ in range(3):  # auto, light, dark
            browser.execute_script(
                "document.querySelector('.content-icon-container button').click()"
            )
            if browser.execute_script("return document.body.dataset.theme") == "dark":
                break
        ground = "return getComputedStyle(document.body).backgroundColor"
        assert max(map(int, re.findall(r"\d+", browser.execute_script(ground))[:3])) < 64


def press(browser, key: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(key).perform()


def tab_until(browser, tag: str, most: int = 300) -> list[str]:
    """Goes from link to link, each of which must be in sight, and returns their classes."""
    state = """const e = document.activeElement, box = e.getBoundingClientRect();
        return [e.tagName, e.className, box.right > 0 && box.left < innerWidth]"""
    reached = []
    for _ in range(most):
        press(browser, "\ue004")
        name, classes, in_sight = browser.execute_script(state)
        assert in_sight, classes
        reached.append(classes)
        if name == tag:
            return reached
    raise AssertionError(f"{tag} is not reached in {most} steps: {reached[-5:]}")
