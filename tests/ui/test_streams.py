"""The end of a page's stream of events: nothing that a page asks for meanwhile goes unheard."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from tests.ui.test_browser import CHROMIUM, bundled, chromium, page  # noqa: F401
from ui import streams
from ui.streams import Farewell, Streams

LAST = b'data: {"msg":"close_stream","event_id":null}\n\n'
# The page reads what it asked for at once, and that nothing more comes a second later: as on a slow machine.
SLOW = """
const fetched = window.fetch;
window.fetch = async (url, how) => {
  const answer = await fetched(url, how);
  if (!String(url.url || url).includes("queue/data")) return answer;
  const reader = answer.body.getReader(), said = new TextDecoder(), bytes = new TextEncoder();
  return new Response(new ReadableStream({
    async pull(controller) {
      const { done, value } = await reader.read();
      if (done) return controller.close();
      const text = said.decode(value), last = text.indexOf('data: {"msg":"close_stream"');
      if (last < 0) return controller.enqueue(value);
      controller.enqueue(bytes.encode(text.slice(0, last)));
      await new Promise(go => setTimeout(go, 1000));
      controller.enqueue(bytes.encode(text.slice(last)));
    },
    cancel: reason => reader.cancel(reason),
  }), { headers: answer.headers });
};
"""


async def _stream(ending: Streams, receive, sent: list, chunks) -> None:
    """A session's stream of these chunks, to its end."""

    async def app(scope, receive, send):
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def send(message):
        sent.append(message["body"])

    scope = {"type": "http", "path": "/gradio_api/queue/data", "query_string": b"session_hash=mine"}
    await Farewell(app, ending)(scope, receive, send)


def _ending(patience: float, monkeypatch, page_goes: bool, session: str = "mine") -> tuple[list, bool]:
    """What was sent before the page let go, and whether a call of `session` was answered before."""
    monkeypatch.setattr(streams, "PATIENCE_SECONDS", patience)

    async def scene():
        ending, sent, gone = Streams(), [], asyncio.Event()

        async def push(body):
            return True, "event", "success"

        async def receive():
            await gone.wait()
            return {"type": "http.disconnect"}

        queue = SimpleNamespace(push=push)
        ending.heed(queue)
        stream = asyncio.create_task(_stream(ending, receive, sent, [b"data: {}\n\n", LAST]))
        while LAST not in sent:
            await asyncio.sleep(0)
        call = asyncio.create_task(queue.push(SimpleNamespace(session_hash=session)))
        for _ in range(20):  # turns of the loop: a call that waits for nothing is over after two
            await asyncio.sleep(0)
        before = list(sent), call.done()
        if page_goes:
            gone.set()
        await asyncio.wait_for(asyncio.gather(stream, call), 30)
        assert sent[-1] == b"" and call.result() == (True, "event", "success")
        return before

    return asyncio.run(scene())


def test_a_call_is_answered_when_the_page_let_go_of_its_stream(monkeypatch):
    sent, answered = _ending(30, monkeypatch, page_goes=True)
    assert sent == [b"data: {}\n\n", LAST] and not answered


def test_others_calls_wait_for_nobody(monkeypatch):
    assert _ending(30, monkeypatch, page_goes=True, session="another")[1]


def test_a_page_that_does_not_let_go_is_waited_for_a_while(monkeypatch):
    assert not _ending(0.05, monkeypatch, page_goes=False)[1]


def test_a_text_that_quotes_the_last_word_ends_nothing(monkeypatch):
    async def scene():
        ending, sent = Streams(), []
        quoted = json.dumps({"msg": "process_completed", "output": LAST.decode()}).encode()
        await asyncio.wait_for(_stream(ending, None, sent, [quoted]), 5)  # a wait would call None
        assert sent == [quoted, b""]

    asyncio.run(scene())


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: browser tests skipped")
def test_what_a_slow_page_asks_while_its_stream_ends_is_heard(bundled, page):  # noqa: F811
    """Each step of the tour is asked for as soon as the one before is there."""
    page.add_init_script(SLOW)
    page.goto(bundled.url)
    page.get_by_role("tab", name="Learn").click()
    for number, name in ((1, "units"), (2, "group"), (3, "influence"), (4, "taylor")):
        page.wait_for_selector(f"#tour-{name}-found h3")
        page.click(f"#tour-next-{number}")
    page.wait_for_selector("#tour-gap-found h3")
