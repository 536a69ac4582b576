"""The memory that all desks' models may take together: what they hold, and who gives way when it is short. Somebody
who was away the longest does, and finds everything again on return (see resting.py). Nothing of Gradio.
"""

import threading
import time
from collections.abc import Callable

from lvlm import memory
from ui import resting

SHARE = 0.6  # of what is free when the app starts
AT_IT = 10.0  # seconds for which somebody who did something keeps the models, come what may


class Budget:
    """`limit` bytes for the weights of every model on `desks()`, each storage counted once."""

    def __init__(self, desks: Callable[[], list]):
        self.desks = desks
        self.limit = round(SHARE * memory.free())
        self.lock = threading.RLock()  # held while somebody's models go, and by whoever comes for them
        self._counted: tuple[object, int] = (None, 0)

    def held(self, but: object = None) -> int:
        """Bytes of all models; `but` one desk's."""
        desks = [x for x in self.desks() if x is not but]
        if but is not None:
            return memory.held(_networks(desks))
        # Counting takes tens of milliseconds with many visitors, and a calibration asks before each sample.
        state = [(x.id, x.variants.version, x.resting is None) for x in desks]
        if self._counted[0] != state:
            self._counted = (state, memory.held(_networks(desks)))
        return self._counted[1]

    def room(self, wanted: int) -> int:
        """Bytes left; where they are fewer than wanted, desks are put away first, if that makes room enough."""
        if self.limit - self.held() >= wanted:
            return self.limit - self.held()
        working = memory.held(_networks(x for x in self.desks() if not _idle(x)))
        if self.limit - working >= wanted:  # else nobody's going would be enough
            while self.limit - self.held() < wanted and self._put_one_away():
                pass
        return max(0, self.limit - self.held())

    def _put_one_away(self) -> bool:
        """The desk that was left the longest ago and whose going frees anything; False if there is none."""
        whole = self.held()
        for desk in sorted(self.desks(), key=lambda x: x.used):
            if not _idle(desk) or self.held(but=desk) == whole:
                continue
            used, folders = desk.used, resting.written(desk)
            with self.lock:
                if desk.used == used and _idle(desk):
                    resting.put_away(desk, folders)
                    return True
        return False


def _networks(desks) -> list:
    return [x.model.network for desk in desks for x in desk.variants if x.model is not None]


def _idle(desk) -> bool:
    return desk.shared is not None and not desk.awake and time.monotonic() - desk.used > AT_IT
