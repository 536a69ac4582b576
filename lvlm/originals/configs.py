"""What an original config.json, and the shapes of its tensors, mean as a stock config. Reads no weights.

Widths and depths are counted on the tensors; the config is asked only for what no shape tells (heads, norms' epsilon).
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import BrokenCheckpoint, NotAnLVLM

TEXT = "model.language_model."
VISION = "model.vision_tower."
MOST_PIXELS, MOST_TILES = 4096, 64  # of a tile's side, of an image: beyond, a config is broken or hostile
KEPT = (  # entries of a text config that mean in the stock class what they meant in the authors'
    "num_attention_heads",
    "max_position_embeddings",
    "hidden_act",
    "rms_norm_eps",
    "layer_norm_eps",
    "rope_theta",
    "rope_scaling",
    "partial_rotary_factor",
    "original_max_position_embeddings",
    "sliding_window",
    "bos_token_id",
    "eos_token_id",
)
# Vision towers that real checkpoints name and do not carry a config of.
TOWERS = {
    "clip-vit-large-patch14-336": {
        "hub": "openai/clip-vit-large-patch14-336",
        "config": {"num_attention_heads": 16, "num_hidden_layers": 24, "image_size": 336, "hidden_act": "quick_gelu"},
    },
    "clip-vit-large-patch14": {
        "hub": "openai/clip-vit-large-patch14",
        "config": {"num_attention_heads": 16, "num_hidden_layers": 24, "image_size": 224, "hidden_act": "quick_gelu"},
    },
    "siglip-so400m-patch14-384": {
        "hub": "google/siglip-so400m-patch14-384",
        "config": {"num_attention_heads": 16, "num_hidden_layers": 27, "image_size": 384},
    },
}


@dataclass(frozen=True)
class Source:
    """All that a stock config is made from."""

    folder: str  # its name, for messages
    raw: dict  # config.json
    shapes: dict[str, tuple[int, ...]]  # of all tensors, by the names that the stock class gives them
    tower: dict = field(default_factory=dict)  # config of the vision tower named by config.json, where it has one
    image_token: int = 0
    vocabulary: int = 0  # tokens that the tokenizer knows, the image token among them

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self.shapes:
            raise BrokenCheckpoint(
                f"The weights of {self.folder} lack what becomes {name}: please download all of its files again."
            )
        return self.shapes[name]

    def layers(self, prefix: str) -> int:
        """How many layers there are tensors of; a gap would be a missing tensor and is counted as one."""
        pattern = re.compile(re.escape(prefix) + r"(\d+)\..+")
        found = {int(x[1]) for x in map(pattern.fullmatch, self.shapes) if x}
        if found != set(range(len(found))):
            raise BrokenCheckpoint(f"The weights of {self.folder} lack layers among {prefix}*: download all files.")
        if not found:
            raise BrokenCheckpoint(f"The weights of {self.folder} lack all of {prefix}*: download all files.")
        return len(found)


def check_understood(source: Source, understood: dict[str, tuple]) -> None:
    """Refuse variants that the stock class would compute differently, rather than load them wrong."""
    for path, allowed in understood.items():
        value = source.raw
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value not in allowed:
            names = ", ".join(repr(x) for x in allowed if x is not None)
            raise NotAnLVLM(
                f"{source.folder}/config.json has {path} = {value!r}, which no stock transformers class computes "
                f"(understood: {names}). Please use a version converted to stock transformers classes."
            )


def text_config(source: Source, raw: dict, kind: str) -> dict:
    """Of a Llama, Phi or Phi-3 decoder."""
    first = TEXT + "layers.0."
    rows, hidden = source.shape(TEXT + "embed_tokens.weight")
    heads = _positive(source, raw, "num_attention_heads")
    if hidden % heads:
        raise BrokenCheckpoint(f"{source.folder}/config.json has {heads} heads, which do not divide {hidden}.")
    found = {key: raw[key] for key in KEPT if raw.get(key) is not None}
    fraction = raw.get("partial_rotary_factor", 1.0)
    if not isinstance(fraction, int | float) or not 0 < fraction <= 1:
        raise BrokenCheckpoint(
            f"{source.folder}/config.json has a partial_rotary_factor of {fraction!r}, not in (0, 1]."
        )
    if kind == "phi3":
        kv_rows = (source.shape(first + "self_attn.qkv_proj.weight")[0] - hidden) // 2
        neurons = source.shape(first + "mlp.gate_up_proj.weight")[0] // 2
        found |= _phi3_rotary(found)
    else:
        kv_rows = source.shape(first + "self_attn.k_proj.weight")[0]
        neurons = source.shape(first + ("mlp.fc1.weight" if kind == "phi" else "mlp.gate_proj.weight"))[0]
    if kind == "llama":
        found["attention_bias"] = first + "self_attn.q_proj.bias" in source.shapes
        found["mlp_bias"] = first + "mlp.gate_proj.bias" in source.shapes
    if kind == "phi":
        found["qk_layernorm"] = first + "self_attn.q_layernorm.weight" in source.shapes
    pad = raw.get("pad_token_id")
    return {
        "model_type": kind,
        **found,
        "vocab_size": max(rows, source.vocabulary),
        "hidden_size": hidden,
        "intermediate_size": neurons,
        "num_hidden_layers": source.layers(TEXT + "layers."),
        "num_key_value_heads": kv_rows * heads // hidden,
        "pad_token_id": pad if isinstance(pad, int) and 0 <= pad < rows else None,
        "tie_word_embeddings": False,
    }


def _positive(source: Source, raw: dict, key: str, most: int = 1 << 31) -> int:
    value = raw.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise BrokenCheckpoint(
            f"{source.folder}/config.json has {key} = {value!r}, not a whole number from 1 to {most}: "
            "please download it again."
        )
    return value


def _phi3_rotary(found: dict) -> dict:
    """Phi3Config stumbles over the old name ("su"), and wants the original context inside."""
    scaling = found.pop("rope_scaling", None)
    if not scaling:
        return {}
    original = found.get("original_max_position_embeddings", found.get("max_position_embeddings"))
    return {
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": found.pop("rope_theta", 10000.0),
            "short_factor": scaling["short_factor"],
            "long_factor": scaling["long_factor"],
            "original_max_position_embeddings": original,
        }
    }


def llava(kind: str) -> Callable[[Source], dict]:
    """LLaVA's way of joining a tower and a decoder, as a LlavaConfig."""

    def config(source: Source) -> dict:
        vision, depth = tower_config(source)
        with_cls = vision["model_type"] == "clip_vision_model"
        drop_cls = with_cls and source.raw.get("mm_vision_select_feature") != "cls_patch"
        side = vision["image_size"] // vision["patch_size"]
        return {
            "model_type": "llava",
            "text_config": text_config(source, source.raw, kind),
            "vision_config": vision,
            "image_token_index": source.image_token,
            "image_seq_length": side * side + (with_cls and not drop_cls),
            "vision_feature_layer": _feature_layer(
                source, source.raw.get("mm_vision_select_layer", -2), depth, vision["num_hidden_layers"]
            ),
            "vision_feature_select_strategy": "default" if drop_cls else "full",
            "projector_hidden_act": "gelu",
            "multimodal_projector_bias": "model.multi_modal_projector.linear_1.bias" in source.shapes,
            "tie_word_embeddings": False,
        }

    return config


def _feature_layer(source: Source, selected: int, depth: int, present: int) -> int:
    """Which layer's output is read, counted from the end of the layers that are present.

    Bunny's file may lack the last of SigLIP's 27 layers, whose output nobody reads.
    """
    if not isinstance(selected, int) or not -depth - 1 <= selected <= depth:
        raise BrokenCheckpoint(f"{source.folder}/config.json reads vision layer {selected!r} of {depth}.")
    absolute = selected if selected >= 0 else depth + 1 + selected
    if absolute > present:
        raise BrokenCheckpoint(
            f"The weights of {source.folder} hold {present} vision layers, and its features are read after layer "
            f"{absolute}: please download all of its files."
        )
    return absolute - (present + 1)


def tower_config(source: Source) -> tuple[dict, int]:
    """Of a CLIP or SigLIP tower, as far as it is in the file; and how many layers the whole one has."""
    patch_shape = source.shape(VISION + "embeddings.patch_embedding.weight")
    positions = source.shape(VISION + "embeddings.position_embedding.weight")[0]
    clip = VISION + "embeddings.class_embedding" in source.shapes
    present = source.layers(VISION + "encoder.layers.")
    depth = _positive(source, {"num_hidden_layers": present, **source.tower}, "num_hidden_layers")
    defaults = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
    if not clip:
        defaults = {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "vision_use_head": False}
    found = {
        "model_type": "clip_vision_model" if clip else "siglip_vision_model",
        **defaults,
        **{key: source.tower[key] for key in ("hidden_act", "layer_norm_eps") if key in source.tower},
        "num_attention_heads": _positive(source, source.tower, "num_attention_heads"),
        "hidden_size": patch_shape[0],
        "num_channels": patch_shape[1],
        "patch_size": patch_shape[2],
        "num_hidden_layers": present,
        "intermediate_size": source.shape(VISION + "encoder.layers.0.mlp.fc1.weight")[0],
        "image_size": _image_size(positions - clip, patch_shape[2], source.tower.get("image_size")),
    }
    return found, depth


def _image_size(patches: int, patch: int, said: int | None) -> int:
    """384 pixels make 27 patches of 14 a side: the file knows the 27, and only a config can know the 384."""
    side = math.isqrt(patches)
    return said if isinstance(said, int) and said // patch == side else side * patch


def internvl(source: Source) -> dict:
    """InternViT, pixel shuffle (v2) and Phi-3, as an InternVLConfig."""
    raw = source.raw
    vision = _internvit_config(source, raw["vision_config"])
    pixels, patch = internvl_pixels(source), vision["patch_size"][0]
    ratio, depth = raw.get("downsample_ratio", 0.5), vision["num_hidden_layers"]
    if not isinstance(ratio, float) or not 0 < ratio <= 1:
        raise BrokenCheckpoint(f"{source.folder}/config.json has downsample_ratio = {ratio!r}, not in (0, 1].")
    return {
        "model_type": "internvl",
        "text_config": text_config(source, raw["llm_config"], "phi3"),
        "vision_config": vision,
        "image_token_id": source.image_token,
        "image_seq_length": int((pixels // patch) ** 2 * ratio**2),
        "downsample_ratio": ratio,
        "vision_feature_layer": _feature_layer(source, raw.get("select_layer", -1), depth, depth),
        "vision_feature_select_strategy": "default",
        "projector_hidden_act": "gelu",
        "tie_word_embeddings": False,
    }


def internvl_pixels(source: Source) -> int:
    """Of a tile's side."""
    size = source.raw.get("force_image_size") or source.raw["vision_config"].get("image_size")
    return _positive(source, {"force_image_size": size}, "force_image_size", MOST_PIXELS)


def internvl_tiles(source: Source) -> tuple[int, int]:
    """The fewest and the most tiles of one image, thumbnail apart."""
    if not source.raw.get("dynamic_image_size", True):
        return 1, 1
    settings = {"min_dynamic_patch": 1, "max_dynamic_patch": 12, **source.raw}
    most = _positive(source, settings, "max_dynamic_patch", MOST_TILES)
    return _positive(source, settings, "min_dynamic_patch", most), most


def _internvit_config(source: Source, raw: dict) -> dict:
    layer = VISION + "encoder.layer.0."
    hidden, channels, patch, _ = source.shape(VISION + "embeddings.patch_embeddings.projection.weight")
    side = math.isqrt(source.shape(VISION + "embeddings.position_embeddings")[1] - 1)
    qk_norm = layer + "attention.q_norm.weight" in source.shapes
    epsilon = raw.get("layer_norm_eps", 1e-6)
    if qk_norm and epsilon != 1e-6:
        raise NotAnLVLM(
            f"{source.folder} normalises queries and keys with epsilon {epsilon!r}, which no stock transformers class "
            "computes (understood: 1e-06). Please use a version converted to stock transformers classes."
        )
    return {
        "model_type": "internvl_vision",
        "num_attention_heads": _positive(source, raw, "num_attention_heads"),
        "hidden_act": raw.get("hidden_act", "gelu"),
        "layer_norm_eps": epsilon,
        "hidden_size": hidden,
        "num_channels": channels,
        "patch_size": [patch, patch],
        "image_size": [side * patch, side * patch],
        "num_hidden_layers": source.layers(VISION + "encoder.layer."),
        "intermediate_size": source.shape(layer + "mlp.fc1.weight")[0],
        "attention_bias": layer + "attention.q_proj.bias" in source.shapes,
        "norm_type": "layer_norm" if layer + "layernorm_before.bias" in source.shapes else "rms_norm",
        "use_qk_norm": qk_norm,
        "use_mean_pooling": True,  # with False the stock class adds a norm that InternViT has not
    }
