"""Takes the README's pictures of the app, in the light theme: a session on the bundled model from its first page to
healing and measuring, about six minutes.

    python -m scripts.take_screenshots  # needs Debian's chromium, and a Chinese font for the language's name
"""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.sessions import ROOT, serve

FOLDER = ROOT / "assets" / "screenshots"
WIDTH = 1440
SETTLED_MS = 3_000  # for figures, whose last frame nothing tells of


def keep(page: Page, name: str, height: int) -> None:
    """The page from its top."""
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.evaluate("scrollTo(0, 0)")
    page.mouse.move(WIDTH - 1, height - 1)  # nothing is hovered over
    page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=FOLDER / f"{name}-light.png")


def prune(page: Page, ratio: int) -> None:
    """Set the slider and carry the plan out."""
    page.get_by_role("tab", name="Prune").click()
    page.fill("#ratio input[type=number]", str(ratio))
    page.press("#ratio input[type=number]", "Enter")
    page.click(f"#prune:enabled:has-text('{ratio}')")
    page.wait_for_selector(f"#variants >> text=Pruned {ratio}%")
    page.wait_for_selector("#job .job", state="detached")


def take(page: Page) -> None:
    """Every picture, in the order of a session."""
    page.wait_for_selector("#plot-neurons .main-svg")
    page.wait_for_selector("#plot-heads .main-svg")
    page.wait_for_selector("#prune:enabled")
    keep(page, "prune", 1640)
    prune(page, 45)
    page.click("#to-chat")
    page.locator("#gallery .gallery-item button").first.click()
    page.click("#questions >> text=Describe the image.")
    for pane in (1, 2):
        page.wait_for_selector(f"#stats-{pane} >> text=/token/")
    page.wait_for_selector("text=They part at token")  # once both answers were read word by word
    keep(page, "chat", 1360)
    page.get_by_role("tab", name="Prune").click()
    page.check("#repair input")
    prune(page, 30)
    page.get_by_role("tab", name="Heal").click()
    page.fill("#minutes input[type=number]", "3")
    page.press("#minutes input[type=number]", "Enter")
    page.click("#heal:enabled")
    page.wait_for_selector("#healed >> text=/Right of/")
    page.wait_for_selector("#job .job", state="detached")
    keep(page, "heal", 1540)
    page.get_by_role("tab", name="Measure").click()
    page.wait_for_selector("#experiment-head h3")
    keep(page, "measure", 1400)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        process, url = serve(Path(scratch) / "app.txt")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": WIDTH, "height": 900})
            page.set_default_timeout(600_000)
            page.goto(f"{url}?__theme=light")
            take(page)
        finally:
            browser.close()
            process.terminate()
            process.wait(20)


if __name__ == "__main__":
    main()
