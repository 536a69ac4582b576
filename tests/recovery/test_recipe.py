"""Recipes as plain data, the paper's advice, and the map from a student's layers to its teacher's."""

import dataclasses
import json

import pytest

from pruning import make_plan, prune
from recovery import CHART, PRESETS, BadRecipe, Recipe, advise, advised, explain, layer_map, preset, published
from recovery.mapping import compared
from tests import tiny


def test_a_recipe_survives_json():
    """JSON in, JSON out, for every field."""
    recipe = Recipe(train="full", kl=0.5, l2_layers=3, minutes=2.5, micro_batch=4, checkpoints="somewhere", cache="x")
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert set(json.loads(recipe.to_json())) == {x.name for x in dataclasses.fields(Recipe)}
    assert not {"checkpoints", "cache"} & set(recipe.recorded())  # no path of a machine goes into a model


@pytest.mark.parametrize(
    "wrong",
    [
        {"train": "vision"}, {"arithmetic": "exact"}, {"l2_tokens": "image"}, {"precision": "int8"}, {"l2_layers": 0},
        {"l2_layers": "first"}, {"sft": 0.0, "l2": 0.0}, {"kl": -1.0}, {"temperature": 0.0}, {"learning_rate": 0.0},
        {"fraction": 0.0}, {"fraction": 1.5}, {"steps": 0}, {"minutes": -1}, {"batch": 0}, {"dropout": 1.0},
        {"bach": 4}, {"batch": "many"}, {"l2": "x"}, {"l2": float("nan")},
        {"learning_rate": None}, {"rank": 2.5}, {"steps": 0.5},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_followed_is_refused(wrong):
    """One sentence that names what is wrong."""
    with pytest.raises(BadRecipe) as error:
        Recipe.from_dict(wrong)
    assert next(iter(wrong)) in str(error.value) and str(error.value).endswith(".")


@pytest.mark.parametrize("text", ["", "[]", "{", "3"])
def test_what_is_no_recipe_is_refused(text):
    """Files of another kind."""
    with pytest.raises(BadRecipe, match="not a recipe"):
        Recipe.from_json(text)


def test_published_settings():
    """LoRA's rank, alpha, dropout and learning rate of the paper's three models; a·KD + (1 − a)·CE at T = 2."""
    found = {x: tuple(PRESETS[x].values())[:4] for x in ("llava", "bunny", "internvl")}
    assert found == {
        "llava": (128, 256, 0.05, 2e-5),
        "bunny": (64, 16, 0.05, 5e-5),
        "internvl": (16, 32, 0.05, 4e-5),
    }
    assert preset("BAAI/Bunny-v1_0-3B") is PRESETS["bunny"] and preset("pocket-llava") is PRESETS["pocket"]
    recipe = published("rkl", "mini-internvl-4b", share=0.3)
    assert recipe.weights == {"sft": 0.7, "kl": 0.0, "rkl": 0.3, "l2": 0.0}
    assert (recipe.temperature, recipe.arithmetic, recipe.rank, recipe.epochs) == (2.0, "paper", 16, 1.0)
    with pytest.raises(BadRecipe, match="kl, rkl, l2"):
        published("sft", "pocket-llava")


@pytest.mark.parametrize(
    ("ratio", "train", "l2", "fraction"),
    [(0.15, "projector", 0, 0.05), (0.2, "projector", 0, 0.05), (0.3, "lora", 1, 0.05), (0.45, "lora", 1, 0.05),
     (0.5, "lora", 1, 1.0), (0.6, "lora", 1, 1.0)],
)  # fmt: skip
def test_the_papers_decision_chart(ratio, train, l2, fraction):
    """Projector alone up to 20%; LoRA with SFT + L2 above; 5% of the data below 50%."""
    found = advised(ratio, "llava-1.5-7b")
    assert (found.train, found.sft, found.l2, found.fraction) == (train, 1.0, l2, fraction)
    assert (found.rank, found.learning_rate) == (128, 2e-5)
    (place,) = [x for x in CHART if x.train == train and (x.method == "layerwise") == (ratio < 0.4)]
    assert place.start <= ratio <= place.end and ("l2" in place.losses) == bool(l2)


def test_advice_for_a_plan_says_why():
    """By the ratio asked for, or what is removed where a budget was asked; and which pruning heals better there."""
    model = tiny.model("llama")
    scores = tiny.scores(model)
    plan = make_plan(scores, "widthwise", 0.2)
    assert advise(plan).train == "projector" and "layerwise" in explain(plan)
    plan = make_plan(scores, "layerwise", 0.45)
    assert advise(plan).train == "lora" and "widthwise" in explain(plan) and "5%" in explain(plan)
    assert "projector alone is no longer enough" in explain(make_plan(scores, "layerwise", 0.3))
    small = make_plan(scores, "widthwise", budget=0.6 * model.parameters().total)
    assert small.ratio is None and advise(small).fraction == (0.05 if small.achieved < 0.5 else 1.0)


def test_layers_are_traced_through_every_cut():
    """Two layerwise cuts and one widthwise: each student layer leads to the original's, and to the middle model's."""
    dense = tiny.model("llama", layers=8)
    first = prune(dense, make_plan(tiny.scores(dense), "layerwise", 0.3))
    second = prune(first, make_plan(tiny.scores(first, seed=1), "widthwise", 0.2))
    third = prune(second, make_plan(tiny.scores(second, seed=2), "layerwise", 0.3))
    kept, again = first.history[0]["layers"], third.history[2]["layers"]
    assert len(again) < len(kept) < 8
    assert layer_map(third, dense) == tuple(kept[i] for i in again)
    assert layer_map(third, first) == layer_map(third, second) == tuple(again)
    assert layer_map(dense, dense) == tuple(range(8))


def test_a_strangers_layers_are_refused():
    """A teacher that the student was not pruned from, by its history or its shapes."""
    dense, other = tiny.model("llama"), tiny.model("llama", layers=6)
    pruned = prune(dense, make_plan(tiny.scores(dense), "both", 0.4))
    for teacher in (other, tiny.model("llama-gqa"), prune(dense, make_plan(tiny.scores(dense), "layerwise", 0.2))):
        with pytest.raises(BadRecipe, match="pruned from|was pruned from|take that model"):
            layer_map(pruned, teacher)


def test_which_layers_are_compared():
    """The last as published, all, or every k-th counted from the last."""
    assert compared(6, "last") == (5,) and compared(6, "all") == (0, 1, 2, 3, 4, 5)
    assert compared(6, 2) == (1, 3, 5) and compared(6, 4) == (1, 5) and compared(6, 9) == (5,)
