"""Numbers that are none: a NaN or infinite weight or activation is found, and named by layer and tensor."""

import math

import pytest
import torch

from lvlm import LVLM, NotFinite
from lvlm.finite import blame, broken_output, broken_weight
from pruning import CalibrationSettings, Repair, Search, calibrate, make_plan, prune, search_plan
from pruning.calibration import Scorer
from recovery import Recipe, recover
from tests import tiny

SHORT = {"steps": 2, "batch": 2, "held_out": 1, "train": "projector"}
FAMILIES = ("llama-gqa", "phi3", "internvl")
MLP = {"llama-gqa": "mlp.down_proj", "phi3": "mlp.gate_up_proj", "internvl": "mlp.down_proj"}


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


def broken(family: str, value: float, layer: int = 2) -> LVLM:
    """A model with one number of one tensor spoiled."""
    model = tiny.model(family)
    model.network.get_decoder().layers[layer].get_submodule(MLP[family]).weight.data[1, 3] = value
    return model


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("settings", [{}, {"style": "paper"}, {"taylor": "activations"}], ids=str)
def test_calibration_names_the_weight(family, value, settings):
    """Whatever style of scores is asked for, one spoiled number of one weight is named by its layer and tensor."""
    with pytest.raises(NotFinite, match=rf"in tiny-{family}, layer 2, {MLP[family]}\.weight has 1 of [\d,]+ numbers"):
        calibrate(broken(family, value), tiny.samples(), CalibrationSettings(**settings))


def test_weights_outside_the_decoder_are_named_by_their_path():
    """A spoiled vision tower or projector is found as well, and how many more tensors are spoiled."""
    model = tiny.model()
    weights = dict(model.network.named_parameters())
    tower = next(name for name in weights if "vision_tower" in name)
    weights[tower].data.view(-1)[0] = math.nan
    weights["model.multi_modal_projector.linear_1.bias"].data.fill_(math.inf)
    with pytest.raises(NotFinite) as caught:
        calibrate(model, tiny.samples())
    assert f"{tower} has 1 of" in str(caught.value) and "(as do 1 more tensors)" in str(caught.value)


def outgrown(family: str) -> LVLM:
    """A half-precision model whose weights are finite and whose third layer's MLP gives more than float16 holds."""
    model = tiny.model(family, dtype=torch.float16)
    model.network.get_decoder().layers[2].get_submodule("mlp.down_proj").weight.data.fill_(6e4)
    return model


def test_calibration_names_the_activation(family):
    """The first output that is not finite is named, with the sample, and what to do about it."""
    with pytest.raises(NotFinite, match=r"sample s0: .*the output of layer 2, mlp.down_proj .*bfloat16 or float32"):
        calibrate(outgrown(family), tiny.samples())


def test_gradients_that_outgrow_their_type_are_no_scores(monkeypatch):
    """A finite loss with scores that are not: refused, and the layer named, instead of a plan made of NaN."""
    model = tiny.model(dtype=torch.float16)
    real = Scorer.add

    def add(self, batch):
        loss = real(self, batch)
        self.totals.neurons[1][0] = math.inf
        return loss

    monkeypatch.setattr(Scorer, "add", add)
    with pytest.raises(NotFinite, match="the scores of layer 1 of tiny-llama"):
        calibrate(model, tiny.samples())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_recovery_names_the_weight_of_student_or_teacher(value):
    """A model that was broken as it was given is named; nobody is told to lower a learning rate."""
    good, bad = tiny.model("llama-gqa"), broken("llama-gqa", value)
    plan = make_plan(tiny.scores(good), "layerwise", 0.2)
    samples = tiny.samples(4)
    with pytest.raises(NotFinite, match=r"layer 2, mlp.down_proj.weight"):
        recover(bad, good, samples, Recipe(sft=1.0, l2=0.0, **SHORT))
    with pytest.raises(NotFinite, match=r"layer 2, mlp.down_proj.weight"):
        recover(prune(good, plan), bad, samples, Recipe(l2=1.0, **SHORT))


def test_recovery_names_the_activation():
    """Weights that are finite and outputs that are not: the first such output is named, with a sample."""
    model = tiny.model("llama-gqa")
    model.network.get_decoder().layers[2].mlp.down_proj.weight.data.fill_(3e38)
    with pytest.raises(NotFinite, match=r"Recovery stopped at sample s\d: .*the output of layer 2, mlp\.down_proj "):
        recover(model, None, tiny.samples(4), Recipe(sft=1.0, l2=0.0, **SHORT))


def test_repair_and_search_name_the_weight():
    """So do the two that improve a plan without training."""
    good, bad = tiny.model("llama-gqa"), broken("llama-gqa", math.nan)
    scores = tiny.scores(bad)
    with pytest.raises(NotFinite, match=r"Repair stopped: .*layer 2, mlp.down_proj.weight"):
        prune(bad, make_plan(scores, "widthwise", 0.2), Repair(), tiny.samples(4))
    with pytest.raises(NotFinite, match=r"The search stopped: .*layer 2, mlp.down_proj.weight"):
        search_plan(bad, scores, tiny.samples(4), 0.2, Search(moves=1))
    assert good.digest() != bad.digest()


def test_finite_models_are_not_blamed(family):
    """The search for a culprit finds none where there is none, and leaves no hook behind."""
    model = tiny.model(family)
    assert broken_weight(model.network) is None
    assert broken_output(model.network, model.encode(tiny.samples()).inputs) is None
    blame([model], tiny.samples(), "Nothing")
    assert not any(x._forward_hooks or x._forward_pre_hooks for x in model.network.get_decoder().modules())
