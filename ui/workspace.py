"""All visitors' desks, by their keys: models are shared by all of them through the `Shelf`, and one that no desk holds
is freed. Knows nothing of Gradio.
"""

import threading
import time

from ui.desk import DEFAULT_RATIO, DEFAULT_SAMPLES, MOST_RATIO, MOST_SAMPLES, Desk
from ui.shelf import Shelf

__all__ = ["DEFAULT_RATIO", "DEFAULT_SAMPLES", "MOST_RATIO", "MOST_SAMPLES", "Desk", "Desks"]

IDLE_SECONDS = 3600  # a desk whose page has not been heard of for this long is cleared


class Desks:
    """Every visitor's desk by its key."""

    def __init__(self, shelf: Shelf):
        self.shelf, self._desks, self._lock = shelf, {}, threading.Lock()

    def at(self, key: str) -> Desk:
        """The desk of this key; clears others that were left: one comes back to one's own after a night, too."""
        now = time.monotonic()
        with self._lock:
            others = [desk for desk in self._desks.values() if desk.id != key and not desk.busy]
            left = [desk for desk in others if now - desk.seen > IDLE_SECONDS]
            for desk in left:
                del self._desks[desk.id]
            desk = self._desks.setdefault(key, Desk(key, self.shelf))
            desk.seen = now
        for other in left:
            other.close()
        return desk
