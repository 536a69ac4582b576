"""How far two models part along one answer: token by token, what each would have said there."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from lvlm import LVLM, LVLMError
from lvlm.events import Progress, Report, silent
from lvlm.forcing import answer_logits

MOST_CHOICES = 5
ROWS = 64  # places whose probabilities are held at once: a vocabulary is large, and they are in double precision


@dataclass(frozen=True)
class Choice:
    """A token that a model might say at some place."""

    token: int
    text: str
    probability: float


@dataclass(frozen=True)
class View:
    """What one model holds at one place of the answer."""

    probability: float  # of the token that was said
    rank: int  # of that token; 1 is the likeliest
    choices: tuple[Choice, ...]  # the likeliest, best first


@dataclass(frozen=True)
class Place:
    """One token of an answer as two models see it, each given the same picture, question and tokens before."""

    token: int
    text: str  # what it adds to the answer; "" for a mark, and for the first half of a character
    reference: View
    other: View
    kl: float  # KL(reference ‖ other) over the whole vocabulary, in nats (Eq. 7's forward direction at T = 1)


@dataclass(frozen=True)
class Divergence:
    """Every token of one answer, in order."""

    places: tuple[Place, ...]

    @property
    def parts_at(self) -> int | None:
        """The first place where the two would go different ways, each taking its likeliest token; None: nowhere."""
        for i, place in enumerate(self.places):
            if place.reference.choices[0].token != place.other.choices[0].token:
                return i
        return None

    @cached_property
    def mean_kl(self) -> float:
        """Nats a token."""
        return sum(x.kl for x in self.places) / len(self.places)

    @cached_property
    def likely(self) -> tuple[float, float]:
        """Geometric means of the said tokens' probabilities: (reference, other)."""
        return tuple(
            float(torch.tensor([getattr(x, side).probability for x in self.places]).clamp(min=1e-30).log().mean().exp())
            for side in ("reference", "other")
        )


def diverge(
    reference: LVLM,
    other: LVLM,
    image,
    question: str,
    tokens: Sequence[int],
    history: Sequence[tuple[str, str]] = (),
    choices: int = MOST_CHOICES,
    report: Report = silent,
) -> Divergence:
    """Both models read the same answer, one forward pass each (teacher forcing), and say what they hold of each token.

    image: as for `LVLM.chat`, or None. tokens: ids of the answer (`ChatStream.tokens`). history: earlier turns that
    both are given. report: told before each model reads. Raises BadQuestion for what cannot be asked, LVLMError where
    the two do not share a vocabulary.
    """
    report(Progress("diverge", 0, 2, reference.name))
    ours = answer_logits(reference, image, question, tokens, history)
    report(Progress("diverge", 1, 2, other.name))
    theirs = answer_logits(other, image, question, tokens, history).to(ours.device)
    if ours.shape != theirs.shape:
        raise LVLMError(
            f"{reference.name} knows {ours.shape[1]:,} tokens and {other.name} {theirs.shape[1]:,}: "
            "please compare models of one family."
        )
    tokenizer, found = reference.processor.tokenizer, []
    texts = pieces(tokenizer, tokens)
    for start in range(0, len(tokens), ROWS):
        rows = slice(start, start + ROWS)
        p, q = (x[rows].double().log_softmax(-1) for x in (ours, theirs))
        kl = (p.exp() * (p - q)).sum(-1).clamp(min=0.0).tolist()
        views = [_views(x, tokens[rows], tokenizer, choices) for x in (p, q)]
        found += [Place(*x) for x in zip(tokens[rows], texts[rows], *views, kl, strict=True)]
    return Divergence(tuple(found))


def _views(logs: torch.Tensor, tokens: Sequence[int], tokenizer, count: int) -> list[View]:
    """logs: (N, V) log-probabilities."""
    said = logs.gather(1, torch.tensor(tokens, device=logs.device)[:, None])
    ranks = (logs > said).sum(1) + 1
    best = logs.topk(min(count, logs.shape[1]), dim=1)
    rows = zip(said[:, 0].exp().tolist(), ranks.tolist(), best.indices.tolist(), best.values.exp().tolist())
    return [
        View(p, rank, tuple(Choice(i, word(tokenizer, i), q) for i, q in zip(ids, likely)))
        for p, rank, ids, likely in rows
    ]


def unchanged(reference: Sequence[str], other: Sequence[str]) -> int:
    """How many answers are the same, word for word, to the same questions."""
    return sum(a == b for a, b in zip(reference, other, strict=True))


def pieces(tokenizer, tokens: Sequence[int]) -> list[str]:
    """What each token adds to the text, marks left out; the bytes of one character stand at its last token."""
    found, sent = [], ""
    for n in range(1, len(tokens) + 1):
        text = tokenizer.decode(tokens[:n], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        whole = n == len(tokens) or not text.endswith("\ufffd")
        found.append(text[len(sent) :] if whole else "")
        sent = text if whole else sent
    return found


def word(tokenizer, token: int) -> str:
    """A token by itself, as a person can read it: its text with its leading space, or the mark's own name."""
    if token in tokenizer.all_special_ids:
        return tokenizer.convert_ids_to_tokens(token)
    before = tokenizer.encode("a", add_special_tokens=False)  # decoders drop the space that opens a text
    decoded = tokenizer.decode([*before, token], clean_up_tokenization_spaces=False)
    return decoded[len(tokenizer.decode(before)) :]
