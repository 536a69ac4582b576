"""All visitors' desks, by their keys: models are shared by all of them through the `Shelf`, and one that no desk holds
is freed; together they stay within a memory budget. Knows nothing of Gradio.
"""

import asyncio
import secrets
import threading
import time

from lvlm.errors import LVLMError
from ui import resting, texts
from ui.budget import Budget
from ui.desk import DEFAULT_RATIO, DEFAULT_SAMPLES, MOST_RATIO, MOST_SAMPLES, Desk
from ui.limits import KEPT_SECONDS, KEPT_TRAINED_SECONDS, MOST_DESKS
from ui.shelf import Shelf

__all__ = ["DEFAULT_RATIO", "DEFAULT_SAMPLES", "MOST_RATIO", "MOST_SAMPLES", "Desk", "Desks"]

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

    def at(self, key: str, wait: bool = True) -> Desk:
        """The desk of this key, for somebody who does something there: models that were put away come back first, if
        the caller waits."""
        desk = self.peek(key)
        with self.budget.lock:
            desk.used = time.monotonic()
            if desk.resting is None:
                return desk
            job = desk.job if desk.busy else resting.bring_back(desk)
        if wait and not _in_event_loop():
            job.thread.join(RETURN_SECONDS)
        return desk

    def peek(self, key: str) -> Desk:
        """The same for a page that only looks. Raises LVLMError where there are too many
        desks for a new one. What this event says from here on, it says in the desk's language."""
        with self._lock:
            if key not in self._desks:
                self._make_room()
            desk = self._desks.setdefault(key, Desk(key, self.shelf))
            desk.seen = time.monotonic()
        texts.speak(desk.language)
        return desk

    def prepare(self, name: str) -> None:
        """Open a model before anybody is here, on a desk of the server's own, which is put away and cleared like any:
        the first visitor waits only for what is left to do, and is told what fails when it fails again."""
        self.at(secrets.token_urlsafe()).open(name)

    def _make_room(self) -> None:
        for desk in [x for x in self._desks.values() if x.shared is None and x.job is None and x.resting is None]:
            if len(self._desks) >= MOST_DESKS:
                del self._desks[desk.id]  # nothing was ever done there
        if len(self._desks) >= MOST_DESKS:
            raise LVLMError(f"{MOST_DESKS} visitors are here already: please come back in a while.")

    def sweep(self) -> None:
        """Delete the desks that were left: their pages were closed, or nobody called, for long. Work goes to its end
        first, and what it made waits as long again."""
        with self._lock:
            left = [desk for desk in self._desks.values() if _is_left(desk)]
            for desk in left:
                del self._desks[desk.id]
        for desk in left:
            desk.close()

    def knows(self, key: str) -> bool:
        """Whether there is a desk of this key."""
        with self._lock:
            return key in self._desks

    def language(self, key: object) -> str | None:
        """What the desk of this key is spoken to in; None where there is none."""
        with self._lock:
            desk = self._desks.get(key) if isinstance(key, str) else None
        return desk and desk.language

    def _all(self) -> list[Desk]:
        with self._lock:
            return list(self._desks.values())


def _is_left(desk: Desk) -> bool:
    here = desk.resting.variants if desk.resting else desk.variants
    kept = KEPT_TRAINED_SECONDS if any(x.kind == "recovered" for x in here) else KEPT_SECONDS
    return not desk.busy and time.monotonic() - desk.seen > kept
