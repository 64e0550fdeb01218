"""The page in a real browser: Debian's Chromium, which .ci/run installs."""

import re
import time

import pytest

TEXT = "a red circle is left of a blue square"


@pytest.fixture
def page(browser, address):
    """The page, opened; nothing may be logged as an error, and no other host be asked."""
    host, port = address
    opened = browser.new_page(viewport={"width": 1000, "height": 800})
    faults, hosts = [], set()
    opened.on("console", lambda told: told.type == "error" and faults.append(told.text))
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("request", lambda sent: hosts.add(re.match(r"\w+:/*([^/,;]*)", sent.url)[0]))
    opened.goto(f"http://{host}:{port}/")
    wait_until(opened, "document.title.includes('scenes.index')")
    opened.faults = faults
    yield opened
    opened.close()
    own = (f"http://{host}:{port}", "blob:", "data:", "about:")
    assert [asked for asked in hosts if not asked.startswith(own)] == []


def wait_until(page, expression, argument=None):
    """Wait until JavaScript gives true; `page.wait_for_function` needs eval, which CSP forbids."""
    for _ in range(600):
        if page.evaluate(expression, argument):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"{expression} never became true")


def wait_for_pictures(page, count):
    """Wait until so many pictures are shown, those in sight with their pixels."""
    wait_until(
        page,
        "count => { const all = [...document.querySelectorAll('#hits img')];"
        " return all.length === count && all[0].complete && all[0].naturalWidth > 0 }",
        count,
    )


def search(page, text):
    page.fill("#text", text)
    page.press("#text", "Enter")


def test_type_wait_see_pictures_click_see_boxes(page, served_index):
    search(page, TEXT)
    wait_for_pictures(page, 12)
    best = served_index.search(TEXT, k=1).hits[0]
    first = page.locator("#hits button").first
    assert first.locator("img").get_attribute("alt") == best.id
    first.click()
    frame = page.frame_locator("#explanation")
    frame.locator("svg").first.wait_for()
    assert frame.locator("svg rect").count() > 1
    assert page.locator("#details-name").text_content() == best.id
    page.click("#close")
    assert not page.locator("#details").is_visible()
    assert page.faults == []


def test_the_keyboard_alone_is_enough(page):
    page.keyboard.type(TEXT)  # the field has the focus
    page.keyboard.press("Enter")
    wait_for_pictures(page, 12)
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#hits') !== null"):
            break
    page.keyboard.press("Enter")
    page.frame_locator("#explanation").locator("svg").first.wait_for()
    page.keyboard.press("Escape")
    wait_until(page, "!document.getElementById('details').open")
    assert page.evaluate("document.activeElement.closest('#hits') !== null")
    assert page.faults == []


def test_a_picture_of_ones_own_and_similar_ones(page, served_index):
    path = served_index.picture(served_index.images.entry(3).id)
    page.set_input_files("#file", path)
    wait_for_pictures(page, 12)
    first = page.locator("#hits img").first
    assert first.get_attribute("alt") == path.name
    assert page.locator("#query-picture").is_visible()
    page.locator("#hits button").nth(1).click()
    wait_until(page, "document.getElementById('details-picture').naturalWidth > 0")
    name = page.locator("#details-name").text_content()
    page.click("#similar")
    wait_until(page, "(name) => document.querySelector('#hits img')?.alt === name", name)
    assert page.faults == []


def test_a_dropped_picture_is_searched(page, served_index):
    path = served_index.picture(served_index.images.entry(4).id)
    page.evaluate(
        """([bytes, name]) => {
            const moved = new DataTransfer();
            moved.items.add(new File([new Uint8Array(bytes)], name));
            document.dispatchEvent(
                new DragEvent("drop", { dataTransfer: moved, bubbles: true, cancelable: true }));
        }""",
        [list(path.read_bytes()), path.name],
    )
    wait_until(page, "(name) => document.querySelector('#hits img')?.alt === name", path.name)


def test_errors_are_said_and_nothing_is_lost(page, tmp_path):
    search(page, "собака")
    page.locator("#error:not(:empty)").wait_for()
    assert "Latin letters" in page.locator("#error").text_content()
    (tmp_path / "note.jpg").write_text("not a picture")
    page.set_input_files("#file", tmp_path / "note.jpg")
    wait_until(page, "document.getElementById('error').textContent.includes('Pillow')")
    search(page, TEXT)
    wait_for_pictures(page, 12)
    assert page.locator("#error").text_content() == ""


def test_names_are_shown_as_text(page):
    search(page, "a red circle <img src=x onerror=alert(1)>")
    wait_until(page, "document.getElementById('status').textContent.length > 20")
    assert page.locator("#status img").count() == 0


def test_the_first_paint_is_quick(page):
    paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    wait_until(page, f"{paint} > 0")
    assert page.evaluate(paint) < 2000


def test_a_narrow_screen_has_no_sideways_scrolling(page):
    page.set_viewport_size({"width": 360, "height": 700})
    search(page, TEXT)
    wait_for_pictures(page, 12)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def relative_luminance(colour):
    values = [int(v) / 255 for v in re.findall(r"\d+", colour)[:3]]
    linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_texts_have_the_contrast_of_wcag_aa(page):
    search(page, TEXT)
    wait_for_pictures(page, 12)
    pairs = page.evaluate(
        """() => [...document.querySelectorAll("h1, label, #status, .told, button, input")]
            .filter((e) => e.offsetParent !== null && !e.querySelector("img"))
            .map((e) => {
              let ground = e;
              while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)")
                ground = ground.parentElement;
              return [e.id || e.tagName, getComputedStyle(e).color,
                      getComputedStyle(ground).backgroundColor];
            })"""
    )
    assert len(pairs) > 5
    for name, ink, ground in pairs:
        light, dark = sorted((relative_luminance(ink), relative_luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, name


def test_a_late_answer_does_not_replace_a_newer_one(page, served_index):
    delayed = []

    def delay(route):
        if "slow" in route.request.url and not delayed:
            delayed.append(True)
            time.sleep(0.5)
        route.continue_()

    page.route("**/api/search*", delay)
    page.evaluate(
        """text => {
            const field = document.getElementById("text");
            const form = document.getElementById("search");
            field.value = "a slow red circle";
            form.requestSubmit();
            field.value = text;
            form.requestSubmit();
        }""",
        TEXT,
    )
    wait_for_pictures(page, 12)
    page.wait_for_timeout(800)
    assert TEXT in page.locator("#status").text_content()
