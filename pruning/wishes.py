"""Wishes for single layers and heads, whatever the scores say: pinned ones never go, forced ones always do."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from lvlm import Anatomy, BadPlan

from .solver import Choice


MOST_DIGITS = 9


@dataclass(frozen=True)
class Unit:
    """A whole layer, or one head of it (the key/value group where several query heads share one); counted from 0."""

    layer: int
    head: int | None = None

    def __str__(self) -> str:
        return str(self.layer) if self.head is None else f"{self.layer}.{self.head}"

    @property
    def name(self) -> str:
        return f"layer {self.layer}" if self.head is None else f"head {self.head} of layer {self.layer}"

    @property
    def place(self) -> tuple[int, int]:
        """To sort by: a layer comes before its heads."""
        return self.layer, -1 if self.head is None else self.head

    @classmethod
    def parse(cls, text: str) -> "Unit":
        """ "3" is layer 3, "3.2" its head 2. Raises BadPlan for anything else."""
        layer, dot, head = str(text).strip().partition(".")
        long = len(layer) > MOST_DIGITS or len(head) > MOST_DIGITS
        if long or not layer.isdecimal() or (dot and not head.isdecimal()):
            raise BadPlan(f"{text!r} names no layer or head: please write 3 for layer 3, or 3.2 for its head 2.")
        return cls(int(layer), int(head) if dot else None)


def check(anatomy: Anatomy, units: Collection[Unit]) -> tuple[Unit, ...]:
    """The units in order, each once. Raises BadPlan for one that the model has not."""
    n = len(anatomy.layers)
    for unit in units:
        if not 0 <= unit.layer < n:
            raise BadPlan(f"There is no {unit.name}: the model has layers 0 to {n - 1}.")
        groups = anatomy.layers[unit.layer].groups
        if unit.head is not None and not 0 <= unit.head < groups:
            raise BadPlan(f"There is no {unit.name}: it has heads 0 to {groups - 1}.")
    return tuple(sorted(set(units), key=lambda x: x.place))


def start(anatomy: Anatomy, whole: Collection[int], pinned: tuple[Unit, ...], forced: tuple[Unit, ...]) -> Choice:
    """Everything but what is forced out, remembering what is pinned.

    whole: layers that lose nothing. Raises BadPlan where two wishes contradict each other, or nothing would be left.
    """
    heads = {(x.layer, x.head) for x in pinned if x.head is not None}
    gone = {x.layer for x in forced if x.head is None}
    for unit in forced:
        if unit.layer in whole:
            raise BadPlan(
                f"{unit.name.capitalize()} cannot be forced out: layer {unit.layer} is pinned or protected. "
                "Please undo one of the two."
            )
        held = [h for i, h in heads if i == unit.layer and unit.head in (None, h)]
        if held:
            raise BadPlan(
                f"{unit.name.capitalize()} cannot be forced out: head {held[0]} of layer {unit.layer} is pinned. "
                "Please undo one of the two."
            )
    if len(gone) == len(anatomy.layers):
        raise BadPlan("Not every layer can be forced out: please leave at least one.")
    out = [[x.head for x in forced if x.layer == i and x.head is not None] for i in range(len(anatomy.layers))]
    for i, layer in enumerate(anatomy.layers):
        if i not in gone and len(out[i]) == layer.groups:
            raise BadPlan(
                f"Layer {i} must keep at least one head: please leave one, or force the whole layer out instead."
            )
    choice = Choice.everything(anatomy).without_layers(sorted(gone))
    left = tuple(np.setdiff1d(x, out[i]) if out[i] else x for i, x in enumerate(choice.heads))
    kept = tuple(frozenset(h for i, h in heads if i == index) for index in range(len(anatomy.layers)))
    return Choice(anatomy, choice.layers, left, choice.neurons, kept)
