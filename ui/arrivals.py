"""Whose desk a page is at, which it knows only a moment after it is drawn: what is pressed before waits for that."""

import asyncio

import gradio as gr

from ui.guard import WRONG, Guarded
from ui.texts import retell

DESK_KEY = "desk-key"
PATIENCE_SECONDS = 60.0  # with a page that does not arrive: it was left at once


class Arriving(Guarded):
    """Blocks whose events come with the key of a desk first: the component of the id DESK_KEY."""

    def __init__(self, *given, **named):
        self._keys: dict[str, str] = {}  # session of a page → its desk
        self._awaited: dict[str, asyncio.Event] = {}
        super().__init__(*given, **named)

    def left(self, session: str) -> None:
        """A page was closed."""
        self._keys.pop(session, None)

    async def process_api(self, block_fn, inputs, *given, session_hash=None, **named):
        if session_hash is None or not _is_of_a_desk(block_fn):
            return await super().process_api(block_fn, inputs, *given, session_hash=session_hash, **named)
        ticks = any(event == "tick" for _, event in block_fn.targets)  # the page's own clock needs no answer
        if not inputs[0] and not ticks:
            inputs = [await self._key(session_hash), *inputs[1:]]
        try:
            return await super().process_api(block_fn, inputs, *given, session_hash=session_hash, **named)
        finally:
            if inputs[0] and session_hash not in self._keys:
                self._keys[session_hash] = inputs[0]
                self._awaited.pop(session_hash, asyncio.Event()).set()

    async def _key(self, session: str) -> str:
        """The key of a page's desk, as soon as it has one."""
        if session not in self._keys:
            arrived = self._awaited.setdefault(session, asyncio.Event())
            try:
                await asyncio.wait_for(arrived.wait(), PATIENCE_SECONDS)
            except TimeoutError as error:
                self._awaited.pop(session, None)
                raise gr.Error(retell(WRONG), print_exception=False) from error
        return self._keys[session]


def _is_of_a_desk(block_fn) -> bool:
    return bool(block_fn.inputs) and getattr(block_fn.inputs[0], "elem_id", None) == DESK_KEY
