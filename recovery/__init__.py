"""Healing a pruned model: what trains, against which losses, on which samples, and the training itself."""

from .errors import BadRecipe, RecoveryDiverged
from .mapping import layer_map
from .recipe import CHART, PRESETS, Advice, Recipe, advise, advised, explain, preset, published, recipe_for
from .trainer import recover

__all__ = [
    "CHART",
    "PRESETS",
    "Advice",
    "BadRecipe",
    "Recipe",
    "RecoveryDiverged",
    "advise",
    "advised",
    "explain",
    "layer_map",
    "preset",
    "published",
    "recipe_for",
    "recover",
]
