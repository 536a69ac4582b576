"""Teacher forcing: one pass over an answer computes what saying it token by token computes."""

import pytest
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from lvlm import BadQuestion, load
from lvlm.chat import encode_prompt
from lvlm.encoding import encode_texts, prompt_text
from lvlm.forcing import answer_logits, continued
from tests import checkpoints, families, tiny


class Force(LogitsProcessor):
    """Makes `generate` say given tokens, and notes the logits that it had."""

    def __init__(self, tokens):
        self.tokens, self.seen = tokens, []

    def __call__(self, input_ids, scores):
        self.seen.append(scores.clone())
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self.tokens[len(self.seen) - 1]] = 0
        return forced


def one_by_one(model, image, question, tokens):
    """(N, V): the logits from which `generate` chooses each token."""
    force = Force(tokens)
    inputs = encode_prompt(model, image, question)
    with torch.no_grad():
        model.network.generate(
            **inputs, max_new_tokens=len(tokens), do_sample=False, logits_processor=LogitsProcessorList([force])
        )
    return torch.cat(force.seen)


@pytest.mark.parametrize("family", [*families.FAMILIES])
def test_one_pass_equals_token_by_token_on_hub_layouts(family, tmp_path):
    """Images that become many tokens, bidirectional prompts, three-dimensional positions: whatever the family."""
    model = load(checkpoints.make(family, tmp_path))
    tokens = model.processor.tokenizer.encode("two red apples", add_special_tokens=False)[:8]
    reference = one_by_one(model, tiny.picture(), "how many apples?", tokens)
    found = answer_logits(model, tiny.picture(), "how many apples?", tokens)
    assert found.shape == reference.shape
    assert (found - reference).abs().max() <= 1e-4 * reference.abs().max()


@pytest.mark.parametrize("family", [*tiny.FAMILIES])
@pytest.mark.parametrize("image", [None, tiny.picture()], ids=["words alone", "image"])
def test_one_pass_equals_token_by_token_in_every_decoder(family, image):
    """Sliding windows, partial rotary and fused projections change nothing, with an image or without."""
    model = tiny.model(family)
    tokens = [20, 30, 40, 50, 60, 70]
    reference = one_by_one(model, image, "how many apples?", tokens)
    found = answer_logits(model, image, "how many apples?", tokens)
    assert (found - reference).abs().max() <= 1e-4 * reference.abs().max()


def test_left_padding_and_offsets():
    """In a left-padded batch the same rows come out: an answer's first token is predicted by the prompt's last."""
    model = tiny.model("llama-gqa")
    asked = ["how many?", "what is at the top left of how many apples?"]
    tokens = [20, 30, 40]
    texts = [prompt_text(model.processor, [(x, None)], tiny.picture(), ask=True) for x in asked]
    together = encode_texts(model.processor, texts, [tiny.picture()] * 2, side="left")
    pads = (together["attention_mask"] == 0).sum(1)
    assert pads[0] > 0 == pads[1]
    new = torch.tensor([tokens, tokens])
    together["input_ids"] = torch.cat([together["input_ids"], new], 1)
    together["attention_mask"] = torch.cat([together["attention_mask"], torch.ones_like(new)], 1)
    with torch.no_grad():
        logits = model.network(**together).logits[:, -4:-1]
    for row, question in enumerate(asked):
        found = answer_logits(model, tiny.picture(), question, tokens)
        assert torch.allclose(found, logits[row], atol=1e-4)


def test_earlier_turns_come_before():
    """A history is part of the prompt, as in a chat."""
    model, history = tiny.model(), [("what?", "two red")]
    stream = model.chat(tiny.picture(), "how many?", max_new_tokens=4, history=history)
    list(stream)
    found = answer_logits(model, tiny.picture(), "how many?", stream.tokens, history)
    assert found.argmax(-1).tolist() == list(stream.tokens)
    assert not torch.allclose(found, answer_logits(model, tiny.picture(), "how many?", stream.tokens))


def test_nothing_and_too_much_are_refused():
    """No answer, or one past the context, gets a sentence that says what to do."""
    model = tiny.model()
    with pytest.raises(BadQuestion, match="ask a question first"):
        answer_logits(model, None, "what?", ())
    with pytest.raises(BadQuestion, match="shorter answer"):
        answer_logits(model, None, "what?", [5] * 200)


def test_what_has_a_column_a_token_grows():
    """Attention is paid to the answer, and the prompt's own tensors stay as they were."""
    model = tiny.model()
    inputs = encode_prompt(model, tiny.picture(), "what?")
    before = inputs["input_ids"].shape[1]
    grown = continued(model, inputs, [7, 8])
    assert grown["input_ids"][0, -2:].tolist() == [7, 8] and grown["attention_mask"].shape[1] == before + 2
    assert inputs["input_ids"].shape[1] == before and grown["pixel_values"] is inputs["pixel_values"]
