"""The promises of DESIGN.md, over every decoder family on tiny random networks."""

import dataclasses

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from lvlm import LVLM, load
from lvlm.model import weights_digest
from pruning import loads_in_transformers, make_plan, measure, prune, save
from pruning.cost import count, flop_counter
from pruning.plan import Costs
from pruning.solver import Choice
from tests import tiny

FAMILIES = sorted(tiny.FAMILIES)
PLANS = {
    "layers": {"method": "layerwise", "ratio": 0.4},
    "widths": {"method": "widthwise", "ratio": 0.3},
    "uneven widths": {"method": "widthwise", "ratio": 0.35, "ranking": "global"},
    "both": {"method": "both", "ratio": 0.45, "depth_share": 0.6},
}


def logits(network, **options):
    with torch.no_grad():
        return network(**tiny.inputs(dtype=network.dtype), **options).logits


def steps(network, new_tokens=5, **options):
    """Logits of each generated token, with a key/value cache, for a left-padded batch."""
    with torch.no_grad():
        found = network.generate(
            **tiny.inputs(dtype=network.dtype),
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
            pad_token_id=0,
            **options,
        )
    return torch.stack(found.logits)


def close(found, wanted, share=1e-4):
    scale = wanted.abs().max()
    assert torch.isfinite(wanted).all()
    assert (found - wanted).abs().max() <= share * scale


def real(mask_logits):
    """Logits of real tokens: those at padded positions mean nothing."""
    return mask_logits[tiny.inputs()["attention_mask"].bool()]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["layerwise", "widthwise", "both"])
def test_ratio_zero_is_the_identity_bit_for_bit(family, method):
    """Ratio 0 gives the same logits, and shares every tensor."""
    model = tiny.model(family)
    pruned = prune(model, make_plan(tiny.scores(model), method, 0.0))
    assert torch.equal(logits(pruned.network), logits(model.network))
    assert {id(x) for x in pruned.network.parameters()} == {id(x) for x in model.network.parameters()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_pruned_model_equals_its_masked_original(family, plan, attention):
    """Cutting heads, neurons and layers equals masking them to nothing: uncached, cached and left-padded."""
    model = tiny.model(family, attention=attention)
    found = make_plan(tiny.scores(model), **PLANS[plan])
    assert found.achieved > 0.2
    pruned, wanted = prune(model, found).network, tiny.masked(model.network, found)
    close(real(logits(pruned)), real(logits(wanted)))
    close(steps(pruned), steps(wanted))
    close(steps(pruned, cache_implementation="static"), steps(wanted))


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_prunes_like_its_masked_original(family):
    """In bf16 too, up to its own rounding."""
    model = tiny.model(family, dtype=torch.bfloat16)
    found = make_plan(tiny.scores(model), "widthwise", 0.3)
    pruned, wanted = prune(model, found).network, tiny.masked(model.network, found)
    assert pruned.dtype == torch.bfloat16
    close(real(logits(pruned)).float(), real(logits(wanted)).float(), 0.05)


@pytest.mark.parametrize("family", ["llama-gqa", "phi", "phi3", "gemma2"])
def test_a_layer_may_lose_every_neuron_and_head_but_one(family):
    """Extreme, uneven plans hold as well."""
    model = tiny.model(family)
    plan = make_plan(tiny.scores(model), "widthwise", 0.2)
    heads, neurons = list(plan.heads), list(plan.neurons)
    heads[1], neurons[1], neurons[3] = np.array([0]), np.array([7]), np.array([0, 47])
    plan = rewritten(model, plan, heads, neurons)
    close(real(logits(prune(model, plan).network)), real(logits(tiny.masked(model.network, plan))))


def rewritten(model, plan, heads, neurons):
    kept = model.anatomy.kept(plan.layers, [len(x) for x in heads], [len(x) for x in neurons])
    cost = Costs(plan.cost.before, count(kept, plan.cost.before.workload))
    return dataclasses.replace(plan, heads=tuple(heads), neurons=tuple(neurons), cost=cost)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("plan", ["layers", "both"])
def test_a_saved_model_comes_back_bit_for_bit(family, plan, tmp_path):
    """load(save(x)) has the same weights, history and logits."""
    model = tiny.model(family)
    pruned = prune(model, make_plan(tiny.scores(model), **PLANS[plan]))
    if family.startswith("internvl"):  # its processor needs torchvision: the llava one stands in
        pruned = LVLM(pruned.network, tiny.processor(), pruned.name, pruned.history)
    again = load(save(pruned, tmp_path / "saved"))
    assert torch.equal(logits(again.network), logits(pruned.network))
    assert torch.equal(steps(again.network), steps(pruned.network))
    assert again.history == pruned.history and again.name == pruned.name
    assert again.digest() == pruned.digest()
    assert again.anatomy == pruned.anatomy


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_saved_in_half_precision_comes_back_in_it(dtype, tmp_path):
    """Without a word about types, load(save(x)) computes as x did."""
    model = tiny.model("llama", dtype=dtype)
    again = load(save(prune(model, make_plan(tiny.scores(model), "both", 0.4)), tmp_path / "half"))
    assert again.dtype == dtype
    assert load(tmp_path / "half", dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_follow_the_layers_that_are_left(family):
    """Asking for hidden states before and after pruning: one per kept layer and the embeddings."""
    model = tiny.model(family)
    with torch.no_grad():
        assert len(model.network(**tiny.inputs(), output_hidden_states=True).hidden_states) == 5
        plan = make_plan(tiny.scores(model), "both", 0.45, depth_share=0.6)
        found = prune(model, plan).network(**tiny.inputs(), output_hidden_states=True).hidden_states
        wanted = tiny.masked(model.network, plan)(**tiny.inputs(), output_hidden_states=True).hidden_states
    assert len(plan.layers) < 4 and len(found) == len(plan.layers) + 1
    for i, layer in enumerate(plan.layers):  # what enters each kept layer is what entered it in the masked original
        close(real(found[i]), real(wanted[layer]))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_original_is_never_touched(family, tmp_path):
    """Pruning, saving and running a copy leave every bit, flag and config of the original as it was."""
    model = tiny.model(family)
    before = weights_digest(model.network), model.network.config.to_json_string(), logits(model.network)
    flags = [x.requires_grad for x in model.network.parameters()]
    pruned = prune(model, make_plan(tiny.scores(model), "both", 0.4))
    steps(pruned.network)
    assert before[0] == weights_digest(model.network)
    assert before[1] == model.network.config.to_json_string()
    assert torch.equal(before[2], logits(model.network))
    assert flags == [x.requires_grad for x in model.network.parameters()]
    assert [x.self_attn.layer_idx for x in model.network.get_decoder().layers] == [0, 1, 2, 3]


@pytest.mark.parametrize("family", FAMILIES)
def test_layerwise_pruning_copies_no_weight(family):
    """What a plan does not cut is the original's own storage."""
    model = tiny.model(family)
    owned = {x.data_ptr() for x in model.network.parameters()}
    layers = prune(model, make_plan(tiny.scores(model), "layerwise", 0.4))
    assert {x.data_ptr() for x in layers.network.parameters()} <= owned
    widths = prune(model, make_plan(tiny.scores(model), "widthwise", 0.3, protect_first=1))
    assert {x.data_ptr() for x in widths.network.get_decoder().layers[0].parameters()} <= owned


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("plan", PLANS)
def test_what_a_plan_predicts_is_what_measure_finds(family, plan):
    """Parameters, bytes, FLOPs and cache bytes are predicted exactly."""
    model = tiny.model(family)
    if family.startswith("internvl"):
        model.processor = None
    scores = tiny.scores(model)
    workload = measure(model, timed=False).workload
    plan = make_plan(dataclasses.replace(scores, workload=workload), **PLANS[plan])
    assert measure(model, timed=False) == plan.cost.before
    pruned = prune(model, plan)
    assert measure(pruned, timed=False) == plan.cost.after
    decoder = sum(x.numel() for x in pruned.network.get_decoder().parameters())
    decoder += pruned.network.lm_head.weight.numel()
    assert plan.cost.after.parameters.decoder == decoder
    assert plan.achieved == pytest.approx(1 - decoder / plan.cost.before.parameters.decoder, abs=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_flops_are_those_that_torch_counts(family, attention):
    """Prefill and one-token FLOPs equal torch's counter to the unit, rotary tables aside."""
    model = tiny.model(family, attention=attention)
    pruned = prune(model, make_plan(tiny.scores(model), "both", 0.4))
    batch = {k: v[1:] for k, v in tiny.inputs().items()}
    vision = counted(lambda: pruned.network.get_image_features(batch["pixel_values"]), pruned.network)[0]
    tokens = batch["input_ids"].shape[1]
    wanted = count(
        pruned.anatomy, dataclasses.replace(tiny.scores(model).workload, prompt_tokens=tokens, vision_flops=vision)
    )
    with torch.no_grad():
        flops, found = counted(lambda: pruned.network(**batch, logits_to_keep=1, use_cache=True), pruned.network)
        assert flops == wanted.flops_prefill
        cached = found.past_key_values
        grown = torch.cat([batch["attention_mask"], torch.ones(1, 1, dtype=torch.long)], 1)
        one = {"input_ids": torch.tensor([[9]]), "attention_mask": grown, "past_key_values": cached}
        flops, _ = counted(lambda: pruned.network(**one), pruned.network)
    assert flops == wanted.flops_per_token
    size = sum(x.keys.numel() + x.values.numel() for x in cached.layers) * 4
    assert size == grow(wanted, pruned.anatomy)


def grow(cost, anatomy):
    """Cache bytes after one more token than the prompt."""
    more = sum(
        x.groups * x.head_dim * ((x.window or 1 << 30) - 1 > cost.workload.prompt_tokens) for x in anatomy.layers
    )
    return cost.kv_bytes + 2 * 4 * more


def counted(call, network):
    with flop_counter() as counter, torch.no_grad():
        found = call()
    counts = counter.get_flop_counts()
    rotary = sum(sum(x.values()) for name, x in counts.items() if name.endswith("rotary_emb"))
    return counter.get_total_flops() - rotary, found


def test_every_ratio_is_met_within_one_unit():
    """From 0 to 50%, achieved lies within one layer, or one neuron a layer, of what was asked."""
    model = tiny.model("llama-gqa")
    scores = tiny.scores(model)
    anatomy, total = model.anatomy, model.anatomy.parts.decoder
    layer, neuron = anatomy.layers[0].parameters / total, anatomy.layers[0].unit("neurons")[0] / total
    for ratio in np.linspace(0, 0.5, 21):
        assert abs(make_plan(scores, "layerwise", ratio).achieved - ratio) <= layer / 2 + 1e-9
        assert abs(make_plan(scores, "widthwise", ratio).achieved - ratio) <= 4 * neuron
        assert abs(make_plan(scores, "both", ratio).achieved - ratio) <= 4 * neuron
        group = anatomy.layers[0].unit("heads")[0] / total
        assert abs(make_plan(scores, "widthwise", ratio, ranking="global").achieved - ratio) <= group / 2 + 1e-9
    assert Choice.everything(anatomy).layers == (0, 1, 2, 3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ratio", [0.15, 0.3])
def test_what_is_said_to_load_in_transformers_does(family, ratio, tmp_path):
    """Plain from_pretrained gives the same logits, or refuses loudly: exactly as `loads_in_transformers` says."""
    model = tiny.model(family)
    pruned = prune(model, make_plan(tiny.scores(model), "widthwise", ratio))
    stock = next(x for x in type(pruned.network).__mro__ if x.__module__.startswith("transformers.") and x is not type)
    stock = stock.__dict__.get("_stock", stock)
    said, why = loads_in_transformers(pruned)
    assert why and said == (type(pruned.network) is stock)
    pruned.network.save_pretrained(tmp_path)
    if said:
        again = stock.from_pretrained(tmp_path).eval()
        if pruned.network.config._attn_implementation == again.config._attn_implementation:
            assert torch.equal(real(logits(again)), real(logits(pruned.network)))
        close(steps(again), steps(pruned.network))
    else:
        with pytest.raises((RuntimeError, ValueError, StrictDataclassError)):
            stock.from_pretrained(tmp_path)


def test_uniform_widths_are_stock_where_the_config_allows():
    """Half the heads of every layer divide Llama's hidden size; three of four do not; Qwen3's may be any number."""
    said = {}
    for family, heads in (("llama", 2), ("llama", 3), ("qwen3", 1)):
        model = tiny.model(family)
        plan = make_plan(tiny.scores(model), "widthwise", 0.25)
        kept = [np.arange(heads)] * 4
        pruned = prune(model, rewritten(model, plan, kept, [np.arange(24)] * 4))
        said[family, heads] = loads_in_transformers(pruned)[0]
    assert said == {("llama", 2): True, ("llama", 3): False, ("qwen3", 1): True}
