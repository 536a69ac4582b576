"""The Prune tab by hand, in a real browser: pick, pin, force out, compare, try, fit a budget; by mouse and by keyboard."""

import re

from tests.ui.test_browser import (  # noqa: F401 - fixtures
    bundled,
    chromium,
    open_app,
    page,
    pytestmark,
)


def heads_cell(page, layer: int, head: int) -> tuple[float, float]:
    """Where a head is drawn: the map fills its plot, a row a layer and a column a head."""
    box = page.locator("#plot-heads .nsewdrag").first.bounding_box()
    return box["x"] + box["width"] * (head + 0.5) / 6, box["y"] + box["height"] * (layer + 0.5) / 12


def bar(page, layer: int) -> tuple[float, float]:  # noqa: F811
    """Where a layer's influence is drawn, at the foot of its bars."""
    return page.evaluate(
        """layer => {
          const plot = document.querySelector("#plot-influence .js-plotly-plot");
          const box = plot.querySelector(".nsewdrag").getBoundingClientRect(), { xaxis, yaxis } = plot._fullLayout;
          return [box.x + xaxis.d2p(0) + 4, box.y + yaxis.d2p(layer)];
        }""",
        layer,
    )


def test_pick_pin_compare_try_and_fit(bundled, page):  # noqa: F811
    """A clicked head tells its numbers and is pinned, a click on a bar picks its layer, one chosen by keyboard is forced
    out; two plans lie over each other; a trial answers with and without; a budget finds its share; chips undo the pins.
    Layers compete, shares are searched for, which can be cancelled, and the slider plans as before."""
    open_app(page, bundled)
    page.evaluate("document.querySelector('#plot-heads').scrollIntoView({block: 'center'})")
    x, y = heads_cell(page, 3, 2)
    page.mouse.move(x, y)
    page.wait_for_selector("#plot-heads .hoverlayer .hovertext")
    page.mouse.click(x, y)
    page.wait_for_selector("#facts >> text=Head 2 of layer 3")
    assert "rows" in page.inner_text("#facts") and "rank" in page.inner_text("#facts")
    page.click("#pin:enabled")
    page.wait_for_selector("#facts >> text=pinned by you")
    page.wait_for_selector("#chips >> text=head 2 of layer 3")

    page.evaluate("document.querySelector('#plot-influence').scrollIntoView({block: 'center'})")
    x, y = bar(page, 7)
    page.mouse.move(x, y)
    page.wait_for_selector("#plot-influence .hoverlayer .hovertext")
    page.mouse.click(x, y)
    page.wait_for_selector("#facts >> text=Layer 7")

    page.fill("#pick-layer input", "5")
    page.press("#pick-layer input", "Enter")
    page.wait_for_selector("#facts >> text=Layer 5")
    page.focus("#pick-head input")
    page.focus("#force")
    page.keyboard.press("Enter")
    page.wait_for_selector("#facts >> text=forced out by you")
    page.wait_for_selector("#said >> text=Forced out by hand: layer 5")

    page.click("#compare-fold > button")
    page.click("#keep:enabled")
    page.wait_for_selector("#beside table")
    page.fill("#ratio input[type=number]", "45")
    page.wait_for_selector("#prune:enabled:has-text('45')")
    page.wait_for_selector("#beside >> text=/agree on \\d/")
    assert "Memory in 8 bits" in page.inner_text("#beside")

    page.click("#try-fold > button")
    page.wait_for_selector("#try-image img")
    page.click("#try:enabled")
    page.wait_for_selector("#tried >> text=/answers part|same answer/")
    assert page.locator("#tried .said").count() == 2 and not page.locator("#result table").count()

    page.click("#budget-fold > button")
    page.fill("#budget input", "26")
    page.click("#fit:enabled")
    page.wait_for_selector("#cards >> text=Your budget of 26 MiB")
    assert float(page.input_value("#ratio input[type=number]")) < 45
    page.fill("#budget input", "1")
    page.click("#fit:enabled")
    page.wait_for_selector("#said >> text=cannot be reached: the least memory")
    page.wait_for_selector("#cards >> text=You asked for")  # no budget is met
    page.fill("#ratio input[type=number]", "30")
    page.wait_for_selector("#cards >> text=You asked for 30%")

    page.locator("#forced .token-remove").first.click()
    page.wait_for_selector("#forced", state="hidden")
    assert "Forced out" not in page.inner_text("#said") and "head 2 of layer 3" in page.inner_text("#chips")
    page.locator("#pinned .token-remove").first.click()
    page.wait_for_selector("#pinned", state="hidden")

    competing, same = page.get_by_label("What matters least anywhere"), page.get_by_label("Every layer gives the same")
    competing.check()
    page.wait_for_selector("#said >> text=unevenly over layers")
    page.wait_for_selector("#prune:has-text('widthwise, competing')")
    page.click("#search:enabled")
    page.wait_for_selector("#search:disabled[title*='is under way']")
    page.click("#cancel")
    page.wait_for_selector("#search:enabled:not([title*='is'])")
    assert "searched for" not in page.inner_text("#said") and competing.is_checked()
    page.click("#search:enabled")
    page.wait_for_selector("#said >> text=searched for on 16 samples", timeout=300_000)
    page.wait_for_selector("#prune:enabled:has-text('searched')")
    assert not competing.is_checked() and not same.is_checked()
    before, after = re.search(r"by ([\d.]+) nats .* by ([\d.]+)\.", page.inner_text("#said")).groups()[::-1]
    assert float(after) < float(before)
    page.fill("#ratio input[type=number]", "31")
    page.wait_for_selector("#prune:enabled:has-text('competing')")
    assert competing.is_checked()
    page.click("#rounds:enabled")
    page.wait_for_selector("#said >> text=goes in 4 rounds", timeout=300_000)
    page.wait_for_selector("#prune:enabled:has-text('competing, iterative')")
    page.get_by_label("Whole layers").check()
    page.wait_for_selector("#ranking >> text=none is shared out")
    assert competing.is_disabled()
    assert page.strangers == [] and page.errors == []
