"""The bundled pocket-llava: stock layout, small, and as good as its model card says."""

import json
import re
from pathlib import Path

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration, LlavaProcessor

from evaluation import evaluate
from lvlm import load

FOLDER = Path(__file__).resolve().parent.parent / "assets/models/pocket-llava"


@pytest.fixture(scope="module")
def model():
    return load("pocket-llava")


def test_it_is_a_stock_llava_of_the_promised_size():
    """Plain transformers loads it: LLaVA classes, ≥ 12 layers, ≥ 6 heads, 5–15 M parameters in ≤ 40 MB of 16 bits."""
    network, found = AutoModelForImageTextToText.from_pretrained(FOLDER, output_loading_info=True)
    assert type(network) is LlavaForConditionalGeneration
    assert not any(found[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert isinstance(AutoProcessor.from_pretrained(FOLDER), LlavaProcessor)
    text = network.config.text_config
    assert text.num_hidden_layers >= 12 and text.num_attention_heads >= 6
    assert 5e6 < sum(p.numel() for p in network.parameters()) < 15e6
    assert str(network.dtype) == "torch.float16"
    assert sum(f.stat().st_size for f in FOLDER.rglob("*") if f.is_file()) < 40e6


@pytest.mark.parametrize("suite", ["scenes", "easy-vqa"])
def test_it_scores_what_its_card_says(model, suite):
    """On a quarter of the suite's questions each task comes within what chance allows of the recorded score."""
    results = Path(__file__).resolve().parent.parent / "benchmarks/zero_shot.json"
    recorded = json.loads(results.read_text())["rows"][0]["scores"][suite]
    found = evaluate(model, suite, per_task=50, seed=1).scores
    assert found.keys() == recorded.keys()
    for task, score in found.items():
        assert abs(score - recorded[task]) < 0.2, (task, score, recorded[task])


def test_its_card_has_no_empty_table():
    """Recipe, seeds, curves and scores are filled in."""
    card = (FOLDER / "README.md").read_text()
    for mark in ("dense scores", "pruned scores", "curves"):
        body = re.search(rf"<!-- {mark} -->(.*)<!-- /{mark} -->", card, re.DOTALL)[1]
        assert body.count("|") > 20, mark


def test_it_talks_over_several_turns(model):
    """Conversation with a history is answered, and text alone too."""
    pieces = list(model.chat(None, "Is an apple a fruit?"))
    assert "".join(pieces).strip() in ("yes", "no")
    followed = model.chat(None, "Can you eat an apple?", history=[("Is an apple a fruit?", "yes")])
    assert "".join(followed).strip() in ("yes", "no")
