"""Samples → what one pass needs: which of them, in which order, and which of their tokens count for which loss."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from lvlm import LVLM, BadSamples
from lvlm.encoding import IGNORED

from . import losses
from .recipe import Recipe


@dataclass
class Selection:
    """Indices of the samples in use, chosen by the recipe's seed: the same in every process."""

    train: tuple[int, ...]
    held_out: tuple[int, ...]
    seed: int
    _order: tuple[int, list[int]] = field(default=(-1, ()), repr=False)  # an epoch and its order

    @classmethod
    def of(cls, count: int, recipe: Recipe) -> "Selection":
        """Raises BadSamples for fewer than two samples."""
        picked = random.Random(f"recover {recipe.seed}").sample(range(count), round(recipe.fraction * count))
        if len(picked) < 2:
            raise BadSamples(
                f"{recipe.fraction:.0%} of {count} samples are {len(picked)}: recovery needs two or more, one of them "
                "to tell which weights are best."
            )
        held = max(1, min(recipe.held_out, len(picked) // 10))
        return cls(tuple(picked[held:]), tuple(picked[:held]), recipe.seed)

    def batch(self, number: int, size: int) -> list[int]:
        """The samples of a batch (0 is the first): epochs follow one another without a gap, each in its own order."""
        found = []
        for position in range(number * size, (number + 1) * size):
            epoch, place = divmod(position, len(self.train))
            if self._order[0] != epoch:
                order = list(self.train)
                random.Random(f"epoch {self.seed} {epoch}").shuffle(order)
                self._order = (epoch, order)
            found.append(self._order[1][place])
        return found


def digest_of(samples: Sequence) -> str:
    """SHA-256 of the samples' ids (first 16 hex digits), which say where each came from."""
    return hashlib.sha256("\n".join(str(x.id) for x in samples).encode()).hexdigest()[:16]


@dataclass
class Lesson:
    """B samples as tensors. tokens (B, T): where hidden states are compared; scored (B, T) or None: where logits are
    made; labelled: which of the scored positions have a label; labels: theirs."""

    indices: list[int]
    inputs: dict
    tokens: torch.Tensor
    scored: torch.Tensor | None
    labelled: torch.Tensor
    labels: torch.Tensor
    everywhere: bool  # the paper's sums over every position

    def counts(self, recipe: Recipe) -> torch.Tensor:
        """(terms in use,): by what each term's sum is divided, which processes and parts of a batch add up."""
        by = {"sft": len(self.labels), "l2": int(self.tokens.sum())}
        by["kl"] = by["rkl"] = len(self.labelled)
        return torch.tensor([float(by[x]) for x in recipe.terms], dtype=torch.float64)


def lesson(model: LVLM, samples: Sequence, indices: Sequence[int], recipe: Recipe) -> Lesson:
    """The samples at these indices. Raises BadSamples for one that does not fit the model's context."""
    chosen = [samples[i] for i in indices]
    batch = model.encode(chosen)
    if batch.mask.shape[1] > model.context:
        longest = chosen[int(batch.mask.sum(1).argmax())].id
        raise BadSamples(
            f"Sample {longest} is longer than the model's context of {model.context} tokens: leave it out."
        )
    answers = torch.zeros_like(batch.mask)
    answers[:, :-1] = batch.labels[:, 1:] != IGNORED  # the position before a labelled token says it
    paper = recipe.arithmetic == "paper"
    everywhere = torch.ones_like(batch.mask)
    tokens = {"text": batch.mask & ~batch.image_mask, "answers": answers, "all": batch.mask}[recipe.l2_tokens]
    scored = everywhere if paper and (recipe.kl or recipe.rkl) else answers
    return Lesson(
        indices=list(indices),
        inputs=batch.inputs,
        tokens=everywhere if paper else tokens,
        scored=scored if recipe.sft or recipe.kl or recipe.rkl else None,
        labelled=answers[scored],
        labels=batch.labels[:, 1:][answers[:, :-1]],
        everywhere=paper,
    )


def terms(said: dict, taught: dict | None, given: Lesson, recipe: Recipe, counts: torch.Tensor) -> dict:
    """The terms in use of one lesson, as its share of the whole batch's, whose counts are given.

    said, taught: what student and teacher came to (see Run.forward).
    """
    by = dict(zip(recipe.terms, counts.tolist()))
    found = {}
    if recipe.sft:
        found["sft"] = losses.cross_entropy(said["logits"][given.labelled], given.labels).sum() / by["sft"]
    for name, divergence in (("kl", losses.forward_kl), ("rkl", losses.reverse_kl)):
        if name in by:
            value = divergence(said["logits"], taught["logits"], recipe.temperature).sum()
            found[name] = value if given.everywhere else value / by[name]
    if recipe.l2:
        distance = losses.hidden_mse if given.everywhere else losses.hidden_l2
        pairs = list(zip(said["hidden"], taught["hidden"], strict=True))
        found["l2"] = sum(distance(s, t).sum() for s, t in pairs) / (len(pairs) * by["l2"])
    return found
