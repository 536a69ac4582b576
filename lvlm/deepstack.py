"""DeepStack: image features that a decoder adds to its hidden states after early layers, kept in place when layers go.

The stock decoder adds feature k after layer k, so its places are [0, 1, 2, …]. When layers are removed, feature k
belongs after the last kept layer that stood at or before its place: [-1, 0, 0, …], where -1 is before the first.
"""

import inspect
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache

import torch
from torch import nn

from .errors import UnsupportedDecoder

ARGUMENT = "deepstack_visual_embeds"  # of the decoder's forward: one tensor a feature, (image tokens, hidden size)


def places_of(network: nn.Module, recorded: Sequence[int] | None) -> list[int]:
    """After which layer each feature is added; recorded: what an earlier removal left. Empty for most decoders."""
    if recorded is not None:
        return list(recorded)
    decoder = network.get_decoder()
    if not any(x.startswith("deepstack") for x in inspect.signature(type(decoder).forward).parameters):
        return []
    vision = getattr(network.config, "vision_config", None)
    features = getattr(vision, "deepstack_visual_indexes", None)
    scaled = hasattr(decoder, "embedding_multiplier")  # what is added before the first layer would be scaled as well
    if features is None or scaled or not hasattr(decoder, "_deepstack_process"):
        raise UnsupportedDecoder(
            f"{type(decoder).__name__} adds image features to its layers in a way that is not known here: "
            "please choose a model of another family."
        )
    return list(range(len(features)))


def moved(places: Sequence[int], kept: Sequence[int]) -> list[int]:
    """The places among the kept layers (sorted indices)."""
    return [bisect_right(kept, x) - 1 for x in places]


def regrouped(features: Sequence[torch.Tensor], places: Sequence[int]) -> tuple[torch.Tensor | None, list]:
    """What is added before the first layer, and one tensor for each early layer. Places rise by steps of 0 or 1."""
    early, after = None, []
    for feature, place in zip(features, places, strict=True):
        if place < 0:
            early = feature if early is None else early + feature
        elif place == len(after):
            after.append(feature)
        else:
            after[place] = after[place] + feature
    return early, after


@cache
def decoder_class(stock: type[nn.Module], places: tuple[int, ...]) -> type[nn.Module]:
    """The stock decoder, adding its features at other places. A subclass, not a hook, so that copies take it along."""

    def forward(self, *args, inputs_embeds=None, visual_pos_masks=None, **options):
        features = options.pop(ARGUMENT, None)
        if features is not None:
            early, features = regrouped(features, places)
            if early is not None:
                inputs_embeds = self._deepstack_process(inputs_embeds, visual_pos_masks, early)
        options |= {"inputs_embeds": inputs_embeds, "visual_pos_masks": visual_pos_masks, ARGUMENT: features or None}
        return stock.forward(self, *args, **options)

    fields = {"forward": forward, "__module__": stock.__module__, "__doc__": stock.__doc__, "_stock": stock}
    return type(stock.__name__, (stock,), fields)


def move(network: nn.Module, places: Sequence[int]) -> None:
    """Let the network's decoder add its features at these places."""
    decoder = network.get_decoder()
    stock = type(decoder).__dict__.get("_stock", type(decoder))
    decoder.__class__ = decoder_class(stock, tuple(places))
