"""Taylor importance against the truth (Eq. 4): what the gradient says that the loss would do without a head or a
neuron, and what it does. Runs on a copy of the module tree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from lvlm import LVLM, BadPlan, BadSamples
from lvlm.encoding import IGNORED
from lvlm.head import head_of
from lvlm.reshaped import shared_copy

from .calibration import products
from .cost import decoder_inputs
from .dependencies import Group

AT_ONCE = 24  # copies of the sample in a batch, each without another unit


@dataclass(frozen=True)
class Effect:
    """Of switching one unit off. published: Σ|w·g| over all its weights, the importance that pruning ranks by.
    predicted: −Σ w·g over the columns through which it writes, the first-order change of the loss. real: the change.
    """

    group: Group
    published: float
    predicted: float
    real: float


@dataclass(frozen=True)
class Place:
    """One unit's effect among those of its layer. Ranks count from 1, the largest first: by what Taylor says, and by
    what really happens."""

    effect: Effect
    by_estimate: int
    by_change: int
    of: int


@dataclass(frozen=True)
class Effects:
    """loss: mean cross-entropy on the answer's tokens with everything in place."""

    loss: float
    effects: tuple[Effect, ...]

    @property
    def rank_correlation(self) -> float:
        """Spearman's, of the published importance and the size of the real change; NaN for fewer than two units."""
        sizes = pd.DataFrame([(x.published, abs(x.real)) for x in self.effects], columns=["estimate", "change"])
        return float(sizes.corr("spearman").loc["estimate", "change"])

    def place(self, layer: int, unit: int, signed: bool = False) -> Place:
        """A unit among the known ones of its layer, by sizes (the published importance, |real|) or `signed` (predicted,
        real: first comes what raises the loss most). Raises BadPlan for one that was not switched off."""
        here = [x for x in self.effects if x.group.layer == layer]
        one = next((x for x in here if x.group.unit == unit), None)
        if one is None:
            raise BadPlan(f"Number {unit} of layer {layer} was not switched off: choose one of those that were.")
        ranks = []
        for value in (lambda x: x.predicted if signed else x.published, lambda x: x.real if signed else abs(x.real)):
            ranks.append(1 + int(np.sum([value(x) > value(one) for x in here])))
        return Place(one, *ranks, len(here))


def effects(model: LVLM, sample, groups: Sequence[Group]) -> Effects:
    """Predicted and real effect on one sample's loss of each group alone. Raises BadSamples for nothing to learn."""
    batch = model.encode([sample])
    wanted = batch.labels[:, 1:] != IGNORED
    if not wanted.any():
        raise BadSamples("The sample has no answer: please choose one with a question and an answer.")
    layers = model.network.get_decoder().layers
    if not all(layers[x.layer].get_submodule(y.path).weight.is_floating_point() for x in groups for y in x.stripes):
        raise BadSamples("An int8 model has no gradients: please take the model it was made from.")
    weights = [layers[x.layer].get_submodule(y.path).weight for x in groups for y in x.stripes]
    network = shared_copy(model.network, trainable=weights)
    with torch.no_grad():
        inputs = decoder_inputs(network, batch.inputs)
    answers = batch.labels[:, 1:][wanted]
    loss = _losses(network, inputs, wanted, answers, 1)[0]
    loss.backward()
    real = _without(network, inputs, wanted, answers, groups)
    said = [_predicted(network, x) for x in groups]
    before = float(loss.detach())
    return Effects(before, tuple(Effect(x, *said[i], real[i] - before) for i, x in enumerate(groups)))


def _losses(network: nn.Module, inputs: dict, wanted: torch.Tensor, answers: torch.Tensor, copies: int) -> torch.Tensor:
    """(copies,) mean cross-entropies of equal samples. wanted (1, T − 1) bool; answers (N,)."""
    given = {k: _copied(x, copies) for k, x in inputs.items()}
    hidden = network.get_decoder()(**{**given, "use_cache": False}).last_hidden_state[:, :-1]
    logits = head_of(network)(hidden[wanted.expand(copies, -1)]).float()  # (copies · N, V)
    return F.cross_entropy(logits, answers.repeat(copies), reduction="none").view(copies, -1).mean(1)


def _copied(value, copies: int):
    """One sample's tensor as a batch of equal ones; anything else as it is."""
    if isinstance(value, torch.Tensor) and value.dim() > 1 and value.shape[0] == 1:
        return value.expand(copies, *value.shape[1:])
    return value


@torch.no_grad()
def _without(network, inputs, wanted, answers, groups: Sequence[Group]) -> list[float]:
    """The loss without each group: in a batch of copies, each copy's unit writes nothing."""
    found: list[float] = []
    for start in range(0, len(groups), AT_ONCE):
        here = groups[start : start + AT_ONCE]
        hooks = []
        for row, one in enumerate(here):
            layer = network.get_decoder().layers[one.layer]
            for stripe in one.stripes:
                if stripe.dim == 1:
                    silence = partial(_silence, row, slice(stripe.start, stripe.start + stripe.width))
                    hooks.append(layer.get_submodule(stripe.path).register_forward_pre_hook(silence))
        found += _losses(network, inputs, wanted, answers, len(here)).tolist()
        for hook in hooks:
            hook.remove()
    return found


def _silence(row: int, columns: slice, module, args):
    value = args[0].clone()
    value[row, :, columns] = 0
    return value, *args[1:]


@torch.no_grad()
def _predicted(network: nn.Module, one: Group) -> tuple[float, float]:
    """(Σ|w·g| of all its weights, −Σ w·g of those that write)."""
    layer, importance, change = network.get_decoder().layers[one.layer], 0.0, 0.0
    for stripe in one.stripes:
        weight = layer.get_submodule(stripe.path).weight
        columns = slice(stripe.start, stripe.start + stripe.width)
        absolute, signed = products(weight, weight.grad, stripe.dim)[:, columns].sum(1).tolist()
        importance += absolute
        change -= signed if stripe.dim == 1 else 0.0
    return importance, change
