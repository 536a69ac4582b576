"""The Prune tab: what goes, and what it saves. Draws scores and plans; decides nothing."""

from functools import lru_cache

import gradio as gr
import numpy as np

from lvlm.errors import LVLMError
from pruning import forecast, overlap, split
from ui import bars, picking, plots, predicted, spread, words
from ui.figure import figure
from ui.inputs import Dial
from ui.part import Part, Start
from ui.studio import Studio
from ui.texts import retell, say
from ui.workspace import DEFAULT_RATIO, DEFAULT_SAMPLES, Desk, Desks

METHODS = [("Heads and neurons (widthwise)", "widthwise"), ("Whole layers (layerwise)", "layerwise")]
WAITING = "Prune (waiting for the scores)"
REPAIR = "Refits what is left so that it does the work of what goes: seconds, no training"
HOW_TO = {
    "influence": "How much each layer changes what passes through it. Layers that change little go first.",
    "heads": "How much each attention head matters to the answers, against its layer's mean. Crossed-out heads go.",
    "neurons": "Each layer's MLP neurons sorted by importance, against the layer's mean. Those left of the mark go.",
    "network": "The whole network to scale: attention dark, MLP light. Solid stays, hatched goes. Click to pick.",
    "spread": "How many neurons matter how much, against their layer's mean. Pick a layer to see it alone.",
}
TOKENS = (("image", "image tokens"), ("text", "text tokens"), ("all", "all tokens"))  # keys of the influence bars


def build(desks: Desks, desk_key: gr.Textbox) -> tuple[Part, gr.Button, Part, Part]:
    """The tab's content, its button that leads to the chat, and what follows the desk's picture and a trial."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            with gr.Column(elem_classes="slab"):
                method = gr.Radio(METHODS, value="widthwise", label="What may go", elem_id="method")
                ratio = Dial(
                    0,
                    60,
                    round(100 * DEFAULT_RATIO),
                    step=1,
                    buttons=[],
                    elem_id="ratio",
                    label="How much of the language model to remove (%)",
                )
                gr.HTML(
                    '<div class="zones" aria-hidden="true"><span class="safe">safe to 30</span>'
                    '<span class="tipping">tipping ≈ 45</span><span class="extreme">extreme</span></div>'
                )
                with gr.Accordion("Fit a budget instead", open=False, elem_id="budget-fold"):
                    with gr.Row(equal_height=False):
                        unit = gr.Dropdown(
                            [(text, name) for name, text in predicted.BUDGETS.items()],
                            value="memory",
                            label="What has to fit",
                            min_width=160,
                            scale=3,
                            elem_id="budget-unit",
                        )
                        most = gr.Number(None, label="At most", min_width=90, scale=2, elem_id="budget")
                    fit = gr.Button("Find the share that fits", size="sm", elem_id="fit")
                with gr.Accordion("More: protected layers, calibration", open=False):
                    with gr.Row():
                        first = Dial(0, 4, 0, step=1, buttons=[], label="Protect the first layers", min_width=140)
                        last = Dial(0, 4, 0, step=1, buttons=[], label="Protect the last layers", min_width=140)
                    samples = Dial(
                        1,
                        50,
                        DEFAULT_SAMPLES,
                        step=1,
                        buttons=[],
                        label="Calibration samples",
                        elem_id="samples",
                        info="Pictures with questions and answers that importance is judged on",
                    )
                    calibrate = gr.Button("Calibrate again", size="sm", elem_id="calibrate")
                repair = gr.Checkbox(False, label="Repair what stays", info=REPAIR, elem_id="repair")
                prune = gr.Button(WAITING, variant="primary", size="lg", interactive=False, elem_id="prune")
            said = gr.HTML(elem_id="said")
        with gr.Column(scale=7, min_width=320):
            cards = gr.HTML(predicted.skeleton(), elem_id="cards")
            with gr.Column(elem_classes="slab"):
                network_head, network = gr.HTML(), figure("network", "The network to scale")
    result = gr.HTML(elem_id="result")
    to_chat = gr.Button("Ask both →", visible=False, elem_id="to-chat", variant="primary")
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320, elem_classes=["slab", "pair"]):
            influence_head, influence = gr.HTML(), figure("influence", "Block influence, layer by layer")
        with gr.Column(min_width=320, elem_classes=["slab", "pair"]):
            heads_head, heads = gr.HTML(), figure("heads", "Importance of every head")
    with gr.Column(elem_classes="slab", elem_id="studio"):
        studio = Studio()
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320, elem_classes=["slab", "pair"]):
            neurons_head, neurons = gr.HTML(), figure("neurons", "Importance of the neurons")
        with gr.Column(scale=1, min_width=280, elem_classes=["slab", "pair"]):
            spread_head, histogram = gr.HTML(), figure("spread", "How unequal the neurons are")

    live = [
        cards,
        said,
        prune,
        network_head,
        network,
        influence_head,
        influence,
        heads_head,
        heads,
        neurons_head,
        neurons,
        spread_head,
        histogram,
    ]
    drawn = [ratio, *live, *studio.outputs]
    controls = [method, ratio, first, last]

    def draw_drawn(desk: Desk, note: str = "") -> list:
        return [_percents(desk), *draw_plan(desk), *studio.draw(desk, note)]

    def redraw(key: str, method: str, ratio: float, first: int, last: int):
        """Plan anew from the scores at hand, by the budget if there is one: no model runs."""
        desk = desks.at(key)
        try:
            desk.wish(method, None if ratio is None else ratio / 100, int(first or 0), int(last or 0))
        except LVLMError as error:
            desk.refusal = str(error)
        return draw_drawn(desk)

    def by_ratio(key: str, method: str, ratio: float, first: int, last: int):
        """Plan by a share of the language model in percent, and no longer by a budget."""
        desks.at(key).picking.budget = None
        return [gr.skip(), *redraw(key, method, ratio, first, last)[1:]]  # the slider is in the person's hand

    moving = dict(queue=False, trigger_mode="always_last", show_progress="hidden")
    ratio.input(by_ratio, [desk_key, *controls], drawn, **moving)
    gr.on([method.input, first.input, last.input], redraw, [desk_key, *controls], drawn, **moving)
    studio.wire(desks, desk_key, drawn, draw_drawn)

    def budget_unit(key: str, unit: str):
        desk = desks.at(key)
        desk.picking.typed = unit
        return gr.Number(None, label=_at_most(desk))

    unit.input(
        budget_unit, [desk_key, unit], most, queue=False, show_progress="hidden", api_visibility="private"
    )  # fmt: skip

    def wish_repair(key: str, repair: bool):
        """Whether pruning goes on to refit what stays."""
        desk = desks.at(key)
        desk.repair = bool(repair)
        return draw_plan(desk)[2]

    repair.input(wish_repair, [desk_key, repair], prune, api_visibility="private", **moving)

    def start_fitting(key: str, unit: str, most: float):
        """Find the least share whose model fits a budget, in the unit that the label names (MiB, M, GFLOPs, ms)."""
        desk = desks.at(key)
        desk.picking.typed = unit
        factor = predicted.scale(unit, _whole(desk, unit))[0]
        picking.limit(desk, unit, most * factor if isinstance(most, int | float) else most)

    def start_calibration(key: str, samples: int):
        """Score the model's layers, heads and neurons on bundled samples."""
        desks.at(key).calibrate(samples)

    def start_pruning(key: str):
        """Carry out the plan and measure the model before and after."""
        desks.at(key).prune()

    def draw(desk: Desk) -> list:
        here, typed = desk.picking, {}
        if here.budget and here.budget[0] == here.typed and isinstance(here.budget[1], int | float):
            typed = dict(value=round(here.budget[1] / predicted.scale(here.typed, _whole(desk, here.typed))[0], 3))
        return [
            desk.method,
            desk.protect_first,
            desk.protect_last,
            desk.samples,
            desk.repair,
            gr.Button(interactive=desk.scores is not None),
            here.typed,
            gr.Number(label=_at_most(desk), **typed),
            gr.Button(interactive=desk.scores is not None and not desk.busy),
            predicted.result(desk.pruned, _foretold(desk)),
            gr.Button(visible=desk.pruned is not None),
            *draw_drawn(desk),
        ]

    starts = [
        Start(calibrate.click, start_calibration, [samples]),
        Start(prune.click, start_pruning),
        Start(fit.click, start_fitting, [unit, most]),
    ]
    shown = [method, first, last, samples, repair, calibrate, unit, most, fit, result, to_chat, *drawn]
    return Part(shown, draw, starts), to_chat, *studio.asking(desks)


def _percents(desk: Desk) -> float:
    return round(100 * desk.ratio, 1)


def _at_most(desk: Desk) -> str:
    """The label of the number: a budget's unit as it is typed."""
    return say("At most ({unit})", unit=predicted.scale(desk.picking.typed, _whole(desk, desk.picking.typed))[1])


def _whole(desk: Desk, unit: str) -> float | None:
    """What the original costs in a unit, as far as it is known."""
    return getattr(forecast(desk.scores, None, desk.shared and desk.shared.pace), unit) if desk.scores else None


def _foretold(desk: Desk):
    """The forecast of the model that was pruned last; None where nothing was, or its layers are not timed."""
    pruned, pace = desk.pruned, desk.shared and desk.shared.pace
    return forecast(desk.scores, pruned.plan, pace) if pruned and pace else None


def draw_plan(desk: Desk) -> list:
    """Everything that follows the slider: cards, explanation, button and figures."""
    plan, scores = desk.plan, desk.scores
    if plan is None:
        waiting = gr.Button(say(WAITING), interactive=False)
        return [predicted.skeleton(), words.notice(desk.refusal, "error"), waiting, *[None] * 10]
    here, pace = desk.picking, desk.shared and desk.shared.pace
    kept = here.under(plan)
    marks = plots.Marks(here.pinned, here.forced, here.unit)
    label = say("Prune nothing (a plain copy)")
    if plan.achieved:
        wished = "Prune {share} {method} and repair" if desk.repair else "Prune {share} {method}"
        label = say(wished, share=words.percent(plan.achieved), method=retell(plan.method))
    return [
        predicted.cards(plan, forecast(scores, None, pace), forecast(scores, plan, pace), here.budget),
        words.notice(desk.refusal, "error") or words.notice(plan.explain()),
        gr.Button(label, interactive=not desk.refusal and not desk.busy),
        *_network(plan, kept, marks),
        *_influence(scores, plan, kept, marks),
        *_units(scores, plan, kept, marks),
    ]


def _network(plan, kept, marks: plots.Marks) -> list:
    attention, mlp = split(plan, kept)
    before, parts = int((attention.whole + mlp.whole).sum()), plan.cost.before.parameters
    gone = [int((getattr(attention, x) + getattr(mlp, x)).sum()) for x in ("both", "first", "second")]
    common = overlap(plan, kept) if kept else None
    shared = (common.both, common.first, common.second) if common else None
    around = parts.vision, parts.projector, parts.decoder - sum(x[0] for x in plan.unit_costs)
    return [
        words.heading(bars.network_finding(before, before - gone[0] - gone[1], shared), say(HOW_TO["network"])),
        bars.network(attention, mlp, *around, marks),
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
    """Heads, neurons, and how unequal these are."""
    heads, neurons, layer = kept and kept.heads, kept and kept.neurons, marks.unit and marks.unit.layer
    return [
        words.heading(plots.heads_finding(scores.heads, plan.heads, heads), say(HOW_TO["heads"]), scale=True),
        plots.heads(scores.heads, plan.heads, scores.anatomy.layers[0].heads_per_group, heads, marks),
        words.heading(
            plots.neurons_finding(scores.neurons, plan.neurons, neurons),
            f"{say(HOW_TO['neurons'])} {_cheaper(scores)}",
            scale=True,
        ),
        plots.neurons(scores.neurons, plan.neurons, neurons, marks),
        words.heading(spread.spread_finding(scores.neurons, plan.neurons, layer), say(HOW_TO["spread"])),
        spread.spread(scores.neurons, plan.neurons, layer),
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
    return float(np.nanmean(scores.rank_correlation("taylor", "taylor-sum").neurons))
