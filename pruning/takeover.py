"""Why repair works: how much of what the neurons that go say follows from those that stay. A plain regression on what
one layer's neurons say, word by word, judged on samples that it was not fitted to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from lvlm import LVLM, BadPlan, BadSamples
from lvlm.reshaped import shared_copy

from .cost import decoder_inputs
from .plan import Plan

BATCH = 8  # samples that compute at once
RIDGE = 1e-3  # of the mean square of what neurons say: holds the fit to small weights
HELD_OUT = 4  # every so manieth sample is only judged on


@dataclass(frozen=True)
class Takeover:
    """Of a layer: `neurons` that go, and of each one's work (what it says, squared, summed over words) the share, 0…1,
    that those that stay can do; `together`: the same of what all that go add to the state."""

    layer: int
    neurons: np.ndarray  # (n,)
    shares: np.ndarray  # (n,)
    together: float
    stay: int


@torch.no_grad()
def takeover(model: LVLM, plan: Plan, layer: int, samples: Sequence) -> Takeover:
    """What the neurons of a layer that stay can take over from those that go. samples: at least HELD_OUT.

    Raises BadPlan where none of the layer's neurons go, or all do; BadSamples for too few samples.
    """
    about, kept = model.anatomy.layers[layer], plan.neurons[layer]
    if not 0 < len(kept) < about.neurons:
        raise BadPlan(f"In layer {layer} no neurons go, or all do: choose another layer, or another share.")
    if len(samples) < HELD_OUT:
        raise BadSamples(f"So few samples show nothing: please give at least {HELD_OUT}.")
    cut = next(x for x in about.cuts if x.kind == "neurons" and x.dim == 1)
    neurons = np.setdiff1d(np.arange(about.neurons), kept)
    stay, gone = (cut.start + x for x in (kept, neurons))  # columns: a neuron has one
    said = [_said(model, layer, cut.path, x) for x in (_fitted(samples), samples[HELD_OUT - 1 :: HELD_OUT])]
    (given, wanted), (seen, truth) = ((x[:, stay], x[:, gone]) for x in said)
    gram = given.T @ given
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    missing = truth - seen @ torch.linalg.solve(gram, given.T @ wanted)  # (N, n)
    weight = model.network.get_decoder().layers[layer].get_submodule(cut.path).weight[:, gone].double()
    shares = 1 - missing.square().sum(0) / truth.square().sum(0).clamp_min(1e-30)
    together = 1 - (missing @ weight.T).square().sum() / (truth @ weight.T).square().sum().clamp_min(1e-30)
    return Takeover(layer, neurons, shares.clamp(0, 1).cpu().numpy(), max(0.0, float(together)), len(kept))


def _fitted(samples: Sequence) -> list:
    return [x for i, x in enumerate(samples) if i % HELD_OUT != HELD_OUT - 1]


def _said(model: LVLM, layer: int, path: str, samples: Sequence) -> torch.Tensor:
    """(N, columns) fp64: what enters the matrix that neurons write through, at every token of the samples."""
    network, seen = shared_copy(model.network), []
    linear = network.get_decoder().layers[layer].get_submodule(path)
    for start in range(0, len(samples), BATCH):
        batch = model.encode(samples[start : start + BATCH])
        inputs = decoder_inputs(network, batch.inputs)
        hook = linear.register_forward_pre_hook(partial(_keep, seen, batch.mask))
        network.get_decoder()(**{**inputs, "use_cache": False})
        hook.remove()
    return torch.cat(seen)


def _keep(seen: list, mask: torch.Tensor, module, args) -> None:
    seen.append(args[0][mask].double())
