"""Image features added between layers stay at their depth, whichever layers go."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lvlm import UnsupportedDecoder, load
from lvlm.deepstack import moved, places_of, regrouped
from lvlm.reshaped import is_reshaped, keep
from pruning import loads_in_transformers, make_plan, prune, save
from tests import checkpoints, tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load(checkpoints.make("qwen3_vl", tmp_path_factory.mktemp("hub")))  # 4 layers, features after 0, 1 and 2


@pytest.fixture(scope="module")
def batch(model):
    return model.encode(tiny.samples(2)[:1])


@torch.no_grad()
def logits(network, batch):
    return network(**batch.inputs).logits


def without(network, gone):
    """A network without some layers, and one in which they do nothing."""
    layers = tuple(i for i in range(len(network.get_decoder().layers)) if i not in gone)
    heads, neurons = [np.arange(2)] * 4, [np.arange(48)] * 4
    nothing = [np.arange(0)] * 4
    masks = SimpleNamespace(
        layers=layers,
        heads=[nothing[i] if i in gone else heads[i] for i in range(4)],
        neurons=[nothing[i] if i in gone else neurons[i] for i in range(4)],
    )
    return keep(network, layers, heads, neurons), tiny.masked(network, masks)


@pytest.mark.parametrize(
    ("gone", "places"),
    [
        ([3], None),
        ([2], [0, 1, 1]),
        ([0], [-1, 0, 1]),
        ([1], [0, 0, 1]),
        ([0, 1], [-1, -1, 0]),
        ([1, 2], [0, 0, 0]),
        ([0, 2, 3], [-1, 0, 0]),
        ([0, 1, 2], [-1, -1, -1]),
    ],
)
def test_features_arrive_where_they_did(model, batch, gone, places, tmp_path):
    """Equal to the original with those layers doing nothing; recorded, saved and loaded again bit for bit."""
    pruned, wanted = without(model.network, gone)
    found, reference = logits(pruned, batch), logits(wanted, batch)
    assert (found - reference).abs().max() <= 1e-4 * reference.abs().max()
    assert is_reshaped(pruned) == (places is not None)
    assert places_of(pruned, (getattr(pruned.config.text_config, "pruning", {})).get("deepstack")) == (
        places or [0, 1, 2]
    )
    cut = model.then(pruned, {"step": "cut"})
    assert loads_in_transformers(cut)[0] == (places is None)
    again = load(save(cut, tmp_path / "m"))
    assert torch.equal(logits(again.network, batch), found)


def test_one_layer_after_the_other(model, batch):
    """Removing layer 0 twice is removing layers 0 and 1; the original's decoder is still the stock one."""
    one, _ = without(model.network, [0])
    two = keep(one, (1, 2), [np.arange(2)] * 3, [np.arange(48)] * 3)
    wanted, _ = without(model.network, [0, 1])
    assert torch.equal(logits(two, batch), logits(wanted, batch))
    assert "_stock" not in type(model.network.get_decoder()).__dict__


def test_widths_and_layers_together(model, batch):
    """Uneven widths with moved features; and even ones, which a stock config could describe, but not the features."""
    scores = tiny.scores(model)
    plan = make_plan(scores, method="both", ratio=0.3)
    found, wanted = prune(model, plan).network, tiny.masked(model.network, plan)
    assert (logits(found, batch) - logits(wanted, batch)).abs().max() <= 1e-4 * logits(wanted, batch).abs().max()


def test_places_are_plain_arithmetic():
    """Places rise by at most one, so that every early layer has its sum."""
    assert moved([0, 1, 2], [0, 1, 2, 3]) == [0, 1, 2]
    assert moved([0, 1, 2], [3, 5]) == [-1, -1, -1]
    assert moved([-1, 0, 0], [1]) == [-1, -1, -1]
    early, after = regrouped([torch.tensor(x) for x in (1.0, 2.0, 4.0, 8.0)], [-1, -1, 0, 1])
    assert (early.item(), [x.item() for x in after]) == (3, [4, 8])


def test_other_ways_of_adding_features_are_refused(model, monkeypatch):
    """Cutting layers would move them, silently."""
    decoder = model.network.get_decoder()
    monkeypatch.setattr(decoder, "embedding_multiplier", 12.0, raising=False)
    with pytest.raises(UnsupportedDecoder, match="another family"):
        without(model.network, [0])
