"""From the decoder's output to logits, the way the network itself goes: its head, and scaling or capping after it."""

import copy
from collections.abc import Callable

import torch
from torch import nn


class _Output:
    """A decoder's output that is in hand already. All else that a network may hand on from it is None."""

    def __init__(self, hidden: torch.Tensor):
        self.last_hidden_state = hidden

    def __getitem__(self, index: int) -> torch.Tensor:
        return (self.last_hidden_state,)[index]

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return None


class _Given(nn.Module):
    """In the place of a network's body: returns what it is given."""

    def forward(self, *args, inputs_embeds: torch.Tensor, **options) -> _Output:
        return _Output(inputs_embeds)


def head_of(network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function from the decoder's output (N, D), after its last norm, to the network's own logits (N, V).

    It shares the network's head, whose gradients flow; nothing of the network changes.
    """
    tail = copy.copy(network)  # a shell of its own around the same modules
    tail._modules = {**network._modules, network.base_model_prefix: _Given()}
    return lambda hidden: tail(inputs_embeds=hidden[None]).logits[0]
