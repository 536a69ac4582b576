"""The files of a checkpoint folder: JSON and safetensors headers. Opens nothing else."""

import json
import logging
import math
import os
import struct
import warnings
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.utils import logging as transformers_logging

from .errors import BrokenCheckpoint, LVLMError, UnsafeCheckpoint
from .plain import MOST_JSON, parsed

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
INDEX = "model.safetensors.index.json"


def weight_files(folder: Path) -> list[Path]:
    """The .safetensors files of a folder, of which an index may name no others.

    Raises UnsafeCheckpoint where there are only pickles, and for an index that leads to one or out of the folder;
    BrokenCheckpoint where there are none, or not all that the index names.
    """
    refuse_pickles(folder)
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise BrokenCheckpoint(f"{folder.name} holds no .safetensors file: please download the weights again.")
    if (folder / INDEX).exists():
        named = read_json(folder / INDEX).get("weight_map")
        names = sorted({str(x) for x in named.values()}) if isinstance(named, dict) else []
        for name in names:
            if Path(name).name != name or Path(name).suffix != ".safetensors":
                raise UnsafeCheckpoint(
                    f"{folder.name}/{INDEX} names {name}, which is not a .safetensors file in the same folder: "
                    "please download it from somewhere you trust."
                )
        missing = [x for x in names if folder / x not in found]
        if missing or not names:
            raise BrokenCheckpoint(
                f"{folder.name}/{INDEX} names {missing[0] if missing else 'no files'}, which is not in the folder: "
                "please download all of its files."
            )
    return found


def refuse_pickles(folder: Path) -> None:
    """Raise UnsafeCheckpoint where all weights are pickles; beside safetensors they are not looked at."""
    found = {x.suffix for x in folder.iterdir()}
    if ".safetensors" not in found and found & {*PICKLES}:
        raise UnsafeCheckpoint(
            f"{folder.name} holds its weights as pickle files, which can run code when opened: "
            "please convert it to safetensors."
        )


def read_json(path: Path, missing: type[LVLMError] = BrokenCheckpoint) -> dict:
    """The object in a JSON file; `missing` is raised if there is no such file."""
    name = f"{path.parent.name}/{path.name}"
    try:
        if path.stat().st_size > MOST_JSON:
            raise BrokenCheckpoint(f"{name} is larger than any such file: please download it again.")
        found = parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise missing(f"{path.parent.name} has no {path.name}: please choose a model folder.") from error
    except (ValueError, OSError) as error:
        raise BrokenCheckpoint(f"{name} is not readable JSON ({line(error)}): please download it again.") from error
    if not isinstance(found, dict):
        raise BrokenCheckpoint(f"{name} does not hold a JSON object: please download it again.")
    return found


def header(path: Path) -> dict:
    """Name → {"dtype", "shape", "data_offsets"} of a safetensors file; a truncated one does not fit its own header."""
    try:
        with safe_open(path, framework="pt"):
            pass
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            found = json.loads(file.read(length))
    except (SafetensorError, OSError, struct.error, ValueError, MemoryError, OverflowError) as error:
        raise BrokenCheckpoint(
            f"{path.parent.name}/{path.name} is damaged or cut short ({line(error)}): please download it again."
        ) from error
    found.pop("__metadata__", None)
    end = max((x["data_offsets"][1] for x in found.values()), default=0)
    if 8 + length + end != path.stat().st_size:
        raise BrokenCheckpoint(f"{path.parent.name}/{path.name} is cut short: please download it again.")
    return found


def numbers_in(path: Path) -> int:
    """How many numbers a safetensors file holds."""
    return sum(math.prod(x["shape"]) for x in header(path).values())


def bytes_in(path: Path, itemsize: int | None) -> int:
    """What a safetensors file's tensors take in memory, its floating point numbers at `itemsize` bytes (None: as
    they are); int8 weights stay int8."""
    total = 0
    for about in header(path).values():
        start, end = about["data_offsets"]
        floating = about["dtype"].startswith(("F", "BF"))
        total += math.prod(about["shape"]) * itemsize if itemsize and floating else end - start
    return total


def inside(file: Path, folder: Path) -> bool:
    """Whether a file lies in the folder, wherever links lead; the hub's cache links each snapshot's files to the same
    repository's blobs/."""
    root, real = (Path(os.path.realpath(x)) for x in (folder, file))  # which, unlike resolve, ends in loops of links
    cached = root.parent.name == "snapshots" and root.parent.parent.name.startswith(("models--", "datasets--"))
    return root in real.parents or cached and root.parent.parent / "blobs" in real.parents


def line(error: BaseException) -> str:
    """An error's own text on one line, short enough to stand in a sentence."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "…"


@contextmanager
def quiet():
    """No progress bars and no warnings from transformers while it loads: what matters is raised or reported."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
