"""The layouts, as data: how each is recognised, what its tensors are called in the stock class, and how it talks.

A rule's pattern is matched against a tensor's whole name in the file, first rule first. Names on the right are those
that the stock class has in memory (transformers 5).
"""

from collections.abc import Callable
from dataclasses import dataclass

from . import configs

TOWER = "model.vision_tower.vision_tower.vision_model."  # what LLaVA's and Bunny's files put before vision tensors
EMBEDDING, HEAD = "model.language_model.embed_tokens.weight", "lm_head.weight"
LLAVA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


@dataclass(frozen=True)
class Rule:
    """One renaming. Several targets: equal parts of the rows, in this order. None: the tensor is left out."""

    pattern: str
    targets: tuple[str, ...] = ()
    must_be_zero: bool = False  # left out only if that changes nothing


@dataclass(frozen=True)
class Prompt:
    """How a conversation is written. `{image}` stands for the image token; `role` words include what surrounds them."""

    start: str  # before the first turn; {system} is the system text
    system: str
    user: str
    user_end: str
    assistant: str
    assistant_end: str
    after_image: str
    image_token: str
    stops: tuple[str, ...]  # tokens which end an answer, as far as the tokenizer has them; the first is the end token


@dataclass(frozen=True)
class Layout:
    """One way in which authors lay their checkpoints out."""

    name: str  # whose layout it is, as a hub id
    model_types: tuple[str, ...]
    needs: tuple[str, ...]  # entries which its config.json has and stock configs do not
    understood: dict[str, tuple]  # entries which may only have these values, dots reaching into nested ones
    rules: tuple[Rule, ...]
    config: Callable  # (Source) -> dict of the stock config
    prompt: Prompt
    tokenizer: str  # class, where tokenizer_config.json names none
    tiles: bool = False  # images become several tiles (InternVL); else one padded square


def _text(norm: str) -> tuple[Rule, ...]:
    """LLaVA's wrapper around a stock decoder."""
    return (
        Rule(r".*\.rotary_emb\.inv_freq"),
        Rule(r".*\.position_ids"),
        Rule(r"lm_head\.bias", must_be_zero=True),
        Rule(r"lm_head\.weight", ("lm_head.weight",)),
        Rule(rf"model\.((?:embed_tokens|layers|{norm})\..+)", (r"model.language_model.\1",)),
        Rule(r"model\.mm_projector\.0\.(.+)", (r"model.multi_modal_projector.linear_1.\1",)),
        Rule(r"model\.mm_projector\.2\.(.+)", (r"model.multi_modal_projector.linear_2.\1",)),
        Rule(r"model\.vision_tower\.vision_tower\.vision_model\.head\..+"),  # SigLIP's pooling: no LVLM reads it
        Rule(r"model\.vision_tower\.vision_tower\.vision_model\.(.+)", (r"model.vision_tower.\1",)),
    )


_LAYER = r"vision_model\.encoder\.layers\.(\d+)\."
_TO = r"model.vision_tower.encoder.layer.\1."
_INTERNVL = (
    Rule(r".*\.rotary_emb\.inv_freq"),
    Rule(r"vision_model\.embeddings\.class_embedding", ("model.vision_tower.embeddings.cls_token",)),
    Rule(r"vision_model\.embeddings\.position_embedding", ("model.vision_tower.embeddings.position_embeddings",)),
    Rule(
        r"vision_model\.embeddings\.patch_embedding\.(.+)",
        (r"model.vision_tower.embeddings.patch_embeddings.projection.\1",),
    ),
    Rule(_LAYER + r"attn\.qkv\.(.+)", tuple(_TO + rf"attention.{x}_proj.\2" for x in "qkv")),
    Rule(_LAYER + r"attn\.proj\.(.+)", (_TO + r"attention.projection_layer.\2",)),
    Rule(_LAYER + r"attn\.([qk]_norm)\.(.+)", (_TO + r"attention.\2.\3",)),
    Rule(_LAYER + r"ls([12])", (_TO + r"lambda_\2",)),
    Rule(_LAYER + r"norm1\.(.+)", (_TO + r"layernorm_before.\2",)),
    Rule(_LAYER + r"norm2\.(.+)", (_TO + r"layernorm_after.\2",)),
    Rule(_LAYER + r"mlp\.(.+)", (_TO + r"mlp.\2",)),
    Rule(r"mlp1\.0\.(.+)", (r"model.multi_modal_projector.layer_norm.\1",)),
    Rule(r"mlp1\.1\.(.+)", (r"model.multi_modal_projector.linear_1.\1",)),
    Rule(r"mlp1\.3\.(.+)", (r"model.multi_modal_projector.linear_2.\1",)),
    Rule(r"language_model\.lm_head\.weight", ("lm_head.weight",)),
    Rule(r"language_model\.model\.(.+)", (r"model.language_model.\1",)),
)

_LLAVA_STYLE = {  # of the prompt, shared by LLaVA-1.5 and Bunny
    "start": "{system} ",
    "system": LLAVA_SYSTEM,
    "user": "USER: ",
    "user_end": "",
    "assistant": " ASSISTANT:",
    "after_image": "\n",
    "image_token": "<image>",
}
_PLAIN = {"mm_projector_type": ("mlp2x_gelu", None), "image_aspect_ratio": ("pad", "square", None)}

LAYOUTS = (
    Layout(
        name="liuhaotian/llava-v1.5-7b",
        model_types=("llava", "llava_llama"),
        needs=("mm_vision_tower", "mm_hidden_size", "hidden_size"),
        understood={
            **_PLAIN,
            "mm_use_im_start_end": (False, None),
            "mm_vision_select_feature": ("patch", "cls_patch", None),
        },
        rules=_text("norm"),
        config=configs.llava("llama"),
        prompt=Prompt(**_LLAVA_STYLE, assistant_end="</s>", stops=("</s>",)),
        tokenizer="LlamaTokenizer",
    ),
    Layout(
        name="BAAI/Bunny-v1_0-3B",
        model_types=("bunny-phi",),
        needs=("mm_vision_tower", "mm_hidden_size", "hidden_size"),
        understood={**_PLAIN, "use_s2": (False, None)},
        rules=_text("final_layernorm"),
        config=configs.llava("phi"),
        prompt=Prompt(**_LLAVA_STYLE, assistant_end="<|endoftext|>", stops=("<|endoftext|>",)),
        tokenizer="CodeGenTokenizer",
    ),
    Layout(
        name="OpenGVLab/Mini-InternVL-Chat-4B-V1-5",
        model_types=("internvl_chat",),
        needs=("vision_config", "llm_config"),
        understood={
            "ps_version": ("v2",),
            "template": ("phi3-chat",),
            "use_thumbnail": (True,),
            "llm_config.architectures": (["Phi3ForCausalLM"],),
            "llm_config.rope_scaling.type": ("su", "longrope", None),
        },
        rules=_INTERNVL,
        config=configs.internvl,
        prompt=Prompt(
            start="<|system|>\n{system}<|end|>",
            system="You are an AI assistant whose name is Phi-3.",
            user="<|user|>\n",
            user_end="<|end|>",
            assistant="<|assistant|>\n",
            assistant_end="<|end|>",
            after_image="\n",
            image_token="<IMG_CONTEXT>",
            stops=("<|end|>", "</s>", "<|endoftext|>"),
        ),
        tokenizer="LlamaTokenizer",
        tiles=True,
    ),
)


def recognise(raw: dict) -> Layout | None:
    """The layout that a config.json is of, by its contents alone; None for stock ones and unknown ones."""
    if "text_config" in raw:
        return None
    kind = raw.get("model_type")
    return next((x for x in LAYOUTS if kind in x.model_types and all(key in raw for key in x.needs)), None)
