"""Layers and heads keep their original numbers through every cut."""

import numpy as np
import pytest

from pruning import make_plan, prune, quantize
from pruning.lineage import descent, place_of
from tests import tiny


@pytest.fixture(scope="module")
def model():
    return tiny.model("llama-gqa")


def weights_of(model, layer, head):
    """The rows of q_proj that belong to one query head."""
    attention = model.network.get_decoder().layers[layer].self_attn
    return attention.q_proj.weight[head * attention.head_dim : (head + 1) * attention.head_dim]


@pytest.mark.parametrize("method", ["layerwise", "widthwise", "both"])
def test_every_head_is_found_by_its_original_number(model, method):
    """What is at the place found has the original's own weights, through two cuts in a row; what is gone is said so."""
    once = prune(model, make_plan(tiny.scores(model), method=method, ratio=0.25))
    twice = prune(once, make_plan(tiny.scores(once, seed=1), method=method, ratio=0.25))
    for made in (model, once, twice):
        found = 0
        for layer in range(4):
            for head in range(4):
                at = place_of(made, layer, head)
                if at is not None:
                    found += 1
                    assert np.array_equal(weights_of(made, *at).detach(), weights_of(model, layer, head).detach())
        assert found == sum(x.n_heads for x in made.anatomy.layers)
    kept = {x.layer for x in descent(twice)}
    assert [place_of(twice, i) is not None for i in range(4)] == [i in kept for i in range(4)]


def test_eight_bits_move_nothing(model):
    """Quantized models have their parents' places."""
    pruned = prune(model, make_plan(tiny.scores(model), method="both", ratio=0.3))
    assert descent(quantize(pruned, "int8")) == descent(pruned)
