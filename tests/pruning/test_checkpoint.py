"""Saved folders: what they hold, in how many files, and what a failure midway leaves."""

import errno
import json
import os

import pytest
import torch

from lvlm import BrokenCheckpoint, NotWritten, load
from pruning import checkpoint, make_plan, prune, save
from tests import tiny


@pytest.fixture(scope="module")
def pruned():
    model = tiny.model("llama", layers=6)
    return prune(model, make_plan(tiny.scores(model), "both", 0.5, ranking="global", depth_share=0.5))


def files(folder) -> dict[str, bytes]:
    return {x.name: x.read_bytes() for x in folder.iterdir()}


@pytest.mark.parametrize("moment", ["weights written", "first rename", "second rename"])
def test_a_save_that_fails_leaves_the_old_folder(pruned, tmp_path, monkeypatch, moment):
    """Whatever ends it, the folder is as it was and nothing lies beside it; real deaths are in tests/faults."""
    folder = save(tiny.model("llama"), tmp_path / "m")
    before = files(folder)

    def report(event):
        if moment == "weights written" and event.done == 1:
            raise KeyboardInterrupt

    def full(*names):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        if moment != "weights written":
            patch.setattr(os, {"first rename": "rename", "second rename": "replace"}[moment], full)
        with pytest.raises(KeyboardInterrupt if moment == "weights written" else NotWritten):
            save(pruned, folder, report)
    assert files(folder) == before and list(tmp_path.iterdir()) == [folder]


def test_large_weights_are_sharded_and_a_lost_shard_is_noticed(pruned, tmp_path, monkeypatch):
    """A checkpoint in several files loads bit for bit; with one of them gone it is refused."""
    monkeypatch.setattr(checkpoint, "SHARD", "20KB")
    folder = save(pruned, tmp_path / "m")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 2
    again = load(folder)
    for (name, found), wanted in zip(again.network.state_dict().items(), pruned.network.state_dict().values()):
        assert torch.equal(found, wanted), name
    shards[1].unlink()
    with pytest.raises(BrokenCheckpoint):
        load(folder)


def test_pruning_json_tells_what_was_done_and_why(pruned, tmp_path):
    """Schema, base model and its digest, every unit kept, a summary of the scores, seeds: all in plain JSON."""
    about = json.loads((save(pruned, tmp_path / "m") / "pruning.json").read_text())
    (step,) = about["history"]
    assert about["schema"] == 1 and about["digest"] == pruned.digest() and step["base"] == "tiny-llama"
    assert [len(x) for x in step["heads"]] == [x.groups for x in pruned.anatomy.layers]
    assert [len(x) for x in step["neurons"]] == [x.neurons for x in pruned.anatomy.layers]
    settings = step["settings"]
    assert len(settings["scores"]["block_influence"]) == len(step["dense_shape"])
    assert {"seed", "sample_ids", "calibration", "protected"} <= settings.keys()


def test_the_model_card_says_what_is_gone_and_how_to_load_it(pruned, tmp_path):
    """Counts of layers, groups and neurons that went, the share of the backbone, and whether transformers loads it."""
    text = (save(pruned, tmp_path / "m") / "README.md").read_text()
    (step,) = pruned.history
    gone = len(step["dense_shape"]) - len(step["layers"])
    assert f"{step['achieved']:.1%} of the language backbone" in text and f"{gone} layers" in text
    assert "key/value groups" in text and "MLP neurons" in text
    assert "`from_pretrained` does not load it" in text and "load(" in text


def test_a_device_map_places_the_model(pruned, tmp_path):
    """`device` takes a device, or a device map of accelerate's kind; the logits are the same."""
    folder = save(pruned, tmp_path / "m")
    mapped, plain = load(folder, device={"": "cpu"}), load(folder, device="cpu")
    ids = torch.arange(4, 12)[None]
    with torch.no_grad():
        assert torch.equal(mapped.network(input_ids=ids).logits, plain.network(input_ids=ids).logits)
