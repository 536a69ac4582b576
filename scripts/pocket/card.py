"""The pocket models' cards: one page for all (card.md), filled from the network, the recipe and stories/<model>.md."""

import json
import re
from pathlib import Path
from string import Template

from transformers import PreTrainedModel

from scripts.pocket.recipes import Recipe
from scripts.pocket.tokenizer import BOS, IMAGE, USER

PAGE = Path(__file__).with_name("card.md")
STORIES = Path(__file__).with_name("stories")
POINTS = 12  # of a curve that the card shows
KINDS = {  # model_type: what a reader should know that the sizes do not say
    "clip_vision_model": "CLIP-type",
    "siglip_vision_model": "SigLIP-type, without a CLS token",
    "internvl_vision": "InternViT-type",
    "llama": "Llama-type",
    "phi": "Phi-type (attention beside a plain GELU MLP, biases, half of each head rotary)",
    "phi3": "Phi-3-type (q, k, v and gate, up fused)",
}
STAGES = {
    "decoder": (
        "**decoder** alone, on symbolic images: in place of each patch's feature, the word embedding of what is there "
        "plus a place vector and noise. Drills\n   (word → how many, word → where, place → what) first, questions "
        "after. Word embeddings start with a kind near its category and its plural."
    ),
    "tower": "**tower** and projector$beside: each patch's projected feature becomes $aim.",
    "together": (
        "**together** on drawn scenes, easy-VQA and text, with a tenth to a quarter of drills and the patch loss at "
        "0.2 kept in. About twenty turns share one pass over an\n   image; each attends to the image and itself only, "
        "at the positions it would have alone."
    ),
}


def vision_line(network: PreTrainedModel) -> str:
    vision = network.config.vision_config
    first = lambda size: size[0] if isinstance(size, list | tuple) else size  # noqa: E731
    image, patch = first(vision.image_size), first(vision.patch_size)
    tokens = network.config.image_seq_length
    made = f"{tokens} image tokens"
    if tokens < (image // patch) ** 2:
        made = f"pixel shuffle makes {made} of {(image // patch) ** 2}"
    return (
        f"{KINDS[vision.model_type]}: {image}×{image} pixels, {patch}×{patch} patches ({made}), "
        f"{vision.num_hidden_layers} layers × {vision.hidden_size}, {vision.num_attention_heads} heads"
    )


def projector_line(network: PreTrainedModel) -> str:
    linear = network.model.multi_modal_projector.linear_1
    return f"two linear layers with GELU, {linear.in_features} → {linear.out_features}"


def decoder_line(network: PreTrainedModel) -> str:
    text = network.config.text_config
    return (
        f"{KINDS[text.model_type]}: {text.num_hidden_layers} layers × {text.hidden_size}, {text.num_attention_heads} "
        f"heads of {text.hidden_size // text.num_attention_heads}, {text.intermediate_size} intermediate neurons, "
        "tied embeddings"
    )


def prompt_line(recipe: Recipe, network: PreTrainedModel) -> str:
    before, after = ("".join(marks) for marks in recipe.around)
    return f"`{BOS}{USER}{before}{IMAGE}` × {network.config.image_seq_length}" + (f", `{after}`" if after else "")


def stage_list(recipe: Recipe) -> str:
    beside = ", at the same time on the other core" if recipe.warm is None else ""
    aim = "the decoder's word embedding of what is there"
    if recipe.mimics:
        aim += ", and lies where pocket-llava's own feature of that patch does"
    texts = (Template(STAGES[stage]).substitute(beside=beside, aim=aim) for stage in recipe.stages)
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, start=1))


def curve_table(path: Path) -> str:
    """Some points of a training curve, as a table under its stage's name."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [rows[i] for i in sorted({*range(0, len(rows), max(1, len(rows) // POINTS)), len(rows) - 1})]
    keys = [key for key in rows[0] if key not in ("seconds", "distance")]
    lines = [f"**{path.stem}**", "", "| minutes | " + " | ".join(keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for row in rows:
        cells = [f"{row[key]:,}" if key == "step" else f"{row.get(key, float('nan')):.3f}" for key in keys]
        lines.append(f"| {row['seconds'] / 60:.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def card(recipe: Recipe, network: PreTrainedModel, tokens: int, curves: Path) -> str:
    """The page with the curves of a folder; its score tables are filled by benchmarks.zero_shot."""
    page = Template(PAGE.read_text(encoding="utf-8")).substitute(
        name=recipe.name,
        network=type(network).__name__,
        parameters=f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f}",
        start="from scratch" if recipe.warm is None else "from parts of pocket-llava",
        vision=vision_line(network),
        projector=projector_line(network),
        decoder=decoder_line(network),
        tokens=f"{tokens:,}",
        image=prompt_line(recipe, network),
        stages=stage_list(recipe),
        story=(STORIES / f"{recipe.name}.md").read_text(encoding="utf-8"),
    )
    tables = "\n".join(curve_table(curves / f"{stage}.jsonl") for stage in recipe.stages)
    return re.sub(r"(<!-- curves -->\n)(<!-- /curves -->)", lambda found: found[1] + tables + found[2], page)
