"""Explanations and reports in a real browser, as wide as a phone and as a desk's screen."""

import pytest
import torch
from PIL import Image

import resg
from resg.explain.page import save_explanation
from resg.report.collecting import collect_reports
from resg.report.page import report_page

LEAST_TEXT = 9.5
"""Pixels of the smallest letters in a figure on a phone."""


@pytest.fixture(scope="module")
def pages(picture_run, tmp_path_factory):
    """Files of an explanation and of a report."""
    place = tmp_path_factory.mktemp("pages")
    run = resg.load(picture_run.folder, device="cpu")
    picture = picture_run.pictures[0]
    explanation = run.explain(picture, "a red circle is above a blue square <b>&</b>")
    save_explanation(explanation, picture, place / "explanation.html")
    reports = collect_reports([picture_run.folder], "test", torch.device("cpu"))
    page = report_page(reports, picture.parents[1])
    (place / "report.html").write_text(page, encoding="utf-8")
    return place


@pytest.fixture(params=[360, 1200], ids=["phone", "desk"])
def open_page(request, browser, pages):
    """What opens a page; nothing may be logged as an error, and no other file or host be asked."""
    opened = browser.new_page(viewport={"width": request.param, "height": 800})
    faults, asked = [], []
    opened.on("console", lambda told: told.type == "error" and faults.append(told.text))
    opened.on("request", lambda sent: asked.append(sent.url))

    def go(name):
        opened.goto((pages / name).as_uri())
        return opened

    yield go
    opened.close()
    assert faults == []
    assert [url for url in asked if not url.startswith("data:")] == asked[:1]


def least_text(page):
    """Height in pixels of the smallest letters in the figures."""
    return page.evaluate(
        "() => Math.min(...[...document.querySelectorAll('svg text')].filter(t => t.textContent)"
        ".map(t => parseFloat(t.getAttribute('font-size')) * t.getScreenCTM().a))"
    )


@pytest.mark.parametrize("name", ["explanation.html", "report.html"])
def test_a_page_is_no_wider_than_the_screen(name, open_page):
    page = open_page(name)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("() => [...document.images].every(i => i.complete && i.naturalWidth > 0)")


def test_an_explanation_is_legible_and_its_text_is_text(open_page):
    page = open_page("explanation.html")
    assert least_text(page) >= LEAST_TEXT
    assert "<b>&</b>" in page.locator("blockquote").first.text_content()
    assert page.locator("svg").count() == 3


def test_the_photograph_is_in_the_figure(open_page, tmp_path):
    page = open_page("explanation.html")
    page.locator("svg").first.screenshot(path=tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as figure:
        colours = figure.convert("RGB").getcolors(2**24)
    assert len(colours) > 500  # of shaded shapes; boxes and words alone have fewer
