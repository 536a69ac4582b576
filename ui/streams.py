"""The end of a page's stream of events. Gradio's page opens a stream for a call where it knows of none that is open,
and takes one for open until it reads that the server closed it: what it calls in between is heard by nobody until its
next call. So a stream here ends when the page has let go of it, and no call of that page is answered before.
"""

import asyncio
from contextlib import suppress
from urllib.parse import parse_qs

from gradio.queueing import Queue
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STREAM = "/queue/data"
LAST = b'"msg":"close_stream"'  # a text that says so has its quotation marks escaped
PATIENCE_SECONDS = 3.0  # with who reads no further and keeps the connection


class Streams:
    """Which sessions' streams are ending."""

    def __init__(self):
        self._ending: dict[str, asyncio.Event] = {}

    def heed(self, queue: Queue) -> None:
        """Let calls that join this queue be answered when no stream of their session is ending."""
        push = queue.push

        async def push_and_wait(body, *given, **named):
            answer = await push(body, *given, **named)
            while (ended := self._ending.get(body.session_hash)) is not None:
                await ended.wait()
            return answer

        queue.push = push_and_wait

    def begin_end(self, session: str) -> asyncio.Event:
        """A stream of this session is about to say its last word."""
        return self._ending.setdefault(session, asyncio.Event())

    def end(self, session: str, ended: asyncio.Event) -> None:
        """It is over, for the page, too."""
        ended.set()
        if self._ending.get(session) is ended:
            del self._ending[session]


class Farewell:
    """ASGI: holds back the end of a stream that said its last word, for as long as its page listens."""

    def __init__(self, app: ASGIApp, streams: Streams):
        self.app, self.streams = app, streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = _session(scope)
        if session is None:
            await self.app(scope, receive, send)
            return
        ending = None

        async def send_on(message: Message) -> None:
            nonlocal ending
            if LAST in message.get("body", b""):
                ending = self.streams.begin_end(session)
            if ending is not None and not message.get("more_body", False):
                await _gone(receive)
            await send(message)

        try:
            await self.app(scope, receive, send_on)
        finally:
            if ending is not None:
                self.streams.end(session, ending)


async def _gone(receive: Receive) -> None:
    """Wait until the page has let go."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await receive())["type"] != "http.disconnect":
                pass


def _session(scope: Scope) -> str | None:
    """Whose stream is asked for; None: no stream is."""
    if scope["type"] != "http" or not scope["path"].rstrip("/").endswith(STREAM):
        return None
    return parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
