"""Which parameters of a network are vision tower, projector and decoder; and the tower run once for two networks."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from lvlm import LVLM

from .errors import BadRecipe

TOWERS = ("vision_tower", "visual", "vision_model")  # what transformers' wrappers call their vision tower
INNER = ("merger", "deepstack_merger_list")  # a projector that stands inside the tower (Qwen-VL)


def tower_of(network: nn.Module) -> nn.Module:
    """Raises BadRecipe where there is none."""
    body = network.base_model
    tower = next((getattr(body, x) for x in TOWERS if isinstance(getattr(body, x, None), nn.Module)), None)
    if tower is None:
        raise BadRecipe(f"{type(network).__name__} has no vision tower that is known here: it cannot be healed yet.")
    return tower


def projector_of(network: nn.Module) -> dict[str, nn.Parameter]:
    """By name: all that is neither the tower's nor the decoder's, and the parts inside a tower that project."""
    tower, named = tower_of(network), dict(network.named_parameters())
    inner = {id(p) for x in INNER if hasattr(tower, x) for p in getattr(tower, x).parameters()}
    others = {id(p) for p in tower.parameters()} - inner
    others |= {id(p) for x in (network.get_decoder(), network.get_output_embeddings()) for p in x.parameters()}
    return {name: p for name, p in named.items() if id(p) not in others}


def decoder_of(network: nn.Module) -> dict[str, nn.Parameter]:
    """By name: the decoder with its embeddings, and the output head."""
    wanted = {id(p) for x in (network.get_decoder(), network.get_output_embeddings()) for p in x.parameters()}
    return {name: p for name, p in network.named_parameters() if id(p) in wanted}


def frozen_modules(network: nn.Module) -> list[nn.Module]:
    """The modules that hold nearly all of the tower's work, and no projector: the tower, or its blocks."""
    tower = tower_of(network)
    return list(tower.blocks) if any(hasattr(tower, x) for x in INNER) else [tower]


def same_tower(one: LVLM, other: LVLM) -> bool:
    """Whether two models' towers are alike to the bit: the same storage after `prune`, or read from equal files."""
    a, b = ([p for m in frozen_modules(x.network) for p in m.parameters()] for x in (one, other))
    return len(a) == len(b) and all(
        x.shape == y.shape and x.dtype == y.dtype and (x.data_ptr() == y.data_ptr() or torch.equal(x, y.to(x.device)))
        for x, y in zip(a, b)
    )


class Once:
    """The tower's outputs for the batch in hand: whichever network comes first computes them, the other takes them."""

    def __init__(self):
        self.held: dict[int, object] = {}
        self.runs = 0  # of the tower: what the benchmark and the tests count

    def clear(self) -> None:
        """Another batch comes."""
        self.held.clear()

    def share(self, network: nn.Module) -> None:
        """Let this network, a copy that only recovery runs, take part."""
        for index, module in enumerate(frozen_modules(network)):
            module.forward = partial(self._forward, index, module.forward)

    def _forward(self, index: int, forward: Callable, *args, **kwargs):
        if index not in self.held:
            with torch.no_grad():  # frozen: nothing is kept for backward
                self.held[index] = forward(*args, **kwargs)
            self.runs += index == 0
        return self.held[index]
