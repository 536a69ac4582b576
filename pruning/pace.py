"""How long a pruned model will take, foretold from how long each part of the original took on this machine."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lvlm import LVLM, LVLMError
from lvlm.events import Progress, Report, silent
from lvlm.reshaped import keep, shared_copy

from .cost import inputs_of, token_times


@dataclass(frozen=True)
class Phase:
    """Seconds of one pass through the model, by where they went: per layer (L,), and outside the layers."""

    attention: tuple[float, ...]
    mlp: tuple[float, ...]
    between: tuple[float, ...]  # norms and sums of a layer: they go only with all of it
    rest: float  # vision tower, embeddings, output head and what generating takes around the network

    @property
    def total(self) -> float:
        return sum(self.attention) + sum(self.mlp) + sum(self.between) + self.rest


@dataclass(frozen=True)
class Pace:
    """What `time_layers` measured: the first token of an answer, and each further one.

    steady: shares of an attention's and of an MLP's time, (first token, further ones) each, that stay however few heads
    and neurons are left: a straight line through a layer timed whole and with half of them.
    """

    first: Phase
    further: Phase
    steady_attention: tuple[float, float]
    steady_mlp: tuple[float, float]

    def first_token_s(self, plan) -> float:
        """Seconds to the first token once the plan is carried out. Falls with every head, neuron and layer."""
        return _foretold(self.first, self.steady_attention[0], self.steady_mlp[0], plan)

    def token_s(self, plan) -> float:
        """Seconds a further token."""
        return _foretold(self.further, self.steady_attention[1], self.steady_mlp[1], plan)


def _foretold(phase: Phase, steady_attention: float, steady_mlp: float, plan) -> float:
    seconds = phase.rest
    for i in plan.layers:
        groups, neurons = plan.dense_shape[i]
        seconds += phase.between[i]
        seconds += phase.attention[i] * (steady_attention + (1 - steady_attention) * len(plan.heads[i]) / groups)
        seconds += phase.mlp[i] * (steady_mlp + (1 - steady_mlp) * len(plan.neurons[i]) / neurons)
    return seconds


def time_layers(model: LVLM, repeats: int = 5, new_tokens: int = 8, report: Report = silent) -> Pace:
    """Time every layer of a model for one image and one question: medians of warm runs. A few seconds on small models.

    Raises LVLMError for a model without a processor, which cannot be asked.
    """
    if model.processor is None:
        raise LVLMError("A model without a processor cannot be timed: please load it with its tokenizer.")
    anatomy, middle = model.anatomy, len(model.anatomy.layers) // 2
    halves = [np.arange(x.groups) for x in anatomy.layers], [np.arange(x.neurons) for x in anatomy.layers]
    for part in halves:
        part[middle] = part[middle][: -(-len(part[middle]) // 2)]
    slim = LVLM(keep(model.network, range(len(anatomy.layers)), *halves), model.processor, model.name)
    report(Progress("measure", 0, 2, "timing every layer"))
    whole = _phases(LVLM(shared_copy(model.network), model.processor, model.name), repeats, new_tokens)
    report(Progress("measure", 1, 2, "timing a layer of half the width"))
    half = _phases(slim, repeats, new_tokens)
    report(Progress("measure", 2, 2, "timed"))
    layer = anatomy.layers[middle]
    steady = {
        name: tuple(
            _steady(_beside(getattr(b, name), middle) / _beside(getattr(a, name), middle), len(part[middle]) / number)
            for a, b in zip(whole, half, strict=True)
        )
        for name, part, number in (("attention", halves[0], layer.groups), ("mlp", halves[1], layer.neurons))
    }
    return Pace(*whole, steady["attention"], steady["mlp"])


def _beside(seconds: Sequence[float], middle: int) -> float:
    """One layer's time in units of the others', which a machine busy with other things slows as much; 1 if alone."""
    others = [x for i, x in enumerate(seconds) if i != middle]
    return seconds[middle] / statistics.fmean(others) if others else 1.0


def _steady(slim: float, share: float) -> float:
    """What stays at width 0 of a time that is 1 at width 1 and `slim` at width `share`, by a line; within 0…1."""
    if share == 1:  # a single head: nothing of it can go
        return 1.0
    return min(1.0, max(0.0, (slim - share) / (1 - share)))


def _phases(model: LVLM, repeats: int, new_tokens: int) -> tuple[Phase, Phase]:
    """The first pass and the further ones."""
    watch, cuda = _Watch(model), model.device.type == "cuda"
    first, further = [], []
    inputs = inputs_of(model)
    for run in range(repeats + 1):
        watch.passes.clear()
        times = token_times(model, inputs, new_tokens, cuda)
        if run:  # the first one only warms up
            first.append((times[0], watch.passes[0]))
            further += zip(np.diff(times).tolist(), watch.passes[1:], strict=True)
    return _phase(first), _phase(further)


def _phase(passes: Sequence[tuple[float, np.ndarray]]) -> Phase:
    """(seconds in all, (L, 3) seconds of each whole layer, its attention and its MLP) of several passes as one.

    Mean shares of the median total: medians of so many short times would not add up to it.
    """
    total = statistics.median(x for x, _ in passes)
    layer, attention, mlp = total * np.mean([parts / x for x, parts in passes], axis=0).T
    between = np.maximum(layer - attention - mlp, 0)
    rest = max(0.0, total - float(layer.sum()))
    return Phase(tuple(attention.tolist()), tuple(mlp.tolist()), tuple(between.tolist()), rest)


class _Watch:
    """Hooks that note, for each pass through the network, the seconds of every layer, attention and MLP."""

    def __init__(self, model: LVLM):
        self.passes: list[np.ndarray] = []  # (L, 3) each
        self.cuda, self.layers = model.device.type == "cuda", model.network.get_decoder().layers
        for index, layer in enumerate(self.layers):
            for kind, module in enumerate((layer, layer.self_attn, layer.mlp)):
                module.register_forward_pre_hook(self._begin(index, kind))
                module.register_forward_hook(self._end(index, kind))
        self.began = np.zeros((len(self.layers), 3))

    def _now(self) -> float:
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def _begin(self, index: int, kind: int):
        def hook(module, args):
            if index == kind == 0:
                self.passes.append(np.zeros((len(self.layers), 3)))
            self.began[index, kind] = self._now()

        return hook

    def _end(self, index: int, kind: int):
        def hook(module, args, output):
            self.passes[-1][index, kind] = self._now() - self.began[index, kind]

        return hook
