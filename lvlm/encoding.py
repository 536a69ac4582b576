"""Conversations → token tensors with labels on answers only. Knows prompt formats; runs no network."""

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jinja2 import TemplateError

from .errors import BadImage, BadQuestion, BadSamples, BrokenCheckpoint
from .files import line
from .unfit import unbroken

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
    reserved = _reserved(processor)  # a person may type a marker: it must not count as an image, or end a turn
    turns = [(reserved.sub(" ", q), a if a is None else reserved.sub(" ", a)) for q, a in turns]
    try:
        return processor.apply_chat_template(messages(turns, image), add_generation_prompt=ask)
    except (
        TemplateError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        why = line(error).rstrip(".")
        raise BrokenCheckpoint(f"The model's chat template does not take this conversation: {why}.") from error


def _reserved(processor) -> re.Pattern:
    """What only a template or a processor may write: the marks of images, turns and ends."""
    tokens = {str(x) for x in processor.tokenizer.added_tokens_decoder.values() if x.special}
    tokens |= set(processor.tokenizer.all_special_tokens) | {getattr(processor, "image_token", None) or ""}
    return re.compile("|".join(re.escape(x) for x in sorted(tokens - {""}, key=len, reverse=True)) or r"(?!)")


def encode_texts(processor, texts: Sequence[str], images: Sequence, side: str, answers: Sequence[str] = ()) -> dict:
    """Padded tensors of texts with their images (None where there is none).

    answers: for a processor that takes them apart from the prompts (see prefix_attention); "labels" are then given
    too. Raises BadQuestion where the model wants an image with every text, and BadImage for shapes it cannot take.
    """
    tokenizer = processor.tokenizer
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    parts = []
    for shown in (True, False):  # apart, since processors differ in what they make of a text without an image
        rows = [i for i, image in enumerate(images) if (image is not None) == shown]
        if rows:
            parts.append((rows, _encoded(processor, rows, texts, images if shown else None, side, answers)))
    found = parts[0][1] if len(parts) == 1 else _together(parts, side, tokenizer.pad_token_id)
    if not answers:
        found.pop("labels", None)
    return found


def _encoded(processor, rows, texts, images, side: str, answers) -> dict:
    texts = [texts[i] for i in rows]
    # A chat template writes the start token itself where the model wants one.
    start = processor.tokenizer.bos_token
    options = {"suffix": [answers[i] for i in rows]} if answers else {}
    try:
        with unbroken(processor.tokenizer.name_or_path):
            inputs = processor(
                images=None if images is None else [[images[i]] for i in rows],
                text=texts,
                padding=True,
                padding_side=side,
                add_special_tokens=not (start and texts[0].startswith(start)),
                return_tensors="pt",
                **options,
            )
    except ValueError as error:
        if images is None:
            raise BadQuestion(
                f"This model answers only questions about an image ({line(error)}): please give one."
            ) from error
        raise BadImage(f"This model's processor cannot take the image ({line(error)}): please crop it.") from error
    except (TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise BrokenCheckpoint(
            f"The settings of the model's processor cannot be used ({line(error)}): please download its files again."
        ) from error
    return dict(inputs)


def _together(parts, side: str, pad: int) -> dict:
    """One batch of rows with images and rows without: what has a column a token is padded, and put in order."""
    count = sum(len(rows) for rows, _ in parts)
    length = max(x["input_ids"].shape[1] for _, x in parts)
    found = {}
    for rows, inputs in parts:
        shape = inputs["input_ids"].shape
        columns = slice(0, shape[1]) if side == "right" else slice(length - shape[1], length)
        for name, tensor in inputs.items():
            if tensor.shape != shape:
                found[name] = tensor  # of the images, in their own order
                continue
            if name not in found:
                found[name] = tensor.new_full((count, length), pad if name == "input_ids" else 0)
            found[name][rows, columns] = tensor
    return found


def prefix_attention(processor) -> bool:
    """Whether prompts are read in both directions and answers in one (PaliGemma), so that they come apart."""
    return "suffix" in inspect.signature(type(processor).__call__).parameters


def encode_samples(processor, samples, image_token: int | None, answers: bool = True) -> Batch:
    """Samples as a Batch; with answers=False each ends where its last answer would begin.

    image_token: id of the tokens that stand for images in the network. Labels cover every answer and the end token
    after it; with prefix attention only the last answer's, since the earlier ones are seen by all tokens of the prompt.
    Raises BadSamples for no samples or empty answers.
    """
    if not samples:
        raise BadSamples("There are no samples: choose at least one.")
    texts, spans, last = [], [], []
    apart = answers and prefix_attention(processor)
    for sample in samples:
        turns = [(turn.question, turn.answer) for turn in sample.turns]
        if not turns or (answers and not all(answer.strip() for _, answer in turns)):
            raise BadSamples(f"Sample {sample.id} has an empty answer: remove it or answer it.")
        text, found = _with_answers(processor, turns, sample.image)
        texts.append(text[: found[-1][0]] if apart or not answers else text)
        spans.append(found)
        last.append(turns[-1][1])
    images = [x.image for x in samples]
    inputs = encode_texts(processor, texts, images, side="right", answers=last if apart else ())
    mask = inputs["attention_mask"].bool()
    labels = torch.full_like(inputs["input_ids"], IGNORED)
    if apart:
        labels = inputs.pop("labels")
    elif answers:
        for row, (text, found) in enumerate(zip(texts, spans)):
            tail = torch.tensor(_label_tail(processor, text, found))
            end = int(mask[row].sum())
            start = end - len(tail)
            labels[row, start:end] = torch.where(tail, inputs["input_ids"][row, start:end], IGNORED)
    image_mask = torch.zeros_like(mask) if image_token is None else inputs["input_ids"] == image_token
    return Batch(inputs, labels, image_mask, mask)


def _with_answers(processor, turns, image) -> tuple[str, list[tuple[int, int]]]:
    """The whole conversation, and the character span of each answer with its end token."""
    spans, text = [], ""
    for n in range(1, len(turns) + 1):
        asked = prompt_text(processor, [*turns[: n - 1], (turns[n - 1][0], None)], image, ask=True)
        text = prompt_text(processor, turns[:n], image, ask=False)
        if not text.startswith(asked):
            raise BrokenCheckpoint(
                "The chat template writes an answered turn differently from a question: cannot label."
            )
        spans.append((len(asked), len(text.rstrip())))  # the line break after an end mark belongs to the next turn
    start, end = spans[-1][0], processor.tokenizer.eos_token or ""
    if end and not _reserved(processor).search(text[start:]):
        text = text.rstrip() + end  # LLaVA-1.5's template leaves its end out; its training had it
        spans[-1] = (start, len(text))
    return text, spans


def _label_tail(processor, text: str, spans) -> list[bool]:
    """For each token from the first answer on: does it belong to an answer?

    Counted from the end of the row, because images, which the processor expands, only stand before it.
    """
    start = processor.tokenizer.bos_token
    special = not (start and text.startswith(start))
    with unbroken(processor.tokenizer.name_or_path):
        offsets = processor.tokenizer(text, return_offsets_mapping=True, add_special_tokens=special)["offset_mapping"]
    first = next(i for i, (a, b) in enumerate(offsets) if b > spans[0][0])
    return [any(b > s and a < e for s, e in spans) for a, b in offsets[first:]]
