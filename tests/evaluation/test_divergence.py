"""How far two models part: exact probabilities, nothing between a model and itself, and words as they were said."""

import pytest
import torch
from torch.nn import functional as F

from evaluation.divergence import diverge, pieces, unchanged, word
from evaluation.rereading import reread, summary, tokens_of
from lvlm import LVLMError
from lvlm.chat import encode_prompt
from pruning import make_plan, prune, quantize
from tests import tiny

QUESTION = "how many apples?"


@pytest.fixture(scope="module")
def model():
    return tiny.model("llama-gqa")


@pytest.fixture(scope="module")
def pruned(model):
    return prune(model, make_plan(tiny.scores(model), method="widthwise", ratio=0.3))


@pytest.fixture(scope="module")
def said(pruned):
    """What the pruned model answers, greedily."""
    stream = pruned.chat(tiny.picture(), QUESTION, max_new_tokens=9)
    text = "".join(stream)
    return stream.tokens, text


def plain(model, tokens):
    """(N, V) probabilities by a plain forward pass over prompt and answer."""
    inputs = encode_prompt(model, tiny.picture(), QUESTION)
    new = torch.tensor([tokens])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], new], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with torch.no_grad():
        return model.network(**inputs).logits[0, -len(tokens) - 1 : -1].double().softmax(-1)


def test_probabilities_ranks_and_kl_are_those_of_plain_forward_passes(model, pruned, said):
    """Each number equals what softmax over a plain forward pass gives."""
    tokens, _ = said
    found = diverge(model, pruned, tiny.picture(), QUESTION, tokens)
    ours, theirs = plain(model, tokens), plain(pruned, tokens)
    kl = F.kl_div(theirs.log(), ours, reduction="none").sum(-1)
    for i, place in enumerate(found.places):
        for view, row in ((place.reference, ours[i]), (place.other, theirs[i])):
            assert view.probability == pytest.approx(float(row[tokens[i]]), abs=1e-6)
            order = row.argsort(descending=True)
            assert view.rank == order.tolist().index(tokens[i]) + 1
            assert [x.token for x in view.choices] == order[:5].tolist()
            assert [x.probability for x in view.choices] == pytest.approx(row[order[:5]].tolist(), abs=1e-6)
        assert place.kl == pytest.approx(float(kl[i]), abs=1e-5)
        assert place.other.rank == 1  # greedy: it said what it held likeliest
    assert found.mean_kl == pytest.approx(float(kl.mean()), abs=1e-5)
    said_of = [ours[range(len(tokens)), list(tokens)], theirs[range(len(tokens)), list(tokens)]]
    assert found.likely == pytest.approx([float(x.log().mean().exp()) for x in said_of], rel=1e-4)
    first = next((i for i in range(len(tokens)) if ours[i].argmax() != theirs[i].argmax()), None)
    assert found.parts_at == first is not None


@pytest.mark.parametrize("made", ["same", "int8"])
def test_a_model_does_not_part_from_itself(model, said, made):
    """KL 0 at every token, no parting, and the same alternatives; in 8 bits too."""
    one = quantize(model, "int8") if made == "int8" else model
    found = diverge(one, one, tiny.picture(), QUESTION, said[0])
    assert all(x.kl == 0 and x.reference == x.other for x in found.places)
    assert found.parts_at is None and found.mean_kl == 0


def test_eight_bits_part_a_little(model, said):
    """An int8 model reads the same answer; what it holds is near the original and not the same."""
    found = diverge(model, quantize(model, "int8"), tiny.picture(), QUESTION, said[0])
    assert 0 < found.mean_kl < 0.5


def test_long_answers_are_read_in_pieces(model, pruned, said, monkeypatch):
    """How many places are held at once changes no number."""
    whole = diverge(model, pruned, tiny.picture(), QUESTION, said[0])
    monkeypatch.setattr("evaluation.divergence.ROWS", 2)
    assert diverge(model, pruned, tiny.picture(), QUESTION, said[0]) == whole


def test_pieces_make_up_the_answer(model, said):
    """Characters of several bytes stand once, at their last token; marks add nothing."""
    tokenizer = model.processor.tokenizer
    tokens = [*tokenizer.encode("à côté ☕ de", add_special_tokens=False), tokenizer.eos_token_id]
    found = pieces(tokenizer, tokens)
    assert "".join(found) == "à côté ☕ de" and "\ufffd" not in "".join(found) and found[-1] == ""
    assert word(tokenizer, tokenizer.eos_token_id) == "</s>"
    assert word(tokenizer, tokenizer.encode(" ", add_special_tokens=False)[0]) == " "


def test_models_of_other_vocabularies_are_refused(model):
    """Probabilities over different words cannot be compared: the sentence names both sizes."""
    other = tiny.model("llama")
    other.network.resize_token_embeddings(264)
    with pytest.raises(LVLMError, match="260 tokens and tiny-llama 264"):
        diverge(model, other, None, "what?", [5])


def test_answers_are_unchanged_or_not():
    """Equal answers count, word for word; lists of different lengths were not asked the same."""
    assert unchanged(["two", "yes", "red"], ["two", "Yes", "red"]) == 2
    with pytest.raises(ValueError):
        unchanged(["two"], [])


def test_an_answer_of_which_the_text_alone_was_kept_is_read_as_it_is_written(model, pruned):
    """Its tokens are the text's with the end, cut where the answer was; the numbers are those of the divergence."""
    tokens = tokens_of(model, tiny.picture(), QUESTION, "two", 32)
    tokenizer = model.processor.tokenizer
    assert tokenizer.decode(tokens).strip() == "two</s>" and len(tokens) > 2
    assert tokens_of(model, tiny.picture(), QUESTION, "two", 2) == tokens[:2]
    found = diverge(model, pruned, tiny.picture(), QUESTION, tokens)
    assert reread(model, pruned, tiny.picture(), QUESTION, "two", 32) == summary(found)
    assert summary(found)["parts_at"] == found.parts_at and summary(found)["mean_kl"] == found.mean_kl > 0
    said = reread(model, pruned, tiny.picture(), QUESTION, "two", 32, tokens[:1])
    assert said["mean_kl"] == pytest.approx(found.places[0].kl)
    assert reread(model, pruned, None, QUESTION, "", 32)["mean_kl"] >= 0  # nothing but the end
