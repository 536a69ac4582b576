"""Everything on the Prune tab that follows the plan at hand: cards, its explanation, the button and the figures."""

from functools import lru_cache

import gradio as gr

from pruning import about, forecast, overlap, split, way
from ui import bars, plots, predicted, reasons, spread, words
from ui.texts import retell, say
from ui.workspace import Desk

PICK_FIRST = "Pick a layer or head first: in the lists, or with a click in a figure."
WAITING = "Prune (waiting for the scores)"
HOW_TO = {
    "influence": "How much each layer changes what passes through it. Layers that change little go first.",
    "heads": "How much each attention head matters to the answers, against its layer's mean. Crossed-out heads go.",
    "neurons": "Each layer's MLP neurons sorted by importance, against the layer's mean. Those left of the mark go.",
    "network": "The whole network to scale: attention dark, MLP light. Solid stays, hatched goes. Click to pick.",
    "spread": "How many neurons matter how much, against their layer's mean. Pick a layer to see it alone.",
}
TOKENS = (("image", "image tokens"), ("text", "text tokens"), ("all", "all tokens"))  # keys of the influence bars


def draw(desk: Desk) -> list:
    """Cards, explanation, button and figures, in the tab's order."""
    plan, scores = desk.plan, desk.scores
    if plan is None:
        waiting = gr.Button(say(WAITING), interactive=False)
        return [predicted.skeleton(), words.notice(desk.refusal, "error") + _why(desk), waiting, *[None] * 10]
    here, pace = desk.picking, desk.shared and desk.shared.pace
    budget = None if desk.refusal else here.budget  # one that cannot be met made no plan: the last one stays
    kept = here.under(plan)
    marks = plots.Marks(here.pinned, here.forced, here.unit)
    label = say("Prune nothing (a plain copy)")
    if plan.achieved:
        wished = "Prune {share} {method} and repair" if desk.repair else "Prune {share} {method}"
        label = say(wished, share=words.percent(plan.achieved), method=retell(way(plan)))
    return [
        predicted.cards(plan, forecast(scores, None, pace), forecast(scores, plan, pace), budget),
        (words.notice(desk.refusal, "error") or words.notice(plan.explain())) + _why(desk),
        gr.Button(label, interactive=not desk.refusal and not desk.busy),
        *_network(plan, kept, marks),
        *_influence(scores, plan, kept, marks),
        *_units(scores, plan, kept, marks),
    ]


def _why(desk: Desk) -> str:
    """Why buttons of the tab cannot be pressed."""
    waits, loading = reasons.waits(desk), reasons.loading(desk)
    picked = loading or ("" if desk.picking.unit else say(PICK_FIRST))
    wait_for = dict.fromkeys(("search", "rounds", "fit", "try"), waits)
    prune = retell(desk.refusal) or waits
    return reasons.why({**wait_for, "prune": prune, "calibrate": loading, "keep": loading, "pin": picked,
                        "force": picked})  # fmt: skip


def _network(plan, kept, marks: plots.Marks) -> list:
    attention, mlp = split(plan, kept)
    parts = plan.cost.before.parameters
    common = overlap(plan, kept) if kept else None
    shared = (common.both, common.first, common.second) if common else None
    return [
        words.heading(bars.network_finding(*about.layers_size(attention, mlp), shared), say(HOW_TO["network"])),
        bars.network(attention, mlp, parts.vision, parts.projector, about.around(plan), marks),
    ]


def _influence(scores, plan, kept, marks: plots.Marks) -> list:
    values, other = scores.block_influence, kept and kept.removed_layers
    key = "".join(f'<span class="key key-{name}"><i></i>{say(text)}</span>' for name, text in TOKENS)
    return [
        words.heading(bars.influence_finding(values, plan.removed_layers, other), say(HOW_TO["influence"]))
        + f'<p class="keys">{key}</p>',
        bars.influence(
            values, plan.removed_layers, scores.block_influence_image, scores.block_influence_text, other, marks
        ),
    ]


def _units(scores, plan, kept, marks: plots.Marks) -> list:
    """Heads, neurons, and how unequal these are, by the importance that the plan goes by."""
    heads, neurons, layer = kept and kept.heads, kept and kept.neurons, marks.unit and marks.unit.layer
    found = scores.importance[plan.settings["importance"]]
    cheaper = _cheaper(scores) if plan.settings["importance"] == "taylor" else ""
    return [
        words.heading(plots.heads_finding(found.heads, plan.heads, heads), say(HOW_TO["heads"]), scale=True),
        plots.heads(found.heads, plan.heads, scores.anatomy.layers[0].heads_per_group, heads, marks),
        words.heading(
            plots.neurons_finding(found.neurons, plan.neurons, neurons),
            f"{say(HOW_TO['neurons'])} {cheaper}",
            scale=True,
        ),
        plots.neurons(found.neurons, plan.neurons, neurons, marks),
        words.heading(spread.spread_finding(found.neurons, plan.neurons, layer), say(HOW_TO["spread"])),
        spread.spread(found.neurons, plan.neurons, layer),
    ]


def _cheaper(scores) -> str:
    """How far the cheaper Taylor importance, |Σ w·g|, orders the neurons alike; nothing where it is not known."""
    if "taylor-sum" not in scores.importance:
        return ""
    return say(
        "A cheaper measure, which needs no gradient of any weight, would order them alike to a rank correlation of "
        "{alike:.2f}.",
        alike=_alike(scores),
    )


@lru_cache(maxsize=4)  # the slider draws the same scores over and over
def _alike(scores) -> float:
    return scores.rank_correlation("taylor", "taylor-sum").of_neurons
