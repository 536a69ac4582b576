"""The "paper" settings reproduce what the authors' own code computed; the defaults, its definition done right.

Fixtures: tiny random checkpoints in the authors' layouts (Llama, Phi and Phi-3 decoders), with the importance that
the authors' pruning code scored on them (fp32, eager attention).
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from lvlm.anatomy import anatomy_of
from pruning.calibration import CalibrationSettings, DecoderBatch, Scorer

FIXTURES = Path(__file__).parent.parent / "fixtures"
AUTHORS = ["llava", "bunny", "internvl"]


def decoder(name):
    """The language decoder of an authors' checkpoint, in the stock class."""
    folder = FIXTURES / name
    config, weights = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    if name == "internvl":
        config = config["llm_config"]
        rope = config.pop("rope_scaling")
        config["rope_parameters"] = {**rope, "type": "longrope", "rope_type": "longrope"}
        config["rope_parameters"]["rope_theta"] = config.pop("rope_theta")
        config["rope_parameters"]["original_max_position_embeddings"] = config["original_max_position_embeddings"]
        weights = {k.removeprefix("language_model."): v for k, v in weights.items() if k.startswith("language_model.")}
    else:
        weights = {k: v for k, v in weights.items() if not k.startswith(("model.mm_projector", "model.vision_tower"))}
    if name == "bunny":
        weights["lm_head.bias"] = torch.zeros(config["vocab_size"])
    for key in ("model_type", "architectures", "torch_dtype", "transformers_version", "attn_implementation"):
        config.pop(key, None)
    stock = {"llava": (LlamaForCausalLM, LlamaConfig), "bunny": (PhiForCausalLM, PhiConfig)}
    network, described = stock.get(name, (Phi3ForCausalLM, Phi3Config))
    network = network(described(**config)).eval()
    network.set_attn_implementation("eager")
    network.load_state_dict(weights, strict=True)
    return network


def scored(name, rows, **settings):
    """Totals after scoring the fixture's embeddings, `rows` of them a batch, and the fixture itself."""
    found = load_file(FIXTURES / name / "importance.safetensors")
    network = decoder(name)
    scorer = Scorer(network, anatomy_of(network), CalibrationSettings(**settings))
    for start in range(0, 3, rows):
        labels = found["labels"][start : start + rows]
        mask = torch.ones_like(labels, dtype=torch.bool)
        inputs = {"inputs_embeds": found["inputs_embeds"][start : start + rows], "attention_mask": mask.long()}
        scorer.add(DecoderBatch(inputs, labels, mask, torch.zeros_like(mask)))
    assert all(x.grad is None for x in network.parameters())
    return scorer.totals, found


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", AUTHORS)
def test_paper_settings_reproduce_the_authors_code(name, checkpointing):
    """Block influence, loss, heads and neurons to 1e-4, with and without activation checkpointing."""
    totals, wanted = scored(name, 3, style="paper", checkpointing=checkpointing)
    np.testing.assert_allclose(totals.losses, [wanted["loss"]], rtol=1e-5)
    np.testing.assert_allclose(totals.block_influence(0, mean=False), wanted["block_influence_paper"], rtol=1e-4)
    np.testing.assert_allclose(torch.stack(totals.heads), wanted["heads"], rtol=1e-4)
    np.testing.assert_allclose(torch.stack(totals.neurons), wanted["neurons"], rtol=1e-4)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", AUTHORS)
def test_default_block_influence_is_the_mean_of_raw_layers(name, rows):
    """The defaults give `block_influence_mean_raw`, however the samples are batched."""
    totals, wanted = scored(name, rows)
    np.testing.assert_allclose(totals.block_influence(0, mean=True), wanted["block_influence_mean_raw"], rtol=1e-4)


@pytest.mark.parametrize("name", AUTHORS)
def test_default_taylor_takes_each_samples_own_gradient(name):
    """The defaults sum |w·g| of every sample's gradient, as plain autograd finds it."""
    totals, found = scored(name, 1)
    network = decoder(name)
    layers = anatomy_of(network).layers
    wanted = [(torch.zeros(x.groups), torch.zeros(x.neurons)) for x in layers]
    for row in range(3):
        network.zero_grad()
        network(
            inputs_embeds=found["inputs_embeds"][row : row + 1], labels=found["labels"][row : row + 1]
        ).loss.backward()
        for module, layer, sums in zip(network.get_decoder().layers, layers, wanted):
            for cut in layer.cuts:
                weight = module.get_submodule(cut.path).weight
                product = (weight * weight.grad).abs().sum(1 - cut.dim)
                part = product[cut.start : cut.start + cut.width * cut.units].view(cut.units, cut.width).sum(1)
                sums[cut.kind == "neurons"].add_(part.detach())
    for layer in range(3):
        np.testing.assert_allclose(totals.heads[layer], wanted[layer][0], rtol=1e-4)
        np.testing.assert_allclose(totals.neurons[layer], wanted[layer][1], rtol=1e-4)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", AUTHORS)
def test_the_activation_form_equals_the_absolute_of_summed_products(name, checkpointing):
    """|Σ w·g| of a unit, from activations and their gradients alone, equals what weight gradients give."""
    totals, found = scored(name, 3, style="paper", taylor="activations", checkpointing=checkpointing)
    network = decoder(name)
    network(inputs_embeds=found["inputs_embeds"], labels=found["labels"]).loss.backward()
    for index, (module, layer) in enumerate(zip(network.get_decoder().layers, anatomy_of(network).layers)):
        sums = {"heads": torch.zeros(layer.groups), "neurons": torch.zeros(layer.neurons)}
        for cut in layer.cuts:
            weight = module.get_submodule(cut.path).weight
            product = (weight * weight.grad).sum(1 - cut.dim)
            sums[cut.kind] += product[cut.start : cut.start + cut.width * cut.units].view(cut.units, cut.width).sum(1)
        scale = float(sums["heads"].detach().abs().max())
        found = totals.signed_heads[index]
        np.testing.assert_allclose(found, sums["heads"].abs().detach(), rtol=1e-3, atol=1e-4 * scale)
        scale = float(sums["neurons"].detach().abs().max())
        found = totals.signed_neurons[index]
        np.testing.assert_allclose(found, sums["neurons"].abs().detach(), rtol=1e-3, atol=1e-4 * scale)
