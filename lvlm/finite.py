"""Which tensor is to blame for a result that came out NaN or infinite. Asked once one has, never before."""

import re
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from .anatomy import decoder_path
from .errors import NotFinite
from .model import LVLM


def blame(models: Sequence[LVLM], samples: Sequence, what: str) -> None:
    """Raise NotFinite if one of these models has weights, or on one of these samples an output, that are no numbers.

    what: the step that stopped, for the sentence. Returns if all is finite: then the step itself is to blame.
    """
    for model in models:
        weight = broken_weight(model.network)
        if weight is not None:
            raise NotFinite(
                f"{what} stopped: in {model.name}, {weight}, so please get this checkpoint anew from where it came."
            )
    for sample in samples:
        for model in models:
            output = broken_output(model.network, model.encode([sample]).inputs)
            if output is not None:
                raise NotFinite(
                    f"{what} stopped at sample {sample.id}: in {model.name}, {output} is NaN or infinite though all "
                    f"weights are finite; {way_out(model)}."
                )


def way_out(model: LVLM) -> str:
    """What to do about numbers that outgrow a model's type."""
    if model.dtype == torch.float16:
        return "its numbers outgrow float16, please load it in bfloat16 or float32"
    return "please leave out the sample, or take another checkpoint"


def named(network: nn.Module, path: str) -> str:
    """A tensor's or module's path as people count: "layer 7, mlp.down_proj.weight" within the decoder's layers."""
    found = re.fullmatch(rf"{re.escape(decoder_path(network))}\.layers\.(\d+)(?:\.(.+))?", path)
    return path if found is None else ", ".join(x for x in (f"layer {found[1]}", found[2]) if x)


def broken_weight(network: nn.Module) -> str | None:
    """Like "layer 7, mlp.down_proj.weight has 3 of 4,096 numbers that are NaN or infinite": the first such tensor."""
    bad = []
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            bad.append((name, tensor))
    if not bad:
        return None
    name, tensor = bad[0]
    count = int((~torch.isfinite(tensor)).sum())
    others = f" (as do {len(bad) - 1} more tensors)" if len(bad) > 1 else ""
    return f"{named(network, name)} has {count:,} of {tensor.numel():,} numbers that are NaN or infinite{others}"


class _Found(Exception):
    """Not an error: the first module is found."""


@torch.no_grad()
def broken_output(network: nn.Module, inputs: dict) -> str | None:
    """Like "the output of layer 7, mlp.down_proj", for the first module whose result is not finite, in the order of
    computing; "what enters …" where it is given such numbers by something that is no module (a softmax, say)."""
    first = []

    def look(path: str, what: str, values) -> None:
        for value in values if isinstance(values, tuple | list) else [values]:
            if isinstance(value, torch.Tensor) and value.is_floating_point() and not torch.isfinite(value).all():
                first.append(f"{what} {named(network, path)}")
                raise _Found

    def enters(path, module, args) -> None:
        look(path, "what enters", args)

    def leaves(path, module, args, output) -> None:
        look(path, "the output of", output)

    hooks = []
    for path, module in network.named_modules():
        if path:
            hooks.append(module.register_forward_pre_hook(partial(enters, path)))
            hooks.append(module.register_forward_hook(partial(leaves, path)))
    try:
        network(**{**inputs, "use_cache": False})
    except _Found:
        return first[0]
    finally:
        for hook in hooks:
            hook.remove()
    return None
