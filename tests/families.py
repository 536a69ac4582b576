"""Today's LVLMs as data, tiny: what the files of their hub repositories say, for checkpoints.py to write.

Image sizes and widths are tiny; the vocabulary is bytes and the family's own special tokens.
"""

from dataclasses import dataclass, field

TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
}
VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
TOWER = {**VISION, "image_size": 16, "patch_size": 4}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
MROPE = {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}}

CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ m['role'] }}\n"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMOL = (
    "<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}"
    "{% if m['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for c in m['content'] %}{% if c['type'] == 'text' %}{{ c['text'] }}{% else %}{{ '<image>' }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<start_of_image>{% else %}{{ c['text'] | trim }}"
    "{% endif %}{% endfor %}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """What makes a folder of one family."""

    config: dict  # "@token" stands for that token's id
    processor: str  # class
    image_processor: dict  # preprocessor_config.json
    tokens: tuple[str, ...]  # special ones, after <pad>, <bos> and the end token
    end: str
    template: str | None
    bos: str | None = None
    words: tuple[str, ...] = ()  # tokens that are part of answers
    named: dict = field(default_factory=dict)  # extra special tokens by the names that the processor looks up
    settings: dict | None = None  # processor_config.json; None: the repositories have none
    video: dict | None = None  # video_preprocessor_config.json
    flat: bool = False  # config.json has the decoder's entries beside its own
    fill: str = "float32"


def _qwen(kind: str, processor: str, vision: dict, text: dict | None = None, **options) -> Family:
    tokens = ("<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|endoftext|>")
    return Family(
        config={
            "model_type": kind,
            "text_config": {"model_type": f"{kind}_text", **TEXT, **MROPE, **(text or {})},
            "vision_config": {"depth": 2, "num_heads": 2, "patch_size": 4, **vision},
            "image_token_id": "@<|image_pad|>",
            "video_token_id": "@<|video_pad|>",
            "vision_start_token_id": "@<|vision_start|>",
            "vision_end_token_id": "@<|vision_end|>",
            "tie_word_embeddings": True,
        },
        processor=processor,
        tokens=tokens,
        end="<|im_end|>",
        template=CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
        **options,
    )


def _paligemma(text: dict) -> Family:
    return Family(
        config={
            "model_type": "paligemma",
            "text_config": text,
            "vision_config": {
                "model_type": "siglip_vision_model",
                **TOWER,
                "projection_dim": 32,
                "vision_use_head": False,
            },
            "image_token_index": "@<image>",
            "projection_dim": 32,
            "tie_word_embeddings": True,
        },
        processor="PaliGemmaProcessor",
        image_processor={
            **HALF,
            "size": {"height": 16, "width": 16},
            "image_seq_length": 16,
            "image_processor_type": "SiglipImageProcessor",
        },
        tokens=("<image>",),
        words=(*(f"<loc{i:04}>" for i in range(1024)), *(f"<seg{i:03}>" for i in range(128))),
        bos="<bos>",
        end="<eos>",
        template=None,  # as in its repositories
    )


QWEN_PIXELS = {"patch_size": 4, "temporal_patch_size": 2, "merge_size": 2, **HALF}
FAMILIES = {
    "qwen2_vl": _qwen(
        "qwen2_vl",
        "Qwen2VLProcessor",
        {"embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2},
        flat=True,
        image_processor={
            **QWEN_PIXELS,
            "min_pixels": 256,
            "max_pixels": 2048,
            "image_processor_type": "Qwen2VLImageProcessor",
        },
    ),
    "qwen2_5_vl": _qwen(
        "qwen2_5_vl",
        "Qwen2_5_VLProcessor",
        {
            "hidden_size": 16,
            "intermediate_size": 24,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
            "window_size": 16,
        },
        flat=True,
        image_processor={
            **QWEN_PIXELS,
            "min_pixels": 256,
            "max_pixels": 2048,
            "image_processor_type": "Qwen2VLImageProcessor",
        },
    ),
    "qwen3_vl": _qwen(
        "qwen3_vl",
        "Qwen3VLProcessor",
        {
            "depth": 4,
            "hidden_size": 16,
            "intermediate_size": 24,
            "out_hidden_size": 32,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1, 2],
        },
        text={"head_dim": 8},
        image_processor={
            **QWEN_PIXELS,
            "size": {"shortest_edge": 256, "longest_edge": 2048},
            "image_processor_type": "Qwen2VLImageProcessorFast",
        },
        video={
            **QWEN_PIXELS,
            "size": {"shortest_edge": 4096, "longest_edge": 25165824},
            "video_processor_type": "Qwen3VLVideoProcessor",
        },
    ),
    "internvl3": Family(
        config={
            "model_type": "internvl",
            "text_config": {"model_type": "qwen2", **TEXT},
            "vision_config": {
                "model_type": "internvl_vision",
                **VISION,
                "image_size": [16, 16],
                "patch_size": [4, 4],
                "use_mean_pooling": True,
                "attention_bias": True,
            },
            "image_token_id": "@<IMG_CONTEXT>",
            "downsample_ratio": 0.5,
            "image_seq_length": 4,
            "tie_word_embeddings": False,
        },
        processor="InternVLProcessor",
        image_processor={
            **HALF,
            "size": {"height": 16, "width": 16},
            "crop_to_patches": True,
            "min_patches": 1,
            "max_patches": 4,
            "image_processor_type": "GotOcr2ImageProcessorFast",
        },
        settings={"image_seq_length": 4},
        video={"size": {"height": 16, "width": 16}, "video_processor_type": "InternVLVideoProcessor"},
        tokens=("<|im_start|>", "<IMG_CONTEXT>", "<img>", "</img>", "<video>", "<|endoftext|>"),
        named={
            "context_image_token": "<IMG_CONTEXT>",
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "video_token": "<video>",
        },
        end="<|im_end|>",
        template=CHATML.replace("IMAGE", "<IMG_CONTEXT>\n"),
    ),
    "smolvlm": Family(
        config={
            "model_type": "smolvlm",
            "text_config": {"model_type": "llama", **TEXT},
            "vision_config": {"model_type": "smolvlm_vision", **TOWER},
            "image_token_id": "@<image>",
            "scale_factor": 2,
            "tie_word_embeddings": False,
        },
        processor="SmolVLMProcessor",
        image_processor={
            **HALF,
            "do_image_splitting": True,
            "size": {"longest_edge": 32},
            "max_image_size": {"longest_edge": 16},
            "image_processor_type": "SmolVLMImageProcessor",
        },
        settings={"image_seq_len": 4},
        video={"size": {"longest_edge": 16}, "video_processor_type": "SmolVLMVideoProcessor", "num_frames": 64},
        tokens=(
            "<|im_start|>",
            "<image>",
            "<fake_token_around_image>",
            "<global-img>",
            "<video>",
            *(f"<row_{r}_col_{c}>" for r in (1, 2) for c in (1, 2)),
        ),
        end="<end_of_utterance>",
        template=SMOL,
    ),
    "idefics3": Family(
        config={
            "model_type": "idefics3",
            "text_config": {"model_type": "llama", **TEXT},
            "vision_config": {"model_type": "idefics3_vision", **TOWER},
            "image_token_id": "@<image>",
            "scale_factor": 2,
            "tie_word_embeddings": False,
        },
        processor="Idefics3Processor",
        image_processor={
            **HALF,
            "do_image_splitting": True,
            "size": {"longest_edge": 32},
            "max_image_size": {"longest_edge": 16},
            "image_processor_type": "Idefics3ImageProcessor",
        },
        settings={"image_seq_len": 4},
        tokens=(
            "<|im_start|>",
            "<image>",
            "<fake_token_around_image>",
            "<global-img>",
            *(f"<row_{r}_col_{c}>" for r in (1, 2) for c in (1, 2)),
        ),
        end="<end_of_utterance>",
        template=SMOL,
    ),
    "llava_next": Family(
        config={
            "model_type": "llava_next",
            "text_config": {"model_type": "mistral", **TEXT},
            "vision_config": {"model_type": "clip_vision_model", **TOWER},
            "image_token_index": "@<image>",
            "image_seq_length": 16,
            "image_grid_pinpoints": [[16, 32], [32, 16], [32, 32]],
            "tie_word_embeddings": False,
        },
        processor="LlavaNextProcessor",
        image_processor={
            "size": {"shortest_edge": 16},
            "crop_size": {"height": 16, "width": 16},
            "image_grid_pinpoints": [[16, 32], [32, 16], [32, 32]],
            "image_processor_type": "LlavaNextImageProcessor",
        },
        settings={"patch_size": 4, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
        tokens=("<image>",),
        bos="<s>",
        end="</s>",
        template=(
            "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {% for c in m['content'] %}"
            "{% if c['type'] == 'image' %}<image>\n{% else %}{{ c['text'] }}{% endif %}{% endfor %} [/INST]"
            "{% else %} {% for c in m['content'] %}{{ c['text'] }}{% endfor %}</s> {% endif %}{% endfor %}"
        ),
    ),
    "llava_onevision": Family(
        config={
            "model_type": "llava_onevision",
            "text_config": {"model_type": "qwen2", **TEXT},
            "vision_config": {"model_type": "siglip_vision_model", **TOWER, "vision_use_head": False},
            "image_token_index": "@<image>",
            "video_token_index": "@<video>",
            "image_grid_pinpoints": [[16, 16], [16, 32], [32, 16], [32, 32]],
            "tie_word_embeddings": True,
        },
        processor="LlavaOnevisionProcessor",
        image_processor={
            **HALF,
            "size": {"height": 16, "width": 16},
            "image_grid_pinpoints": [[16, 16], [16, 32], [32, 16], [32, 32]],
            "image_processor_type": "LlavaOnevisionImageProcessor",
        },
        settings={"num_image_tokens": 16, "vision_feature_select_strategy": "full"},
        video={"size": {"height": 16, "width": 16}, "video_processor_type": "LlavaOnevisionVideoProcessor"},
        tokens=("<|im_start|>", "<image>", "<video>", "<|endoftext|>"),
        end="<|im_end|>",
        template=CHATML.replace("IMAGE", "<image>\n"),
    ),
    "gemma3": Family(
        config={
            "model_type": "gemma3",
            "text_config": {"model_type": "gemma3_text", **TEXT, "head_dim": 8, "sliding_window": 24},
            "vision_config": {"model_type": "siglip_vision_model", **TOWER, "vision_use_head": False},
            "image_token_index": "@<image_soft_token>",
            "boi_token_index": "@<start_of_image>",
            "eoi_token_index": "@<end_of_image>",
            "mm_tokens_per_image": 4,
            "eos_token_id": ["@<eos>", "@<end_of_turn>"],
            "tie_word_embeddings": True,
        },
        processor="Gemma3Processor",
        image_processor={
            **HALF,
            "size": {"height": 16, "width": 16},
            "image_seq_length": 4,
            "do_pan_and_scan": None,
            "image_processor_type": "Gemma3ImageProcessor",
        },
        settings={"image_seq_length": 4},
        tokens=("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"),
        named={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
        bos="<bos>",
        end="<eos>",
        template=GEMMA,
    ),
    "paligemma": _paligemma({"model_type": "gemma", **TEXT, "head_dim": 8, "num_key_value_heads": 1}),
    "paligemma2": _paligemma(
        {
            "model_type": "gemma2",
            **TEXT,
            "head_dim": 8,
            "sliding_window": 24,
            "final_logit_softcapping": 2.0,
            "attn_logit_softcapping": 5.0,
            "query_pre_attn_scalar": 8,
        }
    ),
    "aya_vision": Family(
        config={
            "model_type": "aya_vision",
            "text_config": {"model_type": "cohere2", **TEXT, "sliding_window": 24},
            "vision_config": {"model_type": "siglip_vision_model", **TOWER, "vision_use_head": False},
            "image_token_index": "@<|IMG_PATCH|>",
            "downsample_factor": 2,
            "alignment_intermediate_size": 32,
        },
        processor="AyaVisionProcessor",
        image_processor={
            **HALF,
            "size": {"height": 16, "width": 16},
            "crop_to_patches": True,
            "max_patches": 4,
            "image_processor_type": "GotOcr2ImageProcessor",
        },
        settings={"patch_size": 4, "img_size": 16, "downsample_factor": 2},
        tokens=(
            "<image>",
            "<|IMG_PATCH|>",
            "<|START_OF_IMG|>",
            "<|END_OF_IMG|>",
            "<|IMG_LINE_BREAK|>",
            "TILE_GLOBAL",
            *(f"TILE_{i}" for i in range(1, 5)),
            "TILE",
            "<|START_OF_TURN_TOKEN|>",
            "<|USER_TOKEN|>",
            "<|CHATBOT_TOKEN|>",
            "<|START_RESPONSE|>",
            "<|END_RESPONSE|>",
        ),
        bos="<BOS_TOKEN>",
        end="<|END_OF_TURN_TOKEN|>",
        template=(
            "{{ bos_token }}{% for m in messages %}<|START_OF_TURN_TOKEN|>{% if m['role'] == 'user' %}<|USER_TOKEN|>"
            "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}"
            "{% endfor %}{% else %}<|CHATBOT_TOKEN|><|START_RESPONSE|>{{ m['content'][0]['text'] }}<|END_RESPONSE|>"
            "{% endif %}<|END_OF_TURN_TOKEN|>{% endfor %}{% if add_generation_prompt %}"
            "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|><|START_RESPONSE|>{% endif %}"
        ),
    ),
}
