"""What cannot be computed or trusted in a file of an original layout is refused in a sentence, at no cost."""

import json
import pickle
import time

import pytest
import torch
from safetensors.torch import load_file

from lvlm import BrokenCheckpoint, LVLMError, NotAnLVLM, UnsafeCheckpoint, load
from tests.lvlm.originals import NAMES, copy_of, reconfigure, rewrite, same, split


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def folder(name, tmp_path):
    return copy_of(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "entries", "word"),
    [
        ("llava", {"mm_projector_type": "linear"}, "mm_projector_type"),
        ("llava", {"mm_use_im_start_end": True}, "mm_use_im_start_end"),
        ("llava", {"image_aspect_ratio": "anyres"}, "image_aspect_ratio"),
        ("bunny", {"use_s2": True}, "use_s2"),
        ("internvl", {"ps_version": "v1"}, "ps_version"),
        ("internvl", {"ps_version": ...}, "ps_version"),
        ("internvl", {"template": "internlm2-chat"}, "template"),
        ("internvl", {"llm_config__architectures": ["InternLM2ForCausalLM"]}, "architectures"),
        ("internvl", {"llm_config": 5}, "architectures"),
        ("internvl", {"llm_config__rope_scaling__type": "yarn"}, "rope_scaling"),
        ("internvl", {"use_thumbnail": False}, "use_thumbnail"),
    ],
)
def test_what_no_stock_class_computes_is_refused(tmp_path, name, entries, word):
    """Loading it into the nearest class would silently be another model."""
    folder = copy_of(name, tmp_path)
    reconfigure(folder, **entries)
    with pytest.raises(NotAnLVLM, match=word):
        load(folder)


def test_no_code_of_a_checkpoint_runs(name, folder):
    """auto_map is what these layouts come with; what it names is not needed, not run, and not saved again."""
    code = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M", "AutoTokenizer": ["evil.T", None]}
    for file in ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json"):
        reconfigure(folder, file, auto_map=code, processor_class="Evil")
    for module in ("evil", "configuration_internvl_chat", "modeling_bunny_phi"):
        (folder / f"{module}.py").write_text("raise SystemExit('executed')")
    assert same(name, folder)
    assert "auto_map" not in json.dumps(load(folder).network.config.to_dict())


def test_pickles_and_damaged_files_are_refused(name, folder):
    """As in every other folder."""
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for data in (whole[:-100], whole[:100], b"\xff" * 4096, whole + b"x"):
        path.write_bytes(data)
        with pytest.raises(BrokenCheckpoint, match="download"):
            load(folder)
    path.unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UnsafeCheckpoint, match="pickle"):
        load(folder)


@pytest.mark.parametrize(
    ("word", "change"),
    [
        ("lack", lambda x, k: x.pop(k)),
        ("unknown", lambda x, k: x.update({"model.something.else": torch.zeros(2)})),
        ("misshape|do not|not describe|divide|different", lambda x, k: x.update({k: torch.zeros(7, *x[k].shape[1:])})),
        ("plain floating", lambda x, k: x.update({k: x[k].to(torch.int8)})),
    ],
)
@pytest.mark.parametrize("which", [0, 0.4, 0.9])
def test_tensors_that_do_not_fit_are_refused_before_any_is_read(name, folder, word, change, which, monkeypatch):
    """Settled from the headers alone."""
    used = [k for k in sorted(load_file(folder / "model.safetensors")) if ".head." not in k]
    rewrite(folder, lambda x: change(x, used[int(which * len(used))]))
    monkeypatch.setattr("lvlm.originals.reading.fill", lambda *x: pytest.fail("read weights"))
    with pytest.raises(BrokenCheckpoint, match=word):
        load(folder)


@pytest.mark.parametrize("file", ["model-00009-of-00009.safetensors", "../other.safetensors", "/etc/passwd", 7])
def test_an_index_that_names_other_files_is_refused(name, folder, file):
    """Missing, outside the folder, or no name at all."""
    split(folder)
    index = folder / "model.safetensors.index.json"
    data = json.loads(index.read_text())
    data["weight_map"][next(iter(data["weight_map"]))] = file
    index.write_text(json.dumps(data))
    with pytest.raises((BrokenCheckpoint, UnsafeCheckpoint), match="index"):
        load(folder)


ABSURD = [0, -1, 10**12, 3.5, "many", None, True, [], {}]


@pytest.mark.parametrize("key", ["num_attention_heads", "partial_rotary_factor", "max_position_embeddings"])
@pytest.mark.parametrize("value", ABSURD, ids=repr)
def test_absurd_numbers_cost_no_time_and_no_memory(name, folder, key, value):
    """Refused in a sentence, or harmless: never a stack trace or gigabytes."""
    reconfigure(folder, **{f"llm_config__{key}" if name == "internvl" else key: value})
    start = time.perf_counter()
    try:
        load(folder)
    except LVLMError as error:
        assert "\n" not in str(error)
    assert time.perf_counter() - start < 3


@pytest.mark.parametrize("key", ["force_image_size", "max_dynamic_patch", "downsample_ratio", "select_layer"])
@pytest.mark.parametrize("value", [0, -1, 10**12, "many", []], ids=repr)
def test_absurd_tiles_are_refused(tmp_path, key, value):
    """A billion tiles would only be noticed at the first question."""
    folder = copy_of("internvl", tmp_path)
    reconfigure(folder, **{key: value})
    if (key, value) in [("force_image_size", 0), ("force_image_size", []), ("select_layer", -1), ("select_layer", 0)]:
        load(folder)  # the vision tower's own size; the last layer; the embeddings
        return
    with pytest.raises(BrokenCheckpoint):
        load(folder)


def test_a_tokenizer_that_does_not_belong_is_refused(name, folder, monkeypatch):
    """Garbage, ids far beyond the embedding, and a SentencePiece file where its reader is not installed or fails."""
    whole = json.loads((folder / "tokenizer.json").read_text())
    far = json.loads(json.dumps(whole))
    far["model"]["vocab"]["far"] = 10**9
    for text in ("{broken", json.dumps(far)):
        (folder / "tokenizer.json").write_text(text)
        with pytest.raises(BrokenCheckpoint, match="tokenizer"):
            load(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"\x00garbage")
    for there, word in ((False, "pip install sentencepiece protobuf"), (True, "no usable tokenizer")):
        monkeypatch.setattr("lvlm.originals.processors.is_sentencepiece_available", lambda there=there: there)
        with pytest.raises(BrokenCheckpoint, match=word):
            load(folder)
