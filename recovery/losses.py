"""The losses of recovery, as pure functions of tensors: one number a token, so that whoever calls decides which tokens
count and what they are divided by. N tokens, V words, D hidden entries.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,): −log p(label), of Eq. 6. logits (N, V), labels (N,)."""
    return F.cross_entropy(_wide(logits), labels, reduction="none")


def forward_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """(N,): T²·KL(teacher ‖ student) of Eq. 7, over logits (N, V) softened by T.

    Asks the student to cover all that the teacher thinks possible. T² keeps the gradient's size (Hinton et al., 2015).
    """
    q, p = _log_probabilities(student, temperature), _log_probabilities(teacher, temperature)
    return temperature**2 * (p.exp() * (p - q)).sum(-1)


def reverse_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """(N,): T²·KL(student ‖ teacher) of Eq. 7. Asks the student to say only what the teacher thinks likely."""
    q, p = _log_probabilities(student, temperature), _log_probabilities(teacher, temperature)
    return temperature**2 * (q.exp() * (q - p)).sum(-1)


def hidden_l2(student: Tensor, teacher: Tensor) -> Tensor:
    """(N,): Eq. 8's squared distance of hidden states (N, D), as a share of the teacher's squared norm.

    Relative, because between a decoder's layers a few tokens' norms are a hundred times the others', and each layer's
    and model's scale differs: 1 means that nothing of the token's state is right.
    """
    student, teacher = _wide(student), _wide(teacher)
    return (student - teacher).square().sum(-1) / teacher.square().sum(-1).clamp(min=torch.finfo(teacher.dtype).tiny)


def hidden_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """(N,): Eq. 8 as published: the mean over D of the squared differences of hidden states (N, D)."""
    return (_wide(student) - _wide(teacher)).square().mean(-1)


def weighted(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Eq. 9: the sum of the terms, each by its coefficient.

    The published code's a·KD + (1 − a)·CE is this with weights a and 1 − a.
    """
    return sum(weights[name] * value for name, value in terms.items())


def _log_probabilities(logits: Tensor, temperature: float) -> Tensor:
    return F.log_softmax(_wide(logits) / temperature, -1)


def _wide(x: Tensor) -> Tensor:
    """16-bit numbers are too coarse to be summed over a vocabulary."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
