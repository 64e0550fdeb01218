"""Make docs/images/search.png: the page of `resg serve`, in Chromium.

    python docs/images/search_figure.py http://127.0.0.1:8000/ "a dog in the snow"

The picture in docs/ is of the demo's scenes: make demo, resg index demo/scenes --out scenes.index
--run demo/runs/resg-gru, resg serve scenes.index; "a yellow cross in front of a black cross".
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SIZE = {"width": 1000, "height": 620}


def main(address: str, text: str) -> None:
    """Search for the text."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport=SIZE)
        page.goto(address)
        page.fill("#text", text)
        page.press("#text", "Enter")
        page.locator("#hits img").first.wait_for()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=Path(__file__).with_name("search.png"))
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
