"""Failure cases in the browser: found, kept, judged, exported, opened again by their link, and voted on blindly."""

import csv
import re
from pathlib import Path

import pytest

from evaluation.reports import from_jsonl
from tests.ui.test_browser import CHROMIUM, bundled, chromium, open_app, page  # noqa: F401 - fixtures

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no chromium: browser tests skipped")]


def test_a_case_is_kept_judged_exported_and_opened_by_its_link_in_another_session(bundled, page):  # noqa: F811
    """One click under the answers keeps it; its verdict is found again by filters and in the file; who follows the link
    gets the same models, picture, question and answers, and cannot change it."""
    open_app(page, bundled)
    page.click("#prune:enabled")
    page.wait_for_selector("#result table")
    page.get_by_role("tab", name="Chat").click()
    page.click("#keep-case")
    page.wait_for_selector("#keep-said >> text=ask something first")
    page.fill("#question textarea", "How many turtles are there?")
    page.click("#ask:enabled")
    page.wait_for_selector("#stats-2 >> text=/token/")
    page.wait_for_selector("#stop:disabled")
    said = [page.locator(f"#chat-{i} .message.bot").last.inner_text() for i in (1, 2)]
    page.click("#keep-case")
    page.wait_for_selector("#keep-said >> text=Kept")

    page.get_by_role("tab", name="Cases").click()
    page.wait_for_selector("#case-told >> text=How many turtles are there?")
    assert page.locator("#case-told .said").count() == 2 and page.locator("#case-image img").count() == 1
    page.click("#judged >> text=Fails where the original does not")
    page.click("#case-tags >> text=Miscount")
    page.fill("#case-note textarea", "Sees hats.")
    page.press("#case-note textarea", "Tab")
    page.wait_for_selector("#cases [role=gridcell]:has-text('Miscount')")
    page.fill("#case-text textarea", "hats")
    with page.expect_download() as download:
        page.click("#export-csv")
    with open(download.value.path(), encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["tags"], row["note"], row["verdict"]) == ("miscount", "Sees hats.", "fails")
    assert [row["first_answer"], row["variant_1_answer"]] == [x.strip() for x in said]
    for kind in ("jsonl", "html"):
        with page.expect_download() as download:
            page.click(f"#export-{kind}")
        written = Path(download.value.path()).read_text(encoding="utf-8")
        assert "How many turtles are there?" in written and "Sees hats." in written
        if kind == "jsonl":
            assert [x.divergence is None for x in from_jsonl(written)[0].sides] == [True, False]
    page.fill("#case-text textarea", "nobody said this")
    page.wait_for_selector("#cases-said >> text=No kept case fits")

    link = page.get_attribute("#case-told a", "href")
    context = page.context.browser.new_context(viewport={"width": 1440, "height": 900})
    other = context.new_page()
    other.goto(bundled.url + link)
    other.wait_for_selector("#case-told >> text=every answer is the same", timeout=180_000)
    assert other.locator("#case-told .again").count() == 2 and "another session" in other.inner_text("#case-told")
    assert other.locator("#judged input").first.is_disabled() and "Nothing is kept yet" in other.inner_text(
        "#cases-said"
    )
    other.get_by_role("tab", name="Chat").click()
    other.wait_for_selector("#chat-2 .message.bot")
    assert [other.locator(f"#chat-{i} .message.bot").last.inner_text() for i in (1, 2)] == said
    context.close()
    assert page.strangers == [] and page.errors == []


def test_a_hunt_lists_the_worst_first_and_a_vote_hides_names_until_it_is_cast(bundled, page):  # noqa: F811
    """What ships is there at once; a click shows the question, another keeps it; the models at hand are hunted in the
    background; and a blind pair carries no name before the vote."""
    open_app(page, bundled)
    page.get_by_role("tab", name="Cases").click()
    page.wait_for_selector("#plot-hunt .main-svg")
    assert "right answers break" in page.inner_text("#hunt-head")
    fell = [int(x) for x in re.findall(r"−(\d+)%", page.inner_text("#prey"))]
    assert fell and fell == sorted(fell, reverse=True)
    page.click("#hunt-task >> text=arithmetic")
    page.wait_for_selector("#prey-told small >> text=arithmetic")
    first = page.get_attribute("#prey-image img", "src")
    page.locator("#prey [role=gridcell]:has-text('arithmetic')").nth(1).click()
    page.wait_for_function("first => document.querySelector('#prey-image img').src !== first", arg=first)
    assert page.locator("#prey-told .right").count() and page.locator("#prey-told .wrong").count()
    asked = page.inner_text("#prey-told h3")
    page.click("#keep-prey:enabled")
    page.wait_for_selector("#keep-prey:disabled")
    page.wait_for_selector(f"#case-told >> text={asked}")

    page.get_by_role("tab", name="Prune").click()
    page.click("#prune:enabled")
    page.wait_for_selector("#result table")
    page.get_by_role("tab", name="Cases").click()
    page.click("#hunt-over >> text=The models at hand")
    page.click("#hunt-more > button")
    page.fill("#hunt-each input[type=number]", "4")
    page.press("#hunt-each input[type=number]", "Tab")
    page.wait_for_selector("#hunt-said >> text=2 models to ask")
    page.click("#hunt:enabled")
    page.wait_for_selector("#hunt-head >> text=/Pruned 30%|Nothing breaks/", timeout=180_000)

    page.click("#next-pair:enabled")
    page.wait_for_selector("#vote-left:enabled")
    hidden = page.inner_html("#match")
    assert not re.search(r"original|pruned", hidden, re.IGNORECASE) and page.locator("#match .said").count() == 2
    page.click("#vote-tie")
    page.wait_for_selector("#vote-score >> text=1 vote")
    assert page.locator("#match .chip-original, #match .chip-pruned").count() == 2
    assert page.locator("#vote-tie").is_disabled()
    assert page.strangers == [] and page.errors == []
