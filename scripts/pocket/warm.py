"""What the other pocket models take over from pocket-llava's trained weights, so that they need less training."""

import random
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlavaForConditionalGeneration, PreTrainedModel
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    IMAGENET_STANDARD_MEAN,
    IMAGENET_STANDARD_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)

from samples.scenes import draw, make_scene
from scripts.pocket.pixels import pixels
from scripts.pocket.sizes import PATCH, SIDE

TEACHER = Path(__file__).resolve().parents[2] / "assets/models/pocket-llava"
FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
INTERNVIT_NAMES = {  # InternViT's → CLIP's, within a layer
    "attention.projection_layer": "self_attn.out_proj", "attention.": "self_attn.", "layernorm_before": "layer_norm1",
    "layernorm_after": "layer_norm2",
}  # fmt: skip
Warmth = Callable[[PreTrainedModel, LlavaForConditionalGeneration], None]


def teacher() -> LlavaForConditionalGeneration:
    """The shipped pocket-llava in fp32."""
    return LlavaForConditionalGeneration.from_pretrained(TEACHER, dtype=torch.float32).eval()


@torch.no_grad()
def bunny_from_llava(network: PreTrainedModel, llava: LlavaForConditionalGeneration) -> None:
    """Word embeddings, projector, and CLIP's layers as the start of a SigLIP tower; the Phi decoder stays as drawn."""
    ours, theirs = network.model, llava.model
    ours.language_model.embed_tokens.weight.copy_(theirs.language_model.embed_tokens.weight)
    ours.multi_modal_projector.load_state_dict(theirs.multi_modal_projector.state_dict())
    ours.vision_tower.encoder.load_state_dict(theirs.vision_tower.encoder.state_dict())
    weight, bias, places = patches_without_norm(theirs.vision_tower, IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD)
    embeddings = ours.vision_tower.embeddings
    embeddings.patch_embedding.weight.copy_(weight)
    embeddings.patch_embedding.bias.copy_(bias)
    embeddings.position_embedding.weight.copy_(places)


def patches_without_norm(clip, mean: list[float], std: list[float]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Patch weights, their bias and place embeddings that do nearly what a CLIP tower's do with its first norm.

    mean, std: of the pixels that they are for, which goes into the weights exactly. Of the norm, the division by each
    patch's own deviation becomes one by the mean deviation over drawn scenes.
    """
    clip_mean, clip_std, mean, std = map(torch.tensor, (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, mean, std))
    scenes = [draw(make_scene(random.Random(seed))) for seed in range(32)]
    shown = torch.stack([pixels(scene, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD) for scene in scenes])
    norm, weight = clip.pre_layrnorm, clip.embeddings.patch_embedding.weight
    places = clip.embeddings.position_embedding.weight[1:]
    scale = norm.weight / clip.embeddings(shown)[:, 1:].std(-1, correction=0).mean()
    bias = (weight.sum((2, 3)) * ((mean - clip_mean) / clip_std)).sum(1)
    weight = weight * (std / clip_std)[None, :, None, None]
    return (
        (weight - weight.mean(0)) * scale[:, None, None, None],
        (bias - bias.mean()) * scale + norm.bias,
        (places - places.mean(1, keepdim=True)) * scale,
    )


@torch.no_grad()
def internvl_from_llava(network: PreTrainedModel, llava: LlavaForConditionalGeneration) -> None:
    """The decoder exactly, and the tower's layers as the start of one that sees four times as many patches.

    Phi-3 computes what Llama does, with q, k, v and gate, up as one matrix each; the two tokens that pocket-llava has
    not are among its embedding's spare rows. Each patch is a quarter of CLIP's: its weights are those of the patch
    seen at half the size, its place is the whole patch's, and the projector takes the mean of the four.
    """
    theirs, found = llava.model.language_model.state_dict(), {}
    for name in network.model.language_model.state_dict():
        fused = next((fused for fused in FUSED if fused in name), None)
        parts = [name.replace(fused, part) for part in FUSED[fused]] if fused else [name]
        found[name] = torch.cat([theirs[part] for part in parts])
    network.model.language_model.load_state_dict(found)
    clip, tower = llava.model.vision_tower, network.model.vision_tower
    _internvit_embeddings(tower.embeddings, clip)
    for layer, old in zip(tower.encoder.layer, clip.encoder.layers, strict=True):
        taken = old.state_dict()
        for name, weight in layer.named_parameters():
            for new, was in INTERNVIT_NAMES.items():
                name = name.replace(new, was)
            weight.copy_(taken.get(name, torch.ones(())))  # layer scales, which CLIP has not: 1
    projector, old = network.model.multi_modal_projector, llava.model.multi_modal_projector
    projector.layer_norm.weight.fill_(1.0)
    projector.linear_1.weight.copy_(old.linear_1.weight.repeat(1, 4) / 4)
    projector.linear_1.bias.copy_(old.linear_1.bias)
    projector.linear_2.load_state_dict(old.linear_2.state_dict())


def _internvit_embeddings(embeddings, clip) -> None:
    weight, bias, places = patches_without_norm(clip, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    half = PATCH // 2
    patch = embeddings.patch_embeddings.projection
    patch.weight.copy_(weight.reshape(*weight.shape[:2], half, 2, half, 2).sum((3, 5)))
    patch.bias.copy_(bias)
    places = places.reshape(SIDE, SIDE, -1).repeat_interleave(2, 0).repeat_interleave(2, 1).flatten(0, 1)
    embeddings.position_embeddings.zero_()[0, 1:].copy_(places)
    old = clip.embeddings
    embeddings.cls_token.copy_(clip.pre_layrnorm(old.class_embedding + old.position_embedding.weight[0]))
