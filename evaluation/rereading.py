"""What a case keeps of how far an answer parts from what the original model would have said: both read it again."""

from collections.abc import Sequence

from evaluation.divergence import Divergence, diverge
from lvlm import LVLM
from lvlm.encoding import IGNORED
from samples import Sample, Turn


def summary(found: Divergence) -> dict:
    """JSON-ready numbers: the first token where the two part (None: nowhere), how far they part on average (nats a
    token), and how likely each held a token of the answer (geometric means)."""
    original, own = found.likely
    return {
        "parts_at": found.parts_at,
        "mean_kl": found.mean_kl,
        "likely_original": original,
        "likely_own": own,
    }


def tokens_of(model: LVLM, image, question: str, answer: str, most: int) -> tuple[int, ...]:
    """The ids of an answer of which only the text was kept, its end included, as training writes them; the first `most`
    of them: a model that was cut short there never said the end. Raises BadQuestion, BadImage as `LVLM.encode`."""
    batch = model.encode([Sample("kept", image, (Turn(question, answer.strip() or "-"),), "kept")])
    found = batch.labels[batch.labels != IGNORED].tolist()
    return tuple(found[:most] if answer.strip() else found[-1:])  # of nothing the end alone was said


def reread(
    original: LVLM, other: LVLM, image, question: str, answer: str, most: int, tokens: Sequence[int] = ()
) -> dict:
    """The `summary` of an answer that `other` gave. tokens: its ids where they are known, else those of its text, at
    most `most`. Raises LVLMError as `diverge`."""
    tokens = tokens or tokens_of(original, image, question, answer, most)
    return summary(diverge(original, other, image, question, tokens))
