"""What is told of a unit, and of two plans beside each other, is what removing them does."""

import numpy as np
import pytest

from lvlm import BadPlan
from pruning import Unit, make_plan, prune
from pruning.about import around, facts, layers_size, overlap, removed, split
from tests import tiny

FAMILIES = ["llama", "llama-gqa", "phi", "phi3"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("unit", [Unit(1), Unit(2, 1)])
def test_a_units_parameters_are_what_goes_with_it(family, unit):
    """Cutting it alone makes the model smaller by just so many."""
    model = tiny.model(family)
    scores = tiny.scores(model)
    pruned = prune(model, make_plan(scores, ratio=0.0, forced=[unit]))
    found = facts(scores, unit)
    assert found.parameters == model.parameters().total - pruned.parameters().total
    assert found.share == pytest.approx(found.parameters / model.parameters().decoder)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_goes_together_is_what_the_cut_takes(family):
    """Rows and columns named for a head are exactly those that its weights lose; the rest stands in order."""
    model = tiny.model(family)
    scores = tiny.scores(model)
    unit = Unit(1, 1)
    whole = model.network.get_decoder().layers[1]
    cut = prune(model, make_plan(scores, ratio=0.0, forced=[unit])).network.get_decoder().layers[1]
    gone = {}
    for x in facts(scores, unit).together:
        gone.setdefault((x.path, 0 if x.rows else 1), []).extend(range(x.first, x.last + 1))
    assert len(gone) == (2 if family == "phi3" else 4)
    for (path, dim), lost in gone.items():
        weight = whole.get_submodule(path).weight
        left = np.setdiff1d(np.arange(weight.shape[dim]), lost)
        wanted = weight[left] if dim == 0 else weight[:, left]
        assert wanted.equal(cut.get_submodule(path).weight)


def test_ranks_count_from_the_highest():
    """The best head of the model is first everywhere; a layer's rank is its influence's."""
    scores = tiny.scores(tiny.model())
    layer = int(np.argmax([x.max() for x in scores.heads]))
    best = facts(scores, Unit(layer, int(scores.heads[layer].argmax())))
    assert (best.rank, best.rank_in_layer, best.of, best.in_layer) == (1, 1, 16, 4)
    worst = facts(scores, Unit(int(scores.block_influence.argmin())))
    assert (worst.rank, worst.of, worst.rank_in_layer) == (4, 4, None)
    assert worst.image == worst.text == worst.score


def test_a_unit_that_is_not_there_is_refused():
    """Layer 4 of four is none."""
    with pytest.raises(BadPlan, match="layers 0 to 3"):
        facts(tiny.scores(tiny.model()), Unit(4))


@pytest.mark.parametrize("first", ["layerwise", "widthwise", "both"])
@pytest.mark.parametrize("second", ["layerwise", "widthwise", "both"])
def test_an_overlap_adds_up_to_both_plans(first, second):
    """What both remove and what one alone does make up what each removes; a plan overlaps itself wholly."""
    scores = tiny.scores(tiny.model("llama-gqa", layers=6))
    a, b = make_plan(scores, first, 0.3), make_plan(scores, second, 0.45)
    found = overlap(a, b)
    removed = [x.cost.before.parameters.total - x.cost.after.parameters.total for x in (a, b)]
    assert [found.both + found.first, found.both + found.second] == removed
    assert 0 <= found.share < 1 and overlap(a, a).share == 1
    assert overlap(b, a).share == found.share


def test_plans_of_different_models_are_not_compared():
    """Their layers mean different things."""
    a, b = (make_plan(tiny.scores(tiny.model(seed=x))) for x in (0, 1))
    with pytest.raises(BadPlan, match="one"):
        overlap(a, b)


def test_a_split_adds_up_to_the_layers():
    """Whatever becomes of them, a layer's parts are all there; without a second plan nothing is shared."""
    scores = tiny.scores(tiny.model("llama-gqa", layers=6))
    a, b = make_plan(scores, "layerwise", 0.3), make_plan(scores, "widthwise", 0.45)
    for second in (None, b):
        attention, mlp = split(a, second)
        for layer, heads, neurons in zip(scores.anatomy.layers, attention.whole, mlp.whole, strict=True):
            assert heads + neurons == layer.groups * layer.unit("heads")[0] + layer.neurons * layer.unit("neurons")[0]
    found = overlap(a, b)
    assert attention.both.sum() + mlp.both.sum() <= found.both
    assert attention.second.sum() + mlp.second.sum() == found.second  # it removes no whole layer, and so no norm
    alone = split(a)[0]
    assert not alone.both.any() and not alone.second.any() and alone.first[list(a.removed_layers)].all()


@pytest.mark.parametrize("method", ["layerwise", "widthwise"])
@pytest.mark.parametrize("family", FAMILIES)
def test_units_that_go_are_those_that_the_pruned_model_lacks(family, method):
    """Heads and neurons removed are the whole model's less the cut one's."""
    model = tiny.model(family)
    plan = make_plan(tiny.scores(model), method=method, ratio=0.25, protect_first=0, protect_last=0)
    found, left = removed(plan), prune(model, plan).anatomy.layers
    layers = model.anatomy.layers
    assert (found.all_heads, found.all_neurons) == (sum(x.groups for x in layers), sum(x.neurons for x in layers))
    assert found.heads == found.all_heads - sum(x.groups for x in left)
    assert found.neurons == found.all_neurons - sum(x.neurons for x in left) > 0
    assert found.share_of_neurons == found.neurons / found.all_neurons


def test_layers_and_what_is_around_them_are_the_decoder():
    """Their sizes, the norms left out, never count a parameter twice; pruning takes from the layers alone."""
    scores = tiny.scores(tiny.model("llama"))
    plan, whole = make_plan(scores, ratio=0.4), make_plan(scores, ratio=0.0)
    before, after = layers_size(*split(plan))
    decoder, layers = plan.cost.before.parameters.decoder, sum(x for x, *_ in plan.unit_costs)
    assert before <= layers == decoder - around(plan) and around(plan) > 0
    assert before - after == decoder - plan.cost.after.parameters.decoder
    assert layers_size(*split(whole)) == (before, before) == layers_size(*split(whole, whole))
