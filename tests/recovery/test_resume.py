"""A killed run goes on from its last checkpoint along the same curve, to the bit."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from lvlm.events import LossPoint
from recovery import BadRecipe, Recipe, recover
from tests import tiny

KIND = {"lora": {"rank": 4, "alpha": 8, "dropout": 0.2}, "full": {"kl": 0.5, "micro_batch": 2}}


class Killed(Exception):
    """In the place of a signal: nothing may catch it."""


def run(pruned, dense, recipe, dies_at=None, **options):
    """The healed model (None if killed) and its curve."""
    points = {}

    def listen(event):
        if isinstance(event, LossPoint):
            points[event.step] = (event.losses, event.held_out)
            if event.step == dies_at:
                raise Killed

    try:
        return recover(pruned, dense, tiny.samples(9), recipe, listen, **options), points
    except Killed:
        return None, points


@pytest.mark.parametrize("train", KIND)
def test_a_resumed_run_follows_the_same_curve(pruned, dense, train, tmp_path):
    """Losses, held-out losses and the healed weights are those of a run that was never killed, to the bit."""
    recipe = Recipe(train=train, steps=40, batch=4, learning_rate=1e-2, **KIND[train])  # a checkpoint each second step
    healed, wanted = run(pruned, dense, recipe)
    recipe = replace(recipe, checkpoints=str(tmp_path))
    _, first = run(pruned, dense, recipe, dies_at=15)
    torch.manual_seed(5)  # whatever happens in between
    again, rest = run(pruned, dense, recipe, resume=True)
    assert min(rest) == 15 and max(first) == 15
    assert {**first, **rest} == wanted
    assert again.digest() == healed.digest()
    assert again.history[-1]["curve"] == healed.history[-1]["curve"]
    finished, nothing = run(pruned, dense, recipe, resume=True)
    assert finished.digest() == healed.digest() and not nothing


def test_a_checkpoint_is_whole_or_not_there(pruned, dense, tmp_path, monkeypatch):
    """Killed while it is written, the one before stands; only safetensors and JSON, and no more than one."""
    recipe = Recipe(train="full", steps=40, batch=4, checkpoints=str(tmp_path))
    run(pruned, dense, recipe, dies_at=5)
    (only,) = tmp_path.iterdir()
    assert sorted(x.name for x in only.iterdir()) == [
        "best.safetensors", "optimizer.safetensors", "state.json", "weights.safetensors",
    ]  # fmt: skip

    def killed(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("lvlm.disk.os.replace", killed)
        run(pruned, dense, recipe, resume=True)
    assert only.exists() and len(list(tmp_path.glob("step-*"))) == 1
    _, points = run(pruned, dense, recipe, resume=True)
    assert min(points) == 5 and len(list(tmp_path.iterdir())) == 1
    weights = load_file(tmp_path / "step-0000040" / "weights.safetensors")
    assert {x.dtype for x in weights.values()} == {torch.float32}


def test_only_the_same_run_is_resumed(pruned, dense, tmp_path):
    """Another recipe, a folder with a run in it, a broken checkpoint, no folder: each is a sentence."""
    recipe = Recipe(steps=4, batch=4, rank=4, alpha=8, checkpoints=str(tmp_path))
    run(pruned, dense, recipe, dies_at=3)
    with pytest.raises(BadRecipe, match="resume that run"):
        run(pruned, dense, recipe)
    with pytest.raises(BadRecipe, match="another recipe"):
        run(pruned, dense, replace(recipe, learning_rate=1.0), resume=True)
    with pytest.raises(BadRecipe, match="another student"):
        run(dense, dense, recipe, resume=True)
    with pytest.raises(BadRecipe, match="nothing to resume"):
        run(pruned, dense, replace(recipe, checkpoints=None), resume=True)
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "step-0000002", moved / "step-0000002")
    again, points = run(pruned, dense, replace(recipe, checkpoints=str(moved)), resume=True)
    assert again and min(points) == 3
    (file,) = moved.glob("*/best.safetensors")
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(BadRecipe, match="cannot be read"):
        run(pruned, dense, replace(recipe, checkpoints=str(moved)), resume=True)
