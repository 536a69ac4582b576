"""Loading: whole or refused with one clear sentence; nothing in a checkpoint is executed."""

import json
import pickle
import shutil
import struct
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from lvlm import BrokenCheckpoint, LVLMError, NotAnLVLM, UnknownModel, UnsafeCheckpoint, load
from pruning import make_plan, prune, save
from tests import tiny


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """A stock folder as transformers writes it, without a trace of us."""
    folder = tmp_path_factory.mktemp("models") / "dense"
    model = tiny.model("llama")
    model.network.save_pretrained(folder)
    model.processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    model = tiny.model("llama")
    plan = make_plan(tiny.scores(model), "widthwise", 0.3)
    return save(prune(model, plan), tmp_path_factory.mktemp("models") / "pruned")


@pytest.fixture(params=["dense", "pruned"])
def folder(request, tmp_path):
    """A copy to damage, of a stock folder and of one of ours."""
    copy = tmp_path / "model"
    shutil.copytree(request.getfixturevalue(request.param), copy)
    return copy


def rewrite(path, change):
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def test_a_stock_folder_loads_quickly_and_answers(dense, capfd, recwarn):
    """Under two seconds, in fp32, silently."""
    start = time.perf_counter()
    model = load(dense)
    assert time.perf_counter() - start < 2
    assert model.dtype == torch.float32 and model.history == () and model.name == "dense"
    assert model.digest() == tiny.model("llama").digest()
    "".join(model.chat(tiny.picture(), "what?", max_new_tokens=3))
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_what_was_loaded_can_be_saved(dense, tmp_path):
    """A loaded model, processor and all, is saved and loads back with the same weights and words."""
    model = load(dense)
    again = load(save(model, tmp_path / "again"))
    assert again.digest() == model.digest()
    assert again.processor.tokenizer.get_vocab() == model.processor.tokenizer.get_vocab()


def test_half_precision_checkpoints_load_as_fp32_on_the_cpu(tmp_path):
    """fp16 files of small models compute in fp32; the type can be chosen."""
    model = tiny.model("llama", dtype=torch.float16)
    model.network.save_pretrained(tmp_path / "half")
    model.processor.save_pretrained(tmp_path / "half")
    assert load(tmp_path / "half").dtype == torch.float32
    assert load(tmp_path / "half", dtype=torch.bfloat16).dtype == torch.bfloat16
    assert load(tmp_path / "half", dtype="auto").dtype == torch.float16


def test_pixels_do_not_depend_on_the_machine(dense):
    """The PIL image processor is used whether or not torchvision is there."""
    assert type(load(dense).processor.image_processor).__name__.endswith("Pil")


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.999])
def test_truncated_weights_are_refused(folder, keep):
    """However much of the file is there."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep >= 1 else keep * len(data))])
    with pytest.raises(BrokenCheckpoint, match="download"):
        load(folder)


def test_a_header_that_lies_is_refused(folder):
    """Garbage, and a header length beyond the file."""
    path = folder / "model.safetensors"
    for data in (b"\xff" * 4096, struct.pack("<Q", 1 << 60) + b"{}", struct.pack("<Q", 2) + b"{}" + b"\x00" * 64):
        path.write_bytes(data)
        with pytest.raises(BrokenCheckpoint):
            load(folder)


@pytest.mark.parametrize("where", ["lm_head", "language_model", "vision", "projector"])
def test_a_missing_tensor_is_refused(folder, where, monkeypatch):
    """It would silently come back as random numbers."""
    rewrite(folder / "model.safetensors", lambda x: x.pop(next(k for k in sorted(x) if where in k)))
    with pytest.raises(BrokenCheckpoint, match="lack"):
        load(folder)
    monkeypatch.setattr("lvlm.loading.numbers_in", lambda path: 1 << 60)  # the second line of defence
    with pytest.raises(BrokenCheckpoint, match="lack"):
        load(folder)


def test_weights_that_lack_gigabytes_are_refused_before_any_is_allocated(tmp_path):
    """A bare "llava" config means the 7B model: a file of two numbers must not cost 28 GB of random ones."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava"}))
    save_file({"x": torch.zeros(2)}, tmp_path / "model.safetensors")
    start = time.perf_counter()
    with pytest.raises(BrokenCheckpoint, match="hold 2 numbers"):
        load(tmp_path)
    assert time.perf_counter() - start < 2


def test_an_extra_tensor_is_refused(folder):
    """A layer more than the config says was cut off the model someone trained."""
    extra = "language_model.model.layers.9.mlp.up_proj.weight"
    rewrite(folder / "model.safetensors", lambda x: x.update({extra: torch.zeros(48, 32)}))
    with pytest.raises(BrokenCheckpoint, match="unknown tensors"):
        load(folder)


def test_a_misshapen_tensor_is_refused(folder):
    """Never resized, never re-drawn."""

    def change(weights):
        name = next(k for k in sorted(weights) if "mlp.up_proj" in k)
        weights[name] = torch.zeros(500, 32)

    rewrite(folder / "model.safetensors", change)
    with pytest.raises(BrokenCheckpoint, match="do not"):
        load(folder)


def test_wrong_recorded_widths_are_refused(pruned, tmp_path):
    """text_config.pruning must describe the tensors, layer by layer."""
    for change in (
        lambda x: x["groups"].__setitem__(0, 1),
        lambda x: x["neurons"].pop(),
        lambda x: x["neurons"].__setitem__(0, "many"),
        lambda x: x.pop("groups"),
    ):
        copy = tmp_path / "model"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(pruned, copy)
        config = json.loads((copy / "config.json").read_text())
        change(config["text_config"]["pruning"])
        (copy / "config.json").write_text(json.dumps(config))
        with pytest.raises(BrokenCheckpoint):
            load(copy)


def test_stock_transformers_refuses_reshaped_weights_loudly(pruned):
    """Nobody gets random weights by accident: the stock class raises."""
    from transformers import LlavaForConditionalGeneration

    with pytest.raises(RuntimeError):
        LlavaForConditionalGeneration.from_pretrained(pruned)


def test_stock_transformers_loads_layerwise_pruned_models(tmp_path):
    """Removing layers leaves a stock checkpoint, bit for bit, and the folder says so."""
    from transformers import LlavaForConditionalGeneration

    model = tiny.model("qwen2")
    found = prune(model, make_plan(tiny.scores(model), "layerwise", 0.4))
    folder = save(found, tmp_path / "layers")
    stock = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    with torch.no_grad():
        assert torch.allclose(stock(**tiny.inputs()).logits, found.network(**tiny.inputs()).logits, atol=1e-5)
    assert json.loads((folder / "pruning.json").read_text())["loads_in_transformers"] is True


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth", "model.pkl"])
def test_pickles_are_refused_unopened(folder, name):
    """A pickle can run code when opened: it is never opened, and the sentence says so."""
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UnsafeCheckpoint, match="pickle"):
        load(folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "processor_config.json"])
def test_remote_code_is_refused(folder, file):
    """auto_map asks for code from the checkpoint: never."""
    data = json.loads((folder / file).read_text())
    data["auto_map"] = {"AutoModel": "evil.Model", "AutoProcessor": "evil.Processor", "AutoTokenizer": ["evil.T", None]}
    (folder / file).write_text(json.dumps(data))
    (folder / "evil.py").write_text("raise SystemExit('executed')")
    with pytest.raises(UnsafeCheckpoint, match="auto_map"):
        load(folder)


def test_a_language_model_is_not_an_lvlm(tmp_path):
    """It says which kind of model it found."""
    from transformers import LlamaConfig, LlamaForCausalLM

    LlamaForCausalLM(
        LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    ).save_pretrained(tmp_path / "text")
    with pytest.raises(NotAnLVLM, match="llama"):
        load(tmp_path / "text")


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"', "\x00\x01"])
def test_an_unreadable_config_is_refused(folder, content):
    """Broken JSON, or JSON of another kind."""
    (folder / "config.json").write_text(content)
    with pytest.raises(BrokenCheckpoint, match="config.json"):
        load(folder)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model_type": "unheard-of"},
        {"model_type": "llava"},
        {"model_type": 7},
        {"model_type": "llava", "image_token_index": "many"},
    ],
)
def test_an_unknown_kind_of_model_is_refused(tmp_path, config):
    """Unknown or half-described models do not get a stack trace."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"x": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(LVLMError):
        load(tmp_path)


def test_names_that_lead_nowhere_are_refused(tmp_path, dense):
    """Unknown names, empty folders, files, missing tokenizers."""
    for name in ("no-such-model", "./nowhere", "/nowhere/at/all", "a/b/c", ""):
        with pytest.raises(LVLMError):
            load(name)
    with pytest.raises(NotAnLVLM, match="config.json"):
        load(tmp_path)
    with pytest.raises(NotAnLVLM, match="folder"):
        load(dense / "config.json")


def test_a_hub_model_out_of_reach_is_an_unknown_model(monkeypatch):
    """No network is no stack trace."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnknownModel, match="network"):
        load("nobody/no-such-model-here")


@pytest.mark.parametrize("file", ["tokenizer.json", "preprocessor_config.json", "processor_config.json"])
def test_a_damaged_processor_is_refused(folder, file):
    """A tokenizer or processor file of garbage gives a sentence."""
    if not (folder / file).exists():
        pytest.skip("not written by this version of transformers")
    (folder / file).write_text("{broken")
    with pytest.raises(BrokenCheckpoint):
        load(folder)


def test_an_older_folder_is_replaced_and_a_strange_one_refused(tmp_path):
    """Saving twice keeps one whole checkpoint; a folder with other files is left alone."""
    model = tiny.model("llama")
    folder = save(model, tmp_path / "m")
    (folder / "leftover").write_text("old")
    save(model, folder)
    assert not (folder / "leftover").exists() and {x.name for x in tmp_path.iterdir()} == {"m"}
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(LVLMError, match="other files"):
        save(model, tmp_path / "photos")
    assert (tmp_path / "photos" / "holiday.jpg").exists()


@pytest.mark.parametrize("moment", ["write_text", "rename"])
def test_a_save_that_dies_leaves_the_old_folder(tmp_path, monkeypatch, moment):
    """Whatever fails midway, what was there is still whole and nothing half-written shows."""
    import os
    from pathlib import Path

    model, folder = tiny.model("llama"), tmp_path / "m"
    save(model, folder)

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(*((Path, "write_text", fail) if moment == "write_text" else (os, "rename", fail)))
    with pytest.raises(LVLMError, match="disk full.*another place"):
        save(tiny.model("llama", seed=1), folder)
    monkeypatch.undo()
    assert {x.name for x in tmp_path.iterdir()} == {"m"}
    assert load(folder).digest() == model.digest()
