"""How like the original a model is, and what a repair gains."""

import pytest

from lvlm import BadSamples
from pruning import Repair, calibrate, gain, likeness, make_plan, prune
from tests import tiny


def test_a_model_is_wholly_like_itself_and_less_like_another():
    """1 for the original and an empty plan's model; below 1 with half of it gone; each model judged by itself."""
    model, samples = tiny.model("llama-gqa"), tiny.samples()
    scores = calibrate(model, samples)
    same, cut = (prune(model, make_plan(scores, "widthwise", x)) for x in (0.0, 0.5))
    found = likeness(model, [model, same, cut], samples)
    assert found[:2] == (1.0, 1.0) and 0 <= found[2] < 1
    assert likeness(model, [cut], samples) == found[2:]


def test_a_gain_tells_fitted_samples_from_fresh_ones():
    """Before and after, on either; samples without answers are refused."""
    model, samples = tiny.model("llama-gqa"), tiny.samples(8)
    plan = make_plan(calibrate(model, samples), "widthwise", 0.5)
    cut, fixed = prune(model, plan), prune(model, plan, Repair(), samples)
    found = gain(model, cut, fixed, samples[:5], samples[5:])
    assert found.fitted == likeness(model, [cut, fixed], samples[:5])
    assert found.fresh == likeness(model, [cut, fixed], samples[5:])
    with pytest.raises(BadSamples, match="answers"):
        likeness(model, [cut], [])
