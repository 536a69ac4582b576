"""Teacher forcing: what a model holds likely at each place of an answer that is given to it, in one forward pass."""

from collections.abc import Sequence

import torch

from .chat import encode_prompt
from .encoding import prefix_attention
from .errors import BadQuestion
from .unfit import fitting

SUFFIX = 1  # token type of an answer where prompts are read in both directions (PaliGemma)


def continued(model, inputs: dict, tokens: Sequence[int]) -> dict:
    """One encoded prompt and the answer's tokens after it, as `generate` would have grown it.

    inputs: of `encode_prompt`, (1, P) and the images' tensors. What has a column for each token grows by one each.
    """
    shape = inputs["input_ids"].shape
    new = torch.tensor([list(tokens)], dtype=torch.long, device=inputs["input_ids"].device).view(1, -1)
    columns = {
        "input_ids": new,
        "attention_mask": torch.ones_like(new),
        "token_type_ids": torch.full_like(new, SUFFIX if prefix_attention(model.processor) else 0),
    }
    found = {}
    for name, tensor in inputs.items():
        if tensor.shape == shape:
            added = columns.get(name, torch.zeros_like(new)).to(tensor.dtype)
            tensor = torch.cat([tensor, added], dim=1)
        found[name] = tensor
    return found


@torch.no_grad()
def answer_logits(
    model, image, question: str, tokens: Sequence[int], history: Sequence[tuple[str, str]] = ()
) -> torch.Tensor:
    """(N, V) float32, on the model's device: row i is what the model makes of token i, given all before it.

    tokens: the answer's N ids, as `ChatStream.tokens` has them. Equals what generating them one by one computes;
    an int8 model alone differs by its rounding, since it treats the columns of a whole batch of tokens together.
    Raises BadQuestion for no tokens, or for more than the model's context holds.
    """
    inputs = encode_prompt(model, image, question, history)
    asked = inputs["input_ids"].shape[1]
    if not tokens:
        raise BadQuestion("There is no answer to look at: please ask a question first.")
    if asked + len(tokens) > model.context:
        raise BadQuestion(
            f"Question and answer take {asked + len(tokens)} tokens, and this model's context holds {model.context}: "
            "please look at a shorter answer."
        )
    inputs = continued(model, inputs, tokens[:-1])  # the last token is only predicted
    with fitting(model.name):
        return model.network(**inputs, logits_to_keep=len(tokens)).logits[0].float()
