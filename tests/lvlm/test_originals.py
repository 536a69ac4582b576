"""The authors' own layouts load into stock classes, and compute what the authors' code computes."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel

from lvlm import load
from lvlm.catalogue import CONFIGS, network_on_meta
from lvlm.encoding import prompt_text
from lvlm.originals import LAYOUTS, recognise
from lvlm.originals.configs import TOWERS, Source
from lvlm.originals.processors import after_image
from pruning import save
from tests import tiny
from tests.lvlm.originals import FIXTURES, NAMES, inputs, logits, reference

WIDE, TALL = (120, 50), (37, 90)
LLAVA_START = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. USER: "
)


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    return load(FIXTURES / name)


@pytest.mark.parametrize(("attention", "bound"), [("eager", 5e-6), ("sdpa", 1e-5)])
def test_logits_are_the_authors(name, model, attention, bound):
    """In fp32, for texts with images; the image token's new row stays at exactly zero."""
    model.network.set_attn_implementation(attention)
    wanted = reference(name)["short.logits" if name == "internvl" else "logits"]
    found = logits(name, model)
    assert (found[..., : wanted.shape[-1]] - wanted).abs().max() <= bound
    assert found.shape[-1] == (120 if name == "internvl" else 98) and not found[..., wanted.shape[-1] :].any()


def test_long_contexts_take_the_long_rotary_factors():
    """Phi-3's second set, beyond the original context.

    In sdpa, torch's plain kernel gives the authors' logits; the fused one, which CPUs take, adds up in another order.
    It differs by 2.1e-5, of logits up to 6.6, and is as close to the fp64 result (1.8e-5) as the authors' own (1.7e-5).
    """
    wanted, model = reference("internvl")["long.logits"], load(FIXTURES / "internvl")
    exact = logits("internvl", load(FIXTURES / "internvl", dtype=torch.float64), "long")
    model.network.set_attn_implementation("eager")
    assert (logits("internvl", model, "long") - wanted).abs().max() <= 5e-6
    model.network.set_attn_implementation("sdpa")
    with sdpa_kernel(SDPBackend.MATH):
        assert (logits("internvl", model, "long") - wanted).abs().max() <= 1e-5
    fused = logits("internvl", model, "long")
    assert (fused - exact).abs().max() <= 1.5 * (wanted - exact).abs().max()


def test_bunny_reads_text_alone_and_projects_as_the_authors_do():
    """No image; and the vision side by itself."""
    model, wanted = load(FIXTURES / "bunny"), reference("bunny")
    model.network.set_attn_implementation("eager")
    with torch.no_grad():
        text = model.network(input_ids=wanted["text_input_ids"]).logits
        image = model.network.model.get_image_features(wanted["pixel_values"]).pooler_output
    assert (text[..., :97] - wanted["text_logits"]).abs().max() <= 5e-6
    assert (torch.stack(list(image)) - wanted["projected_features"]).abs().max() <= 2e-5  # values up to 31


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_greedy_tokens_are_the_authors(name, model, attention):
    """Token for token, from the first row."""
    model.network.set_attn_implementation(attention)
    given = {k: v if name == "internvl" else v[:1] for k, v in inputs(name, model).items()}
    wanted = reference(name)["generated"].flatten().tolist()
    wanted = wanted[12:] if name == "bunny" else wanted  # that file repeats the prompt
    found = model.network.generate(**given, max_new_tokens=len(wanted), do_sample=False)
    assert found[0, given["input_ids"].shape[1] :].tolist() == wanted


def test_a_layout_is_recognised_by_its_contents(model, name):
    """Not by the folder's name; a stock config is none."""
    assert recognise(model.network.config.to_dict()) is None
    assert recognise({"model_type": "llava"}) is None and recognise({}) is None
    assert {x.name for x in LAYOUTS} >= {"BAAI/Bunny-v1_0-3B", "liuhaotian/llava-v1.5-7b"}
    assert type(model.network).__module__.startswith("transformers.models.")


def test_int8_while_loading(name):
    """As from any other folder."""
    small = load(FIXTURES / name, quantization="int8")
    assert [x["step"] for x in small.history] == ["quantize"]
    assert "".join(small.chat(tiny.picture(), "what ?", max_new_tokens=3))


REAL = {  # what the published config.json files say that no tensor tells
    "llava-1.5-7b": {"num_attention_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5},
    "bunny-v1.0-3b": {"num_attention_heads": 32, "partial_rotary_factor": 0.4, "hidden_act": "gelu_new"},
    "mini-internvl-4b": {
        "vision_config": {"num_attention_heads": 16, "image_size": 448},
        "llm_config": {"num_attention_heads": 32, "max_position_embeddings": 4096, "rope_scaling": None},
        "downsample_ratio": 0.5,
        "force_image_size": 448,
    },
}


@pytest.mark.parametrize(
    ("layout", "entry", "tower"),
    [
        (LAYOUTS[0], "llava-1.5-7b", "clip-vit-large-patch14-336"),
        (LAYOUTS[1], "bunny-v1.0-3b", "siglip-so400m-patch14-384"),
        (LAYOUTS[2], "mini-internvl-4b", None),
    ],
    ids=lambda x: getattr(x, "name", x),
)
def test_the_real_sizes_become_the_configs_of_the_catalogue(layout, entry, tower):
    """From tensor shapes and what only config.json knows; on the meta device."""
    network = network_on_meta(json.loads((CONFIGS / f"{entry}.json").read_text()))
    shapes = {name: tuple(x.shape) for name, x in network.state_dict().items()}
    known = TOWERS[tower]["config"] if tower else {}
    source = Source("real", REAL[entry], shapes, known, network.config.image_token_id, 0)
    described = dict(layout.config(source))
    built = network_on_meta(described)
    assert {name: tuple(x.shape) for name, x in built.state_dict().items()} == shapes
    for key in ("vision_feature_layer", "vision_feature_select_strategy", "image_seq_length", "image_token_id"):
        assert getattr(built.config, key) == getattr(network.config, key)
    for part in ("text_config", "vision_config"):
        for key in ("num_attention_heads", "num_key_value_heads", "hidden_act", "layer_norm_eps", "rms_norm_eps"):
            ours, theirs = (getattr(getattr(x.config, part), key, None) for x in (built, network))
            assert ours == theirs, (part, key)


def test_made_up_tokens_are_never_said(name, model):
    """A head row of zeros has logit 0, which wins where all others are negative."""
    new = {"llava": [97], "bunny": [97], "internvl": None}[name]
    assert model.network.generation_config.suppress_tokens == new
    if new:
        network = model.network
        head, rows = network.lm_head, network.get_input_embeddings().weight
        assert torch.allclose(rows[97], rows[:97].mean(0), atol=1e-6) and not head.weight[97].any()
        hook = head.register_forward_hook(lambda module, given, out: out - 100 * (torch.arange(98) < 97))
        try:
            said = network.generate(**inputs(name, model), max_new_tokens=3, do_sample=False)[:, -3:]
        finally:
            hook.remove()
        assert 97 not in said


def test_answers_end_where_the_authors_end_them(name, model):
    """At </s>, <|endoftext|>, or any of Phi-3's; and labels cover that token."""
    stops = {"llava": [2], "bunny": [1], "internvl": [114, 2]}[name]
    assert model.network.generation_config.eos_token_id == stops
    assert model.processor.tokenizer.eos_token_id == stops[0]
    batch = model.encode(tiny.samples(2))
    for row, labels in zip(batch.inputs["input_ids"], batch.labels):
        labelled = row[labels != -100].tolist()
        assert len(labelled) == 2 and labelled[-1] == stops[0]


def test_prompts_are_the_authors(name, model):
    """Both turns, with an image and without, and a marker that a person typed."""
    turns = [("what is it ?", "a cat"), ("how many ?", None)]
    shown = prompt_text(model.processor, turns, object(), ask=True)
    system = "<|system|>\nYou are an AI assistant whose name is Phi-3.<|end|>"
    assert (
        shown
        == {
            "llava": LLAVA_START + "<image>\nwhat is it ? ASSISTANT: a cat</s>USER: how many ? ASSISTANT:",
            "bunny": LLAVA_START + "<image>\nwhat is it ? ASSISTANT: a cat<|endoftext|>USER: how many ? ASSISTANT:",
            "internvl": system + "<|user|>\n<IMG_CONTEXT>\nwhat is it ?<|end|><|assistant|>\na cat<|end|>"
            "<|user|>\nhow many ?<|end|><|assistant|>\n",
        }[name]
    )
    marker = model.processor.image_token
    typed = prompt_text(model.processor, [(f"is {marker} red ?", None)], None, ask=True)
    assert marker not in typed and typed.startswith(LLAVA_START[:-6] if name != "internvl" else system)


def test_the_system_text_of_internvl_is_a_setting(tmp_path):
    """Later versions of the model came with another one; it is saved with the processor."""
    model = load(FIXTURES / "internvl")
    model.processor.system_text = "You know apples."
    again = load(save(model, tmp_path / "m"))
    for x in (model, again):
        text = prompt_text(x.processor, [("what ?", None)], None, ask=True)
        assert text == "<|system|>\nYou know apples.<|end|><|user|>\nwhat ?<|end|><|assistant|>\n"


@pytest.mark.parametrize("legacy", [True, False])
def test_text_after_an_image_gets_the_tokens_of_a_text_of_its_own(legacy):
    """The authors tokenize what follows an image by itself, where SentencePiece puts a space in front."""
    from transformers import AddedToken, LlamaTokenizer

    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁", *"xyzUSER:"]
    tokenizer = LlamaTokenizer(vocab={x: i for i, x in enumerate(dict.fromkeys(pieces))}, merges=[], legacy=legacy)
    alone = tokenizer("\nxyz", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(alone[:2]) == ["▁", "<0x0A>"]
    tokenizer.add_tokens([AddedToken("<image>", special=True, normalized=False)], special_tokens=True)
    between = after_image(tokenizer, LAYOUTS[0].prompt)
    found = tokenizer(f"USER: <image>{between}xyz", add_special_tokens=False)["input_ids"]
    assert found[found.index(tokenizer.convert_tokens_to_ids("<image>")) + 1 :] == alone


def padded(image, colour):
    """expand2square of the authors."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def normalised(image, size, mean, std):
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64) / 255
    return torch.from_numpy(((pixels - mean) / std).transpose(2, 0, 1)).float()


@pytest.mark.parametrize("shape", [WIDE, TALL, (56, 56), (7, 7), (200, 1), (57, 56)])
@pytest.mark.parametrize("name", ["llava", "bunny"])
def test_images_are_padded_to_a_square_in_the_mean_colour(name, shape):
    """Not cropped: what stands at the edges stays in the picture. Bunny's grey is 127."""
    processor = load(FIXTURES / name).processor
    clip = {
        "mean": np.array([0.48145466, 0.4578275, 0.40821073]),
        "std": np.array([0.26862954, 0.26130258, 0.27577711]),
    }
    colours = clip if name == "llava" else {"mean": np.full(3, 0.5), "std": np.full(3, 0.5)}
    size = 56 if name == "llava" else 60
    image = tiny.picture(3, shape)
    wanted = normalised(padded(image, tuple(int(x * 255) for x in colours["mean"])), size, **colours)
    found = processor(images=[image], text=["<image>"], return_tensors="pt")
    assert (found["pixel_values"][0] - wanted).abs().max() < 1e-5
    assert (found["input_ids"] == processor.image_token_id).sum() == 16


def tiled(image, size, most):
    """dynamic_preprocess of the authors: the grid nearest in shape, larger ones where the image has the pixels."""
    ratio, area = image.width / image.height, image.width * image.height
    grids = {(w, h) for n in range(1, most + 1) for w in range(1, n + 1) for h in range(1, n + 1) if w * h <= most}
    best, nearest = (1, 1), float("inf")
    for w, h in sorted(grids, key=lambda x: x[0] * x[1]):
        distance = abs(ratio - w / h)
        if distance < nearest or distance == nearest and area > 0.5 * size * size * w * h:
            best, nearest = (w, h), distance
    columns, rows = best
    large = image.resize((size * columns, size * rows))
    boxes = [(size * x, size * y, size * (x + 1), size * (y + 1)) for y in range(rows) for x in range(columns)]
    found = [large.crop(x) for x in boxes]
    return found + ([image.resize((size, size))] if len(found) > 1 else [])


@pytest.mark.parametrize("shape", [WIDE, TALL, (56, 56), (112, 112), (400, 300), (600, 50), (1, 200)])
@pytest.mark.parametrize("most", [12, 6])
def test_internvl_cuts_images_into_the_authors_tiles(shape, most):
    """And a thumbnail behind them; four image tokens for each, between two marks."""
    processor = load(FIXTURES / "internvl").processor
    processor.image_processor.max_patches = most
    image = tiny.picture(3, shape)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    wanted = torch.stack([normalised(x, 56, mean, std) for x in tiled(image, 56, most)])
    found = processor(images=[image], text=["<IMG_CONTEXT>\nwhat"], return_tensors="pt")
    assert found["pixel_values"].shape == wanted.shape
    assert (found["pixel_values"] - wanted).abs().max() < 1e-5
    tokens = processor.tokenizer.convert_ids_to_tokens(found["input_ids"][0])
    assert tokens == ["<img>", *["<IMG_CONTEXT>"] * (4 * len(wanted)), "</img>", "what"]


def test_a_batch_keeps_its_order(name, model):
    """Images of different shapes, padded on the left: each answered as if it were asked alone."""
    asked = [(tiny.picture(1, WIDE), "what is it ?"), (tiny.picture(2, TALL), "how many cats ?")]
    if name != "internvl":  # there a long row puts the whole batch on the long rotary factors, and "yes" alone is short
        asked.insert(1, (None, "yes"))
    alone = [model.generate([x], max_new_tokens=5)[0] for x in asked]
    assert model.generate(asked, max_new_tokens=5) == alone
