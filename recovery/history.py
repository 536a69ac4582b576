"""What a healing's loss points show: where the held-out loss was measured and lowest, and each term smoothed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lvlm.events import LossPoint

TERMS = ("sft", "kl", "rkl", "l2")
SMOOTH = 0.25  # how much of each new batch goes into the smoothed line


def measured(points: Sequence[LossPoint]) -> list[LossPoint]:
    """The points at which the held-out loss was measured."""
    return [x for x in points if x.held_out is not None]


def best(points: Sequence[LossPoint]) -> LossPoint | None:
    """The point with the lowest held-out loss, the earliest of equals, whose weights are kept; None where it was never
    measured."""
    return min(measured(points), key=lambda x: x.held_out, default=None)


@dataclass(frozen=True, eq=False)
class Term:
    """A loss term over the n steps that were trained; arrays (n,)."""

    steps: list[int]
    values: np.ndarray
    smoothed: np.ndarray


def terms(points: Sequence[LossPoint], floor: float = 0.0) -> dict[str, Term]:
    """Each term in use, on the batches it learnt from. floor: what stands for less, as a logarithmic scale needs."""
    trained = [x for x in points if x.losses]
    found = {}
    for name in TERMS:
        if trained and name in trained[0].losses:
            values = np.maximum([x.losses[name] for x in trained], floor)
            found[name] = Term([x.step for x in trained], values, smoothed(values))
    return found


def smoothed(values: np.ndarray) -> np.ndarray:
    """(n,): the exponential moving average, started at the first value."""
    out = np.array(values, dtype=float)
    for i in range(1, len(out)):
        out[i] = (1 - SMOOTH) * out[i - 1] + SMOOTH * out[i]
    return out
