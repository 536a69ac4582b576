"""Loaded models, shared by every visitor: each is in memory once, and one that nobody works with is freed."""

import gc
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil
import torch

from lvlm.events import Report
from lvlm.memory import free

SMALL = 100_000_000  # parameters; below, one core computes a model's products faster than several


@dataclass
class Shared:
    """A loaded model and what was learnt about it, by every desk that works with it."""

    name: str
    model: object  # LVLM
    scores: dict = field(default_factory=dict)  # number of samples → Scores
    balanced: dict = field(default_factory=dict)  # the same, which weigh image and text tokens too
    pace: object = None  # Pace, once its layers were timed
    holders: set = field(default_factory=set)  # ids of desks


class Shelf:
    """Loaded models by name. `load(name, report=)` is the library's."""

    def __init__(self, load: Callable):
        self._load, self._models, self._lock = load, {}, threading.Lock()

    def take(self, name: str, holder: str, report: Report) -> Shared:
        """The model `name` for `holder`, loaded if nobody has it yet."""
        with self._lock:
            shared = self._models.get(name)
            if shared:
                shared.holders.add(holder)
                return shared
        shared = Shared(name, self._load(name, report=report), holders={holder})
        with self._lock:
            shared = self._models.setdefault(name, shared)  # another may have loaded it meanwhile
            shared.holders.add(holder)
            self._choose_cores()
            return shared

    def _choose_cores(self) -> None:
        """Threads on products this small mostly wait for one another: with two models answering at once, or another
        program on the machine, one core each is up to 30 times faster than all cores for both (measured)."""
        small = all(is_small(shared.model) for shared in self._models.values())
        torch.set_num_threads(1 if small else os.cpu_count() or 1)

    def leave(self, holder: str, keep: Shared | None = None) -> None:
        """`holder` puts back everything but `keep`; what nobody holds is freed."""
        with self._lock:
            for name, shared in list(self._models.items()):
                if shared is not keep:
                    shared.holders.discard(holder)
                if not shared.holders:
                    del self._models[name]
        gc.collect()  # networks hold reference cycles

    @property
    def names(self) -> list[str]:
        with self._lock:
            return list(self._models)


def is_small(model) -> bool:
    return model.parameters().total < SMALL


def machine_memory() -> tuple[int, int, int]:
    """(bytes this process holds, bytes free for more in the machine and its container, bytes of the machine)."""
    return psutil.Process().memory_info().rss, free(), psutil.virtual_memory().total
