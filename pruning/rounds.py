"""Pruning in rounds: remove a little, score what is left anew, go on. Importance is what a unit does among those that
are there, and changes as others go.
"""

from collections.abc import Sequence

import numpy as np

from lvlm import LVLM, BadPlan
from lvlm.events import Progress, Report, silent

from .calibration import CalibrationSettings, calibrate
from .compensation import Repair
from .plan import Plan, make_plan, plan_of
from .solver import Choice
from .surgery import prune


def plan_in_rounds(
    model: LVLM, samples: Sequence, ratio: float = 0.30, rounds: int = 4, *, method: str = "widthwise",
    settings: CalibrationSettings = CalibrationSettings(), repair: Repair | None = None, seed: int = 0,
    report: Report = silent, **wishes,
) -> Plan:  # fmt: skip
    """One plan for the original, of what went in each round: the same share of the original each time.

    repair: between rounds, refit what is left before it is scored. wishes: importance, ranking and the like, as
    `make_plan` takes them; none that name layers or heads, whose numbers change from round to round.
    Raises BadPlan for less than one round, and what calibrate, make_plan and prune raise.
    """
    if rounds < 1:
        raise BadPlan("Pruning takes at least one round.")
    if named := sorted({"protect", "protect_first", "protect_last", "pinned", "forced", "budget"} & wishes.keys()):
        raise BadPlan(f"Rounds take no {named[0]}: please leave it out, or plan in one go.")
    first, plan, choice, current = None, None, None, model
    for done in range(rounds):
        report(Progress("rounds", done, rounds, f"round {done + 1} of {rounds}"))
        scores = calibrate(current, samples, settings, seed)
        first = first or scores
        gone = 0.0 if plan is None else plan.achieved
        share = max(0.0, (ratio * (done + 1) / rounds - gone) / (1 - gone))
        step = make_plan(scores, method, share, **wishes)
        choice = _onto(choice or Choice.everything(model.anatomy), step)
        about = {**step.settings, "rounds": rounds, "repaired_between": repair is not None}
        plan = plan_of(first, method, ratio, choice, about)
        if done + 1 < rounds:
            current = prune(model, plan, repair, samples)
    return plan


def _onto(choice: Choice, step: Plan) -> Choice:
    """What stays of the original when `step` is applied to what stayed so far."""
    none = np.arange(0)
    heads, neurons = [none] * len(choice.heads), [none] * len(choice.neurons)
    for place, index in enumerate(choice.layers):
        if place in step.layers:
            heads[index] = choice.heads[index][step.heads[place]]
            neurons[index] = choice.neurons[index][step.neurons[place]]
    layers = tuple(choice.layers[x] for x in step.layers)
    return Choice(choice.anatomy, layers, tuple(heads), tuple(neurons), choice.pinned)
