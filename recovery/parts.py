"""Which parameters of a network are vision tower, projector and decoder; and the tower run once for two networks."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from lvlm import LVLM
from lvlm.anatomy import vision_towers

from .errors import BadRecipe

INNER = ("merger", "deepstack_merger_list")  # a projector that stands inside the tower (Qwen-VL)


def towers_of(network: nn.Module) -> list[nn.Module]:
    """What looks at images. Raises BadRecipe where there is nothing that is known here."""
    found = vision_towers(network)
    if not found:
        raise BadRecipe(f"{type(network).__name__} has no vision tower that is known here: it cannot be healed yet.")
    return found


def projector_of(network: nn.Module) -> dict[str, nn.Parameter]:
    """By name: all that is neither a tower's nor the decoder's, and the parts inside a tower that project."""
    towers, named = towers_of(network), dict(network.named_parameters())
    others = {id(p) for x in towers for p in x.parameters()}
    others -= {id(p) for x in towers for y in INNER if hasattr(x, y) for p in getattr(x, y).parameters()}
    others |= {id(p) for x in (network.get_decoder(), network.get_output_embeddings()) for p in x.parameters()}
    return {name: p for name, p in named.items() if id(p) not in others}


def decoder_of(network: nn.Module) -> dict[str, nn.Parameter]:
    """By name: the decoder with its embeddings, and the output head."""
    wanted = {id(p) for x in (network.get_decoder(), network.get_output_embeddings()) for p in x.parameters()}
    return {name: p for name, p in network.named_parameters() if id(p) in wanted}


def frozen_modules(network: nn.Module) -> list[nn.Module]:
    """The modules that hold nearly all of the towers' work, and no projector: the towers, or their blocks."""
    found = ([*x.blocks] if any(hasattr(x, y) for y in INNER) else [x] for x in towers_of(network))
    return [module for modules in found for module in modules]


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
