"""Tiny random vision-language models, built in memory in milliseconds: one of every decoder family."""

import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from lvlm import LVLM
from samples import Sample, Turn

IMAGE_TOKENS = 4
WORDS = "what is at the top left right how many apples dogs cats are there ? yes no one two three red blue a an".split()
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}USER: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% else %}"
    " ASSISTANT:{% for c in m['content'] %} {{ c['text'] }}{% endfor %}{{ '</s>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)

SHARED = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "max_position_embeddings": 128}
MHA, GQA = {"num_key_value_heads": 4}, {"num_key_value_heads": 2}
FAMILIES = {
    "llama": {"model_type": "llama", "intermediate_size": 48, **MHA},
    "llama-gqa": {"model_type": "llama", "intermediate_size": 48, "attention_bias": True, "mlp_bias": True, **GQA},
    "phi": {"model_type": "phi", "intermediate_size": 48, "partial_rotary_factor": 0.5},
    "phi3": {"model_type": "phi3", "intermediate_size": 48, "num_key_value_heads": 2, "pad_token_id": 0},
    "qwen2": {
        "model_type": "qwen2",
        "intermediate_size": 48,
        "use_sliding_window": True,
        "sliding_window": 8,
        "max_window_layers": 2,
        **GQA,
    },
    "qwen3": {"model_type": "qwen3", "intermediate_size": 48, "head_dim": 16, **GQA},
    "gemma": {"model_type": "gemma", "intermediate_size": 48, "head_dim": 16, "num_key_value_heads": 1},
    "gemma2": {"model_type": "gemma2", "intermediate_size": 48, "head_dim": 16, "sliding_window": 8, **GQA},
    "gemma3": {"model_type": "gemma3_text", "intermediate_size": 48, "head_dim": 16, "sliding_window": 8, **GQA},
    "mistral": {"model_type": "mistral", "intermediate_size": 48, "sliding_window": 8, **GQA},
    "smollm3": {
        "model_type": "smollm3",
        "intermediate_size": 48,
        "no_rope_layers": [1, 1, 0, 1],
        "pad_token_id": 0,
        **GQA,
    },
    "internvl": {"model_type": "phi3", "intermediate_size": 48, "num_key_value_heads": 4, "pad_token_id": 0},
    "internvl-qwen2": {"model_type": "qwen2", "intermediate_size": 48, **GQA},
}


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens, after a few special ones: any text goes in and comes back out, character by character."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {x: i for i, x in enumerate(["<pad>", "<s>", "</s>", "<image>", *alphabet])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=None))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["<image>"],
        extra_special_tokens={"image_token": "<image>"},
    )


def processor() -> LlavaProcessor:
    images = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer(),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )


def network(family: str = "llama", seed: int = 0, dtype=torch.float32, attention: str = "sdpa", layers: int = 4):
    """A random network whose weights are large enough that every head and neuron matters."""
    text = {**SHARED, **FAMILIES[family], "vocab_size": 260, "bos_token_id": 1, "eos_token_id": 2}
    text["num_hidden_layers"] = layers
    torch.manual_seed(seed)
    if family.startswith("internvl"):
        vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
        vision |= {"image_size": [28, 28], "patch_size": [7, 7], "use_mean_pooling": True}
        config = InternVLConfig(
            text_config=text, vision_config=vision, image_token_id=3, downsample_ratio=0.5, tie_word_embeddings=False
        )
        made = InternVLForConditionalGeneration(config)
    else:
        vision = {"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 24}
        vision |= {"num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
        config = LlavaConfig(text_config=text, vision_config=vision, image_token_index=3, image_seq_length=IMAGE_TOKENS)
        config.tie_word_embeddings = False
        made = LlavaForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in made.named_parameters():
        scale = 0.3 if parameter.dim() > 1 else 0.1
        noise = torch.randn(parameter.shape, generator=generator) * scale
        parameter.data = (
            noise + 1 if name.endswith("norm.weight") or "layernorm" in name and name.endswith("weight") else noise
        )
    made = made.to(dtype).eval()
    if attention != "sdpa" or made.get_decoder()._supports_sdpa:  # Gemma 2 knows eager attention only
        made.set_attn_implementation(attention)
    return made


def model(family: str = "llama", **options) -> LVLM:
    return LVLM(network(family, **options), processor(), f"tiny-{family}")


def picture(seed: int = 0, size=(40, 30)) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def samples(n: int = 3) -> list[Sample]:
    """Different lengths; the last one without an image."""
    found = []
    for i in range(n):
        words = [WORDS[(i * 7 + j) % len(WORDS)] for j in range(3 + 2 * i)]
        image = None if i == n - 1 and n > 1 else picture(i)
        found.append(Sample(f"s{i}", image, (Turn(" ".join(words), WORDS[-1 - i]),), "test"))
    return found


def inputs(seed: int = 0, dtype=torch.float32) -> dict:
    """Two left-padded prompts of different length, each with one image, for any tiny network."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, 260, (2, 18), generator=generator)
    mask = torch.ones_like(ids)
    ids[:, 6 : 6 + IMAGE_TOKENS] = 3
    ids[0, :5], mask[0, :5] = 0, 0
    pixels = torch.randn(2, 3, 28, 28, generator=generator).to(dtype)
    return {"input_ids": ids, "attention_mask": mask, "pixel_values": pixels}


def scores(model_: LVLM, seed: int = 0) -> "object":
    """Random scores of a model: plans need nothing better."""
    import numpy as np

    from pruning import Importance, Scores, Workload

    random = np.random.default_rng(seed)
    layers = model_.anatomy.layers
    found = Importance(tuple(random.random(x.groups) for x in layers), tuple(random.random(x.neurons) for x in layers))
    influence = random.random(len(layers))
    return Scores(
        model=model_.name,
        digest=model_.digest(),
        anatomy=model_.anatomy,
        workload=Workload(64, 4, 1000),
        block_influence=influence,
        block_influence_image=influence,
        block_influence_text=influence,
        importance={"taylor": found},
    )


def masked(network_, plan):
    """A real copy, of the same shape, in which what the plan removes contributes nothing: the reference."""
    import copy

    network_ = copy.deepcopy(network_)
    from lvlm.anatomy import anatomy_of

    layers = anatomy_of(network_).layers
    for index, (module, layer) in enumerate(zip(network_.get_decoder().layers, layers)):
        for cut in layer.cuts:
            linear = module.get_submodule(cut.path)
            if cut.dim != 1:
                continue
            kept = plan.heads[index] if cut.kind == "heads" else plan.neurons[index]
            gone = sorted(set(range(cut.units)) - set(kept.tolist()))
            for unit in gone:
                linear.weight.data[:, cut.start + unit * cut.width : cut.start + (unit + 1) * cut.width] = 0
            if index not in plan.layers and linear.bias is not None:
                linear.bias.data.zero_()
    return network_
