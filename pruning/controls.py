"""Importance without any sample: weight magnitude, and chance. What a method must beat to be worth its name."""

import numpy as np
import torch

from lvlm import Anatomy

from .scores import Importance


@torch.no_grad()
def controls(network, anatomy: Anatomy, seed: int) -> dict[str, Importance]:
    """ "magnitude": Σ|w| over a unit's weights. "random": seeded uniform numbers."""
    magnitude = {"heads": [], "neurons": []}
    for module, layer in zip(network.get_decoder().layers, anatomy.layers):
        found = {"heads": np.zeros(layer.groups), "neurons": np.zeros(layer.neurons)}
        for cut in layer.cuts:
            weight = module.get_submodule(cut.path).weight
            rows = weight.narrow(cut.dim, cut.start, cut.width * cut.units)
            sums = torch.linalg.vector_norm(rows, ord=1, dim=1 - cut.dim, dtype=torch.float32)
            found[cut.kind] += sums.view(cut.units, cut.width).sum(1).double().cpu().numpy()
        for kind, values in found.items():
            magnitude[kind].append(values)
    chance = np.random.default_rng(seed)
    return {
        "magnitude": Importance(tuple(magnitude["heads"]), tuple(magnitude["neurons"])),
        "random": Importance(
            tuple(chance.random(x.groups) for x in anatomy.layers),
            tuple(chance.random(x.neurons) for x in anatomy.layers),
        ),
    }
