"""What was computed leaves no network behind, not even in circles of references through C++, which Python's garbage
collection does not see: a server does it again and again."""

import gc

import pytest
from torch import nn

from evaluation.divergence import diverge
from lvlm.attention import attention_to_image
from pruning import CalibrationSettings, Repair, Search, calibrate, make_plan, plan_in_rounds, prune, quantize
from pruning import search_plan as search
from pruning.dependencies import group
from pruning.effects import effects
from pruning.hidden import activity, gap, trace
from pruning.masking import masked
from pruning.pace import time_layers
from pruning.takeover import takeover
from recovery import Recipe, recover
from tests import tiny

SAMPLES = tiny.samples(9)
MODEL = tiny.model("llama-gqa")
SCORES = calibrate(MODEL, SAMPLES)
PLAN = make_plan(SCORES)
PICTURE, QUESTION = SAMPLES[0].image, "what is at the top ?"
SHORT = {"steps": 2, "batch": 2, "rank": 4, "alpha": 8}


def _healed(**about):
    recover(prune(MODEL, PLAN), MODEL, SAMPLES, Recipe(**SHORT, **about))


def _masked():
    with masked(MODEL, PLAN) as model:
        "".join(model.chat(PICTURE, QUESTION, max_new_tokens=2))


WORK = {
    "calibrate": lambda: calibrate(MODEL, SAMPLES),
    "calibrate-activations": lambda: calibrate(MODEL, SAMPLES, CalibrationSettings(taylor="activations")),
    "calibrate-balanced": lambda: calibrate(MODEL, SAMPLES, CalibrationSettings(balanced=True, checkpointing=True)),
    "calibrate-paper": lambda: calibrate(MODEL, SAMPLES, CalibrationSettings(style="paper")),
    "prune": lambda: prune(MODEL, PLAN),
    "repair": lambda: prune(MODEL, PLAN, Repair(), SAMPLES),
    "repair-layers": lambda: prune(MODEL, make_plan(SCORES, "layerwise"), Repair(), SAMPLES),
    "quantize": lambda: quantize(MODEL),
    "search": lambda: search(MODEL, SCORES, SAMPLES[:2], 0.3, Search(2)),
    "rounds": lambda: plan_in_rounds(MODEL, SAMPLES, 0.3, 2),
    "heal-projector": lambda: _healed(train="projector"),
    "heal-lora": lambda: _healed(train="lora", kl=1.0),
    "heal-full": lambda: _healed(train="full", checkpointing=True),
    "mask": _masked,
    "time": lambda: time_layers(MODEL, repeats=1, new_tokens=2),
    "chat": lambda: "".join(MODEL.chat(PICTURE, QUESTION, max_new_tokens=2)),
    "divergence": lambda: diverge(MODEL, prune(MODEL, PLAN), PICTURE, QUESTION, [5, 6]),
    "gaze": lambda: attention_to_image(MODEL, PICTURE, QUESTION),
    "trace": lambda: trace(MODEL, SAMPLES[0]),
    "gap": lambda: gap(MODEL, SAMPLES[0], [1]),
    "activity": lambda: activity(MODEL, SAMPLES[0], 1, "heads", 0),
    "effects": lambda: effects(MODEL, SAMPLES[0], [group(MODEL.anatomy, 1, "heads", 0)]),
    "takeover": lambda: takeover(MODEL, PLAN, 1, SAMPLES),
}


def _networks() -> int:
    gc.collect()
    return sum(issubclass(type(x), nn.Module) for x in gc.get_objects())


@pytest.mark.parametrize("name", WORK)
def test_no_network_is_left_behind(name):
    WORK[name]()  # what is kept for good, as by transformers and torch, is made the first time
    before = _networks()
    WORK[name]()
    assert _networks() == before
