"""Repair without training: the identity where nothing is gone, exact where what is gone follows from what stays."""

import dataclasses

import numpy as np
import pytest
import torch

from lvlm import BadPlan, BadSamples, Cancelled, NotEnoughMemory, Progress, UnsupportedDecoder, load, memory
from lvlm.model import weights_digest
from pruning import Repair, compensation, make_plan, prune, quantize, save
from recovery import layer_map
from samples import Sample, Turn
from tests import checkpoints, tiny
from tests.pruning.test_invariants import rewritten

FAMILIES = sorted(x for x in tiny.FAMILIES if not x.startswith("internvl"))  # they stand there as phi3 and qwen2
PLANS = {
    "layers": {"method": "layerwise", "ratio": 0.25},
    "widths": {"method": "widthwise", "ratio": 0.25, "ranking": "global"},
    "both": {"method": "both", "ratio": 0.4, "depth_share": 0.6},
}


def talks(n=16, seed=0):
    """Samples with enough tokens to fit to; one in eight without an image."""
    chance = np.random.default_rng(seed)
    words = [[str(x) for x in chance.choice(tiny.WORDS, chance.integers(4, 9))] for _ in range(2 * n)]
    return [
        Sample(f"t{i}", None if i % 8 == 3 else tiny.picture(i), (Turn(" ".join(a), " ".join(b)),), "test")
        for i, (a, b) in enumerate(zip(words[:n], words[n:]))
    ]


@torch.no_grad()
def states(model, samples, layer=-1):
    """What a layer hands on, for every real token of every sample: (N, D)."""
    found = []
    for sample in samples:
        batch = model.encode([sample])
        layers, seen = model.network.get_decoder().layers, []
        hook = layers[layer].register_forward_hook(
            lambda m, a, output: seen.append(output[0] if isinstance(output, tuple) else output)
        )
        model.network(**batch.inputs)
        hook.remove()
        found.append(seen[0][batch.mask])
    return torch.cat(found).double()


def error(found, wanted):
    return float(((found - wanted).square().sum(1) / wanted.square().sum(1)).mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_with_nothing_removed_nothing_changes(family):
    """Every tensor is still the original's own."""
    model = tiny.model(family)
    same = prune(model, make_plan(tiny.scores(model), ratio=0.0), Repair(), talks(4))
    assert {id(x) for x in same.network.parameters()} == {id(x) for x in model.network.parameters()}
    assert same.history[-1]["error_before"] == same.history[-1]["error_after"] < 1e-20


def doubled(family):
    """A model in which the second half of each layer's groups and neurons does just what the first does, and a plan
    that removes it; heads only where there are several."""
    model = tiny.model(family)
    heads, neurons = [], []
    for module, layer in zip(model.network.get_decoder().layers, model.anatomy.layers):
        for cut in layer.cuts:
            if cut.dim == 0 and cut.units > 1:
                linear = module.get_submodule(cut.path)
                for tensor in (linear.weight.data, *([] if linear.bias is None else [linear.bias.data])):
                    rows = tensor[cut.start : cut.start + cut.units * cut.width].view(2, -1, *tensor.shape[1:])
                    rows[1] = rows[0]
        heads.append(np.arange(max(1, layer.groups // 2)))
        neurons.append(np.arange(layer.neurons // 2))
    model._digest = None
    return model, rewritten(model, make_plan(tiny.scores(model), "widthwise", 0.1), heads, neurons)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_follows_from_the_rest_is_made_up_for(family):
    """Where removed heads and neurons do what kept ones do, the repaired model computes what the original does."""
    model, plan = doubled(family)
    samples = talks(16)
    cut, whole = prune(model, plan), prune(model, plan, Repair(ridge=1e-12), samples)
    wanted = states(model, talks(3, seed=1))
    assert error(states(cut, talks(3, seed=1)), wanted) > 0.05
    assert error(states(whole, talks(3, seed=1)), wanted) < 1e-6


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("plan", PLANS)
def test_the_held_out_error_falls(family, plan):
    """On samples that nothing was fitted to, the last layer's state is nearer to the original's, as the step tells."""
    model = tiny.model(family)
    plan, samples = make_plan(tiny.scores(model), **PLANS[plan]), talks()
    cut, whole = prune(model, plan), prune(model, plan, Repair(), samples)
    step, held = whole.history[-1], samples[4::5]
    assert step["error_after"] < 0.9 * step["error_before"]
    for told, made in (("error_before", cut), ("error_after", whole)):
        assert step[told] == pytest.approx(error(states(made, held), states(model, held)), rel=1e-3)
    assert [len(x) for x in step["errors"].values()] == 2 * [len(plan.layers)]


@pytest.mark.parametrize("name", ["qwen3_vl", "aya_vision", "paligemma2"])
def test_todays_models_are_repaired_too(name, tmp_path):
    """DeepStack features between layers, attention beside MLP, prefix attention: the identity, and a smaller error."""
    model = load(checkpoints.make(name, tmp_path))
    samples = [dataclasses.replace(x, image=tiny.picture(i, (24, 40))) for i, x in enumerate(talks(8))]
    scores = tiny.scores(model)
    same = prune(model, make_plan(scores, ratio=0.0), Repair(), samples[:2])
    assert same.digest() == model.digest()
    for method in ("layerwise", "widthwise"):
        step = prune(model, make_plan(scores, method, 0.2), Repair(), samples).history[-1]
        assert 0 < step["error_after"] < step["error_before"]


@pytest.fixture(scope="module")
def model():
    return tiny.model("llama-gqa")


@pytest.fixture(scope="module")
def plan(model):
    return make_plan(tiny.scores(model), "both", 0.4, depth_share=0.6)


@pytest.fixture(scope="module")
def samples():
    return talks(8)


@pytest.fixture(scope="module")
def whole(model, plan, samples):
    return prune(model, plan, Repair(), samples)


def test_only_projections_change_and_nothing_is_added(model, plan, samples):
    """Shapes are the pruned model's; what differs are weights and biases of o_proj and down_proj; the original and
    what a cut shares with it keep every bit."""
    before = weights_digest(model.network)
    cut = prune(model, plan)
    whole = prune(model, plan, Repair(), samples)
    assert weights_digest(model.network) == before
    old, new = cut.network.state_dict(), whole.network.state_dict()
    assert {k: x.shape for k, x in old.items()} == {k: x.shape for k, x in new.items()}
    changed = {k.split("layers.")[-1].split(".", 1)[1] for k in old if not torch.equal(old[k], new[k])}
    ends = ("weight", "bias")
    assert changed == {f"{x}.{y}" for x in ("self_attn.o_proj", "mlp.down_proj") for y in ends}
    shared = [n for n, x in whole.network.named_parameters() if not n.endswith(tuple(f"_proj.{x}" for x in ends))]
    assert {id(whole.network.get_parameter(x)) for x in shared} <= {id(x) for x in model.network.parameters()}
    unbiased = prune(model, plan, Repair(bias=False), samples).network.state_dict()
    assert all(torch.equal(old[k], unbiased[k]) for k in old if k.endswith("bias"))


def test_a_repaired_model_comes_back_bit_for_bit(whole, tmp_path):
    """It is an ordinary checkpoint, whose history and card tell of the repair."""
    again = load(save(whole, tmp_path / "whole"))
    assert again.digest() == whole.digest() and again.history == whole.history
    assert [x["step"] for x in again.history] == ["prune", "repair"]
    assert "Repaired" in (tmp_path / "whole/README.md").read_text()


def test_the_history_says_how(whole, samples):
    """Settings, samples and seconds; and the layers are still traced to the original's."""
    step = whole.history[-1]
    assert step["settings"] == dataclasses.asdict(Repair()) and step["sample_ids"] == [x.id for x in samples]
    assert step["samples"] == 8 and step["seconds"] > 0
    assert layer_map(whole, tiny.model("llama-gqa")) == tuple(whole.history[0]["layers"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_half_precision(dtype, samples):
    """Solved in fp64, stored in the model's own type, and the error still falls."""
    model = tiny.model("llama", dtype=dtype)
    whole = prune(model, make_plan(tiny.scores(model), "widthwise", 0.25), Repair(), samples)
    assert {x.dtype for x in whole.network.parameters()} == {dtype}
    assert whole.history[-1]["error_after"] < whole.history[-1]["error_before"]


def test_padding_and_order_do_not_matter(model, plan, samples, whole, monkeypatch):
    """One sample at a time gives the same weights as padded batches of them."""
    monkeypatch.setattr(compensation, "BATCH", 1)
    alone = prune(model, plan, Repair(), samples)
    for a, b in zip(whole.network.parameters(), alone.network.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_text_tokens_can_weigh_more(model, plan, samples):
    """The more of the fit's weight they have, the nearer they come to the original, and image tokens do less."""
    wanted = {True: [], False: []}
    fitted = [x for i, x in enumerate(samples) if i % 5 != 4]
    image = torch.cat([model.encode([x]).image_mask[0] for x in fitted])
    target = states(model, fitted)
    for share in (0.02, 0.98):
        found = states(prune(model, plan, Repair(text=share), samples), fitted)
        for kind in wanted:
            wanted[kind].append(error(found[image == kind], target[image == kind]))
    assert wanted[False][1] < wanted[False][0] and wanted[True][1] > wanted[True][0]


def test_a_cancelled_repair_leaves_everything_as_it_was(model, plan, samples):
    """Raising from the callback ends it at once: no bit, flag or hook of the original has changed."""

    def stop(event):
        if isinstance(event, Progress) and event.done == 1:
            raise Cancelled("enough")

    def hooks():
        return [len(x._forward_hooks) + len(x._forward_pre_hooks) for x in model.network.modules()]

    before = weights_digest(model.network), hooks(), [x.requires_grad for x in model.network.parameters()]
    with pytest.raises(Cancelled):
        prune(model, plan, Repair(), samples, stop)
    assert before == (weights_digest(model.network), hooks(), [x.requires_grad for x in model.network.parameters()])


def test_what_cannot_be_repaired_is_refused(model, plan, samples, monkeypatch):
    """No samples, samples beyond the context, impossible settings, int8, too little memory: each in a sentence."""
    long = Sample("long", None, (Turn("a " * 200, "b"),), "test")
    for given, words in (((), "at least two samples"), ([*samples, long], "context")):
        with pytest.raises(BadSamples, match=words):
            prune(model, plan, Repair(), given)
    for wish in ({"ridge": 0}, {"held_out": 1}, {"text": 0}):
        with pytest.raises(BadPlan, match="above 0"):
            Repair(**wish)
    pytest.importorskip("bitsandbytes", reason="int8 needs bitsandbytes")
    with pytest.raises(BadPlan, match="int8"):
        prune(quantize(model), plan, Repair(), samples)
    monkeypatch.setenv(memory.OVERRIDE, "0.0005")
    with pytest.raises(NotEnoughMemory, match="fewer samples"):
        prune(model, plan, Repair(), samples)


def test_a_decoder_that_adds_up_otherwise_is_refused_by_name(plan, samples):
    """A layer that scales its own input, and a decoder that does something between its layers."""
    for path in ("layer", "decoder"):
        model = tiny.model("llama-gqa")
        decoder = model.network.get_decoder()
        target = decoder.layers[plan.layers[0]]
        if path == "layer":
            target.register_forward_hook(lambda module, args, output: 1.5 * output)
            words = "LlamaDecoderLayer"
        else:
            decoder.layers[0].register_forward_pre_hook(lambda module, args: (1.5 * args[0], *args[1:]))
            words = "LlamaModel"
        with pytest.raises(UnsupportedDecoder, match=words):
            prune(model, plan, Repair(), samples)
