"""Wishes for single layers and heads: kept to the letter by every method, or refused in a sentence."""

import numpy as np
import pytest

from lvlm import BadPlan
from pruning import Plan, Unit, make_plan
from tests import tiny

METHODS = [
    ("layerwise", "layer"),
    ("widthwise", "layer"),
    ("widthwise", "global"),
    ("both", "layer"),
    ("both", "global"),
]


@pytest.fixture(scope="module")
def scores():
    return tiny.scores(tiny.model("llama", layers=8))


def goes(plan, unit: Unit) -> bool:
    """Whether a plan removes a layer, or a head."""
    return unit.layer in plan.removed_layers or (unit.head is not None and unit.head not in plan.heads[unit.layer])


def whole(plan, layer: int) -> bool:
    return (len(plan.heads[layer]), len(plan.neurons[layer])) == plan.dense_shape[layer]


@pytest.mark.parametrize("method, ranking", METHODS)
@pytest.mark.parametrize("seed", range(6))
def test_wishes_are_kept_to_the_letter(scores, method, ranking, seed):
    """Pinned layers stay whole, pinned heads stay, forced ones go, and the target is still met."""
    chance = np.random.default_rng(seed)
    layers = [int(x) for x in chance.permutation(8)]
    pinned = [Unit(layers[0]), Unit(layers[1], 0), Unit(layers[1], 3), Unit(layers[2], int(chance.integers(4)))]
    forced = [Unit(layers[3]), Unit(layers[4], 1), Unit(layers[4], 2), Unit(layers[1], 1)]
    plan = make_plan(scores, method, 0.4, ranking=ranking, pinned=pinned, forced=forced)
    assert whole(plan, layers[0])
    assert not any(goes(plan, x) for x in pinned) and all(goes(plan, x) for x in forced)
    assert all(len(plan.heads[i]) and len(plan.neurons[i]) for i in plan.layers)
    assert plan.achieved == pytest.approx(0.4, abs=0.06 if method == "layerwise" else 0.01)


@pytest.mark.parametrize("method, ranking", METHODS)
def test_wishes_for_what_happens_anyway_change_nothing(scores, method, ranking):
    """Pinning a head that stays and forcing out one that goes give the same plan as no wish at all."""
    plan = make_plan(scores, method, 0.35, ranking=ranking)
    units = [Unit(i) if method == "layerwise" else Unit(i, h) for i in range(8) for h in range(4)]
    forced = [x for x in units if goes(plan, x)][:2]
    pinned = [Unit(i, int(plan.heads[i][np.argmax(scores.heads[i][plan.heads[i]])])) for i in plan.layers[:2]]
    again = make_plan(scores, method, 0.35, ranking=ranking, pinned=pinned, forced=forced)
    assert again.layers == plan.layers
    for part in ("heads", "neurons"):
        assert all(np.array_equal(a, b) for a, b in zip(getattr(again, part), getattr(plan, part), strict=True))


def test_what_is_forced_out_goes_even_at_ratio_zero(scores):
    """One head alone, or one layer alone: the plan that a trial of it masks."""
    head, layer = (make_plan(scores, "widthwise", 0.0, forced=[x]) for x in (Unit(2, 1), Unit(5)))
    assert head.heads[2].tolist() == [0, 2, 3] and sum(map(len, head.heads)) == 31 and head.removed_layers == ()
    assert layer.removed_layers == (5,) and head.achieved == pytest.approx(head.unit_costs[2][1] / total(head))
    assert layer.achieved == pytest.approx(layer.unit_costs[5][0] / total(layer))


def total(plan) -> int:
    return plan.cost.before.parameters.decoder


def test_the_plan_remembers_its_wishes(scores):
    """They are in its JSON and in its explanation."""
    plan = make_plan(scores, "widthwise", 0.2, pinned=[Unit(3), Unit(1, 2)], forced=[Unit(6, 0)])
    assert Plan.from_json(plan.to_json()).settings["pinned"] == ["1.2", "3"]
    assert plan.settings["forced"] == ["6.0"] and plan.settings["protected"] == [3]
    assert "Pinned, and so kept: head 2 of layer 1, layer 3" in plan.explain()
    assert "Forced out by hand: head 0 of layer 6" in plan.explain()


def test_the_scores_are_not_blamed_for_what_was_forced_out(scores):
    """A layer goes for its low influence only where nobody forced it out."""
    alone = make_plan(scores, "widthwise", 0.3, forced=[Unit(5)]).explain()
    assert "you said so" in alone and "block influence" not in alone
    both = make_plan(scores, "layerwise", 0.3, forced=[Unit(5)]).explain()
    assert "lowest block influence), but for what is forced out" in both


@pytest.mark.parametrize("text", ["3", "3.2", "0.0", "12.31"])
def test_a_units_text_names_it(text):
    """What is written of a unit reads back as the same one."""
    assert str(Unit.parse(text)) == text


@pytest.mark.parametrize(
    "wish, words",
    [
        ({"pinned": [Unit(2)], "forced": [Unit(2)]}, "pinned or protected"),
        ({"pinned": [Unit(2)], "forced": [Unit(2, 1)]}, "layer 2 is pinned"),
        ({"pinned": [Unit(2, 1)], "forced": [Unit(2)]}, "head 1 of layer 2 is pinned"),
        ({"pinned": [Unit(2, 1)], "forced": [Unit(2, 1)]}, "undo one"),
        ({"protect_first": 1, "forced": [Unit(0, 1)]}, "protected"),
        ({"forced": [Unit(2, x) for x in range(4)]}, "force the whole layer out instead"),
        ({"forced": [Unit(x) for x in range(8)]}, "leave at least one"),
        ({"pinned": [Unit(8)]}, "layers 0 to 7"),
        ({"forced": [Unit(1, 4)]}, "heads 0 to 3"),
        ({"pinned": [Unit(x) for x in range(7)], "ratio": 0.6}, "at most"),
        ({"method": "layerwise", "ratio": 0.5, "pinned": [Unit(x, 0) for x in range(7)]}, "at most"),
        ({"method": "layerwise", "contiguous": True, "forced": [Unit(1)]}, "one of the two"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(scores, wish, words):
    """One sentence names the contradiction, or the most that can go."""
    with pytest.raises(BadPlan, match=words):
        make_plan(scores, **wish)


@pytest.mark.parametrize("text", ["", "a", "1.", ".2", "1.2.3", "-1"])
def test_what_names_no_unit_is_refused(text):
    """Anything else than 3 or 3.2 gets a sentence."""
    with pytest.raises(BadPlan, match="names no layer"):
        Unit.parse(text)
