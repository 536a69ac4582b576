"""Samples as token tensors: labels exactly on answers, whatever stands around them."""

import pytest
import torch

from lvlm import BrokenCheckpoint
from lvlm.encoding import IGNORED, encode_texts
from tests import tiny


@pytest.fixture(scope="module")
def model():
    return tiny.model("llama")


def labelled(model, batch, row):
    ids = batch.labels[row]
    return model.processor.tokenizer.decode(ids[ids != IGNORED], clean_up_tokenization_spaces=False)


def test_labels_cover_every_answer_and_its_end(model):
    """All turns' answers and end tokens, and nothing of questions, images or padding."""
    turns = (tiny.Turn("how many?", "two"), tiny.Turn("colour?", "red"))
    samples = [
        tiny.Sample("a", tiny.picture(), turns, "test"),
        tiny.Sample("b", None, (tiny.Turn("is it? two", "two"),), "test"),
    ]
    batch = model.encode(samples)
    assert labelled(model, batch, 0) == " two</s> red</s>"
    assert labelled(model, batch, 1) == " two</s>"
    assert not (batch.labels[~batch.mask] != IGNORED).any()
    assert not (batch.labels[batch.image_mask] != IGNORED).any()


def test_masks_mark_image_tokens_and_padding(model):
    """Image tokens are counted; padding stands on the right."""
    batch = model.encode(tiny.samples(3))
    assert batch.image_mask.sum(1).tolist() == [tiny.IMAGE_TOKENS, tiny.IMAGE_TOKENS, 0]
    assert not (batch.image_mask & ~batch.mask).any()
    assert (batch.mask.long().diff(dim=1) <= 0).all()
    assert batch.inputs["pixel_values"].shape[0] == 2


def test_without_answers_the_prompt_ends_where_chat_begins(model):
    """encode(answers=False) is the prompt that chat sends."""
    batch = model.encode(tiny.samples(1), answers=False)
    text = model.processor.tokenizer.decode(batch.inputs["input_ids"][0])
    assert text.endswith(" ASSISTANT:")
    assert (batch.labels == IGNORED).all()


def test_an_end_token_is_added_where_the_template_has_none():
    """LLaVA-1.5's template writes none after an answer; training had it, so it is labelled."""
    model = tiny.model("llama")
    model.processor.chat_template = tiny.TEMPLATE.replace("{{ '</s>' }}", "{{ ' ' }}")
    batch = model.encode(tiny.samples(1))
    assert labelled(model, batch, 0).endswith("</s>")


def test_a_template_that_rewrites_turns_is_refused():
    """Labels that cannot be placed for certain are not guessed."""
    model = tiny.model("llama")
    model.processor.chat_template = "{{ messages | length }}{% for m in messages %}{{ m['role'] }}{% endfor %}"
    with pytest.raises(BrokenCheckpoint, match="chat template"):
        model.encode(tiny.samples(1))


def test_padding_changes_no_loss(model):
    """A sample's logits at its labels are the same alone and in a padded batch."""
    samples = tiny.samples(3)
    batch, alone = model.encode(samples), model.encode(samples[:1])
    with torch.no_grad():
        together = model.network(**batch.inputs).logits[0][: alone.mask.shape[1]]
        single = model.network(**alone.inputs).logits[0]
    assert torch.allclose(together, single, atol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
def test_texts_with_and_without_images_share_a_batch(model, side):
    """In the order given, padded on one side, each row as it is alone; pixels in the order of their rows."""
    texts, images = ["a", "<image>b c d", "e f", "<image>g"], [None, tiny.picture(0), None, tiny.picture(1)]
    together = encode_texts(model.processor, texts, images, side=side)
    rows = [encode_texts(model.processor, [x], [y], side=side) for x, y in zip(texts, images)]
    length = max(x["input_ids"].shape[1] for x in rows)
    for i, row in enumerate(rows):
        n = row["input_ids"].shape[1]
        own = slice(length - n, length) if side == "left" else slice(0, n)
        assert torch.equal(together["input_ids"][i, own], row["input_ids"][0])
        assert together["attention_mask"][i, own].all() and together["attention_mask"][i].sum() == n
        assert (together["input_ids"][i] == model.processor.tokenizer.pad_token_id).sum() == length - n
    assert torch.equal(together["pixel_values"], torch.cat([rows[1]["pixel_values"], rows[3]["pixel_values"]]))
