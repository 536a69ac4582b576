"""A Plan applied to the model it was made for. The original keeps every bit; what is not cut is shared with it."""

from collections.abc import Sequence

from lvlm import LVLM, BadPlan
from lvlm.events import Report, silent
from lvlm.fit import check_pruning
from lvlm.reshaped import keep
from lvlm.shortage import enough_memory

from .compensation import Repair, repaired
from .plan import Plan


@enough_memory("Pruning")
def prune(
    model: LVLM, plan: Plan, repair: Repair | None = None, samples: Sequence = (), report: Report = silent
) -> LVLM:
    """A new LVLM with only what the plan keeps. Raises BadPlan if the plan was made for other weights.

    repair: refit what stays to what the model computes on these samples (with answers; calibration's will do), in
    seconds and without training; see compensation.repaired for what it reports and raises.
    """
    if any(x.get("step") == "quantize" for x in model.history):
        raise BadPlan("An int8 model cannot be cut: please prune the model it was made from, then quantize again.")
    check_made_for(model, plan)
    check_pruning(model, plan.layers, plan.heads, plan.neurons)
    network = keep(model.network, plan.layers, plan.heads, plan.neurons)
    step = {
        "step": "prune",
        "method": plan.method,
        "ratio": plan.ratio,
        "achieved": plan.achieved,
        "base": plan.model,
        "base_digest": plan.digest,
        "dense_shape": [list(x) for x in plan.dense_shape],
        "layers": list(plan.layers),
        "heads": [plan.heads[i].tolist() for i in plan.layers],
        "neurons": [plan.neurons[i].tolist() for i in plan.layers],
        "settings": plan.settings,
    }
    pruned = model.then(network, step)
    return pruned if repair is None else repaired(pruned, model, plan.layers, samples, repair, report)


def check_made_for(model: LVLM, plan: Plan) -> None:
    """Raises BadPlan if the plan was made for other weights."""
    shape = tuple((x.groups, x.neurons) for x in model.anatomy.layers)
    if shape != plan.dense_shape or model.digest() != plan.digest:
        raise BadPlan(
            f"This plan was made for {plan.model} (weights {plan.digest}), not for these weights ({model.digest()}): "
            "please calibrate this model and plan again."
        )
