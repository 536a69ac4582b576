"""Trying a plan without cutting it: the same answers as after the cut, and nothing left behind."""

import pytest
import torch

from lvlm import BadPlan
from lvlm.model import weights_digest
from pruning import Unit, make_plan, prune
from pruning.masking import masked
from tests import tiny
from tests.pruning.test_invariants import FAMILIES, PLANS, close, logits, real, steps

WISHES = {"a head": [Unit(2, 0)], "a layer": [Unit(1)]}


def plans(scores):
    """Whole plans, and single units forced out; a family with one head a layer cannot lose it."""
    found = {name: make_plan(scores, **options) for name, options in PLANS.items()}
    for name, units in WISHES.items():
        if units[0].head is None or scores.anatomy.layers[2].groups > 1:
            found[name] = make_plan(scores, ratio=0.0, forced=units)
    return found


def hooks(network) -> int:
    """Their number; transformers puts some of its own on networks that were run."""
    return sum(len(x._forward_hooks) + len(x._forward_pre_hooks) for x in network.modules())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_masked_model_equals_the_pruned_one(family):
    """The logits of the trial are those after the cut, without and with a cache, for left-padded prompts."""
    model = tiny.model(family)
    for name, plan in plans(tiny.scores(model)).items():
        pruned = prune(model, plan).network
        with masked(model, plan) as trial:
            close(real(logits(trial.network)), real(logits(pruned)))
            if name == "both":
                close(steps(trial.network), steps(pruned))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_original_answers_as_before_meanwhile_and_after(family):
    """No weight is copied, no bit and no hook of the original changes, also while the trial is on."""
    model = tiny.model(family)
    before, owned = logits(model.network), {x.data_ptr() for x in model.network.parameters()}
    digest, number = weights_digest(model.network), hooks(model.network)
    with masked(model, make_plan(tiny.scores(model), "both", 0.4)) as trial:
        assert {x.data_ptr() for x in trial.network.parameters()} == owned
        assert not torch.equal(logits(trial.network), before)
        assert torch.equal(logits(model.network), before)
    assert torch.equal(logits(trial.network), before)  # undone
    assert weights_digest(model.network) == digest and hooks(model.network) == number == hooks(trial.network)


def test_the_trial_is_undone_when_something_fails():
    """An error inside the block leaves no hook on the trial's modules."""
    model = tiny.model()
    number = hooks(model.network)
    with pytest.raises(RuntimeError), masked(model, make_plan(tiny.scores(model), "both", 0.4)) as trial:
        assert hooks(trial.network) > number
        raise RuntimeError
    assert hooks(trial.network) == number


def test_a_plan_of_other_weights_is_refused():
    """As `prune` refuses it."""
    plan = make_plan(tiny.scores(tiny.model(seed=1)))
    with pytest.raises(BadPlan, match="calibrate this model"), masked(tiny.model(seed=0), plan):
        pass
