"""What a checkpoint folder may hold. No code of it runs: whatever reads the folder is shown a copy without what could.

Left out of the copy: pickles, Python files, links out of the folder, and entries that name other files or libraries.
Refused: requests to run code, adapters, foreign quantizations, sizes that no model has. Weights are linked, not copied.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .disk import refusals, workplace
from .errors import BrokenCheckpoint, LVLMError, NotAnLVLM, UnsafeCheckpoint
from .files import inside, read_json, refuse_pickles
from .plain import MOST_JSON
from .processors import VIDEOS

TEXTS = (".json", ".jinja", ".txt", ".model")
VOCABULARY = 1 << 21  # bytes; larger JSON files are vocabularies, for the tokenizers library alone
DEPTH = 2  # of folders inside, where original layouts may have a vision tower
# Entries, at any depth, that name other files or libraries: the copy goes without.
LEFT_OUT = {
    "config.json": {
        "attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation",
        "configuration_files", "custom_pipelines", "fusion_config", "kernel_config", "transformers_weights",
        "use_kernels",
    },
    "tokenizer_config.json": {
        "fast_tokenizer_files", "init_inputs", "name_or_path", "tokenizer_file", "vocab_file", "merges_file",
        "special_tokens_map_file",
    },
}  # fmt: skip
# What stays of generation_config.json; other ways of searching would want packages, models or code from elsewhere.
GENERATION = re.compile(
    r".*_token_id|.*_tokens|.*_penalty|bad_words_ids|no_repeat_ngram_size|do_sample|temperature|top_[kp]|min_p|"
    r"max_length|transformers_version"
)
SIZED = ("config.json", "preprocessor_config.json", "processor_config.json")  # tokenizers write 1e30 for "no limit"
MOST_TOKENS = 1 << 28  # of a vocabulary; -1 stands for none
# What their numbers may come to, by what their entries are called, first match first. Far above all published models.
BOUNDS = (
    (re.compile(r"(crop_|image_|pad_|patch_)?size|height|width"), 1 << 14),  # pixels
    (re.compile(r"image_seq_length|num_additional_image_tokens|(min|max)_patches"), 1 << 17),  # tokens of an image
    (re.compile(r".*(layers|depth|blocks|experts).*"), 1 << 10),
    (re.compile(r".*(size|dim|heads|channels|length|edge).*"), 1 << 28),
)


@contextmanager
def shown(folder: Path, name: str) -> Iterator[Path]:
    """A copy called `name` of what a model is read from; gone when the block ends.

    Raises UnsafeCheckpoint for a link out of the folder, and where all weights are pickles.
    """
    with _readable(name):
        refuse_pickles(folder)
        files = list(_files(folder, DEPTH))
    place = workplace("checkpoint-")
    try:
        copy = place / (name.replace("/", "--") or "model")
        with refusals("A copy of the model's settings", place):
            _fill(copy, folder, name, files)
        yield copy
    except LVLMError as error:  # which may quote a library: where the copy lay is nobody's business
        error.args = (str(error).replace(f"{place}{os.sep}", ""),)
        raise
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BrokenCheckpoint(f"{name} cannot be read ({error.strerror}): please see that you may read it.") from error


def _fill(copy: Path, folder: Path, name: str, files: list[Path]) -> None:
    copy.mkdir()
    for file in files:
        target = copy / file.relative_to(folder)
        if not inside(file, folder):
            if file.parent == folder:
                raise UnsafeCheckpoint(
                    f"{name}/{file.name} is a link out of the folder, to {os.path.realpath(file)}: "
                    "please put the file itself in its place if you trust it."
                )
            continue
        if not file.is_file():  # a pipe would be waited at for ever
            raise BrokenCheckpoint(f"{name}/{file.name} is not a file: please download it again.")
        target.parent.mkdir(parents=True, exist_ok=True)
        size = file.stat().st_size
        if file.suffix == ".safetensors":
            target.symlink_to(file.resolve())
            continue
        if size > MOST_JSON:
            raise BrokenCheckpoint(f"{name}/{file.name} is larger than any such file: please download it again.")
        with _readable(f"{name}/{file.name}"):
            data = file.read_bytes()
        target.write_bytes(data)
        if file.suffix == ".json" and file.parent == folder and size < VOCABULARY and _is_object(target):
            target.write_text(json.dumps(_without(read_json(target), file.name)), encoding="utf-8")


def _files(folder: Path, depth: int) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if depth and inside(path, folder):
                yield from _files(path, depth - 1)
        elif path.suffix in (*TEXTS, ".safetensors"):
            yield path


def _is_object(path: Path) -> bool:
    """vocab.json and the like may be other JSON; what is not to be an object is not looked into."""
    return path.read_bytes().lstrip()[:1] == b"{"


def _without(found, file: str):
    """The JSON value without the entries that LEFT_OUT names for this file, at any depth."""
    if file == "generation_config.json":
        return {k: v for k, v in found.items() if GENERATION.fullmatch(k)}
    dropped = LEFT_OUT.get(file)
    if not dropped:
        return found
    if isinstance(found, dict):
        return {k: _without(v, file) for k, v in found.items() if k not in dropped}
    return [_without(x, file) for x in found] if isinstance(found, list) else found


def check(folder: Path) -> dict:
    """config.json of a folder in a stock layout. Raises UnsafeCheckpoint, NotAnLVLM or BrokenCheckpoint."""
    raw = read_json(folder / "config.json", missing=NotAnLVLM)
    for file in sorted(folder.glob("*.json")):
        if file.name == VIDEOS or file.stat().st_size >= VOCABULARY or not _is_object(file):
            continue
        for key, value in _entries(read_json(file)):
            if key == "auto_map" or key == "trust_remote_code" and value:
                raise UnsafeCheckpoint(
                    f"{folder.name}/{file.name} asks to run code that comes with the checkpoint ({key}): this is never "
                    "done. Please use a version converted to stock transformers classes."
                )
            if key.endswith("_token_id"):
                _check_token(f"{folder.name}/{file.name}", key, value)
            if file.name in SIZED:
                _check_size(f"{folder.name}/{file.name}", key, value)
    for key, value in _entries(raw):
        if key in ("quantization_config", "compression_config") and value:
            _check_quantization(folder.name, value)
    return raw


def check_adapter(folder: Path) -> None:
    """Raise NotAnLVLM for a PEFT adapter: transformers would fetch the model that it names, or change this one's."""
    if (folder / "adapter_config.json").exists():
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        raise NotAnLVLM(
            f"{folder.name} holds an adapter of {base}, not a model of its own: please merge it into its model "
            "(PEFT's merge_and_unload) and give that folder."
        )


def _entries(found) -> Iterator[tuple[str, object]]:
    """(key, value) of every object in a JSON value, outer ones first; how deep it goes, json has seen to."""
    waiting = [found]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            yield from here.items()
            waiting.extend(here.values())
        elif isinstance(here, list):
            waiting.extend(here)


def _check_size(file: str, key: str, value) -> None:
    most = next((n for names, n in BOUNDS if names.fullmatch(key)), None)
    for number in value if isinstance(value, list) else [value]:
        if most is not None and isinstance(number, int) and abs(number) > most:
            raise BrokenCheckpoint(
                f"{file} has {key} = {number:,}, which no model has (at most {most:,}): please download it again."
            )


def _check_token(file: str, key: str, value) -> None:
    """Ids that are none are first met when an answer is computed."""
    for number in value if isinstance(value, list) else [value]:
        if number is not None and (type(number) is not int or not -1 <= number < MOST_TOKENS):
            raise BrokenCheckpoint(f"{file} has {key} = {number!r}, which is no token: please download it again.")


def _check_quantization(folder: str, config) -> None:
    """Only our own is read back: LLM.int8 of the decoder's linears."""
    config = config if isinstance(config, dict) else {}
    kind = str(config.get("quant_method") or "an unknown method")
    if kind == "bitsandbytes" and config.get("load_in_8bit") and not config.get("load_in_4bit"):
        return
    if kind == "bitsandbytes":
        raise BrokenCheckpoint(
            f"{folder} is quantized to 4 bits (bitsandbytes), which computes wrong answers without notice on CPUs: "
            'please use the unquantized version, and load it with quantization="int8" if memory is short.'
        )
    raise BrokenCheckpoint(
        f"{folder} is quantized with {kind}, which is not read here: please use the unquantized version, and load it "
        'with quantization="int8" if memory is short.'
    )
