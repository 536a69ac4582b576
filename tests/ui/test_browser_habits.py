"""Habits, in the browser: no tab keeps anybody out, every figure is taken away, and a link brings a session back."""

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.ui.test_browser import (  # noqa: F401 - fixtures
    CHROMIUM,
    PATIENCE,
    bundled,
    chromium,
    open_app,
    open_tab,
    page,
    prune,
)

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no chromium: browser tests skipped")]
AXE = Path(__file__).resolve().parents[1] / "assets" / "axe.min.js"  # npm's axe-core 4.14.1, MPL-2.0
TABS = ("Prune", "Heal", "Chat", "Measure", "Cases", "Learn")
# A colour half-way, or a part dimmed while it is computed, has no contrast to hold.
AT_REST = "* { transition: none !important; } .pending, .generating { opacity: 1 !important; }"
CONTRAST = """() => {
  const [ground, text] = [getComputedStyle(document.body).backgroundColor,
    getComputedStyle(document.querySelector("#plot-influence .main-svg text")).fill]
    .map(x => x.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part) / 3, 0));
  return Math.round(Math.abs(ground - text));
}"""
RUN = """async theme => {
  document.body.classList.toggle("dark", theme === "dark");
  const rules = theme === "dark" ? { runOnly: ["color-contrast"] } : {};  // the others are the same in both
  const found = await axe.run(document, { resultTypes: ["violations"], ...rules });
  return found.violations.filter(x => ["serious", "critical"].includes(x.impact))
    .flatMap(x => x.nodes.map(node => `${x.id}: ${node.target} ${node.html.slice(0, 200)}`));
}"""


def test_axe_finds_nothing_serious_on_any_tab_and_all_fits_a_phone(bundled, page):  # noqa: F811
    """After pruning and asking, on a desktop and on a phone, in the light and in the dark: axe-core finds no serious or
    critical violation, nothing is wider than the screen, and figures' text stands out from the ground."""
    open_app(page, bundled)
    prune(page)
    page.fill("#question textarea", "How many turtles are there?")
    page.click("#ask:enabled")
    page.wait_for_selector("#stop:disabled")
    found, contrast = {}, []
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(f"{bundled.url}?__theme=light")
        page.wait_for_selector("#plot-influence .main-svg")
        page.wait_for_selector("#result table", state="attached")
        page.add_script_tag(path=AXE)
        page.add_style_tag(content=AT_REST)
        for tab in TABS:
            open_tab(page, tab)
            page.locator("[role=tabpanel]:visible").first.wait_for()
            if tab == "Measure":
                page.wait_for_selector("#plot-experiment .main-svg")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            for theme in ("light", "dark"):
                found[tab, width, theme] = page.evaluate(RUN, theme)
                contrast.append(page.evaluate(CONTRAST))
    assert {k: v for k, v in found.items() if v} == {}
    assert min(contrast) > 80 and len(set(contrast)) == 2, contrast  # of 255; one in each theme


def test_figures_are_taken_away_and_a_link_brings_the_session_back(bundled, page, tmp_path):  # noqa: F811
    """By keyboard alone: a figure as PNG, SVG and CSV, whose numbers are those on the screen; a copied link, opened by
    somebody else, gives the same plan, picture and question; a bad one a sentence, and the usual page."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_app(page, bundled)
    page.fill("#ratio input[type=number]", "45")
    page.press("#ratio input[type=number]", "Tab")
    page.wait_for_selector("#prune >> text=/Prune 4[45]/")
    assert page.locator("#plot-heads .svg-container[role=img]").get_attribute("aria-label").count("heads") >= 1
    files = {}
    for kind in ("PNG", "SVG", "CSV"):
        page.locator("#plot-heads").get_by_role("button", name=kind, exact=True).focus()
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        assert download.value.suggested_filename == f"prunoscope-heads.{kind.lower()}"
        files[kind] = Path(download.value.path()).read_bytes()
    assert Image.open(io.BytesIO(files["PNG"])).size[0] > 400
    assert b"<svg" in files["SVG"] and b"heads" in files["SVG"]  # with its finding as title
    table = pd.read_csv(io.BytesIO(files["CSV"])).dropna(subset=["importance"])
    cards = page.inner_text("#cards .cards")

    page.get_by_role("tab", name="Chat").click()
    page.locator("#gallery .gallery-item button").nth(2).click()
    page.fill("#question textarea", "Is it & why?")
    page.wait_for_function("document.querySelector('#question textarea').value === 'Is it & why?'")
    page.click("#copy-link")
    page.wait_for_selector("#shared >> text=The link is copied")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(bundled.url) and "ratio=45" in link
    page.click("#save-script")
    page.wait_for_selector("#shared >> text=The script does again")

    other = page.context.browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    other.set_default_timeout(PATIENCE)
    other.goto(link)
    other.wait_for_selector("#prune:enabled", state="attached")
    assert other.input_value("#question textarea") == "Is it & why?" and "ratio" not in other.url
    other.get_by_role("tab", name="Prune").click()
    other.wait_for_selector("#prune >> text=/Prune 4[45]/")
    assert other.inner_text("#cards .cards") == cards and len(table) > 12
    other.goto(f"{bundled.url}?ratio=999")
    other.wait_for_selector("#shared >> text=/out of range/")
    other.wait_for_selector("#prune:enabled")
    other.context.close()
    assert page.strangers == [] and page.errors == [] and re.search("importance", files["CSV"].decode())
