"""The three pocket models as data: stock config, processor, prompt marks, pixel numbers, where the training starts.

Each is built as `lvlm/originals` builds its namesake from the authors' checkpoints, with small numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GotOcr2ImageProcessorPil,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaImageProcessorPil,
    LlavaProcessor,
    Phi3Config,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    SiglipVisionConfig,
)
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    IMAGENET_STANDARD_MEAN,
    IMAGENET_STANDARD_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)

from lvlm.originals.processors import InternVLProcessor
from scripts.pocket.pixels import pixels
from scripts.pocket.sizes import CONTEXT, HEADS, IMAGE_SIZE, LAYERS, NEURONS, PATCH, PATCHES, TOWER_LAYERS, WIDTH
from scripts.pocket.tokenizer import CHAT_TEMPLATE, IMAGE, IMAGE_END, IMAGE_START
from scripts.pocket.warm import Warmth, bunny_from_llava, internvl_from_llava

SQUARE = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}


@dataclass(frozen=True)
class Recipe:
    """One pocket model. `around`: the tokens before and after the image; `warm`: takes over pocket-llava's weights."""

    name: str
    network: type[PreTrainedModel]
    config: Callable[[PreTrainedTokenizerFast], PreTrainedConfig]
    processor: Callable[[PreTrainedTokenizerFast], ProcessorMixin]
    mean: list[float]
    std: list[float]
    around: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    stages: tuple[str, ...] = ("decoder", "tower", "together")
    warm: Warmth | None = None
    mimics: bool = False  # the tower's aim: pocket-llava's own features, which a decoder taken over from it knows
    extra_tokens: dict[str, str] = field(default_factory=dict)  # special tokens that the other models have not

    def pixels(self, image: Image.Image) -> torch.Tensor:
        """(3, IMAGE_SIZE, IMAGE_SIZE): what the model's processor makes of a square image."""
        return pixels(image, self.mean, self.std)

    def as_llava_sees(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, IMAGE_SIZE, IMAGE_SIZE) this model's pixels in pocket-llava's scale."""
        mean, std, to, by = (
            torch.tensor(numbers).view(3, 1, 1) for numbers in (self.mean, self.std, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)
        )
        return (images * std + mean - to) / by


def _special(tokenizer) -> dict:
    return {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}


def _decoder(tokenizer) -> dict:
    """What all three decoders have in common."""
    return {
        "vocab_size": vocabulary(tokenizer), "hidden_size": WIDTH, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "max_position_embeddings": CONTEXT, "tie_word_embeddings": True,
        **_special(tokenizer),
    }  # fmt: skip


def vocabulary(tokenizer) -> int:
    """Rows of the embedding: the tokens, rounded up."""
    return -(-len(tokenizer) // 64) * 64


def _tower() -> dict:
    """What all three towers have in common."""
    return {
        "hidden_size": WIDTH, "intermediate_size": NEURONS, "num_hidden_layers": TOWER_LAYERS,
        "num_attention_heads": HEADS, "image_size": IMAGE_SIZE,
    }  # fmt: skip


def _joined(tokenizer, text: PreTrainedConfig, vision: PreTrainedConfig, strategy: str) -> LlavaConfig:
    return LlavaConfig(
        vision_config=vision, text_config=text, image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=PATCHES, vision_feature_layer=-1, vision_feature_select_strategy=strategy,
        tie_word_embeddings=True, **_special(tokenizer),
    )  # fmt: skip


def _llava(tokenizer) -> LlavaConfig:
    text = LlamaConfig(intermediate_size=NEURONS, rms_norm_eps=1e-5, **_decoder(tokenizer))
    vision = CLIPVisionConfig(patch_size=PATCH, projection_dim=WIDTH, **_tower())
    return _joined(tokenizer, text, vision, "default")


def _llava_processor(tokenizer) -> LlavaProcessor:
    """CLIP's preprocessing by Pillow (pixels are then the same everywhere)."""
    images = CLIPImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=SQUARE, do_convert_rgb=True)
    return _llava_like(images, tokenizer, "default", extra=1)


def _llava_like(images, tokenizer, strategy: str, extra: int) -> LlavaProcessor:
    """extra: tokens that the tower makes beside the patches, its CLS token."""
    return LlavaProcessor(
        images, tokenizer, patch_size=PATCH, vision_feature_select_strategy=strategy, chat_template=CHAT_TEMPLATE,
        image_token=IMAGE, num_additional_image_tokens=extra,
    )  # fmt: skip


def _bunny(tokenizer) -> LlavaConfig:
    text = PhiConfig(intermediate_size=NEURONS * 3 // 2, partial_rotary_factor=0.5, **_decoder(tokenizer))
    vision = SiglipVisionConfig(patch_size=PATCH, vision_use_head=False, **_tower())
    return _joined(tokenizer, text, vision, "full")


def _bunny_processor(tokenizer) -> LlavaProcessor:
    """Bunny's: padded to a square with the mean colour."""
    images = LlavaImageProcessorPil(
        do_pad=True,
        do_center_crop=False,
        size=SQUARE,
        image_mean=IMAGENET_STANDARD_MEAN,
        image_std=IMAGENET_STANDARD_STD,
        do_convert_rgb=True,
    )
    return _llava_like(images, tokenizer, "full", extra=0)


def _internvl(tokenizer) -> InternVLConfig:
    text = Phi3Config(
        intermediate_size=NEURONS, rms_norm_eps=1e-5, original_max_position_embeddings=CONTEXT, **_decoder(tokenizer)
    )
    vision = InternVLVisionConfig(patch_size=PATCH // 2, attention_bias=True, **_tower())
    return InternVLConfig(
        vision_config=vision, text_config=text, image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=PATCHES, downsample_ratio=0.5, tie_word_embeddings=True, **_special(tokenizer),
    )  # fmt: skip


def _internvl_processor(tokenizer) -> InternVLProcessor:
    """One tile an image: 36 tokens are enough for a scene, and the context is short."""
    images = GotOcr2ImageProcessorPil(
        size=SQUARE,
        crop_to_patches=True,
        min_patches=1,
        max_patches=1,
        image_mean=IMAGENET_DEFAULT_MEAN,
        image_std=IMAGENET_DEFAULT_STD,
    )
    return InternVLProcessor(images, tokenizer, image_seq_length=PATCHES, chat_template=CHAT_TEMPLATE)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "pocket-llava", LlavaForConditionalGeneration, _llava, _llava_processor, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD,
        ),
        Recipe(
            "pocket-bunny", LlavaForConditionalGeneration, _bunny, _bunny_processor, IMAGENET_STANDARD_MEAN,
            IMAGENET_STANDARD_STD, warm=bunny_from_llava,
        ),
        Recipe(
            "pocket-internvl", InternVLForConditionalGeneration, _internvl, _internvl_processor,
            IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, around=((IMAGE_START,), (IMAGE_END,)),
            stages=("tower", "together"), warm=internvl_from_llava, mimics=True,
            extra_tokens={
                "start_image_token": IMAGE_START, "end_image_token": IMAGE_END, "context_image_token": IMAGE,
            },
        ),
    )
}  # fmt: skip
