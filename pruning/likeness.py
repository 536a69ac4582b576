"""How often a model would say the word that its original says: what pruning costs and a repair wins back, on samples
with answers. Nothing is generated: every next word is asked for after the true ones before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lvlm import LVLM, BadSamples
from lvlm.encoding import IGNORED
from lvlm.events import Progress, Report, silent
from lvlm.head import head_of
from lvlm.reshaped import shared_copy

from .cost import decoder_inputs

BATCH = 8  # samples that compute at once


@dataclass(frozen=True)
class Gain:
    """Of a repair: likeness to the original before and after it, on samples that it was fitted to and on fresh ones."""

    fitted: tuple[float, float]
    fresh: tuple[float, float]


def gain(
    original: LVLM, pruned: LVLM, repaired: LVLM, fitted: Sequence, fresh: Sequence, report: Report = silent
) -> Gain:
    """What a repair gains, and whether it does so where it was not fitted to. Raises BadSamples for no answers."""
    return Gain(*(likeness(original, (pruned, repaired), x, report) for x in (fitted, fresh)))


@torch.no_grad()
def likeness(
    original: LVLM, others: Sequence[LVLM], samples: Sequence, report: Report = silent
) -> tuple[float, ...]:  # fmt: skip
    """Of each other model (cut from the original): its share, 0…1, of answer tokens at which the token it holds most
    likely is the original's. Raises BadSamples for samples without answers."""
    network, same, count = shared_copy(original.network), [0] * len(others), 0
    for start in range(0, len(samples), BATCH):
        report(Progress("compare", start, len(samples), f"sample {start + 1} of {len(samples)}"))
        batch = original.encode(samples[start : start + BATCH])
        wanted = batch.labels[:, 1:] != IGNORED
        inputs = decoder_inputs(network, batch.inputs)
        said = _likeliest(network, inputs, wanted)
        count += len(said)
        for i, other in enumerate(others):
            same[i] += int((_likeliest(other.network, inputs, wanted) == said).sum())
    if not count:
        raise BadSamples("Comparing needs samples with answers: please choose others.")
    return tuple(x / count for x in same)


def _likeliest(network, inputs: dict, wanted: torch.Tensor) -> torch.Tensor:
    """(N,) tokens at the N wanted places (B, T − 1)."""
    hidden = network.get_decoder()(**{**inputs, "use_cache": False}).last_hidden_state
    return head_of(network)(hidden[:, :-1][wanted]).argmax(-1)
