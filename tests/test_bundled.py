"""The bundled pocket models: stock layout, small, and as good as their model cards say."""

import json
import re
from pathlib import Path

import pytest
from transformers import AutoModelForImageTextToText

from evaluation import evaluate
from lvlm import catalogue, load
from scripts.pocket.card import card
from scripts.pocket.recipes import RECIPES

ROOT = Path(__file__).resolve().parent.parent
BUNDLED = [entry.name for entry in catalogue() if entry.bundled]


@pytest.fixture(scope="module", params=BUNDLED)
def model(request):
    return load(request.param)


@pytest.fixture
def folder(model):
    return ROOT / "assets/models" / model.name


def test_it_is_a_stock_lvlm_of_the_promised_size(model, folder):
    """Plain transformers loads it: its recipe's stock class, 5–15 M parameters in ≤ 20 MB of 16 bits."""
    network, found = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert type(network) is RECIPES[model.name].network
    assert not any(found[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert (
        type(model.processor).__name__ == json.loads((folder / "processor_config.json").read_text())["processor_class"]
    )
    text = network.config.text_config
    assert text.num_hidden_layers >= 12 and text.num_attention_heads >= 6
    assert 5e6 < sum(p.numel() for p in network.parameters()) < 15e6
    assert str(network.dtype) == "torch.float16"
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) < 20e6


@pytest.mark.parametrize("suite", ["skills", "easy-vqa"])
def test_it_scores_what_its_card_says(model, suite):
    """On a quarter of the suite's questions each task comes within what chance allows of the recorded score."""
    results = json.loads((ROOT / "benchmarks/zero_shot.json").read_text())
    recorded = results[model.name]["rows"][0]["scores"][suite]
    found = evaluate(model, suite, per_task=50, seed=1).scores
    assert found.keys() == recorded.keys()
    for task, score in found.items():
        assert abs(score - recorded[task]) < 0.2, (task, score, recorded[task])


def test_its_card_has_no_empty_table(folder):
    """Recipe, seeds, curves and scores are filled in."""
    page = (folder / "README.md").read_text()
    for mark in ("dense scores", "pruned scores", "curves"):
        body = re.search(rf"<!-- {mark} -->(.*)<!-- /{mark} -->", page, re.DOTALL)[1]
        assert body.count("|") > 20, mark


def test_its_card_is_what_the_recipe_says(model, folder):
    """Apart from the scores, the page is the one that the exporter writes of this network today."""
    page = re.sub(r"(scores -->\n)[^<]+(<!-- /)", r"\1\2", (folder / "README.md").read_text())
    assert page == card(RECIPES[model.name], model.network, len(model.processor.tokenizer), folder / "curves")


def test_it_talks_over_several_turns(model):
    """Conversation with a history is answered, and text alone too."""
    pieces = list(model.chat(None, "Is an apple a fruit?"))
    assert "".join(pieces).strip() in ("yes", "no")
    followed = model.chat(None, "Can you eat an apple?", history=[("Is an apple a fruit?", "yes")])
    assert "".join(followed).strip() in ("yes", "no")
