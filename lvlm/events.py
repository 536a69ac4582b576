"""What long calls report while they run: small frozen facts, for any listener (app, terminal, test).

A report callback may raise (usually `Cancelled`); the call then ends, with its inputs as they were.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Base of everything reported."""


@dataclass(frozen=True)
class Progress(Event):
    """`done` of `total` steps of `stage` are finished; `text` says what is going on in words."""

    stage: str
    done: int
    total: int
    text: str = ""


@dataclass(frozen=True)
class LayerScored(Event):
    """Block influence of one layer over the samples seen so far."""

    layer: int
    block_influence: float


@dataclass(frozen=True)
class SampleScored(Event):
    """One calibration sample went forward and backward; `loss` is its mean cross-entropy on answer tokens."""

    index: int
    total: int
    loss: float


@dataclass(frozen=True)
class LossPoint(Event):
    """One step of recovery. losses: "total" and each term in use ("sft", "kl", "rkl", "l2"), over the step's batch."""

    step: int  # 1 is the first; 0 is before any
    total: int
    losses: dict[str, float]
    held_out: float | None  # the total loss on samples that are never trained on, where this step measured it
    samples_per_s: float
    seconds_left: float


Report = Callable[[Event], None]


def silent(event: Event) -> None:
    """A report callback that ignores everything."""
