"""The files of a checkpoint folder, on disk or from the hub: JSON and safetensors headers. Opens nothing else."""

import json
import logging
import math
import struct
import warnings
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.utils import logging as transformers_logging

from .errors import BrokenCheckpoint, LVLMError, UnknownModel, UnsafeCheckpoint

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
WANTED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.safetensors.index.json")


def download(repo: str, revision: str | None = None, wanted=WANTED) -> Path:
    """The folder of a hub id, from the cache or the network. Raises UnknownModel where it is in neither."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(wanted)))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UnknownModel(
            f"The Hugging Face hub has no model {repo} open to you: check the name or log in."
        ) from error
    except Exception as error:  # the client raises many kinds for "no network", none of them ours to tell apart
        raise UnknownModel(
            f"{repo} is not on this machine and could not be downloaded ({type(error).__name__}): "
            "check the network, or give a local folder."
        ) from error


def weight_files(folder: Path) -> list[Path]:
    """Every .safetensors file of a folder. Raises UnsafeCheckpoint or BrokenCheckpoint if there is none."""
    found = sorted(folder.glob("*.safetensors"))
    if not found and any(x.suffix in PICKLES for x in folder.iterdir()):
        raise UnsafeCheckpoint(
            f"{folder.name} holds its weights as pickle files, which can run code when opened: "
            "please convert it to safetensors."
        )
    if not found:
        raise BrokenCheckpoint(f"{folder.name} holds no .safetensors file: please download the weights again.")
    return found


def read_json(path: Path, missing: type[LVLMError] = BrokenCheckpoint) -> dict:
    """The object in a JSON file; `missing` is raised if there is no such file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise missing(f"{path.parent.name} has no {path.name}: please choose a model folder.") from error
    except (ValueError, OSError, RecursionError) as error:
        raise BrokenCheckpoint(
            f"{path.parent.name}/{path.name} is not readable JSON: please download it again."
        ) from error
    if not isinstance(found, dict):
        raise BrokenCheckpoint(f"{path.parent.name}/{path.name} does not hold a JSON object: please download it again.")
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
