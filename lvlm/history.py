"""pruning.json beside a model: what it is called and what was done to it. Read as a stranger's, checked to the end.

Whatever reads a history later (cards, lineage, healing) may take its steps for what pruning and recovery write.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from .errors import BrokenCheckpoint
from .files import line, read_json
from .plain import typed

FILE = "pruning.json"
MOST_NAME = 255  # characters
DTYPES = {x: getattr(torch, x) for x in ("float64", "float32", "bfloat16", "float16")}
# What the readers of a step rely on; a step of another kind is only shown.
NEEDS = {
    "load": {"source": str, "revision": str},
    "prune": {"method": str, "achieved": float, "base": str, "dense_shape": list[tuple[int, int]], "settings": dict},
    "repair": {"samples": int, "error_before": float, "error_after": float},
}


@dataclass(frozen=True)
class Past:
    """name, dtype: None where the file does not say. steps: oldest first, as LVLM.history."""

    name: str | None = None
    dtype: torch.dtype | None = None
    steps: tuple[dict, ...] = ()

    def check_leads_to(self, network, folder: str) -> None:
        """Raise BrokenCheckpoint unless the last cut left as many layers as the network has."""
        cuts = [x for x in self.steps if x["step"] == "prune"]
        if cuts and len(cuts[-1]["layers"]) != len(getattr(network.get_decoder(), "layers", ())):
            raise BrokenCheckpoint(
                f"{folder}/{FILE} tells of a cut to {len(cuts[-1]['layers'])} layers, which is not what the weights "
                "are: please download both again."
            )


def read_past(folder: Path) -> Past:
    """Of a model's folder; an empty one where there is no pruning.json. Raises BrokenCheckpoint."""
    if not (folder / FILE).exists():
        return Past()
    found = read_json(folder / FILE)
    try:
        name, dtype = (typed(str | None, found.get(x), x) for x in ("name", "dtype"))
        if name is not None and not (name.strip() and name.isprintable() and len(name) <= MOST_NAME):
            raise ValueError("its name is none")
        if dtype is not None and dtype not in DTYPES:
            raise ValueError(f"its dtype is none of {', '.join(DTYPES)}")
        steps = typed(list[dict], found.get("history", []), "history")
        json.dumps(steps, ensure_ascii=False).encode()  # half characters could not be written down again
        _check(steps)
    except ValueError as error:
        raise BrokenCheckpoint(
            f"{folder.name}/{FILE} is not what was done to a model ({line(error)}): please download it again."
        ) from error
    return Past(name, DTYPES.get(dtype), tuple(steps))


def _check(steps: list[dict]) -> None:
    """Raise ValueError unless the steps have what their readers need, and each cut is one of what the last one left."""
    layers = None
    for step in steps:
        kind = typed(str, step.get("step"), "step")
        for key, wanted in NEEDS.get(kind, {}).items():
            typed(wanted, step.get(key), key)
        if kind == "prune":
            _check_cut(step, layers)
            layers = len(step["layers"])


def _check_cut(step: dict, layers: int | None) -> None:
    """layers: how many the cut before it left, None for the first."""
    shape, kept = step["dense_shape"], step.get("layers")
    if not _rises(kept, len(shape)) or not kept or layers not in (None, len(shape)) or not 0 <= step["achieved"] < 1:
        raise ValueError("its layers are not those of one model")
    for place, part in enumerate(("heads", "neurons")):
        found = step.get(part)
        if not isinstance(found, list) or len(found) != len(kept):
            raise ValueError(f"its {part} are not those of its layers")
        if not all(_rises(x, shape[i][place]) for i, x in zip(kept, found)):
            raise ValueError(f"its {part} are not a part of what there was")
    settings = step["settings"]
    typed(list | None, settings.get("sample_ids"), "sample_ids")
    scores = typed(dict | None, settings.get("scores"), "scores") or {}
    typed(float | None, scores.get("loss"), "loss")


def _rises(found, end: int) -> bool:
    """Whether it is a list of whole numbers from 0 and below `end`, each larger than the last."""
    whole = isinstance(found, list) and set(map(type, found)) <= {int}
    return whole and all(a < b for a, b in zip([-1, *found], [*found, end]))
