"""Anatomies: every family described as data, and what cannot be described refused by name."""

import json

import pytest
import torch
from torch import nn

from lvlm import Anatomy, UnsupportedDecoder, catalogue
from lvlm.anatomy import anatomy_of, describe_layer
from tests import tiny


@pytest.mark.parametrize("family", sorted(tiny.FAMILIES))
def test_parameters_add_up(family):
    """Layers, parts and units account for every parameter."""
    network = tiny.network(family)
    anatomy = anatomy_of(network)
    assert anatomy.parts.total == sum(x.numel() for x in network.parameters())
    for module, layer in zip(network.get_decoder().layers, anatomy.layers):
        assert layer.parameters == sum(x.numel() for x in module.parameters())
        smaller = layer.resized(1, 5)
        lost = (layer.groups - 1) * layer.unit("heads")[0] + (layer.neurons - 5) * layer.unit("neurons")[0]
        assert layer.parameters - smaller.parameters == lost
        assert (
            layer.n_heads * layer.head_dim == module.self_attn.head_dim * network.config.text_config.num_attention_heads
        )


@pytest.mark.parametrize("family", sorted(tiny.FAMILIES))
def test_an_anatomy_is_plain_data(family):
    """Through JSON and back."""
    anatomy = anatomy_of(tiny.network(family))
    assert Anatomy.from_dict(json.loads(json.dumps(anatomy.to_dict()))) == anatomy


def test_sliding_windows_are_known_per_layer():
    """Qwen2's layer_types, Mistral's one window for all."""
    assert [x.window for x in anatomy_of(tiny.network("qwen2")).layers] == [None, None, 8, 8]
    assert [x.window for x in anatomy_of(tiny.network("mistral")).layers] == [8] * 4


def test_tied_embeddings_count_once():
    """A tied head adds nothing to the decoder."""
    network = tiny.network("llama")
    free = anatomy_of(network).parts.decoder
    network.lm_head.weight = network.get_input_embeddings().weight
    assert anatomy_of(network).parts.decoder == free - 260 * 32


def refuse(change, words):
    layer = tiny.network("llama").get_decoder().layers[0]
    change(layer)
    with pytest.raises(UnsupportedDecoder, match=words):
        describe_layer(layer, 3)


def test_what_cannot_be_described_is_refused_by_name():
    """Experts, state-space layers, norms over all heads, sinks: each sentence names the layer and the part."""

    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.experts = nn.Linear(4, 4), nn.ModuleList()

    refuse(lambda x: setattr(x, "mlp", Experts()), "Layer 3's Experts .*gate, experts")
    refuse(lambda x: delattr(x, "self_attn"), "Layer 3 .*self-attention")
    refuse(lambda x: setattr(x.self_attn, "q_norm", nn.LayerNorm(32)), "q_norm.* spans several heads")
    refuse(lambda x: setattr(x.self_attn, "sinks", nn.Parameter(torch.zeros(4))), "sinks")
    refuse(lambda x: setattr(x.self_attn, "k_proj", nn.Linear(32, 20)), "whole heads")
    refuse(lambda x: setattr(x.self_attn, "k_proj", nn.Linear(32, 16)), "disagree")
    refuse(lambda x: setattr(x.self_attn, "gate", nn.Linear(32, 4)), "matrix self_attn.gate.weight")
    refuse(lambda x: setattr(x, "per_layer_gate", nn.Linear(32, 4)), "matrix per_layer_gate.weight")


def test_decoders_that_look_at_an_encoder_are_refused():
    """Cross-attention between layers belongs to depths, which removing layers would shift."""
    network = tiny.network("llama")
    network.get_decoder().cross = nn.Linear(4, 4)
    with pytest.raises(UnsupportedDecoder, match="cross.weight"):
        anatomy_of(network)
    network = tiny.network("llama")
    network.config.is_encoder_decoder = True
    with pytest.raises(UnsupportedDecoder, match="encoder"):
        anatomy_of(network)


def test_the_catalogue_knows_its_sizes():
    """Parameter counts come from the configs: Table 1's models."""
    sizes = {x.name: x.parameters for x in catalogue() if not x.bundled}
    assert sizes["llava-1.5-7b"].total == 7_063_427_072
    assert sizes["llava-1.5-7b"].projector == 20_979_712
    assert sizes["bunny-v1.0-3b"].decoder / 1e9 == pytest.approx(2.775, abs=0.001)
    assert sizes["mini-internvl-4b"].total / 1e9 == pytest.approx(4.147, abs=0.001)
    assert len({x.name for x in catalogue()}) == len(catalogue()) and catalogue()[0].bundled
