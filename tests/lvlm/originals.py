"""The tiny checkpoints in the authors' layouts, and ways to rewrite copies of them."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from lvlm import load

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
NAMES = ("llava", "bunny", "internvl")
TOWER = "model.vision_tower.vision_tower.vision_model."


def reference(name: str) -> dict[str, torch.Tensor]:
    return load_file(FIXTURES / name / "reference.safetensors")


def copy_of(name: str, folder: Path) -> Path:
    """Only what a checkpoint has: not the authors' outputs."""
    target = folder / name
    shutil.copytree(FIXTURES / name, target, ignore=shutil.ignore_patterns("reference*", "importance*"))
    return target


def rewrite(folder: Path, change) -> None:
    """change(weights) edits the dict of tensors in place."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors")


def reconfigure(folder: Path, file: str = "config.json", **entries) -> None:
    """Set entries of a JSON file; dots reach into nested ones, written as __."""
    path = folder / file
    data = json.loads(path.read_text()) if path.exists() else {}
    for key, value in entries.items():
        *outer, last = key.split("__")
        place = data
        for part in outer:
            place = place[part]
        if value is ...:
            place.pop(last, None)
        else:
            place[last] = value
    path.write_text(json.dumps(data))


def inputs(name: str, model, which: str = "short") -> dict:
    """The reference's inputs as the stock class takes them: -200 becomes as many image tokens as there are."""
    found = reference(name)
    if name == "internvl":
        return {"input_ids": found[f"{which}.input_ids"], "pixel_values": found["pixel_values"]}
    image, count = model.processor.image_token_id, model.network.config.image_seq_length
    rows = [sum(([image] * count if x == -200 else [x] for x in row), []) for row in found["input_ids"].tolist()]
    return {"input_ids": torch.tensor(rows), "pixel_values": found["pixel_values"]}


@torch.no_grad()
def logits(name: str, model, which: str = "short") -> torch.Tensor:
    given = inputs(name, model, which)
    return model.network(**{**given, "pixel_values": given["pixel_values"].to(model.dtype)}).logits


def same(name, folder, bound=1e-5, **options):
    """It computes what the whole, untouched checkpoint computes."""
    found, wanted = logits(name, load(folder, **options)), logits(name, load(FIXTURES / name))
    return (found - wanted).abs().max() <= bound


def split(folder, shards=3, name="model-{:05d}-of-{:05d}.safetensors"):
    """Into several files with an index, as large checkpoints come."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    where = {}
    for n in range(shards):
        part = {k: weights[k].contiguous() for k in sorted(weights)[n::shards]}
        file = name.format(n + 1, shards)
        save_file(part, folder / file)
        where |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
