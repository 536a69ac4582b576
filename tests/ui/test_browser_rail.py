"""The rail in a browser: the tree of models, and what can be done with each of them."""

import zipfile

import pytest

from lvlm import load
from tests.ui.test_browser import CHROMIUM, bundled, chromium, open_app, page  # noqa: F401 - fixtures

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no chromium: browser tests skipped")]

# The box holds the name of the chosen model: what is typed before would be written over.
NAMED = """document.querySelector("#variants label.selected").innerText.includes(
  document.querySelector("#variant-name :is(input, textarea)").value)"""


def test_models_are_named_copied_saved_and_dropped(bundled, page, tmp_path):  # noqa: F811
    """A cut model gets a name and an 8-bit copy beneath it; it is downloaded and opens again; dropped, both are gone.
    The original cannot be dropped, and another window sees none of it; where it waits, it says for how many, and what is
    cancelled there ends."""
    open_app(page, bundled)
    page.click("#prune:enabled")
    page.wait_for_selector("#variants input[value^=pruned]", state="attached")
    page.wait_for_selector("#variant-small:enabled")
    page.click("#variant-small")
    page.wait_for_selector("#variants input[value^=int8]", state="attached")
    page.click("#variants label:has(input[value=pruned-1])")
    page.wait_for_selector("#variants label.selected:has(input[value=pruned-1])")
    page.wait_for_function(NAMED)
    page.wait_for_selector("#variant-save:enabled")
    page.fill("#variant-name :is(input, textarea)", "A third less")
    page.press("#variant-name :is(input, textarea)", "Enter")
    page.wait_for_selector("#variants label:has-text('A third less')")
    page.click("#variant-save:enabled")
    with page.expect_download() as download:
        page.click("#variant-file")
    with zipfile.ZipFile(download.value.path()) as packed:
        packed.extractall(tmp_path)
    assert 6_000_000 < load(tmp_path / "A-third-less").parameters().total < 7_000_000

    other = page.context.new_page()
    other.goto(bundled.url)
    other.wait_for_selector("#variants input[value=original]", state="attached")
    assert other.locator("#variants label").count() == 1 and other.locator("#variant-drop:visible").count() == 0
    page.click("#variant-drop:enabled")
    page.wait_for_selector("#variants input[value=pruned-1]", state="detached")
    assert page.locator("#variants label").count() == 1

    page.get_by_label("Repair what stays").check()
    page.click("#prune:enabled:has-text('repair')")
    page.wait_for_selector("#job .job")
    other.click("#prune:enabled")
    other.wait_for_selector("#job >> text=1 other is before you")
    other.click("#cancel")
    other.wait_for_selector("#job .job", state="detached")
    page.wait_for_selector("#job .job", state="detached")
    other.wait_for_selector("#prune:enabled")
    assert other.locator("#variants label").count() == 1
    assert "for all models" in page.inner_text("#memory") and page.errors == [] and page.strangers == []
