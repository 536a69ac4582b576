"""What is pressed before a page knows whose desk it is at: it is done there, as soon as it does."""

import asyncio

import gradio as gr
import pytest

from tests.ui.test_browser import CHROMIUM, bundled, chromium, page  # noqa: F401 - fixtures
from ui import arrivals
from ui.arrivals import DESK_KEY, Arriving


@pytest.fixture
def app():
    """Blocks of one event that tells its key, and of a clock that does."""
    with Arriving() as app:
        key, said = gr.Textbox(elem_id=DESK_KEY), gr.Textbox()
        gr.Button().click(str, key, said)
        gr.Timer().tick(str, key, said)
    return app


async def _ask(app, event: int, key: str | None, session: str = "page") -> str:
    answer = await app.process_api(app.fns[event], [key], session_hash=session)
    return answer["data"][0]


def test_what_comes_before_the_key_waits_for_it(app):
    async def scene():
        early = asyncio.create_task(_ask(app, 0, None))
        assert await _ask(app, 0, "another", "another page") == "another"
        assert not early.done()
        assert await _ask(app, 0, "mine") == "mine"
        assert await early == "mine"
        assert await _ask(app, 0, None) == "mine"  # sent before the page had read its key

    asyncio.run(scene())


def test_the_clock_waits_for_nothing(app):
    assert asyncio.run(_ask(app, 1, None)) == "None"


def test_a_page_that_never_arrives_is_told_and_forgotten(app, monkeypatch):
    monkeypatch.setattr(arrivals, "PATIENCE_SECONDS", 0.01)
    with pytest.raises(gr.Error, match="reload the page"):
        asyncio.run(_ask(app, 0, None))
    assert app._awaited == {}


def test_nothing_is_left_of_a_page_that_left(app):
    asyncio.run(_ask(app, 0, "mine"))
    app.left("page")
    assert app._keys == {} and app._awaited == {}


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: browser tests skipped")
def test_a_tab_opened_before_the_page_arrived_is_filled(bundled, page):  # noqa: F811
    """Its opening reaches the server first."""
    held, released = [], []
    page.route("**/gradio_api/run/predict**", lambda x: x.continue_() if released else held.append(x))
    page.goto(bundled.url)
    page.get_by_role("tab", name="Measure").click()
    while len(held) < 2:
        page.wait_for_event("request")
    released += reversed(held)
    for request in released:
        request.continue_()
    page.wait_for_selector("#plot-experiment .main-svg")
