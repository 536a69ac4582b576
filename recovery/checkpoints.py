"""What a killed run resumes from: trained weights, the best so far, the optimiser's state and the curve. No pickle."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lvlm.disk import settle, whole

from .errors import BadRecipe

STATE = "state.json"  # written last: with it a checkpoint is whole


@dataclass
class State:
    """How far a run is. key: what must agree for it to go on; curve: [step, losses, held-out loss or None] of each."""

    key: dict
    total: int
    step: int = 0
    best_step: int = 0
    best_loss: float = float("inf")
    curve: list = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Saved:
    """A checkpoint in memory. optimizer: "name/entry" → tensor."""

    state: State
    weights: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]


def check_free(folder: Path) -> None:
    """Raise BadRecipe if a run's checkpoints are there already, which a new run would replace.

    What a run that was killed before its first one had begun to write is no checkpoint.
    """
    settle(folder)
    if folder.exists() and any(folder.iterdir()):
        raise BadRecipe(f"{folder} holds other files: please resume that run, or choose an empty folder.")


def write(folder: Path, saved: Saved) -> None:
    """Make this the checkpoint in a folder: whole, or not there. Raises NotWritten; the one before stays then."""
    place = folder / f"step-{saved.state.step:07}"
    with whole(place, "The checkpoint") as part:
        part.mkdir()
        for name in ("weights", "best", "optimizer"):
            save_file(getattr(saved, name), part / f"{name}.safetensors")
        (part / STATE).write_text(json.dumps(saved.state.__dict__), encoding="utf-8")
    for old in folder.glob("step-*"):
        if old != place:
            shutil.rmtree(old, ignore_errors=True)


def read(folder: Path, key: dict) -> Saved | None:
    """The last whole checkpoint in a folder, or None. Raises BadRecipe for one of another run, or a broken one."""
    settle(folder)
    places = sorted(folder.glob("step-*"))
    if not places:
        return None
    try:
        state = State(**json.loads((places[-1] / STATE).read_text(encoding="utf-8")))
        tensors = [load_file(places[-1] / f"{x}.safetensors") for x in ("weights", "best", "optimizer")]
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise BadRecipe(
            f"The checkpoint {places[-1]} cannot be read ({error}): please start anew elsewhere."
        ) from error
    other = [x for x in key if state.key.get(x) != key[x]]
    if other:
        raise BadRecipe(
            f"The run in {folder} had another {other[0]} ({state.key.get(other[0])!r}, not {key[other[0]]!r}): "
            "please resume it as it was started."
        )
    return Saved(state, *tensors)
