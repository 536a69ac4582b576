"""The `recover` verb: what it hands to the library, how it ends, and two processes against one."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import fields, replace

import pytest
import torch

from lvlm import load
from lvlm.events import LossPoint
from pruning import make_plan, prune, save
from recovery import PRESETS, BadRecipe, Recipe, advised, recipe_for, recover
from recovery.recipe import removed
from samples import load_samples
from tests import tiny
from tests.cli.commands import answered, refused, run
from tests.test_layers import ROOT

QUICK = ["fraction=1", "train=lora", "rank=4", "alpha=8", "dropout=0", "learning_rate=0.01", "steps=3", "batch=4"]


def settings(*changes):
    return [word for change in changes for word in ("--set", change)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, the same pruned, and an instruction file of 24 short samples, some without an image."""
    where = tmp_path_factory.mktemp("recover")
    dense = tiny.model("llama-gqa")
    save(dense, where / "dense")
    save(prune(dense, make_plan(tiny.scores(dense), "both", 0.4)), where / "pruned")
    tiny.picture().save(where / "a.png")
    entries = []
    for i in range(24):
        said = {"from": "human", "value": " ".join(tiny.WORDS[i % 20 : i % 20 + 3 + i % 4])}
        entry = {"id": i, "conversations": [said, {"from": "gpt", "value": tiny.WORDS[-1 - i % 9]}]}
        entries.append(entry | ({"image": "a.png"} if i % 3 else {}))
    (where / "data.json").write_text(json.dumps(entries))
    return where


@pytest.fixture
def words(place, tmp_path):
    data, out = ("--data", place / "data.json"), ("--out", tmp_path / "new")
    return ["recover", place / "pruned", "--teacher", place / "dense", *data, *out]


def test_the_verb_heals_as_the_library_does(place, words, tmp_path):
    """The folder holds the library's healed model; the JSON tells the recovery; people read it in a line."""
    told = answered(*words, *settings(*QUICK))
    pruned, dense = load(place / "pruned"), load(place / "dense")
    recipe = recipe_for(pruned, None, QUICK, 0)
    wanted = recover(pruned, dense, load_samples(place / "data.json"), recipe)
    assert told["digest"] == wanted.digest() == load(tmp_path / "new").digest()
    assert told["recovery"]["curve"] == wanted.history[-1]["curve"] and told["recovery"]["samples"] == 24
    said = run(*words, "--force", *settings(*QUICK)).stdout
    assert re.search(r"Healed tiny-llama-gqa: held-out loss [\d.]+ → [\d.]+, best at step \d of 3", said)


def test_a_recipe_comes_from_the_advice_a_file_and_changes(place, tmp_path):
    """By what the history says is removed; every field can be set; what is no recipe is refused."""
    pruned = load(place / "pruned")
    assert removed(pruned) == pytest.approx(pruned.history[0]["achieved"]) and removed(load(place / "dense")) == 0
    assert recipe_for(pruned, None, (), 7) == replace(advised(removed(pruned), pruned.name), seed=7)
    assert recipe_for(load(place / "dense"), None, (), 0).train == "projector"
    other = Recipe(
        train="full", sft=0.5, kl=0.25, rkl=2.0, l2=0.0, temperature=3.0, l2_layers=2, l2_tokens="all",
        arithmetic="paper", rank=3, alpha=5, dropout=0.5, learning_rate=0.5, warmup=0.5, epochs=2.5, steps=7,
        minutes=1.5, batch=3, micro_batch=2, fraction=0.5, held_out=3, seed=9, precision="bfloat16", checkpointing=True,
        checkpoints="c", cache="d",
    )  # fmt: skip
    assert all(getattr(other, x.name) != x.default for x in fields(Recipe))
    changes = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in other.to_dict().items()]
    assert recipe_for(pruned, None, changes, 0) == other
    (tmp_path / "recipe.json").write_text(other.to_json())
    assert recipe_for(pruned, tmp_path / "recipe.json", ["steps=8"], 3) == replace(other, steps=8)
    for wrong in (["minutes"], ["bach=3"], ["train=vision"]):
        with pytest.raises(BadRecipe):
            recipe_for(pruned, None, wrong, 0)
    assert PRESETS["pocket"].items() <= advised(0.3, "pocket-llava").to_dict().items()


def test_refusals_are_a_sentence(place, words, tmp_path):
    """Nothing is written; what is at --out stays."""
    assert "--teacher" in refused(*words[:2], *words[4:])
    assert "5% of 24 samples" in refused(*words, *settings("fraction=0.05"))
    assert "no readable recipe" in refused(*words, "--recipe", tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[]")
    assert "not a recipe" in refused(*words, "--recipe", tmp_path / "list.json")
    assert "nothing to resume" in refused(*words, *settings(*QUICK), "--resume")
    assert not (tmp_path / "new").exists()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").write_text("")
    assert "--force" in refused(*words, *settings(*QUICK))


def test_ctrl_c_keeps_the_best_so_far(words, tmp_path, monkeypatch):
    """The healed model so far is written, the exit code is 130, and Ctrl-C means again what it did."""
    from recovery.trainer import Training

    tell, before = Training._tell, signal.getsignal(signal.SIGINT)

    def interrupted(self, *args):
        tell(self, *args)
        if self.state.step == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Training, "_tell", interrupted)
    run(*words, *settings(*QUICK, "steps=50"), code=130)
    assert load(tmp_path / "new").history[-1]["steps"] in (2, 3)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_diverged_run_leaves_its_best(words, tmp_path):
    """Exit code 1, the sentence, and the last good weights at --out."""
    said = refused(*words, *settings(*QUICK, "train=full", "learning_rate=30", "steps=30"))
    assert "ran from" in said and str(tmp_path / "new") in said
    assert load(tmp_path / "new").history[-1]["step"] == "recover"


def test_two_processes_give_the_losses_of_one(place, words):
    """`accelerate launch … cli.py recover …`: the same global batches, losses and held-out losses within 1e-4."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "assets/accelerate/ddp.yaml"]
    changes = [*QUICK, "kl=1", "l2_layers=all", "micro_batch=1"]  # two parts a process: gradients are exchanged once
    done = subprocess.run(
        [*launch, "--main_process_port", "0", "cli.py", *map(str, words), *settings(*changes), "--json"],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)["recovery"]  # one process speaks
    pruned, points = load(place / "pruned"), []
    recipe = recipe_for(pruned, None, changes, 0)
    torch.set_num_threads(1)
    recover(
        pruned, load(place / "dense"), load_samples(place / "data.json"), recipe,
        lambda x: points.append(x) if isinstance(x, LossPoint) else None,
    )  # fmt: skip
    assert found["processes"] == 2 and len(found["curve"]) == len(points) == 4
    for (step, losses, held_out), point in zip(found["curve"], points):
        assert step == point.step and held_out == pytest.approx(point.held_out, rel=1e-4)
        assert losses == pytest.approx(point.losses, rel=1e-4)
