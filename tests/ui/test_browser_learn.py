"""The tour in a real browser: its steps on the bundled model from the first to the advice, terms explained by keyboard,
and all of it in Chinese; nothing is asked of another host."""

import pytest

from tests.ui.test_browser import CHROMIUM, bundled, chromium, open_app, page  # noqa: F401 - fixtures

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no chromium: browser tests skipped")]
FIGURES = {1: "units", 2: "group", 3: "influence", 4: "taylor", 5: "gap", 7: "cliff", 8: "widthwise", 10: "advisor"}
SLOW = 300_000  # ms, for what trains on a busy machine


def found(page, name: str) -> str:  # noqa: F811
    return page.inner_text(f"#tour-{name}-found h3")


def test_the_tour_from_the_first_step_to_the_advice(bundled, page):  # noqa: F811
    """Every step computes when it is reached and again when its control moves; long ones are jobs; the last one sets
    Prune; formulas are drawn with the page's own fonts."""
    open_app(page, bundled)
    page.get_by_role("tab", name="Learn").click()
    for number in range(1, 11):
        if number in FIGURES:
            page.wait_for_selector(f"#plot-tour-{FIGURES[number]} .main-svg")
        if number == 1:
            page.wait_for_selector(".lesson .katex")
            term = page.locator(".lesson .term").first
            assert not term.locator(".tip").is_visible()
            term.focus()
            assert term.locator(".tip").is_visible() and "attention" in page.inner_text("#tour-1").lower()
        if number == 2:
            page.locator("#tour-group-kind").get_by_label("Neuron", exact=True).check()
            page.wait_for_selector("#tour-group-found >> text=3 matrices")
        if number == 3:
            before = found(page, "influence")
            page.fill("#tour-influence-question textarea, #tour-influence-question input", "Is there a sign?")
            page.press("#tour-influence-question textarea, #tour-influence-question input", "Enter")
            page.wait_for_function(
                "x => document.querySelector('#tour-influence-found h3').innerText !== x", arg=before
            )
        if number == 4:
            page.click("#tour-taylor-all")
            page.wait_for_selector("#tour-taylor-found >> text=Over 72 heads")
            page.fill("#tour-taylor-head input[type=number]", "4")
            page.press("#tour-taylor-head input[type=number]", "Enter")
            page.wait_for_selector("#tour-taylor-found h3 >> text=Head 4 of layer 8")
            assert page.locator("#tour-taylor-found tbody tr").count() == 2
        if number == 5:
            page.click("#tour-gap-layers >> text=6")
            page.wait_for_function("document.querySelectorAll('#plot-tour-gap .annotation').length === 1")
        if number == 6:
            page.click("#tour-train")
            page.wait_for_selector("#tour-projector-found >> text=/right answers back to/", timeout=SLOW)
        if number == 7:
            assert page.locator("#tour-cliff-answers tbody tr").count() >= 2
            page.fill("#tour-cliff-ratio input[type=number]", "60")
            page.press("#tour-cliff-ratio input[type=number]", "Enter")
            page.wait_for_selector("#tour-cliff-found >> text=60%")
        if number == 9:
            page.click("#tour-store")
            page.wait_for_selector("#plot-tour-int8 .main-svg", timeout=SLOW)
        if number < 10:
            page.click(f"#tour-next-{number}")
    page.fill("#tour-goal-memory input[type=number]", "70")
    page.wait_for_selector("#tour-advisor-found h3 >> text=8 bits alone")
    page.uncheck("#tour-goal-int8 input")
    page.wait_for_selector("#tour-advisor-found h3 >> text=/competing, \\d/")
    said = found(page, "advisor")
    page.click("#tour-apply")
    page.get_by_role("tab", name="Prune").click()
    page.wait_for_selector("#prune:has-text('competing')")
    assert page.input_value("#ratio input[type=number]") + "%" in said
    page.reload()
    page.wait_for_selector("#prune:enabled")
    page.get_by_role("tab", name="Learn").click()
    page.wait_for_selector("#plot-tour-advisor .main-svg")  # back where the tour was left
    assert page.locator("#tour .step-label").count() == 10
    page.click("#tour-next-10")  # beyond the paper, after the tour
    page.wait_for_selector("#plot-tour-takeover .main-svg")
    assert "neurons that stay in layer 3" in found(page, "takeover")
    assert page.strangers == [] and page.errors == []


def test_in_chinese(bundled, chromium):  # noqa: F811
    """A Chinese browser finds labels, tour and findings in Chinese, though it comes before the model; the switch changes
    them, and what was chosen outlives a refresh."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, locale="zh-CN")
    page = context.new_page()  # noqa: F811
    page.set_default_timeout(60_000)
    page.goto(bundled.url)
    page.get_by_role("tab", name="学习").click()
    page.wait_for_selector("#tour-units-found >> text=/第 3 层的注意力头 2/")
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert "注意力头" in page.inner_text(".lesson") and page.locator("#tour-next-1").inner_text().startswith("下一步")
    page.locator("#tour-units-found .term").first.focus()
    page.wait_for_selector("#tour-units-found .tip >> text=图像的一块")
    page.click("#language >> text=English")
    page.wait_for_selector("#tabs >> text=Learn")
    page.wait_for_selector("#tour-units-found >> text=/Head 2 of layer 3/")
    page.click("#tour-next-1")
    page.wait_for_selector("#tour-group-found >> text=4 stripes")
    page.reload()
    page.wait_for_selector("#tabs [role=tab] >> text=Prune")  # whatever the browser speaks
    assert page.evaluate("document.documentElement.lang") == "en"
    context.close()
