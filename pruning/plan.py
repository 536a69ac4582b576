"""Scores + a target → exactly which layers, heads and neurons stay, and what that costs. Numpy; milliseconds."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lvlm import BadPlan
from lvlm.files import line
from lvlm.plain import parsed, typed

from .cost import Cost, count
from .explain import WHY, explain
from .scores import Scores
from .solver import METRICS, Budget, Choice, layerwise, widthwise_global, widthwise_local
from .wishes import Unit, check, start

METHODS = ("layerwise", "widthwise", "both")
SCHEMA = 1
SETTINGS = {  # those that somebody reads; there may be others
    "metric": str, "budget": float | None, "importance": str, "ranking": str, "protected": list[int],
    "pinned": list[str], "forced": list[str], "contiguous": bool, "round_to": int, "depth_share": float | None,
    "share_per_layer": float, "sample_ids": list[str], "seed": int, "calibration": dict, "scores": dict,
    "loss": float, "published_loss": float | None, "search_ids": list[str], "rounds": int,
    "repaired_between": bool,
}  # fmt: skip


@dataclass(frozen=True)
class Costs:
    """Predicted exactly: the model before and after the plan is applied."""

    before: Cost
    after: Cost


@dataclass(frozen=True, eq=False)
class Plan:
    """What stays. `heads` and `neurons` are indexed by *original* layer: sorted indices of the key/value groups and
    neurons that stay, empty for a removed layer. `ratio` is what was asked, `achieved` what is really removed, both
    as fractions of the language backbone's parameters (embeddings and output head included)."""

    method: str
    ratio: float | None  # None where the target was an absolute budget or a published share
    achieved: float
    layers: tuple[int, ...]
    heads: tuple[np.ndarray, ...]
    neurons: tuple[np.ndarray, ...]
    cost: Costs
    model: str
    digest: str
    settings: dict = field(default_factory=dict)
    dense_shape: tuple[tuple[int, int], ...] = ()  # per original layer (groups, neurons)
    heads_per_group: tuple[int, ...] = ()  # per original layer: query heads that share a key/value head
    unit_costs: tuple[tuple[int, int, int], ...] = ()  # per original layer: parameters of the layer, a group, a neuron

    @cached_property
    def removed_layers(self) -> tuple[int, ...]:
        kept = set(self.layers)
        return tuple(i for i in range(len(self.dense_shape)) if i not in kept)

    @property
    def is_identity(self) -> bool:
        return not self.removed_layers and all(
            (len(h), len(n)) == shape for h, n, shape in zip(self.heads, self.neurons, self.dense_shape)
        )

    def explain(self) -> str:
        """One paragraph: what goes, where, and why."""
        return explain(self)

    def to_json(self) -> str:
        return json.dumps(
            {
                "schema": SCHEMA,
                "method": self.method,
                "ratio": self.ratio,
                "achieved": self.achieved,
                "layers": list(self.layers),
                "heads": [x.tolist() for x in self.heads],
                "neurons": [x.tolist() for x in self.neurons],
                "cost": {"before": self.cost.before.to_dict(), "after": self.cost.after.to_dict()},
                "model": self.model,
                "digest": self.digest,
                "settings": self.settings,
                "dense_shape": self.dense_shape,
                "heads_per_group": self.heads_per_group,
                "unit_costs": self.unit_costs,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Raises BadPlan for anything that is not a plan, whole and free of contradictions."""
        try:
            data = parsed(text)
            if not isinstance(data, dict):
                raise ValueError("it is not an object")
            if data.pop("schema", None) != SCHEMA:
                raise BadPlan("This plan was written by another version: please make it again.")
            for part in {"heads", "neurons"} & data.keys():
                data[part] = [_indices(x, part) for x in data[part]]
            plan = typed(cls, data)
            _check(plan)
        except (ValueError, TypeError) as error:
            raise BadPlan(f"This is not a plan ({line(error)}): please make one from scores.") from error
        return plan


def _indices(found, name: str) -> np.ndarray:
    array = np.asarray(found)
    if not isinstance(found, list) or array.ndim != 1 or found and array.dtype != np.int64:
        raise ValueError(f"its {name} are not whole numbers")
    return array.astype(np.int64)


def _check(plan: Plan) -> None:
    """Raise ValueError unless what stays is part of what there was, and the settings are what their readers take."""
    kept, shape = set(plan.layers), plan.dense_shape
    per_layer = (plan.heads, plan.neurons, plan.heads_per_group, plan.unit_costs)
    if not kept or not _rises(np.array(plan.layers), len(shape)) or any(len(x) != len(shape) for x in per_layer):
        raise ValueError("its layers are not those of one model")
    for i, units in enumerate(zip(plan.heads, plan.neurons)):
        if any((len(x) > 0) != (i in kept) or not _rises(x, n) for x, n in zip(units, shape[i])):
            raise ValueError(f"what stays of layer {i} is not a part of it")
    if plan.method not in METHODS or not 0 <= plan.achieved <= 1 or not 0 <= (plan.ratio or 0) < 1:
        raise ValueError("its method or ratio is none")
    said = {k: typed(kind, plan.settings[k], k) for k, kind in SETTINGS.items() if k in plan.settings}
    if said.get("importance", "taylor") not in WHY or any(not 0 <= i < len(shape) for i in said.get("protected", ())):
        raise ValueError("its settings are those of no plan")
    for unit in (*said.get("pinned", ()), *said.get("forced", ())):
        Unit.parse(unit)
    typed(float | None, said.get("scores", {}).get("loss"), "loss")


def _rises(index: np.ndarray, end: int) -> bool:
    """Whether indices are sorted, each once, from 0 and below `end`."""
    return bool((np.diff(index) > 0).all()) and not (len(index) and (index[0] < 0 or index[-1] >= end))


def make_plan(
    scores: Scores,
    method: str = "widthwise",
    ratio: float = 0.30,
    *,
    metric: str = "parameters",
    budget: float | None = None,
    importance: str = "taylor",
    ranking: str = "layer",
    protect: Collection[int] = (),
    protect_first: int = 0,
    protect_last: int = 0,
    pinned: Collection[Unit] = (),
    forced: Collection[Unit] = (),
    contiguous: bool = False,
    round_to: int = 1,
    depth_share: float | None = None,
) -> Plan:
    """What to remove so that as nearly as possible `ratio` of the language backbone goes.

    method: "layerwise" (whole layers, lowest block influence first), "widthwise" (heads and neurons, least important
        first), or "both": layers for `depth_share` of the target, heads and neurons for the rest. depth_share None is
        half; or, where all units compete (and layers need not be neighbours), as it comes out: a layer goes where
        all that is in it does.
    metric: what the ratio is a share of: "parameters", "bytes", "flops" (prefill) or "memory" (weights + cache).
    budget: instead of a ratio, the whole model's absolute size after pruning in that metric.
    importance: one that the scores hold: "taylor", "taylor-sum", "activation", "magnitude" or "random".
    ranking: "layer" takes the same share of every layer, as published; "global" lets all units compete by importance
        per parameter.
    protect, protect_first, protect_last: layers (indices; first and last so many) that stay whole.
    pinned, forced: layers and heads that never go (a pinned layer stays whole), and that always do, by any method.
        Forced ones go first and count towards the target; where they alone exceed it, more goes than was asked.
    contiguous: layerwise removes one block of neighbours. round_to: kept neurons come in multiples of this.
    Raises BadPlan for impossible wishes, naming the largest reachable ratio or the wishes that contradict each other.
    """
    if method not in METHODS:
        raise BadPlan(f"There is no method {method!r}: choose one of {', '.join(METHODS)}.")
    if metric not in METRICS:
        raise BadPlan(f"There is no metric {metric!r}: choose one of {', '.join(METRICS)}.")
    if importance not in scores.importance:
        raise BadPlan(f"These scores hold no {importance!r} importance: choose one of {', '.join(scores.importance)}.")
    if ranking not in ("layer", "global"):
        raise BadPlan(f"There is no ranking {ranking!r}: choose layer or global.")
    if round_to < 1 or not 0 <= (depth_share or 0) <= 1:
        raise BadPlan("round_to must be at least 1 and depth_share between 0 and 1.")
    n = len(scores.anatomy.layers)
    if protect_first < 0 or protect_last < 0 or any(not 0 <= i < n for i in protect):
        raise BadPlan(f"The model has layers 0 to {n - 1}: please protect some of those.")
    pinned, forced = check(scores.anatomy, pinned), check(scores.anatomy, forced)
    if contiguous and forced:
        raise BadPlan("One block of neighbours leaves no choice of what is forced out: please ask for one of the two.")
    guarded = {*protect, *range(min(protect_first, n)), *range(max(0, n - protect_last), n)}
    guarded |= {x.layer for x in pinned if x.head is None}
    free = np.array([i not in guarded for i in range(n)])
    prices = Budget.of(scores.anatomy, scores.workload, metric)
    target = _target(prices, ratio, budget)
    choice = start(scores.anatomy, guarded, pinned, forced)
    together = method == "both" and ranking == "global" and depth_share is None and not contiguous
    if method == "both" and not together and depth_share is None:
        depth_share = 0.5
    depth = {"layerwise": 1.0, "widthwise": 0.0, "both": 0.0 if together else depth_share}[method]
    if depth:
        rest = target * depth - choice.removed(prices)
        choice = layerwise(choice, prices, scores.block_influence, free, rest, contiguous, below=method == "both")
    if depth < 1:
        rest = target - choice.removed(prices)
        given = choice, prices, scores.importance[importance], free, free, rest, round_to
        choice = widthwise_global(*given, together) if ranking == "global" else widthwise_local(*given)
    reached = choice.removed(prices)
    if reached < target - choice.unit_size(prices, method, free, round_to) and target > 0:
        share = reached / prices.backbone
        raise BadPlan(
            f"{target / prices.backbone:.0%} of the backbone cannot be removed {method} here: at most {share:.1%} can. "
            "Please ask for less, or protect and pin less."
        )
    settings = {
        "metric": metric,
        "budget": budget,
        "importance": importance,
        "ranking": ranking,
        "protected": sorted(guarded),
        "pinned": [str(x) for x in pinned],
        "forced": [str(x) for x in forced],
        "contiguous": contiguous,
        "round_to": round_to,
        "depth_share": depth_share if method == "both" else None,
    }
    return plan_of(scores, method, None if budget is not None else ratio, choice, settings)


def published_plan(scores: Scores, share: float) -> Plan:
    """The paper's widthwise pruning: the same `share` of heads and neurons in each layer that is not protected.

    Attention stays whole in the first three layers and the last, the MLP in the first four and the last two;
    heads and neurons are floored to whole ones. Shares 0.2/0.4/0.6/0.8 are Table 2's 15/30/45/60% rows.
    """
    if not 0 <= share < 1:
        raise BadPlan("The share of each layer must be at least 0 and below 1.")
    n = len(scores.anatomy.layers)
    index = np.arange(n)
    attention, mlp = (index >= 3) & (index < n - 1), (index >= 4) & (index < n - 2)
    groups = np.array([x.groups for x in scores.anatomy.layers])
    neurons = np.array([x.neurons for x in scores.anatomy.layers])
    cut_heads = np.minimum(np.floor(groups * share + 1e-9).astype(int), groups - 1) * attention
    cut_neurons = np.minimum(np.floor(neurons * share + 1e-9).astype(int), neurons - 1) * mlp
    choice = Choice.everything(scores.anatomy).without(scores.importance["taylor"], cut_heads, cut_neurons)
    settings = {"metric": "parameters", "importance": "taylor", "ranking": "layer", "share_per_layer": share}
    settings["protected"] = [int(i) for i in index[~(attention & mlp)]]
    return plan_of(scores, "widthwise", None, choice, settings)


def _target(prices: Budget, ratio: float, budget: float | None) -> float:
    if budget is not None:
        if not 0 < budget:
            raise BadPlan("The budget must be above zero.")
        return max(0.0, prices.model - budget)
    if not (isinstance(ratio, int | float) and 0 <= ratio < 1):
        raise BadPlan(f"The ratio must be at least 0 and below 1 (0.30 removes 30% of the backbone), not {ratio!r}.")
    return ratio * prices.backbone


def plan_of(scores: Scores, method: str, ratio: float | None, choice: Choice, settings: dict) -> Plan:
    anatomy = scores.anatomy
    kept = anatomy.kept(choice.layers, [len(x) for x in choice.heads], [len(x) for x in choice.neurons])
    removed = anatomy.parts.decoder - kept.parts.decoder
    settings = {**settings, "sample_ids": list(scores.sample_ids), "seed": scores.seed, "calibration": scores.settings}
    loss = None if np.isnan(scores.loss) else scores.loss  # JSON knows no NaN
    settings["scores"] = {"loss": loss, "block_influence": scores.block_influence.tolist(), **scores.versions}
    return Plan(
        method=method,
        ratio=ratio,
        achieved=removed / anatomy.parts.decoder,
        layers=tuple(choice.layers),
        heads=choice.heads,
        neurons=choice.neurons,
        cost=Costs(count(anatomy, scores.workload), count(kept, scores.workload)),
        model=scores.model,
        digest=scores.digest,
        settings=settings,
        dense_shape=tuple((x.groups, x.neurons) for x in anatomy.layers),
        heads_per_group=tuple(x.heads_per_group for x in anatomy.layers),
        unit_costs=tuple((x.parameters, x.unit("heads")[0], x.unit("neurons")[0]) for x in anatomy.layers),
    )
