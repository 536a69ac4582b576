"""Which layer and heads of the model it was cut from each layer of a model came from, read off its history."""

from dataclasses import dataclass

from lvlm import LVLM, BrokenCheckpoint


@dataclass(frozen=True)
class Descent:
    """Where one layer came from, counted in the model that nothing had been cut from yet."""

    layer: int
    heads: tuple[int, ...]  # per query head of the layer: its number there


def descent(model: LVLM) -> tuple[Descent, ...]:
    """(layers,): one Descent each, through every cut in the model's history; all as they stand if nothing was cut.

    Raises BrokenCheckpoint where the history does not lead to this model.
    """
    cuts = [x for x in model.history if x.get("step") == "prune"]
    layers = model.anatomy.layers
    if not cuts:
        return tuple(Descent(i, tuple(range(x.n_heads))) for i, x in enumerate(layers))
    found = [(i, list(range(groups))) for i, (groups, _) in enumerate(cuts[0]["dense_shape"])]
    for cut in cuts:  # each counts in the layers and groups that the one before it left
        found = [
            (found[i][0], [found[i][1][g] for g in kept]) for i, kept in zip(cut["layers"], cut["heads"], strict=True)
        ]
    if [len(groups) for _, groups in found] != [x.groups for x in layers]:
        raise BrokenCheckpoint(
            f"What was done to {model.name}, as its pruning.json says, does not lead to its heads: "
            "please download the model again."
        )
    made = []
    for (layer, groups), now in zip(found, layers, strict=True):
        per = now.heads_per_group
        made.append(Descent(layer, tuple(g * per + h for g in groups for h in range(per))))
    return tuple(made)


def place_of(model: LVLM, layer: int, head: int | None = None) -> tuple[int, int | None] | None:
    """(layer, head) of this model which were `layer` and `head` of the one it was cut from; None: it has lost them.

    head: None asks for the layer alone.
    """
    for index, came in enumerate(descent(model)):
        if came.layer == layer and (head is None or head in came.heads):
            return index, None if head is None else came.heads.index(head)
    return None
