"""The pocket LVLMs before training: stock transformers classes with small numbers, embeddings that know a little."""

import torch
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from samples.questions import CATEGORIES
from samples.sprites import kinds
from scripts.pocket.tokenizer import CHAT_TEMPLATE, IMAGE

WIDTH, IMAGE_SIZE, PATCH = 192, 96, 16
PATCHES = (IMAGE_SIZE // PATCH) ** 2  # image tokens
SCALE = 0.07  # standard deviation of a word embedding: its norm is then about one


def build_network(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> LlavaForConditionalGeneration:
    """An untrained pocket-llava (about 8 M parameters): CLIP tower, two-layer GELU projector, Llama decoder."""
    torch.manual_seed(seed)
    vocabulary = -(-len(tokenizer) // 64) * 64
    text = LlamaConfig(
        vocab_size=vocabulary, hidden_size=WIDTH, intermediate_size=512, num_hidden_layers=12, num_attention_heads=6,
        max_position_embeddings=1024, rms_norm_eps=1e-5, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, tie_word_embeddings=True,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=512, num_hidden_layers=6, num_attention_heads=6, image_size=IMAGE_SIZE,
        patch_size=PATCH, projection_dim=WIDTH,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=PATCHES, vision_feature_layer=-1, vision_feature_select_strategy="default",
        tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )  # fmt: skip
    network = LlavaForConditionalGeneration(config)
    network.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, do_sample=False, max_new_tokens=64,
    )  # fmt: skip
    with torch.no_grad():
        for name, weight in network.model.language_model.named_parameters():
            if weight.dim() == 2 and "embed" not in name:
                weight.normal_(0, weight.shape[1] ** -0.5 * (0.3 if "o_proj" in name or "down_proj" in name else 1.0))
        network.model.language_model.embed_tokens.weight.copy_(_word_embeddings(tokenizer, vocabulary, seed))
    return network


def _word_embeddings(tokenizer: PreTrainedTokenizerFast, vocabulary: int, seed: int) -> torch.Tensor:
    """(vocabulary, WIDTH) random vectors, in which a kind lies a little nearer to its category and its plural to it."""
    draw = torch.Generator().manual_seed(seed + 1)
    table = torch.randn(vocabulary, WIDTH, generator=draw)
    word = lambda text: tokenizer(text, add_special_tokens=False).input_ids[0]  # noqa: E731
    many = torch.randn(WIDTH, generator=draw)
    for category, plural in CATEGORIES.items():
        table[word(plural)] = 0.75 * table[word(category)] + 0.35 * many + 0.5 * table[word(plural)]
    for kind in kinds():
        if kind.category in CATEGORIES:
            table[word(kind.name)] = 0.9 * table[word(kind.name)] + 0.4 * table[word(kind.category)]
        if kind.plural != kind.name:
            table[word(kind.plural)] = 0.75 * table[word(kind.name)] + 0.35 * many + 0.5 * table[word(kind.plural)]
    return table / table.norm(dim=1, keepdim=True) * WIDTH**0.5 * SCALE


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """CLIP's preprocessing by Pillow (pixels are then the same everywhere) and the tokenizer, as one processor."""
    images = CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}, do_convert_rgb=True
    )
    return LlavaProcessor(
        images, tokenizer, patch_size=PATCH, vision_feature_select_strategy="default", chat_template=CHAT_TEMPLATE,
        image_token=IMAGE, num_additional_image_tokens=1,
    )  # fmt: skip
