"""A budget finds its ratio; what is foretold is exact where it is counted, and falls with whatever goes where timed."""

import dataclasses

import numpy as np
import pytest

from lvlm import LVLM, BadPlan, LVLMError
from pruning import Pace, Unit, fit, forecast, make_plan, measure, prune, quantize, time_layers
from pruning.budget import STEP, UNITS, said
from pruning.pace import Phase
from tests import tiny
from tests.pruning.test_plan import big_scores

METHODS = ("layerwise", "widthwise", "both")


def pace_of(layers: int) -> Pace:
    """Made-up times: a layer's attention takes 1 ms, its MLP 2 ms, all else of it 0.1 ms; 5 ms around the layers."""
    phase = Phase((1e-3,) * layers, (2e-3,) * layers, (1e-4,) * layers, 5e-3)
    return Pace(phase, phase, (0.2, 0.5), (0.1, 0.5))


@pytest.fixture(scope="module")
def scores():
    return tiny.scores(tiny.model("llama", layers=8))


@pytest.fixture(scope="module")
def llava():
    return dataclasses.replace(big_scores("llava-1.5-7b"), workload=tiny.scores(tiny.model()).workload)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("method", METHODS)
def test_the_least_ratio_that_fits_is_found(llava, unit, method):
    """What is planned costs no more than allowed, and a thousandth less removed would cost more."""
    pace = pace_of(32)
    most = 0.75 * getattr(forecast(llava, None, pace), unit)
    plan = fit(llava, unit, most, pace, method=method)
    assert getattr(forecast(llava, plan, pace), unit) <= most
    less = make_plan(llava, method, plan.ratio - STEP)
    assert getattr(forecast(llava, less, pace), unit) > most


def test_fit_six_gibibytes(llava):
    """LLaVA-1.5-7B's 13 GiB in 16 bits: 6 GiB takes well over half of it away, in 8 bits hardly any."""
    half = dataclasses.replace(llava, anatomy=dataclasses.replace(llava.anatomy, itemsize=2))
    whole, small = fit(half, "memory", 6 * 2**30), fit(half, "int8", 6 * 2**30)
    assert 0.5 < whole.ratio < 0.65 and whole.cost.after.bytes <= 6 * 2**30
    assert 0.1 < small.ratio < 0.25


def test_what_fits_already_loses_nothing(scores):
    """A budget above the model is met by ratio 0."""
    assert fit(scores, "memory", 1 << 40).is_identity


@pytest.mark.parametrize("family", ["llama-gqa", "phi", "phi3"])
def test_what_is_foretold_is_what_is_measured(family):
    """Parameters and FLOPs as `measure` counts them, bytes as stored, in 8 bits too."""
    pytest.importorskip("bitsandbytes")
    model = tiny.model(family)
    scores = dataclasses.replace(tiny.scores(model), workload=measure(model, timed=False).workload)
    for plan in (None, make_plan(scores, "both", 0.4)):
        pruned = model if plan is None else prune(model, plan)
        found, cost = forecast(scores, plan), measure(pruned, timed=False)
        assert (found.parameters, found.flops) == (cost.parameters.total, cost.flops_prefill)
        assert (found.memory, found.int8) == (pruned.bytes(), quantize(pruned).bytes())
        assert found.first_token is None


@pytest.mark.parametrize("method", METHODS)
def test_foretold_times_never_rise_with_the_ratio(scores, method):
    """More asked for is not slower by more than the step of a whole head, from the whole model's measured time down to what is outside the layers."""
    for ranking in ("layer", "global"):
        plans = [make_plan(scores, method, x, ranking=ranking) for x in np.linspace(0, 0.6, 25)]
        for name in ("first_token", "token"):
            found = [getattr(forecast(scores, x, pace_of(8)), name) for x in plans]
            # Whole heads step: a ratio may take one more of them and give some neurons back.
            assert found[0] == pytest.approx(8 * 3.1e-3 + 5e-3) and found[-1] > 5e-3
            assert (np.diff(found) <= (0.25e-3 * 8 if method != "layerwise" else 1e-12)).all() and found[-1] < found[0]


def test_every_part_that_goes_shortens_the_foretold_time(scores):
    """A head, a neuron or a layer less is less time: never more, whatever else is gone."""
    pace, chance = pace_of(8), np.random.default_rng(0)
    plan = make_plan(scores, "widthwise", 0.0)
    before = forecast(scores, plan, pace)
    for _ in range(60):
        layer = int(chance.choice(plan.layers))
        heads, neurons = list(plan.heads), list(plan.neurons)
        part = heads if chance.random() < 0.5 else neurons
        if len(part[layer]) == 1:
            continue
        part[layer] = part[layer][1:]
        plan = dataclasses.replace(plan, heads=tuple(heads), neurons=tuple(neurons))
        if chance.random() < 0.1 and len(plan.layers) > 1:
            plan = dataclasses.replace(plan, layers=tuple(x for x in plan.layers if x != layer))
        after = forecast(scores, plan, pace)
        assert after.first_token < before.first_token and after.token < before.token
        before = after


def test_timing_adds_up_and_leaves_the_model_alone():
    """Parts sum to the whole time, every layer took some, shares lie within 0…1, and no hook stays behind."""
    model = tiny.model()
    digest = model.digest()
    pace = time_layers(model, repeats=1, new_tokens=3)
    for phase in (pace.first, pace.further):
        assert len(phase.attention) == len(phase.mlp) == 4 and min(*phase.attention, *phase.mlp) > 0
        assert phase.total > phase.rest >= 0
    assert all(0 <= x <= 1 for x in (*pace.steady_attention, *pace.steady_mlp))
    whole = make_plan(tiny.scores(model), ratio=0.0)
    assert pace.first_token_s(whole) == pytest.approx(pace.first.total)
    assert model._digest == digest == LVLM(model.network, None, "again").digest()
    assert not any(x._forward_pre_hooks for x in model.network.get_decoder().layers)


def test_a_model_that_cannot_be_asked_cannot_be_timed():
    """Without a processor there is no question."""
    with pytest.raises(LVLMError, match="without a processor"):
        time_layers(LVLM(tiny.network(), None, "mute"))


@pytest.mark.parametrize(
    "wish, words",
    [
        ({"unit": "joy", "most": 1}, "choose one of parameters"),
        ({"unit": "memory", "most": 0}, "above zero"),
        ({"unit": "memory", "most": float("nan")}, "above zero"),
        ({"unit": "memory", "most": None}, "above zero"),
        ({"unit": "token", "most": 1.0}, "timed first"),
        ({"unit": "memory", "most": 1000}, "the least memory of the weights to be had here is"),
        ({"unit": "parameters", "most": 100, "protect_first": 6}, "k parameters, with"),
        ({"unit": "memory", "most": 1e5, "largest": 0.3}, "with 30% removed"),
        ({"unit": "memory", "most": 1e5, "pinned": [Unit(1)], "forced": [Unit(1)]}, "pinned or protected"),
    ],
)
def test_budgets_that_cannot_be_met_are_refused(scores, wish, words):
    """One sentence names the least that can be had, or what is wrong with the wish."""
    with pytest.raises(BadPlan, match=words):
        fit(scores, **wish)


@pytest.mark.parametrize(
    "unit, amount, text",
    [
        ("memory", 6.01 * 2**30, "6.01 GiB"),
        ("memory", 1023 * 2**20, "1023 MiB"),
        ("first_token", 0.08, "80 ms"),
        ("parameters", 4.95e9, "4.95 B parameters"),
        ("flops", 6.89e12, "6.89 TFLOPs"),
    ],
)
def test_amounts_are_said_in_their_units(unit, amount, text):
    """Three digits and the unit that a person would choose."""
    assert said(unit, amount) == text
