"""The Chat tab in the browser: several models at once, asked again and otherwise; an answer read word by word."""

import pytest

from tests.ui.test_browser import CHROMIUM, answer, bundled, chromium, open_app, page, prune  # noqa: F401 - fixtures

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no chromium: browser tests skipped")]


def choose(page, box: str, words: str) -> None:  # noqa: F811
    """Open a dropdown and take an option of it."""
    page.click(f"#{box} input")
    page.locator("ul[role=listbox] li", has_text=words).first.click()


def ended(page) -> None:  # noqa: F811
    page.wait_for_selector("#stop:disabled")
    page.wait_for_selector("#ask:enabled")


def test_three_models_answer_again_and_otherwise(bundled, page):  # noqa: F811
    """Whoever is chosen answers the one question; retry repeats every answer, a new seed changes them, edit and undo
    take the question back."""
    open_app(page, bundled)
    prune(page)
    page.click("#int8 input:enabled")
    page.wait_for_selector("#pane-2 .chip-int8")
    choose(page, "who", "Pruned")
    page.wait_for_selector("#pane-3 .chip-pruned")
    page.click("text=More: how the answers are made")
    page.fill("#temperature input[type=number]", "1.5")
    page.fill("#seed input", "3")
    page.press("#seed input", "Tab")
    page.fill("#question textarea", "Describe the image.")
    page.click("#ask:has-text('all')")
    for pane in (1, 2, 3):
        page.wait_for_selector(f"#stats-{pane} >> text=/token/")
        assert "parameters" in page.inner_text(f"#stats-{pane}")
    ended(page)
    said = [answer(page, pane) for pane in (1, 2, 3)]
    page.click("#retry:enabled")
    page.wait_for_selector("#retry:disabled")
    page.wait_for_selector("#retry:enabled")
    assert [answer(page, pane) for pane in (1, 2, 3)] == said
    page.click("#reseed:enabled")
    page.wait_for_function("document.querySelector('#seed input').value === '4'")
    page.wait_for_selector("#retry:enabled")
    assert [answer(page, pane) for pane in (1, 2, 3)] != said
    page.click("#edit:enabled")
    page.wait_for_function("document.querySelector('#question textarea').value === 'Describe the image.'")
    assert page.locator("#chat-1 .message.bot").count() == 0
    page.wait_for_selector("#undo:disabled")
    assert page.strangers == [] and page.errors == []


def test_an_answer_is_read_word_by_word_and_where_both_look(bundled, page):  # noqa: F811
    """Examples are found by what they try. The answer's words are coloured; with the keyboard alone one is looked into,
    chosen, and both pictures are drawn; a layer and a head can be picked."""
    open_app(page, bundled)
    prune(page)
    for way in ("Upload file", "Capture from camera", "Paste from clipboard"):
        page.wait_for_selector(f"#picture button[aria-label='{way}']")
    choose(page, "task", "Reading a sign")
    page.wait_for_function("document.querySelectorAll('#gallery .gallery-item button').length === 1")
    page.locator("#gallery .gallery-item button").first.click()
    page.locator("#questions button").first.click()
    page.wait_for_selector("#running .piece")
    ended(page)
    assert page.locator("#running .piece").count() == page.locator("#running-table tbody tr").count()
    page.locator("#running .piece").first.focus()
    page.keyboard.press("Tab")
    word = page.locator("#running .piece").nth(1)
    word.locator(".tip").wait_for()
    assert word.locator(".bar").count() == 10
    assert "Original" in word.get_attribute("aria-label") and "%" in word.get_attribute("aria-label")
    page.keyboard.press("Enter")
    for side in ("reference", "other"):
        page.wait_for_selector(f"#plot-gaze-{side} .main-svg")
        assert "looks most at" in page.inner_text(f"#gaze-{side}")
    assert word.get_attribute("aria-pressed") == "true"
    before = page.inner_text("#gaze-reference")
    choose(page, "gaze-layer", "Layer 2")
    page.wait_for_function("before => document.querySelector('#gaze-reference').innerText !== before", arg=before)
    page.wait_for_selector("#gaze-head input:enabled")
    choose(page, "gaze-head", "Head 1")
    page.wait_for_function("document.querySelector('#gaze-head input').value === 'Head 1'")
    page.click("text=how far the two part")
    page.wait_for_selector("#running >> text=far apart")
    page.locator("#chat-2 .message.bot").last.click()
    page.wait_for_selector("#running .piece")
    assert page.strangers == [] and page.errors == []
