"""Tiny random checkpoints of today's LVLMs: folders with the files that their hub repositories have."""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig, PreTrainedTokenizerFast

from tests.families import FAMILIES, Family


def make(name: str, folder: Path) -> Path:
    """Write a family's checkpoint; returns its folder."""
    family, folder = FAMILIES[name], folder / f"tiny-{name.replace('_', '-')}"
    tokenizer = _tokenizer(family)
    network = _network(family, tokenizer)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if family.flat:
        _flatten(folder / "config.json")
    files = {
        "preprocessor_config.json": {**family.image_processor, "processor_class": family.processor},
        "processor_config.json": family.settings,
        "video_preprocessor_config.json": family.video,
        "chat_template.json": family.template and {"chat_template": family.template},
    }
    for file, content in files.items():
        if content is not None:
            (folder / file).write_text(json.dumps(content, indent=1))
    return folder


def _flatten(path: Path) -> None:
    config = json.loads(path.read_text())
    text = config.pop("text_config")
    rotary = text.pop("rope_parameters")
    text |= {"rope_theta": rotary["rope_theta"]}
    text |= {"rope_scaling": {"type": "mrope", "mrope_section": rotary["mrope_section"]}}
    path.write_text(json.dumps({**text, **config}))


def _tokenizer(family: Family) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<pad>", *([family.bos] if family.bos else []), family.end, *family.tokens]
    core = Tokenizer(models.BPE(vocab={x: i for i, x in enumerate([*special, *family.words, *alphabet])}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_tokens([AddedToken(x, normalized=False) for x in family.words])
    core.add_special_tokens([AddedToken(x, special=True, normalized=False) for x in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=family.bos,
        eos_token=family.end,
        pad_token="<pad>",
        extra_special_tokens=family.named,
    )


def _network(family: Family, tokenizer):
    """Weights large enough that every head and neuron matters."""

    def resolved(value):
        if isinstance(value, dict):
            return {k: resolved(v) for k, v in value.items()}
        if isinstance(value, list):
            return [resolved(x) for x in value]
        if isinstance(value, str) and value.startswith("@"):
            return tokenizer.convert_tokens_to_ids(value[1:])
        return value

    described = resolved(family.config)
    described["text_config"] |= {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = AutoConfig.for_model(described.pop("model_type"), **described)
    torch.manual_seed(0)
    network = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)](config).eval()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator) * (0.3 if parameter.dim() > 1 else 0.1)
        parameter.data = noise + (name.endswith("norm.weight") and "gemma" not in type(network).__name__.lower())
    network.get_input_embeddings().weight.data *= 0.2  # so that an answer is more than its question's last letter again
    ends = described.get("eos_token_id", tokenizer.eos_token_id)
    for embedding in (network.get_input_embeddings(), network.get_output_embeddings()):
        embedding.weight.data[ends] = 0  # never said: the answers go on as long as they may
    network.generation_config.eos_token_id = ends
    network.generation_config.pad_token_id = tokenizer.pad_token_id
    return network
