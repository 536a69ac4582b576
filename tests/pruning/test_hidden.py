"""Looking inside: what each layer, head and neuron does to one sample, against plain definitions of the same."""

import numpy as np
import pytest
import torch

from lvlm import BadPlan
from lvlm.model import weights_digest
from pruning import calibrate, make_plan, prune
from pruning.dependencies import Group, group
from pruning.effects import Effect, Effects, effects
from pruning.hidden import activity, gap, trace
from samples import Sample, Turn
from tests import tiny


def asked(image: bool = True) -> Sample:
    return Sample("asked", tiny.picture(1) if image else None, (Turn("how many apples ?", "two"),), "test")


def pairs(model, kind: str) -> list:
    shapes = model.anatomy.layers
    return [(i, u) for i, x in enumerate(shapes) for u in range(x.groups if kind == "heads" else min(3, x.neurons))]


@pytest.mark.parametrize("family", ["llama", "llama-gqa", "phi", "phi3"])
def test_groups_share_a_layer_out_among_its_units(family):
    """Every row and column that pruning cuts belongs to exactly one group, and a group holds what one unit costs."""
    model = tiny.model(family)
    layer = model.anatomy.layers[1]
    for kind, count in (("heads", layer.groups), ("neurons", layer.neurons)):
        found = [group(model.anatomy, 1, kind, u) for u in range(count)]
        assert all(x.parameters == layer.unit(kind)[0] for x in found)
        taken = [(s.path, s.dim, i) for x in found for s in x.stripes for i in range(s.start, s.start + s.width)]
        assert len(taken) == len(set(taken))
        assert {s.dim for s in found[0].stripes} == {0, 1}


@pytest.mark.parametrize("layer, kind, unit", [(9, "heads", 0), (0, "heads", 99), (0, "neurons", -1), (0, "norms", 0)])
def test_a_unit_that_is_not_there_is_refused(layer, kind, unit):
    """Whoever asks for an unknown layer, kind or unit hears which there are."""
    with pytest.raises(BadPlan):
        group(tiny.model().anatomy, layer, kind, unit)


@pytest.mark.parametrize("family", ["llama", "phi", "internvl"])
def test_influence_token_by_token_is_what_calibration_averages(family):
    """Over a question's tokens it is that of the same tokens with the answer behind them, whose mean over all tokens
    is the block influence that calibration finds (Eq. 2)."""
    model = tiny.model(family)
    found = trace(model, asked())
    with torch.no_grad():
        states = model.network(**model.encode([asked()]).inputs, output_hidden_states=True).hidden_states[:-1]
    whole = np.array([1 - torch.cosine_similarity(a, b, dim=-1)[0].numpy() for a, b in zip(states, states[1:])])
    assert found.influence.shape == (4, len(found.tokens)) and found.image.sum() > 0
    assert np.allclose(found.influence[:-1], whole[:, : len(found.tokens)], atol=1e-5)
    assert np.allclose(whole.mean(1), calibrate(model, [asked()]).block_influence[:-1], atol=1e-5)


def test_states_are_the_ones_that_the_network_reports():
    """What enters each layer is transformers' own hidden_states."""
    model = tiny.model("llama-gqa")
    found = trace(model, asked())
    with torch.no_grad():
        inputs = model.encode([asked()], answers=False).inputs
        theirs = model.network(**inputs, output_hidden_states=True).hidden_states
    for mine, other in zip(found.states[:-1], theirs):
        assert torch.equal(mine, other[0])


def test_nothing_is_felt_before_a_gap_and_something_behind_it():
    """Up to a removed layer all is as it was; from there on hidden states differ, and the removed one has none."""
    model = tiny.model()
    found = gap(model, asked(), [1])
    assert np.allclose(found.cosine[0], 1, atol=1e-6) and np.allclose(found.norm[0], 1, atol=1e-6)
    assert np.isnan(found.cosine[1]) and np.isnan(found.norm[1])
    assert (found.cosine[2:] < 0.9999).all()
    whole = gap(model, asked(), [])
    assert np.allclose(whole.cosine, 1, atol=1e-6)
    with pytest.raises(BadPlan):
        gap(model, asked(), range(4))


@pytest.mark.parametrize("kind", ["heads", "neurons"])
def test_what_the_units_write_is_what_their_block_writes(kind):
    """The vectors that all units of a layer add make up the block's own output; so one unit's length is a part."""
    model = tiny.model("llama")
    layer = model.anatomy.layers[2]
    count = layer.groups if kind == "heads" else layer.neurons
    lengths = np.array([activity(model, asked(), 2, kind, u).written for u in range(count)])  # (U, T)
    block = model.network.get_decoder().layers[2]
    seen = {}
    hook = (block.self_attn if kind == "heads" else block.mlp).register_forward_hook(
        lambda m, a, out: seen.update(out=(out[0] if isinstance(out, tuple) else out)[0])
    )
    with torch.no_grad():
        model.network(**model.encode([asked()], answers=False).inputs)
    hook.remove()
    whole = seen["out"].norm(dim=-1).numpy()
    assert (lengths.sum(0) >= whole - 1e-4).all()  # the triangle's inequality
    assert (lengths.max(0) > 0).all()


@pytest.mark.parametrize("family", ["llama", "llama-gqa", "phi3"])
@pytest.mark.parametrize("kind", ["heads", "neurons"])
def test_the_real_effect_is_that_of_pruning_the_unit(family, kind):
    """Switching a unit off changes the loss as pruning it does."""
    model = tiny.model(family)
    units = pairs(model, kind)[:2]
    found = effects(model, asked(), [group(model.anatomy, i, kind, u) for i, u in units])
    assert found.loss == pytest.approx(loss_of(model.network, model, asked()), rel=1e-5)
    from lvlm.reshaped import keep

    layers = model.anatomy.layers
    for (i, u), effect in zip(units, found.effects, strict=True):
        heads, neurons = [np.arange(x.groups) for x in layers], [np.arange(x.neurons) for x in layers]
        part = heads if kind == "heads" else neurons
        part[i] = np.delete(part[i], u)
        cut = keep(model.network, range(len(layers)), heads, neurons)
        assert effect.real == pytest.approx(loss_of(cut, model, asked()) - found.loss, abs=2e-5)


def loss_of(network, model, sample) -> float:
    """Mean cross-entropy on the answer's tokens, by the network's own forward."""
    batch = model.encode([sample])
    with torch.no_grad():
        return float(network(**batch.inputs, labels=batch.labels).loss)


def test_the_prediction_is_the_slope_of_the_loss():
    """Predicted is how the loss moves as the unit's output is turned down, at the very start of that."""
    model = tiny.model()
    one = group(model.anatomy, 1, "heads", 2)
    effect = effects(model, asked(), [one]).effects[0]
    (stripe,) = [x for x in one.stripes if x.dim == 1]
    columns, losses = slice(stripe.start, stripe.start + stripe.width), []
    for factor in (0.999, 1.001):
        network = tiny.network("llama")
        with torch.no_grad():
            network.get_decoder().layers[1].get_submodule(stripe.path).weight[:, columns] *= factor
        losses.append(loss_of(network, model, asked()))
    assert effect.predicted == pytest.approx((losses[0] - losses[1]) / 0.002, rel=1e-2)
    assert effect.published >= abs(effect.predicted)


def test_looking_leaves_the_model_as_it_was():
    """Weights, gradients and hooks of the model are untouched by any of it."""
    model = tiny.model()
    before = weights_digest(model.network)
    one = group(model.anatomy, 0, "heads", 0)
    trace(model, asked())
    gap(model, asked(), [2])
    activity(model, asked(), 0, "neurons", 3)
    effects(model, asked(), [one])
    assert weights_digest(model.network) == before
    assert all(x.grad is None for x in model.network.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.network.modules())
    assert prune(model, make_plan(tiny.scores(model), ratio=0.2))  # and it can still be cut


def test_means_and_places_are_read_off_what_was_found():
    """A sample's block influence is the mean over its tokens; ranks count from the most influential layer; image and
    words share the tokens out; a gap is felt at the first layer that stays behind it."""
    model = tiny.model()
    found = trace(model, asked())
    assert np.allclose(found.block_influence, found.influence.mean(1))
    assert [found.rank(int(i)) for i in np.argsort(-found.block_influence)] == [1, 2, 3, 4]
    count = found.image.sum()
    both = (found.picture * count + found.words.sum(1)) / len(found.tokens)
    assert np.allclose(both, found.block_influence) and trace(model, asked(image=False)).picture is None
    assert gap(model, asked(), [1, 2]).behind == 3 and gap(model, asked(), [3]).behind == 4
    heard = activity(model, asked(), 1, "neurons", 3)
    assert heard.written[heard.loudest] == heard.written.max()
    one = group(model.anatomy, 1, "heads", 0)
    assert one.share == pytest.approx(one.parameters / model.anatomy.layers[1].parameters)


def test_a_heads_place_is_among_its_layers_by_either_number():
    """Ranks count from the largest, by sizes or by signed values; other layers' heads do not matter; the correlation is
    that of ranks."""

    def effect(layer, unit, published, predicted, real):
        return Effect(Group(layer, "heads", unit, (), 0, 1), published, predicted, real)

    found = Effects(1.0, (effect(0, 0, 9.0, 9.0, 9.0), effect(1, 0, 3.0, 0.5, -0.4), effect(1, 1, 2.0, -0.1, 0.3),
                          effect(1, 2, 1.0, 0.9, 0.1)))  # fmt: skip
    place = found.place(1, 0)
    assert (place.by_estimate, place.by_change, place.of, place.effect) == (1, 1, 3, found.effects[1])
    place = found.place(1, 0, signed=True)
    assert (place.by_estimate, place.by_change) == (2, 3)  # without it the loss falls
    assert found.rank_correlation == pytest.approx(1.0)
    with pytest.raises(BadPlan):
        found.place(1, 7)
    with pytest.raises(BadPlan):
        found.place(2, 0)
