"""Habits, in the browser: no tab keeps anybody out, every figure is taken away, and a link brings a session back."""

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.ui.test_browser import CHROMIUM, PATIENCE, bundled, chromium, open_app, page  # noqa: F401 - fixtures

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no chromium: browser tests skipped")]
AXE = Path(__file__).resolve().parents[1] / "assets" / "axe.min.js"  # npm's axe-core 4.14.1, MPL-2.0
TABS = ("Prune", "Heal", "Chat", "Measure", "Cases", "Learn")
# A colour half-way, or a part dimmed while it is computed, has no contrast to hold.
AT_REST = "* { transition: none !important; } .pending, .generating { opacity: 1 !important; }"
RUN = """async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] });
  return found.violations.filter(x => ["serious", "critical"].includes(x.impact))
    .flatMap(x => x.nodes.map(node => `${x.id}: ${node.target} ${node.html.slice(0, 200)}`));
}"""


def test_axe_finds_nothing_serious_on_any_tab(bundled, page):  # noqa: F811
    """In the light and in the dark, after pruning and asking, axe-core finds no serious or critical violation."""
    open_app(page, bundled)
    page.click("#prune:enabled")
    page.wait_for_selector("#result table")
    page.get_by_role("tab", name="Chat").click()
    page.fill("#question textarea", "How many turtles are there?")
    page.click("#ask:enabled")
    page.wait_for_selector("#stop:disabled")
    found = {}
    for theme in ("light", "dark"):
        page.goto(f"{bundled.url}?__theme={theme}")
        page.wait_for_selector("#plot-influence .main-svg")
        page.wait_for_selector("#result table", state="attached")
        page.add_script_tag(path=AXE)
        page.add_style_tag(content=AT_REST)
        for tab in TABS:
            page.get_by_role("tab", name=tab, exact=True).click()
            page.locator("[role=tabpanel]:visible").first.wait_for()
            if tab == "Measure":
                page.wait_for_selector("#plot-experiment .main-svg")
            found[tab, theme] = page.evaluate(RUN)
    assert {k: v for k, v in found.items() if v} == {}


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
    cards = page.inner_text("#cards")

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
    assert other.inner_text("#cards") == cards and len(table) > 12
    other.goto(f"{bundled.url}?ratio=999")
    other.wait_for_selector("#shared >> text=/out of range/")
    other.wait_for_selector("#prune:enabled")
    other.context.close()
    assert page.strangers == [] and page.errors == [] and re.search("importance", files["CSV"].decode())
