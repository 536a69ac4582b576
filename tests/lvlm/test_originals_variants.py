"""What a real file in an original layout may have is found in it, not assumed."""

import json
import math
import shutil
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

import lvlm.originals.weights as weights_module
from lvlm import BrokenCheckpoint, NotAnLVLM, catalogue, load
from lvlm.catalogue import find
from tests import tiny
from tests.lvlm.originals import (
    FIXTURES,
    NAMES,
    TOWER,
    copy_of,
    inputs,
    logits,
    reconfigure,
    rewrite,
    same,
    split,
)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def folder(name, tmp_path):
    return copy_of(name, tmp_path)


def test_shards_or_one_file(name, folder):
    """The same bits, and files that the index does not name are left alone."""
    split(folder)
    save_file({"x": torch.zeros(2)}, folder / "consolidated.safetensors")
    assert load(folder).digest() == load(FIXTURES / name).digest()


def test_peak_memory_is_the_weights_and_one_shard(name, folder, monkeypatch):
    """One file is open at a time, and no parameter keeps a mapped file alive."""
    split(folder, 4)
    opened, open_now, most = weights_module.safe_open, [], []

    @contextmanager
    def watched(*args, **options):
        with opened(*args, **options) as file:
            open_now.append(file)
            most.append(len(open_now))
            yield file
            open_now.pop()

    monkeypatch.setattr(weights_module, "safe_open", watched)
    model = load(folder)
    assert most == [1] * 4
    for parameter in model.network.parameters():
        assert parameter.untyped_storage().nbytes() == parameter.numel() * parameter.element_size()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files(name, folder, dtype):
    """Their own type when asked for, and fp32 for small models; new rows are made in that type too."""

    def halve(weights):
        weights.update({k: v.to(dtype) for k, v in weights.items()})

    rewrite(folder, halve)
    own = load(folder, dtype="auto")
    assert own.dtype == dtype and {x.dtype for x in own.network.parameters()} == {dtype}
    assert load(folder).dtype == torch.float32 and load(folder, dtype="float16").dtype == torch.float16
    assert (logits(name, load(folder)) - logits(name, load(FIXTURES / name))).abs().max() < 0.5


def test_a_device_map_is_followed(name):
    """As from_pretrained takes them."""
    model = load(FIXTURES / name, device={"": "cpu"})
    assert torch.equal(logits(name, model), logits(name, load(FIXTURES / name)))
    assert load(FIXTURES / name, device="auto").network.hf_device_map


@pytest.mark.parametrize("name", ["llava", "bunny"])
def test_the_last_vision_layer_may_be_missing(name, folder):
    """Nobody reads it: 26 of SigLIP's 27 layers are the same function. One fewer is not."""
    last = TOWER + "encoder.layers.3."
    rewrite(folder, lambda x: [x.pop(k) for k in list(x) if k.startswith(last)])
    model = load(folder)
    assert model.network.config.vision_config.num_hidden_layers == 3
    assert model.network.config.vision_feature_layer == -1
    assert same(name, folder)
    rewrite(folder, lambda x: [x.pop(k) for k in list(x) if k.startswith(last.replace("3", "2"))])
    with pytest.raises(BrokenCheckpoint, match="hold 2 vision layers"):
        load(folder)


@pytest.mark.parametrize("name", ["llava", "bunny"])
@pytest.mark.parametrize("whole", [False, True])
def test_a_missing_vision_tower_is_taken_from_the_folder_that_config_json_names(name, folder, whole):
    """Of the tower alone, or of a whole CLIP or SigLIP with its text side and nested config."""
    weights = load_file(folder / "model.safetensors")
    tower = {"vision_model." + k[len(TOWER) :]: weights.pop(k) for k in list(weights) if k.startswith(TOWER)}
    save_file(weights, folder / "model.safetensors")
    if whole:
        tower |= {"text_model.embeddings.token_embedding.weight": torch.zeros(3, 2), "logit_scale": torch.zeros(())}
        config = json.loads((folder / "vision_tower" / "config.json").read_text())
        (folder / "vision_tower" / "config.json").write_text(json.dumps({"model_type": "x", "vision_config": config}))
    with pytest.raises(BrokenCheckpoint):
        load(folder)
    save_file(tower, folder / "vision_tower" / "model.safetensors")
    assert same(name, folder)
    reconfigure(folder, mm_vision_tower="/data/of/somebody/vision_tower")  # only the last part, inside the folder
    assert same(name, folder)


@pytest.mark.parametrize("name", ["llava", "bunny"])
def test_a_vision_tower_out_of_reach_is_named(name, folder):
    """On the hub without a network, elsewhere on the machine, or beyond the folder."""
    elsewhere = folder.parent / "elsewhere"
    shutil.move(folder / "vision_tower", elsewhere)
    rewrite(folder, lambda x: [x.pop(k) for k in list(x) if k.startswith(TOWER)])
    (folder / "linked").symlink_to(elsewhere)
    for where, word in (
        ("openai/clip-vit-large-patch14-336", "openai/clip-vit-large-patch14-336"),
        ("/home/x/siglip-so400m-patch14-384", "google/siglip-so400m-patch14-384"),
        ("nobody/no-such-tower", "not one that is known here"),
        (str(elsewhere), "copy it into"),
        ("../elsewhere", "names no usable"),
        ("linked", "copy it into"),
        (None, "names no usable"),
        ([], "names no usable"),
        ("x\0", "names no usable"),
        ("a" * 5000, "names no usable"),
    ):
        reconfigure(folder, mm_vision_tower=where)
        with pytest.raises(BrokenCheckpoint, match=word):
            load(folder)


def test_a_tower_that_everybody_knows_needs_no_folder(tmp_path):
    """Its heads, depth and pixels are in the table; all else is counted: here 384 pixels from 27 patches a side."""
    folder = copy_of("bunny", tmp_path)
    shutil.rmtree(folder / "vision_tower")
    reconfigure(folder, mm_vision_tower="google/siglip-so400m-patch14-384")

    def enlarge(weights):
        weights[TOWER + "embeddings.position_embedding.weight"] = torch.zeros(729, 32)
        for n in range(4, 26):
            for key in [k for k in weights if k.startswith(TOWER + "encoder.layers.3.")]:
                weights[key.replace(".3.", f".{n}.", 1)] = weights[key].clone()

    rewrite(folder, enlarge)
    config = load(folder).network.config
    assert (config.vision_config.image_size, config.image_seq_length) == (384, 729)
    assert (config.vision_config.num_hidden_layers, config.vision_feature_layer) == (26, -1)
    assert load(folder).processor.image_processor.size.height == 384


def test_widths_are_those_of_the_tensors(name, folder):
    """A narrower MLP than config.json says: the same as the whole one with those neurons silenced."""
    whole, gated = copy_of(name, folder.parent / "whole"), "gate_up_proj"

    def narrow(weights):
        for key in [k for k in weights if ".mlp." in k and "vision" not in k]:
            if gated in key:
                gate, up = weights[key].chunk(2)
                weights[key] = torch.cat([gate[:80], up[:80]])
            elif "down_proj" in key or key.endswith("fc2.weight"):
                weights[key] = weights[key][:, :80]
            elif not key.endswith("fc2.bias"):
                weights[key] = weights[key][:80]

    def silence(weights):
        for key in [k for k in weights if ".mlp." in k and "vision" not in k]:
            if "down_proj" in key or key.endswith("fc2.weight"):
                weights[key][:, 80:] = 0

    rewrite(folder, narrow)
    rewrite(whole, silence)
    model = load(folder)
    assert {x.neurons for x in model.anatomy.layers} == {80}
    assert (logits(name, model) - logits(name, load(whole))).abs().max() <= 1e-5


def test_grouped_queries_are_counted(tmp_path):
    """Two key/value heads in the file, whatever config.json says."""
    folder = copy_of("llava", tmp_path)

    def group(weights):
        for key in [k for k in weights if "model.layers" in k and ("k_proj" in k or "v_proj" in k)]:
            weights[key] = weights[key][:32]

    rewrite(folder, group)
    layer = load(folder).anatomy.layers[0]
    assert (layer.n_kv_heads, layer.n_heads) == (2, 4)


def test_an_embedding_with_spare_rows_is_not_grown(tmp_path):
    """Phi-2 has 51,200 rows for 50,295 tokens: the image token takes the next one, which must not be said."""
    folder = copy_of("bunny", tmp_path)

    def pad(weights):
        for key in ("model.embed_tokens.weight", "lm_head.weight"):
            weights[key] = torch.cat([weights[key], torch.full((5, 80), 0.5)])

    rewrite(folder, pad)
    model = load(folder)
    assert model.network.lm_head.weight.shape[0] == 102 and model.processor.image_token_id == 97
    assert model.network.generation_config.suppress_tokens == [97] and model.network.lm_head.weight[97].any()


def test_tokens_without_rows_get_some_and_are_never_said(tmp_path):
    """A tokenizer may know tokens, such as padding, for which the file has no embedding."""
    folder = copy_of("llava", tmp_path)
    reconfigure(folder, "tokenizer_config.json", pad_token="<pad>")
    model = load(folder)
    assert sorted(model.network.generation_config.suppress_tokens) == [97, 98]
    assert model.network.lm_head.weight.shape[0] == 99
    model.generate([(None, "yes"), (tiny.picture(), "what is it ?")], max_new_tokens=2)


def test_leftovers_of_older_versions_are_dropped(name, folder):
    """Rotary tables and position ids; an output bias only if it is zero."""
    text = "language_model.model" if name == "internvl" else "model"

    def clutter(weights):
        weights[f"{text}.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
        if name != "internvl":
            weights[TOWER + "embeddings.position_ids"] = torch.arange(17)[None]
            weights["lm_head.bias"] = torch.zeros(97)

    rewrite(folder, clutter)
    assert same(name, folder)
    if name != "internvl":
        rewrite(folder, lambda x: x.update({"lm_head.bias": torch.ones(97)}))
        with pytest.raises(BrokenCheckpoint, match="lm_head.bias"):
            load(folder)


@pytest.mark.parametrize("kind", ["llava", "llava_llama"])
def test_both_names_that_llava_gave_itself(tmp_path, kind):
    """ "llava" is also what stock folders say: what else config.json has decides."""
    folder = copy_of("llava", tmp_path)
    reconfigure(folder, model_type=kind, architectures=["LlavaLlamaForCausalLM"])
    assert same("llava", folder)


def internvit(weights, pixels, heads, eps=1e-6):
    """InternVisionModel of the authors with RMS norms and normalised queries and keys, in plain torch."""

    def rms(x, weight):
        return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)

    w = {k.removeprefix("vision_model."): v for k, v in weights.items() if k.startswith("vision_model.")}
    x = F.conv2d(pixels, w["embeddings.patch_embedding.weight"], w["embeddings.patch_embedding.bias"], stride=14)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([w["embeddings.class_embedding"].expand(len(x), 1, -1), x], 1) + w["embeddings.position_embedding"]
    for n in range(3):
        layer = {k.removeprefix(f"encoder.layers.{n}."): v for k, v in w.items() if f"layers.{n}." in k}
        q, k, v = F.linear(rms(x, layer["norm1.weight"]), layer["attn.qkv.weight"]).chunk(3, -1)
        q, k = rms(q, layer["attn.q_norm.weight"]), rms(k, layer["attn.k_norm.weight"])
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        mixed = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1) @ v
        mixed = F.linear(mixed.transpose(1, 2).flatten(2), layer["attn.proj.weight"], layer["attn.proj.bias"])
        x = x + layer["ls1"] * mixed
        inner = F.gelu(F.linear(rms(x, layer["norm2.weight"]), layer["mlp.fc1.weight"], layer["mlp.fc1.bias"]))
        x = x + layer["ls2"] * F.linear(inner, layer["mlp.fc2.weight"], layer["mlp.fc2.bias"])
    return x


def test_the_larger_internvit_with_rms_norms_and_normalised_queries(tmp_path):
    """Norm type, query and key norms and missing biases are seen in the tensors; config.json still says otherwise."""
    folder = copy_of("internvl", tmp_path)
    generator = torch.Generator().manual_seed(5)

    def change(weights):
        for n in range(3):
            layer = f"vision_model.encoder.layers.{n}."
            for gone in ("norm1.bias", "norm2.bias", "attn.qkv.bias"):
                weights.pop(layer + gone)
            for new in ("attn.q_norm.weight", "attn.k_norm.weight"):
                weights[layer + new] = torch.rand(32, generator=generator) + 0.5

    rewrite(folder, change)
    model, pixels = load(folder), inputs("internvl", None)["pixel_values"]
    with torch.no_grad():
        found = model.network.model.vision_tower(pixels).last_hidden_state
    wanted = internvit(load_file(folder / "model.safetensors"), pixels, heads=2)
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    reconfigure(folder, vision_config__layer_norm_eps=1e-5)
    with pytest.raises(NotAnLVLM, match="epsilon"):
        load(folder)


def test_the_catalogue_finds_every_hub_id_that_people_have():
    """And says of none that it must be converted first."""
    for hub in ("llava-hf/llava-1.5-7b-hf", "liuhaotian/llava-v1.5-7b"):
        assert find(hub).name == "llava-1.5-7b"
    assert find("BAAI/Bunny-v1_0-3B").name == "bunny-v1.0-3b"
    assert find("OpenGVLab/Mini-InternVL-Chat-4B-V1-5").name == "mini-internvl-4b"
    assert not any("convert" in x.notes for x in catalogue())
