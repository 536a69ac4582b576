"""The original with some of it masked, tried on samples: how far its answers move. Nothing is cut, no weight is made.

Masks are made anew for each trial, of numbers that are there from the beginning: small tensors kept from every trial
lay scattered among the large ones that come and go, whose memory then could not be used again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from lvlm import LVLM, BadSamples, Layer
from lvlm.encoding import IGNORED
from lvlm.finite import blame
from lvlm.head import head_of
from lvlm.reshaped import shared_copy

from .cost import decoder_inputs
from .scores import Importance

BATCH = 16  # samples that compute at once
KINDS = ("heads", "neurons")  # a trial's columns


@dataclass
class Gone:
    """What the hooks look at: (L, 2) numbers of units that are gone. No hook holds more, so that what holds the network
    is freed with its last user."""

    counts: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), dtype=int))


class Trials:
    """The original with some of it masked. A trial is (L, 2) whole numbers: heads (groups) and neurons that are gone
    of each layer, the least important first; where all are, the layer adds nothing. What was tried is remembered."""

    @torch.no_grad()
    def __init__(self, model: LVLM, importance: Importance, samples: Sequence):
        self.network = shared_copy(model.network)
        self.head = head_of(self.network)
        self.whole = np.array([(x.groups, x.neurons) for x in model.anatomy.layers])
        self.gone, self.batches, self._found = Gone(np.zeros_like(self.whole)), [], {}
        modules = zip(self.network.get_decoder().layers, model.anatomy.layers, *importance.order, strict=True)
        for index, (module, layer, *orders) in enumerate(modules):
            for path in {x.path for x in layer.cuts if x.dim == 1}:
                linear = module.get_submodule(path)
                places = _places(layer, path, linear.in_features, orders, model.device)
                linear.register_forward_pre_hook(_emptied(self.gone, index, places))
                linear.register_forward_hook(_silenced(self.gone, index, {x: self.whole[index, x] for x in places}))
        self.given = [model], samples  # whom to blame for a loss that is no number
        for start in range(0, len(samples), BATCH):
            batch = model.encode(samples[start : start + BATCH])
            if batch.mask.shape[1] > model.context:
                raise BadSamples(
                    f"A sample is longer than the model's context of {model.context} tokens: leave it out."
                )
            wanted = batch.labels[:, 1:] != IGNORED
            inputs = decoder_inputs(self.network, batch.inputs)
            self.batches.append((inputs, wanted, self._logits(inputs, wanted).log_softmax(-1)))
        if not sum(int(wanted.sum()) for _, wanted, _ in self.batches):
            raise BadSamples("A search needs samples with answers: please choose ten to fifty.")

    def loss(self, gone: np.ndarray) -> float:
        """Mean KL divergence of the original's next-token distribution from the masked one's, on answer tokens."""
        about = gone.astype(np.int64).tobytes()
        if about not in self._found:
            self._found[about] = self._loss(gone)
        return self._found[about]

    @torch.no_grad()
    def _loss(self, gone: np.ndarray) -> float:
        self.gone.counts, total, count = gone, 0.0, 0
        for inputs, wanted, said in self.batches:
            found = self._logits(inputs, wanted).log_softmax(-1)
            total += float((said.exp() * (said - found)).sum())
            count += len(said)
        if math.isnan(total):
            blame(*self.given, "The search")
            return math.inf  # this mask's own doing: never chosen
        return total / count

    def _logits(self, inputs: dict, wanted: torch.Tensor) -> torch.Tensor:
        hidden = self.network.get_decoder()(**{**inputs, "use_cache": False}).last_hidden_state
        return self.head(hidden[:, :-1][wanted]).float()


def _places(layer: Layer, path: str, columns: int, orders: Sequence[np.ndarray], device) -> dict[int, torch.Tensor]:
    """Kind (of KINDS) → (columns,): how many units of it go before the one that writes a column of a linear's input;
    beyond all of them where none does."""
    found = {}
    for cut in (x for x in layer.cuts if x.path == path and x.dim == 1):
        kind, never = KINDS.index(cut.kind), np.iinfo(np.int64).max
        place = found.setdefault(kind, np.full(columns, never))
        rank = np.empty(cut.units, dtype=np.int64)
        rank[orders[kind]] = np.arange(cut.units)
        place[cut.start : cut.start + cut.width * cut.units] = np.repeat(rank, cut.width)
    return {kind: torch.from_numpy(x).to(device) for kind, x in found.items()}


def _emptied(gone: Gone, index: int, places: dict[int, torch.Tensor]):
    """A hook that hands a linear its input (…, columns) without what the units that are gone would have written."""

    def hook(module: nn.Module, args):
        value = args[0]
        for kind, place in places.items():
            if count := int(gone.counts[index, kind]):
                value = value.masked_fill(place < count, 0)
        return None if value is args[0] else (value,)

    return hook


def _silenced(gone: Gone, index: int, whole: dict[int, int]):
    """A hook that hands on nothing, no bias either, where all that writes a linear's input is gone."""

    def hook(module: nn.Module, args, output: torch.Tensor):
        return torch.zeros_like(output) if all(gone.counts[index, x] >= n for x, n in whole.items()) else None

    return hook
