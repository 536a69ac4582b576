"""A folder in an original layout → a stock network and its processor. Runs nothing from the folder."""

import re
from pathlib import Path

import torch
from accelerate import dispatch_model, infer_auto_device_map, init_empty_weights
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    GenerationConfig,
    PreTrainedModel,
)

from ..errors import BrokenCheckpoint, LVLMError
from ..files import inside, line, quiet, read_json
from ..hub import download
from . import processors
from .configs import TOWERS, Source, check_understood, internvl_pixels, internvl_tiles
from .layouts import EMBEDDING, TOWER, Layout
from .weights import DTYPES, check_fit, fill, renamed, stored_tensors, tower_tensors

MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, StrictDataclassError)
MOST_NAME = 255  # characters of a file's name


def read(folder: Path, raw: dict, layout: Layout, dtype: torch.dtype | None = None, device="cpu", before=None):
    """(network, processor) of a folder in this layout.

    raw: its config.json. dtype: None takes the file's own. device: one, or a device map as accelerate has them.
    before(network): called with the network on the meta device before any weight is read; what it raises passes on.
    Raises BrokenCheckpoint where files and config do not fit, NotAnLVLM for variants without a stock class, and
    UnsafeCheckpoint for pickles. `auto_map` entries are ignored: what they name is neither needed nor run.
    """
    check_understood(Source(folder.name, raw, {}), layout.understood)
    stored = stored_tensors(folder)
    tower_folder, tower = None, {}
    if not layout.tiles:
        has_tower = any(x.name.startswith(TOWER) for x in stored)
        tower_folder, tower = _tower(folder, raw["mm_vision_tower"], weights=not has_tower)
        if not has_tower:
            stored += tower_tensors(tower_folder)
    parts, zeros = renamed(stored, layout.rules, folder.name)
    tokenizer = processors.tokenizer(folder, layout)
    rows = parts[EMBEDDING].shape[0] if EMBEDDING in parts else 0
    image_token, untrained = processors.image_token(tokenizer, layout.prompt.image_token, rows, folder.name)
    shapes = {name: x.shape for name, x in parts.items()}
    source = Source(folder.name, raw, shapes, tower, image_token, max(tokenizer.get_vocab().values()) + 1)
    network = _empty(source, layout)
    try:
        processor = _processor(source, layout, network.config, tokenizer, tower_folder or folder)
    except MALFORMED as error:
        raise BrokenCheckpoint(
            f"{folder.name} has no usable processor ({line(error)}): please download its files again."
        ) from error
    check_fit(network, parts, folder.name)
    dtype = dtype or DTYPES[parts[EMBEDDING].stored.dtype]
    if before is not None:
        before(network)
    one_device = "cpu" if _is_map(device) else device
    fill(network, parts, zeros, dtype, one_device, folder.name)
    network = _placed(network, device)
    network.config.dtype = dtype
    network.generation_config = _generation(tokenizer, layout, untrained)
    return network.eval(), processor


def _tower(folder: Path, name, weights: bool) -> tuple[Path | None, dict]:
    """The folder of the vision tower that config.json names, if there is one, and its config.

    Looked for inside the checkpoint's folder, then in the table of known ones, which alone are fetched from the hub:
    a stranger's file sends nobody elsewhere, neither on the machine nor in the network.
    weights: the checkpoint has none of its own, so that the tower's are needed.
    """
    parts = [x for x in re.split(r"[/\\]", name) if x] if isinstance(name, str) and name.isprintable() else []
    if not parts or ".." in parts or max(map(len, parts)) > MOST_NAME:
        raise BrokenCheckpoint(f"{folder.name}/config.json names no usable vision tower: {name!r}.")
    for candidate in (folder.joinpath(*parts), folder / parts[-1]):
        if inside(candidate, folder) and (candidate / "config.json").is_file():  # a link may lead elsewhere
            config = read_json(candidate / "config.json")
            return candidate, _of_tower(config)
    known = TOWERS.get(parts[-1])
    if not known:
        raise BrokenCheckpoint(
            f"{folder.name} leaves its vision tower in {name}, which is not one that is known here "
            f"({', '.join(x['hub'] for x in TOWERS.values())}): please copy it into {folder.name}/{parts[-1]}."
        )
    if not weights:
        return None, known["config"]
    hub = known["hub"]
    try:
        found = download(hub, wanted=("*.json", "*.safetensors"))
    except LVLMError as error:
        raise BrokenCheckpoint(
            f"{folder.name} needs its vision tower {hub} ({line(error)}) Or put that into {folder.name}/{parts[-1]}."
        ) from error
    return found, known["config"]


def _of_tower(config: dict) -> dict:
    """The part about the tower, of a config of it alone or of a whole CLIP or SigLIP."""
    found = config.get("vision_config") or config
    return found if isinstance(found, dict) else config


def _empty(source: Source, layout: Layout) -> PreTrainedModel:
    """The stock network with all its buffers, and parameters without memory."""
    try:
        described = dict(layout.config(source))
        with quiet(), init_empty_weights(include_buffers=False):
            config = AutoConfig.for_model(described.pop("model_type"), **described)
            return MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)](config)
    except LVLMError:
        raise
    except MALFORMED as error:
        raise BrokenCheckpoint(
            f"{source.folder}/config.json does not describe a model that can be built: {line(error)}."
        ) from error


def _is_map(device) -> bool:
    return isinstance(device, dict) or str(device) in ("auto", "balanced", "balanced_low_0", "sequential")


def _placed(network: PreTrainedModel, device) -> PreTrainedModel:
    """Buffers follow their weights; a device map splits the network as `from_pretrained` would."""
    if not _is_map(device):
        return network.to(device)
    if not isinstance(device, dict):
        device = infer_auto_device_map(network, no_split_module_classes=list(network._no_split_modules or ()))
    return dispatch_model(network, device)


def _generation(tokenizer, layout: Layout, untrained: list[int]) -> GenerationConfig:
    """Stop where the authors stop; never say tokens whose head rows were made up: their logit 0 could win."""
    vocabulary = tokenizer.get_vocab()
    stops = [vocabulary[x] for x in layout.prompt.stops if x in vocabulary]
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in stops:
        stops.append(tokenizer.eos_token_id)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=stops or None,
        pad_token_id=pad,
        suppress_tokens=untrained or None,
    )


def _processor(source: Source, layout: Layout, config, tokenizer, images_from: Path):
    if layout.tiles:
        counts, pixels = internvl_tiles(source), internvl_pixels(source)
        return processors.tiles(counts, pixels, config.image_seq_length, tokenizer, layout.prompt)
    file = images_from / "preprocessor_config.json"
    colours = read_json(file) if file.exists() else {}
    return processors.square(source.raw, colours, config, tokenizer, layout.prompt)
