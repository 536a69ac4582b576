"""The same promises under other vision-language wrappers: their decoders are found, cut, saved and loaded alike."""

import pytest
import torch
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig

from lvlm import LVLM, load
from lvlm.head import head_of
from pruning import make_plan, measure, prune, save
from pruning.cost import decoder_inputs
from tests import tiny

TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 260,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
SIGLIP = {"model_type": "siglip_vision_model", **VISION, "image_size": 28, "patch_size": 14}
MROPE = {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}}
QWEN = {"image_token_id": 3, "video_token_id": 4, "vision_start_token_id": 5, "vision_end_token_id": 6}
QWEN_VISION = {"depth": 2, "num_heads": 2, "patch_size": 14}
WRAPPERS = {
    "llava_onevision": {
        "text_config": {"model_type": "qwen2", **TEXT},
        "vision_config": SIGLIP,
        "image_token_index": 3,
        "video_token_index": 4,
    },
    "llava_next": {
        "text_config": {"model_type": "mistral", **TEXT},
        "vision_config": {**SIGLIP, "model_type": "clip_vision_model"},
        "image_token_index": 3,
    },
    "qwen2_vl": {
        "text_config": {"model_type": "qwen2_vl_text", **TEXT, **MROPE},
        "vision_config": {**QWEN_VISION, "embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2},
        **QWEN,
    },
    "qwen2_5_vl": {
        "text_config": {"model_type": "qwen2_5_vl_text", **TEXT, **MROPE},
        "vision_config": {
            **QWEN_VISION,
            "hidden_size": 16,
            "intermediate_size": 24,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
        },
        **QWEN,
    },
    "qwen3_vl": {
        "text_config": {"model_type": "qwen3_vl_text", **TEXT, **MROPE, "head_dim": 8},
        "vision_config": {
            **QWEN_VISION,
            "hidden_size": 16,
            "intermediate_size": 24,
            "out_hidden_size": 32,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        **QWEN,
    },
    "smolvlm": {
        "text_config": {"model_type": "llama", **TEXT},
        "vision_config": {**SIGLIP, "model_type": "smolvlm_vision"},
        "image_token_id": 3,
    },
    "idefics3": {
        "text_config": {"model_type": "llama", **TEXT},
        "vision_config": {**SIGLIP, "model_type": "idefics3_vision"},
        "image_token_id": 3,
    },
    "paligemma": {
        "text_config": {"model_type": "gemma", **TEXT, "head_dim": 8},
        "vision_config": {**SIGLIP, "projection_dim": 32},
        "image_token_index": 3,
        "projection_dim": 32,
    },
    "gemma3": {
        "text_config": {"model_type": "gemma3_text", **TEXT, "head_dim": 8, "sliding_window": 8},
        "vision_config": SIGLIP,
        "image_token_index": 3,
        "mm_tokens_per_image": 4,
    },
    "mistral3": {
        "text_config": {"model_type": "mistral", **TEXT},
        "vision_config": {**SIGLIP, "model_type": "pixtral"},
        "image_token_index": 3,
    },
    "aya_vision": {
        "text_config": {"model_type": "cohere2", **TEXT},
        "vision_config": SIGLIP,
        "image_token_index": 3,
    },
}


def model(name):
    config = AutoConfig.for_model(name, **WRAPPERS[name])
    config.tie_word_embeddings = False
    torch.manual_seed(0)
    network = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)](config).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return LVLM(network, None, name)


def prompt():
    """Text only (every wrapper wants its pixels differently, and none of them reach the decoder's shape)."""
    found = {k: v for k, v in tiny.inputs().items() if k != "pixel_values"}
    found["input_ids"] = found["input_ids"].where(found["input_ids"] > 6, torch.tensor(7))
    return found


def logits(network):
    with torch.no_grad():
        return network(**prompt()).logits[prompt()["attention_mask"].bool()]


def steps(network):
    options = {"min_new_tokens": 4, "max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    with torch.no_grad():
        found = network.generate(**prompt(), **options, output_logits=True, return_dict_in_generate=True)
    return torch.stack(found.logits)


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize(
    "wish",
    [
        {"method": "layerwise", "ratio": 0.4},
        {"method": "both", "ratio": 0.4},
        {"method": "widthwise", "ratio": 0.3, "ranking": "global"},
    ],
    ids=lambda x: x["method"],
)
def test_a_pruned_model_equals_its_masked_original(name, wish, tmp_path):
    """Logits and cached generation to 1e-4 of their scale, predicted costs, and a bit-exact reload."""
    dense = model(name)
    plan = make_plan(tiny.scores(dense), **wish)
    pruned, wanted = prune(dense, plan), tiny.masked(dense.network, plan)
    for look in (logits, steps):
        found, reference = look(pruned.network), look(wanted)
        assert (found - reference).abs().max() <= 1e-4 * reference.abs().max()
    assert measure(pruned, timed=False).parameters == plan.cost.after.parameters
    again = load(save(LVLM(pruned.network, tiny.processor(), name, pruned.history), tmp_path / "saved"))
    assert torch.equal(logits(again.network), logits(pruned.network))


@pytest.mark.parametrize("name", WRAPPERS)
def test_the_decoder_and_head_give_the_networks_logits(name):
    """What calibration runs (decoder, then head) is what the whole network computes."""
    network = model(name).network
    with torch.no_grad():
        inputs = decoder_inputs(network, prompt())
        hidden = network.get_decoder()(**{**inputs, "use_cache": False}).last_hidden_state
        found = head_of(network)(hidden[prompt()["attention_mask"].bool()])
    wanted = logits(network)
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()
