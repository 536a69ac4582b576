"""Checkpoints made to do harm: nothing in them runs, nothing outside of them is read, and each is refused in a sentence
or loaded without the part that could."""

import json
import pickle
import shutil
import struct
import time

import pytest

from lvlm import BrokenCheckpoint, LVLMError, NotAnLVLM, UnsafeCheckpoint, load
from lvlm.safety import shown
from pruning import save
from tests import tiny
from tests.lvlm.originals import reconfigure

EVIL = "from pathlib import Path\nPath({!r}).write_text('ran')\n"


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A file that evil code would write; no pickle may be read either."""

    def fail(*_, **__):
        pytest.fail("a pickle was read")

    for name in ("torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler"):
        monkeypatch.setattr(name, fail)
    place = tmp_path / "evil-ran"
    yield place
    assert not place.exists()


class Bomb:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return exec, (EVIL.format(str(self.place)),)


def refused(folder, kind=LVLMError, match=None, seconds=3.0) -> str:
    """The one sentence that loading is refused with, soon."""
    start = time.thread_time()
    with pytest.raises(kind, match=match) as caught:
        load(folder)
    assert time.thread_time() - start < seconds
    text = str(caught.value)
    assert "\n" not in text and "checkpoint-" not in text and text.endswith((".", ")"))
    return text


# --- code ---

FILES = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json", "other.json")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("deep", [False, True], ids=["at the top", "inside"])
def test_remote_code_is_refused_wherever_it_is_asked_for(folder, trap, file, deep):
    """auto_map, in any JSON file, at any depth."""
    (folder / "evil.py").write_text(EVIL.format(str(trap)))
    asked = {"AutoModelForImageTextToText": "evil.M", "AutoProcessor": "evil.P", "AutoTokenizer": ["evil.T", None]}
    reconfigure(folder, file, **({"inside": [{"auto_map": asked}]} if deep else {"auto_map": asked}))
    refused(folder, UnsafeCheckpoint, "auto_map")


def test_asking_for_trust_is_refused(folder):
    """trust_remote_code as an entry of a file; false, as some save it, is no reason."""
    reconfigure(folder, trust_remote_code=False)
    assert load(folder).digest()
    reconfigure(folder, trust_remote_code=True)
    refused(folder, UnsafeCheckpoint, "trust_remote_code")


def test_code_beside_a_model_is_left_alone(folder, trap):
    """Modelling files, a custom generate with its requirements, a setup: present, and never imported."""
    for name in (
        "modeling_llava.py",
        "evil.py",
        "setup.py",
        "__init__.py",
        "custom_generate/generate.py",
        "conftest.py",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(EVIL.format(str(trap)))
    (folder / "custom_generate" / "requirements.txt").write_text("evil")
    generation = {"custom_generate": str(folder), "penalty_alpha": 0.6, "dola_layers": "high", "num_beam_groups": 2}
    generation |= {"cache_implementation": "quantized", "compile_config": {"backend": "evil"}, "stop_strings": ["x"]}
    reconfigure(folder, "generation_config.json", **generation, repetition_penalty=1.1)
    reconfigure(folder, custom_pipelines={"x": {"impl": "evil.Pipeline"}})
    model = load(folder)
    "".join(model.chat(tiny.picture(), "what?", max_new_tokens=2))
    kept = model.network.generation_config
    assert kept.repetition_penalty == 1.1 and not kept.penalty_alpha and not kept.stop_strings
    assert not hasattr(kept, "custom_generate") and not hasattr(model.network.config, "custom_pipelines")


def test_pickles_beside_safetensors_are_not_opened(folder, trap, harmless):
    """What others would read first, or after, is not even shown to transformers."""
    for name in ("pytorch_model.bin", "model.pt", "adapter_model.bin", "training_args.bin", "tokenizer.pkl"):
        (folder / name).write_bytes(pickle.dumps(Bomb(trap)))
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"x": "pytorch_model.bin"}}))
    assert load(folder).digest() == load(harmless).digest()
    with shown(folder, "model") as seen:
        assert not [x for x in seen.iterdir() if x.suffix not in (".json", ".jinja", ".safetensors", ".md")]


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "../outside.safetensors", "/etc/passwd", "sub/model.safetensors"]
)
def test_an_index_leads_nowhere_else(folder, trap, name, tmp_path):
    """weight_map may name .safetensors files of the folder: no pickle, no path."""
    shutil.copyfile(folder / "model.safetensors", tmp_path / "outside.safetensors")
    (folder / "sub").mkdir()
    shutil.copyfile(folder / "model.safetensors", folder / "sub" / "model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(trap)))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": {"x": name}}))
    refused(folder, UnsafeCheckpoint, "index.json")


def test_entries_that_name_other_files_are_not_followed(folder, harmless, tmp_path):
    """Weights, configs, vocabularies and kernels from elsewhere: the folder's own are used."""
    (tmp_path / "secret.json").write_text(json.dumps({"a secret": 0}))
    outside = str(tmp_path / "secret.json")
    wrong = json.loads((folder / "config.json").read_text()) | {"image_token_index": 5}
    (folder / "config.4.0.0.json").write_text(json.dumps(wrong))
    entries = {"transformers_weights": "../x.safetensors", "configuration_files": ["config.4.0.0.json"]}
    entries |= {"attn_implementation": "evil/kernel", "_attn_implementation": "evil/kernel", "use_kernels": True}
    reconfigure(folder, **entries, text_config__attn_implementation="evil/kernel", fusion_config={"x": "y"})
    paths = dict.fromkeys(("vocab_file", "tokenizer_file", "merges_file", "name_or_path"), outside)
    reconfigure(folder, "tokenizer_config.json", **paths, fast_tokenizer_files=[outside], init_inputs=[outside])
    model, wanted = load(folder), load(harmless)
    assert model.digest() == wanted.digest() and model.network.config.image_token_index == 3
    assert model.processor.tokenizer.get_vocab() == wanted.processor.tokenizer.get_vocab()
    assert model.network.config._attn_implementation == wanted.network.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    "name", ["EvilProcessor", "evil.Thing", "../evil", "os", "PreTrainedModel", 7, ["x"], {"x": 1}]
)
def test_classes_that_nobody_knows_are_not_looked_for(folder, trap, name):
    """processor_class and the like name transformers' own classes: another name is the stock one's, or a sentence."""
    for file in ("evil.py", "EvilProcessor.py"):
        (folder / file).write_text(EVIL.format(str(trap)))
    for file, entry in (
        ("processor_config.json", "processor_class"),
        ("tokenizer_config.json", "tokenizer_class"),
        ("preprocessor_config.json", "image_processor_type"),
        ("config.json", "architectures"),
    ):
        before = (folder / file).read_text() if (folder / file).exists() else None
        reconfigure(folder, file, **{entry: name})
        try:
            assert type(load(folder).processor).__module__.startswith(("transformers.", "lvlm."))
        except LVLMError as error:
            assert "\n" not in str(error)
        (folder / file).unlink() if before is None else (folder / file).write_text(before)


@pytest.mark.parametrize("whole", [True, False], ids=["beside a model", "alone"])
def test_adapters_are_refused(folder, whole):
    """transformers would put one on the model unasked, or fetch the model that it names."""
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "somebody/else", "r": 8}))
    if not whole:
        (folder / "config.json").unlink()
    refused(folder, NotAnLVLM, "adapter of somebody/else.*merge")


QUANTIZED = {
    "gptq": ({"quant_method": "gptq", "bits": 4}, "gptq.*unquantized"),
    "awq": ({"quant_method": "awq"}, "awq.*unquantized"),
    "4 bits": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "4 bits.*wrong answers.*CPU"),
    "both": ({"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": True}, "4 bits"),
    "unnamed": ({"bits": 2}, "unknown method"),
    "nonsense": (["gptq"], "unknown method"),
}


@pytest.mark.parametrize("inside", [False, True], ids=["of the model", "of its decoder"])
@pytest.mark.parametrize("kind", QUANTIZED)
def test_foreign_quantizations_are_refused(folder, kind, inside):
    """Each by name, with what to use instead; none would be read right."""
    config, words = QUANTIZED[kind]
    reconfigure(folder, **{"text_config__quantization_config" if inside else "quantization_config": config})
    refused(folder, BrokenCheckpoint, words)


# --- paths ---


@pytest.mark.parametrize(
    "file", ["model.safetensors", "config.json", "chat_template.jinja", "tokenizer.json", "new.txt"]
)
def test_links_out_of_the_folder_are_refused(folder, file, tmp_path):
    """A link would read, and a saved copy would spread, a file that the folder does not hold."""
    outside = tmp_path / "outside"
    if (folder / file).exists():
        (folder / file).rename(outside)
    else:
        outside.write_text("secret")
    (folder / file).symlink_to(outside)
    assert str(outside) in refused(folder, UnsafeCheckpoint, "link out of the folder")


def test_links_inside_a_folder_work(folder, harmless, tmp_path):
    """To a file beside it, and to the folder itself."""
    (folder / "model.safetensors").rename(folder / "weights.bin.real")
    (folder / "model.safetensors").symlink_to("weights.bin.real")
    (tmp_path / "way").symlink_to(folder)
    assert load(tmp_path / "way").digest() == load(harmless).digest()


def test_a_cached_snapshot_may_use_its_own_repositorys_files_only(folder, harmless, tmp_path):
    """The hub's cache links to ../../blobs; a link to another repository's, or to the cache's token, is refused."""
    repo, other = tmp_path / "models--a--b", tmp_path / "models--c--d"
    snapshot = repo / "snapshots" / ("a" * 40)
    for place in (snapshot, repo / "blobs", other / "blobs"):
        place.mkdir(parents=True)
    for file in harmless.iterdir():
        shutil.copyfile(file, repo / "blobs" / file.name)
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    assert load(snapshot).digest() == load(harmless).digest()
    shutil.copyfile(harmless / "config.json", other / "blobs" / "x")
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(other / "blobs" / "x")
    refused(snapshot, UnsafeCheckpoint, "link out of the folder")


def test_folders_inside_lead_nowhere(folder, tmp_path):
    """A link in a folder inside is left out of what is read; so is a hidden file."""
    (tmp_path / "secret.json").write_text("{}")
    (folder / "inside").mkdir()
    (folder / "inside" / "config.json").symlink_to(tmp_path / "secret.json")
    (folder / "inside" / "own.json").write_text("{}")
    (folder / ".hidden.json").symlink_to(tmp_path / "secret.json")
    with shown(folder, "model") as seen:
        assert [x.name for x in (seen / "inside").iterdir()] == ["own.json"] and not (seen / ".hidden.json").exists()
    assert load(folder).digest()


def test_the_copy_that_is_read_leaves_no_trace(folder, tmp_path):
    """Neither on disk, nor in the names and files of the model that was read from it."""
    from lvlm.disk import home

    model = load(folder)
    assert not list(home().glob("checkpoint-*"))
    saved = save(model, tmp_path / "saved")
    for file in saved.glob("*.json"):
        assert "checkpoint-" not in file.read_text() and str(tmp_path) not in file.read_text()


# --- sizes ---


def with_header(entries, data=b"\0" * 64) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


HEADERS = {
    "a header of exabytes": struct.pack("<Q", 1 << 60) + b"{}",
    "a header of gigabytes": struct.pack("<Q", 1 << 32) + b"{}" * 100,
    "a header beyond the file": struct.pack("<Q", 1000) + b"{}",
    "no header at all": b"\xff" * 4096,
    "overlapping tensors": with_header({"a": tensor([16], 0, 64), "b": tensor([8], 32, 64)}),
    "a hole": with_header({"a": tensor([4], 0, 16), "b": tensor([4], 48, 64)}),
    "offsets backwards": with_header({"a": tensor([16], 64, 0)}),
    "offsets beyond the file": with_header({"a": tensor([1 << 30], 0, 1 << 32)}),
    "offsets below zero": with_header({"a": tensor([16], -64, 0)}),
    "a product that overflows": with_header({"a": tensor([1 << 62, 4], 0, 64)}),
    "many overflows": with_header({"a": tensor([1 << 32, 1 << 32, 1 << 32], 0, 64)}),
    "negative dimensions": with_header({"a": tensor([-4, -4], 0, 64)}),
    "fractional dimensions": with_header({"a": tensor([3.5], 0, 14)}),
    "a shape that is none": with_header({"a": tensor("many", 0, 64)}),
    "an unknown type": with_header({"a": tensor([16], 0, 64, "PICKLE")}),
    "the wrong size": with_header({"a": tensor([3], 0, 64)}),
    "no shapes": with_header({"a": 7}),
    "a list": with_header([]),
    "nested without end": with_header(b"[" * 100_000 + b"]" * 100_000),
    "objects without end": with_header(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
}


@pytest.mark.parametrize("which", HEADERS)
@pytest.mark.parametrize("layout", ["stock", "llava"])
def test_lying_weight_files_are_refused(which, layout, folder, tmp_path):
    """By the library that reads them, before a number is: in a stock layout and in an original one."""
    if layout == "llava":
        from tests.lvlm.originals import copy_of

        folder = copy_of("llava", tmp_path / "original")
    (folder / "model.safetensors").write_bytes(HEADERS[which])
    refused(folder, BrokenCheckpoint, "download")


def test_empty_tensors_of_any_shape_are_no_weights(folder):
    """Zero numbers in a shape of exabytes fit any file; they are not what the config describes."""
    (folder / "model.safetensors").write_bytes(with_header({"a": tensor([0, 1 << 60], 0, 0)}, b""))
    refused(folder, BrokenCheckpoint, "hold 0 numbers")


SIZES = {
    "text_config__hidden_size": 10**9,
    "text_config__num_hidden_layers": 10**9,
    "text_config__intermediate_size": 10**12,
    "text_config__vocab_size": 10**18,
    "text_config__head_dim": 10**9,
    "text_config__num_attention_heads": 10**9,
    "vision_config__num_hidden_layers": 10**6,
    "vision_config__image_size": 10**6,
    "vision_config__patch_size": [10**6, 10**6],
    "image_seq_length": 10**9,
}


@pytest.mark.parametrize("entry", SIZES)
def test_absurd_configs_are_refused_before_anything_is_built(entry, folder, monkeypatch):
    """A billion layers would be built one by one; a width of a billion would be allocated."""
    monkeypatch.setattr("lvlm.loading.AutoConfig.from_pretrained", lambda *_, **__: pytest.fail("config was read"))
    reconfigure(folder, **{entry: SIZES[entry]})
    refused(folder, BrokenCheckpoint, "which no model has")


@pytest.mark.parametrize("entry, value", [("hidden_size", 1 << 20), ("vocab_size", 1 << 24), ("hidden_size", -32)])
def test_a_config_larger_than_its_weights_is_refused(entry, value, folder):
    """What a model might have, and these weights have not: nothing is allocated to find out."""
    reconfigure(folder, **{f"text_config__{entry}": value})
    refused(folder, BrokenCheckpoint)


@pytest.mark.parametrize(
    "file, entries",
    [
        ("processor_config.json", {"image_seq_length": 10**9}),
        ("processor_config.json", {"num_additional_image_tokens": 10**9}),
        ("preprocessor_config.json", {"crop_size": {"height": 10**6, "width": 10**6}}),
        ("preprocessor_config.json", {"size": 10**6}),
        ("preprocessor_config.json", {"max_patches": 10**9}),
    ],
)
def test_absurd_processors_are_refused(file, entries, folder):
    """An image of a million pixels a side, a prompt of a billion image tokens."""
    reconfigure(folder, file, **entries)
    refused(folder, BrokenCheckpoint, "which no model has")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "generation_config.json", "tokenizer.json"])
@pytest.mark.parametrize("depth", [70, 700, 100_000])
def test_json_nested_without_end_is_refused(file, depth, folder):
    """Whoever reads it: json, this project's walks through it, or a library in Rust."""
    inner = '{"a":' * depth + "1" + "}" * depth
    (folder / file).write_text(f'{{"model_type": "llava", "x": {inner}}}')
    refused(folder, LVLMError)


def test_endless_files_are_refused(folder, monkeypatch):
    """No configuration, vocabulary or template takes a hundred megabytes."""
    monkeypatch.setattr("lvlm.safety.MOST_JSON", 1 << 12)
    (folder / "chat_template.jinja").write_text("x" * 5000)
    refused(folder, BrokenCheckpoint, "larger than any")
