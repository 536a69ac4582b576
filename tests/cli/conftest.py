"""What commands work on: a tiny model, its data and its scores, as files."""

import json

import pytest

from pruning import save
from tests import tiny


@pytest.fixture(scope="module")
def tiny_model():
    return tiny.model("llama-gqa")


@pytest.fixture(scope="module")
def folder(tiny_model, tmp_path_factory):
    return save(tiny_model, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A LLaVA instruction file with two short samples that fit a tiny model's context."""
    where = tmp_path_factory.mktemp("data")
    tiny.picture().save(where / "a.png")
    entries = [
        {"id": i, "image": "a.png", "conversations": [{"from": "human", "value": x}, {"from": "gpt", "value": "two"}]}
        for i, x in enumerate(("how many?", "dogs?"))
    ]
    (where / "data.json").write_text(json.dumps(entries))
    return where / "data.json"


@pytest.fixture(scope="module")
def scores(tiny_model, tmp_path_factory):
    return tiny.scores(tiny_model).save(tmp_path_factory.mktemp("scores") / "scores.safetensors")
