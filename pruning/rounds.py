"""Pruning in rounds: remove a little, score what is left anew, go on. Importance is what a unit does among those that
are there, and changes as others go.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lvlm import LVLM, BadPlan
from lvlm.events import Progress, Report, silent

from .calibration import CalibrationSettings, calibrate
from .compensation import Repair
from .plan import Plan, make_plan
from .scores import Importance, Scores
from .solver import Budget
from .surgery import prune


def plan_in_rounds(
    model: LVLM, samples: Sequence, ratio: float = 0.30, rounds: int = 4, *, method: str = "widthwise",
    budget: float | None = None, settings: CalibrationSettings = CalibrationSettings(), repair: Repair | None = None,
    seed: int = 0, report: Report = silent, **wishes,
) -> Plan:  # fmt: skip
    """One plan for the original: each round plans for more of the target, by scores of what the last one left.

    What went in earlier rounds goes first again. It comes back only where a later round takes a whole head instead of
    neurons (`ranking="layer"`): then what went last comes back first.
    repair: between rounds, refit what is left before it is scored. budget and wishes: as `make_plan` takes them.
    Raises BadPlan for less than one round, and what calibrate, make_plan and prune raise.
    """
    if rounds < 1:
        raise BadPlan("Pruning takes at least one round.")
    known = first = plan = None
    for done in range(rounds):
        report(Progress("rounds", done, rounds, f"round {done + 1} of {rounds}"))
        left = model if plan is None else prune(model, plan, repair, samples)
        found = calibrate(left, samples, settings, seed)
        known = found if plan is None else laid_over(known, found, plan)
        if first is None:
            first = found
            make_plan(first, method, ratio, budget=budget, **wishes)  # raises now what the last round would
        part = (done + 1) / rounds
        until = None if budget is None else _share(first, budget, part, wishes.get("metric", "parameters"))
        plan = make_plan(known, method, ratio * part, budget=until, **wishes)
    about = {"rounds": rounds, "repaired_between": repair is not None}
    about["scores"] = plan.settings["scores"] | {"block_influence": first.block_influence.tolist()}
    return replace(plan, settings=plan.settings | about)


def laid_over(known: Scores, found: Scores, plan: Plan) -> Scores:
    """Scores of the original, by which what `plan` removed goes first, and what it left is ranked as found.

    found: of the model that the plan left. What went keeps its order, below zero: the later it went, the nearer.
    """
    layers, kept = list(plan.layers), range(len(plan.layers))
    influence = _below(known.block_influence, known.block_influence.max())
    influence[layers] = found.block_influence
    importance = {}
    for name, old in known.importance.items():
        new, parts = found.importance[name], []
        most = max(float(x.max()) for part in (old.heads, old.neurons) for x in part)
        for part in ("heads", "neurons"):
            values = [_below(x, most) for x in getattr(old, part)]
            for place in kept:
                values[layers[place]][getattr(plan, part)[layers[place]]] = getattr(new, part)[place]
            parts.append(tuple(values))
        importance[name] = Importance(*parts)
    return replace(known, block_influence=influence, importance=importance)


def _below(values: np.ndarray, most: float) -> np.ndarray:
    """The same order, all below zero and below what lay below it before."""
    return values - (2 * most or 1)


def _share(scores: Scores, budget: float, part: float, metric: str) -> float:
    """The budget of a round after which this part of what has to go is gone."""
    whole = Budget.of(scores.anatomy, scores.workload, metric).model
    return whole - (whole - budget) * part
