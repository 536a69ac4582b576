"""What passes through a decoder for one sample, token by token: each layer's influence on it (Eq. 2), what a removed
layer does to the layers after it, and what one head or neuron writes. Every pass runs on a copy of the module tree.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from lvlm import LVLM, BadPlan
from lvlm.reshaped import keep, shared_copy

from .cost import decoder_inputs
from .dependencies import group


@dataclass(frozen=True, eq=False)
class Trace:
    """T tokens through L layers. states: (L + 1, T, D) fp32, what enters each layer, and last what leaves the last
    one, before the final norm; image: (T,) bool, where image tokens stand."""

    tokens: tuple[str, ...]
    image: np.ndarray
    states: torch.Tensor

    @property
    def influence(self) -> np.ndarray:
        """(L, T): 1 − cosine of each token before and after each layer; its mean over tokens is Eq. 2."""
        before, after = self.states[:-1], self.states[1:]
        return (1 - F.cosine_similarity(before, after, dim=-1)).numpy()

    @property
    def block_influence(self) -> np.ndarray:
        """(L,): of this one sample, Eq. 2."""
        return self.influence.mean(1)

    @property
    def words(self) -> np.ndarray:
        """(L, T − image tokens): `influence` on the words alone."""
        return self.influence[:, ~self.image]

    @property
    def picture(self) -> np.ndarray | None:
        """(L,): the mean of `influence` over the image tokens; None without an image."""
        return self.influence[:, self.image].mean(1) if self.image.any() else None

    def rank(self, layer: int) -> int:
        """A layer's place by block influence, from 1, the most influential."""
        found = self.block_influence
        return 1 + int(np.sum(found > found[layer]))


@torch.no_grad()
def trace(model: LVLM, sample) -> Trace:
    """One sample's question, and its image if it has one, through the decoder. Raises BadSamples, BadQuestion."""
    batch = model.encode([sample], answers=False)
    seen: list[torch.Tensor] = []

    def enters(module, args, kwargs) -> None:
        seen.append((args[0] if args else kwargs["hidden_states"])[0].float().cpu())

    def leaves(module, args, output) -> None:
        seen.append((output[0] if isinstance(output, tuple) else output)[0].float().cpu())

    network = shared_copy(model.network, trainable=())
    decoder = network.get_decoder()
    for layer in decoder.layers:
        layer.register_forward_pre_hook(enters, with_kwargs=True)
    decoder.layers[-1].register_forward_hook(leaves)
    decoder(**{**decoder_inputs(network, batch.inputs), "use_cache": False})
    return Trace(_words(model, batch.inputs["input_ids"][0]), batch.image_mask[0].cpu().numpy(), torch.stack(seen))


def _words(model: LVLM, ids: torch.Tensor) -> tuple[str, ...]:
    """Each token as it reads."""
    return tuple(model.processor.tokenizer.decode([int(x)]) for x in ids)


@dataclass(frozen=True, eq=False)
class Gap:
    """What a cut model's layers are given, against what they are used to. Both (L + 1,) over the original's layers,
    the end of the last one included, means over tokens; NaN at removed layers, which are given nothing."""

    removed: tuple[int, ...]
    cosine: np.ndarray  # of the two hidden states
    norm: np.ndarray  # length over the original's length

    @property
    def behind(self) -> int:
        """Where the first gap is felt: the first layer that stays behind it, or L, the end."""
        return next(i for i in range(min(self.removed) + 1, len(self.cosine)) if i not in self.removed)


def gap(model: LVLM, sample, removed: Collection[int]) -> Gap:
    """How far the hidden states are from the original's once these layers are gone. Raises BadPlan for none left."""
    layers = model.anatomy.layers
    kept = [i for i in range(len(layers)) if i not in set(removed)]
    if not kept or not set(removed) <= set(range(len(layers))):
        raise BadPlan(f"Of layers 0 to {len(layers) - 1} at least one has to stay: please remove others.")
    whole = [[np.arange(n) for n in x] for x in ([y.groups for y in layers], [y.neurons for y in layers])]
    cut = model.then(keep(model.network, kept, *whole), {"step": "look"})
    before, after = trace(model, sample).states, trace(cut, sample).states
    places = [*kept, len(layers)]
    cosine, norm = np.full(len(layers) + 1, np.nan), np.full(len(layers) + 1, np.nan)
    cosine[places] = F.cosine_similarity(before[places], after, dim=-1).mean(1).numpy()
    norm[places] = (after.norm(dim=-1) / before[places].norm(dim=-1)).mean(1).numpy()
    return Gap(tuple(sorted(removed)), cosine, norm)


@dataclass(frozen=True, eq=False)
class Activity:
    """What one unit adds to the hidden state at each token: written (T,), the length of that vector."""

    tokens: tuple[str, ...]
    image: np.ndarray  # (T,) bool
    written: np.ndarray

    @property
    def loudest(self) -> int:
        """The token at which it adds most."""
        return int(np.argmax(self.written))


@torch.no_grad()
def activity(model: LVLM, sample, layer: int, kind: str, unit: int) -> Activity:
    """How strongly a head (a key/value group) or a neuron speaks up at each token. Raises BadPlan, BadSamples."""
    found = group(model.anatomy, layer, kind, unit)
    batch = model.encode([sample], answers=False)
    network = shared_copy(model.network, trainable=())
    decoder, heard = network.get_decoder(), {}
    (stripe,) = [x for x in found.stripes if x.dim == 1]  # the one matrix that writes into the hidden state
    linear = decoder.layers[layer].get_submodule(stripe.path)
    columns = slice(stripe.start, stripe.start + stripe.width)

    def listen(module, args) -> None:
        heard["written"] = args[0][0, :, columns].float() @ module.weight[:, columns].float().T  # (T, D)

    linear.register_forward_pre_hook(listen)
    decoder(**{**decoder_inputs(network, batch.inputs), "use_cache": False})
    written = heard["written"].norm(dim=-1).cpu().numpy()
    return Activity(_words(model, batch.inputs["input_ids"][0]), batch.image_mask[0].cpu().numpy(), written)
