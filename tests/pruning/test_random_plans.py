"""Any plan at all, not only those that scores suggest: cutting equals masking."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pruning import make_plan, prune
from tests import tiny
from tests.pruning.test_invariants import close, logits, real, rewritten

MODELS = {x: tiny.model(x) for x in ("llama-gqa", "phi", "phi3", "qwen3", "gemma2")}


@st.composite
def wishes(draw):
    """A family, the layers that stay in it, and the groups and neurons that stay in each."""
    family = draw(st.sampled_from(sorted(MODELS)))
    shape = [(x.groups, x.neurons) for x in MODELS[family].anatomy.layers]
    layers = sorted(draw(st.sets(st.integers(0, 3), min_size=1)))

    def some(n):
        return np.array(sorted(draw(st.sets(st.integers(0, n - 1), min_size=1))))

    nothing = np.arange(0)
    heads = [some(g) if i in layers else nothing for i, (g, _) in enumerate(shape)]
    neurons = [some(n) if i in layers else nothing for i, (_, n) in enumerate(shape)]
    return family, tuple(layers), heads, neurons


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(wishes())
def test_any_plan_equals_its_mask(wish):
    """Random layers, heads and neurons, each layer its own."""
    family, layers, heads, neurons = wish
    model = MODELS[family]
    plan = dataclasses.replace(make_plan(tiny.scores(model), "layerwise", 0.0), layers=layers)
    plan = rewritten(model, plan, heads, neurons)
    pruned = prune(model, plan)
    close(real(logits(pruned.network)), real(logits(tiny.masked(model.network, plan))))
    assert pruned.parameters() == plan.cost.after.parameters


@pytest.mark.parametrize("family", sorted(MODELS))
def test_cutting_twice_is_cutting_once(family):
    """Layers first, widths after: the same weights as both at once."""
    model = MODELS[family]
    once = make_plan(tiny.scores(model), "both", 0.45, depth_share=0.6)
    first = make_plan(tiny.scores(model), "layerwise", 0.0)
    nothing = [np.arange(0) if i in once.removed_layers else np.arange(s[0]) for i, s in enumerate(once.dense_shape)]
    whole = [np.arange(0) if i in once.removed_layers else np.arange(s[1]) for i, s in enumerate(once.dense_shape)]
    first = rewritten(model, dataclasses.replace(first, layers=once.layers), nothing, whole)
    half = prune(model, first)
    second = make_plan(tiny.scores(half), "widthwise", 0.0)
    second = rewritten(half, second, [once.heads[i] for i in once.layers], [once.neurons[i] for i in once.layers])
    assert torch.equal(logits(prune(half, second).network), logits(prune(model, once).network))
