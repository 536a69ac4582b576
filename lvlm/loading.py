"""A catalogue name, hub id or local folder → LVLM. Reads no pickle; runs no code of it."""

import copy
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig

from .catalogue import Entry, find
from .disk import settle
from .errors import BadPlan, BrokenCheckpoint, LVLMError, NotAnLVLM, UnknownModel
from .events import Progress, Report, silent
from .files import bytes_in, line, numbers_in, quiet, read_json, weight_files
from .fit import Purpose
from .history import read_past
from .hub import TEXTS, download, split
from .memory import SMALL, Shapes, default_device, default_itemsize
from .model import LVLM
from .originals import read, recognise
from .processors import read_processor
from .reshaped import KEY, reshaped_class
from .safety import check, check_adapter, shown
from .shortage import enough_memory
from .templates import check_templates
from .unfit import unbroken

UNBUILT = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, ImportError, OSError, RuntimeError,
    AssertionError, StrictDataclassError,
)  # fmt: skip


@enough_memory("Loading")
def load(
    name_or_folder: str | os.PathLike,
    dtype: torch.dtype | str | None = None,
    quantization: str | None = None,
    revision: str | None = None,
    report: Report = silent,
    device: str | torch.device | dict | None = None,
    step: str = "load",
) -> LVLM:
    """The model of a catalogue name, a local folder (dense, or saved by us), or a Hugging Face hub id.

    dtype: None takes what a model saved by us had; else fp32 for models under a billion parameters on the CPU, and
        the checkpoint's own for others.
    quantization: None or "int8" (LLM.int8, decoder linears only), made tensor by tensor where the layout is stock.
    revision: branch, tag or commit of a hub id, which may also be written org/name@revision. The commit is recorded in
        the model's history.
    device: where to, or a device map; None takes a GPU if there is one.
    step: what it is loaded for (memory.STEPS): refused before any weight is read if there is no memory for that.
    Raises UnknownModel, NotAnLVLM, BrokenCheckpoint, UnsafeCheckpoint or NotEnoughMemory, saying what is wrong.
    """
    report(Progress("load", 0, 3, "finding the files"))
    if quantization not in (None, "int8"):
        raise BadPlan(f"There is no quantization {quantization!r}: please choose int8.")
    source = _locate(name_or_folder, revision)
    purpose = Purpose(source.name, step, _exact(dtype), quantization, _place(device))
    folder = source.folder or _downloaded(source, purpose, report)
    with shown(folder, source.name) as seen, unbroken(source.name):
        model = _read(seen, source.name, dtype, purpose, report)
    if source.repo:
        came = {"step": "load", "source": source.repo, "revision": folder.name}
        model.history = (*model.history, came)
    report(Progress("load", 3, 3, "ready"))
    return model


@dataclass(frozen=True)
class Source:
    """Where a model is: in a folder, or in a hub repository at a revision."""

    name: str
    folder: Path | None = None
    repo: str | None = None
    revision: str | None = None
    entry: Entry | None = None


def _locate(name_or_folder, revision) -> Source:
    name = str(name_or_folder)
    entry = find(name)
    where = entry.source if entry else name
    folder = Path(where).expanduser()
    if not folder.exists() and folder.parent.is_dir():
        settle(folder.parent, folder.name)  # whoever was replacing it may have been killed in between
    if folder.is_dir():
        return Source(entry.name if entry else folder.resolve().name, folder)
    if folder.is_file():
        raise NotAnLVLM(f"{where} is a file: please give the folder that holds config.json and the weights.")
    if entry and entry.bundled:
        raise UnknownModel(f"The bundled model {name} is not in {where}: please check out its files again.")
    if where.count("/") != 1 or where.startswith((".", "/", "~")):
        raise UnknownModel(f"There is no model or folder called {name}: pick one from the catalogue or check the path.")
    repo, written = split(where)
    if revision and written and revision != written:
        raise UnknownModel(f"{name} and revision={revision} name two revisions: please give one of them.")
    entry = entry or find(repo)
    return Source(entry.name if entry else repo, None, repo, revision or written, entry)


def _downloaded(source: Source, purpose: Purpose, report: Report) -> Path:
    """The folder of a hub repository: weights only once its config has been read and there is room for them."""
    if source.entry:
        shapes = source.entry.shapes
        _check_sizes(shapes, purpose)
    texts = download(source.repo, source.revision, TEXTS)
    if not source.entry and not recognise(read_json(texts / "config.json", missing=NotAnLVLM)):
        with shown(texts, source.name) as seen, quiet():
            check_adapter(seen)
            _check_sizes(Shapes.of(_on_meta(_config(seen), seen.name)), purpose)
    try:
        weight_files(texts)
        return texts  # from the cache, and a commit's files never change
    except BrokenCheckpoint:
        report(Progress("load", 0, 3, f"downloading {source.repo}"))
        return download(source.repo, texts.name)


def _check_sizes(shapes: Shapes, purpose: Purpose) -> None:
    """Whether a model fits of which only the config is there."""
    itemsize = purpose.dtype.itemsize if purpose.dtype else default_itemsize(shapes.parameters)
    purpose.check(shapes, itemsize, itemsize * shapes.parameters)


def _read(folder: Path, name: str, dtype, purpose: Purpose, report: Report) -> LVLM:
    check_adapter(folder)
    raw = read_json(folder / "config.json", missing=NotAnLVLM)
    past = read_past(folder)
    dtype, name = dtype or past.dtype, past.name or name
    if layout := recognise(raw):
        report(Progress("load", 1, 3, f"reading the weights, laid out as in {layout.name}"))
        exact = _exact(dtype or _default_dtype(folder))

        def room(network) -> None:
            itemsize = exact.itemsize if exact else _stored_itemsize(folder)
            purpose.check(Shapes.of(network), itemsize, _held(folder, exact), streamed=False)

        network, processor = read(folder, raw, layout, exact, purpose.device, before=room)
        report(Progress("load", 2, 3, "reading the tokenizer"))
    else:
        config = _config(folder)
        report(Progress("load", 1, 3, "reading the weights"))
        network = _network(folder, config, dtype, purpose)
        report(Progress("load", 2, 3, "reading the tokenizer"))
        processor = read_processor(folder, config)
        check_templates(processor, folder.name)
    network.name_or_path = network.config.name_or_path = processor.tokenizer.name_or_path = name
    past.check_leads_to(network, folder.name)
    model = LVLM(network, processor, name, past.steps)
    if purpose.quantization is None or any(x["step"] == "quantize" for x in past.steps):
        return model
    from .int8 import quantized, recorded  # bitsandbytes takes a second to import, and most runs do without

    return quantized(model) if layout else recorded(model)


def _config(folder: Path):
    """The config of a folder in a stock layout that is safe to load. Raises what `load` raises."""
    raw = check(folder)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except UNBUILT as error:
        raise NotAnLVLM(
            f"{folder.name} is of a kind (model_type {raw.get('model_type')!r}) that transformers cannot read "
            f"({line(error)}): please choose another, or download it again."
        ) from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise NotAnLVLM(
            f"{folder.name} is a {raw.get('model_type')} model, not a vision-language model: "
            "please choose one that takes an image and a question."
        )
    return config


def _class(config) -> type:
    stock = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    return reshaped_class(stock) if getattr(config.get_text_config(), KEY, None) else stock


def _on_meta(config, name: str):
    """The network of a config, without memory for its weights."""
    try:
        with torch.device("meta"):
            return _class(config)(copy.deepcopy(config))
    except UNBUILT as error:
        raise BrokenCheckpoint(f"{name}/config.json describes no model that can be built: {line(error)}.") from error


def _network(folder: Path, config, dtype, purpose: Purpose):
    options = {"dtype": dtype or _default_dtype(folder), "output_loading_info": True, "use_safetensors": True}
    if str(purpose.device) != "cpu":
        options["device_map"] = purpose.device
    stored = sum(numbers_in(x) for x in weight_files(folder))
    with quiet():
        empty = _on_meta(config, folder.name)
    wanted = sum(x.numel() for x in empty.parameters())
    if stored < wanted:  # from_pretrained would first fill the missing gigabytes with random numbers
        raise BrokenCheckpoint(
            f"The weights of {folder.name} lack tensors: they hold {stored:,} numbers, and its config.json "
            f"describes {wanted:,}. Please download the rest."
        )
    exact = _exact(options["dtype"])
    already = getattr(config, "quantization_config", None)
    purpose.check(
        Shapes.of(empty), exact.itemsize if exact else _stored_itemsize(folder), _held(folder, exact), not already
    )
    if already or purpose.quantization:
        from .int8 import bitsandbytes_quietly, reading_options

        bitsandbytes_quietly()
        if not already:
            options["quantization_config"] = reading_options(empty)
    try:
        with quiet(), enough_memory(f"Loading {folder.name}"):
            network, found = _class(config).from_pretrained(folder, config=config, **options)
    except (*UNBUILT, SafetensorError) as error:
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


def _held(folder: Path, dtype: torch.dtype | None) -> int:
    """Bytes of a folder's weights in memory; dtype None: as they are stored."""
    return sum(bytes_in(x, dtype.itemsize if dtype else None) for x in weight_files(folder))


def _stored_itemsize(folder: Path) -> int:
    """Bytes of a number as it is stored, on average: of an activation, where the file's type is taken over."""
    return max(1, round(_held(folder, None) / max(1, sum(numbers_in(x) for x in weight_files(folder)))))


def _exact(dtype) -> torch.dtype | None:
    """A type, from one or its name; None for "auto" and None."""
    if isinstance(dtype, torch.dtype) or dtype in (None, "auto"):
        return None if dtype == "auto" else dtype
    found = getattr(torch, str(dtype).removeprefix("torch."), None)
    if not isinstance(found, torch.dtype):
        raise LVLMError(f"There is no number type {dtype!r}: please choose float32, bfloat16, float16 or auto.")
    return found


def _place(device):
    return device or default_device()
