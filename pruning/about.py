"""What is known of a single layer or head, and how much two plans have in common. Arithmetic on scores and plans."""

from dataclasses import dataclass

import numpy as np

from lvlm import BadPlan

from .plan import Plan
from .scores import Scores
from .wishes import Unit, check


@dataclass(frozen=True)
class Together:
    """Rows or columns of one weight matrix that a head owns: they go with it, or the shapes would not fit (Eq. 3)."""

    path: str  # within the layer: "self_attn.q_proj"
    rows: bool  # else columns
    first: int
    last: int


@dataclass(frozen=True)
class Facts:
    """A head's importance is Taylor's (Eq. 4), or as was asked; a layer's its block influence. Ranks count from 1, the
    highest first."""

    unit: Unit
    score: float
    rank: int  # among all heads of the model, or all layers
    of: int
    rank_in_layer: int | None  # of a head
    in_layer: int  # heads that the layer has
    image: float | None  # block influence over image tokens alone
    text: float | None
    parameters: int
    share: float  # of the language backbone
    together: tuple[Together, ...]  # what a head takes along
    queries: int  # query heads in one head (key/value group)
    neurons: int  # of the layer


def facts(scores: Scores, unit: Unit, importance: str = "taylor") -> Facts:
    """Raises BadPlan for a layer or head that the model has not. importance: which of the scores a head's is."""
    check(scores.anatomy, [unit])
    layer, i = scores.anatomy.layers[unit.layer], unit.layer
    backbone = scores.anatomy.parts.decoder
    if unit.head is None:
        influence = scores.block_influence
        alone = [float(x[i]) for x in (scores.block_influence_image, scores.block_influence_text)]
        image, text = (None if np.isnan(x) else x for x in alone)
        score, rank, of, inside = float(influence[i]), _rank(influence, influence[i]), len(influence), None
        parameters, together = layer.parameters, ()
    else:
        heads = scores.importance[importance].heads
        score, image, text = float(heads[i][unit.head]), None, None
        everywhere = np.concatenate(heads)
        rank, of, inside = _rank(everywhere, score), len(everywhere), _rank(heads[i], score)
        parameters = layer.unit("heads")[0]
        starts = [(x, x.start + unit.head * x.width) for x in layer.cuts if x.kind == "heads"]
        together = tuple(Together(x.path, x.dim == 0, first, first + x.width - 1) for x, first in starts)
    return Facts(
        unit, score, rank, of, inside, layer.groups, image, text, parameters, parameters / backbone, together,
        layer.heads_per_group, layer.neurons,
    )  # fmt: skip


def _rank(values: np.ndarray, value: float) -> int:
    return 1 + int(np.sum(values > value))


@dataclass(frozen=True)
class Removed:
    """Heads (key/value groups) and neurons that a plan removes, of all that there are."""

    heads: int
    all_heads: int
    neurons: int
    all_neurons: int

    @property
    def share_of_neurons(self) -> float:
        return self.neurons / self.all_neurons


def removed(plan: Plan) -> Removed:
    """How many of the model's heads and neurons go; those of removed layers count too."""
    heads, neurons = (sum(x) for x in zip(*plan.dense_shape, strict=True))
    return Removed(heads - sum(map(len, plan.heads)), heads, neurons - sum(map(len, plan.neurons)), neurons)


@dataclass(frozen=True)
class Overlap:
    """Parameters, or units, that both plans remove, that only the first does, and only the second."""

    both: int
    first: int
    second: int

    @property
    def share(self) -> float:
        """Of all that either removes, what both do (Jaccard); 1 where neither removes anything."""
        either = self.both + self.first + self.second
        return self.both / either if either else 1.0


def overlap(first: Plan, second: Plan) -> Overlap:
    """How far two plans of one model remove the same. Raises BadPlan for plans of different weights."""
    if (first.digest, first.dense_shape) != (second.digest, second.dense_shape):
        raise BadPlan("These plans were made for different models: please compare plans of one.")
    sums = np.zeros(3, dtype=np.int64)
    for i, (groups, neurons) in enumerate(first.dense_shape):
        layer, group, neuron = first.unit_costs[i]
        for part, number, price in (("heads", groups, group), ("neurons", neurons, neuron)):
            sums += price * _shared(getattr(first, part)[i], getattr(second, part)[i], number)
        other = layer - groups * group - neurons * neuron  # norms and the like go with the whole layer only
        a, b = i in first.removed_layers, i in second.removed_layers
        sums += other * np.array([a and b, a and not b, b and not a])
    return Overlap(*(int(x) for x in sums))


def _shared(first: np.ndarray, second: np.ndarray, number: int) -> np.ndarray:
    """Of `number` units: how many neither list keeps, only the second keeps, only the first keeps."""
    a, b = np.ones(number, dtype=bool), np.ones(number, dtype=bool)
    a[first], b[second] = False, False
    return np.array([np.sum(a & b), np.sum(a & ~b), np.sum(b & ~a)])


@dataclass(frozen=True, eq=False)
class Split:
    """Parameters of each layer's attention, or of its MLP, by what becomes of them: (L,) each; norms left out."""

    stays: np.ndarray  # in both plans
    both: np.ndarray  # both remove it
    first: np.ndarray  # only the first plan does
    second: np.ndarray

    @property
    def whole(self) -> np.ndarray:
        return self.stays + self.both + self.first + self.second


def split(first: Plan, second: Plan | None = None) -> tuple[Split, Split]:
    """(attention, MLP) under two plans of one model; without a second one, all that goes is the first's alone."""
    found = []
    for part, place in (("heads", 0), ("neurons", 1)):
        rows = []
        for i, shape in enumerate(first.dense_shape):
            everything = np.arange(shape[place])
            other = everything if second is None else getattr(second, part)[i]
            gone = _shared(getattr(first, part)[i], other, shape[place])
            rows.append(first.unit_costs[i][1 + place] * np.array([shape[place] - gone.sum(), *gone]))
        found.append(Split(*np.array(rows).T))
    return found[0], found[1]


def layers_size(attention: Split, mlp: Split) -> tuple[int, int]:
    """Parameters of all decoder layers, norms left out: before pruning, and under the first plan."""
    before = int((attention.whole + mlp.whole).sum())
    return before, before - sum(int((x.both + x.first).sum()) for x in (attention, mlp))


def around(plan: Plan) -> int:
    """Parameters of the decoder that are in no layer: embeddings, last norm and output head."""
    return plan.cost.before.parameters.decoder - sum(layer for layer, *_ in plan.unit_costs)
