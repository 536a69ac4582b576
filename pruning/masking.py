"""A plan tried without cutting: what it would remove contributes nothing for a while; no weight is made or moved."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from lvlm import LVLM, Layer
from lvlm.reshaped import kept_rows, shared_copy

from .plan import Plan
from .surgery import check_made_for


@contextmanager
def masked(model: LVLM, plan: Plan) -> Iterator[LVLM]:
    """Inside the block, a model that answers as `prune(model, plan)` would, up to rounding; after it, it is undone.

    It shares every tensor with the given one, which stays as it is, and has modules of its own: hooks on them empty
    the entries of removed heads and neurons where they enter o_proj and down_proj, and what leaves those of removed
    layers. Saves no time and no memory, and is not to be saved itself. Raises BadPlan for a plan of other weights.
    """
    check_made_for(model, plan)
    network, hooks = shared_copy(model.network), []
    layers = zip(network.get_decoder().layers, model.anatomy.layers, plan.heads, plan.neurons, strict=True)
    for index, (module, layer, heads, neurons) in enumerate(layers):
        kept = {"heads": heads, "neurons": neurons}
        for path in {x.path for x in layer.cuts if x.dim == 1}:
            linear = module.get_submodule(path)
            if index not in plan.layers:
                hooks.append(linear.register_forward_hook(_nothing))
                continue
            columns = unused(linear, layer, path, kept).to(model.device)
            if len(columns):
                hooks.append(linear.register_forward_pre_hook(_emptied(columns)))
    try:
        yield model.then(network, {"step": "mask", "base_digest": plan.digest, "settings": plan.settings})
    finally:
        for hook in hooks:
            hook.remove()


def unused(linear: nn.Module, layer: Layer, path: str, kept: dict[str, np.ndarray]) -> torch.Tensor:
    """Which entries of a linear's input none of the heads and neurons that are left has written."""
    goes = np.setdiff1d(np.arange(linear.in_features), kept_rows(layer, path, 1, kept))
    return torch.from_numpy(goes)


def _nothing(module, args, output: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(output)


def _emptied(columns: torch.Tensor):
    """A hook that hands a linear its input (…, in_features) with these entries zero."""

    def hook(module, args):
        return (args[0].index_fill(-1, columns, 0),)

    return hook
