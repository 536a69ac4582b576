"""int8: smaller, close, decoder only, and the original untouched."""

import logging

import pytest
import torch

from lvlm import BadPlan, LVLMError, load
from lvlm.model import weights_digest
from pruning import make_plan, prune, quantize, save
from tests import tiny

pytest.importorskip("bitsandbytes", reason="int8 needs bitsandbytes")


@pytest.fixture(params=["llama", "phi", "phi3"])
def model(request):
    return tiny.model(request.param)


def test_int8_answers_nearly_alike(model, capfd, caplog):
    """Logits stay within a few percent of their scale, dense and pruned, and nothing is logged."""
    for dense in (model, prune(model, make_plan(tiny.scores(model), "both", 0.4))):
        small = quantize(dense)
        with torch.no_grad(), caplog.at_level(logging.WARNING):
            a, b = (x.network(**tiny.inputs()).logits for x in (dense, small))
        mask = tiny.inputs()["attention_mask"].bool()
        assert (a - b)[mask].abs().mean() < 0.05 * a[mask].abs().max()
        assert not torch.equal(a, b)
        assert isinstance("".join(small.chat(tiny.picture(), "what?", max_new_tokens=4)), str)
        assert small.bytes() < dense.bytes()
    assert not caplog.records and capfd.readouterr() == ("", "")


def test_only_decoder_linears_change(model):
    """Vision tower, projector, embeddings and head are the original's own tensors; the original is untouched."""
    before = weights_digest(model.network)
    small = quantize(model)
    names = {n for n, x in small.network.named_modules() if "Linear8bitLt" in type(x).__name__}
    assert names and all(x.startswith("model.language_model.layers.") for x in names)
    assert small.network.lm_head.weight is model.network.lm_head.weight
    assert weights_digest(model.network) == before
    assert small.parameters() == model.parameters()


def test_bytes_are_one_a_weight_and_one_scale_a_row(model):
    """Memory is counted from what is really held."""
    layers = model.anatomy.layers
    saved = sum(x.rows * x.columns * 3 - 4 * x.rows for layer in layers for x in layer.linears)
    small = quantize(model)
    with torch.no_grad():
        small.network(**tiny.inputs())  # bitsandbytes moves its scales at the first call
    assert quantize(model).bytes() == small.bytes() == model.bytes() - saved


def test_from_disk_and_in_memory_are_the_same(model, tmp_path):
    """load(folder, quantization="int8") equals quantize(load(folder)), bit for bit."""
    pruned = prune(model, make_plan(tiny.scores(model), "widthwise", 0.3))
    folder = save(pruned, tmp_path / "m")
    found = [load(folder, quantization="int8"), quantize(pruned)]
    with torch.no_grad():
        a, b = (x.network(**tiny.inputs()).logits for x in found)
    assert torch.equal(a, b)


def test_a_saved_int8_model_comes_back_bit_for_bit(model, tmp_path):
    """load(save(quantize(x))) has the same weights, memory, history and logits, before or after a first use."""
    small = quantize(prune(model, make_plan(tiny.scores(model), "both", 0.4)))
    folder = save(small, tmp_path / "fresh")
    with torch.no_grad():
        wanted = small.network(**tiny.inputs()).logits
    for where in (folder, save(small, tmp_path / "used")):
        again = load(where)
        with torch.no_grad():
            assert torch.equal(again.network(**tiny.inputs()).logits, wanted)
        assert again.history == small.history and again.bytes() == small.bytes()
        assert again.digest() == small.digest()
        with pytest.raises(BadPlan, match="already"):
            quantize(again)


def test_without_bitsandbytes_the_sentence_says_what_to_install(model, monkeypatch):
    """An optional library that is missing is named."""
    import sys

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(LVLMError, match="pip install bitsandbytes"):
        quantize(model)


def test_what_int8_cannot_do_is_refused(model):
    """Twice, 4-bit, cutting afterwards: each sentence says what to do instead."""
    small = quantize(model)
    with pytest.raises(BadPlan, match="already"):
        quantize(small)
    with pytest.raises(BadPlan, match="4-bit"):
        quantize(model, "nf4")
    with pytest.raises(BadPlan, match="prune the model it was made from"):
        prune(small, make_plan(tiny.scores(model), "layerwise", 0.4))
