"""A catalogue name, hub id or local folder → LVLM. Reads safetensors and JSON only; executes nothing in them."""

import copy
import os
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig

from .catalogue import find
from .errors import BrokenCheckpoint, NotAnLVLM, UnknownModel, UnsafeCheckpoint
from .events import Progress, Report, silent
from .files import download, line, numbers_in, quiet, read_json, weight_files
from .model import LVLM
from .originals import read, recognise
from .processors import read_processor
from .reshaped import KEY, reshaped_class

SMALL = 1_000_000_000  # parameters; below, fp32 on the CPU is both exact and fast enough
HISTORY = "pruning.json"


def load(
    name_or_folder: str | os.PathLike,
    dtype: torch.dtype | str | None = None,
    quantization: str | None = None,
    revision: str | None = None,
    report: Report = silent,
    device: str | torch.device | dict | None = None,
) -> LVLM:
    """The model of a catalogue name, a local folder (dense, or saved by us), or a Hugging Face hub id.

    dtype: None takes what a model saved by us had; else fp32 for models under a billion parameters on the CPU, and
        the checkpoint's own for others.
    quantization: None or "int8" (LLM.int8, decoder linears only).
    device: where to, or a device map; None takes a GPU if there is one.
    Raises UnknownModel, NotAnLVLM, BrokenCheckpoint or UnsafeCheckpoint, saying what is wrong.
    """
    report(Progress("load", 0, 3, "finding the files"))
    folder, name = _locate(name_or_folder, revision)
    meta = read_json(folder / HISTORY) if (folder / HISTORY).exists() else {}
    raw = read_json(folder / "config.json", missing=NotAnLVLM)
    dtype = dtype or getattr(torch, meta.get("dtype", ""), None)
    if layout := recognise(raw):
        report(Progress("load", 1, 3, f"reading the weights, laid out as in {layout.name}"))
        network, processor = read(folder, raw, layout, _exact(dtype or _default_dtype(folder)), _place(device))
        report(Progress("load", 2, 3, "reading the tokenizer"))
    else:
        config = check_folder(folder)
        report(Progress("load", 1, 3, "reading the weights"))
        network = _network(folder, config, dtype, device)
        report(Progress("load", 2, 3, "reading the tokenizer"))
        processor = read_processor(folder, config)
    model = LVLM(network, processor, meta.get("name", name), meta.get("history", ()))
    if quantization is not None and not any(x.get("step") == "quantize" for x in model.history):
        from .int8 import quantized  # bitsandbytes takes a second to import, and most runs do without

        model = quantized(model, quantization)
    report(Progress("load", 3, 3, "ready"))
    return model


def _locate(name_or_folder, revision) -> tuple[Path, str]:
    name = str(name_or_folder)
    entry = find(name)
    source = entry.source if entry else name
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder, entry.name if entry else folder.resolve().name
    if folder.is_file():
        raise NotAnLVLM(f"{source} is a file: please give the folder that holds config.json and the weights.")
    if entry and entry.bundled:
        raise UnknownModel(f"The bundled model {name} is not in {source}: please check out its files again.")
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise UnknownModel(f"There is no model or folder called {name}: pick one from the catalogue or check the path.")
    return download(source, revision), name


def check_folder(folder: Path):
    """The config of a folder that is safe and whole enough to load. Raises what `load` raises."""
    raw = read_json(folder / "config.json", missing=NotAnLVLM)
    for file in ("config.json", "processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        if (folder / file).exists() and "auto_map" in read_json(folder / file):
            raise UnsafeCheckpoint(
                f"{folder.name}/{file} asks to run code that comes with the checkpoint (auto_map): this is never done. "
                "Please use a version converted to stock transformers classes."
            )
    weight_files(folder)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, StrictDataclassError) as error:
        raise NotAnLVLM(
            f"{folder.name} is of a kind (model_type {raw.get('model_type')!r}) that transformers cannot read: "
            f"{line(error)}"
        ) from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise NotAnLVLM(
            f"{folder.name} is a {raw.get('model_type')} model, not a vision-language model: "
            "please choose one that takes an image and a question."
        )
    return config


def _network(folder: Path, config, dtype, device=None):
    stock = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    cls = reshaped_class(stock) if getattr(config.get_text_config(), KEY, None) else stock
    options = {"dtype": dtype or _default_dtype(folder), "output_loading_info": True, "use_safetensors": True}
    device = _place(device)
    if str(device) != "cpu":
        options["device_map"] = device
    if getattr(config, "quantization_config", None):
        from .int8 import bitsandbytes_quietly

        bitsandbytes_quietly()
    stored = sum(numbers_in(x) for x in weight_files(folder))
    with quiet():
        try:
            with torch.device("meta"):
                wanted = sum(x.numel() for x in cls(copy.deepcopy(config)).parameters())
            if stored < wanted:  # from_pretrained would first fill the missing gigabytes with random numbers
                raise BrokenCheckpoint(
                    f"The weights of {folder.name} lack tensors: they hold {stored:,} numbers, and its config.json "
                    f"describes {wanted:,}. Please download the rest."
                )
            network, found = cls.from_pretrained(folder, config=config, **options)
        except (RuntimeError, ValueError, KeyError, OSError, SafetensorError, AttributeError, TypeError) as error:
            raise BrokenCheckpoint(
                f"The weights of {folder.name} do not fit its config.json: {line(error)}. Please download it again."
            ) from error
    harmless = ("inv_freq", "position_ids")
    missing = [x for x in found["missing_keys"] if not x.endswith(harmless)]
    extra = [x for x in found["unexpected_keys"] if not x.endswith(harmless)]
    shapes = found["mismatched_keys"]
    for kind, names in (("lack", missing), ("hold unknown tensors such as", extra), ("misshape", shapes)):
        if names:
            raise BrokenCheckpoint(
                f"The weights of {folder.name} {kind} {sorted(map(str, names))[0]} ({len(names)} in all): "
                "they do not belong to this config.json."
            )
    _align(network)
    return network


def _align(network) -> None:
    """Copy tensors that lie unaligned in the mapped file, as safetensors' do.

    The CPU's matrix products take another path for those, with other last bits: a saved model would not answer as
    it did before. Nor does a loaded model change, then, when its file is written over.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.device.type == "cpu" and tensor.data_ptr() % 64:
            tensor.data = tensor.data.clone()


def _default_dtype(folder: Path):
    stored = sum(x.stat().st_size for x in folder.glob("*.safetensors"))
    on_gpu = torch.cuda.is_available()
    return torch.float32 if stored < 2 * SMALL and not on_gpu else "auto"  # stored with two bytes a parameter


def _exact(dtype) -> torch.dtype | None:
    """A type, from one or its name; None for "auto"."""
    if isinstance(dtype, torch.dtype) or dtype == "auto":
        return None if dtype == "auto" else dtype
    return getattr(torch, str(dtype).removeprefix("torch."))


def _place(device):
    return device or ("cuda" if torch.cuda.is_available() else "cpu")
