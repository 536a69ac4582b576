"""Where a model looks: the weights of an eager pass, from whatever computes attention, and a model left as it was."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lvlm import BadQuestion, UnsupportedDecoder, load
from lvlm.attention import attention_to_image, averaged
from lvlm.chat import encode_prompt
from lvlm.forcing import continued
from pruning import make_plan, prune, quantize
from tests import checkpoints, families, tiny

SAID = (20, 30, 40)


def eager(model, said):
    """Per layer (heads, image tokens): the last row of what transformers itself gives out under eager attention."""
    network = copy.deepcopy(model.network)
    network.set_attn_implementation("eager")
    inputs = continued(model, encode_prompt(model, tiny.picture(), "how many apples?"), said)
    with torch.no_grad():
        weights = network(**inputs, output_attentions=True).attentions
    shown = inputs["input_ids"][0] == model.image_token
    return [x[0, :, -1][:, shown].float().numpy() for x in weights]


def check(model, said=SAID):
    found = attention_to_image(model, tiny.picture(), "how many apples?", said)
    reference = eager(model, said)
    assert len(found) == len(reference) == len(model.anatomy.layers)
    for ours, theirs, layer in zip(found, reference, model.anatomy.layers, strict=True):
        assert ours.shape == (layer.n_heads, theirs.shape[1]) and ours.dtype == np.float32
        assert np.abs(ours - theirs).max() <= 1e-5
        assert (ours >= 0).all() and (ours.sum(1) <= 1 + 1e-5).all()


@pytest.mark.parametrize("family", [*tiny.FAMILIES])
def test_weights_are_those_of_an_eager_pass(family):
    """To 1e-5, for shared key heads, sliding windows, capped scores and fused projections; they sum to at most 1."""
    check(tiny.model(family))


@pytest.mark.parametrize("family", [*families.FAMILIES])
def test_weights_on_hub_layouts(family, tmp_path):
    """However many tokens a picture becomes, and however prompts are masked."""
    check(load(checkpoints.make(family, tmp_path)))


@pytest.mark.parametrize("said", [(), SAID])
@pytest.mark.parametrize("method", ["widthwise", "layerwise"])
def test_weights_of_pruned_models(method, said):
    """A model with fewer heads or layers gives as many rows as it has, before its first token too."""
    model = tiny.model("llama-gqa")
    check(prune(model, make_plan(tiny.scores(model), method=method, ratio=0.3)), said)


def test_eight_bits_look_nearly_alike():
    """An int8 model shows its attention too, near the original's."""
    model = tiny.model("llama")
    found = attention_to_image(quantize(model, "int8"), tiny.picture(), "how many apples?", SAID)
    for ours, theirs in zip(found, eager(model, SAID), strict=True):
        assert np.abs(ours - theirs).max() < 0.1


def test_means_weigh_every_head_alike():
    """Of a layer, and of all layers, whose number of heads may differ."""
    weights = [np.array([[0.2, 0.4], [0.4, 0.0]]), np.array([[0.0, 0.2]])]
    assert averaged(weights, 0, 1).tolist() == [0.4, 0.0]
    assert averaged(weights, 0) == pytest.approx([0.3, 0.2])
    assert averaged(weights) == pytest.approx([0.2, 0.2])


def test_the_model_is_left_as_it_was():
    """No hook stays, not after a failure either, and attention is computed as before."""
    model = tiny.model()
    before = (model.digest(), model.network.config._attn_implementation)

    def hooks():
        return sum(len(x._forward_hooks) + len(x._forward_pre_hooks) for x in model.network.modules())

    list(model.chat(tiny.picture(), "what?", max_new_tokens=1))  # transformers sets some of its own, once
    own = hooks()
    attention_to_image(model, tiny.picture(), "what?", SAID)
    layer = model.network.get_decoder().layers[1].self_attn
    forward = layer.forward
    layer.forward = lambda *args, **kwargs: (_ for _ in ()).throw(RuntimeError("out of luck"))
    with pytest.raises(RuntimeError, match="out of luck"):
        attention_to_image(model, tiny.picture(), "what?", SAID)
    layer.forward = forward
    assert hooks() == own
    model._digest = None
    assert (model.digest(), model.network.config._attn_implementation) == before


def test_no_picture_and_hidden_kernels_are_refused(monkeypatch):
    """Without a picture there is nothing to look at; a kernel that keeps its scores to itself is named as the reason."""
    model = tiny.model()
    with pytest.raises(BadQuestion, match="no picture"):
        attention_to_image(model, None, "what?")

    class Closed(nn.Module):
        def forward(self, hidden_states, **kwargs):
            return hidden_states, None

    model.network.get_decoder().layers[2].self_attn = Closed()
    with pytest.raises(UnsupportedDecoder, match="3 of 4 layers"):
        attention_to_image(model, tiny.picture(), "what?")
