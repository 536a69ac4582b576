"""Conversations → token tensors with labels on answers only. Knows prompt formats; runs no network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from .errors import BadSamples, BrokenCheckpoint

IGNORED = -100  # label of a token that carries no loss


@dataclass(frozen=True)
class Batch:
    """B padded conversations of T tokens.

    inputs: what the network's forward takes (input_ids (B, T), attention_mask (B, T), pixel_values, …)
    labels: (B, T), IGNORED outside answers, not shifted
    image_mask: (B, T) bool, where image tokens stand
    mask: (B, T) bool, False on padding
    """

    inputs: dict
    labels: torch.Tensor
    image_mask: torch.Tensor
    mask: torch.Tensor

    def to(self, device, dtype) -> "Batch":
        """On a device, with floating point inputs (pixels) in a type."""
        inputs = {k: v.to(device, dtype if v.is_floating_point() else v.dtype) for k, v in self.inputs.items()}
        rest = {k: getattr(self, k).to(device) for k in ("labels", "image_mask", "mask")}
        return replace(self, inputs=inputs, **rest)


def messages(turns: Sequence[tuple[str, str | None]], image) -> list[dict]:
    """Chat messages of (question, answer or None) turns; the image stands before the first question."""
    found = []
    for index, (question, answer) in enumerate(turns):
        content = [{"type": "text", "text": question}]
        if image is not None and index == 0:
            content.insert(0, {"type": "image"})
        found.append({"role": "user", "content": content})
        if answer is not None:
            found.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    return found


def prompt_text(processor, turns, image, ask: bool) -> str:
    """The conversation in the model's own format; ask: end where the assistant is to answer."""
    if not getattr(processor, "chat_template", None):
        raise BrokenCheckpoint("The model folder has no chat template: add its chat_template.jinja.")
    marker = getattr(processor, "image_token", None)
    if marker:  # a person may type the marker: it must not count as an image
        turns = [(q.replace(marker, " "), a if a is None else a.replace(marker, " ")) for q, a in turns]
    return processor.apply_chat_template(messages(turns, image), add_generation_prompt=ask)


def encode_texts(processor, texts: Sequence[str], images: Sequence, side: str) -> dict:
    """Padded tensors of texts with their images (None where there is none)."""
    shown = [x for x in images if x is not None]
    tokenizer = processor.tokenizer
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    # A chat template writes the start token itself where the model wants one.
    start = tokenizer.bos_token
    special = not (start and texts[0].startswith(start))
    inputs = processor(
        images=shown or None,
        text=list(texts),
        padding=True,
        padding_side=side,
        add_special_tokens=special,
        return_tensors="pt",
    )
    return dict(inputs)


def encode_samples(processor, samples, answers: bool = True) -> Batch:
    """Samples as a Batch; with answers=False each ends where its last answer would begin.

    Labels cover every answer and the end token after it. Raises BadSamples for no samples or empty answers.
    """
    if not samples:
        raise BadSamples("There are no samples: choose at least one.")
    texts, spans = [], []
    for sample in samples:
        turns = [(turn.question, turn.answer) for turn in sample.turns]
        if not turns or (answers and not all(answer.strip() for _, answer in turns)):
            raise BadSamples(f"Sample {sample.id} has an empty answer: remove it or answer it.")
        text, found = _with_answers(processor, turns, sample.image)
        if not answers:
            text, found = text[: found[-1][0]], []
        texts.append(text)
        spans.append(found)
    inputs = encode_texts(processor, texts, [x.image for x in samples], side="right")
    mask = inputs["attention_mask"].bool()
    labels = torch.full_like(inputs["input_ids"], IGNORED)
    for row, (text, found) in enumerate(zip(texts, spans)):
        if found:
            tail = _label_tail(processor, text, found)
            end = int(mask[row].sum())
            start = end - len(tail)
            tail = torch.tensor(tail)
            labels[row, start:end] = torch.where(tail, inputs["input_ids"][row, start:end], IGNORED)
    image_id = getattr(processor, "image_token_id", None)
    image_mask = inputs["input_ids"] == image_id if image_id is not None else torch.zeros_like(mask)
    return Batch(inputs, labels, image_mask, mask)


def _with_answers(processor, turns, image) -> tuple[str, list[tuple[int, int]]]:
    """The whole conversation, and the character span of each answer with its end token."""
    end = processor.tokenizer.eos_token or ""
    spans, text = [], ""
    for n in range(1, len(turns) + 1):
        asked = prompt_text(processor, [*turns[: n - 1], (turns[n - 1][0], None)], image, ask=True)
        text = prompt_text(processor, turns[:n], image, ask=False)
        if not text.startswith(asked):
            raise BrokenCheckpoint(
                "The chat template writes an answered turn differently from a question: cannot label."
            )
        spans.append((len(asked), len(text)))
    if end and end not in text[spans[-1][0] :]:  # LLaVA-1.5's template leaves it out; its training had it
        start, text = spans[-1][0], text.rstrip() + end
        spans[-1] = (start, len(text))
    return text, spans


def _label_tail(processor, text: str, spans) -> list[bool]:
    """For each token from the first answer on: does it belong to an answer?

    Counted from the end of the row, because images, which the processor expands, only stand before it.
    """
    start = processor.tokenizer.bos_token
    special = not (start and text.startswith(start))
    offsets = processor.tokenizer(text, return_offsets_mapping=True, add_special_tokens=special)["offset_mapping"]
    first = next(i for i, (a, b) in enumerate(offsets) if b > spans[0][0])
    return [any(b > s and a < e for s, e in spans) for a, b in offsets[first:]]
