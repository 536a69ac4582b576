"""The Prune tab: what goes, and what it saves. Draws scores and plans; decides nothing."""

from functools import lru_cache

import gradio as gr
import numpy as np

from lvlm.errors import LVLMError
from ui import plots, words
from ui.figure import figure
from ui.inputs import Dial
from ui.part import Part, Start
from ui.workspace import DEFAULT_RATIO, DEFAULT_SAMPLES, Desk, Desks

METHODS = [("Heads and neurons (widthwise)", "widthwise"), ("Whole layers (layerwise)", "layerwise")]
WAITING = "Prune (waiting for the scores)"
HOW_TO = {
    "influence": "How much each layer changes what passes through it. Layers that change little go first.",
    "heads": "How much each attention head matters to the answers, against its layer's mean. Crossed-out heads go.",
    "neurons": "Each layer's MLP neurons sorted by importance, against the layer's mean. Those left of the mark go.",
    "network": "Each layer to scale: attention dark, MLP light. Solid stays, hatched goes.",
}


def build(desks: Desks, desk_key: gr.Textbox) -> tuple[Part, gr.Button]:
    """The tab's content, and its button that leads to the chat."""
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
                prune = gr.Button(WAITING, variant="primary", size="lg", interactive=False, elem_id="prune")
            said = gr.HTML(elem_id="said")
        with gr.Column(scale=7, min_width=320):
            cards = gr.HTML(_skeleton_cards(), elem_id="cards")
            with gr.Column(elem_classes="slab"):
                network_head, network = gr.HTML(), figure("network", "The network to scale")
    result = gr.HTML(elem_id="result")
    to_chat = gr.Button("Ask both →", visible=False, elem_id="to-chat", variant="primary")
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320, elem_classes=["slab", "pair"]):
            influence_head, influence = gr.HTML(), figure("influence", "Block influence, layer by layer")
        with gr.Column(min_width=320, elem_classes=["slab", "pair"]):
            heads_head, heads = gr.HTML(), figure("heads", "Importance of every head")
    with gr.Column(elem_classes="slab"):
        neurons_head, neurons = gr.HTML(), figure("neurons", "Importance of the neurons")

    live = [
        cards,
        said,
        prune,
        influence_head,
        influence,
        heads_head,
        heads,
        neurons_head,
        neurons,
        network_head,
        network,
    ]
    controls = [method, ratio, first, last]

    def redraw(key: str, method: str, ratio: float, first: int, last: int):
        """Plan anew from the scores at hand: no model runs."""
        desk = desks.at(key)
        try:
            desk.wish(method, None if ratio is None else ratio / 100, int(first or 0), int(last or 0))
        except LVLMError as error:
            desk.refusal = str(error)
        return draw_plan(desk)

    for control in controls:
        control.change(
            redraw, [desk_key, *controls], live, queue=False, trigger_mode="always_last", show_progress="hidden"
        )

    def start_calibration(key: str, samples: int):
        """Score the model's layers, heads and neurons on bundled samples."""
        desks.at(key).calibrate(samples)

    def start_pruning(key: str):
        """Carry out the plan and measure the model before and after."""
        desks.at(key).prune()

    def draw(desk: Desk) -> list:
        return [
            desk.method,
            round(100 * desk.ratio),
            desk.protect_first,
            desk.protect_last,
            desk.samples,
            gr.Button(interactive=desk.scores is not None),
            _result(desk),
            gr.Button(visible=desk.pruned is not None),
            *draw_plan(desk),
        ]

    starts = [Start(calibrate.click, start_calibration, [samples]), Start(prune.click, start_pruning)]
    return Part([method, ratio, first, last, samples, calibrate, result, to_chat, *live], draw, starts), to_chat


def draw_plan(desk: Desk) -> list:
    """Everything that follows the slider: cards, explanation, button and figures."""
    plan, scores = desk.plan, desk.scores
    if plan is None:
        return [
            _skeleton_cards(),
            words.notice(desk.refusal, "error"),
            gr.Button(WAITING, interactive=False),
            *[None] * 8,
        ]
    removed, sizes = plan.removed_layers, layer_sizes(plan)
    label = f"Prune {words.percent(plan.achieved)} {plan.method}" if plan.achieved else "Prune nothing (a plain copy)"
    return [
        _cards(plan),
        words.notice(desk.refusal, "error") or words.notice(plan.explain()),
        gr.Button(label, interactive=not desk.refusal and not desk.busy),
        words.heading(plots.influence_finding(scores.block_influence, removed), HOW_TO["influence"]),
        plots.influence(scores.block_influence, removed, scores.block_influence_image, scores.block_influence_text),
        words.heading(plots.heads_finding(scores.heads, plan.heads), HOW_TO["heads"], scale=True),
        plots.heads(scores.heads, plan.heads, scores.anatomy.layers[0].heads_per_group),
        words.heading(
            plots.neurons_finding(scores.neurons, plan.neurons), HOW_TO["neurons"] + _cheaper(scores), scale=True
        ),
        plots.neurons(scores.neurons, plan.neurons),
        words.heading(
            plots.network_finding(int(sizes[0].sum() + sizes[1].sum()), int(sizes[2].sum() + sizes[3].sum())),
            HOW_TO["network"],
        ),
        plots.network(*sizes),
    ]


@lru_cache(maxsize=4)  # the slider draws the same scores over and over
def _cheaper(scores) -> str:
    """How far the cheaper Taylor importance, |Σ w·g|, orders the neurons alike; nothing where it is not known."""
    if "taylor-sum" not in scores.importance:
        return ""
    alike = scores.rank_correlation("taylor", "taylor-sum").neurons
    return (
        " A cheaper measure, which needs no gradient of any weight, would order them alike to a rank correlation of "
        f"{np.nanmean(alike):.2f}."
    )


def layer_sizes(plan) -> tuple[np.ndarray, ...]:
    """Parameters of each layer's attention and MLP before, then after the plan: four (L,) arrays; norms left out."""
    _, group, neuron = np.array(plan.unit_costs).T
    groups, neurons = np.array(plan.dense_shape).T
    return (
        groups * group,
        neurons * neuron,
        np.array([len(x) for x in plan.heads]) * group,
        np.array([len(x) for x in plan.neurons]) * neuron,
    )


def _skeleton_cards() -> str:
    return '<div class="cards">' + '<div class="card skeleton"></div>' * 3 + "</div>"


def _cards(plan) -> str:
    before, after = plan.cost.before, plan.cost.after
    triples = [
        (
            "Parameters",
            words.count,
            before.parameters.total,
            after.parameters.total,
            "vision tower and projector included",
        ),
        ("Memory", words.memory, before.bytes, after.bytes, "of the weights"),
        (
            "Compute",
            words.flops,
            before.flops_prefill,
            after.flops_prefill,
            "one image and one question, up to the first word of the answer",
        ),
    ]
    cards = "".join(
        words.card(title, unit(was), unit(now), words.change(was, now), now / was, hint)
        for title, unit, was, now, hint in triples
    )
    asked = (
        f"You asked for {words.percent(plan.ratio)} of the language model; this removes exactly "
        f"<b>{words.percent(plan.achieved)}</b>."
    )
    return f'<div class="cards">{cards}</div><p class="asked">{asked}</p>'


def _result(desk: Desk) -> str:
    """What pruning did, as measured: a table of original against pruned."""
    pruned = desk.pruned
    if pruned is None or pruned.cost is None:
        return ""
    before, after = pruned.parent.cost, pruned.cost
    rows = [
        ("Parameters", words.count, before.parameters.total, after.parameters.total),
        ("of which language model", words.count, before.parameters.decoder, after.parameters.decoder),
        ("Memory of the weights", words.memory, before.bytes, after.bytes),
        ("Peak memory while answering (measured)", words.memory, before.peak_bytes, after.peak_bytes),
        ("Compute to the first word", words.flops, before.flops_prefill, after.flops_prefill),
        ("Compute a further token", words.flops, before.flops_per_token, after.flops_per_token),
        ("First word after (measured)", words.duration, before.first_token_s, after.first_token_s),
        ("Tokens a second (measured)", words.significant, before.tokens_per_s, after.tokens_per_s),
    ]
    body = "".join(
        f"<tr><th>{name}</th><td>{unit(was)}</td><td>{unit(now)}</td><td>{words.change(was, now)}</td></tr>"
        for name, unit, was, now in rows
        if was is not None and now is not None
    )
    done = (
        f"Pruned {words.percent(pruned.plan.achieved)} {pruned.plan.method} in "
        f"{words.duration(pruned.seconds)}; the original is untouched."
    )
    return (
        f'<div class="result"><p class="done">{done}</p><table><thead><tr><th></th>'
        f"<th>{words.chip('original', 'Original')}</th><th>{words.chip('pruned', 'Pruned')}</th><th>change</th></tr>"
        f"</thead><tbody>{body}</tbody></table></div>"
    )
