"""Which layer of the teacher each layer of the student came from, read off the student's history."""

from lvlm import LVLM

from .errors import BadRecipe

NEUTRAL = ("load", "recover", "repair", "quantize")  # steps that move no layer


def layer_map(student: LVLM, teacher: LVLM) -> tuple[int, ...]:
    """(student layers,): the teacher's layer that each came from, through every cut that the teacher has not had.

    Raises BadRecipe where the history does not lead from this teacher to this student.
    """
    cuts, earlier = ([x for x in m.history if x.get("step") not in NEUTRAL] for m in (student, teacher))
    if cuts[: len(earlier)] != earlier:
        raise BadRecipe(
            f"{student.name} was not made from this teacher: please take the model that it was pruned from."
        )
    cuts = cuts[len(earlier) :]
    shape = [[x.groups, x.neurons] for x in teacher.anatomy.layers]
    found = list(range(len(shape)))
    for cut in cuts:
        if cut.get("step") != "prune" or len(cut["dense_shape"]) != len(found):
            raise BadRecipe(
                f"It is not known which layers {student.name} kept: please take the model it was pruned from."
            )
        if cut is cuts[0] and cut["dense_shape"] != shape:
            raise BadRecipe(
                f"The teacher's layers are not those that {student.name} was pruned from: please take that model."
            )
        found = [found[i] for i in cut["layers"]]
    if len(found) != len(student.anatomy.layers):
        raise BadRecipe(
            f"The student has {len(student.anatomy.layers)} layers and the teacher's history leads to {len(found)}: "
            "please take the model that it was pruned from."
        )
    return tuple(found)


def compared(layers: int, choice: str | int) -> tuple[int, ...]:
    """Student layers whose outputs Eq. 8 compares: the last, all, or every k-th counted from the last."""
    step = {"last": layers, "all": 1}.get(choice, choice)
    return tuple(sorted(range(layers - 1, -1, -step)))
