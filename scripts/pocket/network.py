"""The pocket LVLMs before training: stock transformers classes with small numbers, embeddings that know a little."""

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from samples.questions import CATEGORIES
from samples.sprites import kinds
from scripts.pocket.recipes import Recipe, vocabulary
from scripts.pocket.sizes import SCALE, WIDTH
from scripts.pocket.warm import teacher

INTO_STREAM = ("o_proj", "down_proj", "self_attn.dense", "fc2")  # what a decoder layer adds to its residual stream


def build_network(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> PreTrainedModel:
    """An untrained pocket model (about 8 M parameters), but for what its recipe takes over from pocket-llava."""
    torch.manual_seed(seed)
    network = recipe.network(recipe.config(tokenizer))
    network.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, do_sample=False, max_new_tokens=64,
    )  # fmt: skip
    with torch.no_grad():
        for name, weight in network.model.language_model.named_parameters():
            if weight.dim() == 2 and "embed" not in name:
                weight.normal_(0, weight.shape[1] ** -0.5 * (0.3 if any(x in name for x in INTO_STREAM) else 1.0))
        embeddings = _word_embeddings(tokenizer, vocabulary(tokenizer), seed)
        network.model.language_model.embed_tokens.weight.copy_(embeddings)
    if recipe.warm:
        recipe.warm(network, teacher())
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
