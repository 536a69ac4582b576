"""Pixels, prompts and tokenizers of the original layouts, as processors that save, reload and work like stock ones."""

import json
import shutil
import tempfile
from pathlib import Path

from transformers import (
    AddedToken,
    AutoTokenizer,
    GotOcr2ImageProcessorPil,
    LlavaImageProcessorPil,
    LlavaProcessor,
    PreTrainedConfig,
)
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.utils import is_sentencepiece_available

from ..errors import BrokenCheckpoint
from ..files import line, quiet, read_json
from ..processors import InternVLProcessor
from ..unfit import check_tokenizer
from .layouts import Layout, Prompt

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json")
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
CODE_AND_FORMAT = ("auto_map", "processor_class", "chat_template")  # of tokenizer_config.json: not taken over
BICUBIC = 3
MOST_NEW = 64  # tokens that a tokenizer may have beyond the rows of the embedding


def tokenizer(folder: Path, layout: Layout):
    """The folder's tokenizer, from its vocabulary alone: built by a stock class, in a copy without `auto_map`."""
    check_tokenizer(folder)
    with tempfile.TemporaryDirectory() as staged:
        for name in TOKENIZER_FILES:
            if (folder / name).exists():
                shutil.copyfile(folder / name, Path(staged) / name)
        for name in SETTINGS:
            found = read_json(folder / name) if (folder / name).exists() else {}
            kept = {key: value for key, value in found.items() if key not in CODE_AND_FORMAT}
            if name == "tokenizer_config.json":
                kept = {"tokenizer_class": layout.tokenizer, **kept}
            if kept:
                (Path(staged) / name).write_text(json.dumps(kept), encoding="utf-8")
        try:
            with quiet():
                made = AutoTokenizer.from_pretrained(staged, config=PreTrainedConfig(), trust_remote_code=False)
        except Exception as error:  # tokenizer files of garbage raise bare Exceptions, among others
            if not (folder / "tokenizer.json").exists() and not is_sentencepiece_available():
                raise BrokenCheckpoint(
                    f"The tokenizer of {folder.name} is a tokenizer.model, which needs two packages: "
                    "please run `pip install sentencepiece protobuf`."
                ) from error
            raise BrokenCheckpoint(
                f"{folder.name} has no usable tokenizer ({line(error)}): please download its files again."
            ) from error
    made.name_or_path = folder.name
    made.chat_template = None
    end = next((x for x in layout.prompt.stops if x in made.get_vocab()), None)
    if end:
        made.eos_token = end  # what ends an answer, in training labels too
    return made


def image_token(tokenizer, token: str, rows: int, folder: str) -> tuple[int, list[int]]:
    """The image token's id, and the ids that were never trained: its own, if added here, and those without rows.

    rows: of the embedding in the file. An added token gets the tokenizer's next id, which may have a row already.
    """
    new = []
    if token not in tokenizer.get_vocab():
        if token != "<image>":
            raise BrokenCheckpoint(f"{folder}'s tokenizer does not know {token}: please download its files again.")
        tokenizer.add_tokens([AddedToken(token, special=True, normalized=False)], special_tokens=True)
        new = [tokenizer.convert_tokens_to_ids(token)]
    last = max(tokenizer.get_vocab().values())
    if last >= rows + MOST_NEW:
        raise BrokenCheckpoint(
            f"{folder}'s tokenizer goes up to id {last}, its embedding has {rows} rows: they do not belong together."
        )
    return tokenizer.convert_tokens_to_ids(token), sorted({*new, *range(rows, last + 1)})


def chat_template(prompt: Prompt, after_image: str) -> str:
    """The prompt format as a Jinja template; `system_text` may be given when it is applied."""
    before, after = prompt.start.split("{system}")
    say = json.dumps  # a Jinja string literal
    return (
        "{{ " + say(before) + " }}{{ system_text | default(" + say(prompt.system) + ") }}{{ " + say(after) + " }}"
        "{% for m in messages %}{% if m['role'] == 'user' %}"
        "{{ " + say(prompt.user) + " }}"
        "{% for c in m['content'] %}{% if c['type'] == 'image' %}{{ " + say(prompt.image_token + after_image) + " }}"
        "{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
        "{{ " + say(prompt.user_end) + " }}"
        "{% else %}{{ " + say(prompt.assistant) + " }}{{ " + say(_space(prompt)) + " }}"
        "{% for c in m['content'] %}{{ c['text'] }}{% endfor %}{{ " + say(prompt.assistant_end) + " }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ " + say(prompt.assistant) + " }}{% endif %}"
    )


def _space(prompt: Prompt) -> str:
    """LLaVA asks with "ASSISTANT:" and answers with "ASSISTANT: …"; others end with a line break already."""
    return "" if prompt.assistant.endswith("\n") else " "


def after_image(tokenizer, prompt: Prompt) -> str:
    """What to write after the image token so that the text behind it gets the tokens that it gets by itself.

    The authors tokenize what follows an image as a text of its own, where SentencePiece puts a space in front;
    whether it also does so behind a special token is one of the tokenizer's settings.
    """
    alone = tokenizer(prompt.after_image + "x", add_special_tokens=False)["input_ids"]
    image = tokenizer.convert_tokens_to_ids(prompt.image_token)
    for glue in ("", " "):
        text = prompt.image_token + glue + prompt.after_image + "x"
        if tokenizer(text, add_special_tokens=False)["input_ids"] == [image, *alone]:
            return glue + prompt.after_image
    return prompt.after_image


def square(raw: dict, colours: dict, config, tokenizer, prompt: Prompt) -> LlavaProcessor:
    """LLaVA's and Bunny's pixels: padded to a square with the mean colour, unless config.json says otherwise."""
    vision = config.vision_config
    clip = vision.model_type == "clip_vision_model"
    side, pad = vision.image_size, raw.get("image_aspect_ratio") == "pad"
    images = LlavaImageProcessorPil(
        do_pad=pad,
        size={"shortest_edge": side} if clip else {"height": side, "width": side},
        crop_size={"height": side, "width": side},
        do_center_crop=clip,
        resample=BICUBIC,
        image_mean=_colour(colours.get("image_mean"), OPENAI_CLIP_MEAN if clip else [0.5] * 3),
        image_std=_colour(colours.get("image_std"), OPENAI_CLIP_STD if clip else [0.5] * 3),
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=vision.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=int(clip),
        chat_template=chat_template(prompt, after_image(tokenizer, prompt)),
    )


def _colour(said, usual: list[float]) -> list[float]:
    usable = isinstance(said, list) and len(said) == 3 and all(isinstance(x, float) and 0 < x < 1 for x in said)
    return said if usable else usual


def tiles(counts: tuple[int, int], pixels: int, tokens: int, tokenizer, prompt: Prompt) -> InternVLProcessor:
    """InternVL's pixels: as many tiles as fit the picture's shape best, and a thumbnail; `tokens` for each of them."""
    images = GotOcr2ImageProcessorPil(
        size={"height": pixels, "width": pixels},
        crop_to_patches=True,
        min_patches=counts[0],
        max_patches=counts[1],
        resample=BICUBIC,
        image_mean=IMAGENET_DEFAULT_MEAN,
        image_std=IMAGENET_DEFAULT_STD,
    )
    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": prompt.image_token}
    tokenizer._set_model_specific_special_tokens(named)
    return InternVLProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        image_seq_length=tokens,
        chat_template=chat_template(prompt, prompt.after_image),
    )
