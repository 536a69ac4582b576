"""All visitors' desks, by their keys: models are shared by all of them through the `Shelf`, and one that no desk holds
is freed; together they stay within a memory budget. Knows nothing of Gradio.
"""

import asyncio
import threading
import time

from ui import resting, texts
from ui.budget import Budget
from ui.desk import DEFAULT_RATIO, DEFAULT_SAMPLES, MOST_RATIO, MOST_SAMPLES, Desk
from ui.shelf import Shelf

__all__ = ["DEFAULT_RATIO", "DEFAULT_SAMPLES", "MOST_RATIO", "MOST_SAMPLES", "Desk", "Desks"]

IDLE_SECONDS = 3600  # a desk whose page has not been heard of for this long is cleared
RETURN_SECONDS = 10.0  # for which somebody who comes back waits for the models; then the job is to be seen


def _in_event_loop() -> bool:
    """Whether waiting here would stop everybody: such callers await the desk's job themselves."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Desks:
    """Every visitor's desk by its key."""

    def __init__(self, shelf: Shelf):
        self.shelf, self._desks, self._lock = shelf, {}, threading.Lock()
        self.budget = Budget(self._all)

    def at(self, key: str) -> Desk:
        """The desk of this key, for somebody who does something there: models that were put away come back first."""
        desk = self.peek(key)
        with self.budget.lock:
            desk.used = time.monotonic()
            if desk.resting is None:
                return desk
            job = desk.job if desk.busy else resting.bring_back(desk)
        if not _in_event_loop():
            job.thread.join(RETURN_SECONDS)
        return desk

    def peek(self, key: str) -> Desk:
        """The same for a page that only looks; clears others that were left: one comes back to one's own after a
        night, too."""
        now = time.monotonic()
        with self._lock:
            others = [desk for desk in self._desks.values() if desk.id != key and not desk.busy]
            left = [desk for desk in others if now - desk.seen > IDLE_SECONDS]
            for desk in left:
                del self._desks[desk.id]
            desk = self._desks.setdefault(key, Desk(key, self.shelf))
            desk.seen = now
        texts.speak(desk.language)
        for other in left:
            other.close()
        return desk

    def knows(self, key: str) -> bool:
        """Whether there is a desk of this key."""
        with self._lock:
            return key in self._desks

    def _all(self) -> list[Desk]:
        with self._lock:
            return list(self._desks.values())
